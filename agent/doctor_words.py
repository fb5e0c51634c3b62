"""What the doctor says, in Thai and English. ``{name}`` is filled in by the check."""

WORDS: dict[str, tuple[str, str]] = {
    # check names
    "state": ("โฟลเดอร์เก็บข้อมูล", "state folder"),
    "disk": ("พื้นที่ดิสก์", "disk"),
    "icmp": ("สิทธิ์วัดด้วย ping", "right to ping"),
    "vantage": ("จุดเชื่อมต่อ", "vantage"),
    "joined": ("การลงทะเบียน", "joined"),
    "name": ("การค้นหาชื่อ (DNS)", "DNS"),
    "collector": ("ระบบกลางจังหวัด", "collector"),
    "token": ("สิทธิ์ส่งข้อมูล", "token"),
    "clock": ("นาฬิกา", "clock"),
    # states
    "ok": ("ปกติ", "fine"),
    "warn": ("ควรตรวจ", "look at it"),
    "bad": ("ต้องแก้ไข", "must be mended"),
    "unknown": ("ยังตรวจไม่ได้", "not known"),
    # findings
    "state_fine": ("{folder} เขียนได้", "{folder} can be written"),
    "state_bad": ("{cause}", "{cause}"),
    "disk_fine": ("เหลือ {free}", "{free} free"),
    "disk_low": (
        "เหลือเพียง {free} ควรมีอย่างน้อย {wanted} เพื่อเก็บผลวัดขณะติดต่อระบบกลางไม่ได้ ลบไฟล์ที่ไม่ใช้ หรือลดค่า spool.size",
        "only {free} free, expected {wanted} for days without the collector: free space or lower spool.size",
    ),
    "icmp_fine": ("ใช้ได้ ({how})", "granted ({how})"),
    "icmp_bad": ("ยังไม่มีสิทธิ์ ให้ผู้ดูแลสั่ง: {remedy}", "missing: {remedy}"),
    "vantage_fine": ("{medium} ทาง {interface} (จุดเชื่อมต่อ {id})", "{medium} by {interface} (vantage {id})"),
    "vantage_none": (
        "ไม่มีเส้นทางออกอินเทอร์เน็ต ตรวจสายสัญญาณ ไฟที่เราเตอร์ และการรับเลขที่อยู่ (DHCP)",
        "no default route: check the cable, the router's lights and DHCP",
    ),
    "vantage_elsewhere": (
        "ขณะนี้อยู่ที่ {id} ซึ่งไม่ใช่วงจรที่ยืนยันไว้ของหน่วยงาน ผลวัดวงจรจะไม่ถูกนับ ให้ต่อกับเราเตอร์ของหน่วยงาน หรือให้ฝ่ายไอทียืนยันจุดใหม่",
        "{id} is no confirmed vantage of this site: connect to the site's router, or have IT confirm the new place",
    ),
    "vantage_wifi": (
        "ต่อผ่าน Wi-Fi ({interface}) ผลวัดใช้เป็นหลักฐานของวงจรไม่ได้ ให้ต่อสาย",
        "connected by Wi-Fi ({interface}): not evidence of the link; use a cable",
    ),
    "joined_fine": ("หน่วยงาน {site} ระบบกลาง {url}", "site {site} at {url}"),
    "joined_not": (
        "ยังไม่ได้ลงทะเบียน สั่ง: phrom-agent join ที่อยู่ระบบกลาง รหัส (ขอรหัสจากจังหวัด)",
        "not joined: run phrom-agent join URL CODE (the province gives the code)",
    ),
    "joined_bad": ("{cause}", "{cause}"),
    "name_fine": ("{host} คือ {address}", "{host} is {address}"),
    "name_bad": (
        "ค้นหา {host} ไม่พบ ({cause}) ตรวจ /etc/resolv.conf และ DNS ของเราเตอร์",
        "{host} cannot be resolved ({cause}): check /etc/resolv.conf and the router's DNS",
    ),
    "name_not_needed": ("ระบบกลางใช้เลขที่อยู่โดยตรง", "the collector is reached by its address"),
    "collector_fine": ("ตอบใน {took}", "answered in {took}"),
    "collector_refuses": (
        "ตอบแล้ว แต่ไม่รับสิทธิ์ส่งข้อมูลของเครื่องนี้",
        "answered, and refused this machine's token",
    ),
    "collector_bad": ("{cause}", "{cause}"),
    "token_fine": ("ใช้ได้", "accepted"),
    "token_bad": (
        "ระบบกลางไม่รับสิทธิ์ของเครื่องนี้ ({cause}) ขอรหัสใหม่จากจังหวัดแล้วลงทะเบียนอีกครั้ง",
        "the collector refuses this machine ({cause}): ask the province for a new code and join again",
    ),
    "clock_fine": ("ต่างจากระบบกลาง {offset} (คลาดเคลื่อนไม่เกิน {error})", "{offset} off the collector (± {error})"),
    "clock_off": (
        "ต่างจากระบบกลาง {offset} ผลวัดยังถูกต้องเพราะระบบแก้เวลาให้ แต่ควรเปิดการตั้งเวลาอัตโนมัติ (systemd-timesyncd หรือ chrony)",
        "{offset} off the collector (records are corrected for it): turn on systemd-timesyncd or chrony",
    ),
    "not_tried": ("ต้องแก้ข้ออื่นก่อน", "something above must be mended first"),
    # sum
    "healthy": ("เครื่องวัดนี้พร้อมทำงาน", "this machine can do its work"),
    "unhealthy": ("เครื่องวัดนี้ยังทำงานไม่ได้ครบ: {checks}", "this machine cannot do all of its work: {checks}"),
}


def say(key: str, language: str, values: dict[str, str] | None = None) -> str:
    """The words for a key; Thai for ``th``, English for any other language."""
    return WORDS[key][0 if language == "th" else 1].format(**(values or {}))

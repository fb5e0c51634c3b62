"""*Site*: one site, probe by probe: where a fault begins, from its own router to the platform."""

from dashboards import parts
from dashboards.parts import Dashboard, Panel, Words, query

HERE = 'site="$site",link=~"$link"'
ECHO = f'probe="icmp",target=~"$target",{HERE}'


def dashboard() -> Dashboard:
    """The dashboard; from top to bottom it follows the way from the room to the platform."""
    board = parts.board(
        "phrom-site",
        "หน่วย · Site",
        "หนึ่งหน่วย ไล่จากเราเตอร์ถึงระบบประชุม เหตุเริ่มที่ใด · One site, from its router to the platform: where a fault begins.",
        ["site"],
    )
    board.with_variable(parts.values_of("site", "หน่วย · Site", several=False))
    board.with_variable(parts.values_of("link", "วงจรอินเทอร์เน็ต · Link", 'site="$site"'))
    board.with_variable(parts.values_of("target", "ปลายทาง · Target of echoes", 'probe="icmp",site="$site"'))
    for panel in (*_state(), *_path(), *_services(), *_machine()):
        board.with_panel(panel)
    return board.build()


def _state() -> list[Panel]:
    return [
        parts.states(
            Words(
                "สถานะทุกปลายทาง · State of every target",
                "ผลที่แย่ที่สุดในแต่ละช่วงเวลา ช่องว่างคือไม่มีข้อมูลการวัด · The worst result of each "
                "target; an empty box was not measured.",
            ),
            parts.worst_outcome("probe, target", HERE),
            "{{probe}} {{target}}",
            height=14,
        ),
    ]


def _path() -> list[Panel]:
    rtt = f"phrom_rtt_seconds{{{ECHO},quantile="
    return [
        parts.lines(
            Words("แพ็กเก็ตสูญหาย · Packet loss", "สัดส่วนที่สูญหายต่อปลายทาง · Share of the echoes lost, by target."),
            parts.LOSS,
            query(parts.loss("target", ECHO), "{{target}}"),
        ),
        parts.lines(
            Words(
                "เวลาไปกลับ · Round-trip time",
                "มัธยฐานและเปอร์เซ็นไทล์ที่ 95 เมื่อสูญหายมากจนไม่มีค่า เส้นจะขาด · Median and 95th percentile; "
                "the line breaks where so many were lost that there is none.",
            ),
            parts.RTT,
            query(f'max by (target) ({rtt}"0.5"}} < +Inf)', "{{target}} 50 %"),
            query(f'max by (target) ({rtt}"0.95"}} < +Inf)', "{{target}} 95 %", "B"),
        ),
        parts.lines(
            Words(
                "ค่าแกว่งของเวลา (จิตเตอร์) · Jitter", "ความแปรปรวนของเวลาถึง (RFC 3550) · Interarrival jitter (RFC 3550)."
            ),
            parts.JITTER,
            query(f"max by (target) (max_over_time(phrom_jitter_seconds{{{ECHO}}}[$__rate_interval]))", "{{target}}"),
        ),
        parts.lines(
            Words(
                "เวลาไปกลับรายชั่วโมง เปอร์เซ็นไทล์ที่ 95 · Round-trip time by hour, 95th percentile",
                "จากสรุปรายชั่วโมงที่เก็บไว้หลายปี ใช้ดูย้อนหลังนาน ๆ · From the hourly roll-ups, which are kept for years.",
            ),
            parts.RTT,
            query(
                f'max by (target) (last_over_time(phrom_rtt_seconds:1h{{{ECHO},quantile="0.95"}}[1h]) < +Inf)',
                "{{target}}",
            ),
        ),
    ]


def _services() -> list[Panel]:
    def mean(measure: str) -> str:
        return f"avg by (target) (avg_over_time(phrom_{measure}_mean_seconds{{{HERE}}}[$__rate_interval]))"

    return [
        parts.lines(
            Words("เวลาถามชื่อ (DNS) · Name lookup", "เวลาเฉลี่ยในการแปลงชื่อเป็นเลขที่อยู่ · Mean time to resolve a name."),
            parts.WEB,
            query(mean("lookup"), "{{target}}"),
        ),
        parts.lines(
            Words(
                "เปิดการเชื่อมต่อ · Connect and handshake",
                "เวลาเฉลี่ยของการเชื่อมต่อ TCP และการตกลงความปลอดภัย TLS · Mean time of the TCP connection "
                "and of the TLS handshake.",
            ),
            parts.WEB,
            query(mean("connect"), "{{target}} tcp"),
            query(mean("handshake"), "{{target}} tls", "B"),
        ),
        parts.lines(
            Words("หน้าเว็บประชุม · Join page", "เวลาเฉลี่ยทั้งหมดจนได้หน้าเว็บ · Mean time of the whole exchange."),
            parts.WEB,
            query(mean("whole"), "{{target}}"),
        ),
        parts.bars(
            Words("ใบรับรองหมดอายุใน · Certificates expire in", "เวลาที่เหลือของใบรับรอง · Time left of each certificate."),
            parts.LEFT,
            f"sort(min by (target) (last_over_time(phrom_certificate_expiry_seconds{{{HERE}}}[6h])))",
            "{{target}}",
        ),
    ]


def _machine() -> list[Panel]:
    def newest(metric: str) -> str:
        return f"max by (role) (max_over_time({metric}{{{HERE}}}[$__rate_interval]))"

    return [
        parts.lines(
            Words("เครื่องวัด · The agent's machine", "การใช้ซีพียู หน่วยความจำ และดิสก์ · Use of processor, memory and disk."),
            parts.RATIO,
            query(newest("phrom_cpu_ratio"), "{{role}} cpu"),
            query(newest("phrom_memory_ratio"), "{{role}} memory", "B"),
            query(newest("phrom_disk_ratio"), "{{role}} disk", "C"),
        ),
        parts.lines(
            Words(
                "ปริมาณข้อมูลของเครื่อง · The machine's traffic",
                "อัตรารับและส่งที่พอร์ตของเครื่องวัด ไม่ใช่ทั้งวงจร · Rates on the machine's own port, not of the whole link.",
            ),
            parts.RATE,
            query(newest("phrom_receive_rate_bits_per_second"), "{{role}} รับ · received"),
            query(newest("phrom_send_rate_bits_per_second"), "{{role}} ส่ง · sent", "B"),
        ),
        parts.number(
            Words("ความเร็วพอร์ต · Port speed", "ความเร็วที่พอร์ตตกลงกับเราเตอร์ · What the port negotiated with the router."),
            parts.RATE,
            f"min by (role) (last_over_time(phrom_interface_speed_bits_per_second{{{HERE}}}[10m]))",
            "{{role}}",
        ),
        parts.number(
            Words("นาฬิกาคลาดเคลื่อน · Clock offset", "ต่างจากเวลามาตรฐาน · Distance from the time server."),
            parts.CLOCK,
            f"max by (role) (abs(last_over_time(phrom_clock_offset_seconds{{{HERE}}}[1h])))",
            "{{role}}",
        ),
        parts.number(
            Words(
                "ขาดการติดต่อมาแล้ว · Silent for",
                "เวลาตั้งแต่ได้รับข้อมูลจากหน่วยนี้ครั้งสุดท้าย ยังไม่ทราบสาเหตุ "
                "· Time since the last word; its cause is not known yet.",
            ),
            parts.SILENCE,
            'time() - max(phrom_current_heard_timestamp_seconds{site="$site"})',
            span=parts.HALF,
        ),
    ]

"""What ``phrom-agent speedtest`` says, in Thai and English."""

from agent.once import quantity
from agent.probe import Finding, Result
from wire.reasons import Limit, Outcome, Reason
from wire.settings import ContractTerms

REACHED = 0.99
"""Share of the contract from which it counts as reached: the method errs by up to 1 %."""

WORDS: dict[str, tuple[str, str]] = {
    "down": ("ดาวน์โหลด", "download"),
    "up": ("อัปโหลด", "upload"),
    "reached": ("{rate} ได้ตามสัญญา {contract}", "{rate}: reaches the contract's {contract}"),
    "below": ("{rate} ต่ำกว่าสัญญา {contract} ({share})", "{rate}: below the contract's {contract} ({share})"),
    "below_up_to": (
        "{rate} ต่ำกว่าความเร็วสูงสุดตามแพ็กเกจ {contract} ({share}) เพื่อทราบ",
        "{rate}: below the package's maximum of {contract} ({share}), for information",
    ),
    "inconclusive": (
        "{rate} จากสัญญา {contract} ({share}) ยังสรุปไม่ได้",
        "{rate} of the contract's {contract} ({share}): inconclusive",
    ),
    "at_least": ("ได้อย่างน้อย {rate} จากสัญญา {contract}", "at least {rate} of the contract's {contract}"),
    "no_contract": ("{rate} (ไม่มีสัญญาให้เทียบ)", "{rate} (no contract to compare with)"),
    "not_measured": ("วัดไม่ได้: {why}", "not measured: {why}"),
    "because": ("เพราะ{what}", "because {what}"),
    "delay": (
        "เวลาไปกลับขณะว่าง {idle} ขณะใช้เต็ม {loaded} (เปอร์เซ็นไทล์ที่ 95)",
        "round trip {idle} idle, {loaded} under load (95th percentile)",
    ),
    "cost": ("ใช้ข้อมูล {size} เวลา {time}", "cost {size} in {time}"),
    "not_kept": (
        "ผลนี้แสดงให้ทราบเท่านั้น ไม่บันทึกและไม่ใช้เป็นหลักฐาน หลักฐานได้จากรอบทดสอบที่ระบบกลางกำหนด",
        "This result is shown and not kept. Evidence comes from the slots that the collector grants.",
    ),
    "testing": ("กำลังทดสอบ", "testing"),
}

LIMITS: dict[Limit, tuple[str, str]] = {
    Limit.RESPONDER_CAPACITY: ("จุดทดสอบปลายทางรับส่งได้ไม่เกินนี้", "the responder can do no more than this"),
    Limit.RESPONDER_CPU: ("จุดทดสอบปลายทางประมวลผลไม่ทัน", "the responder's processor was busy"),
    Limit.RESPONDER_LINK_IN_USE: ("วงจรของจุดทดสอบปลายทางมีหรืออาจมีผู้อื่นใช้อยู่", "others may have used the responder's line"),
    Limit.PORT_SPEED: ("พอร์ตหรือสายในอาคารช้ากว่าสัญญา", "the port or cable is slower than the contract"),
    Limit.WIFI: ("ต่อผ่าน Wi-Fi", "connected by Wi-Fi"),
    Limit.CPU_BUSY: ("เครื่องวัดประมวลผลไม่ทัน", "this machine's processor was busy"),
    Limit.RECEIVE_WINDOW: ("หน่วยความจำรับข้อมูลของเครื่องจำกัด", "the receive window held it back"),
    Limit.SEND_BUFFER: ("หน่วยความจำส่งข้อมูลของเครื่องจำกัด", "the send buffer held it back"),
    Limit.CUT_SHORT: ("การทดสอบถูกตัดก่อนจบ", "it was cut short"),
    Limit.FEW_WINDOWS: ("ข้อมูลน้อยเกินไป", "too little was measured"),
    Limit.CROSS_TRAFFIC: ("มีผู้อื่นใช้วงจรอยู่", "others were using the link"),
    Limit.CROSS_TRAFFIC_UNSEEN: (
        "ไม่ทราบว่ามีผู้อื่นใช้วงจรอยู่หรือไม่ (เปิด UPnP ที่เราเตอร์จะเห็นได้)",
        "others may have been using the link (with UPnP on at the router it would show)",
    ),
    Limit.WRONG_VANTAGE: ("ไม่ได้ต่ออยู่กับวงจรนี้", "this machine is not on this link"),
    Limit.WRONG_ROLE: ("เครื่องห้องประชุมไม่ใช้เป็นหลักฐาน", "a room's machine gives no evidence"),
    Limit.TIME_UNKNOWN: ("ยังไม่ทราบเวลาที่แน่นอน", "the time is not known"),
    Limit.NO_LEASE: ("ไม่มีใบอนุญาตทดสอบ", "there was no lease"),
    Limit.ENGINE_NO_EVIDENCE: ("วิธีนี้ใช้เทียบเคียงเท่านั้น", "this engine is a cross-check only"),
    Limit.CLIENT_COUNTED: ("นับโดยโปรแกรม ไม่ใช่ระบบปฏิบัติการ", "counted by the program and not by the kernel"),
    Limit.SENDER_IDLE: ("ผู้ส่งส่งข้อมูลไม่ต่อเนื่อง", "the sender paused"),
    Limit.LOSS_BASED: ("ผู้ส่งลดความเร็วลงเองเมื่อข้อมูลสูญหาย", "the sender slowed down at lost packets"),
    Limit.UNRECOGNISED: ("เหตุอื่น", "something else"),
}

REASONS: dict[Reason, tuple[str, str]] = {
    Reason.QUIET_TIME: ("อยู่ในช่วงงดทดสอบความเร็ว (มีประชุม)", "it is quiet time around a meeting"),
    Reason.NO_SLOT: ("ระบบกลางยังไม่ให้ทดสอบในขณะนี้", "the collector grants no test now"),
    Reason.RESPONDER_BUSY: ("จุดทดสอบปลายทางไม่ว่าง ลองใหม่ภายหลัง", "the far end is busy; try again later"),
    Reason.RESPONDER_SILENT: ("จุดทดสอบปลายทางไม่ตอบ", "the far end does not answer"),
    Reason.NO_RESPONDER: ("ไม่มีจุดทดสอบปลายทางในบัญชี", "the inventory has no responder for this site"),
    Reason.NO_LEASE: ("ขอใบอนุญาตทดสอบจากระบบกลางไม่ได้", "no lease could be had from the collector"),
    Reason.LINK_IN_USE: ("มีการทดสอบบนวงจรนี้อยู่แล้ว", "a test is under way on this link"),
    Reason.BUDGET_SPENT: ("ใช้ปริมาณข้อมูลทดสอบของเดือนนี้ครบแล้ว", "the month's data for tests are spent"),
    Reason.NOT_ON_THIS_LINK: ("ไม่ได้ต่ออยู่กับวงจรของหน่วยงาน", "this machine is not on the site's link"),
    Reason.BROKEN_OFF: ("การเชื่อมต่อขาดระหว่างทดสอบ", "the connection broke in the middle"),
    Reason.DELAY_ROSE: ("หยุดเองเพราะวงจรเริ่มหน่วง", "it stopped itself because the delay rose"),
    Reason.LOSS_SEEN: ("หยุดเองเพราะเริ่มมีการสูญหาย", "it stopped itself because packets were lost"),
    Reason.UDP_BLOCKED: ("วงจรไม่ให้ UDP ผ่าน", "UDP does not come through"),
    Reason.TOOL_MISSING: ("ยังไม่ได้ติดตั้งโปรแกรมที่ต้องใช้", "the program is not installed"),
    Reason.TOOL_FAILED: ("โปรแกรมภายนอกทำงานไม่สำเร็จ", "the program failed"),
    Reason.CONTRACT_UNKNOWN: ("ไม่ทราบสัญญาของวงจรนี้", "the contract of this link is not known"),
}


def say(key: str, language: str, **values: str) -> str:
    """The words for a key; Thai for ``th``, English for any other language."""
    return WORDS[key][_index(language)].format(**values)


def verdicts(finding: Finding, contract: ContractTerms | None, language: str) -> list[str]:
    """Plain words of a whole test: a verdict for each direction, the delays, the cost."""
    if not finding.results:
        return [say("not_measured", language, why=_why(finding.reason, finding.facts.get("detail", ""), language))]
    lines = [f"{say(one.direction, language)}: {verdict(one, contract, language)}" for one in finding.results]
    lines += [text for one in finding.results if (text := _delays(one, language))][:1]
    size = sum(one.counts.get("test_bytes", 0) for one in finding.results)
    if size:
        took = (max(one.end for one in finding.results) - min(one.start for one in finding.results)) / 1e6
        lines.append(say("cost", language, size=quantity(size, "B"), time=quantity(took, "s")))
    return lines


def verdict(result: Result, contract: ContractTerms | None, language: str) -> str:
    """One direction, with what limited it where it is below the contract."""
    if result.outcome is not Outcome.OK:
        return say("not_measured", language, why=_why(result.reason, result.facts.get("detail", ""), language))
    if at_least := result.values.get("at_least", 0.0):
        agreed = quantity(result.values.get("contract", 0.0), "bit/s")
        return say("at_least", language, rate=quantity(at_least, "bit/s"), contract=agreed)
    wanted = result.values.get("contract", 0.0)
    rate = result.values.get("throughput_contract", result.values.get("throughput", 0.0))
    if not wanted:
        return say("no_contract", language, rate=quantity(rate, "bit/s"))
    key = _key(result, rate / wanted, contract)
    words = say(
        key, language, rate=quantity(rate, "bit/s"), contract=quantity(wanted, "bit/s"), share=f"{rate / wanted:.1%}"
    )
    return f"{words} {because(result, language)}" if key == "inconclusive" else words


def because(result: Result, language: str) -> str:
    """What could have limited a test."""
    separator = " และ" if language == "th" else ", and "
    return say("because", language, what=separator.join(LIMITS[one][_index(language)] for one in result.limits))


def _key(result: Result, share: float, contract: ContractTerms | None) -> str:
    if share >= REACHED:
        return "reached"
    if not result.valid:
        return "inconclusive"
    return "below_up_to" if contract is not None and contract.up_to else "below"


def _delays(result: Result, language: str) -> str:
    idle, loaded = result.durations.get("rtt"), result.durations.get("rtt_loaded")
    if idle is None or loaded is None or not idle.count or not loaded.count:
        return ""
    middle, high = idle.quantile(0.5), loaded.quantile(0.95)
    if middle is None or high is None:
        return ""
    return say("delay", language, idle=quantity(middle / 1e9, "s"), loaded=quantity(high / 1e9, "s"))


def _why(reason: Reason | None, detail: str, language: str) -> str:
    words = REASONS[reason][_index(language)] if reason in REASONS else str(reason or "")
    return f"{words} ({detail})" if detail else words


def _index(language: str) -> int:
    return 0 if language == "th" else 1

"""*Link*: what one circuit delivers against its contract, how it behaves under load, and when it was down."""

from dashboards import parts
from dashboards.parts import Dashboard, Panel, Words, query

HERE = 'site="$site",link=~"$link"'
TESTS = f'probe="throughput",{HERE}'
STAMP = f'probe="stamp",{HERE}'
CALL = f'probe="call",{HERE}'
USE = f'probe="utilisation",{HERE}'
SPARSE = "2d"
"""Tests are hours apart; what one found stands until the next."""
WAYS = (("down", "ดาวน์โหลด · Download"), ("up", "อัปโหลด · Upload"))


def dashboard() -> Dashboard:
    """The dashboard: state first, then speed, then delay and loss."""
    board = parts.board(
        "phrom-link",
        "วงจรอินเทอร์เน็ต · Link",
        "วงจรหนึ่งได้ความเร็วตามสัญญาหรือไม่ ใช้งานได้ตลอดหรือไม่ และมีเวลาแฝงเมื่อใช้งานเต็มเท่าใด "
        "· What one circuit delivers against its contract, when it was down, and its latency under load.",
        ["link"],
    )
    board.with_variable(parts.values_of("site", "หน่วย · Site", several=False))
    board.with_variable(parts.values_of("link", "วงจรอินเทอร์เน็ต · Link", 'site="$site"'))
    for panel in (*_state(), *_speed(), *_under_load(), *_each_way(), *_calls()):
        board.with_panel(panel)
    return board.build()


def _state() -> list[Panel]:
    return [
        parts.states(
            Words(
                "สถานะวงจร · State of the link",
                "ใช้งานได้ หรือขัดข้องที่ส่วนใด ตามที่เครื่องวัดเห็น ช่องว่างคือไม่มีผู้เฝ้าดู · Up, or where the fault lay as "
                "the agent saw it; an empty box was not watched.",
            ),
            parts.link_state("link", HERE),
            "{{link}}",
            height=5,
            codes=parts.LINK_CODES,
        ),
    ]


def _speed() -> list[Panel]:
    def newest(metric: str, way: str, valid: str) -> str:
        rate = f'{metric}{{direction="{way}",valid="{valid}",{TESTS}}}'
        return f"max by (engine) (last_over_time({rate}[$__rate_interval]))"

    return [
        parts.lines(
            Words(
                f"{thai} เทียบสัญญา · {english} against the contract",
                "จุด “ใช้เป็นหลักฐานได้” คือผลที่ไม่มีสิ่งอื่นจำกัด จุด “ยังสรุปไม่ได้” ใช้อ้างว่าต่ำกว่าสัญญาไม่ได้ · A valid "
                "sample had no other limit than the link; an inconclusive one is never evidence of a fault.",
            ),
            parts.RATE,
            query(newest("phrom_throughput_contract_bits_per_second", way, "yes"), "ใช้เป็นหลักฐานได้ · valid {{engine}}"),
            query(
                newest("phrom_throughput_contract_bits_per_second", way, "no"),
                "ยังสรุปไม่ได้ · inconclusive {{engine}}",
                "B",
            ),
            query(
                f'max(last_over_time(phrom_contract_bits_per_second{{direction="{way}",{TESTS}}}[{SPARSE}]))',
                "ตามสัญญา · contract",
                "C",
            ),
        )
        for way, (thai, english) in ((way, words.split(" · ")) for way, words in WAYS)
    ]


def _under_load() -> list[Panel]:
    def newest(metric: str, more: str) -> str:
        return f"max by (direction) (last_over_time({metric}{{{more}{TESTS}}}[{SPARSE}]))"

    return [
        parts.lines(
            Words(
                "เวลาไปกลับขณะใช้งานเต็ม · Round-trip time under load",
                "เวลาไปกลับขณะวงจรเต็ม (เปอร์เซ็นไทล์ที่ 95) เทียบกับขณะว่าง (มัธยฐาน) · While the test filled the link (95th "
                "percentile), beside the idle one (median).",
            ),
            parts.RTT,
            query(newest("phrom_rtt_loaded_seconds", 'quantile="0.95",') + " < +Inf", "{{direction}} เต็ม · loaded"),
            query(newest("phrom_rtt_seconds", 'quantile="0.5",') + " < +Inf", "{{direction}} ว่าง · idle", "B"),
        ),
        parts.lines(
            Words(
                "ส่งซ้ำระหว่างการทดสอบ · Retransmissions during tests",
                "สัดส่วนเซกเมนต์ TCP ที่ต้องส่งซ้ำขณะทดสอบ · Share of the test's TCP segments that were sent again.",
            ),
            parts.LOSS,
            query(
                f"{newest('phrom_retransmitted', '')} / {newest('phrom_segments', '')}",
                "{{direction}}",
            ),
        ),
    ]


def _each_way() -> list[Panel]:
    def lost(way: str) -> str:
        counts = [
            f"sum by (link) (sum_over_time(phrom_{name}_{way}_packets{{{STAMP}}}[$__rate_interval]))"
            for name in ("lost", "sent")
        ]
        return " / ".join(counts)

    def high(measure: str) -> str:
        return f'max by (link) (phrom_{measure}_seconds{{{STAMP},quantile="0.95"}} < +Inf)'

    return [
        parts.lines(
            Words(
                "สูญหายแต่ละทิศทาง · Loss each way",
                "จากแพ็กเก็ตเล็ก ๆ วินาทีละสิบชุดตลอดวัน (STAMP, RFC 8762) · From ten small packets a second, all day (STAMP, "
                "RFC 8762).",
            ),
            parts.LOSS,
            query(lost("down"), "{{link}} ดาวน์โหลด · down"),
            query(lost("up"), "{{link}} อัปโหลด · up", "B"),
        ),
        parts.lines(
            Words(
                "เวลาไปกลับถึงจุดทดสอบ · Round-trip time to the responder",
                "มัธยฐานและเปอร์เซ็นไทล์ที่ 95 · Median and 95th percentile.",
            ),
            parts.RTT,
            query(f'max by (link) (phrom_rtt_seconds{{{STAMP},quantile="0.5"}} < +Inf)', "{{link}} 50 %"),
            query(high("rtt"), "{{link}} 95 %", "B"),
        ),
        parts.lines(
            Words(
                "ความผันแปรของเวลาแฝงแต่ละทิศทาง · Delay variation each way",
                "ส่วนที่เกินค่าต่ำสุดของนาทีนั้น เปอร์เซ็นไทล์ที่ 95 (RFC 5481) "
                "· Above the minute's least, 95th percentile (RFC 5481).",
            ),
            parts.JITTER,
            query(high("delay_variation_down"), "{{link}} ดาวน์โหลด · down"),
            query(high("delay_variation_up"), "{{link}} อัปโหลด · up", "B"),
        ),
        parts.lines(
            Words(
                "คุณภาพเสียงโดยประมาณ (MOS) · Estimated voice quality (MOS)",
                "คำนวณจากเวลาแฝง จิตเตอร์ และการสูญหาย เพื่อดูแนวโน้ม ไม่ใช่หลักฐาน · From delay, jitter and loss; a trend, no "
                "evidence.",
            ),
            parts.MOS,
            query(f"min by (link) (min_over_time(phrom_mos{{{STAMP}}}[$__rate_interval]))", "{{link}}"),
        ),
    ]


def _calls() -> list[Panel]:
    def newest(metric: str) -> str:
        return f"max by (platform, direction) (last_over_time({metric}{{{CALL}}}[$__rate_interval]))"

    return [
        parts.lines(
            Words(
                "ทดสอบสายประชุม: ภาพหยุดนิ่ง · Call test: freezes",
                "จำนวนครั้งที่ภาพจะหยุดนิ่งในการทดสอบสิบวินาที · How often the picture would have stood still in ten seconds.",
            ),
            parts.COUNT,
            query(newest("phrom_freezes"), "{{platform}} {{direction}}"),
        ),
        parts.lines(
            Words(
                "ทดสอบสายประชุม: แพ็กเก็ตสูญหาย · Call test: loss",
                "สัดส่วนแพ็กเก็ตที่ไม่ถึงปลายทางในการทดสอบสิบวินาที · Share of the packets that never came.",
            ),
            parts.LOSS,
            query(f"{newest('phrom_lost_packets')} / {newest('phrom_sent_packets')}", "{{platform}} {{direction}}"),
        ),
        parts.lines(
            Words(
                "การใช้วงจร · Use of the link",
                "สัดส่วนของสัญญาที่ทั้งหน่วยใช้อยู่ ตามที่เราเตอร์นับ · Share of the contract in use by the whole site, as the "
                "router counted.",
            ),
            parts.RATIO,
            query(_used("down"), "{{link}} ดาวน์โหลด · down"),
            query(_used("up"), "{{link}} อัปโหลด · up", "B"),
        ),
        parts.lines(
            Words(
                "ข้อมูลที่ใช้ทดสอบ · What tests cost",
                "ปริมาณข้อมูลของการทดสอบแต่ละครั้ง · Bytes of each test.",
            ),
            parts.BYTES,
            query(
                f"max by (engine, direction) (last_over_time(phrom_test_bytes{{{HERE}}}[$__rate_interval]))",
                "{{engine}} {{direction}}",
            ),
        ),
    ]


def _used(way: str) -> str:
    return f"max by (link) (max_over_time(phrom_utilisation_{way}_ratio{{{USE}}}[$__rate_interval]))"

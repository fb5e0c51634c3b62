"""*Province overview*: every site at one glance, what fails and where, and how the links have been."""

from dashboards import parts
from dashboards.parts import Dashboard, Panel, Words, query

SITES = 'site=~"$site"'
ECHO = 'probe="icmp",site=~"$site",target=~"$target"'


def dashboard() -> Dashboard:
    """The dashboard; its figures are of the range's end, its curves of the whole range."""
    board = parts.board(
        "phrom-province",
        "ภาพรวมจังหวัด · Province overview",
        "ทุกอำเภอในหน้าเดียว: อะไรขัดข้อง ที่ไหน ตั้งแต่เมื่อใด · Every site: what fails, where, since when.",
        ["province"],
    )
    board.with_variable(parts.values_of("site", "หน่วย · Site"))
    board.with_variable(parts.values_of("target", "ปลายทาง · Target of echoes", 'probe="icmp"'))
    for panel in (*_now(), *_history(), *_platforms(), *_slow()):
        board.with_panel(panel)
    return board.build()


def _now() -> list[Panel]:
    return [
        parts.number(
            Words(
                "หน่วยที่มีผลการวัด · Sites measured",
                "จำนวนหน่วยที่มีผลการวัดในช่วง 5 นาที · Sites with a result in the last 5 minutes.",
            ),
            parts.PLAIN,
            f"count(group by (site) (last_over_time(phrom_outcome{{{SITES}}}[5m])))",
        ),
        parts.number(
            Words(
                "หน่วยที่มีเหตุขัดข้อง · Sites with a fault",
                "จำนวนหน่วยที่มีปลายทางขัดข้องอย่างน้อยหนึ่งรายการ · Sites where at least one target fails.",
            ),
            parts.COUNT,
            f'sum(max by (site) (last_over_time(phrom_outcome{{outcome="failed",{SITES}}}[5m])))',
        ),
        parts.number(
            Words(
                "ปลายทางที่ขัดข้อง · Targets that fail",
                "จำนวนปลายทางที่ผลล่าสุดคือขัดข้อง · Targets whose newest result is a failure.",
            ),
            parts.COUNT,
            f'sum(last_over_time(phrom_outcome{{outcome="failed",{SITES}}}[5m]))',
        ),
        parts.number(
            Words(
                "เครื่องวัดวัดไม่ได้ · Agents that could not measure",
                "เครื่องวัดเองมีปัญหา ไม่ใช่ความผิดของผู้ให้บริการ · The agent's own trouble, never the provider's.",
            ),
            parts.COUNT,
            f'sum(max by (site) (last_over_time(phrom_outcome{{outcome="error",{SITES}}}[5m])))',
        ),
    ]


def _history() -> list[Panel]:
    return [
        parts.states(
            Words(
                "สถานะทุกหน่วย · State of every site",
                "ผลที่แย่ที่สุดของแต่ละหน่วยในแต่ละช่วงเวลา ช่องว่างคือไม่มีข้อมูลการวัด · The worst result of each site; "
                "an empty box was not measured.",
            ),
            parts.worst_outcome("site", SITES),
            "{{site}}",
            height=14,
        ),
        parts.lines(
            Words("แพ็กเก็ตสูญหาย · Packet loss", "สัดส่วนที่สูญหายของการทดสอบ icmp · Share of the echoes that were lost."),
            parts.LOSS,
            query(parts.loss("site", ECHO), "{{site}}"),
        ),
        parts.lines(
            Words(
                "เวลาไปกลับ เปอร์เซ็นไทล์ที่ 95 · Round-trip time, 95th percentile",
                "ปลายทางที่ช้าที่สุดของแต่ละหน่วย เมื่อสูญหายเกินร้อยละ 5 จะไม่มีค่า ให้ดูกราฟสูญหาย · The slowest target of each site; "
                "where more than 5 % were lost there is no such time: see the loss.",
            ),
            parts.RTT,
            query(
                f'max by (site) (phrom_rtt_seconds{{quantile="0.95",{ECHO}}} < +Inf)',
                "{{site}}",
            ),
        ),
    ]


def _platforms() -> list[Panel]:
    return [
        parts.bars(
            Words(
                "ระบบประชุมที่เข้าไม่ได้ · Platforms out of reach",
                "จำนวนหน่วยที่เข้าระบบประชุมนี้ไม่ได้ หลายหน่วยพร้อมกันแสดงว่าปัญหาอยู่ที่ระบบ · Sites that cannot reach the platform; "
                "many at once point at the platform.",
            ),
            parts.COUNT,
            "sum by (platform) (max by (site, platform) "
            f'(last_over_time(phrom_outcome{{outcome="failed",platform!="",{SITES}}}[10m])))',
            "{{platform}}",
        ),
        parts.bars(
            Words(
                "ใบรับรองหมดอายุใน · Certificates expire in",
                "เวลาที่เหลือของใบรับรองแต่ละปลายทาง · Time left of each target's certificate.",
            ),
            parts.LEFT,
            f"sort(min by (target) (last_over_time(phrom_certificate_expiry_seconds{{{SITES}}}[6h])))",
            "{{target}}",
        ),
    ]


def _slow() -> list[Panel]:
    return [
        parts.bars(
            Words(
                "นาฬิกาคลาดเคลื่อน · Clock offset",
                "ต่างจากเวลามาตรฐานมากที่สุดของแต่ละหน่วย · The largest distance from the time server, by site.",
            ),
            parts.CLOCK,
            f"max by (site) (abs(last_over_time(phrom_clock_offset_seconds{{{SITES}}}[1h])))",
            "{{site}}",
        ),
        parts.lines(
            Words(
                "สัดส่วนผลปกติรายชั่วโมง · Share of good results, by hour",
                "จากสรุปรายชั่วโมงที่เก็บไว้หลายปี ใช้ดูย้อนหลังนาน ๆ · From the hourly roll-ups, which are kept for years.",
            ),
            parts.SHARE_OK,
            query(f'avg by (site) (last_over_time(phrom_outcome:1h{{outcome="ok",{SITES}}}[1h]))', "{{site}}"),
        ),
    ]

"""What the pages say: worst first, nearest first, in words of the field."""

from collector.board.views import (
    Day,
    Words,
    board_rows,
    fault_lines,
    groups,
    milliseconds,
    nearest_first,
    summary_text,
    value_text,
)
from collector.picture import Expected, Picture, SeriesNow, State
from collector.store import Landed, SeriesKey, Source
from wire.clock import MINUTE, SECOND, Corrected
from wire.histogram import Histogram
from wire.observation import Window
from wire.reasons import Outcome, Reason

NOW = 1_763_690_000 * SECOND
THAI = Words("th", {"zoom": "Zoom"})
ENGLISH = Words("en", {"zoom": "Zoom"})
MS = 1_000_000


def window(probe="icmp", target="gateway", platform="", outcome=Outcome.OK, reason=None, **found) -> Window:
    return Window(
        boot="b", start=0, end=MINUTE, wall_start=0, wall_end=MINUTE, probe=probe, target=target, platform=platform,
        outcome=outcome, reason=reason, **found,
    )  # fmt: skip


def series(probe: str, target: str, platform: str = "", reason: Reason = Reason.NO_REPLY) -> SeriesNow:
    key = SeriesKey("na-yung", "fibre", "link", probe, target, platform)
    return SeriesNow(key, window(probe, target, platform, Outcome.FAILED, reason), NOW, NOW - 5 * MINUTE)


def heard(site: str, *windows: Window, at: int = NOW) -> Picture:
    picture = Picture()
    source = Source(f"a-{site}", site, "fibre", "link")
    picture.heard(source, at)
    picture.landed(Landed(source, one, Corrected(NOW, 1), NOW, False) for one in windows)
    return picture


def test_a_dead_router_is_told_before_the_platforms_it_silences():
    faults = [
        series("http", "zoom.web", "zoom"),
        series("dns", "zoom.name", "zoom"),
        series("icmp", "anchor-1"),
        series("dns", "resolver"),
        series("icmp", "gateway"),
    ]
    assert [(one.key.probe, one.key.target) for one in nearest_first(faults)] == [
        ("icmp", "gateway"),
        ("dns", "resolver"),
        ("icmp", "anchor-1"),
        ("dns", "zoom.name"),
        ("http", "zoom.web"),
    ]


def test_a_fault_is_one_thai_line_with_where_what_why_and_since_when():
    lines = fault_lines([series("http", "zoom.web", "zoom", Reason.TIMED_OUT)], THAI, NOW)
    assert lines == ["Zoom, หน้าเว็บ: ใช้เวลานานเกินกำหนด ตั้งแต่ 08.48\u00a0น."]
    assert fault_lines([series("icmp", "gateway")], ENGLISH, NOW) == [
        "router of the site, Round-trip time: does not reply, since 08:48"
    ]


def test_one_cause_at_one_place_is_one_line_with_its_earliest_beginning():
    late = series("tls", "zoom.tls", "zoom", Reason.NAME_NOT_FOUND)
    late.since = NOW - MINUTE
    faults = [series("dns", "zoom.name", "zoom", Reason.NAME_NOT_FOUND), late, series("http", "zoom.web", "zoom")]
    assert fault_lines(faults, ENGLISH, NOW) == [
        "Zoom, Name server, Certificate: the name does not exist, since 08:48",
        "Zoom, Web page: does not reply, since 08:48",
    ]


def test_an_endpoint_is_named_only_where_the_probe_does_not_say_it():
    assert ENGLISH.target("tcp", "scopia.tcp-443", "scopia") == "scopia, Connection (tcp-443)"
    assert ENGLISH.target("tcp", "zoom.tcp", "zoom") == "Zoom, Connection"
    assert THAI.target("icmp", "anchor-2", "") == "จุดเทียบภายนอก 2, เวลาไป–กลับ"


def test_the_board_puts_what_needs_attention_first_and_counts_every_state():
    sites = [
        ("ก", heard("a", window()).site("a", NOW)),
        ("ข", Picture().site("b", NOW)),
        ("ค", heard("c", window(outcome=Outcome.FAILED, reason=Reason.NO_REPLY)).site("c", NOW)),
        ("ง", heard("d", window(), at=NOW - 60 * SECOND).site("d", NOW)),
    ]
    rows, tally = board_rows(sites, THAI, NOW)
    assert [(row.name, row.state) for row in rows] == [
        ("ค", State.FAILING),
        ("ง", State.SILENT),
        ("ข", State.NO_AGENT),
        ("ก", State.OK),
    ]
    assert {state: number for state, _, number in tally} == {
        State.OK: 1, State.NO_AGENT: 1, State.UNKNOWN: 0, State.SILENT: 1, State.FAILING: 1,
    }  # fmt: skip
    assert rows[1].note == "ขาดการติดต่อตั้งแต่ 08.52\u00a0น."
    assert rows[0].heard == "0 วินาทีที่แล้ว"


def test_more_faults_than_fit_are_counted_and_not_hidden():
    many = [window("tcp", f"printer-{one}", "", Outcome.FAILED, Reason.REFUSED) for one in range(5)]
    rows, _ = board_rows([("ก", heard("a", *many).site("a", NOW))], THAI, NOW)
    assert (len(rows[0].wrong), rows[0].more) == (3, 2)


def test_an_unconfirmed_site_says_why():
    picture = heard("a", window()).site(
        "a", NOW, [Expected("icmp", "gateway", ""), Expected("http", "zoom.web", "zoom")]
    )
    rows, _ = board_rows([("ก", picture)], THAI, NOW)
    assert (rows[0].state, rows[0].note) == (State.UNKNOWN, "Zoom, หน้าเว็บ: ยังไม่ได้วัด")


def test_values_carry_their_units():
    echo = window(counts={"sent": 60, "lost": 3}, durations={"rtt": Histogram.of([20 * MS] * 57, lost=3)})
    assert value_text(echo) == "20.0 ms · 57/60"
    assert value_text(window("host", "machine", values={"cpu": 0.031, "memory": 0.42})) == "CPU 3 % · RAM 42 %"
    assert value_text(window("ntp", "clock", values={"clock_offset": -0.0123})) == "-12.3 ms"
    assert [milliseconds(one * MS) for one in (0.42, 20.44, 1240)] == ["0.42 ms", "20.4 ms", "1,240 ms"]


def test_a_day_in_words_counts_the_lost_as_beyond_every_limit():
    day = Day(Histogram.of([20 * MS] * 90, lost=10), windows=10, failed=1)
    assert summary_text(day, THAI) == "ค่ากลาง 20.0 ms · สูญหายร้อยละ 10.00 · ขัดข้อง 1 ครั้ง จากการวัด 10 ครั้ง"
    fine = Day(Histogram.of([20 * MS] * 100), windows=10, failed=0)
    assert summary_text(fine, ENGLISH) == "median 20.0 ms · 95 % within 20.0 ms · failed in 0 of 10 measurements"


def test_the_table_of_a_links_measurements_is_not_called_as_its_history_is():
    picture = heard("na-yung", window()).site("na-yung", NOW)
    assert [one.title for one in groups(picture, {}, {}, ENGLISH, NOW)] == ["What is measured of the link"]
    assert [one.title for one in groups(picture, {}, {}, THAI, NOW)] == ["รายการที่วัดของวงจร"]
    assert ENGLISH("Link") not in {one.title for one in groups(picture, {}, {}, ENGLISH, NOW)}

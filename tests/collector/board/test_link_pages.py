"""A link on the board: its state with since when, its outages, and what nobody measured."""

import re
from pathlib import Path

import pytest

from collector.board.link_pages import month_of
from collector.board.link_views import length_text, link_view, percent_text, shares
from collector.board.timeline import timeline
from collector.board.views import Words
from collector.link_history.domains import judge
from collector.link_history.histories import Told
from collector.link_history.outages import outages
from collector.link_history.reading import Link
from collector.link_history.shapes import Interval, Kind, Rules, State, Turn, Why
from collector.link_words import DOMAINS, LINK_KINDS, LINK_STATES, WHO_ACTS, WHYS
from collector.picture import State as Shown
from tests.collector.link_history.test_history_api import LINK, at, joined, send
from tests.support.collecting import collecting
from tests.support.store import EPOCH
from tests.support.watching import Box
from wire.clock import DAY, HOUR, SECOND

ENGLISH = Words("en", {})
THAI = Words("th", {})
FACTS = {"answered": "gateway", "silent": "edge, anchor-1", "carrier": "yes", "trace": "10.0.0.1 > *"}


def history(*parts: tuple[float, str]) -> list[Interval]:
    """Intervals one after the other."""
    found, begin = [], EPOCH
    for seconds, word in parts:
        end = begin + round(seconds * SECOND)
        if word == "silent":
            found.append(Interval(begin, end, silent=True))
        elif word in list(State):
            turn = Turn(1, 1, 0, 3, begin, 0, State.UP, State(word), "", "", FACTS)
            found.append(Interval(begin, end, State(word), turn=turn))
        else:
            found.append(Interval(begin, end, why=Why(word)))
        begin = end
    return found


def seen(*parts: tuple[float, str], words: Words = ENGLISH):
    """The view of a history that ends now."""
    whole = history(*parts)
    told = [Told(Link("na-yung", LINK), one, judge(one, {})) for one in outages(whole, Rules())]
    return link_view(LINK, whole, told, Rules(), words, whole[-1].end)


@pytest.mark.parametrize(
    ("last", "state", "word", "acts"),
    [
        ("up", Shown.OK, "link up", ""),
        ("collector", Shown.OK, "link up; the provincial system or responder does not answer",
         "provincial IT checks the provincial system"),
        ("lan", Shown.FAILING, "link out of reach: the office's own network has failed",
         "the office checks power, router and cables"),
        ("link", Shown.FAILING, "link down between office and provider", "report it to the provider"),
        ("silent", Shown.SILENT, "agent silent, cause not known yet", ""),
        ("power_lost", Shown.UNKNOWN, "not measured: the agent lost its power", ""),
        ("undecided", Shown.UNKNOWN, "not measured: the agent could not tell", ""),
    ],
)  # fmt: skip
def test_the_state_of_a_link_in_words(last: str, state: Shown, word: str, acts: str) -> None:
    view = seen((3600, "up"), (90, last))
    assert (view.state, view.word, view.who_acts) == (state, word, acts)


def test_only_up_is_green_whatever_the_state() -> None:
    for state in State:
        if state not in (State.UP, State.COLLECTOR):
            assert seen((60, "up"), (60, str(state))).state is not Shown.OK
    for why in Why:
        assert seen((60, "up"), (60, str(why))).state is Shown.UNKNOWN


def test_an_outage_in_a_line() -> None:
    (row,) = seen((3600, "up"), (42.5, "provider"), (600, "up")).outages
    assert (row.length, row.domain, row.counted) == ("42 s", "provider's network", True)
    assert row.evidence == [
        "answered: gateway", "did not answer: edge, anchor-1", "cable connected: yes", "path: 10.0.0.1 > *",
    ]  # fmt: skip
    assert re.fullmatch(r"(\d+ \w+ \d+ )?\d\d:\d\d:\d\d", row.start)


def test_what_is_said_of_outages_that_do_not_count_or_did_not_end() -> None:
    view = seen((60, "up"), (20, "link"), (5, "up"), (20, "link"), (60, "up"), (3, "link"), (90, "agent_crashed"),
                (30, "link"))  # fmt: skip
    lasting, short, joined_one, first = view.outages
    assert lasting.end == "lasts still"
    assert "too short to count" in short.note
    assert "when it ended nobody measured" in short.note
    assert "counts as one with the outage before it" in joined_one.note
    assert "count" not in first.note
    assert view.counted == 2


def test_times_that_nobody_measured_are_listed_from_a_minute_on() -> None:
    view = seen(
        (600, "no_agent"), (60, "up"), (59, "missing"), (60, "up"), (61, "suspended"), (60, "up"), (90, "silent")
    )
    assert [(row.length, row.why) for row in view.gaps] == [
        ("1 min 30 s", "agent silent, cause not known yet"), ("1 min 1 s", "the machine was asleep"),
    ]  # fmt: skip


def test_shares_add_up_and_tell_the_offices_own_faults_apart() -> None:
    found = shares(history((5000, "no_agent"), (9000, "up"), (500, "link"), (300, "lan"), (200, "missing")), ENGLISH)
    assert [(one.word, one.percent) for one in found] == [
        ("link up", "90.000 %"), ("link down", "5.000 %"),
        ("link out of reach: the office's own network has failed", "3.000 %"), ("not measured", "2.000 %"),
    ]  # fmt: skip


def test_a_hundred_per_cent_is_only_said_of_the_whole() -> None:
    assert percent_text(30 * DAY, 30 * DAY) == "100.000 %"
    assert percent_text(30 * DAY - SECOND, 30 * DAY) == "99.999 %"
    assert percent_text(0, 0) == "0.000 %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"), (3599, "59 min 59 s"),
     (3600, "1 h 0 min"), (86_399, "23 h 59 min"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_lengths(seconds: float, text: str) -> None:
    assert length_text(seconds, ENGLISH) == text


def test_every_code_has_its_words() -> None:
    assert LINK_KINDS.keys() == set(Kind)
    assert LINK_STATES.keys() == set(State)
    assert WHYS.keys() == set(Why)
    assert DOMAINS.keys() == set(State) - {State.UP}
    assert WHO_ACTS.keys() == set(State) - {State.UP, State.UNKNOWN}


def test_the_strip_draws_each_class_in_a_shape_of_its_own_and_the_shortest_fault_to_be_seen() -> None:
    whole = history((80_000, "up"), (2, "link"), (3000, "missing"), (3398, "silent"))
    text = timeline(whole, EPOCH, EPOCH + DAY, "<title>", [(EPOCH, "0")])
    assert "&lt;title&gt;" in text
    assert [text.count(f'class="{name}"') for name in ("up", "down", "mark", "unmeasured", "silent")] == [1, 1, 1, 1, 1]
    (width,) = re.findall(r'class="down"[^>]*width="([\d.]+)"', text)
    assert float(width) >= 1.6
    assert text.index('class="down"') > text.index('class="up"'), "drawn over its neighbours"


def test_months() -> None:
    now = 1_795_000_000 * SECOND
    assert str(month_of("", now)) == "2026-11-01"
    assert str(month_of("2026-10", now)) == "2026-10-01"
    for wrong in ("2026-13", "2026", "x", "2027-01", "0001-01", "2569-11"):
        assert month_of(wrong, now) is None


async def test_pages_of_a_link(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await joined(collector)
        collector.now.at = at(3600)
        await send(agent, Box().run(0, 3590, [(0, "up"), (600, "link"), (900, "up"), (3400, "provider")], stop="none"))
        for language, word, domain in (
            ("en", "provider&#39;s network down", "circuit from office to provider"),
            ("th", "โครงข่ายของผู้ให้บริการขัดข้อง", "วงจรจากสำนักงานถึงผู้ให้บริการ"),
        ):
            for path in (f"/sites/na-yung?lang={language}", f"/fragments/sites/na-yung?lang={language}"):
                text = (await collector.ask("GET", path)).body.decode()
                assert word in text
                assert domain in text
                assert '<svg xmlns="http://www.w3.org/2000/svg"' in text
            text = (await collector.ask("GET", f"/sites/na-yung/links/{LINK}?lang={language}")).body.decode()
            assert domain in text
            assert "month=" in text
        board = (await collector.ask("GET", "/?lang=en")).body.decode()
        assert "provider&#39;s network down" in board
        assert (await collector.ask("GET", f"/sites/na-yung/links/{LINK}?month=2999-01")).status == 404
        assert (await collector.ask("GET", "/sites/na-yung/links/other")).status == 404
        collector.now.at += HOUR // 60
        silent = (await collector.ask("GET", "/sites/na-yung?lang=en")).body.decode()
        assert "agent silent, cause not known yet" in silent

"""Whatever the inputs: never two on a link, never in quiet time, never beyond a responder; and random within that."""

import datetime as dt
import itertools
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.inventory.model import ServiceHours
from collector.slots.held import Kind
from collector.slots.planner import (
    BACKOFF,
    OVERDUE,
    RETEST_AFTER,
    Need,
    Reservation,
    allowed,
    backoff,
    choose,
    crowded,
    plan,
    plan_one,
)
from collector.slots.rules import LEAD, LENGTH, MARGIN, Far, Line, Rules, busy, month_of, of_service
from collector.slots.spans import Span, joined, shortened, total, within, without
from wire.clock import DAY, HOUR, MINUTE, SECOND
from wire.meetings import Load, MeetingTimes, QuietRules, may_run, quiet_time
from wire.settings import ContractTerms

START = 1_793_466_000_000_000
"""2026-11-01 00:00 in Bangkok, a Sunday."""
TERMS = ContractTerms(download=200_000_000, upload=80_000_000)
FAR = Far("core", 1_000_000_000, 1_000_000_000)
RULES = Rules()


def line(site: str = "phen", **more: Any) -> Line:
    settled: dict[str, Any] = {"agent": "a", "terms": TERMS, "responders": ("core",)}
    return Line(site, "fibre", **(settled | more))


def meeting(start: int, length: int) -> MeetingTimes:
    return MeetingTimes(f"m{start}", start, start, start + length)


def _span(one: MeetingTimes) -> tuple[int, int]:
    span = quiet_time(one, QuietRules())
    return span.start, span.end


# spans

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


@given(SPANS, SPANS, st.integers(0, 60))
def test_spans_are_sets_of_moments(ones, others, moment):
    mine, theirs = joined(ones), joined(others)
    held = any(start <= moment < end for start, end in ones)
    barred = any(start <= moment < end for start, end in others)
    assert any(one.start <= moment < one.end for one in mine) is held
    assert any(one.start <= moment < one.end for one in without(mine, theirs)) is (held and not barred)
    assert any(one.start <= moment < one.end for one in within(mine, theirs)) is (held and barred)
    assert total(without(mine, theirs)) + total(within(mine, theirs)) == total(mine)
    assert any(one.start <= moment < one.end for one in shortened(mine, 3)) is any(
        one.start <= moment and moment + 3 < one.end for one in mine
    )


# whatever the inputs


@st.composite
def worlds(draw):
    sites = draw(st.integers(1, 12))
    meetings = draw(
        st.lists(
            st.tuples(st.integers(0, 29 * 24 * 60), st.integers(5, 600), st.sets(st.integers(0, sites), min_size=1)),
            max_size=12,
        )
    )
    times = [
        (meeting(START + at * MINUTE, length * MINUTE), {f"s{one}" for one in who}) for at, length, who in meetings
    ]
    capacity = draw(st.sampled_from([(1_000, 1_000), (80, 200), (220, 88), (440, 150), (300, 1_000)]))
    stands = draw(st.sampled_from(["", "s0"]))
    service = draw(st.sampled_from([None, ServiceHours(), ServiceHours(opens=dt.time(16), closes=dt.time(2))]))

    def of(site: str) -> tuple[Span, ...]:
        return tuple(joined(_span(one) for one, who in times if site in who))

    far = Far("core", capacity[0] * 1_000_000, capacity[1] * 1_000_000, of(stands) if stands else ())
    lines = [
        line(f"s{number}", quiet=of(f"s{number}"), service=service if number % 2 else None, office=ServiceHours())
        for number in range(1, sites + 1)
    ]
    now = START + draw(st.integers(0, 30 * 24 * 60 - 1)) * MINUTE + draw(st.integers(0, 59)) * SECOND
    needs = []
    for _ in lines:
        attempt = draw(st.integers(0, 9))
        needs.append(
            Need(
                samples=draw(st.floats(0, 90)),
                busy=draw(st.floats(0, 45)),
                last=draw(st.one_of(st.none(), st.integers(now - 3 * DAY, now))),
                failed=draw(st.integers(now - HOUR, now + MINUTE)) if attempt else None,
                attempt=attempt,
                retest=draw(st.sampled_from(["", "", "bad"])),
                retest_since=now,
                tested_on="core",
            )
        )
    taken = [
        Reservation(
            "core", draw(st.sampled_from([one.site for one in lines])), "fibre", now + at * SECOND,
            now + (at + length) * SECOND, down * 1_000_000, up * 1_000_000,
        )
        for at, length, down, up in draw(
            st.lists(st.tuples(st.integers(-60, 7200), st.integers(1, 3600), st.integers(0, 70), st.integers(0, 70)),
                     max_size=3)
        )
    ]  # fmt: skip
    return lines, needs, far, taken, now, times, stands, draw(st.integers(0, 2**32))


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_nobody_is_ever_trampled(world):
    lines, needs, far, taken, now, times, stands, seed = world
    found = plan(list(zip(lines, needs, strict=True)), {"core": far}, taken, RULES, now, Random(seed))
    places = [(one.site, one.link) for one in found]
    assert len(places) == len(set(places))
    for one in found:
        end = one.start + LENGTH
        assert one.start >= now + LEAD
        assert month_of(one.start, RULES.zone) == month_of(end - 1, RULES.zone) == month_of(now, RULES.zone)
        for held in taken:
            assert (held.site, held.link) != (one.site, one.link) or held.end <= one.start or held.start >= end
        heard = [times_ for times_, who in times if {one.site, stands or one.site} & who]
        middle = one.start + LENGTH // 2
        assert may_run(Load.FULL, middle, LENGTH // 2 + MARGIN - SECOND, heard, QuietRules(), slot=True)
        here = next(some for some in lines if some.site == one.site)
        assert within([Span(one.start, end)], of_service(Span(now, now + 31 * DAY), here.service, RULES.zone)) == [
            Span(one.start, end)
        ]
        need = needs[lines.index(here)]
        if not need.retest and need.last is not None:
            assert one.start >= need.last + RULES.least_gap
    everything = [*taken, *(one.reservation for one in found)]
    for moment in {one.start for one in found} | {one.start for one in taken}:
        at = [held for held in everything if held.start <= moment < held.end]
        ours = [held for held in at if held not in taken]
        if ours:
            assert sum(held.down for held in at) <= far.down
            assert sum(held.up for held in at) <= far.up


@given(st.integers(0, 2**32))
def test_a_test_that_alone_wants_more_runs_alone_and_capped(seed):
    hall = Far("core", 80_000_000, 200_000_000)
    lines = [(line(f"s{number}"), Need(60, 30)) for number in range(6)]
    found = plan(lines, {"core": hall}, [], RULES, START, Random(seed))
    assert {(one.down, one.up) for one in found} == {(80_000_000, 88_000_000)}
    starts = sorted(one.start for one in found)
    assert all(after - before >= LENGTH for before, after in itertools.pairwise(starts))


# random in time, and as many as wanted


def test_gaps_are_exponential_at_the_rate_of_their_hours():
    rng = Random(1)
    starts = []
    for _ in range(4000):
        one = plan_one(line(), Need(60, 30, last=None), {"core": FAR}, [], Rules(longest_gap=40 * DAY), START, rng)
        assert one is not None
        starts.append(one.start)
    # busy and other hours have their own constant rate, so that the first arrival's accumulated rate is Exp(1)
    ahead = 27 * DAY
    rates = 30 / (27 * 4 * HOUR), 30 / (27 * 20 * HOUR)
    evenings = busy(Span(START, START + 31 * DAY), RULES)

    def gathered(at: int) -> float:
        passed = within([Span(START + LEAD, at)], evenings) if at > START + LEAD else []
        return total(passed) * rates[0] + (at - START - LEAD - total(passed)) * rates[1]

    found = sorted(gathered(at) for at in starts if at < START + ahead)
    assert found[len(found) // 2] == pytest.approx(0.693, rel=0.08)  # the median of Exp(1)
    assert sum(found) / len(found) == pytest.approx(1.0, rel=0.06)


def test_the_gap_is_clamped():
    rng = Random(2)
    for _ in range(300):
        one = plan_one(line(), Need(0, 0, last=START), {"core": FAR}, [], RULES, START + HOUR, rng)
        assert one is not None
        assert START + RULES.least_gap <= one.start <= START + RULES.longest_gap
        late = plan_one(line(), Need(0, 0, last=START - 9 * DAY), {"core": FAR}, [], RULES, START, rng)
        assert late is not None
        assert START + LEAD <= late.start <= START + LEAD + OVERDUE


def test_office_hours_are_left_alone_while_there_is_time_elsewhere():
    rng = Random(3)
    office = ServiceHours()
    working = of_service(Span(START, START + 31 * DAY), office, RULES.zone)
    for _ in range(500):
        one = plan_one(line(office=office), Need(60, 30), {"core": FAR}, [], RULES, START, rng)
        assert one is not None
        assert not any(span.start <= one.start < span.end for span in working)


def test_equipment_that_is_off_is_not_asked_and_office_hours_then_must_do():
    service = ServiceHours()
    off = line(service=service, office=service)
    on = of_service(Span(START, START + 31 * DAY), service, RULES.zone)
    rng = Random(4)
    for _ in range(200):
        one = plan_one(off, Need(60, 30), {"core": FAR}, [], RULES, START, rng)
        assert one is not None
        assert any(span.start <= one.start and one.start + LENGTH <= span.end for span in on)
    assert plan_one(off, Need(60, 30), {"core": FAR}, [], RULES._replace(office_hours=False), START, rng) is None


# nothing where there can be nothing


@pytest.mark.parametrize(
    ("bad", "need"),
    [
        (line(terms=None), Need(60, 30)),
        (line(responders=()), Need(60, 30)),
        (line(responders=("gone",)), Need(60, 30)),
        (line(), Need(60, 30, affordable=False)),
        (line(quiet=(Span(START, START + 31 * DAY),)), Need(60, 30)),
    ],
)
def test_no_slot(bad, need):
    assert plan_one(bad, need, {"core": FAR}, [], RULES, START, Random(1)) is None


# retests and backoff


def test_a_bad_result_is_retested_within_minutes_elsewhere_and_not_in_quiet_time():
    other = Far("other", 1_000_000_000, 1_000_000_000)
    need = Need(60, 30, last=START, retest="bad", retest_since=START, tested_on="core")
    both = line(responders=("core", "other"))
    rng = Random(5)
    starts = []
    for _ in range(50):
        one = plan_one(both, need, {"core": FAR, "other": other}, [], RULES, START, rng)
        assert one is not None
        assert (one.kind, one.of, one.responder) == (Kind.RETEST, "bad", "other")
        starts.append(one.start - START)
    assert RETEST_AFTER[0] <= min(starts) < max(starts) <= RETEST_AFTER[1]
    on = both._replace(quiet=(Span(START, START + 2 * HOUR),))
    one = plan_one(on, need, {"core": FAR, "other": other}, [], RULES, START, rng)
    assert one is not None
    assert one.start == START + 2 * HOUR + MARGIN
    weak = Far("other", 80_000_000, 1_000_000_000)  # it could not say whether the download is bad
    same = plan_one(both, need, {"core": FAR, "other": weak}, [], RULES, START, rng)
    assert same is not None
    assert same.responder == "core"


def test_backoff_doubles_and_jitters():
    assert [backoff(attempt) // SECOND for attempt in (1, 2, 3, 6, 7, 99)] == [60, 120, 240, 1920, 1920, 1920]
    rng = Random(6)
    for attempt in (1, 3):
        waits = set()
        for _ in range(40):
            need = Need(60, 30, failed=START + HOUR, attempt=attempt)
            one = plan_one(line(), need, {"core": FAR}, [], RULES, START, rng)
            assert one is not None
            assert one.attempt == attempt
            waits.add((one.start - START - HOUR) / (BACKOFF * 2 ** (attempt - 1)))
        assert 0.95 <= min(waits) < 0.97 < 1.03 < max(waits) <= 1.05


def test_the_responder_that_can_prove_most_is_chosen_then_the_preferred_one():
    fars = {
        name: Far(name, down * 10**6, up * 10**6)
        for name, down, up in (("a", 80, 200), ("b", 300, 300), ("c", 300, 300))
    }
    assert choose(line(responders=("a", "c", "b")), fars) is fars["c"]
    assert choose(line(responders=("a", "c", "b")), fars, avoid="c") is fars["b"]
    assert choose(line(responders=("a",)), fars, avoid="a") is fars["a"]


def test_crowded_counts_what_runs_at_the_same_time():
    taken = [
        Reservation("core", "x", "l", START, START + 10, 600, 10),
        Reservation("core", "y", "l", START + 5, START + 20, 300, 10),
        Reservation("other", "z", "l", START, START + 99, 999, 999),
    ]
    far = Far("core", 1000, 1000)
    assert crowded(far, taken, (101, 1)) == [Span(START + 5, START + 10)]
    assert crowded(far, taken, (100, 1)) == []
    assert crowded(far, taken, (1, 981)) == [Span(START + 5, START + 10)]
    assert crowded(far, taken, (401, 1)) == [Span(START, START + 10)]


def test_allowed_keeps_a_margin_on_both_sides_of_both_quiet_times():
    mine = line(quiet=(Span(START + HOUR, START + 2 * HOUR),))
    far = FAR._replace(quiet=(Span(START + 4 * HOUR, START + 5 * HOUR),))
    assert allowed(mine, far, RULES, Span(START, START + 6 * HOUR)) == [
        Span(START, START + HOUR - MARGIN),
        Span(START + 2 * HOUR + MARGIN, START + 4 * HOUR - MARGIN),
        Span(START + 5 * HOUR + MARGIN, START + 6 * HOUR),
    ]


def test_a_slot_is_over_before_what_bounds_it_begins():
    """A minute and a half between two meetings, margins apart: only its first half minute will do."""
    gap = Span(START + HOUR, START + HOUR + 2 * MARGIN + LENGTH + 30 * SECOND)
    mine = line(quiet=(Span(START - HOUR, gap.start), Span(gap.end, START + 31 * DAY)))
    for seed in range(50):
        one = plan_one(mine, Need(60, 30), {"core": FAR}, [], RULES, START, Random(seed))
        assert one is not None
        assert gap.start + MARGIN <= one.start <= gap.start + MARGIN + 30 * SECOND
    month = month_of(START, RULES.zone)
    assert plan_one(line(), Need(60, 30), {"core": FAR}, [], RULES, month.end - LEAD - LENGTH, Random(1)) is None

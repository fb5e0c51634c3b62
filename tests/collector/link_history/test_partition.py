"""Whatever records come, in whatever order: intervals cover the range without gap or overlap, and invent nothing."""

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.link_history.derive import derive
from collector.link_history.outages import outages
from collector.link_history.shapes import DOWN, Event, Kind, Records, Rules, Run, State, Turn, Untimed, Watcher
from tests.support.store import EPOCH
from wire.clock import SECOND

SPAN = 1000
names = st.sampled_from([str(state) for state in State])
seconds = st.integers(-200, SPAN + 200)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    start, length = draw(seconds), draw(st.integers(0, 120))
    shift = draw(st.integers(-3, 3)) * SECOND
    states = draw(st.dictionaries(names, st.floats(0, 120), max_size=3))
    return Run(
        stream=draw(st.integers(1, 3)),
        boot=draw(st.integers(1, 3)),
        start_bt=start * SECOND,
        end_bt=(start + length) * SECOND,
        start=EPOCH + start * SECOND + shift,
        end=EPOCH + (start + length) * SECOND + shift,
        error=draw(st.sampled_from([0, 10, 400 * SECOND])),
        vantage=draw(st.sampled_from(["", "none", "abcd"])),
        states=draw(st.sampled_from([states, {"up": float(length)}, {"link": float(length)}])),
        reason=draw(st.sampled_from(["", "suspended", "not_on_this_link", "new in 2030"])),
        first_seq=draw(st.integers(1, 99)),
        last_seq=draw(st.integers(1, 99)),
    )


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    start = draw(seconds)
    return Turn(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        start * SECOND,
        (start + draw(st.integers(0, 5))) * SECOND,
        EPOCH + start * SECOND,
        0,
        State(draw(names)),
        State(draw(names)),
    )


@st.composite
def events(draw: st.DrawFn) -> Event:
    at, before = draw(seconds), draw(st.integers(0, 100))
    kind = draw(st.sampled_from(["started", "stopped", "crash", "power", "suspended", "spool_dropped", "other"]))
    end = EPOCH + at * SECOND
    return Event(draw(st.sampled_from("ab")), draw(st.integers(1, 3)), at * SECOND, end - before * SECOND, end, kind)


@st.composite
def watchers(draw: st.DrawFn) -> Watcher:
    moments = st.none() | seconds.map(lambda at: EPOCH + at * SECOND)
    return Watcher(
        draw(st.sampled_from("ab")),
        draw(st.sampled_from(["link", "both"])),
        EPOCH + draw(seconds) * SECOND,
        draw(moments),
        draw(moments),
        frozenset(draw(st.sets(st.integers(1, 3)))),
    )


everything = st.builds(
    Records,
    st.lists(watchers(), max_size=3, unique_by=lambda one: one.agent).map(tuple),
    st.lists(runs(), max_size=12).map(tuple),
    st.lists(turns(), max_size=8).map(tuple),
    st.lists(events(), max_size=6).map(lambda some: tuple(sorted(some, key=lambda one: one.at))),
    st.lists(
        st.builds(Untimed, st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.just(EPOCH + 500 * SECOND)),
        max_size=2,
    ).map(tuple),
    st.booleans(),
    st.sampled_from([frozenset[str](), frozenset({"abcd"}), frozenset({"beef"})]),
)


@settings(max_examples=300, deadline=None)
@given(everything, seconds, seconds, seconds)
def test_intervals_are_a_partition_whatever_the_records(some: Records, start: int, end: int, now: int) -> None:
    low, high, moment = (EPOCH + at * SECOND for at in (start, end, now))
    found = derive(some, low, high, moment)
    high = min(high, moment)
    if high <= low:
        assert found == []
        return
    assert found[0].start == low
    assert found[-1].end == high
    for one, following in pairwise(found):
        assert one.end == following.start
    for one in found:
        assert one.start < one.end
        assert (one.why is not None or one.silent) == (one.kind in (Kind.UNMEASURED, Kind.SILENT))
    assert sum(one.seconds for one in outages(found, Rules())) == sum(
        one.seconds for one in found if one.state in DOWN and not one.silent
    )


@settings(max_examples=150, deadline=None)
@given(everything, st.randoms(use_true_random=False))
def test_the_order_in_which_records_come_changes_nothing(some: Records, chance: random.Random) -> None:
    ends = (EPOCH, EPOCH + SPAN * SECOND, EPOCH + (SPAN + 50) * SECOND)
    mixed = some._replace(
        runs=tuple(chance.sample(some.runs, len(some.runs))),
        turns=tuple(chance.sample(some.turns, len(some.turns))),
        watchers=tuple(chance.sample(some.watchers, len(some.watchers))),
    )
    assert derive(mixed, *ends) == derive(some, *ends)


@settings(max_examples=150, deadline=None)
@given(everything)
def test_nothing_is_up_or_down_but_what_an_agent_said(some: Records) -> None:
    """Every measured moment lies near a run or a change that names its state, or is marked as provisional."""
    said: list[tuple[int, int, State]] = [
        (run.start, run.end, State(name)) for run in some.runs for name in run.states
    ] + [(one.start, one.start + one.known_bt - one.start_bt, one.current) for one in some.turns]
    said += [(one.start - 80 * SECOND, one.start, one.previous) for one in some.turns]
    said += [(one.start, one.start + 80 * SECOND, one.current) for one in some.turns]
    slack = 10 * SECOND  # runs of these records overlap at will, and their times with them
    for one in derive(some, EPOCH, EPOCH + SPAN * SECOND, EPOCH + (SPAN + 50) * SECOND):
        if one.kind in (Kind.UP, Kind.DOWN) and not one.provisional:
            near = [part for part in said if part[2] is one.state]
            assert any(low - slack <= one.start and one.start <= high + slack for low, high, _ in near)

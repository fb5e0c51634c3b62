"""Time without trust in any clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.anchoring import anchor_of
from agent.clock import Slept, Stepped, SystemClock, Timekeeper
from agent.connection import Answered
from tests.support.clock import START, FakeClock
from wire.batch import Receipt
from wire.clock import DAY, HOUR, MINUTE, SECOND, Anchor
from wire.version import PROTOCOL


def test_without_an_anchor_the_time_is_unknown() -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock)
    keeper.learn(Anchor("another boot", clock.boottime(), START, 1))
    assert keeper.utc() is None and keeper.best is None


@given(
    st.lists(st.tuples(st.integers(0, 3 * DAY), st.integers(-900_000, 900_000)), min_size=1, max_size=40),
    st.floats(-1, 1),
)
def test_the_truth_lies_within_the_bound(exchanges: list[tuple[int, int]], drift: float) -> None:
    """Anchors with any honest error, on a clock that runs up to 200 ppm wrong."""
    clock = FakeClock(boottime=0)
    keeper = Timekeeper(clock)
    rate = 1 + drift * 190e-6

    def truth(boottime: int) -> int:
        return START + round(boottime * rate)

    for boottime, error in sorted(exchanges):
        clock.advance((boottime - clock.boottime()) / SECOND)
        keeper.learn(Anchor(clock.boot, clock.boottime(), truth(clock.boottime()) + error, abs(error) + 1))
        found = keeper.utc()
        assert found is not None and abs(found.utc - truth(clock.boottime())) <= found.error
    earlier = keeper.utc(0)
    assert earlier is not None and abs(earlier.utc - truth(0)) <= earlier.error


def test_fresh_anchors_replace_those_that_drift_has_worn_out() -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock)
    for _ in range(100):
        clock.advance(600)
        keeper.learn(Anchor(clock.boot, clock.boottime(), clock.wall(), 20_000))
    best = keeper.best
    assert best is not None and best.boottime == clock.boottime()
    found = keeper.utc()
    assert found is not None and found.error <= 20_000


@pytest.mark.parametrize("by", [3600.0, -3600.0, 365 * 86_400.0, 1.5])
def test_a_step_of_the_wall_clock_is_noticed_and_changes_no_time(by: float) -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock)
    keeper.learn(Anchor(clock.boot, clock.boottime(), clock.wall(), 1000))
    before = keeper.utc()
    start = clock.boottime()
    clock.advance(5)
    clock.step_wall(by)
    assert keeper.look() == [Stepped(start, clock.boottime(), round(by * SECOND))]
    assert keeper.look() == []
    after = keeper.utc()
    assert before is not None and after is not None and after.utc - before.utc == 5 * SECOND


def test_slewing_is_no_step() -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock)
    for _ in range(1000):
        clock.advance(60)
        clock.step_wall(60 * 500e-6)
        assert keeper.look() == []


def test_a_suspend_is_noticed_and_no_step() -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock)
    clock.advance(5)
    clock.suspend(3600)
    assert keeper.look() == [Slept(clock.boottime() - HOUR - 5 * SECOND, clock.boottime(), HOUR)]
    assert keeper.look() == []


def test_the_system_clock_counts_microseconds_and_knows_its_boot() -> None:
    clock = SystemClock()
    first, second = clock.boottime(), clock.boottime()
    assert 0 < first <= second < first + MINUTE
    assert clock.monotonic() <= clock.boottime()
    assert len(clock.boot) == 36 and clock.boot == SystemClock().boot


@pytest.mark.parametrize(("held", "believed"), [(0, True), (9_000, True), (10_900, True), (60_000, False), (-5, False)])
def test_a_collector_that_claims_more_time_than_passed_is_not_believed(held: int, believed: bool) -> None:
    receipt = Receipt(protocol=PROTOCOL, received=START, sent=START + held)
    found = anchor_of(Answered(receipt, 1_000_000, 1_010_000), "b")
    assert (found is not None) is believed
    if found is not None:
        assert found.boottime == 1_005_000 and found.error <= 5_003

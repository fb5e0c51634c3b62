"""What may run when: a meeting at 09:00 with its doors at 08:30, until 12:00, and a rehearsal the day before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.clock import DAY, HOUR, MINUTE, SECOND
from wire.meetings import Load, MeetingTimes, Period, QuietRules, may_run, quiet_time

MIDNIGHT = 1_795_000_000_000_000


def at(hour: int, minute: int = 0, second: int = 0, day: int = 0) -> int:
    return MIDNIGHT + day * DAY + hour * HOUR + minute * MINUTE + second * SECOND


RULES = QuietRules()
MEETING = MeetingTimes("m", at(8, 30), at(9), at(12), (Period(at(13, day=-1), at(15, day=-1)),))
TRICKLE, CALL, LIGHT, FULL = Load


def allowed(
    now: int | None, *, error: int = 0, slot: bool = False, meetings: tuple[MeetingTimes, ...] = (MEETING,)
) -> str:
    """The first letters of the classes that may run."""
    return "".join(load.value[0] for load in Load if may_run(load, now, error, meetings, RULES, slot=slot))


@pytest.mark.parametrize(
    ("now", "without_slot", "with_slot"),
    [
        (at(7, 29, 59), "tcl", "tclf"),  # an hour before the doors is not reached
        (at(7, 30), "tc", "tc"),  # quiet time begins: calls may still be tried until the doors open
        (at(8, 29, 59), "tc", "tc"),
        (at(8, 30), "t", "t"),  # doors
        (at(9), "t", "t"),
        (at(12), "t", "t"),
        (at(12, 14, 59), "t", "t"),
        (at(12, 15), "tcl", "tclf"),  # a quarter of an hour after the end
        (at(13, day=-1), "tcl", "tclf"),
        (at(9, day=1), "tcl", "tclf"),
    ],
)
def test_the_classes_around_a_meeting(now, without_slot, with_slot):
    assert allowed(now) == without_slot
    assert allowed(now, slot=True) == with_slot


def test_quiet_time_reaches_around_the_meeting():
    assert quiet_time(MEETING, RULES) == Period(at(7, 30), at(12, 15))
    assert quiet_time(MEETING, QuietRules(0, 0)) == Period(at(8, 30), at(12))


def test_a_period_ends_before_its_end():
    period = Period(at(8), at(9))
    assert [period.holds(now) for now in (at(8) - 1, at(8), at(9) - 1, at(9))] == [False, True, True, False]


def test_light_may_run_inside_a_rehearsal_that_lies_in_another_meetings_quiet_time():
    other = MeetingTimes("other", at(10), at(10), at(11), (Period(at(7, 45), at(8, 15)),))
    both = (MEETING, other)
    assert "l" not in allowed(at(7, 44), meetings=both)
    assert "l" in allowed(at(7, 45), meetings=both)
    assert "f" not in allowed(at(7, 45), meetings=both, slot=True)
    assert "l" not in allowed(at(8, 15), meetings=both)


def test_a_rehearsal_never_reaches_into_a_session():
    other = MeetingTimes("other", at(15), at(15), at(16), (Period(at(8), at(10)),))
    assert "l" in allowed(at(8, 29), meetings=(MEETING, other))
    assert "l" not in allowed(at(8, 30), meetings=(MEETING, other))


def test_whoever_does_not_know_the_time_measures_only_in_a_trickle():
    assert allowed(None, slot=True) == "t"
    assert allowed(None, slot=True, meetings=()) == "t"


@pytest.mark.parametrize("minutes", [1, 30])
def test_the_uncertainty_of_the_clock_counts_against_the_probe(minutes):
    error = minutes * MINUTE
    assert "l" in allowed(at(7, 30) - error - 1, error=error)
    assert "l" not in allowed(at(7, 30) - error, error=error)
    assert "l" not in allowed(at(12, 15) + error - 1, error=error)
    assert "l" in allowed(at(12, 15) + error, error=error)


def test_a_rehearsal_shrinks_by_the_uncertainty():
    other = MeetingTimes("other", at(10), at(10), at(11), (Period(at(7, 45), at(8, 15)),))
    assert "l" not in allowed(at(7, 46), error=2 * MINUTE, meetings=(MEETING, other))
    assert "l" in allowed(at(7, 47), error=2 * MINUTE, meetings=(MEETING, other))


def test_without_meetings_only_full_waits_for_its_slot():
    assert allowed(at(9), meetings=()) == "tcl"
    assert allowed(at(9), meetings=(), slot=True) == "tclf"


moments = st.integers(at(0, day=-2), at(0, day=2))


@given(moments, st.integers(0, 2 * HOUR), st.booleans())
def test_a_worse_clock_never_allows_more(now, error, slot):
    assert set(allowed(now, error=error, slot=slot)) <= set(allowed(now, slot=slot))


@given(moments, st.booleans())
def test_a_further_meeting_without_rehearsal_never_allows_more(now, slot):
    bare = MeetingTimes("bare", at(8, 30), at(9), at(12))
    assert set(allowed(now, slot=slot, meetings=(bare,))) <= set(allowed(now, slot=slot, meetings=()))

"""The schedule as a pure function: on the grid, spread over sites, never in a burst."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.schedule import (
    LATE,
    SOON,
    Due,
    Plan,
    first,
    following,
    fraction,
    grid_after,
    hindrance,
    plan,
    settle,
    sooner,
    until_grid,
)
from wire.clock import HOUR, MINUTE, SECOND
from wire.meetings import Load, MeetingTimes, Period, QuietRules
from wire.reasons import Outcome, Reason

NOW = 1_795_000_000 * SECOND
FRACTION = 0.06937255
names = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=12)
cadences = st.floats(0.5, 86_400)
nows = st.integers(0, 2**52)


def one_shot(site: str = "na-yung", every: float = 60.0) -> Plan:
    return plan(site, "tcp", "zoom.tcp", every, 0)


@pytest.mark.parametrize(
    ("outcome", "reason", "soon"),
    [
        (Outcome.OK, None, False),
        (Outcome.FAILED, Reason.BROKEN_OFF, True),
        (Outcome.SKIPPED, Reason.LINK_IN_USE, True),
        (Outcome.SKIPPED, Reason.NO_LEASE, True),
        (Outcome.SKIPPED, Reason.QUIET_TIME, False),
        (Outcome.SKIPPED, Reason.NOT_ON_THIS_LINK, False),
        (Outcome.ERROR, Reason.PROBE_CRASHED, False),
    ],
)
def test_a_probe_that_runs_seldom_is_tried_again_soon_after_a_bad_result(
    outcome: Outcome, reason: Reason | None, soon: bool
) -> None:
    hourly = plan("phen", "call", "zoom", 3600, 0)
    due, now = Due(NOW + HOUR, 0), NOW
    found = sooner(hourly, due, now, outcome, reason)
    assert (found != due) is soon
    if soon:
        assert now + 5 * MINUTE <= found.at < now + 10 * MINUTE
    near = Due(NOW + MINUTE, 0)
    assert sooner(hourly, near, now, outcome, reason) == near
    minutely = plan("phen", "tcp", "zoom", 60, 0)
    assert sooner(minutely, due, now, outcome, reason) == due


@given(names, names, cadences, st.floats(0, 3600), nows)
def test_the_next_point_of_the_grid_is_later_and_at_most_a_cadence_away(
    site: str, target: str, every: float, window: float, now: int
) -> None:
    cadence = plan(site, "tcp", target, every, window)
    point = grid_after(cadence, now)
    assert 0 < point - now <= cadence.every
    assert (point - cadence.phase) % cadence.every == 0
    assert grid_after(cadence, point - 1) == point


@given(names, names, cadences, nows, st.lists(st.floats(0, 400), min_size=3, max_size=20))
def test_one_shot_probes_keep_to_the_grid_however_long_they_take(
    site: str, target: str, every: float, now: int, took: list[float]
) -> None:
    cadence = plan(site, "tcp", target, every, 0)
    due = first(cadence, now)
    assert now <= due.at <= now + SOON
    for seconds in took:
        ended = due.at + round(seconds * SECOND)
        after = following(cadence, due, ended)
        assert after.at > due.at
        assert after.at >= ended or after.at - due.at <= cadence.every * 5 // 4
        assert after.at <= ended + 2 * cadence.every
        assert (after.at - cadence.phase) % cadence.every == 0
        due = after


@given(names, st.sampled_from([10.0, 30.0, 60.0, 300.0]), nows)
def test_continuous_windows_are_back_to_back_and_end_on_the_grid(site: str, every: float, now: int) -> None:
    cadence = plan(site, "icmp", "gateway", every, every)
    due = first(cadence, now)
    assert due.at == now
    assert due.window >= min(5 * SECOND, cadence.every // 2)
    for _ in range(5):
        after = following(cadence, due, due.at + 3)
        assert after.at == due.at + due.window
        assert (after.at - cadence.phase) % cadence.every == 0
        assert after.window == cadence.every
        due = after


@given(names, nows)
def test_a_continuous_minute_is_the_minute_of_the_clock(site: str, now: int) -> None:
    cadence = plan(site, "icmp", "gateway", 60.0, 60.0)
    assert cadence.phase < SECOND
    assert (now + until_grid(cadence, now)) % MINUTE == cadence.phase


def test_twenty_districts_never_fire_together() -> None:
    districts = [f"district-{number}" for number in range(20)]
    seconds = Counter(grid_after(one_shot(site), NOW) // SECOND for site in districts)
    assert max(seconds.values()) <= 3
    assert len(seconds) >= 14


@given(names, names)
def test_a_fraction_is_the_same_for_ever_and_below_one(site: str, target: str) -> None:
    assert 0 <= fraction(site, "tcp", target) < 1
    assert fraction(site, "tcp", target) == fraction(site, "tcp", target)


def test_the_fraction_never_changes_between_releases() -> None:
    assert fraction("na-yung", "tcp", "zoom.tcp") == pytest.approx(FRACTION, abs=1e-9)


@given(names, st.sampled_from([0.0, 60.0]), st.integers(-(2**50), 2**50))
def test_waking_at_another_time_than_due_is_as_after_a_start(site: str, window: float, off: int) -> None:
    cadence = plan(site, "tcp", "t", 60.0, window)
    due = Due(NOW, cadence.window or 0)
    found = settle(cadence, due, NOW + off)
    if -(2 * cadence.every + SOON) <= off <= LATE:
        assert found == due
    else:
        assert NOW + off <= found.at <= NOW + off + SOON


def test_thirty_probes_after_a_suspend_are_spread() -> None:
    cadences = [plan("na-yung", "tcp", f"target-{number}", 300.0, 0) for number in range(30)]
    woken = NOW + 3 * HOUR
    starts = Counter(settle(one, Due(NOW, 0), woken).at // SECOND for one in cadences)
    assert max(starts.values()) <= 6


MEETING = MeetingTimes("m", NOW + 3 * HOUR, NOW + 4 * HOUR, NOW + 6 * HOUR, (Period(NOW + HOUR, NOW + 2 * HOUR),))


@pytest.mark.parametrize(
    ("load", "at", "reason"),
    [
        (Load.TRICKLE, 5 * HOUR, None),
        (Load.CALL, 3 * HOUR - SECOND, None),
        (Load.CALL, 3 * HOUR, Reason.QUIET_TIME),
        (Load.LIGHT, 2 * HOUR - SECOND, None),
        (Load.LIGHT, 2 * HOUR, Reason.QUIET_TIME),
        (Load.LIGHT, 6 * HOUR + 15 * MINUTE - SECOND, Reason.QUIET_TIME),
        (Load.LIGHT, 6 * HOUR + 15 * MINUTE, None),
        (Load.FULL, 0, Reason.NO_SLOT),
        (Load.FULL, 4 * HOUR, Reason.QUIET_TIME),
    ],
)
def test_what_may_run_when(load: Load, at: int, reason: Reason | None) -> None:
    assert hindrance(load, NOW + at, 0, [MEETING], QuietRules()) is reason


def test_an_uncertain_clock_counts_against_the_probe() -> None:
    before_quiet = NOW + 2 * HOUR - MINUTE
    assert hindrance(Load.LIGHT, before_quiet, 0, [MEETING], QuietRules()) is None
    assert hindrance(Load.LIGHT, before_quiet, 2 * MINUTE, [MEETING], QuietRules()) is Reason.QUIET_TIME
    assert hindrance(Load.LIGHT, None, 0, [], QuietRules()) is Reason.TIME_UNKNOWN
    assert hindrance(Load.TRICKLE, None, 0, [MEETING], QuietRules()) is None

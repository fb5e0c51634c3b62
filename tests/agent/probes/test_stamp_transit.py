"""Delays from two clocks that nobody keeps: constants, drift and steps, and what is said of a window in words."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probe import LeaseRefused
from agent.probes.stamp.findings import finding
from agent.probes.stamp.flow import Trouble, Window
from agent.probes.stamp.ledger import Answer, Run, Transit
from agent.probes.stamp.transit import above_least, jitter, ways
from tests.support.stamp_world import GOOD, MS, SECOND
from wire.kernel_clock import UNKNOWN, ClockState, clock_state
from wire.reasons import Outcome, Reason
from wire.stamp import ErrorEstimate, error_estimate

OFFSET = 1_790_000_000 * SECOND
"""The reflector's clock counts from 1970, ours from the start of the machine."""


def transits(count: int = 600, drift: float = 0.0, step: int = 0, spread: int = 4 * MS, seed: int = 1) -> list[Transit]:
    """Ten a second, 8 ms up and 12 down and up to ``spread`` more; the reflector's clock steps in the middle."""
    dice, found = random.Random(seed), []
    for number in range(count):
        at = number * 100 * MS
        up, down = 8 * MS + dice.randrange(spread + 1), 12 * MS + dice.randrange(spread + 1)
        clock = OFFSET + round(at * drift) + (step if number > count / 2 else 0)
        found.append(Transit(at, up + down, up + clock, down - clock))
    return found


def test_a_constant_between_the_clocks_changes_no_variation():
    seen = ways(transits(spread=0), kept=True)
    assert set(above_least(seen.up)) == set(above_least(seen.down)) == {0}
    assert not seen.stepped


@pytest.mark.parametrize("drift", [100e-6, -40e-6])
def test_drift_of_a_clock_that_nobody_keeps_is_taken_out(drift: float):
    """Over a minute 100 ppm are 6 ms, more than the path itself varies."""
    seen = ways(transits(drift=drift), kept=False)
    assert not seen.stepped
    for delays in (seen.up, seen.down):
        assert sum(above_least(delays)) / 600 == pytest.approx(2 * MS, abs=0.25 * MS)
    left = ways(transits(drift=drift), kept=True)
    assert max(sum(above_least(left.up)), sum(above_least(left.down))) / 600 > 2.8 * MS


def test_a_queue_on_one_way_is_not_taken_for_drift():
    found = [
        one._replace(up=one.up + extra, rtt=one.rtt + extra)
        for one, extra in ((one, number * 20_000) for number, one in enumerate(transits()))
    ]
    seen = ways(found, kept=False)
    assert max(above_least(seen.up)) > 11 * MS
    assert max(above_least(seen.down)) < 5 * MS


def test_a_clock_that_was_set_is_seen_unless_it_is_less_than_the_round_trip():
    for step in (SECOND, -SECOND, 60 * MS):
        assert ways(transits(step=step), kept=True).stepped
    assert not ways(transits(), kept=True).stepped
    assert not ways([], kept=False).stepped


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=50))
def test_jitter_is_the_mean_change(delays: list[int]):
    found = jitter(delays)
    assert found is not None
    changes = [abs(one - delays[at]) for at, one in enumerate(delays[1:])]
    assert found == pytest.approx(sum(changes) / len(changes))
    assert jitter(delays[:1]) is None


def window(own: ClockState = ClockState(True, 2 * MS), found: list[Transit] | None = None) -> Window:  # noqa: B008
    made = Window(0, 0)
    made.own.append(own)
    made.tally.transits = transits(20, spread=0) if found is None else found
    made.tally.sent = len(made.tally.transits)
    made.offset = OFFSET
    made.forgotten = 0
    return made


def test_one_way_delays_stand_with_their_bound():
    said = finding(window(), error_estimate(3 * MS, synchronised=True))
    assert said.outcome is Outcome.OK
    assert said.values["one_way_error"] == pytest.approx(0.005, rel=0.02)
    assert (said.durations["delay_up"].low, said.durations["delay_down"].low) == (8 * MS, 12 * MS)
    assert "one_way" not in said.facts


@pytest.mark.parametrize(
    ("own", "peer", "why"),
    [
        (ClockState(False, 0), GOOD, "own_clock_unsynchronised"),
        (ClockState(True, 0), ErrorEstimate(False, False, 1, 1), "responder_clock_unsynchronised"),
        (ClockState(True, 0), None, "responder_clock_unsynchronised"),
        (ClockState(True, 9 * MS), error_estimate(3 * MS, synchronised=True), "clocks_off_by_12_ms"),
    ],
)
def test_one_way_delays_are_left_out_and_it_is_said_why(own, peer, why):
    said = finding(window(own), peer)
    assert said.facts["one_way"] == why
    assert not {"delay_up", "delay_down"} & set(said.durations)
    assert "one_way_error" not in said.values
    assert {"rtt", "delay_variation_up", "delay_variation_down"} <= set(said.durations)


def test_clocks_that_say_they_are_right_and_contradict_each_other_are_not_believed():
    made = window()
    made.offset += 20 * MS
    assert finding(made, error_estimate(MS, synchronised=True)).facts["one_way"] == "clocks_disagree"
    stepped = window()
    stepped.stepped = True
    assert finding(stepped, GOOD).facts["one_way"] == "clock_set"
    jumped = finding(window(found=transits(100, step=SECOND)), GOOD)
    assert jumped.facts["one_way"] == "clock_set"
    assert set(jumped.durations) == {"rtt"}
    assert jumped.values["jitter"] < 0.01


def test_why_nothing_was_measured_is_said():
    nothing = window(found=[])
    assert finding(nothing, None).reason is Reason.SUSPENDED
    nothing.knocked = True
    assert finding(nothing, None).reason is Reason.RESPONDER_SILENT
    nothing.trouble = Trouble(problem=ConnectionRefusedError(111, "refused"))
    assert finding(nothing, None).reason is Reason.RESPONDER_SILENT
    nothing.trouble = Trouble(problem=OSError(101, "unreachable"))
    assert finding(nothing, None).reason is Reason.NO_ROUTE
    nothing.trouble = Trouble(denied="expired")
    assert (finding(nothing, None).outcome, finding(nothing, None).reason) == (Outcome.SKIPPED, Reason.NO_LEASE)
    nothing.trouble = Trouble(denied="busy")
    assert finding(nothing, None).reason is Reason.RESPONDER_BUSY
    nothing.trouble = Trouble(refused=LeaseRefused(Reason.NO_RESPONDER, "none here"))
    said = finding(nothing, None)
    assert (said.outcome, said.reason, said.facts) == (Outcome.SKIPPED, Reason.NO_RESPONDER, {"detail": "none here"})


def test_a_window_without_an_answer_is_the_responders_silence():
    made = window(found=[])
    made.tally.sent = 5
    said = finding(made, None)
    assert (said.outcome, said.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)
    assert (said.counts["sent"], said.counts["lost"], said.durations["rtt"].lost) == (5, 5, 5)
    assert "mos" not in said.values


def test_losses_make_the_quality_worse():
    made = window()
    clean = finding(made, GOOD).values["mos"]
    made.tally.sent += 4
    assert finding(made, GOOD).values["mos"] < clean - 0.5


def test_what_was_set_aside_is_said():
    made = window()
    made.forgotten, made.tally.set_aside = 1, 33
    assert {"forgotten": "1", "set_aside": "33"}.items() <= finding(made, GOOD).facts.items()


def test_an_answer_to_nothing_changes_nothing():
    run, made = Run(), window(found=[])
    assert run.hear(Answer(3, 0, 0, 0, 0), made.tally) is None
    assert run.sent_at(3) is None


def test_the_kernel_is_asked_and_not_believed_blindly():
    state = clock_state()
    assert state.error >= 0
    assert UNKNOWN.estimate().synchronised is False
    assert state.estimate().nanoseconds >= state.error

"""From records to a history: what is proven, what is not, and that it always adds up."""

from collector.link_history.derive import derive
from collector.link_history.runs import runs_of
from collector.link_history.shapes import Interval, Kind, Records, State, Untimed, Why
from collector.store.packing import Row
from tests.support.store import EPOCH
from tests.support.watching import Box, Script, records, together
from wire.clock import DAY, HOUR, SECOND
from wire.observation import Window
from wire.reasons import Event, Outcome, Reason

NOW = EPOCH + DAY
UP: Script = [(0, "up")]


def story(found: list[Interval]) -> list[tuple[float, float, str]]:
    """Intervals as (second, second, state or why)."""
    return [
        (
            (one.start - EPOCH) / SECOND,
            (one.end - EPOCH) / SECOND,
            "silent" if one.silent else str(one.why or one.state),
        )
        for one in found
    ]


def told(some: Records, start: float, end: float, now: float | None = None) -> list[tuple[float, float, str]]:
    """The story of a span of seconds."""
    moment = EPOCH + round((now if now is not None else end) * SECOND)
    return story(derive(some, EPOCH + round(start * SECOND), EPOCH + round(end * SECOND), moment))


def one_run(script: Script, start: float = 0, end: float = 3600, **how: str) -> Box:
    """A box with one run."""
    box = Box()
    box.run(start, end, script, **how)
    return box


def test_a_clean_hour_is_one_interval() -> None:
    assert told(records([one_run(UP)]), 0, 3600) == [(0, 3600, "up")]


def test_an_outage_begins_and_ends_when_it_did() -> None:
    box = one_run([(0, "up"), (1000.25, "link"), (1042.5, "up")])
    assert told(records([box]), 0, 3600) == [(0, 1000.25, "up"), (1000.25, 1042.5, "link"), (1042.5, 3600, "up")]


def test_an_outage_over_many_windows_is_one() -> None:
    box = one_run([(0, "up"), (590, "provider"), (3010, "up")])
    assert told(records([box]), 0, 3600) == [(0, 590, "up"), (590, 3010, "provider"), (3010, 3600, "up")]


def test_the_evidence_is_that_of_the_change() -> None:
    box = one_run([(0, "up"), (590, "provider"), (3010, "up")])
    (_, down, _) = derive(records([box]), EPOCH, EPOCH + HOUR, EPOCH + HOUR)
    assert down.turn is not None
    assert down.turn.facts == {"why": "up to provider"}
    assert down.agent == "agent-1"


def test_a_range_cuts_what_reaches_beyond_it() -> None:
    box = one_run([(0, "up"), (590, "link"), (3010, "up")])
    assert told(records([box]), 600, 700, 3600) == [(600, 700, "link")]


def test_a_killed_agent_proves_what_its_changes_said_and_nothing_after() -> None:
    """Its last window was never written: the changes after it still tell, each until it was known."""
    box = one_run([(0, "up"), (610, "link")], end=650, stop="kill")
    box.note(900, Event.UNCLEAN_STOP_FOUND, kind="crash")
    box.run(900, 1500, [(0, "link"), (1000, "up")])
    assert told(records([box]), 0, 1500) == [
        (0, 610, "up"),
        (610, 613, "link"),
        (613, 900, "agent_crashed"),
        (900, 1000, "link"),
        (1000, 1500, "up"),
    ]


def test_changes_long_after_the_last_window_prove_only_themselves() -> None:
    """A window was due each minute: what lies between is not proven by silence."""
    box = one_run(UP, end=600, stop="none")
    box.change(900, "up", "link")
    assert told(records([box]), 0, 1000, 90_000) == [
        (0, 600, "up"),
        (600, 900, "missing"),
        (900, 903, "link"),
        (903, 1000, "missing"),
    ]


def test_after_the_last_window_a_change_from_another_state_than_the_known_one_proves_only_itself() -> None:
    """The change before it was lost."""
    box = one_run(UP, end=600, stop="none")
    box.change(620, "link", "up")
    assert told(records([box]), 0, 700, 90_000) == [
        (0, 600, "up"), (600, 620, "missing"), (620, 623, "up"), (623, 700, "missing"),
    ]  # fmt: skip


def test_power_cut_during_an_outage() -> None:
    box = one_run([(0, "up"), (300, "link")], end=500, stop="kill")
    again = Box(boot="1f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d", epoch=EPOCH + 2000 * SECOND)
    again.note(10, Event.UNCLEAN_STOP_FOUND, kind="power")
    again.run(10, 600, UP)
    assert told(records([box, again]), 0, 2600) == [
        (0, 300, "up"),
        (300, 480, "link"),
        (480, 2010, "power_lost"),
        (2010, 2600, "up"),
    ]


def test_a_clean_stop_is_told_from_the_moment_it_happened() -> None:
    box = one_run(UP, end=610)
    assert told(records([box], heard=EPOCH + 610 * SECOND), 0, 700) == [(0, 610, "up"), (610, 700, "agent_stopped")]
    box.run(1200, 1800, UP)
    assert told(records([box]), 0, 1800)[1] == (610, 1200, "agent_stopped")


def test_before_it_joined_there_was_no_agent() -> None:
    box = one_run(UP, start=1000, end=2200)
    found = told(records([box], joined=EPOCH + 900 * SECOND), 0, 2200)
    assert found == [(0, 900, "no_agent"), (900, 1000, "missing"), (1000, 2200, "up")]


def test_nobody_watches_after_the_last_agent_was_retired() -> None:
    box = one_run(UP, end=600, stop="none")
    found = told(records([box], retired=EPOCH + 700 * SECOND), 0, 1000)
    assert found == [(0, 600, "up"), (600, 700, "missing"), (700, 1000, "no_agent")]


def test_a_silent_agent_is_neither_up_nor_down() -> None:
    box = one_run(UP, end=600, stop="none")
    found = derive(records([box], heard=EPOCH + 640 * SECOND), EPOCH, EPOCH + 700 * SECOND, EPOCH + 700 * SECOND)
    assert story(found) == [(0, 600, "up"), (600, 640, "up"), (640, 700, "silent")]
    assert [one.provisional for one in found] == [False, True, False]
    assert [one.kind for one in found] == [Kind.UP, Kind.UP, Kind.SILENT]


def test_an_agent_is_silent_after_twelve_seconds() -> None:
    some = records([one_run(UP, end=600, stop="none")], heard=EPOCH + 640 * SECOND)
    assert told(some, 600, 652) == [(600, 652, "up")]
    assert told(some, 600, 652.5) == [(600, 640, "up"), (640, 652.5, "silent")]


def test_the_word_of_a_retired_agent_is_no_sign_of_life() -> None:
    old = records([Box()], retired=EPOCH + 300 * SECOND, heard=EPOCH + 690 * SECOND)
    new = records([one_run(UP, end=600, stop="none")], agent="agent-2", stream=2, heard=EPOCH + 600 * SECOND)
    assert told(together(old, new), 600, 700) == [(600, 700, "silent")]


def test_how_a_later_run_ended_explains_no_hole_before() -> None:
    box = one_run(UP)
    box.made = [one for one in box.made if one.end != 1800 * SECOND]
    box.note(3700, Event.UNCLEAN_STOP_FOUND, kind="crash")
    assert told(records([box]), 0, 3600, 3700)[1] == (1740, 1800, "missing")
    other = one_run(UP, end=600, stop="none")
    other.note(700, Event.STARTED)
    other.note(900, Event.UNCLEAN_STOP_FOUND, kind="crash")
    assert told(records([other]), 0, 1000)[1:] == [(600, 1000, "missing")]


def test_a_stop_of_the_run_that_came_after_explains_no_crash() -> None:
    box = one_run(UP, end=600, stop="none")
    box.note(620, Event.UNCLEAN_STOP_FOUND, kind="crash")
    box.note(620, Event.STARTED)
    box.note(640, Event.STOPPED)
    assert told(records([box]), 0, 700)[1:] == [(600, 700, "agent_crashed")]


def test_an_agent_that_is_heard_goes_on_as_it_was_until_windows_are_overdue() -> None:
    box = one_run([(0, "up"), (590, "link")], end=600, stop="none")
    assert told(records([box], heard=EPOCH + 655 * SECOND), 580, 660) == [
        (580, 590, "up"), (590, 600, "link"), (600, 660, "link"),
    ]  # fmt: skip
    assert told(records([box], heard=EPOCH + 790 * SECOND), 590, 790) == [(590, 600, "link"), (600, 790, "pending")]


def test_the_newest_change_is_believed_before_its_window_comes() -> None:
    box = one_run(UP, end=600, stop="none")
    box.change(620, "up", "provider")
    found = derive(records([box], heard=EPOCH + 640 * SECOND), EPOCH, EPOCH + 645 * SECOND, EPOCH + 645 * SECOND)
    assert story(found) == [(0, 620, "up"), (620, 623, "provider"), (623, 645, "provider")]
    assert found[-1].provisional


def test_late_data_settles_silence() -> None:
    """Three days offline: silent while nothing comes, then what truly was."""
    box = one_run(UP, end=600, stop="none")
    heard = EPOCH + 600 * SECOND
    silent = told(records([box], heard=heard), 0, 3 * 86_400)
    assert silent == [(0, 600, "up"), (600, 3 * 86_400, "silent")]
    late = one_run([(0, "up"), (600, "link"), (200_000, "up")], end=3 * 86_400, stop="none")
    settled = told(records([late], heard=EPOCH + 3 * DAY), 0, 3 * 86_400)
    assert settled == [(0, 600, "up"), (600, 200_000, "link"), (200_000, 3 * 86_400, "up")]


def test_a_missing_window_is_not_measured() -> None:
    box = one_run(UP)
    box.made = [one for one in box.made if one.end != 1800 * SECOND]
    assert told(records([box]), 0, 3600) == [(0, 1740, "up"), (1740, 1800, "missing"), (1800, 3600, "up")]
    assert told(records([box], pending=True), 0, 3600)[1] == (1740, 1800, "pending")


def test_what_the_spool_dropped_is_said_to_be_lost() -> None:
    box = one_run(UP)
    box.made = [one for one in box.made if one.end != 1800 * SECOND]
    box.note(1805, Event.SPOOL_DROPPED, since=1742)
    assert told(records([box]), 0, 3600)[1] == (1740, 1800, "data_lost")


def test_a_machine_asleep() -> None:
    box = one_run(UP, end=600, stop="none")
    box.note(1000, Event.SUSPENDED, since=605)
    box.run(1000, 1600, UP)
    assert told(records([box]), 0, 1600)[1] == (600, 1000, "suspended")


def test_windows_audit_the_changes() -> None:
    """A change that never arrived: the window that holds it proves no second of its minute."""
    box = one_run([(0, "up"), (1000, "link"), (1030, "up")])
    box.made = [one for one in box.made if not (one.start == 1000 * SECOND and one.end == 1003 * SECOND)]
    assert told(records([box]), 960, 1100, 4000) == [(960, 1020, "disagrees"), (1020, 1030, "link"), (1030, 1100, "up")]


def test_windows_of_one_state_are_certain_without_any_change() -> None:
    box = one_run([(0, "up"), (590, "link"), (3010, "up")])
    box.made = [one for one in box.made if type(one).__name__ != "Change"]
    assert told(records([box]), 60, 3600, 4000) == [
        (60, 540, "up"), (540, 600, "disagrees"), (600, 3000, "link"), (3000, 3060, "disagrees"), (3060, 3600, "up"),
    ]  # fmt: skip


def test_seconds_that_do_not_add_up_are_not_measured() -> None:
    box = Box()
    box.window(0, 60, {"up": 60})
    box.window(60, 120, {"up": 30})
    box.window(120, 180, {"up": 60})
    assert told(records([box]), 0, 180, 90_000) == [(0, 60, "up"), (60, 120, "disagrees"), (120, 180, "up")]


def test_a_change_known_only_after_its_window_was_sealed() -> None:
    """A window that was cut before the change in its last seconds was known agrees with what was known then."""
    box = Box()
    box.window(0, 60, {"up": 60})
    box.change(58, "up", "link", known=61)
    box.window(60, 120, {"link": 60})
    assert told(records([box]), 0, 120, 90_000) == [(0, 58, "up"), (58, 120, "link")]


def test_a_window_of_several_states_that_was_sealed_before_the_last_change_was_known() -> None:
    box = Box()
    box.window(0, 60, {"up": 50.0, "link": 10.0})
    box.change(50, "up", "link")
    box.change(57, "link", "up", known=61)
    box.window(60, 120, {"up": 60.0})
    assert told(records([box]), 0, 120, 90_000) == [(0, 50, "up"), (50, 57, "link"), (57, 120, "up")]
    box.made[0] = box.window(0, 60, {"up": 40.0, "link": 20.0})
    box.made.pop()
    assert told(records([box]), 0, 60, 90_000) == [(0, 60, "disagrees")]


def test_what_the_agent_could_not_tell_is_not_measured() -> None:
    box = one_run([(0, "up"), (600, "unknown"), (1000, "up")])
    assert told(records([box]), 0, 3600) == [(0, 600, "up"), (600, 1000, "undecided"), (1000, 3600, "up")]


def test_a_collector_out_of_reach_is_no_outage_of_the_link() -> None:
    box = one_run([(0, "up"), (600, "collector"), (1000, "up")])
    found = derive(records([box]), EPOCH, EPOCH + HOUR, EPOCH + HOUR)
    assert [one.kind for one in found] == [Kind.UP] * 3
    assert found[1].state is State.COLLECTOR


def test_measured_elsewhere_is_not_measured_here() -> None:
    elsewhere = Box(vantage="abcd")
    elsewhere.run(0, 3600, [(0, "up"), (1000, "link"), (1100, "up")])
    assert told(records([elsewhere], confirmed=frozenset({"beef"})), 0, 3600) == [(0, 3600, "not_on_this_link")]
    assert told(records([elsewhere], confirmed=frozenset({"abcd"})), 0, 3600)[1] == (1000, 1100, "link")
    assert told(records([elsewhere]), 0, 3600)[1] == (1000, 1100, "link")


def test_an_unplugged_cable_is_no_other_place() -> None:
    box = Box(vantage="none")
    box.run(0, 600, [(0, "lan")])
    assert told(records([box], confirmed=frozenset({"beef"})), 0, 600) == [(0, 600, "lan")]


def test_an_agent_that_says_it_stands_elsewhere() -> None:
    box = Box()
    box.window(0, 60, {"unknown": 60}, outcome=Outcome.SKIPPED, reason=Reason.NOT_ON_THIS_LINK)
    box.window(60, 120, {}, outcome=Outcome.SKIPPED, reason=Reason.NOT_ON_THIS_LINK)
    assert told(records([box]), 0, 120, 9000) == [(0, 120, "not_on_this_link")]


def test_times_that_are_too_uncertain_are_unknown() -> None:
    assert told(records([one_run(UP)], error=6 * 60 * SECOND), 0, 3600) == [(0, 3600, "time_unknown")]
    assert told(records([one_run(UP)], error=4 * 60 * SECOND), 0, 3600) == [(0, 3600, "up")]


def test_the_error_of_a_time_comes_along() -> None:
    (one,) = derive(records([one_run(UP)], error=123), EPOCH, EPOCH + HOUR, NOW)
    assert one.error == 123


def test_the_error_of_a_run_is_the_greatest_of_its_windows() -> None:
    rows = [Row(1, EPOCH + end, error, EPOCH + end, 1, 1, one) for end, error, one in _minutes_with((5, 9_000, 7))]
    (run,) = runs_of(rows)
    assert (run.error, run.windows) == (9_000, 3)


def _minutes_with(errors: tuple[int, ...]) -> list[tuple[int, int, Window]]:
    box = Box()
    ends = range(60, 60 * len(errors) + 1, 60)
    return [
        (end * SECOND, error, box.window(end - 60, end, {"up": 60.0})) for end, error in zip(ends, errors, strict=True)
    ]


def test_a_replaced_box_goes_on_where_the_old_one_ended() -> None:
    old = records([one_run([(0, "up"), (500, "link")], end=900, stop="none")], retired=EPOCH + 1000 * SECOND)
    box = Box(boot="2f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d")
    box.run(1200, 2400, UP)
    new = records([box], agent="agent-2", stream=2, joined=EPOCH + 1000 * SECOND)
    assert told(together(old, new), 0, 2400) == [
        (0, 500, "up"), (500, 900, "link"), (900, 1200, "missing"), (1200, 2400, "up"),
    ]  # fmt: skip


def test_of_two_agents_the_box_outranks_the_notebook_and_the_notebook_fills_its_gaps() -> None:
    box = one_run([(0, "up"), (600, "link"), (700, "up")], end=1200)
    notebook = Box(boot="2f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d")
    notebook.run(0, 2400, [(0, "up"), (1500, "link"), (1600, "up")])
    both = records([notebook], agent="agent-2", stream=2, role="both", joined=EPOCH + 5)
    assert told(together(records([box]), both), 0, 2400) == [
        (0, 600, "up"), (600, 700, "link"), (700, 1500, "up"), (1500, 1600, "link"), (1600, 2400, "up"),
    ]  # fmt: skip


def test_of_two_boxes_the_newer_is_believed() -> None:
    older = records([one_run([(0, "link")])])
    box = Box(boot="2f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d")
    box.run(600, 1200, UP)
    newer = records([box], agent="agent-2", stream=2, joined=EPOCH + 5)
    assert told(together(older, newer), 0, 1800, 9000) == [(0, 600, "link"), (600, 1200, "up"), (1200, 1800, "link")]


def test_a_gap_is_filled_by_an_agent_that_knows_even_where_the_other_could_not_tell() -> None:
    unsure = records([one_run([(0, "unknown")])])
    box = Box(boot="2f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d")
    box.run(600, 1200, UP)
    other = records([box], agent="agent-2", stream=2, role="both")
    assert told(together(unsure, other), 0, 1800, 9000) == [
        (0, 600, "undecided"), (600, 1200, "up"), (1200, 1800, "undecided"),
    ]  # fmt: skip


def test_a_notebook_that_is_heard_does_not_speak_for_a_box_that_fell_silent() -> None:
    box = records([one_run(UP, end=1200, stop="none")], heard=EPOCH + 1203 * SECOND)
    notebook = records([], agent="agent-2", stream=2, role="both", heard=EPOCH + 1299 * SECOND)
    assert told(together(box, notebook), 0, 1300) == [
        (0, 1200, "up"), (1200, 1203, "up"), (1203, 1300, "silent"),
    ]  # fmt: skip


def test_a_notebook_that_was_switched_off_explains_nothing_of_the_box() -> None:
    notebook = Box(boot="2f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d")
    notebook.run(600, 1205, UP)
    other = records([notebook], agent="agent-2", stream=2, role="both", heard=EPOCH + 1206 * SECOND)
    box = records([one_run(UP, end=1200, stop="none")], heard=EPOCH + 1209 * SECOND)
    assert told(together(box, other), 0, 1300) == [(0, 1205, "up"), (1205, 1209, "pending"), (1209, 1300, "silent")]


def test_windows_without_a_time_explain_the_hole_they_may_fill() -> None:
    box = one_run(UP, end=600, stop="none")
    later = Box(boot="1f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d", epoch=EPOCH + 2000 * SECOND)
    later.run(0, 600, UP)
    last = max(run.last_seq for run in records([box]).runs)
    untimed = (Untimed(1, last + 1, last + 9, EPOCH + 2500 * SECOND),)
    assert told(records([box, later], untimed=untimed), 0, 2600)[1] == (600, 2000, "time_unknown")
    other = (Untimed(9, 1, 9, EPOCH + 500 * SECOND),)
    assert told(records([box, later], untimed=other), 0, 2600)[1] == (600, 2000, "missing")


def test_nothing_known_at_all() -> None:
    assert told(Records(), 0, 100) == [(0, 100, "no_agent")]
    assert told(Records(), 100, 100) == []
    assert told(Records(), 200, 300, 100) == []


def test_why_is_only_said_of_what_is_not_measured() -> None:
    box = one_run([(0, "up"), (600, "unknown"), (1000, "lan")])
    for one in derive(records([box]), EPOCH, EPOCH + HOUR, EPOCH + HOUR):
        assert (one.kind is Kind.UNMEASURED) == (one.why is not None)
        assert one.why is not Why.MISSING

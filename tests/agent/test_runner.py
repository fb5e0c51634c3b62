"""The runner, with probes that do as the test wishes, in warped time."""

import asyncio
import errno
import itertools
import math
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import pytest
from structlog.testing import capture_logs

from agent import probe as registry
from agent.clock import Timekeeper
from agent.directory import Directory
from agent.probe import Finding, Span, Target, error, failed, ok, probe
from agent.runner import Runner, UnknownAssignment
from agent.vantage import Medium, Vantage
from tests.support.warp import Kept, WarpClock, warp
from wire.batch import StreamName
from wire.clock import HOUR, MINUTE, SECOND, Anchor
from wire.histogram import Histogram
from wire.meetings import Load, MeetingTimes
from wire.reasons import Event, Outcome, Reason
from wire.settings import AgentSettings, Assignment

Measure = Callable[[Target, Span], Awaitable[Finding]]


class World:
    """A runner with its surroundings."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = WarpClock(loop)
        self.times = Timekeeper(self.clock)
        self.kept = Kept()
        self.directory = Directory()
        self.runner = Runner(self.clock, self.times, self.kept, self.directory)

    def anchor(self, error: int = 1000) -> None:
        self.times.learn(Anchor(self.clock.boot, self.clock.boottime(), self.clock.wall(), error))

    async def go(self, seconds: float, *assignments: Assignment, **settings: object) -> None:
        """Runs the assignments for a while and stops."""
        self.runner.apply(AgentSettings(site="na-yung", assignments=list(assignments), **settings))  # type: ignore[arg-type]
        running = asyncio.create_task(self.runner.run())
        await asyncio.sleep(seconds)
        await self.runner.stop()
        await running


@pytest.fixture
def fake() -> Iterator[Callable[..., None]]:
    """Registers probes for one test."""
    before = dict(registry.PROBES)

    def make(measure: Measure, name: str = "fake", **info: object) -> None:
        class Fake:
            """A probe that does what the test says."""

            class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
                host: str = ""
                port: int = 0

            async def measure(self, target: Target, span: Span) -> Finding:
                return await measure(target, span)

        probe(name, **{"load": Load.TRICKLE, "costs": "nothing", **info})(Fake)  # type: ignore[arg-type]

    yield make
    registry.PROBES.clear()
    registry.PROBES.update(before)


async def good(target: Target, span: Span) -> Finding:
    await asyncio.sleep(span.seconds or 0.05)
    return ok(counts={"sent": 1})


def one(**fields: object) -> Assignment:
    return Assignment(**{"probe": "fake", "target": "t", **fields})  # type: ignore[arg-type]


def test_a_probe_runs_at_its_cadence(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=60.0)
        await world.go(615, one())
        assert 10 <= len(world.kept.windows) <= 11
        starts = [window.start for window in world.kept.windows][1:]
        assert {b - a for a, b in itertools.pairwise(starts)} == {60 * SECOND}

    warp(story())


def test_continuous_windows_follow_each_other_without_a_gap_on_the_minute(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def with_a_tail(target: Target, span: Span) -> Finding:
            await asyncio.sleep(span.seconds + 1.5)  # waits for the last answers
            return ok()

        world = World()
        fake(with_a_tail, every=60.0, window=60.0)
        await world.go(610, one())
        windows = world.kept.windows
        assert len(windows) == 10
        for before, after in itertools.pairwise(windows):
            assert after.start == before.end
        assert {(window.wall_end % MINUTE) // SECOND for window in windows} == {0}
        assert {window.end - window.start for window in windows[1:]} == {MINUTE}

    warp(story())


def test_a_window_whose_last_answer_came_early_is_still_whole(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def early(target: Target, span: Span) -> Finding:
            await asyncio.sleep(span.seconds - 0.9)
            return ok()

        world = World()
        fake(early, every=60.0, window=60.0)
        await world.go(250, one())
        windows = world.kept.windows
        assert [after.start - before.end for before, after in itertools.pairwise(windows)] == [0] * (len(windows) - 1)

    warp(story())


def test_an_overrunning_probe_is_cut_off(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def hang(target: Target, span: Span) -> Finding:
            await asyncio.sleep(10_000)
            return ok()

        world = World()
        fake(hang, every=60.0, limit=5.0)
        await world.go(70, one())
        window = world.kept.windows[0]
        assert (window.outcome, window.reason) == (Outcome.ERROR, Reason.PROBE_OVERRAN)
        assert window.end - window.start == 5 * SECOND

    warp(story())


def test_a_probe_that_this_machine_starves_is_no_crash_and_says_what_to_do(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def starve(target: Target, span: Span) -> Finding:
            raise OSError(errno.EMFILE, "Too many open files")

        world = World()
        fake(starve, "starver", every=10.0)
        await world.go(30, one(probe="starver"))
        window = world.kept.windows[0]
        assert (window.outcome, window.reason) == (Outcome.ERROR, Reason.NO_RESOURCES)
        assert window.facts == {"detail": "EMFILE", "remedy": "raise the limit of open files (LimitNOFILE=)"}

    warp(story())


def test_a_crashing_probe_is_recorded_and_kills_no_other(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def crash(target: Target, span: Span) -> Finding:
            raise ZeroDivisionError("by zero")

        world = World()
        fake(crash, "crasher", every=10.0)
        fake(good, every=10.0)
        with capture_logs() as log:
            await world.go(60, one(), one(probe="crasher"))
        (said,) = [entry for entry in log if entry["log_level"] == "error"]
        assert said["event"] == "probe crashed"
        assert "ZeroDivisionError: by zero" in said["exception"]
        assert [entry for entry in log if entry["log_level"] == "warning"] == []
        crashed = [window for window in world.kept.windows if window.probe == "crasher"]
        assert len(crashed) >= 5
        assert {window.reason for window in crashed} == {Reason.PROBE_CRASHED}
        assert crashed[0].facts == {"detail": "ZeroDivisionError: by zero"}
        assert len([window for window in world.kept.windows if window.outcome is Outcome.OK]) >= 5

    warp(story())


@pytest.mark.parametrize(
    ("finding", "detail"),
    [
        (ok(values={"jitter": math.nan}), "jitter: found nan, expected a finite number"),
        (ok(values={"jitter": math.inf}), "jitter: found inf, expected a finite number"),
        (ok(counts={"sent": -1}), "sent: found -1, expected a whole number, 0 or more"),
        (ok(counts={"wobble": 1}), "wobble: found among the counts, expected a count of wire.measures"),
        (ok(values={"rtt": 1.0}), "rtt: found among the values, expected a value of wire.measures"),
        (
            Finding(outcome=Outcome.FAILED),
            "reason: found None with the outcome failed, expected one exactly when not ok",
        ),
        (
            ok(durations={"rtt": Histogram(0, 5, 1, 0, ())}),
            "rtt: lost, low, high, total: expected 0 or more, and high no less than low",
        ),
    ],
)
def test_a_finding_that_may_not_be_recorded_is_an_error_of_the_probe(
    fake: Callable[..., None], finding: Finding, detail: str
) -> None:
    async def story() -> None:
        async def found(target: Target, span: Span) -> Finding:
            return finding

        world = World()
        fake(found, every=10.0)
        await world.go(15, one())
        window = world.kept.windows[0]
        assert (window.outcome, window.reason) == (Outcome.ERROR, Reason.PROBE_CRASHED)
        assert window.facts["detail"] == detail

    warp(story())


def test_what_cannot_be_measured_says_why(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=10.0)
        await world.go(
            16,
            one(target="edge", settings={"host": "@edge"}),
            one(target="bad", settings={"port": "many"}),
            one(target="wrong", settings={"prot": 1}),
            one(target="text", settings={"port": "443"}),
            one(target="asked", skip="ask_the_organiser"),
            one(target="odd", skip="because"),
            one(probe="levitation"),
        )
        found = {window.target: window for window in world.kept.windows if window.probe == "fake"}
        said = {name: (window.outcome, window.reason) for name, window in found.items()}
        assert said == {
            "edge": (Outcome.SKIPPED, Reason.NOT_LEARNED_YET),
            "bad": (Outcome.ERROR, Reason.BAD_TARGET),
            "wrong": (Outcome.ERROR, Reason.BAD_TARGET),
            "text": (Outcome.OK, None),
            "asked": (Outcome.SKIPPED, Reason.ASK_THE_ORGANISER),
            "odd": (Outcome.ERROR, Reason.BAD_TARGET),
        }
        assert found["bad"].facts["detail"] == "fake:bad: Expected `int`, got `str` - at `$.port`"
        assert found["wrong"].facts["detail"] == "fake:wrong: Object contains unknown field `prot`"
        assert found["odd"].facts["detail"] == "fake:odd: skip: found 'because', expected a known reason"

    warp(story())


def test_an_unknown_probe_says_so_at_each_due_time(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        await world.go(190, one(probe="levitation"))
        assert {window.reason for window in world.kept.windows} == {Reason.PROBE_UNKNOWN}
        assert 3 <= len(world.kept.windows) <= 4

    warp(story())


def test_without_a_default_route_the_gateway_failed(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        world.directory.routed = False
        fake(good, every=10.0)
        await world.go(16, one(settings={"host": "@gateway"}))
        assert (world.kept.windows[0].outcome, world.kept.windows[0].reason) == (Outcome.FAILED, Reason.NO_GATEWAY)

    warp(story())


def test_what_one_probe_learns_another_measures(fake: Callable[..., None]) -> None:
    async def story() -> None:
        seen: list[str] = []

        async def trace(target: Target, span: Span) -> Finding:
            return ok(learned={"edge": "10.9.9.9"})

        async def echo(target: Target, span: Span) -> Finding:
            seen.append(target.settings.host)
            return ok()

        world = World()
        fake(trace, "edgy", every=30.0)
        fake(echo, every=10.0)
        world.runner.apply(AgentSettings(assignments=[one(settings={"host": "@edge"}), one(probe="edgy")]))
        windows = await world.runner.measure_now([])
        assert seen == ["10.9.9.9"]
        assert [window.probe for window in windows] == ["edgy", "fake"]
        assert "10.9.9.9" not in msgspec.json.encode(windows).decode()

    warp(story())


def test_quiet_time_is_said_once_a_due_time_and_trickle_runs_on(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        world.anchor()
        fake(good, "small", every=60.0, load=Load.TRICKLE)
        fake(good, "heavy", every=60.0, load=Load.LIGHT)
        doors = world.clock.wall() + HOUR + 300 * SECOND
        meeting = MeetingTimes("m", doors, doors + HOUR, doors + 2 * HOUR)
        await world.go(600, one(probe="small"), one(probe="heavy"), meetings=[meeting])
        heavy = [window for window in world.kept.windows if window.probe == "heavy"]
        assert [window.outcome for window in heavy[:3]] == [Outcome.OK] * 3
        assert {window.reason for window in heavy[-4:]} == {Reason.QUIET_TIME}
        assert len(heavy) in (10, 11)
        assert {window.outcome for window in world.kept.windows if window.probe == "small"} == {Outcome.OK}

    warp(story())


def test_without_a_known_time_only_trickle_runs(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=60.0, load=Load.LIGHT)
        await world.go(20, one())
        assert world.kept.windows[0].reason is Reason.TIME_UNKNOWN

    warp(story())


def test_a_full_load_waits_for_a_slot(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        world.anchor()
        fake(good, every=60.0, load=Load.FULL)
        await world.go(20, one())
        assert world.kept.windows[0].reason is Reason.NO_SLOT

    warp(story())


def test_from_elsewhere_only_the_machine_itself_is_measured(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, "host", every=10.0)
        fake(good, every=10.0)
        world.runner.vantage = Vantage("0badcafe", "wlan0", Medium.WIFI, "10.0.0.1", "", "", None, "")
        await world.go(16, one(), one(probe="host"), vantages=["cafecafe"])
        said = {window.probe: window.reason for window in world.kept.windows}
        assert said == {"fake": Reason.NOT_ON_THIS_LINK, "host": None}
        assert {window.vantage for window in world.kept.windows} == {"0badcafe"}

    warp(story())


def test_a_box_without_a_route_still_stands_on_its_link(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=10.0)
        await world.go(16, one(), vantages=["cafecafe"])
        assert world.kept.windows[0].outcome is Outcome.OK

    warp(story())


def test_a_box_whose_place_has_no_name_yet_is_not_elsewhere(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=10.0)
        world.runner.stand(Vantage("", "eth0", Medium.CABLE, "192.0.2.1", "", "", None, ""))
        await world.go(16, one(), vantages=["cafecafe"])
        assert (world.kept.windows[0].reason, world.kept.windows[0].vantage) == (None, "")

    warp(story())


def test_few_one_shot_probes_run_at_once(fake: Callable[..., None]) -> None:
    async def story() -> None:
        running, most = 0, 0

        async def busy(target: Target, span: Span) -> Finding:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(4)
            running -= 1
            return ok()

        world = World()
        fake(busy, every=10.0)
        await world.go(60, *(one(target=f"t{number}") for number in range(30)), concurrency=3)
        assert most == 3

    warp(story())


def test_a_window_slept_through_is_an_error_and_is_noted(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=60.0, window=60.0)
        world.runner.apply(AgentSettings(assignments=[one()]))
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(150)
        world.clock.slept += 3 * HOUR
        await asyncio.sleep(200)
        await world.runner.stop()
        await running
        outcomes = [(window.outcome, window.reason) for window in world.kept.windows]
        assert outcomes.count((Outcome.ERROR, Reason.SUSPENDED)) == 1
        assert outcomes[-1] == (Outcome.OK, None)
        (note,) = world.kept.notes
        assert (note.event, note.counts) == (Event.SUSPENDED, {"microseconds": 3 * HOUR})

    warp(story())


def test_after_a_suspend_one_shot_probes_do_not_burst(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        starts: list[float] = []

        async def noted(target: Target, span: Span) -> Finding:
            starts.append(asyncio.get_running_loop().time())
            return ok()

        fake(noted, every=300.0)
        targets = [one(target=f"t{number}") for number in range(30)]
        world.runner.apply(AgentSettings(assignments=targets))
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(20)
        assert len(starts) == 30
        starts.clear()
        world.clock.slept += 3 * HOUR
        await asyncio.sleep(25)
        await world.runner.stop()
        await running
        assert len(starts) == 30, "each once, not once for every time missed"
        busiest = max(sum(1 for other in starts if at <= other < at + 1) for at in starts)
        assert busiest <= 8

    warp(story())


def test_a_clock_a_year_ahead_that_is_set_right_stops_nothing(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        world.clock.step(365 * 24 * HOUR)
        fake(good, every=60.0)
        world.runner.apply(AgentSettings(assignments=[one()]))
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(130)
        world.clock.step(-365 * 24 * HOUR)
        before = len(world.kept.windows)
        await asyncio.sleep(310)
        await world.runner.stop()
        await running
        assert len(world.kept.windows) - before >= 4
        assert [note.event for note in world.kept.notes] == [Event.CLOCK_STEPPED] * 2

    warp(story())


def test_new_settings_do_not_disturb_what_did_not_change(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=60.0, window=60.0)
        world.runner.apply(AgentSettings(revision="r1", assignments=[one(), one(target="gone")]))
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(200)
        world.runner.apply(AgentSettings(revision="r2", assignments=[one(), one(target="new")]))
        await asyncio.sleep(200)
        await world.runner.stop()
        await running
        kept = [window for window in world.kept.windows if window.target == "t"]
        assert all(after.start == before.end for before, after in itertools.pairwise(kept))
        assert {window.settings for window in kept} == {"r1", "r2"}
        assert {window.settings for window in world.kept.windows if window.target == "gone"} == {"r1"}
        assert {window.settings for window in world.kept.windows if window.target == "new"} == {"r2"}

    warp(story())


def test_what_is_no_longer_assigned_is_cut_and_what_it_had_is_kept(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def partial(target: Target, span: Span) -> Finding:
            try:
                await asyncio.sleep(span.seconds)
            except asyncio.CancelledError:
                return ok(counts={"sent": 7})
            return ok(counts={"sent": 60})

        world = World()
        fake(partial, every=600.0, window=600.0)
        world.runner.apply(AgentSettings(assignments=[one()]))
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(30)
        world.runner.apply(AgentSettings())
        await asyncio.sleep(1)
        assert [window.counts for window in world.kept.windows] == [{"sent": 7}]
        assert world.kept.windows[0].end - world.kept.windows[0].start == 30 * SECOND
        await world.runner.stop()
        await running

    warp(story())


def test_a_failure_is_logged_once_and_its_end_once(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def third_time(target: Target, span: Span) -> Finding:
            return failed(Reason.NO_REPLY) if len(world.kept.windows) in (1, 2, 3) else ok()

        world = World()
        fake(third_time, every=10.0)
        with capture_logs() as log:
            await world.go(75, one())
        said = [(entry["log_level"], entry["event"], entry["target"]) for entry in log]
        assert said == [("warning", "probe failed", "t"), ("info", "probe ok again", "t")]

    warp(story())


def test_a_window_cut_at_the_stop_is_recorded_with_what_it_has(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def partial(target: Target, span: Span) -> Finding:
            try:
                await asyncio.sleep(span.seconds)
            except asyncio.CancelledError:
                return ok(counts={"sent": 7})
            return ok(counts={"sent": 60})

        world = World()
        fake(partial, "giving", every=60.0, window=60.0)
        fake(good, every=60.0, window=60.0)
        await world.go(150, one(probe="giving"), one())
        giving = [window for window in world.kept.windows if window.probe == "giving"]
        assert giving[-1].counts == {"sent": 7}
        assert giving[-1].end - giving[-1].start < MINUTE
        others = [window for window in world.kept.windows if window.probe == "fake"]
        assert {window.counts["sent"] for window in others} == {1}
        assert len(giving) == len(others) + 1

    warp(story())


def test_a_watched_fact_that_changes_is_a_change(fake: Callable[..., None]) -> None:
    async def story() -> None:
        answers = iter([ok(facts={"address": "a"}), failed(Reason.TIMED_OUT), ok(facts={"address": "b"})])

        async def next_one(target: Target, span: Span) -> Finding:
            return next(answers, ok(facts={"address": "b"}))

        world = World()
        fake(next_one, every=10.0, watches=("address",))
        await world.go(60, one(evidence=True))
        (change,) = world.kept.changes
        assert (change.previous, change.current, change.facts) == ("a", "b", {"fact": "address"})
        assert {stream for stream, _, _ in world.kept.records} == {StreamName.EVIDENCE}
        urgent = [window.outcome for _, window, urgent in world.kept.records if urgent and hasattr(window, "outcome")]
        assert urgent == [Outcome.FAILED, Outcome.OK]

    warp(story())


def test_an_order_measures_now_with_its_own_window_and_name(fake: Callable[..., None]) -> None:
    async def story() -> None:
        spans: list[Span] = []

        async def spanned(target: Target, span: Span) -> Finding:
            spans.append(span)
            return await good(target, span)

        world = World()
        fake(spanned, every=60.0, window=60.0)
        fake(good, "heavy", every=60.0, load=Load.LIGHT)
        world.runner.apply(AgentSettings(assignments=[one(), one(target="u"), one(probe="heavy")]))
        (window,) = await world.runner.measure_now(["fake:u"], 10.0, "o-1")
        assert (window.target, window.order, spans[0].seconds) == ("u", "o-1", 10.0)
        assert {window.target for window in await world.runner.measure_now([])} == {"t", "u"}
        with pytest.raises(UnknownAssignment) as caught:
            await world.runner.measure_now(["nothing", "fake:u"])
        assert str(caught.value) == (
            "found nothing, expected the name of a probe or probe:target that is assigned: fake:t, fake:u, heavy:t"
        )

    warp(story())


def test_an_error_of_the_probe_is_never_stretched_to_the_window(fake: Callable[..., None]) -> None:
    async def story() -> None:
        async def forbidden(target: Target, span: Span) -> Finding:
            return error(Reason.NO_PERMISSION)

        world = World()
        fake(forbidden, every=60.0, window=60.0)
        await world.go(300, one())
        assert len(world.kept.windows) == 6
        assert {window.end - window.start for window in world.kept.windows} == {0}

    warp(story())


def test_a_late_timer_leaves_no_gap_between_continuous_windows(
    fake: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        on_time = Runner._until
        lateness = itertools.cycle([0.003, 0.009, 0.001])

        async def late(runner: Runner, at: int, job: object) -> None:
            await on_time(runner, at, job)  # type: ignore[arg-type]
            await asyncio.sleep(next(lateness))

        monkeypatch.setattr(Runner, "_until", late)
        world = World()
        fake(good, every=60.0, window=60.0)
        await world.go(400, one())
        windows = world.kept.windows[1:]
        assert len(windows) >= 5
        assert {window.end - window.start for window in windows} == {MINUTE}
        assert all(after.start == before.end for before, after in itertools.pairwise(windows))

    warp(story())


def test_of_a_continuous_probe_that_hangs_no_third_window_is_begun(fake: Callable[..., None]) -> None:
    async def story() -> None:
        running, most = 0, 0

        async def hang(target: Target, span: Span) -> Finding:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(10_000)
            finally:
                running -= 1
            return ok()

        world = World()
        fake(hang, every=10.0, window=10.0, limit=300.0)
        await world.go(200, one())
        assert most == 2

    warp(story())


def test_a_box_whose_cable_was_pulled_is_measured_and_not_elsewhere(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=10.0)
        world.runner.stand(None)
        await world.go(16, one(settings={"host": "192.0.2.1"}), vantages=["cafecafe"])
        assert world.kept.windows[0].reason is None
        assert world.kept.windows[0].vantage == ""

    warp(story())


def test_of_two_assignments_of_one_name_the_first_counts(fake: Callable[..., None]) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=10.0)
        with capture_logs() as log:
            await world.go(16, one(platform="zoom"), one(platform="webex"))
        assert {window.platform for window in world.kept.windows} == {"zoom"}
        assert [entry["event"] for entry in log] == ["assignments of the same name: the first counts"]

    warp(story())


@pytest.mark.parametrize("off", [1_500_000, -1_500_000, 40, -40, 3 * SECOND, -3 * SECOND, HOUR + 17 * SECOND])
def test_continuous_windows_stay_back_to_back_when_the_time_is_corrected(fake: Callable[..., None], off: int) -> None:
    async def story() -> None:
        world = World()
        fake(good, every=60.0, window=60.0)
        world.runner.apply(AgentSettings(assignments=[one()]))
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(150)
        world.times.learn(Anchor(world.clock.boot, world.clock.boottime(), world.clock.wall() + off, 1000))
        await asyncio.sleep(400)
        await world.runner.stop()
        await running
        windows = world.kept.windows
        assert len(windows) >= 8
        assert all(after.start == before.end for before, after in itertools.pairwise(windows))
        assert {(window.wall_end + off) % MINUTE // SECOND for window in windows[-3:]} == {0}

    warp(story())


def test_an_hourly_probe_that_failed_is_tried_again_within_ten_minutes(fake) -> None:
    times: list[float] = []

    async def measure(target: Target, span: Span) -> Finding:
        times.append(asyncio.get_running_loop().time())
        return failed(Reason.BROKEN_OFF) if len(times) == 1 else ok()

    fake(measure, every=3600.0)

    async def story() -> None:
        world = World()
        world.anchor()
        await world.go(1800, Assignment(probe="fake", target="zoom"))

    warp(story())
    assert len(times) == 2
    assert 300 <= times[1] - times[0] <= 601

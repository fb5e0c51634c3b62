"""One measurement from start to record: resolve, measure within the time limit, check, and say when and where.

The same path serves the daemon, orders and ``phrom-agent once``.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from agent.clock import Clock
from agent.directory import BEYOND_GATEWAY, Directory, NotLearnedYet, references
from agent.findings import changed_facts, checked, decoded, text
from agent.neterrors import OURS, finding_of
from agent.probe import Finding, Leases, NoLeases, Probe, ProbeInfo, Result, Span, Target, error, failed, skipped
from wire.batch import StreamName
from wire.clock import SECOND
from wire.observation import Change, Observation, Test, Window
from wire.reasons import Outcome, Reason
from wire.settings import Assignment

SUSPENDED = SECOND
"""Microseconds by which CLOCK_BOOTTIME may run ahead of CLOCK_MONOTONIC in a window before it was slept through."""

ALMOST = 2.0
"""Seconds before its end at which a continuous window is as good as whole: its last answer came."""


class Records(Protocol):
    """Where records go: the journal, or a list for ``once``."""

    async def record(self, stream: StreamName, *observations: Observation, urgent: bool = False) -> None:
        """Returns when the records are safe."""


class Ready(NamedTuple):
    """An assignment with the probe that serves it."""

    assignment: Assignment
    info: ProbeInfo
    probe: Any
    """A :class:`~agent.probe.Probe`, or a :class:`~agent.probe.Watcher` where ``info`` says so."""


class Where(NamedTuple):
    """What the header of a record says beside the times."""

    settings: str
    vantage: str


class Seen(NamedTuple):
    """A window to be recorded. ``seconds`` is how long it took, ``watches`` which facts make a change."""

    window: Window
    assignment: Assignment
    seconds: float
    watches: tuple[str, ...]
    tests: tuple[Test, ...] = ()
    """Recorded beside the window, which then only sums up."""


class Moment(NamedTuple):
    """One reading of the clocks, microseconds; ``awake`` is CLOCK_MONOTONIC."""

    boottime: int
    wall: int
    awake: int


class Measuring:
    """Measures one assignment at a time, keeps what the next measurement must be compared with."""

    def __init__(
        self,
        clock: Clock,
        records: Records,
        directory: Directory,
        where: Callable[[], Where],
        leases: Leases = NoLeases(),  # noqa: B008 - it has no state
    ) -> None:
        self._clock = clock
        self._records = records
        self._directory = directory
        self.where = where
        self._leases = leases
        self._inner: dict[asyncio.Task[Any], str] = {}
        self._facts: dict[str, dict[str, str]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._crashes: set[tuple[str, str]] = set()
        self._cut = asyncio.Event()
        self._log = structlog.get_logger("agent.probes")
        self.listeners: list[Callable[[Window, float], None]] = []
        """Called with every window recorded and the seconds it took; the metrics listen here."""

    def moment(self) -> Moment:
        """The clocks now."""
        return Moment(self._clock.boottime(), self._clock.wall(), self._clock.monotonic())

    def cut(self, name: str = "") -> None:
        """Ends the measurements under way of one assignment, or for good those of all; what a probe returns when
        cancelled is still recorded."""
        if not name:
            self._cut.set()
        for task, assignment in list(self._inner.items()):
            if not name or name == assignment:
                task.cancel()

    @contextlib.contextmanager
    def following(self, task: asyncio.Task[Any], name: str) -> Iterator[None]:
        """Counts a task among the measurements under way that :meth:`cut` ends."""
        self._inner[task] = name
        try:
            yield
        finally:
            del self._inner[task]

    async def observe(self, ready: Ready, seconds: float, order: str = "", since: int | None = None) -> Seen | None:
        """One window of ``seconds`` (0 = as long as it takes), not recorded yet; ``None`` if cut and giving nothing.

        ``since`` is the boottime at which a continuous window was due: it begins there, where the one before it ended.
        """
        assignment = ready.assignment
        begun, where = self.moment(), self.where()
        start = begun.boottime if since is None else since
        try:
            settings = self._settings_of(ready)
        except _Unmeasurable as instead:
            return self.state(assignment, instead.finding, order)
        finding = await self._within_limit(ready, self._target(assignment, settings), seconds)
        if finding is None:
            return None
        due_end = start + round(seconds * SECOND)
        if since is not None and finding.outcome in (Outcome.OK, Outcome.FAILED):
            await self._see_out((due_end - self._clock.boottime()) / SECOND)
        end = self.moment()
        slept = (end.boottime - begun.boottime) - (end.awake - begun.awake)
        if slept > SUSPENDED:
            finding = error(Reason.SUSPENDED, facts={"slept_seconds": str(slept // SECOND)})
        finding = checked(finding)
        if finding.learned:
            self._directory.learn(finding.learned)
        finish = end.boottime if finding.outcome is Outcome.ERROR or not seconds else min(end.boottime, due_end)
        walls = (begun.wall - (begun.boottime - start), end.wall - (end.boottime - finish))
        window = _window(assignment, finding, self._clock.boot, (start, finish), walls, where, order)
        tests = tuple(self._test(window, result, end) for result in finding.results)
        return Seen(window, assignment, (end.awake - begun.awake) / SECOND, ready.info.watches, tests)

    def _target(self, assignment: Assignment, settings: Any) -> Target:
        return Target(assignment.target, assignment.platform, settings, self._leases)

    @staticmethod
    def _test(window: Window, result: Result, end: Moment) -> Test:
        """One direction of a test, with the header of the window that sums it up."""
        return Test(
            boot=window.boot,
            start=result.start,
            end=result.end,
            wall_start=end.wall - (end.boottime - result.start),
            wall_end=end.wall - (end.boottime - result.end),
            settings=window.settings,
            vantage=window.vantage,
            probe=window.probe,
            target=window.target,
            platform=window.platform,
            engine=result.engine,
            direction=result.direction,
            outcome=result.outcome,
            reason=result.reason,
            order=window.order,
            valid=result.valid,
            limits=result.limits,
            counts=result.counts,
            values=result.values,
            durations=result.durations,
            facts=result.facts,
        )

    async def _see_out(self, left: float) -> None:
        """Waits for the end of a continuous window whose probe was done a little before it, so that no record ends in
        the future and no second goes unwatched."""
        if 0 < left <= ALMOST:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cut.wait(), left)

    def state(self, assignment: Assignment, finding: Finding, order: str = "") -> Seen:
        """A window in which nothing was measured, with the reason; it begins and ends now."""
        now = self.moment()
        finding = checked(finding)
        times = (now.boottime, now.boottime)
        walls = (now.wall, now.wall)
        window = _window(assignment, finding, self._clock.boot, times, walls, self.where(), order)
        return Seen(window, assignment, 0.0, ())

    def forget(self, assignment: Assignment) -> None:
        """Drops what was kept of an assignment that is no more."""
        self._facts.pop(assignment.name, None)
        self._outcomes.pop(assignment.name, None)

    def _settings_of(self, ready: Ready) -> Any:
        given = ready.assignment.settings
        if not self._directory.routed and references(given) & BEYOND_GATEWAY:
            raise _Unmeasurable(failed(Reason.NO_GATEWAY))
        try:
            return decoded(self._directory.resolve(given), ready.info.settings)
        except NotLearnedYet as missing:
            raise _Unmeasurable(skipped(Reason.NOT_LEARNED_YET, facts={"name": missing.name})) from missing
        except msgspec.ValidationError as wrong:
            finding = error(Reason.BAD_TARGET, facts={"detail": text(f"{ready.assignment.name}: {wrong}")})
            raise _Unmeasurable(finding) from wrong

    async def _within_limit(self, ready: Ready, target: Target, seconds: float) -> Finding | None:
        limit = seconds + ready.info.limit
        task = asyncio.create_task(_measure(ready.probe, target, Span(seconds, limit)))
        try:
            with self.following(task, ready.assignment.name):
                done, _ = await asyncio.wait({task}, timeout=limit)
                if not done:
                    task.cancel()
                    await asyncio.wait({task}, timeout=1.0)
                    return error(Reason.PROBE_OVERRAN, facts={"limit_seconds": f"{limit:g}"})
                if task.cancelled():
                    return None
                crash = task.exception()
                return task.result() if crash is None else await self.crashed(ready.assignment, crash)
        finally:
            if not task.done():
                task.cancel()

    async def crashed(self, assignment: Assignment, crash: BaseException) -> Finding:
        """What to record of a probe that raised; logged once with its traceback."""
        if isinstance(crash, OSError) and crash.errno in OURS:  # such as a full table of open files
            return finding_of(crash)
        words = text(f"{type(crash).__name__}: {crash}")
        if (assignment.name, words) not in self._crashes:
            self._crashes.add((assignment.name, words))
            lines = await asyncio.to_thread(traceback.format_exception, crash)  # it reads the source files
            keys = {"probe": assignment.probe, "target": assignment.target}
            self._log.error("probe crashed", **keys, exception="".join(lines))
        return error(Reason.PROBE_CRASHED, facts={"detail": words})

    async def keep(self, seen: Seen) -> Window:
        """Records what was seen, and what changed by it; returns when it is safe."""
        window, assignment = seen.window, seen.assignment
        records: list[Observation] = [window, *seen.tests]
        if seen.watches and window.outcome is Outcome.OK:
            before = self._facts.get(assignment.name, {})
            records += [_change(window, fact, before) for fact in changed_facts(seen.watches, before, window.facts)]
            self._facts[assignment.name] = dict(window.facts)
        turned = self._turned(assignment, window)
        stream = StreamName.EVIDENCE if assignment.evidence else StreamName.MONITOR
        for listener in self.listeners:
            listener(window, seen.seconds)
        await self._records.record(stream, *records, urgent=turned or len(records) > 1)
        return window

    async def keep_change(self, assignment: Assignment, change: Change) -> None:
        """Records what a watcher saw change, at once."""
        keys = {"probe": change.probe, "target": change.target}
        self._log.info("state", **keys, before=change.previous, now=change.current)
        stream = StreamName.EVIDENCE if assignment.evidence else StreamName.MONITOR
        await self._records.record(stream, change, urgent=True)

    def _turned(self, assignment: Assignment, window: Window) -> bool:
        """Whether the outcome is another than the last time; said once in the log, each way."""
        before = self._outcomes.get(assignment.name)
        self._outcomes[assignment.name] = window.outcome
        bad = (Outcome.FAILED, Outcome.ERROR)
        keys = {"probe": window.probe, "target": window.target}
        if (assignment.name, window.facts.get("detail", "")) in self._crashes:
            pass  # logged with its traceback
        elif window.outcome in bad and before is not window.outcome:
            detail = window.facts.get("remedy") or window.facts.get("detail") or ""
            reason = str(window.reason)
            self._log.warning(
                "probe " + window.outcome, **keys, reason=reason, **({"detail": detail} if detail else {})
            )
        elif window.outcome is Outcome.OK and before in bad:
            self._log.info("probe ok again", **keys)
        return before is not None and before is not window.outcome


class _Unmeasurable(Exception):
    """There is nothing to measure; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding.reason))
        self.finding = finding


async def _measure(probe: Probe, target: Target, span: Span) -> Finding:
    return await probe.measure(target, span)


def _window(
    assignment: Assignment,
    finding: Finding,
    boot: str,
    times: tuple[int, int],
    walls: tuple[int, int],
    where: Where,
    order: str,
) -> Window:
    return Window(
        boot=boot,
        start=times[0],
        end=times[1],
        wall_start=walls[0],
        wall_end=walls[1],
        settings=where.settings,
        vantage=where.vantage,
        probe=assignment.probe,
        target=assignment.target,
        platform=assignment.platform,
        outcome=finding.outcome,
        reason=finding.reason,
        order=order,
        counts=finding.counts,
        values=finding.values,
        durations=finding.durations,
        states=finding.states,
        facts=finding.facts,
    )


def _change(window: Window, fact: str, before: dict[str, str]) -> Change:
    """A watched fact differs from the last good window; it began at the latest when this window did."""
    return Change(
        boot=window.boot,
        start=window.start,
        end=window.end,
        wall_start=window.wall_start,
        wall_end=window.wall_end,
        settings=window.settings,
        vantage=window.vantage,
        probe=window.probe,
        target=window.target,
        platform=window.platform,
        previous=before[fact][:80] or "none",
        current=window.facts[fact][:80] or "none",
        facts={"fact": fact},
    )

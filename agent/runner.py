"""Runs what is assigned: one task an assignment, each on its own cadence, few one-shot probes at once."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import structlog

from agent.clock import Clock, Slept, Stepped
from agent.directory import Directory, references
from agent.measuring import Measuring, Ready, Records, Seen, Where
from agent.probe import Finding, Leases, NoLeases, error, load, skipped
from agent.schedule import Due, Plan, chained, first, following, hindrance, plan, settle, sooner
from agent.vantage import Vantage
from agent.watching import Around, Watching
from wire.batch import StreamName
from wire.clock import SECOND, Corrected, Instant
from wire.meetings import Load
from wire.observation import Note, Window
from wire.reasons import Event, Reason
from wire.settings import AgentSettings, Assignment

ANYWHERE = frozenset({"host", "ntp"})
"""Probes of the machine itself: they mean the same wherever it stands."""
LOOK = 5.0
"""Seconds between looks for a suspend."""
STOPPING = 2.0
"""Seconds that what is under way may take to end when it is cut."""
BROKEN = 10.0
"""Seconds before a watcher that broke is started anew."""
ORDERED_WINDOW = 5.0
"""Seconds of a window that an order or ``once`` asks for, where it names no other."""


class Times(Protocol):
    """What the runner needs of :class:`agent.clock.Timekeeper`."""

    def utc(self, boottime: int | None = None) -> Corrected | None:
        """Corrected UTC, or ``None`` while unknown."""

    def look(self) -> list[Stepped | Slept]:
        """What happened to the clocks since the last look."""


class UnknownAssignment(LookupError):
    """A name that no assignment bears."""

    def __init__(self, names: Iterable[str], assigned: Iterable[str]) -> None:
        found, known = ", ".join(sorted(names)), ", ".join(sorted(assigned)) or "none"
        super().__init__(f"found {found}, expected the name of a probe or probe:target that is assigned: {known}")


class _Job:
    """One assignment being run."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.ended = False
        self.windows: set[asyncio.Task[Window | None]] = set()
        self.until = 0
        """Boottime at which the last continuous window ends; 0 where none is to be followed."""


class Runner:
    """``apply`` says what to run, ``run`` runs it until ``stop``."""

    def __init__(
        self,
        clock: Clock,
        times: Times,
        records: Records,
        directory: Directory,
        leases: Leases = NoLeases(),  # noqa: B008 - it has no state
    ) -> None:
        self._clock = clock
        self._times = times
        self._records = records
        self._directory = directory
        self.measuring = Measuring(clock, records, directory, self._where, leases)
        around = Around(clock, times, directory, lambda: self._where().vantage, self._unwatchable)
        self._watching = Watching(clock, self.measuring, directory, around)
        self._settings = AgentSettings()
        self.prepare: Callable[[str, Any], Any] = lambda _, made: made  # gives a probe what only this machine knows
        self._probes: dict[str, Any] = {}
        self._jobs: dict[str, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sleepers: set[asyncio.Future[None]] = set()
        self._few = asyncio.Semaphore(self._settings.concurrency)
        self._started = False
        self._stopped = asyncio.Event()
        self._log = structlog.get_logger("agent.runner")
        self.vantage: Vantage | None = None

    @property
    def settings(self) -> AgentSettings:
        """What is being run."""
        return self._settings

    def stand(self, vantage: Vantage | None) -> None:
        """Says where the machine stands now; ``None`` without a default route."""
        self.vantage = vantage

    def apply(self, settings: AgentSettings) -> None:
        """Runs these settings from now on. Assignments that did not change are not disturbed; what is no longer
        assigned is cut short."""
        before, self._settings = self._settings, settings
        if settings.concurrency != before.concurrency:
            self._few = asyncio.Semaphore(settings.concurrency)
        doubled = len(settings.assignments) - len(_distinct(settings.assignments))
        if doubled:
            self._log.warning("assignments of the same name: the first counts", passed_over=doubled)
        if self._started:
            self._arrange(respread=settings.site != before.site)

    async def run(self) -> None:
        """Until :meth:`stop` is called."""
        self._started = True
        self._arrange()
        await self._watch_the_clocks()

    async def stop(self) -> None:
        """Cuts what is under way, records what that gives, and returns when all is recorded."""
        self._stopped.set()
        for job in self._jobs.values():
            job.ended = True
        self._wake()
        self.measuring.cut()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOPPING)
            for task in late:
                task.cancel()
        await self.close()

    async def close(self) -> None:
        """Closes the probes' sockets and caches."""
        for probe in self._probes.values():
            closing = getattr(probe, "close", None)
            if closing is not None:
                waiting = closing()
                if asyncio.iscoroutine(waiting):
                    await waiting
        self._probes.clear()

    async def measure_now(self, names: Sequence[str], window: float | None = None, order: str = "") -> list[Window]:
        """Measures what is named (``probe`` or ``probe:target``; nothing = all of trickle class) once, now.

        The daemon's own path with a window of ``window`` seconds. What needs an address that another probe must learn
        first comes second. Raises :class:`UnknownAssignment`.
        """
        chosen = await self._chosen(names)
        known = set(self._directory.addresses)
        later = [one for one in chosen if references(one.settings) - known]
        found: list[Window] = []
        for group in ([one for one in chosen if one not in later], later):
            found += [one for one in await asyncio.gather(*(self._now(one, window, order) for one in group)) if one]
        return found

    @property
    def on_link(self) -> bool:
        """Whether the machine stands on its link, as far as can be known."""
        return not self._elsewhere()

    async def fill(self, assignment: Assignment, order: str) -> Window | None:
        """Runs one test of load class full, for whoever has seen to it that it may run now; ``None`` if cut."""
        if self._stopped.is_set():
            return None
        ready = await self._ready(assignment)
        if not isinstance(ready, Ready):
            return await self.measuring.keep(self.measuring.state(assignment, ready, order))
        seen = await self.measuring.observe(ready, 0.0, order)
        return await self.measuring.keep(seen) if seen else None

    async def _chosen(self, names: Sequence[str]) -> list[Assignment]:
        assigned = _distinct(self._settings.assignments)
        asked = set(names)
        missing = asked - {one.name for one in assigned} - {one.probe for one in assigned}
        if missing:
            raise UnknownAssignment(missing, (one.name for one in assigned))
        if asked:
            return [one for one in assigned if one.name in asked or one.probe in asked]
        return [one for one in assigned if await self._is_trickle(one)]

    async def _is_trickle(self, assignment: Assignment) -> bool:
        ready = await self._ready(assignment)
        return not isinstance(ready, Ready) or ready.info.load is Load.TRICKLE

    async def _now(self, assignment: Assignment, window: float | None, order: str) -> Window | None:
        ready = await self._ready(assignment)
        if not isinstance(ready, Ready):
            return await self.measuring.keep(self.measuring.state(assignment, ready, order))
        own = assignment.window if assignment.window is not None else ready.info.window
        seconds = min(own, window or ORDERED_WINDOW)
        if ready.info.watcher:
            if assignment.name in self._jobs:  # two watches beside each other would tell every second twice
                return None
            return await self._watching.briefly(ready, seconds, order)
        return await self._once(ready, seconds, order, None)

    def _arrange(self, respread: bool = False) -> None:
        wanted = {one.name: one for one in _distinct(self._settings.assignments)}
        for name, job in list(self._jobs.items()):
            if respread or wanted.get(name) != job.assignment:
                del self._jobs[name]
                job.ended = True
                self.measuring.cut(name)
                self.measuring.forget(job.assignment)
        self._wake()
        for name, assignment in wanted.items():
            if name not in self._jobs and not self._stopped.is_set():
                job = self._jobs[name] = _Job(assignment)
                task = asyncio.create_task(self._repeat(job), name=name)
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._log.error("assignment given up", assignment=task.get_name(), cause=f"{type(fault).__name__}: {fault}")

    async def _ready(self, assignment: Assignment) -> Ready | Finding:
        """The probe of an assignment, or what to record instead."""
        if assignment.skip:
            reason = Reason(assignment.skip)
            if reason is Reason.UNRECOGNISED:
                detail = f"{assignment.name}: skip: found {assignment.skip!r}, expected a known reason"
                return error(Reason.BAD_TARGET, facts={"detail": detail})
            return skipped(reason)
        try:
            info = await asyncio.to_thread(load, assignment.probe)
        except KeyError:
            return error(Reason.PROBE_UNKNOWN, facts={"detail": f"this release has no probe {assignment.probe!r}"})
        except ImportError as missing:
            detail = f"the probe {assignment.probe!r} cannot be loaded: {missing}; install phrom anew"
            return error(Reason.NOT_SUPPORTED, facts={"detail": detail})
        if assignment.probe not in self._probes:
            self._probes[assignment.probe] = self.prepare(assignment.probe, info.make())
        return Ready(assignment, info, self._probes[assignment.probe])

    async def _repeat(self, job: _Job) -> None:
        ready = await self._ready(job.assignment)
        if isinstance(ready, Ready) and ready.info.watcher:
            await self._keep_watching(ready, job)
            return
        cadence = self._plan(job.assignment, ready)
        due = first(cadence, self._now_utc())
        while not job.ended:
            await self._until(due.at, job)
            now = self._now_utc()
            if job.until:  # however the time was corrected meanwhile, it begins where the one before it ended
                due = chained(cadence, now - (self._clock.boottime() - job.until))
            settled = settle(cadence, due, now)
            if settled != due or now < due.at:
                job.until = job.until if settled == due else 0
                due = settled
            elif not job.ended:
                ran = await self._run_due(ready, job, cadence, due)
                due = following(cadence, due, self._now_utc())
                if ran is not None:
                    due = sooner(cadence, due, self._now_utc(), ran.outcome, ran.reason)
        if job.windows:
            await asyncio.wait(job.windows, timeout=STOPPING)

    async def _keep_watching(self, ready: Ready, job: _Job) -> None:
        """A watcher runs as long as it is assigned; one that broke is started anew after a while."""
        own = ready.assignment.window
        while not job.ended:
            await self._watching.run(ready, ready.info.window if own is None else own)
            await self._until(self._now_utc() + round(BROKEN * SECOND), job)

    async def _run_due(self, ready: Ready | Finding, job: _Job, cadence: Plan, due: Due) -> Window | None:
        if not isinstance(ready, Ready):
            await self.measuring.keep(self.measuring.state(job.assignment, ready))
        elif not cadence.continuous:
            return await self._once(ready, due.window / SECOND, "", None)
        elif len(job.windows) < 2:  # the one before may still be waiting for its last answers; a third one hangs
            since = job.until or self._clock.boottime() - (self._now_utc() - due.at)
            job.until = since + due.window
            task = asyncio.create_task(self._once(ready, due.window / SECOND, "", since))
            job.windows.add(task)
            task.add_done_callback(job.windows.discard)
        return None

    async def _once(self, ready: Ready, seconds: float, order: str, since: int | None) -> Window | None:
        """One due time: measured, or recorded as skipped with the reason."""
        if seconds:
            seen = await self._observed(ready, seconds, order, since)
        else:
            async with self._few:
                seen = await self._observed(ready, seconds, order, since)
        return await self.measuring.keep(seen) if seen else None

    async def _observed(self, ready: Ready, seconds: float, order: str, since: int | None) -> Seen | None:
        if self._stopped.is_set():
            return None
        reason = self._hindrance(ready)
        if reason is not None:
            return self.measuring.state(ready.assignment, skipped(reason), order)
        return await self.measuring.observe(ready, seconds, order, since)

    def _hindrance(self, ready: Ready) -> Reason | None:
        now = self._times.utc()
        rules = self._settings
        utc, bound = (now.utc, now.error) if now else (None, 0)
        reason = hindrance(ready.info.load, utc, bound, rules.meetings, rules.quiet)
        if reason is None and ready.info.name not in ANYWHERE and self._elsewhere():
            return Reason.NOT_ON_THIS_LINK
        return reason

    def _unwatchable(self, interface: str, gateway: str) -> Reason | None:
        """Why a watcher's looks by this way out prove nothing of the link. A way that is not the vantage's own has just
        been taken (a backup by mobile network): until it has been looked at, nobody knows whose it is."""
        known = self.vantage
        if not self._settings.vantages or known is None:
            return None
        moved = (interface, gateway.partition("%")[0]) != (known.interface, known.gateway)
        return Reason.NOT_ON_THIS_LINK if moved or self._elsewhere() else None

    def _elsewhere(self) -> bool:
        """Whether the machine stands elsewhere than on the link. Without any default route it does not: a box whose
        cable was pulled is still the link's box, and must say what it sees. Nor does it for the seconds after joining
        in which its place has no name yet."""
        return (
            bool(self._settings.vantages)
            and self.vantage is not None
            and self.vantage.id not in ("", *self._settings.vantages)
        )

    def _where(self) -> Where:
        return Where(self._settings.revision, self.vantage.id if self.vantage else "")

    def _plan(self, assignment: Assignment, ready: Ready | Finding) -> Plan:
        every, window = (ready.info.every, ready.info.window) if isinstance(ready, Ready) else (60.0, 0.0)
        every = assignment.every if assignment.every is not None else every
        window = assignment.window if assignment.window is not None else min(window, every)
        return plan(
            f"{self._settings.province}/{self._settings.site}", assignment.probe, assignment.target, every, window
        )

    def _now_utc(self) -> Instant:
        """The time of the schedule: corrected if known, else as believed."""
        corrected = self._times.utc()
        return corrected.utc if corrected else self._clock.wall()

    async def _until(self, at: Instant, job: _Job) -> None:
        """Waits until ``at``, or until woken after a suspend, by new settings or by stopping."""
        left = at - self._now_utc()
        if left <= 0 or job.ended:
            return
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(left / SECOND, _set, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleepers.discard(sleeper)

    def _wake(self) -> None:
        for sleeper in list(self._sleepers):
            _set(sleeper)

    async def _watch_the_clocks(self) -> None:
        """Timers stand still while a machine sleeps: every waiting task looks at the time anew afterwards."""
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), LOOK)
            for found in self._times.look():
                if isinstance(found, Slept):
                    self._wake()
                    await self._note(found, Event.SUSPENDED, found.length)
                else:
                    await self._note(found, Event.CLOCK_STEPPED, found.by)

    async def _note(self, found: Slept | Stepped, event: Event, microseconds: int) -> None:
        boottime, wall = self._clock.boottime(), self._clock.wall()
        note = Note(
            boot=self._clock.boot,
            start=found.start,
            end=found.end,
            wall_start=wall - (boottime - found.start),
            wall_end=wall - (boottime - found.end),
            settings=self._settings.revision,
            vantage=self._where().vantage,
            event=event,
            counts={"microseconds": microseconds},
        )
        await self._records.record(StreamName.EVIDENCE, note, urgent=True)


def _set(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def _distinct(assignments: Iterable[Assignment]) -> list[Assignment]:
    """The first assignment of each name; two of the same name would be one series with two truths."""
    found: dict[str, Assignment] = {}
    for one in assignments:
        found.setdefault(one.name, one)
    return list(found.values())

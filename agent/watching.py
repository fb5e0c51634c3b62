"""A watcher from sighting to record: it is run for as long as it is assigned, and what it says is written beside it, so
that a slow disk never holds up its looks.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from agent.clock import Clock
from agent.directory import Directory, NotLearnedYet
from agent.findings import checked, decoded, text
from agent.measuring import Measuring, Ready, Seen
from agent.probe import Finding, Sighting, Span, Target, Watcher, error
from agent.schedule import Plan, until_grid
from wire.clock import SECOND, Corrected
from wire.observation import Change, Window
from wire.reasons import Reason

LAG = 3.0
"""Seconds that a watcher needs beyond a short watch to be sure of its first state."""
LONG = 3600.0
"""Seconds of a window that a short watch never fills."""


class Times(Protocol):
    """What watchers need of :class:`agent.clock.Timekeeper`."""

    def utc(self, boottime: int | None = None) -> Corrected | None:
        """Corrected UTC, or ``None`` while unknown."""


class Around:
    """:class:`agent.probe.Surroundings`, as the runner sees them."""

    def __init__(
        self,
        clock: Clock,
        times: Times,
        directory: Directory,
        vantage: Callable[[], str],
        hindrance: Callable[[str, str], Reason | None],
    ) -> None:
        self.clock = clock
        self._directory = directory
        self._vantage = vantage
        self._hindrance = hindrance
        self._times = times
        self.stood = ""
        """The vantage of the last look that counted: that of everything known, though the machine may stand elsewhere
        by the time it is told."""

    def hindrance(self, interface: str, gateway: str) -> Reason | None:
        """See :class:`agent.probe.Surroundings`."""
        reason = self._hindrance(interface, gateway)
        if reason is None:
            self.stood = self._vantage()
        return reason

    def until_grid(self, seconds: float, boottime: int) -> int:
        """See :class:`agent.probe.Surroundings`. By corrected time if known, else as believed."""
        corrected = self._times.utc(boottime)
        utc = corrected.utc if corrected else self._clock_says(boottime)
        return until_grid(Plan(max(1, round(seconds * SECOND)), 0, 0, 0), utc)

    def _clock_says(self, boottime: int) -> int:
        return self.clock.wall() - (self.clock.boottime() - boottime)

    def address(self, text: str) -> str:
        """See :class:`agent.probe.Surroundings`."""
        try:
            return str(self._directory.resolve(text))
        except NotLearnedYet:
            return ""


class Watching:
    """Runs watchers. ``around`` is what they may ask while they watch."""

    def __init__(self, clock: Clock, measuring: Measuring, directory: Directory, around: Around) -> None:
        self._clock = clock
        self._measuring = measuring
        self._directory = directory
        self._around = around

    async def briefly(self, ready: Ready, seconds: float, order: str = "") -> Window | None:
        """A short watch, all of which is one window."""
        watch = asyncio.create_task(self.run(ready, LONG, order))
        await asyncio.wait({watch}, timeout=seconds + LAG)
        self._measuring.cut(ready.assignment.name)
        return max(await watch, key=lambda one: one.end - one.start, default=None)

    async def run(self, ready: Ready, seconds: float, order: str = "") -> list[Window]:
        """Watches until cut (:meth:`Measuring.cut`) or until the watcher breaks, and returns the windows recorded; they
        are on disk then, the last one included. A watcher that breaks is recorded as crashed."""
        try:
            settings = decoded(ready.assignment.settings, ready.info.settings)
        except msgspec.ValidationError as wrong:
            finding = error(Reason.BAD_TARGET, facts={"detail": text(f"{ready.assignment.name}: {wrong}")})
            return [await self._measuring.keep(self._measuring.state(ready.assignment, finding, order))]
        target = Target(ready.assignment.target, ready.assignment.platform, settings)
        said: asyncio.Queue[Sighting | None] = asyncio.Queue()
        watching = asyncio.create_task(self._watch(ready.probe, target, seconds, said))
        try:
            with self._measuring.following(watching, ready.assignment.name):
                windows = await self._keep(ready, said, order)
                broken = await self._crash(ready, watching)
                if broken is not None:
                    windows.append(await self._measuring.keep(self._measuring.state(ready.assignment, broken, order)))
        finally:
            watching.cancel()
        return windows

    async def _watch(
        self, watcher: Watcher, target: Target, seconds: float, said: asyncio.Queue[Sighting | None]
    ) -> None:
        try:
            async for sighting in watcher.watch(target, Span(seconds, seconds), self._around):
                said.put_nowait(sighting)
        finally:
            said.put_nowait(None)

    async def _crash(self, ready: Ready, watching: asyncio.Task[None]) -> Finding | None:
        await asyncio.wait({watching})
        crash = None if watching.cancelled() else watching.exception()
        return None if crash is None else await self._measuring.crashed(ready.assignment, crash)

    async def _keep(self, ready: Ready, said: asyncio.Queue[Sighting | None], order: str) -> list[Window]:
        windows: list[Window] = []
        while (sighting := await said.get()) is not None:
            finding = checked(sighting.finding)
            if finding.learned:
                self._directory.learn(finding.learned)
            if sighting.previous:
                await self._measuring.keep_change(ready.assignment, self._change(ready, sighting, finding))
            else:
                window = self._window(ready, sighting, finding, order)
                windows.append(await self._measuring.keep(Seen(window, ready.assignment, _length(sighting), ())))
        return windows

    def _change(self, ready: Ready, sighting: Sighting, finding: Finding) -> Change:
        return Change(
            **self._header(ready, sighting, known=True),
            previous=sighting.previous,
            current=sighting.current,
            reason=finding.reason,
            values=finding.values,
            facts=finding.facts,
        )

    def _window(self, ready: Ready, sighting: Sighting, finding: Finding, order: str) -> Window:
        return Window(
            **self._header(ready, sighting, known=finding.reason is None),
            outcome=finding.outcome,
            reason=finding.reason,
            order=order,
            counts=finding.counts,
            values=finding.values,
            durations=finding.durations,
            states=finding.states,
            facts=finding.facts,
        )

    def _header(self, ready: Ready, sighting: Sighting, *, known: bool) -> dict[str, Any]:
        where, offset = self._measuring.where(), self._clock.wall() - self._clock.boottime()
        return {
            "boot": self._clock.boot,
            "start": sighting.start,
            "end": sighting.end,
            "wall_start": offset + sighting.start,
            "wall_end": offset + sighting.end,
            "settings": where.settings,
            "vantage": (self._around.stood if known else "") or where.vantage,
            "probe": ready.assignment.probe,
            "target": sighting.target,
            "platform": ready.assignment.platform,
        }


def _length(sighting: Sighting) -> float:
    return (sighting.end - sighting.start) / SECOND

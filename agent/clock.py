"""The agent's clocks, and what it knows of UTC without trusting any of them.

Times are integer microseconds (:mod:`wire.clock`). CLOCK_BOOTTIME orders everything within a boot; the wall clock is
recorded as believed and never decides anything; UTC comes from anchors, the exchanges with the collector.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from wire.clock import DRIFT, SECOND, Anchor, Corrected, Instant, correct

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MOST_ANCHORS = 8
"""Anchors kept of a boot: enough to bound the drift, few enough to intersect at every question."""
STEP = SECOND
"""A jump of the wall clock, or of CLOCK_BOOTTIME against CLOCK_MONOTONIC, is reported beyond this. An NTP daemon slews
by at most 500 ppm, 30 ms in the longest pause between two looks, so slewing is never mistaken for a step."""


class Clock(ABC):
    """Where time comes from. Everything that waits or reads a clock takes one of these, so that tests own time."""

    boot: str
    """The kernel's boot id."""

    @abstractmethod
    def boottime(self) -> int:
        """CLOCK_BOOTTIME in microseconds: never steps, runs on through suspend."""

    @abstractmethod
    def monotonic(self) -> int:
        """CLOCK_MONOTONIC in microseconds: stands still in suspend."""

    @abstractmethod
    def wall(self) -> Instant:
        """UTC as this machine believes, in microseconds; may be wrong by years."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Waits; returns no earlier than after ``seconds``."""


def boottime() -> int:
    """CLOCK_BOOTTIME in microseconds, for what times itself and is never run in made-up time."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class SystemClock(Clock):
    """The clocks of this machine."""

    def __init__(self) -> None:
        self.boot = BOOT_ID.read_text(encoding="ascii").strip()

    def boottime(self) -> int:
        return boottime()

    def monotonic(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    def wall(self) -> Instant:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Stepped(NamedTuple):
    """The wall clock jumped by ``by`` microseconds between two looks at ``start`` and ``end`` (boottime)."""

    start: int
    end: int
    by: int


class Slept(NamedTuple):
    """The machine was suspended for ``length`` microseconds between two looks at ``start`` and ``end`` (boottime)."""

    start: int
    end: int
    length: int


class Timekeeper:
    """Keeps the best anchors of this boot, derives UTC from them, and notices steps and suspends.

    >>> keeper.learn(anchor_from_exchange(...))
    >>> keeper.utc()  # now, with its error bound, or None while nothing is known
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._anchors: list[Anchor] = []
        self._looked = (clock.boottime(), clock.monotonic(), clock.wall())

    def learn(self, anchor: Anchor) -> None:
        """Takes an anchor in; of more than :data:`MOST_ANCHORS` those stay that say most about now. Anchors of another
        boot are ignored."""
        if anchor.boot != self._clock.boot:
            return
        now = max(self._clock.boottime(), anchor.boottime)
        kept = sorted([*self._anchors, anchor], key=lambda one: reach(one, now))
        self._anchors = kept[:MOST_ANCHORS]

    @property
    def best(self) -> Anchor | None:
        """The anchor that bounds the present most tightly."""
        now = self._clock.boottime()
        return min(self._anchors, key=lambda one: reach(one, now), default=None)

    def utc(self, boottime: int | None = None) -> Corrected | None:
        """UTC of a moment of this boot (default: now) with its error bound; ``None`` before the first anchor."""
        moment = self._clock.boottime() if boottime is None else boottime
        return correct(self._clock.boot, moment, self._anchors)

    def look(self) -> list[Stepped | Slept]:
        """What happened to the clocks since the last look; call it every few seconds."""
        boottime, monotonic, wall = self._clock.boottime(), self._clock.monotonic(), self._clock.wall()
        before, was_monotonic, was_wall = self._looked
        self._looked = (boottime, monotonic, wall)
        passed = boottime - before
        found: list[Stepped | Slept] = []
        asleep = passed - (monotonic - was_monotonic)
        if asleep > STEP:
            found.append(Slept(before, boottime, asleep))
        by = (wall - was_wall) - passed
        if abs(by) > STEP:
            found.append(Stepped(before, boottime, by))
        return found


def reach(anchor: Anchor, boottime: int) -> int:
    """How far from the truth UTC projected from one anchor may lie at ``boottime``, in microseconds."""
    return anchor.error + int(abs(boottime - anchor.boottime) * DRIFT)

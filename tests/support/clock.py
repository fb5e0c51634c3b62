"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools

from agent.clock import Clock
from wire.clock import SECOND, Instant

START = 1_795_000_000 * SECOND
"""2026-11-18, somewhere in the product's life."""


class FakeClock(Clock):
    """Sleepers wake when a test advances the time; wall, boottime and monotonic can be set apart.

    ``await clock.drive(until, actors)`` lets ``actors`` tasks live through simulated time: whenever that many of them
    sleep, it jumps to the earliest wake-up. Tasks busy with real sockets or threads hold time still.
    """

    def __init__(self, boot: str = "boot-1", boottime: int = 60 * SECOND, wall: Instant = START) -> None:
        self.boot = boot
        self._boottime = boottime
        self._suspended = 0
        self._offset = wall - boottime
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def boottime(self) -> int:
        return self._boottime

    def monotonic(self) -> int:
        return self._boottime - self._suspended

    def wall(self) -> Instant:
        return self._boottime + self._offset

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._boottime + round(seconds * SECOND), next(self._order), future))
        self._changed.set()
        await future

    @property
    def sleeping(self) -> int:
        """How many sleep now."""
        return sum(1 for _, _, future in self._sleepers if not future.done())

    def advance(self, seconds: float) -> None:
        """Moves time on and wakes whoever is due; the woken run when the caller next awaits."""
        self._boottime += round(seconds * SECOND)
        while self._sleepers and (self._sleepers[0][0] <= self._boottime or self._sleepers[0][2].done()):
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._offset += round(seconds * SECOND)

    def suspend(self, seconds: float) -> None:
        """The lid closes and opens again."""
        self._suspended += round(seconds * SECOND)
        self.advance(seconds)

    def reboot(self, boot: str, *, boottime: int = 5 * SECOND, wall: Instant | None = None) -> None:
        """Another boot; ``wall`` is what the machine believes then (a Pi without a clock battery: long ago)."""
        believed = self.wall() if wall is None else wall
        self.boot, self._boottime, self._suspended = boot, boottime, 0
        self._offset = believed - boottime

    async def asleep(self, actors: int = 1) -> None:
        """Returns once at least ``actors`` tasks sleep."""
        while self.sleeping < actors:
            self._changed.clear()
            await self._changed.wait()

    async def drive(self, seconds: float, actors: int = 1) -> None:
        """Lives through ``seconds`` of simulated time; see the class."""
        end = self._boottime + round(seconds * SECOND)
        while True:
            await self.asleep(actors)
            due = min(at for at, _, future in self._sleepers if not future.done())
            if due > end:
                self._boottime = end
                return
            self.advance((due - self._boottime) / SECOND)
            await asyncio.sleep(0)

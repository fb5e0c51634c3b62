"""A world whose time runs only when nobody has anything to do: hours of schedule in milliseconds, exactly."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from agent.clock import Clock
from wire.batch import StreamName
from wire.clock import SECOND
from wire.observation import Change, Note, Observation, Window

_T = TypeVar("_T")


class _Selector(selectors.SelectSelector):
    """Never waits for longer than it must: the time it should have waited passes at once."""

    warped = 0.0
    at_work = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.at_work:
            return super().select(0.01)
        self.warped += timeout
        return ready


class WarpLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time. It stands still while a thread is at work; what sockets take is not counted."""

    def __init__(self) -> None:
        self._warp = _Selector()
        super().__init__(self._warp)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        self._warp.at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: Any) -> None:
        self._warp.at_work -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Without the limit that Python 3.12 added: in virtual time it would be over at once."""
        await super().shutdown_default_executor()

    def time(self) -> float:
        return 1000.0 + self._warp.warped


class WarpClock(Clock):
    """The clocks of the warped world; tests may add a suspend or step the wall clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wall: int = 1_795_000_000 * SECOND) -> None:
        self.boot = "b00t"
        self._loop = loop
        self._wall = wall - round(loop.time() * SECOND)
        self.slept = 0

    def monotonic(self) -> int:
        return round(self._loop.time() * SECOND)

    def boottime(self) -> int:
        return self.monotonic() + self.slept

    def wall(self) -> int:
        return self.boottime() + self._wall

    def step(self, microseconds: int) -> None:
        """Sets the wall clock forward or back."""
        self._wall += microseconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Kept:
    """Records in a list."""

    def __init__(self) -> None:
        self.records: list[tuple[StreamName, Observation, bool]] = []

    async def record(self, stream: StreamName, *observations: Observation, urgent: bool = False) -> None:
        self.records += [(stream, one, urgent) for one in observations]

    @property
    def windows(self) -> list[Window]:
        """The windows among them."""
        return [one for _, one, _ in self.records if isinstance(one, Window)]

    @property
    def changes(self) -> list[Change]:
        """The changes among them."""
        return [one for _, one, _ in self.records if isinstance(one, Change)]

    @property
    def notes(self) -> list[Note]:
        """The notes among them."""
        return [one for _, one, _ in self.records if isinstance(one, Note)]


def warp(story: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine in warped time."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(story)

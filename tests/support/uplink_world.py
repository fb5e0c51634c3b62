"""An agent's delivery side put together for a test: clock, spool, journal and uplink, against any collector."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from agent.backoff import Backoff
from agent.clock import Timekeeper
from agent.connection import Connection
from agent.journal import Journal
from agent.spool import Limits, Spool
from agent.uplink import Uplink
from tests.support.clock import FakeClock
from tests.support.fake_collector import TOKEN
from wire.batch import StreamName
from wire.observation import Window
from wire.orders import Order, OrderAnswer, OrderStatus
from wire.reasons import Outcome
from wire.settings import AgentSettings


def window(clock: FakeClock, target: str = "gateway", *, number: int = 0) -> Window:
    """A window that ends now; ``number`` tells one from another."""
    now, wall = clock.boottime(), clock.wall()
    return Window(
        boot=clock.boot,
        start=max(0, now - 60_000_000),
        end=now,
        wall_start=wall - 60_000_000,
        wall_end=wall,
        probe="icmp",
        target=target,
        outcome=Outcome.OK,
        counts={"sent": number},
    )


class Served(Protocol):
    """A collector, the fake or the real one."""

    @property
    def url(self) -> str: ...


class World:
    """``async with World(folder, clock, collector) as world``: the uplink runs until the end of the block."""

    def __init__(
        self,
        folder: Path,
        clock: FakeClock,
        collector: Served,
        *,
        token: str = TOKEN,
        limits: Limits | None = None,
        patience: float = 5.0,
    ) -> None:
        self.token = token
        self.folder, self.clock, self.collector = folder, clock, collector
        self.limits = limits or Limits()
        self.patience = patience
        self.carried: list[Order] = []
        self.carry: Callable[[Order], Awaitable[OrderAnswer]] = self._carry
        self.applied: list[AgentSettings] = []
        self.tokens: list[str] = []
        self.revision = ""
        self.spool: Spool
        self.journal: Journal
        self.uplink: Uplink
        self.timekeeper: Timekeeper
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "World":
        await self.open()
        self.run()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        self.spool = await Spool.open(self.folder / "spool.db", self.clock, self.limits)
        self.journal = Journal(self.spool, self.clock)
        self.timekeeper = Timekeeper(self.clock)
        self.connection = Connection(self.collector.url, self.clock, token=self.token, patience=self.patience)
        self.uplink = Uplink(
            self.connection,
            self.spool,
            self.journal,
            self.clock,
            self.timekeeper,
            on_order=lambda order: self.carry(order),
            on_settings=self._apply,
            on_token=self._keep,
            revision=lambda: self.revision,
            backoff=Backoff(random.Random(1)),
        )

    def run(self) -> None:
        self._run = asyncio.create_task(self.uplink.run())

    async def halt(self) -> None:
        """Ends the uplink as ``kill`` would: nothing is said, nothing drained."""
        if self._run is not None:
            run, self._run = self._run, None
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        await self.connection.close()

    async def close(self) -> None:
        await self.halt()
        await self.spool.close()

    async def record(self, *observations: Window, stream: StreamName = StreamName.MONITOR) -> None:
        """On disk at once, without a wait for company and without waking the uplink."""
        await self.spool.put(stream, list(observations))

    async def _carry(self, order: Order) -> OrderAnswer:
        self.carried.append(order)
        return OrderAnswer(order.id, OrderStatus.DONE)

    async def _apply(self, settings: AgentSettings) -> None:
        self.applied.append(settings)
        self.revision = settings.revision

    async def _keep(self, token: str) -> None:
        self.tokens.append(token)

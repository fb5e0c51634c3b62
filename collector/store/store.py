"""The store: one SQLite file, one writing thread, readers beside it."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from collector.store import dialect
from collector.store.ledger import Ledger, Take
from collector.store.memory import Memory
from collector.store.shapes import Limits, Source, Taken
from collector.store.times import Retime, retime
from collector.store.writer import Writer
from wire.batch import AgentClock, Sealed
from wire.clock import Instant

READERS = 4
"""Connections that read beside the writer; a query more waits for one of them."""

_T = TypeVar("_T")


def migrate(engine: Engine) -> None:
    """Brings the schema to this release, in one transaction."""
    config = Config()
    config.set_main_option("script_location", "collector.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


class Store:
    """Everything the collector keeps. Make it with :meth:`open`."""

    def __init__(self, path: Path, writing: Engine, reading: Engine) -> None:
        self.path = path
        self.counters: Counter[str] = Counter()
        """Whole numbers for the collector's metrics; only ever growing."""
        self._writing = writing
        self._reading = reading
        self._memory = Memory()
        self._ledger = Ledger(self._memory, self.counters, self._improve)
        self._writer = Writer(writing, self._ledger, self.counters)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="phrom-store-reader")

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Opens or makes the file and migrates it. Blocks: from a coroutine use ``asyncio.to_thread``."""
        writing = dialect.connect(path, read_only=False)
        migrate(writing)
        return cls(path, writing, dialect.connect(path, read_only=True, pool_size=READERS))

    def close(self) -> None:
        """Finishes what is queued, then closes. Blocks: from a coroutine use ``asyncio.to_thread``."""
        self._writer.close()
        self._readers.shutdown()
        self._reading.dispose()
        self._writing.dispose()

    @property
    def waiting(self) -> int:
        """Writes in the queue: the measure of how loaded the store is."""
        return self._writer.waiting

    async def take(
        self,
        source: Source,
        received: Instant,
        clock: AgentClock,
        sealed: list[Sealed],
        limits: Limits = Limits(),  # noqa: B008 - an immutable tuple
    ) -> Taken:
        """Takes an envelope's batches; returns only after COMMIT reached the disk.

        Never raises for what an agent sent: bad batches are refused one by one. When the disk takes nothing (full,
        read-only), every receipt says ``deferred``.
        """
        taken: Taken = await self._writer.take(Take(source, received, clock, sealed, limits))
        return taken

    async def write(self, function: Callable[[Connection], _T]) -> _T:
        """Any other write, in its own transaction on the writer thread. Raises
        :class:`collector.store.dialect.CannotWrite` when the disk takes nothing."""
        return await self._writer.write(function)

    async def read(self, function: Callable[[Connection], _T]) -> _T:
        """Runs a function with a read-only connection in a thread; it sees one snapshot."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._readers, context.run, self._read, function)

    def _improve(self, work: Retime) -> None:
        """Corrects times again in small transactions of their own, between the posts."""

        def step(connection: Connection) -> None:
            left = retime(connection, work)
            if left is not None:
                self._improve(left)

        self._writer.post(step)

    def _read(self, function: Callable[[Connection], _T]) -> _T:
        with self._reading.connect() as connection, connection.begin():
            return function(connection)

"""The store: one SQLite file, one writing thread, readers beside it."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from collector.store import dialect
from collector.store.backup import back_up
from collector.store.ledger import Ledger, Take
from collector.store.maintenance import Stepped, mark_waited, pack_some
from collector.store.memory import Memory
from collector.store.retention import Retention, expiry_steps
from collector.store.schema import metadata
from collector.store.shapes import Limits, Source, Taken
from collector.store.times import Retime, loose_boots, retime
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


def differences(engine: Engine) -> list[str]:
    """What the file's tables and columns lack or have beside those of this release; further tables do no harm."""
    inspector = inspect(engine)
    held = set(inspector.get_table_names())
    found = [f"no table {name}" for name in sorted(metadata.tables.keys() - held)]
    for name in sorted(metadata.tables.keys() & held):
        wanted = {column.name for column in metadata.tables[name].columns}
        columns = {column["name"] for column in inspector.get_columns(name)}
        found += [f"no column {name}.{column}" for column in sorted(wanted - columns)]
        found += [f"an unknown column {name}.{column}" for column in sorted(columns - wanted)]
    return found


def _opened(path: Path) -> Engine:
    engine = dialect.connect(path, read_only=False)
    try:
        migrate(engine)
        found = differences(engine)
    except DBAPIError as problem:
        engine.dispose()
        raise dialect.CannotOpen(
            f"{path}: found {problem.orig}, expected the collector's database, readable and writable; check the"
            " folder's rights and free space, or restore a backup under a new name"
        ) from problem
    except CommandError as problem:
        engine.dispose()
        raise dialect.CannotOpen(
            f"{path}: found a store made by a newer release ({problem}), expected one of this release or older; update"
            " this collector, or restore a backup made before the update"
        ) from problem
    if found:
        engine.dispose()
        raise dialect.CannotOpen(
            f"{path}: found {', '.join(found)}, expected the tables of this release: another build made this store;"
            " move its folder away to begin anew, or restore a backup that this release made"
        )
    return engine


class Maintained(NamedTuple):
    """What a round of maintenance did: hours rolled up, windows packed, rows and packed hours deleted."""

    hours: int
    windows: int
    deleted: int


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
        """Opens or makes the file and migrates it. Blocks: from a coroutine use ``asyncio.to_thread``.

        Raises :class:`collector.store.dialect.CannotOpen`.
        """
        writing = _opened(path)
        store = cls(path, writing, dialect.connect(path, read_only=True, pool_size=READERS))
        store._writer.post(store._resume)
        return store

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

    async def maintain(self, now: Instant, keep: Retention = Retention()) -> "Maintained":  # noqa: B008
        """Packs past hours, recomputes their roll-ups and deletes what is too old: one round.

        Every step is a short transaction, so that posts between them wait milliseconds; call it about once a minute.
        """
        hours = windows = deleted = 0
        await self.write(partial(mark_waited, now=now))
        more, last = True, (0, 0)
        while more:
            stepped = await self.write(partial(self._pack, now, last))
            hours, windows, more = hours + len(stepped.hours), windows + stepped.windows, stepped.more
            last = stepped.hours[-1] if stepped.hours else last
        for step in expiry_steps(now, keep):
            while some := await self.write(step):
                deleted += some
        self.counters["hours_packed"] += hours
        self.counters["windows_packed"] += windows
        self.counters["rows_expired"] += deleted
        return Maintained(hours, windows, deleted)

    def _pack(self, now: Instant, after: tuple[int, int], connection: Connection) -> Stepped:
        stepped = pack_some(connection, now, after)
        self._memory.dirty.difference_update(stepped.hours)
        return stepped

    async def back_up(self, target: Path) -> int:
        """Copies the store to a file while it runs; returns its bytes. Raises
        :class:`collector.store.backup.BackupFailed`."""
        return await asyncio.to_thread(back_up, self.path, target)

    def _resume(self, connection: Connection) -> None:
        """At start: corrects those times again that a crash kept from being corrected after their anchor came."""
        for boot in loose_boots(connection):
            self._improve(Retime(boot, 0, 2**62))

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

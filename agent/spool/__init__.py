"""The spool: what was measured stands on disk, chained and sealed, until the collector has it (DESIGN §4, §6.3).

>>> spool = await Spool.open(folder / "spool.db", clock)
>>> await spool.put(StreamName.EVIDENCE, [observation])  # on disk when this returns

SQLite works in one thread of its own, so a slow disk never holds up a measurement.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from agent.clock import Clock
from agent.spool.aside import set_aside
from agent.spool.errors import (
    SpoolDamaged,
    SpoolFailing,
    SpoolFull,
    SpoolInUse,
    SpoolReadOnly,
    SpoolUnavailable,
    cause_of,
)
from agent.spool.file import SpoolFile
from agent.spool.machine import machine_hint
from agent.spool.records import Counts, Life, Limits, Moment, Record, Refused, Report, Spooled, Waiting
from wire.batch import StreamName
from wire.clock import SECOND
from wire.observation import Observation
from wire.reasons import Event

__all__ = [
    "Counts",
    "Life",
    "Limits",
    "Record",
    "Refused",
    "Report",
    "Spool",
    "SpoolFailing",
    "SpoolFull",
    "SpoolInUse",
    "SpoolReadOnly",
    "SpoolUnavailable",
    "Spooled",
    "Waiting",
    "machine_hint",
]

REOPEN_EVERY = 5 * SECOND
"""Least time between two attempts to open a spool that could not be opened."""
MOST_REPORTS = 100
"""Untold reports of damage; a dying card could make them without end."""
_T = TypeVar("_T")
log = structlog.get_logger(__name__)


class Spool:
    """Both streams of one agent, on disk. Every method may raise :class:`SpoolUnavailable`; none waits for the disk on
    the event loop."""

    def __init__(self, path: Path, clock: Clock, limits: Limits, machine: str) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits
        self._machine = machine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._file: SpoolFile | None = None
        self._closed_for: SpoolUnavailable | None = None
        self._tried = 0
        self.counts = Counts()
        """What the spool holds, as of the last operation."""
        self.before: Life | None = None
        """The last sign of life of the run before this one; ``None`` for a new spool."""
        self.reports: deque[Report] = deque()
        """What the spool has to tell; the journal empties it into notes."""
        self.unavailable: SpoolUnavailable | None = None
        """Why records cannot be kept at the moment, if so."""

    @classmethod
    async def open(cls, path: Path, clock: Clock, limits: Limits | None = None, machine: str = "") -> "Spool":
        """Opens the spool at ``path``, or begins one. A damaged file is set aside and reported. A full disk or a
        read-only folder is no error here: the spool is then unavailable until that ends. ``machine`` is
        :func:`machine_hint`. Raises :class:`SpoolInUse`."""
        spool = cls(path, clock, limits or Limits(), machine)
        try:
            await spool._do(lambda _file: None)
        except SpoolInUse:
            spool._thread.shutdown(wait=False)
            raise
        except SpoolUnavailable as error:
            log.warning("spool unavailable", cause=str(error))
        return spool

    async def close(self) -> None:
        """Closes the file and ends the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def put(self, name: StreamName, observations: Sequence[Observation]) -> list[Spooled]:
        """Seals observations into one batch (more if they do not fit); committed and synced when this returns.
        Raises ``ValueError`` where a number is not finite."""
        return await self.put_records(name, [Record.of(one) for one in observations])

    async def put_records(self, name: StreamName, records: Sequence[Record], *, last: bool = False) -> list[Spooled]:
        """:meth:`put` for encoded records; ``last`` marks this run as cleanly ended."""
        kept = await self._do(lambda file: file.put(name, records, self._now(), last=last))
        self.unavailable = None
        return kept

    async def newest(
        self,
        *,
        above: int = 0,
        up_to: int = 2**62,
        budget: int = 2**20,
        most: int = 256,
        skip: frozenset[int] = frozenset(),
    ) -> list[Waiting]:
        """Batches to deliver, newest first; see :meth:`SpoolFile.pick`."""
        return await self._do(lambda file: file.pick(above, up_to, budget, most, skip))

    async def highest(self) -> int:
        """The number of the newest batch ever spooled; larger numbers are newer."""
        return await self._do(lambda file: file.highest())

    async def settle(self, delivered: Sequence[tuple[str, int]], refused: Sequence[Refused] = ()) -> list[Refused]:
        """Deletes what was delivered, by (stream, seq), and quarantines what was refused; returns the latter."""
        return await self._do(lambda file: file.settle(delivered, refused, self._now()))

    async def streams(self) -> dict[str, StreamName]:
        """The current streams' ids and names."""
        return await self._do(lambda file: file.streams())

    async def renew(self, why: str) -> None:
        """Begins new streams for what follows: another machine uses the ids of the present ones."""
        await self._do(lambda file: file.renew())
        self.reports.append(Report(Event.SPOOL_SET_ASIDE, {}, {"cause": why, "found": "the streams only"}))
        log.warning("new streams begun", cause=why)

    async def transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs ``work`` in the spool's thread, in one transaction: for other small things that must survive."""
        return await self._do(lambda file: file.transact(work))

    # in the spool's thread

    async def _do(self, work: Callable[[SpoolFile], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, work)

    def _call(self, work: Callable[[SpoolFile], _T]) -> _T:
        try:
            try:
                result = work(self._opened())
            except SpoolDamaged as damage:
                self._set_aside(damage)
                result = work(self._opened())
            except sqlite3.Error as error:
                cause = cause_of(error, self._path)
                if not isinstance(cause, SpoolDamaged):
                    raise
                self._set_aside(cause)
                result = work(self._opened())
        except (sqlite3.Error, OSError, SpoolDamaged) as error:
            raise self._failed(error) from error
        if self._file is not None:
            self.counts = self._file.counts
            self.reports.extend(self._file.reports)
            self._file.reports.clear()
        if not isinstance(self.unavailable, SpoolFull):  # a read that works does not make room
            self.unavailable = None
        return result

    def _failed(self, error: sqlite3.Error | OSError | SpoolDamaged) -> Exception:
        cause = error if isinstance(error, SpoolDamaged) else cause_of(error, self._path)
        if isinstance(cause, SpoolDamaged):  # the new file too
            cause = SpoolFailing(f"{cause}; check or replace the disk or card")
        if isinstance(cause, SpoolUnavailable):
            self.unavailable = cause
            if not isinstance(cause, SpoolFull):
                self._close()
        return cause

    def _opened(self) -> SpoolFile:
        if self._file is None:
            now = self._clock.monotonic()
            if self.unavailable is not None and self._tried and now - self._tried < REOPEN_EVERY:
                raise self.unavailable
            self._tried = now
            self._file = SpoolFile(self._path, self._limits, self._machine, self._now())
            self.before = self.before or self._file.before
        return self._file

    def _set_aside(self, damage: SpoolDamaged) -> None:
        self._close()
        where = set_aside(self._path)
        log.error("spool damaged, set aside", cause=str(damage), kept_as=str(where))
        if len(self.reports) < MOST_REPORTS:
            facts = {"cause": str(damage)[:900], "kept_as": where.name, "found": "damage"}
            self.reports.append(Report(Event.SPOOL_SET_ASIDE, {}, facts))

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except sqlite3.Error as error:
                log.warning("spool not closed cleanly", cause=str(error))

    def _now(self) -> Moment:
        return Moment(self._clock.boot, self._clock.boottime(), self._clock.wall())

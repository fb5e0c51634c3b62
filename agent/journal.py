"""The journal: everything the agent observes goes through it to the spool, gathered into few batches.

Each batch costs the disk a sync, so records of one second share one. What cannot be written is counted and declared by
the next batch that can.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from agent.alive import later
from agent.clock import Clock
from agent.notes import note
from agent.spool import Life, Record, Spool, SpoolUnavailable
from wire.batch import StreamName
from wire.logs import Trouble
from wire.observation import Note, Observation
from wire.reasons import Event

GATHER = 1.0
"""Seconds records wait for company."""
MISTAKE = "mistake"
"""The cause of a loss that is this program's own, beside the codes of :class:`SpoolUnavailable`."""


class Lost(NamedTuple):
    """Records that could not be written since the spool last took one."""

    evidence: int = 0
    monitor: int = 0
    start: int = 0
    """CLOCK_BOOTTIME, microseconds, of the first loss."""
    cause: str = ""

    @property
    def records(self) -> int:
        """Both streams together."""
        return self.evidence + self.monitor


class Journal:
    """Takes observations; :meth:`record` returns when they are on disk."""

    def __init__(self, spool: Spool, clock: Clock, *, gather: float = GATHER) -> None:
        self._spool = spool
        self._clock = clock
        self._gather = gather
        self._waiting: dict[StreamName, list[Record]] = {name: [] for name in StreamName}
        self._flushed: dict[StreamName, asyncio.Future[None]] = {}
        self._timer: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble = Trouble(structlog.get_logger(__name__), "records lost", "spool takes records again")
        self._ended = False
        self.lost = Lost()
        """What the next batch that can be written will declare."""
        self.lost_ever = 0
        """Records lost since start, for the metrics."""
        self.on_urgent: Callable[[], None] = lambda: None
        """Called when something urgent is on disk: the uplink's ``hurry``."""

    async def record(self, stream: StreamName, *observations: Observation, urgent: bool = False) -> None:
        """Keeps observations; on disk when this returns, unless the disk is full or read-only: then they are lost,
        counted, and that is declared later. ``urgent`` writes at once and wakes the uplink. Raises ``ValueError``
        where a number is not finite, keeping none of these; a mistake of ours in writing is raised too, and its loss
        declared."""
        self._waiting[stream].extend([Record.of(one) for one in observations])
        if stream not in self._flushed:
            self._flushed[stream] = asyncio.get_running_loop().create_future()
        flushed = self._flushed[stream]
        if urgent:
            await self._flush()
            self.on_urgent()
        elif self._timer is None:
            self._timer = asyncio.create_task(self._flush_later(), name="journal")
        await asyncio.shield(flushed)

    async def note(
        self,
        event: Event,
        *,
        urgent: bool = False,
        counts: dict[str, int] | None = None,
        facts: dict[str, str] | None = None,
    ) -> None:
        """Records a note of the agent itself, as evidence."""
        one = note(self._clock, event, counts=counts, facts=facts)
        await self.record(StreamName.EVIDENCE, one, urgent=urgent)

    async def started(self, version: str, beat: Life | None = None) -> None:
        """The first records of a run: started, and whether the run before ended uncleanly; ``beat`` is its last sign of
        life beside the spool's (:mod:`agent.alive`)."""
        notes = [note(self._clock, Event.STARTED, facts={"version": version})]
        before = later(self._spool.before, beat)
        if before is not None and not before.clean:
            notes.insert(0, self._unclean(before))
        await self.record(StreamName.EVIDENCE, *notes, urgent=True)

    def _unclean(self, before: Life) -> Note:
        """``last_boottime`` (of ``last_boot``) and ``last_wall``, in microseconds: until when it certainly ran."""
        kind = "crash" if before.boot == self._clock.boot else "power"
        return note(
            self._clock,
            Event.UNCLEAN_STOP_FOUND,
            counts={"last_boottime": before.boottime, "last_wall": before.wall},
            facts={"kind": kind, "last_boot": before.boot},
        )

    async def stopped(self, why: str = "") -> None:
        """Writes what waits, then ``stopped`` as the last record of the run; what the last delivery may still have to
        tell does not make the stop unclean."""
        await self._flush()
        self._ended = True
        one = note(self._clock, Event.STOPPED, facts={"why": why} if why else {})
        async with self._writing:
            await self._put(StreamName.EVIDENCE, [*self._told(), Record.of(one)], own=1)

    async def _flush_later(self) -> None:
        await self._clock.sleep(self._gather)
        self._timer = None
        await self._flush()

    async def _flush(self) -> None:
        """Writes what waits now, to the end even if the caller is cancelled: others wait for the same batch."""
        task = asyncio.create_task(self._write(), name="journal write")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _write(self) -> None:
        async with self._writing:
            flushed, self._flushed = self._flushed, {}
            taken, self._waiting = self._waiting, {name: [] for name in StreamName}
            faults = {stream: await self._write_one(stream, records) for stream, records in taken.items()}
            for stream, waiters in flushed.items():
                fault = faults[stream]
                if fault is None:
                    waiters.set_result(None)
                else:
                    waiters.set_exception(fault)  # a mistake of ours: whoever recorded must hear of it

    async def _write_one(self, stream: StreamName, records: list[Record]) -> Exception | None:
        """Writes one stream; returns a mistake of ours in doing so, which must not harm the other stream."""
        try:
            told = self._told() if stream is StreamName.EVIDENCE else []
            if told or records:
                await self._put(stream, [*told, *records], own=len(records))
        except Exception as fault:  # noqa: BLE001 - logged, declared, and raised to those who wait
            self._lose(stream, len(records), MISTAKE, repr(fault))
            return fault
        return None

    def _told(self) -> list[Record]:
        """What must be said first: losses, and what happened to the spool."""
        notes = [note(self._clock, one.event, counts=one.counts, facts=one.facts) for one in self._spool.reports]
        if self.lost.records:
            counts = {"records": self.lost.records, "evidence": self.lost.evidence, "monitor": self.lost.monitor}
            facts = {"reason": self.lost.cause}
            notes.append(note(self._clock, Event.SPOOL_DROPPED, start=self.lost.start, counts=counts, facts=facts))
        return [Record.of(one) for one in notes]

    async def _put(self, stream: StreamName, records: list[Record], *, own: int) -> None:
        """``own`` of the records, at the end, are the callers'; the others tell of reports and losses."""
        reports = len(self._spool.reports)
        try:
            await self._spool.put_records(stream, records, last=self._ended)
        except SpoolUnavailable as error:
            self._lose(stream, own, error.code, str(error))
            return
        if len(records) > own:
            for _ in range(reports):
                self._spool.reports.popleft()
            self._trouble.worked(lost=self.lost.records)
            self.lost = Lost()

    def _lose(self, stream: StreamName, records: int, cause: str, words: str) -> None:
        self._trouble.failed(words)
        self.lost_ever += records
        lost = self.lost
        evidence = records if stream is StreamName.EVIDENCE else 0
        self.lost = Lost(
            lost.evidence + evidence,
            lost.monitor + records - evidence,
            lost.start if lost.records else self._clock.boottime(),
            cause,
        )

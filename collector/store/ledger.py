"""The ledger: which batches are held, and whether a new one may join them (DESIGN §4, Streams).

Everything here runs on the writer thread inside one transaction. A batch is judged completely before anything of it is
staged, so a bad one harms neither the others of its envelope nor those of other agents.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import cramjam
from sqlalchemy import Connection

from collector.store.dialect import CannotWrite
from collector.store.memory import Memory, Stream
from collector.store.reading import Refused, Understood, check_names, identify, read_batch, read_observations
from collector.store.shapes import Landed, Limits, Source, Taken
from collector.store.staging import Stage
from collector.store.times import LATE, Boot, Retime, anchor_of_note, believable, in_range
from wire.batch import GENESIS, AgentClock, Batch, BatchReceipt, BatchStatus, Sealed, StreamName
from wire.clock import HOUR, Anchor, Corrected, Instant
from wire.observation import Note, Observation, Window
from wire.reasons import Event, Refusal

_GENESIS = bytes.fromhex(GENESIS)
_RECORDED = (Refusal.CONFLICT, Refusal.CHAIN_BROKEN, Refusal.FOREIGN_STREAM)
"""Refusals that someone must look into: they get a row in table ``conflict``."""


class Take(NamedTuple):
    """One envelope on its way to the ledger."""

    source: Source
    received: Instant
    clock: AgentClock
    sealed: list[Sealed]
    limits: Limits

    def deferred(self, why: CannotWrite) -> Taken:
        """Nothing of it was stored; the agent keeps it and sends it again."""
        receipts = []
        for one in self.sealed:
            stream, seq = identify(one.batch)
            receipts.append(
                BatchReceipt(stream, seq, BatchStatus.DEFERRED, detail=f"store: {why}; keep it and send it again later")
            )
        return Taken(receipts, [])


class Ledger:
    """Judges and stages takes; see :class:`collector.store.writer.Group`.

    Counts ``batches_stored``, ``batches_duplicate``, ``batches_refused_REFUSAL``,
    ``batches_declared_dropped``, ``observations_stored``, ``observations_not_understood``,
    ``observations_time_unknown``, ``observations_late``, ``anchors_stored``, ``anchors_not_believed``.
    """

    def __init__(self, memory: Memory, counters: Counter[str], retime: Callable[[Retime], None]) -> None:
        """``retime`` is told, after the commit, of spans of boottime whose rows a new anchor may improve."""
        self.memory = memory
        self._retime = retime
        self._retimes: dict[int, Retime] = {}
        self._counters = counters
        self._counted: Counter[str] = Counter()
        self._stage = Stage()

    def run(self, connection: Connection, jobs: list[Take]) -> list[Taken]:
        """Answers in the order of the jobs; the caller commits and then calls :meth:`committed`."""
        self._counted = Counter()
        self._stage = Stage()
        answers = [self._take(connection, job) for job in jobs]
        self._stage.flush(connection)
        return answers

    def committed(self) -> None:
        """The group is on the disk."""
        self._counters.update(self._counted)
        self.memory.trim()
        for work in self._retimes.values():
            self._retime(work)
        self._retimes.clear()

    def undone(self) -> None:
        """Nothing of the group is on the disk: what was learned from it is forgotten."""
        self._retimes.clear()
        self.memory.forget()

    def _take(self, connection: Connection, job: Take) -> Taken:
        if job.clock.anchor is not None:
            if believable(job.clock, job.received):
                boot = self.memory.boot(connection, self._stage, job.clock.boot, job.source.site)
                self._learn(boot, job.clock.anchor)
            else:
                self._counted["anchors_not_believed"] += 1
        taken = Taken([], [])
        for sealed in job.sealed:
            taken.receipts.append(self._receive(connection, job, sealed, taken.landed))
        return taken

    def _receive(self, connection: Connection, job: Take, sealed: Sealed, landed: list[Landed]) -> BatchReceipt:
        """Judges one batch and stages it if it is good."""
        try:
            batch, raw, digest = read_batch(sealed)
        except Refused as refused:
            return self._refuse(connection, job, *identify(sealed.batch), bytes.fromhex(sealed.digest), refused)
        try:
            stream = self._stream_of(connection, job.source, batch)
            prev = self._place_of(connection, stream, batch, digest)
            if prev is None:
                self._counted["batches_duplicate"] += 1
                return BatchReceipt(batch.stream, batch.seq, BatchStatus.DUPLICATE)
            understood = read_observations(batch)
            found = self._judge(connection, job, understood)
        except Refused as refused:
            return self._refuse(connection, job, batch.stream, batch.seq, digest, refused)
        if stream is None:
            stream = self.memory.new_stream(connection, batch.stream, batch.name, job.source, job.received)
        self._hold(job, stream, batch, digest, prev, raw, understood)
        self._rows(connection, job, stream, batch.seq, found, landed)
        return BatchReceipt(batch.stream, batch.seq, BatchStatus.STORED, not_understood=understood.not_understood)

    def _stream_of(self, connection: Connection, source: Source, batch: Batch) -> Stream | None:
        stream = self.memory.stream(connection, batch.stream)
        if stream is None:
            return None
        if stream.site != source.site:
            raise Refused(
                Refusal.FOREIGN_STREAM,
                f"stream {batch.stream}: sent by site {source.site}, expected from the site that began it;"
                " a disk was copied or moved: begin a new spool there",
            )
        if stream.name != batch.name:
            raise Refused(Refusal.WRONG_SHAPE, f"name: found {batch.name}, expected {stream.name} as this stream began")
        return stream

    @staticmethod
    def _place_of(connection: Connection, stream: Stream | None, batch: Batch, digest: bytes) -> bytes | None:
        """What to keep as ``prev``: empty where the predecessor is held. ``None``: the batch itself is held."""
        prev = bytes.fromhex(batch.prev)
        seq = batch.seq
        near = stream.neighbours(connection, seq) if stream is not None else {}
        held = near.get(seq)
        if held is not None:
            if held[0] == digest:
                return None
            raise Refused(
                Refusal.CONFLICT,
                f"batch {seq}: found digest {digest.hex()}, expected {held[0].hex()}, which is held already;"
                " two machines write one stream or its history was rewritten",
            )
        if seq == 1 and prev != _GENESIS:
            raise Refused(
                Refusal.CHAIN_BROKEN, f"prev: found {batch.prev}, expected {GENESIS} in a stream's first batch"
            )
        before = near.get(seq - 1)
        if before is not None and before[0] != prev:
            raise Refused(
                Refusal.CHAIN_BROKEN,
                f"prev: found {batch.prev}, expected {before[0].hex()}, the digest of batch {seq - 1}",
            )
        after = near.get(seq + 1)
        if after is not None and after[1] and after[1] != digest:
            raise Refused(
                Refusal.CHAIN_BROKEN,
                f"digest: found {digest.hex()}, expected {after[1].hex()}, which batch {seq + 1} names as its prev",
            )
        return b"" if before is not None else prev

    def _judge(
        self, connection: Connection, job: Take, understood: Understood
    ) -> list[tuple[Observation, bytes, Boot, Corrected | None]]:
        """Places every observation in time and sees that it may be taken; raises :class:`Refused`."""
        found: list[tuple[Observation, bytes, Boot, Corrected | None]] = []
        source, received, limits = job.source, job.received, job.limits
        place = (source.site, source.link, source.role)
        new: set[tuple[str, str, str]] = set()
        boot: Boot | None = None
        for one, body in understood.observations:
            if boot is None or boot.id != one.boot:
                boot = self.memory.boot(connection, self._stage, one.boot, source.site)
            if type(one) is Note and one.event is Event.ANCHOR:
                self._learn_from_note(boot, job, one)
            time = boot.utc(one.end)
            if time is not None:
                if time.utc - time.error > received + limits.ahead:
                    raise Refused(Refusal.IMPLAUSIBLE_TIME, _implausible(len(found), time, "ahead of", received))
                if time.utc + time.error < received - limits.behind:
                    raise Refused(Refusal.IMPLAUSIBLE_TIME, _implausible(len(found), time, "before", received))
            if type(one) is Window:
                name = (one.probe, one.target, one.platform)
                if name not in new and self.memory.series(connection, (*place, *name)) is None:
                    check_names(*name)
                    new.add(name)
            elif type(one) is not Note:
                check_names(one.probe, one.target, one.platform)  # type: ignore[union-attr]
            found.append((one, body, boot, time))
        if new:
            count = self.memory.series_count(connection, place) + len(new)
            if count > limits.series:
                raise Refused(
                    Refusal.TOO_MANY_SERIES,
                    f"series of site {source.site}, link {source.link or '-'}, role {source.role}: found {count} with"
                    f" this batch, expected at most {limits.series}; are target names made from changing values?",
                )
        return found

    def _hold(
        self, job: Take, stream: Stream, batch: Batch, digest: bytes, prev: bytes, raw: bytes, understood: Understood
    ) -> None:
        sealed = bytes(cramjam.zstd.compress(raw, level=3)) if batch.name == StreamName.EVIDENCE else None
        count = len(understood.observations)
        self._stage.batches.append(
            (stream.number, batch.seq, digest, prev, job.received, count, understood.not_understood, sealed)
        )
        for dropped in batch.dropped:
            self._stage.dropped.append(
                (stream.number, dropped.first, dropped.last, dropped.reason, dropped.start, dropped.end, job.received)
            )
            stream.dropped += dropped.last - dropped.first + 1
            self._counted["batches_declared_dropped"] += dropped.last - dropped.first + 1
        stream.hold(batch.seq, digest, bytes.fromhex(batch.prev) if prev else b"")
        self.memory.touch(self._stage, stream)
        self._counted["batches_stored"] += 1
        self._counted["observations_stored"] += count
        if understood.not_understood:
            self._counted["observations_not_understood"] += understood.not_understood

    def _rows(
        self,
        connection: Connection,
        job: Take,
        stream: Stream,
        seq: int,
        found: list[tuple[Observation, bytes, Boot, Corrected | None]],
        landed: list[Landed],
    ) -> None:
        source, received, memory, stage = job.source, job.received, self.memory, self._stage
        agent, site, link, role = source
        late_before = received - LATE
        for one, body, boot, time in found:
            utc, error = time if time is not None else (None, None)
            late = utc is None or utc < late_before
            if utc is None:
                self._counted["observations_time_unknown"] += 1
            elif late:
                self._counted["observations_late"] += 1
            if type(one) is Window:
                key = (site, link, role, one.probe, one.target, one.platform)
                series = memory.series(connection, key)
                if series is None:
                    series = memory.new_series(connection, stage, key, received)
                stage.windows.append(
                    (series, boot.number, one.start, one.end, utc, error, received, stream.number, seq, body)
                )
                if utc is not None:
                    mark = (series, utc // HOUR)
                    if mark not in memory.dirty:
                        memory.dirty.add(mark)
                        stage.dirty.append(mark)
            else:
                start = boot.utc(one.start)
                names = ("", "", "") if type(one) is Note else (one.probe, one.target, one.platform)  # type: ignore[union-attr]
                stage.records.append(
                    (
                        type(one).__name__.lower(), site, link, role, agent, *names, boot.number, one.start, one.end,
                        start.utc if start else None, utc, error, received, stream.number, seq, body,
                    )
                )  # fmt: skip
            landed.append(Landed(source, one, time, received, late))

    def _learn(self, boot: Boot, anchor: Anchor) -> None:
        span = boot.learn(anchor)
        if span is not None:
            self._stage.anchors.append((boot.number, anchor.boottime, anchor.utc, anchor.error))
            low, high = span
            other = self._retimes.get(boot.number)
            if other is not None:
                low, high = min(low, other.low), max(high, other.high)
            self._retimes[boot.number] = Retime(boot, low, high)
            self._counted["anchors_stored"] += 1

    def _learn_from_note(self, boot: Boot, job: Take, note: Note) -> None:
        anchor = anchor_of_note(note.boot, note.end, note.counts)
        if anchor is None:
            return
        clock = job.clock
        if note.boot == clock.boot:
            good = believable(AgentClock(clock.boot, clock.boottime, clock.wall, anchor), job.received)
        else:  # an earlier boot: it cannot be compared with this exchange, but it cannot lie in the future either
            good = in_range(anchor) and 0 <= anchor.utc - anchor.error <= job.received
        if good:
            self._learn(boot, anchor)
        else:
            self._counted["anchors_not_believed"] += 1

    def _refuse(
        self, connection: Connection, job: Take, stream: str, seq: int, digest: bytes, refused: Refused
    ) -> BatchReceipt:
        self._counted[f"batches_refused_{refused.refusal}"] += 1
        if refused.refusal in _RECORDED:
            seen = connection.exec_driver_sql(
                "SELECT 1 FROM conflict WHERE stream = ? AND seq = ? AND digest = ? AND site = ? LIMIT 1",
                (stream, seq, digest, job.source.site),
            ).first()
            if seen is None:
                self._stage.conflicts.append(
                    (
                        stream,
                        seq,
                        digest,
                        job.source.agent,
                        job.source.site,
                        job.received,
                        refused.refusal,
                        refused.detail,
                    )
                )
        return BatchReceipt(stream, seq, BatchStatus.REFUSED, refused.refusal, refused.detail)


def _implausible(place: int, time: Corrected, side: str, received: Instant) -> str:
    return (
        f"observations[{place}].end: found {time.utc} µs ± {time.error} after correction, far {side} its arrival at"
        f" {received}, expected within ten minutes ahead and 400 days behind"
    )

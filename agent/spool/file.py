"""The spool's file: what stands in it and how it changes. Synchronous; one thread alone may use an object.

Every change is one transaction. WAL with ``synchronous=FULL`` makes SQLite sync the log at each COMMIT (sqlite.org/
pragma.html#pragma_synchronous), and the exclusive locking mode keeps a second agent out.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.spool import limits as rules
from agent.spool.errors import SpoolDamaged
from agent.spool.records import Counts, Life, Limits, Moment, Record, Refused, Report, Spooled, Waiting
from wire.batch import (
    GENESIS,
    LARGEST_BATCH,
    MOST_OBSERVATIONS,
    StreamName,
    digest_of,
    new_stream_id,
    seal_encoded,
)
from wire.clock import SECOND
from wire.reasons import Event, Refusal

FORMAT = 1
ROW_COST = 256
"""Bytes of index and row around a batch, counted towards the limit."""
_HEADER = 4096
"""Bytes left for a batch's own fields, its declared drops included, when observations are packed into it."""
_MOST_FREE_PAGES = 2048
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE stream (id TEXT PRIMARY KEY, name TEXT NOT NULL, next INTEGER NOT NULL, head TEXT NOT NULL,
    current INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE batch (number INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, seq INTEGER NOT NULL,
    name TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, lived INTEGER NOT NULL, start INTEGER NOT NULL,
    "end" INTEGER NOT NULL, declares BLOB, sealed BLOB NOT NULL, UNIQUE (stream, seq));
CREATE INDEX batch_by_name ON batch (name, number, size);
CREATE INDEX batch_by_age ON batch (lived);
CREATE TABLE dropped (stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, PRIMARY KEY (stream, first)) WITHOUT ROWID;
CREATE TABLE quarantine (number INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, seq INTEGER NOT NULL,
    digest TEXT NOT NULL, size INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, declares BLOB,
    sealed BLOB NOT NULL, refusal TEXT NOT NULL, detail TEXT NOT NULL, wall INTEGER NOT NULL);
CREATE TABLE orders (id TEXT PRIMARY KEY, body BLOB NOT NULL, boot TEXT NOT NULL, arrived INTEGER NOT NULL,
    begun INTEGER NOT NULL, status TEXT NOT NULL, detail TEXT NOT NULL, heard INTEGER NOT NULL, rank INTEGER NOT NULL)
    WITHOUT ROWID;
"""
_T = TypeVar("_T")


class SpoolFile:
    """An open spool. Raises ``sqlite3.Error`` and ``OSError`` as they come and :class:`SpoolDamaged`."""

    def __init__(self, path: Path, limits: Limits, machine: str, now: Moment) -> None:
        self.limits = limits
        self.reports: list[Report] = []
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            _sync_folder(path.parent)
        self._db = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            self._begin(path, machine)
            self.before: Life | None = self._life()
            """The last sign of life of the run before this one."""
            self._born = now
            self._lived = _lived_since(self.before, now)
            self.counts = self._counted()
        except BaseException:
            self._db.close()
            raise

    def _begin(self, path: Path, machine: str) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 4194304")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise SpoolDamaged(f"{path}: found spool format {version}, expected {FORMAT}")
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise SpoolDamaged(f"{path}: {problem}")
        with self._transaction():
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {FORMAT}")
                self._set("machine", machine)
                self._new_streams()
            elif machine and self._get("machine") not in ("", machine):
                self._set("machine", machine)
                self._new_streams()
                self.reports.append(
                    Report(Event.SPOOL_SET_ASIDE, {}, {"cause": "another machine", "found": "the streams only"})
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs ``work`` in one transaction."""
        with self._transaction():
            return work(self._db)

    def close(self) -> None:
        """Folds the log into the file where that is possible; nothing depends on it."""
        with closing(self._db):
            pass

    # the chain

    def put(self, name: StreamName, records: Sequence[Record], now: Moment, *, last: bool = False) -> list[Spooled]:
        """Seals records into the current stream, in one transaction; on disk when this returns. ``last`` marks the
        run as cleanly ended."""
        counts = self.counts
        reports: list[Report] = []
        with self._transaction():
            number, spooled = 0, []
            for part in _parts(records):
                number, one, size = self._append(name, part, now)
                spooled.append(one)
                counts = counts._replace(batches=counts.batches + 1, bytes=counts.bytes + size)
            life = Life(now.boot, now.boottime, now.wall, self.lived(now), last)
            self._set("life", msgspec.json.encode(life).decode())
            counts, reports = self._keep_limits(counts, now, number)
        self.counts = counts
        self.reports += reports
        return spooled

    def _append(self, name: StreamName, part: list[Record], now: Moment) -> tuple[int, Spooled, int]:
        db = self._db
        stream, seq, head = db.execute(
            "SELECT id, next, head FROM stream WHERE name = ? AND current", (name,)
        ).fetchone()
        declared = rules.take_pending(db, stream)
        sealed = seal_encoded(stream, name, seq, head, [one.encoded for one in part], declared)
        digest, size = digest_of(sealed), len(sealed) + ROW_COST
        row = db.execute(
            'INSERT INTO batch (stream, seq, name, digest, size, lived, start, "end", declares, sealed)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream,
                seq,
                name,
                digest,
                size,
                self.lived(now),
                min((one.start for one in part), default=0),
                max((one.end for one in part), default=0),
                msgspec.json.encode(declared) if declared else None,
                sealed,
            ),
        )
        db.execute("UPDATE stream SET next = ?, head = ? WHERE id = ?", (seq + 1, digest, stream))
        return row.lastrowid or 0, Spooled(stream, seq, digest), size

    def renew(self) -> None:
        """New stream ids for what follows; what waits is delivered under its old ones."""
        with self._transaction():
            self._new_streams()

    def _new_streams(self) -> None:
        self._db.execute("UPDATE stream SET current = 0")
        self._db.executemany(
            "INSERT INTO stream VALUES (?, ?, 1, ?, 1)", [(new_stream_id(), name, GENESIS) for name in StreamName]
        )

    def streams(self) -> dict[str, StreamName]:
        """The current streams' ids and names."""
        rows = self._db.execute("SELECT id, name FROM stream WHERE current")
        return {stream: StreamName(name) for stream, name in rows}

    # delivery

    def pick(self, above: int, up_to: int, budget: int, most: int, skip: frozenset[int]) -> list[Waiting]:
        """The newest batches with ``above < number <= up_to``: as many as fit ``budget`` bytes (at least one), at most
        ``most``, without those in ``skip``. A batch whose bytes no longer match its digest is quarantined here: in an
        envelope it would spoil the others."""
        picked: list[Waiting] = []
        rotten: list[Refused] = []
        rows = self._db.execute(
            "SELECT number, stream, seq, name, digest, sealed FROM batch WHERE number > ? AND number <= ?"
            " ORDER BY number DESC",
            (above, up_to),
        )
        with closing(rows):
            for number, stream, seq, name, digest, sealed in rows:
                if number in skip:
                    continue
                if digest_of(sealed) != digest:
                    rotten.append(Refused(stream, seq, Refusal.DIGEST_MISMATCH, "changed on this machine's disk"))
                    continue
                if picked and (len(sealed) > budget or len(picked) >= most):
                    break
                budget -= len(sealed)
                picked.append(Waiting(number, stream, seq, StreamName(name), digest, sealed))
        if rotten:
            self.settle([], rotten, Moment("", 0, 0))
        return picked

    def highest(self) -> int:
        """The number of the newest batch ever spooled."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batch'").fetchone()
        return int(row[0]) if row else 0

    def settle(self, delivered: Sequence[tuple[str, int]], refused: Sequence[Refused], now: Moment) -> list[Refused]:
        """Deletes what a receipt covers (by stream and seq) and moves what it refused into the quarantine. Returns
        those that were quarantined now."""
        moved = []
        reports: list[Report] = []
        with self._transaction():
            self._db.executemany("DELETE FROM batch WHERE stream = ? AND seq = ?", delivered)
            for one in refused:
                done = self._db.execute(
                    "INSERT INTO quarantine"
                    ' (stream, seq, digest, size, start, "end", declares, sealed, refusal, detail, wall)'
                    ' SELECT stream, seq, digest, size, start, "end", declares, sealed, ?, ?, ? FROM batch'
                    " WHERE stream = ? AND seq = ?",
                    (one.refusal, one.detail, now.wall, one.stream, one.seq),
                )
                if done.rowcount:
                    moved.append(one)
                    self._db.execute("DELETE FROM batch WHERE stream = ? AND seq = ?", (one.stream, one.seq))
            reports = self._bound_quarantine() if moved else []
            counts = self._counted()
        self.counts = counts
        self.reports += reports
        self._shrink()
        return moved

    def _shrink(self) -> None:
        free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        if free > _MOST_FREE_PAGES:
            # by executescript, which steps to the end; execute would free one page
            self._db.executescript(f"PRAGMA incremental_vacuum({_MOST_FREE_PAGES})")

    # limits

    def _keep_limits(self, counts: Counts, now: Moment, spare: int) -> tuple[Counts, list[Report]]:
        db, reports = self._db, []
        aged = rules.too_old(db, self.lived(now) - round(self.limits.age * SECOND))
        for numbers, reason in ((aged, "age"), ([], "full")):
            if reason == "full" and counts.bytes > self.limits.bytes:
                over = counts.bytes - self.limits.bytes + int(self.limits.bytes * rules.FREED_AT_ONCE)
                numbers = rules.oldest(db, over, spare)
            if not numbers:
                continue
            gone = []
            for number in numbers:
                row = db.execute(
                    'DELETE FROM batch WHERE number = ? RETURNING stream, seq, start, "end", size, declares', (number,)
                ).fetchone()
                gone.append(rules.Gone(*row))
            reports += self._declare(gone, reason)
            freed = sum(one.size for one in gone)
            counts = counts._replace(
                batches=counts.batches - len(gone), bytes=counts.bytes - freed, dropped=counts.dropped + len(gone)
            )
        return counts, reports

    def _bound_quarantine(self) -> list[Report]:
        db = self._db
        over = db.execute("SELECT coalesce(sum(size), 0) FROM quarantine").fetchone()[0] - self.limits.quarantine
        gone = []
        while over > 0:
            row = db.execute(
                "DELETE FROM quarantine WHERE number = (SELECT min(number) FROM quarantine)"
                ' RETURNING stream, seq, start, "end", size, declares'
            ).fetchone()
            gone.append(rules.Gone(*row))
            over -= gone[-1].size
        return self._declare(gone, "quarantine overflow") if gone else []

    def _declare(self, gone: list[rules.Gone], reason: str) -> list[Report]:
        self._set("dropped", str(int(self._get("dropped") or "0") + len(gone)))
        return rules.declare(self._db, gone, reason, set(self.streams()))

    # small things

    def lived(self, now: Moment) -> int:
        """The running time of this spool's agents until ``now``, in microseconds."""
        return self._lived + max(0, now.boottime - self._born.boottime)

    def _life(self) -> Life | None:
        found = self._get("life")
        try:
            return msgspec.json.decode(found, type=Life) if found else None
        except msgspec.DecodeError as error:
            raise SpoolDamaged(f"meta.life: {error}") from error

    def _get(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _counted(self) -> Counts:
        batches, size = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM batch").fetchone()
        quarantined = self._db.execute("SELECT count(*) FROM quarantine").fetchone()[0]
        return Counts(batches, size, quarantined, int(self._get("dropped") or "0"))


def _parts(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in pieces that each fit into one batch; one empty piece for no records."""
    part: list[Record] = []
    size = _HEADER
    for one in records:
        if part and (size + len(one.encoded) + 1 > LARGEST_BATCH or len(part) >= MOST_OBSERVATIONS):
            yield part
            part, size = [], _HEADER
        part.append(one)
        size += len(one.encoded) + 1
    if part or not records:
        yield part


def _lived_since(before: Life | None, now: Moment) -> int:
    """Running time at opening: what was lived before, and within the same boot also the time since."""
    if before is None:
        return 0
    return before.lived + (max(0, now.boottime - before.boottime) if before.boot == now.boot else 0)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

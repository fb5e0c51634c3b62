"""What is dropped when the spool passes its limits: monitor before evidence, the oldest first, and always declared."""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from agent.spool.records import Report
from wire.batch import Dropped
from wire.reasons import Event

FREED_AT_ONCE = 0.01
"""Share of the byte limit that is freed in one go, so that a full spool does not drop and declare at every batch."""
MOST_DECLARED = 24
"""Ranges one batch declares, some 100 bytes each."""
_dropped = msgspec.json.Decoder(list[Dropped])


class Gone(NamedTuple):
    """A batch about to be dropped."""

    stream: str
    seq: int
    start: int
    end: int
    size: int
    declares: bytes | None


def merged(found: Iterable[Dropped]) -> list[Dropped]:
    """Neighbouring ranges with the same reason joined, in order."""
    result: list[Dropped] = []
    for one in sorted(found, key=lambda one: (one.first, one.last)):
        last = result[-1] if result else None
        if last is None or last.reason != one.reason or last.last + 1 != one.first:
            result.append(one)
            continue
        starts = [at for at in (last.start, one.start) if at]
        result[-1] = Dropped(last.first, one.last, one.reason, min(starts, default=0), max(last.end, one.end))
    return result


def pending(db: sqlite3.Connection, stream: str) -> list[Dropped]:
    """What a stream must declare, the earliest first."""
    rows = db.execute(
        'SELECT first, last, reason, start, "end" FROM dropped WHERE stream = ? ORDER BY first', (stream,)
    )
    return [Dropped(*row) for row in rows]


def take_pending(db: sqlite3.Connection, stream: str) -> list[Dropped]:
    """What the next batch of a stream declares; the rest is left to the batch after it."""
    found = pending(db, stream)[:MOST_DECLARED]
    db.executemany("DELETE FROM dropped WHERE stream = ? AND first = ?", [(stream, one.first) for one in found])
    return found


def declare(db: sqlite3.Connection, gone: list[Gone], reason: str, current: set[str]) -> list[Report]:
    """Notes that batches are gone, with the declarations they themselves carried. A stream that has ended cannot
    declare anything any more: its losses come back as reports."""
    by_stream: dict[str, list[Dropped]] = {}
    for one in gone:
        found = by_stream.setdefault(one.stream, [])
        found.append(Dropped(one.seq, one.seq, reason, one.start, one.end))
        if one.declares:
            found.extend(_dropped.decode(one.declares))
    reports: list[Report] = []
    for stream, found in by_stream.items():
        if stream not in current:
            reports.extend(_report(stream, one) for one in merged(found))
            continue
        whole = merged([*pending(db, stream), *found])
        db.execute("DELETE FROM dropped WHERE stream = ?", (stream,))
        db.executemany(
            "INSERT INTO dropped VALUES (?, ?, ?, ?, ?, ?)",
            [(stream, one.first, one.last, one.reason, one.start, one.end) for one in whole],
        )
    return reports


def _report(stream: str, one: Dropped) -> Report:
    counts = {"first": one.first, "last": one.last, "start": one.start, "end": one.end}
    return Report(Event.SPOOL_DROPPED, counts, {"stream": stream, "reason": one.reason})


def oldest(db: sqlite3.Connection, bytes_over: int, spare: int) -> list[int]:
    """Numbers of the batches to drop so that at least ``bytes_over`` bytes are freed: oldest monitor, then oldest
    evidence, never the batch ``spare``."""
    chosen: list[int] = []
    for name in ("monitor", "evidence"):
        rows = db.execute(
            "SELECT number, size FROM batch WHERE name = ? AND number <> ? ORDER BY number", (name, spare)
        )
        for number, size in rows:
            if bytes_over <= 0:
                return chosen
            chosen.append(number)
            bytes_over -= size
    return chosen


def too_old(db: sqlite3.Connection, lived_before: int) -> list[int]:
    """Numbers of the batches spooled before that running time."""
    rows = db.execute("SELECT number FROM batch WHERE lived < ? ORDER BY lived LIMIT 1000", (lived_before,))
    return [number for (number,) in rows]

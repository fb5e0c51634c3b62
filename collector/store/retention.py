"""What is kept how long, and the deleting of what is older: in small steps, so that no post waits for it."""

from collections.abc import Callable
from itertools import takewhile
from typing import NamedTuple

from sqlalchemy import Connection

from collector.store.dialect import insert_over
from collector.store.packing import key_of
from wire.clock import DAY, HOUR, Instant

ROWS_A_STEP = 200
HOURS_A_STEP = 96
"""Packed hours deleted in one transaction: some hundreds of kilobytes."""

_DECLARED = insert_over("dropped", ("stream", "first", "last", "reason", "start", "end", "declared"))


class Retention(NamedTuple):
    """Days. Of the monitor stream only the digests are kept as long as ``evidence``; they are its ledger."""

    windows: int = 90
    evidence: int = 5 * 366
    rollups: int = 10 * 366


class Expired(NamedTuple):
    """Packed hours (or roll-ups) of one series that are too old."""

    table: str
    low: int
    high: int


def find_expired(connection: Connection, now: Instant, keep: Retention) -> list[Expired]:
    """Which series have packed hours or roll-ups that are too old; read-only, for a reader's connection."""
    found: list[Expired] = []
    numbers = connection.exec_driver_sql("SELECT number FROM series").scalars().all()
    for table, days in (("hour", keep.windows), ("rollup", keep.rollups)):
        before = max(0, (now - days * DAY) // HOUR)
        for number in numbers:
            low, high = key_of(number, 0), key_of(number, before) - 1
            oldest = connection.exec_driver_sql(
                f"SELECT min(key) FROM {table} WHERE key BETWEEN ? AND ?",  # noqa: S608 - names are ours
                (low, high),
            ).scalar_one()
            if oldest is not None:
                found.append(Expired(table, oldest, high))
    return found


def delete_hours(connection: Connection, expired: Expired) -> int:
    """Deletes up to :data:`HOURS_A_STEP` of them, oldest first; returns how many."""
    table, low, high = expired
    return connection.exec_driver_sql(
        f"DELETE FROM {table} WHERE key IN"  # noqa: S608 - names are ours
        f" (SELECT key FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?)",
        (low, high, HOURS_A_STEP),
    ).rowcount


def row_steps(now: Instant, keep: Retention) -> list[Callable[[Connection], int]]:
    """Steps that delete rows too old, to be repeated until each returns 0. Rows are numbered in order of arrival, so
    looking at the lowest numbers finds the oldest."""

    def of(table: str, days: int) -> Callable[[Connection], int]:
        def step(connection: Connection) -> int:
            return connection.exec_driver_sql(
                f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - names are ours
                f" (SELECT id FROM {table} ORDER BY id LIMIT ?) AND received < ?",
                (ROWS_A_STEP, now - days * DAY),
            ).rowcount

        return step

    return [
        of("window", keep.windows),  # those whose time stayed unknown; the others are packed long since
        of("record", keep.evidence),
        of("conflict", keep.evidence),
        lambda connection: _forget_batches(connection, now - keep.evidence * DAY),
    ]


def _forget_batches(connection: Connection, before: Instant) -> int:
    """Deletes batches from the low end of each stream, and declares them so that they are no gap."""
    deleted = 0
    for (number,) in connection.exec_driver_sql("SELECT number FROM stream").all():
        rows = connection.exec_driver_sql(
            "SELECT seq, received FROM batch WHERE stream = ? ORDER BY seq LIMIT ?", (number, ROWS_A_STEP)
        ).all()
        old = [seq for seq, _ in takewhile(lambda row: row[1] < before, rows)]
        if not old:
            continue
        connection.exec_driver_sql("DELETE FROM batch WHERE stream = ? AND seq <= ?", (number, old[-1]))
        connection.exec_driver_sql(_DECLARED, (number, 1, old[-1], "expired", 0, before, before))
        deleted += len(old)
        if deleted >= ROWS_A_STEP:
            break
    return deleted

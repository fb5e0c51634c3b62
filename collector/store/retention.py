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


def expiry_steps(now: Instant, keep: Retention) -> list[Callable[[Connection], int]]:
    """Steps that each delete a little of what is too old, to be repeated until they return 0."""
    return [
        _hours("hour", now - keep.windows * DAY),
        _hours("rollup", now - keep.rollups * DAY),
        _rows("window", now - keep.windows * DAY),  # those whose time stayed unknown; the others are packed long since
        _rows("record", now - keep.evidence * DAY),
        _rows("conflict", now - keep.evidence * DAY),
        lambda connection: _forget_vantages(connection, now - keep.windows * DAY),
        lambda connection: _forget_batches(connection, now - keep.evidence * DAY),
    ]


def _hours(table: str, before: Instant) -> Callable[[Connection], int]:
    last = key_of(0, max(0, before // HOUR))

    def step(connection: Connection) -> int:
        return connection.exec_driver_sql(
            f"DELETE FROM {table} WHERE key IN"  # noqa: S608 - names are ours
            f" (SELECT key FROM {table} WHERE key < ? ORDER BY key LIMIT ?)",
            (last, HOURS_A_STEP),
        ).rowcount

    return step


def _rows(table: str, before: Instant) -> Callable[[Connection], int]:
    """Rows are numbered in order of arrival, so looking at the lowest numbers finds the oldest."""

    def step(connection: Connection) -> int:
        return connection.exec_driver_sql(
            f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - names are ours
            f" (SELECT id FROM {table} ORDER BY id LIMIT ?) AND received < ?",
            (ROWS_A_STEP, before),
        ).rowcount

    return step


def _forget_vantages(connection: Connection, before: Instant) -> int:
    """Places where nobody stands any more; what a person confirmed stays until a person takes it back. The table is
    small (collector.vantages bounds it), so one step is enough."""
    return connection.exec_driver_sql(
        "DELETE FROM vantage WHERE confirmed IS NULL AND seen_last < ?", (before,)
    ).rowcount


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

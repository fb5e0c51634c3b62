"""Packing and roll-ups of past hours, a few at a time: each step is one short transaction between the posts."""

import time
from typing import NamedTuple

from sqlalchemy import Connection

from collector.store.dialect import insert_over
from collector.store.packing import Row, key_of, pack, unpack
from collector.store.query import window_decoder
from collector.store.rollups import pack_rollup, roll_up
from collector.store.times import LOOSE_ERROR
from wire.clock import DAY, HOUR, MINUTE, Instant
from wire.reasons import Reason

STEP_SECONDS = 0.015
"""How long a step may hold the writer (it ends with the hour it is at, a few milliseconds more)."""
SETTLE = 5 * MINUTE
"""An hour is packed so long after its end: by then what is not late has landed."""
AWAIT_ANCHOR = DAY
"""Rows whose time is uncertain wait so long for a better anchor before they are packed."""

_HOUR = insert_over("hour", ("key", "series", "windows", "body"))
_ROLLUP = insert_over("rollup", ("key", "series", "body"))


class Stepped(NamedTuple):
    """What one step did. ``hours``: those packed and rolled up, as (series, hour); ``more`` may follow after them."""

    hours: list[tuple[int, int]]
    windows: int
    more: bool


def pack_some(
    connection: Connection, now: Instant, after: tuple[int, int] = (0, 0), seconds: float = STEP_SECONDS
) -> Stepped:
    """Packs and rolls up dirty hours that are past, for about ``seconds``, going on ``after`` the last one done.

    A round goes through the marks once: a backlog that marks hours faster than they are packed cannot hold it up.
    """
    began = time.monotonic()  # how long the writer is held is a matter of this machine, not of the rules' now
    before = (now - SETTLE) // HOUR
    marks = connection.exec_driver_sql(
        "SELECT series, hour FROM dirty WHERE (series, hour) > (?, ?) AND hour < ? ORDER BY series, hour LIMIT 65",
        (*after, before),
    ).all()
    done: list[tuple[int, int]] = []
    windows = 0
    for series, hour in marks[:64]:
        windows += settle_hour(connection, series, hour, now)
        done.append((series, hour))
        if time.monotonic() - began > seconds:
            break
    return Stepped(done, windows, len(done) < len(marks))


def settle_hour(connection: Connection, series: int, hour: int, now: Instant) -> int:
    """Packs one hour of one series, late rows merged into what is packed already, and makes its roll-up anew.

    Returns how many windows it moved from rows into the pack.
    """
    key = key_of(series, hour)
    connection.exec_driver_sql("DELETE FROM dirty WHERE series = ? AND hour = ?", (series, hour))
    found = connection.exec_driver_sql(
        "SELECT id, boot, end_utc, error, received, stream, seq, body FROM window"
        " WHERE series = ? AND end_utc BETWEEN ? AND ? ORDER BY end_utc, id",
        (series, hour * HOUR, (hour + 1) * HOUR - 1),
    ).all()
    packed = connection.exec_driver_sql("SELECT body FROM hour WHERE key = ?", (key,)).scalar_one_or_none()
    settled = unpack(packed) if packed is not None else []
    waiting: list[Row] = []
    moved: list[tuple[int]] = []
    for number, boot, end_utc, error, received, stream, seq, body in found:
        row = Row(boot, end_utc, error, received, stream, seq, window_decoder.decode(body))
        uncertain = error > LOOSE_ERROR and received > now - AWAIT_ANCHOR
        if uncertain or row.window.reason is Reason.UNRECOGNISED:
            waiting.append(row)  # its bytes may say more to a later anchor, or to a later release
        else:
            settled.append(row)
            moved.append((number,))
    settled = _in_order(settled)
    if moved:
        connection.exec_driver_sql(_HOUR, (key, series, len(settled), pack(settled)))
        connection.exec_driver_sql("DELETE FROM window WHERE id = ?", moved)
    whole = settled + waiting
    if whole:
        made = roll_up(hour, ((row.window, row.error) for row in whole))
        connection.exec_driver_sql(_ROLLUP, (key, series, pack_rollup(made)))
    else:  # every window of it was given another time
        connection.exec_driver_sql("DELETE FROM rollup WHERE key = ?", (key,))
    return len(moved)


def _in_order(rows: list[Row]) -> list[Row]:
    """In order of time; a row that stands there twice, equal in everything, is kept once."""
    rows = sorted(rows, key=lambda row: (row.end_utc, row.window.end, row.stream, row.seq))
    return [row for place, row in enumerate(rows) if not place or row != rows[place - 1]]


def mark_waited(connection: Connection, now: Instant, limit: int = 1000) -> int:
    """Marks the hours of rows that have waited long enough for a better anchor, so that they are packed too."""
    rows = connection.exec_driver_sql(
        "SELECT series, end_utc FROM window WHERE boot > 0 AND (end_utc IS NULL OR error > 2000000)"
        " AND end_utc IS NOT NULL AND received <= ? LIMIT ?",
        (now - AWAIT_ANCHOR, limit),
    ).all()
    marks = sorted({(series, end_utc // HOUR) for series, end_utc in rows})
    if marks:
        connection.exec_driver_sql("INSERT OR IGNORE INTO dirty (series, hour) VALUES (?, ?)", marks)
    return len(marks)

"""Runs of past days, kept in the store: a month's page reads thirty small rows instead of 43,200 windows, and the
history outlives the windows that it came from.

A day is kept with a mark of the packed hours it was made from. Late data makes another mark, and the day is made anew.
"""

from collections.abc import Iterable
from typing import NamedTuple

import cramjam
from sqlalchemy import Connection

from collector.link_history.runs import joined, pack_runs, unpack_runs
from collector.link_history.shapes import Run
from collector.store.dialect import insert_over
from collector.store.packing import SERIES_BITS, key_of
from wire.clock import DAY, HOUR, Instant

FORMAT = "1"
"""Of the runs: another one makes every day anew."""
SETTLED = 2 * HOUR
"""A day is kept so long after its end: its last hour is packed by then."""
_PUT = insert_over("link_day", ("site", "link", "day", "made", "mark", "body"))


class PackedHour(NamedTuple):
    """One packed hour without its body."""

    series: int
    hour: int
    windows: int
    size: int


class Day(NamedTuple):
    """A kept day."""

    mark: str
    body: bytes

    @property
    def runs(self) -> list[Run]:
        """Its runs."""
        return unpack_runs(bytes(cramjam.zstd.decompress(self.body)))


def packed_hours(connection: Connection, series: Iterable[int], start: Instant, end: Instant) -> list[PackedHour]:
    """The packed hours of the days (UTC) that a span touches. Their bodies stay on the disk, for SQLite knows how long
    a blob is without reading it."""
    found: list[PackedHour] = []
    for number in series:
        rows = connection.exec_driver_sql(
            "SELECT key, windows, length(body) FROM hour WHERE series = ? AND key BETWEEN ? AND ? ORDER BY key",
            (number, *keys_of(start, end)),
        )
        found += [PackedHour(number, key >> SERIES_BITS, windows, size) for key, windows, size in rows]
    return found


def day_marks(connection: Connection, series: Iterable[int], start: Instant, end: Instant) -> dict[int, str]:
    """The mark of each day (UTC, days since the epoch) that a span touches: what its packed hours are, in a few
    letters. Merging late windows into an hour changes how many it holds."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for number in sorted(series):
        rows = connection.exec_driver_sql(
            "SELECT (key >> 20) / 24 AS day, count(*), sum(windows), sum(length(body)) FROM hour"
            " WHERE series = ? AND key BETWEEN ? AND ? GROUP BY day",
            (number, *keys_of(start, end)),
        )
        for day, hours, windows, size in rows:
            found.setdefault(day, []).append((windows, hours, size, number))
    return {
        day: f"{FORMAT}:{sum(one[0] for one in some)}:{'+'.join('.'.join(map(str, one)) for one in some)}"
        for day, some in found.items()
    }


def keys_of(start: Instant, end: Instant) -> tuple[int, int]:
    """The first and the last key of the days that a span touches."""
    return key_of(0, max(0, start // DAY) * 24), key_of(0, (max(0, end // DAY) + 1) * 24) - 1


def kept_days(connection: Connection, site: str, link: str, first: int, last: int) -> dict[int, Day]:
    """The days that are kept of a link."""
    rows = connection.exec_driver_sql(
        "SELECT day, mark, body FROM link_day WHERE site = ? AND link = ? AND day BETWEEN ? AND ?",
        (site, link, first, last),
    )
    return {day: Day(mark, body) for day, mark, body in rows}


def marks(connection: Connection, site: str, link: str, first: int, last: int) -> dict[int, str]:
    """The marks of those days."""
    rows = connection.exec_driver_sql(
        "SELECT day, mark FROM link_day WHERE site = ? AND link = ? AND day BETWEEN ? AND ?", (site, link, first, last)
    )
    return {row[0]: row[1] for row in rows}


def holds(kept: str, mark: str) -> bool:
    """Whether a kept day tells all that its packed hours do: it was made from these, or from more windows than are left
    of it, for windows only ever go because they are too old."""
    return kept == mark or (kept.startswith(f"{FORMAT}:") and _windows(kept) > _windows(mark))


def _windows(mark: str) -> int:
    return int(mark.split(":")[1]) if mark else 0


def keep(
    connection: Connection, site: str, link: str, made: Instant, days: Iterable[tuple[int, str, list[Run]]]
) -> None:
    """Writes days."""
    rows = [
        (site, link, day, made, mark, bytes(cramjam.zstd.compress(pack_runs(joined(runs)), level=9)))
        for day, mark, runs in days
    ]
    if rows:
        connection.exec_driver_sql(_PUT, rows)

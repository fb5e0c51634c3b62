"""Reading: series, windows as columns, roll-ups, records, the newest of everything, gaps in the streams.

Every function takes a connection of :meth:`collector.store.store.Store.read` and sees one snapshot of it. Times are UTC
microseconds; a window belongs to the moment of its end.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from collector.store.chart import Columns, Durations, append_piece, append_rows, into_order
from collector.store.packing import SERIES_BITS, Piece, Row, key_of, unpack
from collector.store.rollups import Rollup, unpack_rollup
from collector.store.shapes import Landed, SeriesKey, Source
from collector.store.times import LATE
from wire.batch import decode_observation
from wire.clock import HOUR, Corrected, Instant
from wire.observation import Observation, Window

__all__ = [
    "Columns",
    "Durations",
    "Gap",
    "SeriesFound",
    "gaps",
    "hours",
    "latest",
    "observations",
    "packed_hours",
    "records",
    "rows_of",
    "series",
    "tests",
    "window_decoder",
    "windows",
]

_KEY = "site, link, role, probe, target, platform"
window_decoder = msgspec.json.Decoder(Window)


class SeriesFound(NamedTuple):
    """One series and its number."""

    number: int
    key: SeriesKey


class Gap(NamedTuple):
    """Batches of a stream that were numbered but are neither held nor declared dropped: still on their way, or lost."""

    stream: str
    site: str
    first: int
    last: int


def series(
    connection: Connection,
    *,
    sites: Sequence[str] | None = None,
    links: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    probes: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    platforms: Sequence[str] | None = None,
) -> list[SeriesFound]:
    """The series whose fields are among those given; ``None`` = any."""
    conditions: list[str] = []
    arguments: list[str] = []
    wanted = {"site": sites, "link": links, "role": roles, "probe": probes, "target": targets, "platform": platforms}
    for name, values in wanted.items():
        if values is not None:
            conditions.append(f"{name} IN ({', '.join('?' * len(values))})")
            arguments += values
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.exec_driver_sql(
        f"SELECT number, {_KEY} FROM series{where} ORDER BY {_KEY}",  # noqa: S608 - names are ours, values bound
        tuple(arguments),
    )
    return [SeriesFound(row[0], SeriesKey(*row[1:])) for row in rows]


def windows(connection: Connection, numbers: Iterable[int], start: Instant, end: Instant) -> dict[int, Columns]:
    """Windows that ended between ``start`` and ``end``, both included, by series; rows and packed hours as one."""
    return {number: _columns(connection, number, start, end) for number in numbers}


def observations(connection: Connection, number: int, start: Instant, end: Instant) -> list[Row]:
    """The same windows whole: every field, the boots, the original times."""
    found = [row for packed in _packed(connection, number, start, end) for row in unpack(packed)]
    found = [row for row in found if start <= row.end_utc <= end]
    found += rows_of(connection, number, start, end)
    return sorted(found, key=lambda row: (row.end_utc, row.window.end, row.stream, row.seq))


def rows_of(connection: Connection, number: int, start: Instant, end: Instant) -> list[Row]:
    """Windows of a series that are not packed yet."""
    rows = connection.exec_driver_sql(
        "SELECT boot, end_utc, error, received, stream, seq, body FROM window"
        " WHERE series = ? AND end_utc BETWEEN ? AND ? ORDER BY end_utc, id",
        (number, start, end),
    )
    return [_row(row) for row in rows]


def _row(row: Any) -> Row:
    boot, end_utc, error, received, stream, seq, body = row
    return Row(boot, end_utc, error, received, stream, seq, window_decoder.decode(body))


def packed_hours(connection: Connection, number: int, start: Instant, end: Instant) -> list[tuple[int, bytes]]:
    """The packed hours of a series that touch the span: (hours since the epoch, for
    :class:`collector.store.packing.Piece`)."""
    rows = connection.exec_driver_sql(
        "SELECT key, body FROM hour WHERE series = ? AND key BETWEEN ? AND ? ORDER BY key",
        (number, key_of(0, max(0, start // HOUR)), key_of(0, max(0, end // HOUR) + 1)),
    )
    return [(key >> SERIES_BITS, body) for key, body in rows]


def _packed(connection: Connection, number: int, start: Instant, end: Instant) -> list[bytes]:
    return [packed for _, packed in packed_hours(connection, number, start, end)]


def _columns(connection: Connection, number: int, start: Instant, end: Instant) -> Columns:
    found = Columns()
    for packed in _packed(connection, number, start, end):
        append_piece(found, Piece(packed), start, end)
    rows = rows_of(connection, number, start, end)
    if rows:
        append_rows(found, rows)
    into_order(found)
    return found


def hours(connection: Connection, numbers: Iterable[int], start: Instant, end: Instant) -> dict[int, list[Rollup]]:
    """Roll-ups of the hours that begin between ``start`` and ``end`` (end excluded), by series; past hours only."""
    found: dict[int, list[Rollup]] = {}
    low, high = max(0, -(-start // HOUR)), max(0, -(-end // HOUR))
    for number in numbers:
        rows = connection.exec_driver_sql(
            "SELECT key, body FROM rollup WHERE series = ? AND key BETWEEN ? AND ? ORDER BY key",
            (number, key_of(0, low), key_of(0, high) - 1),
        )
        found[number] = [unpack_rollup(key >> SERIES_BITS, body) for key, body in rows]
    return found


def records(
    connection: Connection,
    kind: str | None = None,
    site: str | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    *,
    limit: int = 10_000,
) -> list[Landed]:
    """Changes, tests and notes (``kind``: ``change``, ``test``, ``note``) in order of time; those without a time come
    first and only when neither ``start`` nor ``end`` is given."""
    conditions: list[str] = []
    arguments: list[object] = []
    for text, value in (("kind = ?", kind), ("site = ?", site), ("end_utc >= ?", start), ("end_utc <= ?", end)):
        if value is not None:
            conditions.append(text)
            arguments.append(value)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.exec_driver_sql(
        f"SELECT agent, site, link, role, end_utc, error, received, body FROM record{where}"  # noqa: S608 - bound
        " ORDER BY end_utc, id LIMIT ?",
        (*arguments, limit),
    )
    return [_landed(Source(*row[:4]), decode_observation(row[7]), row[4], row[5], row[6]) for row in rows]


def tests(
    connection: Connection, start: Instant, end: Instant, *, site: str | None = None, probe: str | None = None
) -> list[Landed]:
    """Every throughput and call test that ended from ``start`` to ``end``, in order of time, of one site or probe or of
    all; those whose time is unknown are in none."""
    sites = [site] if site else [row[0] for row in connection.exec_driver_sql("SELECT DISTINCT site FROM stream")]
    found: list[Any] = []
    for one in sites:  # the index leads with the site
        found += connection.exec_driver_sql(
            "SELECT end_utc, id, agent, site, link, role, error, received, body FROM record WHERE kind = 'test'"
            " AND site = ? AND end_utc >= ? AND end_utc <= ? AND (? IS NULL OR probe = ?)",
            (one, start, end, probe, probe),
        )
    found.sort(key=itemgetter(0, 1))
    return [_landed(Source(*row[2:6]), decode_observation(row[8]), row[0], row[6], row[7]) for row in found]


def slot_notes(connection: Connection, start: Instant, end: Instant) -> list[Landed]:
    """Every note of an agent on a slot that ended from ``start`` to ``end``, site by site. The many notes of clocks are
    left undecoded."""
    found: list[Landed] = []
    for (site,) in connection.exec_driver_sql("SELECT DISTINCT site FROM stream").all():  # the index leads with it
        rows = connection.exec_driver_sql(
            "SELECT agent, site, link, role, end_utc, error, received, body FROM record WHERE kind = 'note'"
            ' AND site = ? AND end_utc >= ? AND end_utc <= ? AND instr(body, CAST(\'"event":"slot_\' AS BLOB)) > 0'
            " ORDER BY end_utc, id",
            (site, start, end),
        )
        found += [_landed(Source(*row[:4]), decode_observation(row[7]), row[4], row[5], row[6]) for row in rows]
    return found


_LATEST_ROWS = (
    "SELECT series.number, window.boot, end_utc, error, received, stream, seq, body FROM series JOIN window"
    " ON window.id = (SELECT id FROM window AS one WHERE one.series = series.number AND end_utc IS NOT NULL"
    " ORDER BY end_utc DESC LIMIT 1)"
)
_LATEST_HOUR = "SELECT body FROM hour WHERE series = ? ORDER BY key DESC LIMIT 1"


def latest(connection: Connection, sites: Sequence[str] | None = None) -> list[Landed]:
    """The newest window of every series whose time is known: what the picture starts from."""
    wanted = series(connection, sites=sites)
    agents = {row[0]: str(row[1]) for row in connection.exec_driver_sql("SELECT number, agent FROM stream")}
    some = "" if sites is None else f" WHERE series.site IN ({', '.join('?' * len(sites))})"
    rows = connection.exec_driver_sql(_LATEST_ROWS + some, tuple(sites or ()))
    newest = {row[0]: _row(row[1:]) for row in rows}
    found: list[Landed] = []
    for number, key in wanted:
        one = newest.get(number)
        if one is None:  # silent for longer than the present hour
            packed = connection.exec_driver_sql(_LATEST_HOUR, (number,)).first()
            if packed is None:
                continue
            one = unpack(packed[0])[-1]
        source = Source(agents.get(one.stream, ""), key.site, key.link, key.role)
        found.append(_landed(source, one.window, one.end_utc, one.error, one.received))
    return found


def gaps(connection: Connection, site: str | None = None, *, limit: int = 1000) -> list[Gap]:
    """What is missing inside the streams; right after an outage that is the backlog still on its way."""
    found: list[Gap] = []
    streams = connection.exec_driver_sql(
        "SELECT number, id, site, highest FROM stream WHERE highest > held AND (site = ?1 OR ?1 = '')", (site or "",)
    ).all()
    for number, name, place, highest in streams:
        declared = connection.exec_driver_sql("SELECT first, last FROM dropped WHERE stream = ?", (number,)).all()
        held = connection.exec_driver_sql(
            "SELECT seq, following FROM (SELECT seq, lead(seq) OVER (ORDER BY seq) AS following FROM batch"
            " WHERE stream = ?) WHERE following > seq + 1",
            (number,),
        ).all()
        first = connection.exec_driver_sql("SELECT min(seq) FROM batch WHERE stream = ?", (number,)).scalar_one()
        holes = [(1, first - 1)] if first and first > 1 else []
        holes += [(seq + 1, following - 1) for seq, following in held]
        for low, high in _without(holes, sorted((one[0], one[1]) for one in declared)):
            if low <= highest:
                found.append(Gap(name, place, low, high))
                if len(found) >= limit:
                    return found
    return found


def _without(holes: list[tuple[int, int]], declared: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for low, high in holes:
        at = low
        for first, last in declared:
            if last < at or first > high:
                continue
            if first > at:
                yield at, first - 1
            at = max(at, last + 1)
        if at <= high:
            yield at, high


def _landed(source: Source, observation: Observation, utc: int | None, error: int | None, received: Instant) -> Landed:
    time = None if utc is None else Corrected(utc, error or 0)
    return Landed(source, observation, time, received, utc is None or utc < received - LATE)

"""The records of a link out of the store, quickly: packed hours become runs once and are remembered."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from collector.link_history import days
from collector.link_history.days import PackedHour
from collector.link_history.runs import joined, runs_of
from collector.link_history.shapes import PROBE, TARGET, Event, Records, Run, State, Turn, Untimed, Watcher
from collector.store import query
from collector.store.packing import SERIES_BITS, key_of, unpack
from wire.batch import StreamName, decode_observation
from wire.clock import DAY, HOUR, Instant
from wire.observation import Change, Note
from wire.reasons import Event as NoteEvent
from wire.settings import Role

ROLES = (Role.LINK, Role.BOTH)
"""Only these give evidence of a link (DESIGN §2)."""
MOST_HOURS = 20_000
"""Packed hours whose runs are remembered: three weeks of 21 links, about 10 MB."""
MOST_TURNS = 200_000
BEFORE = DAY
"""How far before a span its records are read: an hour's hole may begin there, and the run that ended before it."""
_EVENTS = ("started", "stopped", "unclean_stop_found", "suspended", "spool_dropped")


class Link(NamedTuple):
    """One access circuit of a site."""

    site: str
    link: str


class Hours:
    """Runs of packed hours, by what the hour holds: late data makes another hour. Used by several reading threads."""

    def __init__(self, most: int = MOST_HOURS) -> None:
        self._most = most
        self._kept: OrderedDict[PackedHour, tuple[Run, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def runs(self, connection: Connection, wanted: Sequence[PackedHour]) -> list[Run]:
        """The runs of some hours, in their order."""
        found: list[Run] = []
        for one in wanted:
            with self._lock:
                known = self._kept.get(one)
                if known is not None:
                    self._kept.move_to_end(one)
            if known is None:
                known = self._read(connection, one)
            found += known
        return found

    def _read(self, connection: Connection, one: PackedHour) -> tuple[Run, ...]:
        body = connection.exec_driver_sql(
            "SELECT body FROM hour WHERE key = ?", (key_of(one.series, one.hour),)
        ).scalar_one()
        made = tuple(runs_of(unpack(body)))
        with self._lock:
            self._kept[one] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


def links(connection: Connection) -> list[Link]:
    """Every link that was ever watched."""
    found = query.series(connection, probes=[PROBE], targets=[TARGET], roles=list(ROLES))
    return sorted({Link(one.key.site, one.key.link) for one in found})


def read(
    connection: Connection,
    hours: Hours,
    link: Link,
    start: Instant,
    end: Instant,
    heard: Mapping[str, Instant],
    confirmed: Iterable[str],
) -> Records:
    """What is known of a link from a day before ``start`` to ``end``, and the proofs next to that on both sides.
    ``heard``: when each agent posted last, where that is known better than the store does."""
    watchers = _watchers(connection, link, heard)
    numbers = series_of(connection, link)
    runs = joined(_runs(connection, hours, link, numbers, start - BEFORE, end))
    first = min([start - BEFORE, *(one.end for one in runs[:1])])
    last = max([end + BEFORE, *(one.end + BEFORE for one in runs[-1:])])
    streams = frozenset(number for one in watchers for number in one.streams)
    return Records(
        watchers=watchers,
        runs=tuple(runs),
        turns=_turns(connection, link, first - HOUR, last),
        events=_in_order(
            _events(connection, link, {one.agent for one in watchers}, first - HOUR, last),
            _dropped(connection, watchers),
        ),
        untimed=_untimed(connection, numbers),
        pending=_pending(connection, streams),
        confirmed=frozenset(confirmed),
    )


def series_of(connection: Connection, link: Link) -> list[int]:
    """Numbers of the series in the store that watched a link."""
    found = query.series(
        connection, sites=[link.site], links=[link.link], roles=list(ROLES), probes=[PROBE], targets=[TARGET]
    )
    return [one.number for one in found]


def _runs(
    connection: Connection, hours: Hours, link: Link, series: Sequence[int], start: Instant, end: Instant
) -> list[Run]:
    found = hours.runs(connection, _beside(connection, series, start, end))
    marks = days.day_marks(connection, series, start, end)
    kept = days.kept_days(connection, link.site, link.link, start // DAY, end // DAY)
    for day in sorted(marks.keys() | kept.keys()):
        held = kept.get(day)
        if held is not None and days.holds(held.mark, marks.get(day, "")):
            found += held.runs
        else:
            found += hours.runs(connection, days.packed_hours(connection, series, day * DAY, day * DAY))
    rows = [row for number in series for row in query.rows_of(connection, number, start - HOUR, end + HOUR)]
    found += runs_of(rows)
    return sorted(found, key=lambda one: (one.end, one.start))


def _beside(connection: Connection, series: Sequence[int], start: Instant, end: Instant) -> list[PackedHour]:
    """The packed hour next before the span and that next after it: where a hole at its edge begins and ends."""
    found = []
    for number in series:
        first, last = days.keys_of(start, end)
        for where, key, order in (("<", first, "DESC"), (">", last, "ASC")):
            row = connection.exec_driver_sql(
                f"SELECT key, windows, length(body) FROM hour WHERE series = ? AND key {where} ?"  # noqa: S608 - ours
                f" ORDER BY key {order} LIMIT 1",
                (number, key),
            ).first()
            if row is not None:
                found.append(PackedHour(number, row[0] >> SERIES_BITS, row[1], row[2]))
    return found


def _watchers(connection: Connection, link: Link, heard: Mapping[str, Instant]) -> tuple[Watcher, ...]:
    streams: dict[str, set[int]] = {}
    rows = connection.exec_driver_sql(
        "SELECT number, agent FROM stream WHERE site = ? AND link = ? AND name = ?", (*link, StreamName.EVIDENCE)
    )
    for number, agent in rows:
        streams.setdefault(agent, set()).add(number)
    rows = connection.exec_driver_sql(
        "SELECT id, role, created, retired, heard FROM agent WHERE site = ? AND link = ? AND role IN (?, ?)",
        (*link, *ROLES),
    )
    return tuple(
        Watcher(agent, role, joined, retired, heard.get(agent, stored), frozenset(streams.get(agent, ())))
        for agent, role, joined, retired, stored in rows
    )


_RECORD = "stream, boot, start_bt, end_bt, start_utc, end_utc, error, agent, body"
_TIMED = " FROM record WHERE site = ? AND kind = ? AND end_utc BETWEEN ? AND ? AND link = ?"


def _turns(connection: Connection, link: Link, start: Instant, end: Instant) -> tuple[Turn, ...]:
    rows = connection.exec_driver_sql(
        f"SELECT {_RECORD}{_TIMED} AND probe = ? AND target = ? AND role IN (?, ?) ORDER BY end_utc, id LIMIT ?",
        (link.site, "change", start, end, link.link, PROBE, TARGET, *ROLES, MOST_TURNS),
    )
    return tuple(one for row in rows if (one := _turn(row)) is not None)


def _turn(row: Any) -> Turn | None:
    stream, boot, start_bt, end_bt, start, end, error, _, body = row
    change = decode_observation(body)
    if not isinstance(change, Change):
        return None
    began = start if start is not None else end - (end_bt - start_bt)
    previous, current = State(change.previous), State(change.current)
    reason = str(change.reason or "")
    return Turn(
        stream, boot, start_bt, end_bt, began, error or 0, previous, current, reason, change.vantage, change.facts
    )


def _events(connection: Connection, link: Link, agents: set[str], start: Instant, end: Instant) -> tuple[Event, ...]:
    """The notes that say when agents ran. Clock anchors are thirty times as many, and are left on the disk."""
    some = " OR ".join(f'instr(body, CAST(\'"event":"{name}"\' AS BLOB)) > 0' for name in _EVENTS)
    rows = connection.exec_driver_sql(
        f"SELECT {_RECORD}{_TIMED} AND ({some}) ORDER BY end_utc, id",
        (link.site, "note", start, end, link.link),
    )
    found = []
    for _, boot, start_bt, end_bt, start_utc, end_utc, _, agent, body in rows:
        note = decode_observation(body)
        if isinstance(note, Note) and agent in agents:
            began = start_utc if start_utc is not None else end_utc - (end_bt - start_bt)
            found.append(Event(agent, boot, end_bt, began, end_utc, _kind(note)))
    return tuple(found)


def _dropped(connection: Connection, watchers: Iterable[Watcher]) -> list[Event]:
    """What agents declared dropped, at the times that their clocks believed."""
    found = []
    for one in watchers:
        for number in one.streams:
            rows = connection.exec_driver_sql(
                "SELECT start, end FROM dropped WHERE stream = ? AND start > 0 AND reason != 'expired'", (number,)
            )
            found += [Event(one.agent, 0, 0, start, end, NoteEvent.SPOOL_DROPPED) for start, end in rows]
    return found


def _in_order(*some: Iterable[Event]) -> tuple[Event, ...]:
    return tuple(sorted((event for events in some for event in events), key=lambda one: one.at))


def _kind(note: Note) -> str:
    if note.event is not NoteEvent.UNCLEAN_STOP_FOUND:
        return str(note.event)
    return "power" if note.facts.get("kind") == "power" else "crash"


def _untimed(connection: Connection, series: Sequence[int]) -> tuple[Untimed, ...]:
    found: list[Untimed] = []
    for number in series:
        rows = connection.exec_driver_sql(
            "SELECT stream, min(seq), max(seq), max(received) FROM window"
            " WHERE series = ? AND end_utc IS NULL GROUP BY stream, boot",
            (number,),
        )
        found += [Untimed(*row) for row in rows]
    return tuple(found)


def _pending(connection: Connection, streams: frozenset[int]) -> bool:
    """Whether a stream lacks batches that its agent did not declare dropped."""
    for number in streams:
        row = connection.exec_driver_sql("SELECT highest, held, dropped FROM stream WHERE number = ?", (number,)).one()
        if row[0] > row[1] + row[2]:
            return True
    return False

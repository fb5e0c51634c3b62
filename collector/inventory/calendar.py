"""Meetings as moments: local times of the files into UTC, repetitions into single occurrences."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from zoneinfo import ZoneInfo

from collector.inventory.model import Meeting, Rehearsal
from wire.clock import DAY, HOUR, SECOND, Instant
from wire.meetings import MeetingTimes, Period

OPEN_END = 3 * HOUR
"""What an open end is taken as (DESIGN §2), shown as assumed."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Occurrence(NamedTuple):
    """One day of a meeting."""

    meeting: Meeting
    times: MeetingTimes
    end_assumed: bool
    """Whether the end is open and was taken as three hours after the start."""


def instant(local: dt.datetime, zone: str) -> Instant:
    """UTC microseconds of a local time."""
    return round((local.replace(tzinfo=ZoneInfo(zone)) - _EPOCH) / dt.timedelta(microseconds=1))


def occurrences(meetings: Iterable[Meeting], zone: str) -> list[Occurrence]:
    """Every day of every meeting that is not cancelled, by start. Ids are ``meeting`` and, of the days that repeat
    it, ``meeting@2026-12-02``."""
    found = [one for meeting in meetings if not meeting.cancelled for one in _days(meeting, zone)]
    return sorted(found, key=lambda one: (one.times.start, one.times.id))


def near(found: Iterable[Occurrence], now: Instant, past: int = DAY, ahead: int = 31 * DAY) -> list[Occurrence]:
    """Those whose time has not been over for longer than ``past`` and that begin within ``ahead``: what an agent needs
    to keep quiet for a month without its collector."""
    return [one for one in found if one.times.end > now - past and _first(one.times) < now + ahead]


def _first(times: MeetingTimes) -> Instant:
    return min([times.doors, *(one.start for one in times.rehearsals)])


def _days(meeting: Meeting, zone: str) -> Iterator[Occurrence]:
    rehearsals = tuple(_rehearsal(one, zone) for one in meeting.rehearsals)
    yield _on(meeting, meeting.id, dt.timedelta(0), zone, rehearsals)
    for day in meeting.repeat:
        shift = day - meeting.start.date()
        yield _on(meeting, f"{meeting.id}@{day.isoformat()}", shift, zone, ())


def _rehearsal(rehearsal: Rehearsal, zone: str) -> Period:
    start = instant(rehearsal.start, zone)
    return Period(start, instant(rehearsal.end, zone) if rehearsal.end else start + OPEN_END)


def _on(meeting: Meeting, name: str, shift: dt.timedelta, zone: str, rehearsals: tuple[Period, ...]) -> Occurrence:
    start = instant(meeting.start + shift, zone)
    doors = instant(meeting.doors + shift, zone) if meeting.doors else start
    end = instant(meeting.end + shift, zone) if meeting.end else start + OPEN_END
    times = MeetingTimes(id=name, doors=doors, start=start, end=end, rehearsals=rehearsals)
    return Occurrence(meeting, times, meeting.end is None)


def microseconds(span: dt.timedelta) -> int:
    """A duration of the files in the wire's unit."""
    return round(span.total_seconds() * SECOND)

"""Meetings as both sides must read them: load classes, quiet time, and what may run when (DESIGN §2, §6.4)."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from wire.clock import MINUTE, Instant


class Load(StrEnum):
    """What a probe does to the link it measures."""

    TRICKLE = "trickle"
    """At most 50 kbit/s: always allowed."""
    CALL = "call"
    """One meeting's worth: allowed until the doors open."""
    LIGHT = "light"
    """Paced below contract, no queueing: outside quiet time, or inside a declared rehearsal."""
    FULL = "full"
    """Fills the link: only in a granted slot outside quiet time."""


class Period(msgspec.Struct, frozen=True):
    """From ``start`` up to, not including, ``end``."""

    start: Instant
    end: Instant

    def holds(self, now: Instant) -> bool:
        """Whether ``now`` lies within."""
        return self.start <= now < self.end


class MeetingTimes(msgspec.Struct, frozen=True, omit_defaults=True):
    """The times of one meeting, as an agent needs them."""

    id: str
    doors: Instant
    start: Instant
    end: Instant
    """An open end is written as start + 3 h by the collector, which says that it is assumed."""
    rehearsals: tuple[Period, ...] = ()


class QuietRules(msgspec.Struct, frozen=True):
    """How far quiet time reaches around a meeting, in microseconds."""

    before_doors: int = 60 * MINUTE
    after_end: int = 15 * MINUTE


def quiet_time(meeting: MeetingTimes, rules: QuietRules) -> Period:
    """From 60 minutes before the doors to 15 minutes after the end (settings)."""
    return Period(meeting.doors - rules.before_doors, meeting.end + rules.after_end)


def may_run(
    load: Load,
    now: Instant | None,
    error: int,
    meetings: Iterable[MeetingTimes],
    rules: QuietRules,
    *,
    slot: bool = False,
) -> bool:
    """Whether a probe of this load class may run at ``now ± error`` (microseconds).

    Without a known time only ``trickle`` may run: whoever does not know the time cannot know that no meeting is on.
    The uncertainty of the clock counts against the probe. ``slot`` says that the collector granted one.
    """
    if load is Load.TRICKLE:
        return True
    if now is None or (load is Load.FULL and not slot):
        return False
    rehearsing = False
    quiet = False
    in_session = False
    for meeting in meetings:
        span = quiet_time(meeting, rules)
        quiet = quiet or (span.start - error <= now < span.end + error)
        in_session = in_session or (meeting.doors - error <= now < span.end + error)
        rehearsing = rehearsing or any(one.start + error <= now < one.end - error for one in meeting.rehearsals)
    if load is Load.CALL:
        return not in_session
    if load is Load.LIGHT:
        return not quiet or (rehearsing and not in_session)
    return not quiet

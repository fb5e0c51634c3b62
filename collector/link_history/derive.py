"""From the records of one link to its history: intervals that cover a range wholly and never overlap. Pure.

Whatever the records and their order, the classes of time add up to the range; a time for which nothing is proven is not
measured, and never up. ``docs/decisions/019-link-history.md`` says why the rules are drawn so.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from collector.link_history.shapes import Event, Interval, Records, State, Untimed, Watcher, Why
from collector.link_history.watching import MOST_ERROR, REACH, in_order, watched
from wire.clock import MINUTE, SECOND, Instant
from wire.reasons import Event as NoteEvent
from wire.settings import Role

SILENT_AFTER = 12 * SECOND
"""As the picture has it: two posts missed and two seconds of grace."""
DUE = 2 * MINUTE + 30 * SECOND
"""How long after the last window an agent that is heard may be believed to go on as it was: two windows and grace."""
NEAR = 10 * SECOND
"""How far a note may lie from the hole that it explains: an agent starts, notes that, and then begins to watch."""


def derive(records: Records, start: Instant, end: Instant, now: Instant) -> list[Interval]:
    """The history of one link from ``start`` to ``end``; what lies after ``now`` is left out."""
    end = min(end, now)
    if end <= start:
        return []
    proven: list[Interval] = []
    for watcher in sorted(records.watchers, key=_precedence):
        proven = overlay(proven, _of(watcher, records))
    whole: list[Interval] = []
    at = min(start, proven[0].start) if proven else start
    for one in proven:
        if one.start > at:
            whole += _hole(records, at, one.start, resumed=True, agent=whole[-1].agent if whole else "")
        whole.append(one)
        at = max(at, one.end)
    if at < now:
        whole += _tail(records, proven[-1] if proven else None, at, now)
    return merged(clipped(whole, start, end))


def _precedence(one: Watcher) -> tuple[bool, int, str]:
    """Which of several agents of a link is believed first: the box that watches nothing else, then the newest."""
    return one.role != Role.LINK, -one.joined, one.agent


def _of(watcher: Watcher, records: Records) -> list[Interval]:
    return watched(
        watcher.agent,
        [one for one in records.runs if one.stream in watcher.streams],
        [one for one in records.turns if one.stream in watcher.streams],
        [one for one in records.events if one.agent == watcher.agent],
        records.confirmed,
    )


def overlay(upper: Sequence[Interval], lower: Sequence[Interval]) -> list[Interval]:
    """Both in one line: the upper as it stands, of the lower what lies in its gaps. What the upper could not measure is
    a gap where the lower measured."""
    sure = [one for one in upper if one.why is None]
    found = [*sure, *_within_gaps(sure, lower)]
    measured = sorted((one for one in found if one.why is None), key=lambda one: one.start)
    rest = in_order([one for one in (*upper, *lower) if one.why is not None])
    return sorted([*measured, *_within_gaps(measured, rest)], key=lambda one: one.start)


def _within_gaps(taken: Sequence[Interval], some: Sequence[Interval]) -> list[Interval]:
    """The parts of ``some`` that nothing of ``taken`` covers; both in order and without overlap."""
    found: list[Interval] = []
    place = 0
    for one in some:
        at = one.start
        while place < len(taken) and taken[place].end <= at:
            place += 1
        look = place
        while look < len(taken) and taken[look].start < one.end:
            if taken[look].start > at:
                found.append(one._replace(start=at, end=taken[look].start))
            at = max(at, taken[look].end)
            look += 1
        if at < one.end:
            found.append(one._replace(start=at))
    return found


def clipped(whole: Iterable[Interval], start: Instant, end: Instant) -> list[Interval]:
    """What lies between ``start`` and ``end``."""
    return [
        one._replace(start=max(one.start, start), end=min(one.end, end))
        for one in whole
        if one.end > start and one.start < end
    ]


def merged(whole: Iterable[Interval]) -> list[Interval]:
    """Neighbours that say the same become one."""
    found: list[Interval] = []
    for one in whole:
        before = found[-1] if found else None
        if before is not None and _alike(before, one):
            found[-1] = before._replace(end=one.end, error=max(before.error, one.error), turn=before.turn or one.turn)
        else:
            found.append(one)
    return found


def _alike(before: Interval, one: Interval) -> bool:
    same = (before.state, before.why, before.silent, before.provisional) == (
        one.state,
        one.why,
        one.silent,
        one.provisional,
    )
    return same and before.end == one.start


def _tail(records: Records, last: Interval | None, at: Instant, now: Instant) -> list[Interval]:
    """From the last proof until now: what the newest word said, then silence. A run that was ended is not silent. It is
    the agent of the last proof that must be heard: another's word says nothing of what that one saw."""
    present = [one for one in records.watchers if one.retired is None]
    asked = [one for one in present if last is not None and one.agent == last.agent] or present
    speaker = asked[0].agent if len(asked) == 1 else ""
    ended = _ended(_told_by(records, speaker, asked), at)
    others = [one for one in present if one not in asked and _goes_on(records, one, at)]
    if ended is not None and others:
        asked, ended, last, speaker = others, None, None, others[0].agent
    heard = max((one.heard for one in asked if one.heard is not None), default=None)
    if heard is None or ended is not None:
        return _hole(records, at, now, resumed=False, agent=speaker)
    reached = now if now - heard <= SILENT_AFTER else max(heard, at)
    found = _unproven(records, last, at, reached, speaker) if reached > at else []
    return [*found, *([Interval(reached, now, silent=True)] if reached < now else [])]


def _goes_on(records: Records, one: Watcher, at: Instant) -> bool:
    """Whether an agent was there at a moment and did not end its run then."""
    was_there = one.heard is not None and one.heard >= at - REACH
    return was_there and _ended(_told_by(records, one.agent, [one]), at) is None


def _unproven(records: Records, last: Interval | None, at: Instant, reached: Instant, speaker: str) -> list[Interval]:
    """An agent is heard and its next window has not come yet."""
    if last is not None and last.end == at and reached - at <= DUE:
        return [last._replace(start=at, end=reached, provisional=True)]
    holes = _hole(records, at, reached, resumed=False, agent=speaker)
    return [one._replace(why=Why.PENDING) if one.why is Why.MISSING else one for one in holes]


def _told_by(records: Records, agent: str, present: Iterable[Watcher]) -> Records:
    """With the notes of one agent alone, if it is among those present: another's stop explains none of its silence."""
    if not any(one.agent == agent for one in present):
        return records
    return records._replace(events=tuple(one for one in records.events if one.agent == agent))


def _hole(records: Records, start: Instant, end: Instant, *, resumed: bool, agent: str = "") -> list[Interval]:
    """A time of which nothing is known, cut where agents came and went. ``resumed``: it ends with a proof; ``agent``:
    whose proof it began with."""
    edges = {one.joined for one in records.watchers} | {one.retired for one in records.watchers if one.retired}
    cuts = [start, *sorted(edge for edge in edges if start < edge < end), end]
    found = []
    for low, high in pairwise(cuts):
        present = [one for one in records.watchers if one.joined <= low and (one.retired is None or one.retired > low)]
        told = _told_by(records, agent, present)
        why = _explained(told, low, high, resumed=resumed) if present else Why.NO_AGENT
        found.append(Interval(low, high, why=why))
    return found


def _explained(records: Records, start: Instant, end: Instant, *, resumed: bool) -> Why:
    """Why nothing is known of a time in which there was an agent."""
    if (told := _ended(records, start, end if resumed else None)) is not None:
        return told
    for one in records.events:
        if one.kind == NoteEvent.SUSPENDED and one.start < end and one.at > start:
            return Why.SUSPENDED
    for one in records.events:
        if one.kind == NoteEvent.SPOOL_DROPPED and one.start < end and one.at > start - NEAR:
            return Why.DATA_LOST
    if any(_may_fill(records, one, start, end) for one in records.untimed):
        return Why.TIME_UNKNOWN
    return Why.PENDING if records.pending else Why.MISSING


def _ended(records: Records, start: Instant, end: Instant | None = None) -> Why | None:
    """How the run ended whose last proof is at ``start``: by a clean stop, or as the next run found it."""
    for one in records.events:
        if (
            one.kind == NoteEvent.STOPPED
            and start - NEAR <= one.at <= start + REACH
            and not _begun(records, one, start)
        ):
            return Why.STOPPED
    for one in records.events:
        if one.at < start - NEAR:
            continue
        if end is not None and one.at > end + NEAR:
            break
        if one.kind == "crash":
            return Why.CRASHED
        if one.kind == "power":
            return Why.POWER_LOST
        if one.kind == NoteEvent.STARTED and one.at > start + NEAR:
            break
    return None


def _begun(records: Records, stop: Event, start: Instant) -> bool:
    """Whether the run began after ``start``: then its stop explains nothing of what was before it."""
    return any(
        one.kind == NoteEvent.STARTED and one.agent == stop.agent and start < one.at <= stop.at
        for one in records.events
    )


def _may_fill(records: Records, one: Untimed, start: Instant, end: Instant) -> bool:
    """Whether windows without a time may belong into a hole: after those of the batches before, before those after."""
    beside = [run for run in records.runs if run.stream == one.stream]
    after = max((run.end for run in beside if run.last_seq < one.first_seq), default=None)
    before = min((run.start for run in beside if run.first_seq > one.last_seq), default=one.received)
    return (after is None or after < end) and before > start


def current(whole: Sequence[Interval]) -> tuple[Interval, Instant] | None:
    """The last interval, and since when its state is as it is (a provisional end continues what was proven)."""
    if not whole:
        return None
    last, since = whole[-1], whole[-1].start
    for one in reversed(whole):
        if (one.state, one.why, one.silent) != (last.state, last.why, last.silent):
            break
        since = one.start
    return last, since


__all__ = ["MOST_ERROR", "State", "clipped", "current", "derive", "merged", "overlay"]

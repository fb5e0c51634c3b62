"""Corrected time: the anchors of each boot, and what they say about a moment of it (DESIGN §4, Time).

Original times are never touched; ``end_utc`` and ``error`` beside them are derived here and derived anew when a better
anchor arrives.
"""

from bisect import bisect_left
from typing import NamedTuple

from sqlalchemy import Connection

from wire.batch import AgentClock
from wire.clock import DAY, DRIFT, HOUR, MINUTE, SECOND, Anchor, Corrected, Instant, correct

NEIGHBOURS = 2
"""Anchors looked at on each side of a moment. The nearest bound it best; the second guards against one bad exchange."""
GAIN = 50_000
"""Microseconds by which an anchor must improve on its neighbours to be kept: about one in eight minutes then is."""
LOOSE_ERROR = 2 * SECOND
"""Rows with a larger error (or no time) are corrected again when an anchor arrives; see ``schema.LOOSE``."""
ANCHOR_EARLY = 2 * SECOND
"""An agent's anchor may say that its envelope left this much after we received it (our own clock slews)…"""
ANCHOR_LATE = 2 * MINUTE
"""… and this much before (a slow line); beyond that the anchor is not believed."""
AHEAD = 10 * MINUTE
BEHIND = 400 * DAY
LATE = 2 * MINUTE
"""A record that arrives so long after its end corrects reports and is no news for alarms."""


class Boot:
    """One boot of one machine: its number in the store and its anchors in order of boottime."""

    __slots__ = ("anchors", "id", "number", "places")

    def __init__(self, number: int, boot: str, anchors: list[Anchor]) -> None:
        self.number = number
        self.id = boot
        self.anchors = sorted(anchors, key=lambda one: one.boottime)
        self.places = [one.boottime for one in self.anchors]

    def utc(self, boottime: int) -> Corrected | None:
        """UTC of a moment of this boot, or ``None``: time unknown."""
        anchors = self.anchors
        if len(anchors) > 2 * NEIGHBOURS:
            place = bisect_left(self.places, boottime)
            low = max(0, place - NEIGHBOURS)
            anchors = anchors[low : place + NEIGHBOURS]
        return correct(self.id, boottime, anchors)

    def learn(self, anchor: Anchor) -> tuple[int, int] | None:
        """Takes an anchor if it tells something new. Returns the span of boottime whose times it may improve."""
        known = self.utc(anchor.boottime)
        if (
            known is not None
            and known.error < anchor.error + GAIN
            and abs(known.utc - anchor.utc) <= known.error + GAIN
        ):
            return None
        place = bisect_left(self.places, anchor.boottime)
        if place < len(self.places) and self.places[place] == anchor.boottime:
            return None
        self.anchors.insert(place, anchor)
        self.places.insert(place, anchor.boottime)
        low = self.places[place - NEIGHBOURS] if place >= NEIGHBOURS else -(2**62)
        high = self.places[place + NEIGHBOURS] if place + NEIGHBOURS < len(self.places) else 2**62
        return low, high


_MOST = 2**53


def in_range(anchor: Anchor) -> bool:
    """Whether an anchor's numbers can be numbers of a clock at all."""
    return (
        0 < len(anchor.boot) <= 64
        and 0 <= anchor.boottime <= _MOST
        and 0 <= anchor.error <= _MOST
        and 0 <= anchor.utc <= _MOST
    )


def believable(clock: AgentClock, received: Instant) -> bool:
    """Whether the anchor an agent claims agrees with when its envelope arrived here."""
    anchor = clock.anchor
    if anchor is None or anchor.boot != clock.boot or not in_range(anchor) or not 0 <= clock.boottime <= _MOST:
        return False
    distance = clock.boottime - anchor.boottime
    slack = anchor.error + int(abs(distance) * DRIFT)
    delay = received - (anchor.utc + distance)
    return -(slack + ANCHOR_EARLY) <= delay <= slack + ANCHOR_LATE


def anchor_of_note(boot: str, end: int, counts: dict[str, int]) -> Anchor | None:
    """The anchor inside a ``Note`` ANCHOR, whose numbers stand in ``counts``; ``None`` if they are not there."""
    if "utc" not in counts or "error" not in counts:
        return None
    return Anchor(boot=boot, boottime=counts.get("boottime", end), utc=counts["utc"], error=counts["error"])


class Retime(NamedTuple):
    """Rows of one boot, between two boottimes, to be corrected again."""

    boot: Boot
    low: int
    high: int


def anchors_of(connection: Connection, number: int, boot: str) -> list[Anchor]:
    """The anchors kept of one boot."""
    rows = connection.exec_driver_sql("SELECT boottime, utc, error FROM anchor WHERE boot = ?", (number,))
    return [Anchor(boot, boottime, utc, error) for boottime, utc, error in rows]


def loose_boots(connection: Connection) -> list[Boot]:
    """Boots that have an anchor and rows without a time or with an uncertain one."""
    rows = connection.exec_driver_sql(
        "SELECT number, id FROM boot WHERE number IN (SELECT boot FROM anchor) AND (number IN"
        " (SELECT boot FROM window WHERE end_utc IS NULL OR error > 2000000) OR number IN"
        " (SELECT boot FROM record WHERE end_utc IS NULL OR error > 2000000))"
    )
    return [Boot(number, boot, anchors_of(connection, number, boot)) for number, boot in rows.all()]


_LOOSE_WINDOWS = (
    "SELECT id, series, end_bt, end_utc, error FROM window WHERE boot = ? AND (end_utc IS NULL OR error > 2000000)"
    " AND end_bt BETWEEN ? AND ? ORDER BY end_bt LIMIT ?"
)
_LOOSE_RECORDS = (
    "SELECT id, start_bt, end_bt, end_utc, error FROM record WHERE boot = ? AND (end_utc IS NULL OR error > 2000000)"
    " AND end_bt BETWEEN ? AND ? ORDER BY end_bt LIMIT ?"
)


def retime(connection: Connection, work: Retime, limit: int = 500) -> Retime | None:
    """Corrects up to ``limit`` loose windows (and as many records) again, marking the hours that changed as dirty.

    Returns what is left to do. A new time is taken only where there was none or its error shrinks to half or less.
    """
    rows = connection.exec_driver_sql(_LOOSE_WINDOWS, (work.boot.number, work.low, work.high, limit)).all()
    updates: list[tuple[int, int, int]] = []
    dirty: set[tuple[int, int]] = set()
    for number, series, end_bt, end_utc, error in rows:
        better = _better(work.boot, end_bt, end_utc, error)
        if better is None:
            continue
        updates.append((better.utc, better.error, number))
        dirty.add((series, better.utc // HOUR))
        if end_utc is not None:
            dirty.add((series, end_utc // HOUR))
    if updates:
        connection.exec_driver_sql("UPDATE window SET end_utc = ?, error = ? WHERE id = ?", updates)
        connection.exec_driver_sql("INSERT OR IGNORE INTO dirty (series, hour) VALUES (?, ?)", sorted(dirty))
    records = connection.exec_driver_sql(_LOOSE_RECORDS, (work.boot.number, work.low, work.high, limit)).all()
    changes: list[tuple[int | None, int, int, int]] = []
    for number, start_bt, end_bt, end_utc, error in records:
        better = _better(work.boot, end_bt, end_utc, error)
        if better is not None:
            start = work.boot.utc(start_bt)
            changes.append((start.utc if start else None, better.utc, better.error, number))
    if changes:
        connection.exec_driver_sql("UPDATE record SET start_utc = ?, end_utc = ?, error = ? WHERE id = ?", changes)
    if len(rows) < limit and len(records) < limit:
        return None
    # What a full step covered: the lesser of the two last places. Going on from it repeats at most equal boottimes.
    covered = min(
        rows[-1][2] if len(rows) == limit else work.high, records[-1][2] if len(records) == limit else work.high
    )
    return work._replace(low=max(covered, work.low + 1)) if covered < work.high else None


def _better(boot: Boot, end_bt: int, end_utc: int | None, error: int | None) -> Corrected | None:
    found = boot.utc(end_bt)
    if found is None:
        return None
    if end_utc is None or error is None or found.error * 2 <= error:
        return found
    return None

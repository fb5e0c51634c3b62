"""When a probe is due: pure functions of what is assigned and what time it is.

Time here is ``Instant`` (UTC microseconds), so that all agents of a province share one grid. The agent turns a due time
into a wait on CLOCK_BOOTTIME, so a step of the wall clock neither hurries nor delays a probe.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from wire.clock import MINUTE, SECOND, Instant
from wire.meetings import Load, MeetingTimes, QuietRules, may_run
from wire.reasons import Outcome, Reason

SOON = 15 * SECOND
"""After a start every probe runs once within this time, spread by site, rather than after a whole cadence."""
SHORTEST = 5 * SECOND
"""A continuous window is never cut shorter than this to meet the grid; it runs on to the next point instead."""
LATE = 2 * SECOND
"""Woken later than this, a probe is not late but was asleep."""


SELDOM = 15 * MINUTE
"""A probe with a longer cadence is not left until its next turn with a bad result."""
AGAIN = 5 * MINUTE
"""It is tried again after this long, and up to as much more by site: many may have failed together."""
PASSING = frozenset({Reason.LINK_IN_USE, Reason.RESPONDER_BUSY, Reason.NO_LEASE})
"""Reasons for not having measured that are over in minutes."""


class Plan(NamedTuple):
    """The cadence of one assignment on the common grid. All in microseconds."""

    every: int
    window: int
    """Length of one measurement; 0 = as long as it takes."""
    phase: int
    """Offset from the epoch's multiples of ``every``: this site's own, so that sites do not fire together."""
    soon: int
    """How long after a start the first run may be."""

    @property
    def continuous(self) -> bool:
        """Whether one window follows the other without a gap."""
        return self.window >= self.every


class Due(NamedTuple):
    """The next start, and how long the window shall last (0 = as long as it takes), in microseconds."""

    at: Instant
    window: int


def fraction(site: str, probe: str, target: str) -> float:
    """A number of 0 to below 1, the same for ever for one probe of one site, evenly spread over sites."""
    digest = hashlib.sha256(f"{site}\n{probe}\n{target}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def plan(site: str, probe: str, target: str, every: float, window: float) -> Plan:
    """The cadence of a probe; ``every`` and ``window`` in seconds.

    One-shot probes are spread over their whole cadence. Continuous ones keep to the full multiples of ``every`` within
    a second, so that a minute's window lies in one hour and windows of all sites compare side by side, while their
    echoes are still spread.
    """
    every_us, window_us = max(1, round(every * SECOND)), max(0, round(window * SECOND))
    share = fraction(site, probe, target)
    spread = min(every_us, SECOND) if window_us >= every_us else every_us
    return Plan(every_us, window_us, int(share * spread), int(share * min(every_us, SOON)))


def grid_after(plan: Plan, now: Instant) -> Instant:
    """The first point of the grid later than ``now``."""
    return now + plan.every - (now - plan.phase) % plan.every


def first(plan: Plan, now: Instant) -> Due:
    """The first run after a start or a change of settings.

    A continuous probe begins at once and ends its first window on the grid. Any other waits its share of a quarter of
    a minute, or for the grid where that comes sooner.
    """
    if plan.continuous:
        return Due(now, until_grid(plan, now))
    return Due(min(grid_after(plan, now), now + plan.soon), plan.window)


def following(plan: Plan, due: Due, now: Instant) -> Due:
    """The run after ``due``. One that took longer than its cadence takes the next point of the grid: what was missed
    is not made up for."""
    if plan.continuous:
        return chained(plan, due.at + due.window)
    point = grid_after(plan, max(due.at, now))
    if point - due.at < plan.every // 4:  # the run soon after a start fell just before the grid
        point += plan.every
    return Due(point, plan.window)


def sooner(plan: Plan, due: Due, now: Instant, outcome: Outcome, reason: Reason | None) -> Due:
    """The next run where the one that ended ``now`` was bad or came to nothing: a call test of once an hour that was
    broken off by a fault of a minute must not stand as the last word for an hour."""
    bad = outcome is Outcome.FAILED or (outcome is Outcome.SKIPPED and reason in PASSING)
    if not bad or plan.every <= SELDOM:
        return due
    return Due(min(due.at, now + AGAIN + plan.phase % AGAIN), due.window)


def chained(plan: Plan, end: Instant) -> Due:
    """The continuous window that follows one which ends at ``end``; it ends on the grid, whatever that makes of it."""
    return Due(end, until_grid(plan, end))


def settle(plan: Plan, due: Due, now: Instant) -> Due:
    """What to do on waking for ``due``: the same, or another time if ``now`` is not about when it was due.

    The machine slept, or the clock was corrected: then it is as after a start, so a notebook that wakes does not fire
    every probe at once, and a clock that was a year ahead does not stop them for a year.
    """
    late = now - due.at
    if late > LATE or late < -(2 * plan.every + SOON):
        return first(plan, now)
    return due


def until_grid(plan: Plan, start: Instant) -> int:
    """Length of a continuous window that begins at ``start``: up to the grid, or the point after where that is near."""
    length = grid_after(plan, start) - start
    return length if length >= min(SHORTEST, plan.every // 2) else length + plan.every


def hindrance(
    load: Load, now: Instant | None, error: int, meetings: Iterable[MeetingTimes], rules: QuietRules
) -> Reason | None:
    """Why a probe of this load class may not run at ``now ± error``, or ``None`` if it may (DESIGN §2, §6.4)."""
    if may_run(load, now, error, meetings, rules):
        return None
    if now is None:
        return Reason.TIME_UNKNOWN
    if load is Load.FULL and may_run(load, now, error, meetings, rules, slot=True):
        return Reason.NO_SLOT
    return Reason.QUIET_TIME

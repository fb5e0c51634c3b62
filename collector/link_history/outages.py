"""Outages out of a link's intervals, and which of them count. Pure.

Every time down is recorded and stays down time. An outage *counts* from ``counts_from`` on; a gap shorter than
``joins_below`` makes one outage of two, for the count alone: the two are judged by the down time of both together.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from collector.link_history.shapes import BEYOND, Interval, Kind, Rules, State
from wire.clock import SECOND, Instant

LOOK = SECOND
"""The watcher looks once a second, so five looks without an answer are five seconds, however the timer lay: a length is
taken to the nearest look where it is compared with ``counts_from``."""


class Outage(NamedTuple):
    """A time in which the link was down without a break, by a fault of one side: the site's own or beyond it."""

    pieces: tuple[Interval, ...]
    before: Kind
    after: Kind | None
    """The class of the time that follows; ``None`` where it lasts still. ``unmeasured`` and ``silent`` do not prove
    that the outage was over then."""
    joins: bool = False
    """Whether it counts as one with the outage before it."""
    counted: bool = False
    """Whether it adds one to the number of outages: long enough, and not joined to the one before."""

    @property
    def start(self) -> Instant:
        """When it began."""
        return self.pieces[0].start

    @property
    def end(self) -> Instant:
        """When it ended, or the last moment for which it is proven."""
        return self.pieces[-1].end

    @property
    def seconds(self) -> float:
        """Its down time."""
        return (self.end - self.start) / SECOND

    @property
    def state(self) -> State:
        """The agent's fault domain: that of most of its time, and of several the first."""
        spent: dict[State, int] = {}
        for one in self.pieces:
            assert one.state is not None  # noqa: S101 - down is a state
            spent[one.state] = spent.get(one.state, 0) + one.end - one.start
        return max(spent, key=spent.__getitem__)

    @property
    def error(self) -> int:
        """Bound on the error of its start and end, microseconds."""
        return max(one.error for one in self.pieces)


def outages(history: Sequence[Interval], rules: Rules) -> list[Outage]:
    """The outages of a history, in order of time."""
    return counting(_found(history), rules)


def _found(history: Sequence[Interval]) -> list[Outage]:
    found: list[Outage] = []
    pieces: list[Interval] = []
    before = Kind.UNMEASURED
    for place, one in enumerate(history):
        if one.kind is not Kind.DOWN:
            continue
        if not pieces:
            before = history[place - 1].kind if place else Kind.UNMEASURED
        pieces.append(one)
        following = history[place + 1] if place + 1 < len(history) else None
        if following is None or not _same_side(one, following):
            found.append(Outage(tuple(pieces), before, following.kind if following else None))
            pieces = []
    return found


def _same_side(one: Interval, following: Interval) -> bool:
    return following.kind is Kind.DOWN and (one.state in BEYOND) == (following.state in BEYOND)


def counting(some: Iterable[Outage], rules: Rules) -> list[Outage]:
    """Outages with what the rules say of each: which are joined, and which add one to the count."""
    groups: list[list[Outage]] = []
    for one in some:
        before = groups[-1][-1] if groups else None
        near = before is not None and one.start - before.end < rules.joins_below
        if before is not None and near and (one.state in BEYOND) == (before.state in BEYOND):
            groups[-1].append(one._replace(joins=True))
        else:
            groups.append([one])
    found = []
    for group in groups:
        long_enough = sum(one.end - one.start for one in group) + LOOK // 2 >= rules.counts_from
        found += [one._replace(counted=long_enough and not one.joins) for one in group]
    return found

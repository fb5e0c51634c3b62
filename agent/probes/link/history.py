"""From seconds to changes and windows: a pure state machine that is told each second's verdict, and when.

A state is left after :data:`CONSECUTIVE` seconds in a row that differ from it, backdated to the first of them. Windows
are cut from the same time line, a few seconds later, so that changes and windows can never disagree.
Times are CLOCK_BOOTTIME in microseconds.
"""

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from agent.probes.link.classify import State, Verdict
from wire.reasons import Reason

CONSECUTIVE = 3
REACH = (State.LAN, State.LINK_OR_PROVIDER, State.LINK, State.PROVIDER)
"""Faults, by how far one still comes."""


class Judged(NamedTuple):
    """A second that began at ``start``, now over."""

    start: int
    verdict: Verdict


class Turn(NamedTuple):
    """A state was left for another at ``start``. ``cause`` is the place, among the seconds handed in, of the last one
    that decided it."""

    start: int
    previous: State
    current: State
    reason: Reason | None
    cause: int


class Settled(NamedTuple):
    """What came of the seconds handed in: the first ``number`` of them are settled for ever."""

    number: int
    turns: list[Turn]


class Piece(NamedTuple):
    """A span of one state."""

    start: int
    state: State
    reason: Reason | None


class Cut(NamedTuple):
    """One window's seconds of each state, and its reason where nothing was known in all of it."""

    start: int
    end: int
    states: dict[str, float]
    reason: Reason | None


class History:
    """The time line of one link from ``start`` on, when nothing is known yet."""

    def __init__(self, start: int) -> None:
        self._line: deque[Piece] = deque([Piece(start, State.UNKNOWN, None)])
        self._from = start

    @property
    def current(self) -> State:
        """The state now, as far as it is settled."""
        return self._line[-1].state

    @property
    def since(self) -> int:
        """Since when it is that."""
        return self._line[-1].start

    @property
    def begun(self) -> int:
        """Where the next window begins."""
        return self._from

    def judge(self, seconds: Sequence[Judged]) -> Settled:
        """Takes the seconds that are not settled yet, oldest first; those that come back as settled must not be handed
        in again. What is unknown is so at once and takes undecided seconds before it along: they are proof of
        nothing any more."""
        count, turns = 0, []
        pending: list[Judged] = []
        for place, one in enumerate(seconds):
            state = one.verdict.state
            if state == self.current:
                pending.clear()
                self._reason(one)
                count = place + 1  # what differed before it was too short to count
                continue
            pending.append(one)
            if state is not State.UNKNOWN and len(pending) < CONSECUTIVE:
                continue
            new = one.verdict if state is State.UNKNOWN else _decided(pending)
            turns.append(Turn(pending[0].start, self.current, new.state, new.reason, place))
            self._line.append(Piece(pending[0].start, new.state, new.reason))
            pending = _tail(pending, new.state)
            count = place + 1 - len(pending)
        return Settled(count, turns)

    def cut(self, end: int) -> Cut:
        """The window up to ``end``, which must be settled; the next one begins there."""
        spent: Counter[State] = Counter()
        pieces = list(self._line)
        for piece, until in zip(pieces, [one.start for one in pieces[1:]] + [end], strict=True):
            spent[piece.state] += max(0, min(until, end) - max(piece.start, self._from))
        while len(self._line) > 1 and self._line[1].start <= end:
            self._line.popleft()
        start, self._from = self._from, end
        states = {str(state): took / 1_000_000 for state, took in spent.items() if took}
        only_unknown = set(states) <= {State.UNKNOWN}
        return Cut(start, end, states, _last_reason(pieces, end) if only_unknown else None)

    def _reason(self, one: Judged) -> None:
        """The reason for not knowing may become another while it lasts."""
        last = self._line[-1]
        if last.state is State.UNKNOWN and one.verdict.reason is not last.reason:
            self._line[-1] = last._replace(reason=one.verdict.reason)


def _decided(pending: Sequence[Judged]) -> Verdict:
    """What the seconds say together. Of faults alone: the one that reached farthest in the last two seconds, for an
    answer is proof and a silence may be chance (and in the first second the fault may have begun between two answers).
    Otherwise the state of most of them; among equals the latest."""
    late = pending[-2:]
    if all(one.verdict.state in REACH for one in pending):
        return max(late, key=lambda one: REACH.index(one.verdict.state)).verdict
    states = Counter(one.verdict.state for one in pending)
    return max(reversed(pending), key=lambda one: states[one.verdict.state]).verdict


def _tail(pending: Sequence[Judged], state: State) -> list[Judged]:
    """The seconds at the end that speak for yet another state."""
    tail: list[Judged] = []
    for one in reversed(pending):
        if one.verdict.state is state:
            break
        tail.insert(0, one)
    return tail


def _last_reason(pieces: Sequence[Piece], end: int) -> Reason | None:
    return next((one.reason for one in reversed(pieces) if one.start < end and one.reason), None)

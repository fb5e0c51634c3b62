"""Turns exchanges with the collector into clock anchors, and writes the ones that matter into the evidence."""

from agent.clock import Clock, Timekeeper
from agent.connection import Answered
from agent.journal import Journal
from wire.clock import SECOND, Anchor, anchor_from_exchange
from wire.reasons import Event

NOTE_EVERY = 600 * SECOND
"""Between two anchors in the evidence: drift adds at most 0.12 s to the error bound meanwhile."""
BETTER = 5_000
"""Microseconds by which an anchor must be better, besides being twice as good, to be written before its time."""
TOLERANCE = 1_000
"""Microseconds by which the collector's own time in an exchange may exceed the whole exchange (clock rates differ);
beyond it, what it says of its clock is not believed."""


def anchor_of(answered: Answered, boot: str) -> Anchor | None:
    """The anchor of an exchange; ``None`` if the collector's half contradicts it. Pure."""
    receipt, whole = answered.receipt, answered.received - answered.sent
    if not 0 <= receipt.sent - receipt.received <= whole + TOLERANCE:
        return None
    return anchor_from_exchange(boot, answered.sent, answered.received, receipt.received, receipt.sent)


class Anchoring:
    """Feeds the timekeeper and keeps the evidence anchored."""

    def __init__(self, clock: Clock, timekeeper: Timekeeper, journal: Journal) -> None:
        self._clock = clock
        self._timekeeper = timekeeper
        self._journal = journal
        self._noted: Anchor | None = None

    def learn(self, answered: Answered) -> None:
        """Takes one exchange in."""
        anchor = anchor_of(answered, self._clock.boot)
        if anchor is not None:
            self._timekeeper.learn(anchor)

    async def note(self) -> None:
        """Writes the best anchor as evidence: the first, one every ten minutes, and one that is much better."""
        best = self._timekeeper.best
        if best is None or not self._worth_noting(best):
            return
        self._noted = best
        counts = {"boottime": best.boottime, "utc": best.utc, "error": best.error}
        await self._journal.note(Event.ANCHOR, counts=counts, urgent=True)

    def _worth_noting(self, best: Anchor) -> bool:
        noted = self._noted
        if noted is None or best.boottime - noted.boottime >= NOTE_EVERY:
            return True
        return best.error * 2 <= noted.error and noted.error - best.error >= BETTER

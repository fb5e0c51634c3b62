"""Which batches go into the next envelope: what is new first, a bounded piece of the backlog beside it. Pure.

A backlog of three days of one site (some 70 MB) drains within half an hour at the usual pace, and packed it takes
45 kbit/s of the line, less than the 50 of the class ``trickle``, so that it may go on even during a meeting.
"""

from typing import NamedTuple

LIVE_BYTES = 1024 * 1024
"""Of new batches in one envelope, at most; the rest goes with the next one, at once."""
BACKLOG_BYTES = 192 * 1024
"""Of the backlog in one envelope."""
MOST = 128
"""Batches of one lane in one envelope."""


class Share(NamedTuple):
    """What one lane may put into the next envelope; a lane with ``most`` of 0 pauses."""

    budget: int
    most: int


class Lanes:
    """Remembers where the backlog ends, and how much the collector takes at once."""

    def __init__(self) -> None:
        self.mark = 0
        """Batches with a greater number were spooled since the connection stands: the first lane."""
        self._fit = MOST
        """Batches that an envelope may hold after refusals with 413."""

    def connected(self, highest: int) -> None:
        """The collector answered after silence; ``highest`` is the newest batch's number."""
        self.mark = highest

    def live(self) -> Share:
        """For the first lane."""
        return Share(LIVE_BYTES, self._fit)

    def backlog(self, live: int) -> Share:
        """For the second lane, beside ``live`` batches of the first."""
        return Share(BACKLOG_BYTES, max(0, min(MOST, self._fit - live)))

    def too_large(self, sent: int) -> None:
        """An envelope of ``sent`` batches was refused for its size or as a whole: send half."""
        self._fit = max(1, min(self._fit, sent) // 2)

    def fits(self) -> None:
        """An envelope was taken."""
        self._fit = min(MOST, self._fit * 2)

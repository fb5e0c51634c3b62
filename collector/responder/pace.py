"""How fast one direction of a session may run: a token bucket that is told what was spent, and a total."""

from wire.clock import SECOND, Instant

SLACK = 0.1
"""Seconds of the rate that may be spent at once."""
LEAST = 3_000
"""Bytes that may be spent at once at any rate, where nobody says more: two packets of 1500."""


class Pace:
    """``rate`` bits a second and ``most`` bytes in all. The caller counts what it spent itself and may learn it late
    (the kernel's counts): what was overspent is waited for."""

    __slots__ = ("_at", "_counted", "_depth", "_level", "_most", "_rate")

    def __init__(self, rate: int, most: int, now: Instant, least: int = LEAST) -> None:
        """``least``: bytes that may be spent at once at any rate."""
        self._rate = rate / 8 / SECOND  # bytes a microsecond
        self._depth = max(float(least), rate / 8 * SLACK)
        self._most = most + self._depth
        self._level = self._depth
        self._at = now
        self._counted = 0

    def allows(self, size: int, counted: int, now: Instant) -> bool:
        """Whether ``size`` more bytes may pass now that ``counted`` have; a full bucket lets more pass."""
        if not self._rate or counted + size > self._most:
            return False
        self._level += max(0, now - self._at) * self._rate - (counted - self._counted)
        self._level = min(self._level, self._depth)
        self._at, self._counted = max(self._at, now), counted
        return self._level >= min(size, self._depth)

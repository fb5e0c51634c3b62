"""From readings of the segment counters to a rate: windows, the end of the ramp, the median, and when to stop. Pure.

Why a median of 100 ms windows of *segments*: over 160 runs it erred by at most 0.7 % after 0.8 s, where byte counts of
the application erred by a third, as they stall and burst with in-order delivery (field: bandwidth §2).
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from wire.throughput import Reading

LEAST_RAMP = 3
"""Windows that never count: slow start, and the burst that a shaper lets through (8 MB pass within 0.3 s)."""
SETTLED_WITHIN = 0.05
"""The ramp is over with the first of two windows that are this near to the median of all that follow."""
ENOUGH = 5
"""Windows after the ramp that a result should be of."""
STABLE_WITHIN = 0.01
"""Stop once the medians of both halves of the windows after the ramp differ by no more."""
FEWEST = 4
"""Windows below which a median says too little (``few_windows``)."""
_SHORTEST = 0.02
"""Seconds; two readings nearer to each other make no window."""


class Rate(NamedTuple):
    """One window."""

    ends: int
    """Microseconds, as :attr:`Reading.at`."""
    seconds: float
    bits: float
    """At the IP layer."""

    @property
    def rate(self) -> float:
        """Bits per second."""
        return self.bits / self.seconds


class Steady(NamedTuple):
    """The part of a direction that counts. Bits per second at the IP layer."""

    begins: int
    ends: int
    """Microseconds, as :attr:`Reading.at`."""
    windows: tuple[float, ...]
    median: float
    mean: float


def rates(readings: Sequence[Reading], segment: float) -> list[Rate]:
    """The windows between readings; ``segment`` is a full segment's bytes at the IP layer, 0 where nothing counts
    segments and the payload must do."""
    found: list[Rate] = []
    if not readings:
        return found
    before = readings[0]
    for after in readings[1:]:
        seconds = (after.at - before.at) / 1e6
        if seconds < _SHORTEST:
            continue
        count = (after.segments - before.segments) * segment if segment else after.payload - before.payload
        found.append(Rate(after.at, seconds, max(0, count) * 8))
        before = after
    return found


def mean_segment(sender: Sequence[Reading], overhead: int, full: int) -> float:
    """Bytes of a data segment at the IP layer: the mean of those that were sent, ``full`` where that is not known."""
    if not sender or sender[-1].sent <= sender[0].sent or sender[-1].bytes <= sender[0].bytes:
        return float(full)
    return overhead + (sender[-1].bytes - sender[0].bytes) / (sender[-1].sent - sender[0].sent)


def ramp(rates: Sequence[float]) -> int:
    """How many windows belong to the ramp; at least :data:`LEAST_RAMP`."""
    for start in range(LEAST_RAMP, len(rates) - 1):
        level = median(rates[start:])
        if all(abs(one - level) <= SETTLED_WITHIN * level for one in rates[start : start + 2]):
            return start
    return LEAST_RAMP


def steady(readings: Sequence[Reading], segment: float) -> Steady | None:
    """What is left without the ramp; ``None`` while there is not a single window."""
    found = rates(readings, segment)
    counted = found[ramp([one.rate for one in found]) :]
    if not counted:
        return None
    values = tuple(one.rate for one in counted)
    return Steady(
        begins=counted[0].ends - round(counted[0].seconds * 1e6),
        ends=counted[-1].ends,
        windows=values,
        median=median(values),
        mean=sum(one.bits for one in counted) / sum(one.seconds for one in counted),
    )


def stable(found: Steady | None, wanted: int = ENOUGH) -> bool:
    """Whether more windows would hardly change the median: its halves agree with each other."""
    if found is None or len(found.windows) < wanted or not found.median:
        return False
    half = len(found.windows) // 2
    early, late = median(found.windows[:half]), median(found.windows[half:])
    return abs(early - late) <= STABLE_WITHIN * found.median


def silent_for(readings: Sequence[Reading], segment: float) -> float:
    """Seconds at the end of a direction in which nothing passed."""
    passed = 0.0
    for one in reversed(rates(readings, segment)):
        if one.bits:
            break
        passed += one.seconds
    return passed

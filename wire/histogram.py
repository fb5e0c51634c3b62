"""A sparse logarithmic histogram of durations that merges exactly and counts what was lost.

A bucket spans a factor of 2^(1/128), a relative width of 0.54 % (the design allows 2 %), so a quantile read from it is
within ±0.28 % of the exact one. Buckets of the same index are simply added, hence quantiles of an hour, a month or a
province are as good as those of a minute. A lost probe has no duration: it counts as beyond every limit, and a
quantile that falls among the lost is infinite.
"""

import math
from collections.abc import Iterable

import msgspec

BUCKETS_PER_OCTAVE = 128
FINEST = 1_000
"""Nanoseconds; everything at or below one microsecond is bucket 0."""
LARGEST = 3_600_000_000_000
"""Nanoseconds; one hour. A longer duration is a mistake of the caller."""
HIGHEST_INDEX = math.ceil(math.log2(LARGEST / FINEST) * BUCKETS_PER_OCTAVE)
_SCALE = BUCKETS_PER_OCTAVE / math.log(2)


class BadHistogram(ValueError):
    """A histogram that contradicts itself or a duration out of range."""


def bucket_of(nanoseconds: int) -> int:
    """The index of the bucket holding a duration of 0 to one hour; raises :class:`BadHistogram` beyond."""
    if nanoseconds <= FINEST:
        if nanoseconds < 0:
            raise BadHistogram(f"duration: found {nanoseconds} ns, expected 0 or more")
        return 0
    if nanoseconds > LARGEST:
        raise BadHistogram(f"duration: found {nanoseconds} ns, expected at most an hour")
    return int(math.log(nanoseconds / FINEST) * _SCALE)


def lower_edge(index: int) -> float:
    """The lower edge of a bucket in nanoseconds."""
    return float(FINEST * 2 ** (index / BUCKETS_PER_OCTAVE))


class Histogram(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=False, gc=False):
    """Durations of one span. ``low``, ``high`` and ``total`` are exact nanoseconds; ``buckets`` alternates
    the distance from the index before (the first: the index itself) and that bucket's count."""

    lost: int = 0
    low: int = 0
    high: int = 0
    total: int = 0
    buckets: tuple[int, ...] = ()

    @classmethod
    def of(cls, durations: Iterable[int], lost: int = 0) -> "Histogram":
        """From durations in nanoseconds, and the number of probes that never came back."""
        values = list(durations)
        if not values:
            return cls(lost=lost)
        counts: dict[int, int] = {}
        for value in values:
            index = bucket_of(value)
            counts[index] = counts.get(index, 0) + 1
        return cls(lost, min(values), max(values), sum(values), _packed(counts))

    @property
    def count(self) -> int:
        """How many came back."""
        return sum(self.buckets[1::2])

    @property
    def mean(self) -> float | None:
        """Mean in nanoseconds of those that came back, or ``None`` when none did."""
        count = self.count
        return self.total / count if count else None

    def counts(self) -> dict[int, int]:
        """Count by bucket index, ascending."""
        found: dict[int, int] = {}
        index = 0
        for position in range(0, len(self.buckets) - 1, 2):
            index += self.buckets[position]
            found[index] = self.buckets[position + 1]
        return found

    def quantile(self, q: float) -> float | None:
        """The ``q`` quantile (0 to 1) in nanoseconds by nearest rank over returned *and lost* probes.

        Infinite when the rank falls among the lost; ``None`` when nothing was sent. Never outside ``low``..``high``.
        """
        if not 0 <= q <= 1:
            raise BadHistogram(f"quantile: found {q}, expected 0 to 1")
        count = self.count
        whole = count + self.lost
        if not whole:
            return None
        rank = max(1, math.ceil(q * whole))
        if rank > count:
            return math.inf
        if rank == 1:
            return float(self.low)
        if rank == count:
            return float(self.high)
        index = 0
        seen = 0
        for position in range(0, len(self.buckets) - 1, 2):
            index += self.buckets[position]
            seen += self.buckets[position + 1]
            if seen >= rank:
                break
        middle = FINEST * 2 ** ((index + 0.5) / BUCKETS_PER_OCTAVE)
        return float(min(max(middle, self.low), self.high))

    def above(self, nanoseconds: float) -> int:
        """How many took longer than a limit, the lost included (to the precision of a bucket)."""
        beyond = self.lost
        for index, count in self.counts().items():
            if lower_edge(index) >= nanoseconds:
                beyond += count
        return beyond

    def check(self) -> None:
        """Raises :class:`BadHistogram` unless the numbers agree with each other."""
        if len(self.buckets) % 2:
            raise BadHistogram(f"buckets: found {len(self.buckets)} numbers, expected pairs of distance and count")
        if self.lost < 0 or self.low < 0 or self.high < self.low or self.total < 0:
            raise BadHistogram("lost, low, high, total: expected 0 or more, and high no less than low")
        if self.high > LARGEST:
            raise BadHistogram(f"high: found {self.high} ns, expected at most an hour")
        index = 0
        for position in range(0, len(self.buckets), 2):
            distance, count = self.buckets[position], self.buckets[position + 1]
            index += distance
            if count < 1 or distance < (1 if position else 0) or index > HIGHEST_INDEX:
                raise BadHistogram(
                    f"buckets[{position}]: found {distance}, {count}, expected ascending indexes with counts"
                )


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """The histogram of everything in ``histograms``; the order does not matter."""
    counts: dict[int, int] = {}
    lost = total = high = 0
    low: int | None = None
    for histogram in histograms:
        lost += histogram.lost
        if not histogram.buckets:
            continue
        total += histogram.total
        high = max(high, histogram.high)
        low = histogram.low if low is None else min(low, histogram.low)
        index = 0
        buckets = histogram.buckets
        for position in range(0, len(buckets), 2):
            index += buckets[position]
            counts[index] = counts.get(index, 0) + buckets[position + 1]
    return Histogram(lost, low or 0, high, total, _packed(counts))


def _packed(counts: dict[int, int]) -> tuple[int, ...]:
    flat: list[int] = []
    before = 0
    for index in sorted(counts):
        flat.append(index - before)
        flat.append(counts[index])
        before = index
    return tuple(flat)

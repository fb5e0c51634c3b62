"""Hourly roll-ups: what an hour of one series comes to. Histograms are merged, so a quantile of a month is as good as
one of a minute."""

from collections import Counter
from collections.abc import Iterable

import cramjam
import msgspec

from wire.clock import HOUR, Instant
from wire.histogram import Histogram, merge
from wire.observation import Window
from wire.reasons import Outcome, Reason


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """A value over the hour, each window counting alike."""

    count: int
    low: float
    mean: float
    high: float


class Rollup(msgspec.Struct, array_like=True, gc=False):
    """One hour of one series."""

    hour: int
    """Hours since the epoch (UTC)."""
    windows: int
    outcomes: dict[Outcome, int]
    reasons: dict[Reason, int]
    counts: dict[str, int]
    """Sums."""
    values: dict[str, Spread]
    durations: dict[str, Histogram]
    """Merged."""
    states: dict[str, float]
    """Sums of seconds."""
    watched: int
    """Microseconds that the windows cover, summed."""
    error: int
    """Largest error of an ``end``, microseconds."""

    @property
    def start(self) -> Instant:
        """First moment of the hour."""
        return self.hour * HOUR

    @property
    def end(self) -> Instant:
        """First moment of the next hour."""
        return (self.hour + 1) * HOUR


_PLAIN, _SQUEEZED = b"\0", b"\1"
_SMALL = 400
"""Bytes below which zstd gains little and takes longer to open than all the rest."""
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Rollup)


def roll_up(hour: int, windows: Iterable[tuple[Window, int]]) -> Rollup:
    """From windows and the errors of their ends; the order does not matter but for the last bit of a mean."""
    outcomes: Counter[Outcome] = Counter()
    reasons: Counter[Reason] = Counter()
    counts: Counter[str] = Counter()
    states: dict[str, float] = {}
    values: dict[str, list[float]] = {}
    durations: dict[str, list[Histogram]] = {}
    number = watched = largest = 0
    for one, error in windows:
        number += 1
        watched += one.end - one.start
        largest = max(largest, error)
        outcomes[one.outcome] += 1
        if one.reason is not None:
            reasons[one.reason] += 1
        for name, count in one.counts.items():
            counts[name] += count
        for name, seconds in one.states.items():
            states[name] = states.get(name, 0.0) + seconds
        for name, value in one.values.items():
            values.setdefault(name, []).append(value)
        for name, histogram in one.durations.items():
            durations.setdefault(name, []).append(histogram)
    return Rollup(
        hour,
        number,
        dict(outcomes),
        dict(reasons),
        dict(counts),
        {name: _spread(found) for name, found in values.items()},
        {name: merge(found) for name, found in durations.items()},
        states,
        watched,
        largest,
    )


def _spread(values: list[float]) -> Spread:
    low, high = min(values), max(values)
    mean = sum(value / len(values) for value in values)  # divided first: the sum of huge values must not overflow
    return Spread(len(values), low, min(max(mean, low), high), high)


def pack_rollup(rollup: Rollup) -> bytes:
    """Bytes for table ``rollup``; the hour itself stands in the row's key."""
    plain = _encode(msgspec.structs.replace(rollup, hour=0))
    if len(plain) < _SMALL:
        return _PLAIN + plain
    return _SQUEEZED + bytes(cramjam.zstd.compress(plain, level=9))


def unpack_rollup(hour: int, packed: bytes) -> Rollup:
    """Inverse of :func:`pack_rollup`."""
    plain = packed[1:] if packed[:1] == _PLAIN else bytes(cramjam.zstd.decompress(packed[1:]))
    rollup = _decoder.decode(plain)
    rollup.hour = hour  # so far only this function holds it
    return rollup

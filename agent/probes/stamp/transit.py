"""From the transits of a window to its delays: jitter, delay variation, one-way delay. Pure; nanoseconds.

The reflector's clock and ours differ by an unknown constant, which changes slowly where nobody keeps them and at once
where one is set. Delay variation needs no clock to be right, but both to run alike within the window.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from agent.probes.stamp.ledger import Transit

BLOCKS = 6
"""Parts of a window, in each of which the quickest round trip tells how the clocks differ."""
QUICK = 300_000
"""Nanoseconds above the window's quickest round trip within which a part's quickest is trusted."""
FASTEST_DRIFT = 500e-6
"""Two clocks that part faster than this did not drift: one was set. An NTP daemon slews by 500 ppm at most."""
ONE_WAY_LIMIT = 10_000_000
"""Nanoseconds that both clocks together may be off for one-way delays to be reported: with ten milliseconds a queue on
one way is still told from one on the other; with more the figure would say nothing of a link of twenty."""
TOLERANCE = 100_000
"""Nanoseconds by which the reading of two clocks and their drift may err before they contradict each other."""


class Ways(NamedTuple):
    """Delays of a window, each way."""

    up: list[int]
    down: list[int]
    """In the order of arrival; but for a constant, unless the clocks are right."""
    stepped: bool
    """The clocks contradict each other within the window: nothing is to be said of one way alone."""


def ways(transits: Sequence[Transit], *, kept: bool) -> Ways:
    """The delays each way; where the clocks are not both ``kept`` right, less their drift against each other.

    Whatever the constant is, no delay is negative: so ``-down`` is never above it and ``up`` never below. Where the
    window's transits allow no constant at all, a clock was set meanwhile.
    """
    drift = 0.0 if kept else _drift(transits)
    zero = transits[0].steady if transits else 0
    lag = [round((one.steady - zero) * drift) for one in transits]
    up = [one.up - late for one, late in zip(transits, lag, strict=True)]
    down = [one.down + late for one, late in zip(transits, lag, strict=True)]
    stepped = bool(transits) and min(up) + min(down) < -TOLERANCE
    return Ways(up, down, stepped)


def _drift(transits: Sequence[Transit]) -> float:
    """How much faster the reflector's clock runs than ours, as a fraction; 0 where that cannot be told.

    In each part of the window the quickest round trip met no queue on either way, so half of ``up - down`` is the
    difference of the clocks, but for the path's own asymmetry, which is constant.
    """
    if len(transits) < 4 * BLOCKS:
        return 0.0
    first, last = transits[0].steady, transits[-1].steady
    quickest: dict[int, Transit] = {}
    for one in transits:
        block = min(BLOCKS - 1, max(0, (one.steady - first) * BLOCKS // max(1, last - first)))
        if block not in quickest or one.rtt < quickest[block].rtt:
            quickest[block] = one
    least = min(one.rtt for one in quickest.values())
    zero = transits[0].up - transits[0].down
    points = [
        (one.steady - first, (one.up - one.down - zero) / 2) for one in quickest.values() if one.rtt - least <= QUICK
    ]
    if len(points) < BLOCKS - 2 or max(at for at, _ in points) - min(at for at, _ in points) < (last - first) / 2:
        return 0.0
    middle_at = sum(at for at, _ in points) / len(points)
    middle = sum(offset for _, offset in points) / len(points)
    spread = sum((at - middle_at) ** 2 for at, _ in points)
    slope = sum((at - middle_at) * (offset - middle) for at, offset in points) / spread if spread else 0.0
    return slope if abs(slope) <= FASTEST_DRIFT else 0.0


def above_least(delays: Sequence[int]) -> list[int]:
    """Packet delay variation (RFC 5481 section 4.2): each delay above the least of the window."""
    least = min(delays)
    return [one - least for one in delays]


def jitter(delays: Sequence[int]) -> float | None:
    """Mean change of the delay from one arrival to the next, or ``None`` below two: what the running estimate of RFC
    3550 (section 6.4.1) converges to, without its memory of the last sixteen packets alone."""
    if len(delays) < 2:
        return None
    return sum(abs(after - before) for before, after in itertools.pairwise(delays)) / (len(delays) - 1)

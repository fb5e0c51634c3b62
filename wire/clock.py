"""Time as the product keeps it: CLOCK_BOOTTIME, anchors to UTC, and corrected time with its error bound.

Units: every time and duration in this module is an ``int`` of **microseconds**. ``Instant`` is UTC microseconds
since 1970-01-01; ``boottime`` is CLOCK_BOOTTIME, which never steps and runs on through suspend (clock_gettime(2)).
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

Instant = int
"""UTC, microseconds since the epoch."""

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

DRIFT = 200e-6
"""How far an undisciplined or slewing clock may stray from UTC, as a fraction (200 ppm).

Plain quartz stays within ±100 ppm over temperature. An NTP daemon may slew by up to 500 ppm, but only while it removes
an offset; 200 ppm bounds the long run of both and is the figure stated in the reports.
"""


class Anchor(msgspec.Struct, frozen=True):
    """One exchange with the collector, tying a boot's CLOCK_BOOTTIME to UTC.

    ``error`` is half of the round trip less the collector's own time, and what this clock may have strayed meanwhile
    (RFC 5905 §8: delay and dispersion): the truth lies within ``utc ± error``.
    """

    boot: str
    boottime: int
    utc: Instant
    error: int


class Corrected(NamedTuple):
    """UTC as derived from anchors; the truth lies within ``utc ± error`` microseconds."""

    utc: Instant
    error: int


def anchor_from_exchange(boot: str, sent: int, received: int, peer_received: Instant, peer_sent: Instant) -> Anchor:
    """The anchor of a request sent and answered at ``sent`` and ``received`` (boottime), as in RFC 5905 §8."""
    round_trip = max(0, (received - sent) - (peer_sent - peer_received))
    return Anchor(
        boot=boot,
        boottime=(sent + received) // 2,
        utc=(peer_received + peer_sent) // 2,
        error=round_trip // 2 + int((received - sent) * DRIFT) + 1,
    )


def correct(boot: str, boottime: int, anchors: Iterable[Anchor]) -> Corrected | None:
    """UTC of a moment of one boot, or ``None`` when that boot has no anchor (``time unknown``).

    Every anchor says "UTC lies within error + drift x distance". Those statements are intersected; where they
    contradict each other (the collector's own clock was wrong once) the bound widens to hold them all, so that the
    answer never claims more than is known. The order of the anchors does not matter.
    """
    low: int | None = None
    high = 0
    hull_low, hull_high = 0, 0
    for anchor in anchors:
        if anchor.boot != boot:
            continue
        distance = boottime - anchor.boottime
        middle = anchor.utc + distance
        reach = anchor.error + int(abs(distance) * DRIFT)
        if low is None:
            low, high = middle - reach, middle + reach
            hull_low, hull_high = low, high
            continue
        low, high = max(low, middle - reach), min(high, middle + reach)
        hull_low, hull_high = min(hull_low, middle - reach), max(hull_high, middle + reach)
    if low is None:
        return None
    if low > high:
        low, high = hull_low, hull_high
    return Corrected((low + high) // 2, (high - low + 1) // 2)

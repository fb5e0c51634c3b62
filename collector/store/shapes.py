"""What goes into the store and comes out of it."""

from typing import NamedTuple

from collector.store.times import AHEAD, BEHIND
from wire.batch import BatchReceipt
from wire.clock import Corrected, Instant
from wire.observation import Observation


class Source(NamedTuple):
    """Who posts, as the token says; results belong to the site, link and role, never to the machine."""

    agent: str
    site: str
    link: str
    role: str


class Landed(NamedTuple):
    """One observation that is now on the disk. ``time`` is of its end; ``None`` = time unknown, never fresh."""

    source: Source
    observation: Observation
    time: Corrected | None
    received: Instant
    late: bool
    """Arrived more than two minutes after its end, or without a time: corrects reports, never alarms as if now."""


class Taken(NamedTuple):
    """What became of an envelope: one receipt a batch, in the order they were sent, and what was new in it."""

    receipts: list[BatchReceipt]
    landed: list[Landed]


class Limits(NamedTuple):
    """What one agent may do. Times in microseconds."""

    series: int = 2000
    """Distinct (probe, target, platform) of one site, link and role."""
    ahead: int = AHEAD
    behind: int = BEHIND


class SeriesKey(NamedTuple):
    """Identity of a series of windows; the field order is that of table ``series``."""

    site: str
    link: str
    role: str
    probe: str
    target: str
    platform: str

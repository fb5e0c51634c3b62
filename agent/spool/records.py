"""The small types that go in and out of the spool."""

from typing import NamedTuple

import msgspec

from wire.batch import StreamName, encode_observation
from wire.clock import Instant
from wire.observation import Observation
from wire.reasons import Event

MIB = 1024 * 1024


class Limits(NamedTuple):
    """How much the spool may hold. A day of a site with 30 observations a minute is about 23 MB."""

    bytes: int = 256 * MIB
    age: float = 30 * 86_400.0
    """Seconds of the agent's own running time, so that a wall clock stepped by a year drops nothing."""
    quarantine: int = 16 * MIB


class Moment(NamedTuple):
    """When something was spooled."""

    boot: str
    boottime: int
    wall: Instant


class Record(NamedTuple):
    """An encoded observation and its span as the wall clock believed, for what must be said if it is dropped."""

    encoded: bytes
    start: Instant
    end: Instant

    @classmethod
    def of(cls, observation: Observation) -> "Record":
        """Raises ``ValueError`` where a number is not finite."""
        return cls(encode_observation(observation), observation.wall_start, observation.wall_end)


class Spooled(NamedTuple):
    """A batch that is on disk."""

    stream: str
    seq: int
    digest: str


class Waiting(NamedTuple):
    """A batch to deliver. ``number`` grows with every batch of the spool, whatever its stream."""

    number: int
    stream: str
    seq: int
    name: StreamName
    digest: str
    sealed: bytes


class Refused(NamedTuple):
    """A batch that will never be taken, and why."""

    stream: str
    seq: int
    refusal: str
    detail: str


class Counts(NamedTuple):
    """What the spool holds."""

    batches: int = 0
    bytes: int = 0
    quarantined: int = 0
    dropped: int = 0
    """Batches dropped since the spool was made, the quarantine's included."""


class Report(NamedTuple):
    """Something the spool must tell; the journal makes a note of it."""

    event: Event
    counts: dict[str, int]
    facts: dict[str, str]


class Life(msgspec.Struct, frozen=True):
    """The last sign of life on disk."""

    boot: str
    boottime: int
    wall: Instant
    lived: int
    """Microseconds that agents of this spool have been running, all boots together."""
    clean: bool

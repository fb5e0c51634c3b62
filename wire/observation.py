"""Observations: the only thing agents send. A closed, tagged union of immutable records (DESIGN §4).

Times are microseconds (:mod:`wire.clock`), durations inside histograms nanoseconds, all else base units: seconds,
bits per second, ratios 0 to 1. Names inside ``counts``, ``values``, ``durations`` and ``states`` are those that the
probe declares (:mod:`wire.measures`).
"""

from typing import Annotated

import msgspec

from wire.histogram import Histogram
from wire.reasons import Event, Limit, Outcome, Reason

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Fact = Annotated[str, msgspec.Meta(max_length=1000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

NAME_PATTERN = r"^[a-z0-9][a-z0-9._:/-]{0,79}$"
"""What a probe, target or platform may be called; the collector checks it once, when a series is first seen."""
MOST_ENTRIES = 64
"""How many entries ``counts``, ``values``, ``durations``, ``states`` or ``facts`` may hold."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    boot: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    start: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    """CLOCK_BOOTTIME, microseconds."""
    end: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    wall_start: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    """What the agent's wall clock said at ``start``: UTC microseconds as believed, perhaps wrong."""
    wall_end: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    settings: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Revision of the settings that made this observation."""
    vantage: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Identity of the vantage it was made from (``agent.vantage``)."""


class Window(_Record, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="window"):
    """One probe, one target, a span of time. A watcher's window carries seconds per state, summing to its length."""

    probe: Name
    target: Name
    platform: Annotated[str, msgspec.Meta(max_length=80)] = ""
    outcome: Outcome
    reason: Reason | None = None
    order: str = ""
    """Id of the order that asked for it, if one did."""
    counts: Annotated[dict[Name, Count], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    values: Annotated[dict[Name, float], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    durations: Annotated[dict[Name, Histogram], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    states: Annotated[dict[Name, float], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    facts: Annotated[dict[Name, Fact], msgspec.Meta(max_length=MOST_ENTRIES)] = {}


class Change(_Record, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="change"):
    """A state was left for another. ``start`` is when the new state began (backdated), ``end`` when that was known."""

    probe: Name
    target: Name
    platform: Annotated[str, msgspec.Meta(max_length=80)] = ""
    previous: Name
    current: Name
    reason: Reason | None = None
    values: Annotated[dict[Name, float], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    facts: Annotated[dict[Name, Fact], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    """The evidence: who answered, who did not, carrier, where a trace stopped."""


class Test(_Record, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="test"):
    """A throughput or call test. One record per direction."""

    __test__ = False  # its name would make pytest collect it

    probe: Name
    target: Name
    platform: Annotated[str, msgspec.Meta(max_length=80)] = ""
    engine: Name
    direction: Name
    """``down``, ``up`` or ``both``."""
    outcome: Outcome
    reason: Reason | None = None
    order: str = ""
    valid: bool = False
    """Whether nothing but the link can have limited it; a sample that is not valid is never evidence of failure."""
    limits: tuple[Limit, ...] = ()
    counts: Annotated[dict[Name, Count], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    values: Annotated[dict[Name, float], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    durations: Annotated[dict[Name, Histogram], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    facts: Annotated[dict[Name, Fact], msgspec.Meta(max_length=MOST_ENTRIES)] = {}


class Note(_Record, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="note"):
    """An event of the agent itself."""

    event: Event
    reason: Reason | None = None
    order: str = ""
    counts: Annotated[dict[Name, int], msgspec.Meta(max_length=MOST_ENTRIES)] = {}
    facts: Annotated[dict[Name, Fact], msgspec.Meta(max_length=MOST_ENTRIES)] = {}


Observation = Window | Change | Test | Note
KINDS = ("window", "change", "test", "note")

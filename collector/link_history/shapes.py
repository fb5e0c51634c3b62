"""What the history of a link is made from and consists of. Times are UTC microseconds, ``*_bt`` CLOCK_BOOTTIME ones."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from wire.clock import SECOND, Instant

PROBE = "link"
TARGET = "link"


class State(StrEnum):
    """What the watcher of a link says (DESIGN §2, fault domains)."""

    UP = "up"
    LAN = "lan"
    LINK = "link"
    PROVIDER = "provider"
    LINK_OR_PROVIDER = "link_or_provider"
    COLLECTOR = "collector"
    """The link was up; our own collector or responder was not."""
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "State | None":
        return cls.UNKNOWN if isinstance(value, str) else None


DOWN = frozenset({State.LAN, State.LINK, State.PROVIDER, State.LINK_OR_PROVIDER})
BEYOND = frozenset({State.LINK, State.PROVIDER, State.LINK_OR_PROVIDER})
"""Faults that are not the site's own: only these are ever the provider's."""


class Why(StrEnum):
    """Why a time is not measured."""

    NO_AGENT = "no_agent"
    STOPPED = "agent_stopped"
    CRASHED = "agent_crashed"
    POWER_LOST = "power_lost"
    SUSPENDED = "suspended"
    TIME_UNKNOWN = "time_unknown"
    NOT_ON_THIS_LINK = "not_on_this_link"
    DATA_LOST = "data_lost"
    """The agent's disk took no more, and what it dropped is declared."""
    DISAGREES = "disagrees"
    """Windows and changes contradict each other: something is missing between them."""
    UNDECIDED = "undecided"
    """Watched, and the agent could not tell in what state the link was."""
    PENDING = "pending"
    """The agent is heard and its data is still to come."""
    MISSING = "missing"
    """Nothing says why."""


class Kind(StrEnum):
    """The classes of time. They exclude each other and always add up to the whole."""

    UP = "up"
    DOWN = "down"
    UNMEASURED = "unmeasured"
    SILENT = "silent"
    """No word from the agent, cause not known yet: neither up nor down."""


class Rules(NamedTuple):
    """``inventory.link_history`` in microseconds."""

    counts_from: int = 5 * SECOND
    joins_below: int = 10 * SECOND


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Windows in a row that say the same, or one that says several things. ``stream`` and ``boot`` are the store's."""

    stream: int
    boot: int
    start_bt: int
    end_bt: int
    start: Instant
    end: Instant
    error: int
    """Bound on the error of its times."""
    vantage: str
    states: dict[str, float]
    """Seconds in each state."""
    reason: str = ""
    """Why nothing was known in all of it."""
    windows: int = 1
    first_seq: int = 0
    last_seq: int = 0

    @property
    def only(self) -> State | None:
        """Its state, if it was the same from beginning to end."""
        return State(next(iter(self.states))) if len(self.states) == 1 else None


class Turn(NamedTuple):
    """A change: the state entered at ``start_bt`` was known at ``known_bt``."""

    stream: int
    boot: int
    start_bt: int
    known_bt: int
    start: Instant
    error: int
    previous: State
    current: State
    reason: str = ""
    vantage: str = ""
    facts: Mapping[str, str] = {}


class Event(NamedTuple):
    """A note of an agent on this link. ``kind`` is :class:`wire.reasons.Event`, or for an unclean stop ``crash`` or
    ``power``."""

    agent: str
    boot: int
    at_bt: int
    start: Instant
    at: Instant
    kind: str


class Untimed(NamedTuple):
    """Windows of one stream whose time is not known: they lie between these two batches, and before they came."""

    stream: int
    first_seq: int
    last_seq: int
    received: Instant


class Watcher(NamedTuple):
    """An agent that watches or watched a link. Roles ``link`` and ``both`` alone."""

    agent: str
    role: str
    joined: Instant
    retired: Instant | None
    heard: Instant | None
    streams: frozenset[int]


class Records(NamedTuple):
    """All that is known of one link in a span of time."""

    watchers: tuple[Watcher, ...] = ()
    runs: tuple[Run, ...] = ()
    turns: tuple[Turn, ...] = ()
    events: tuple[Event, ...] = ()
    untimed: tuple[Untimed, ...] = ()
    pending: bool = False
    """Whether batches of its evidence are numbered and not here yet."""
    confirmed: frozenset[str] = frozenset()
    """Vantages that IT confirmed; empty = none yet, and then every place counts."""


class Interval(NamedTuple):
    """A stretch of a link's time. Intervals of a history follow each other without gap or overlap."""

    start: Instant
    end: Instant
    state: State | None = None
    """``None`` where it was not measured."""
    why: Why | None = None
    silent: bool = False
    provisional: bool = False
    """What the newest word said; no window proves it yet."""
    error: int = 0
    """Bound on the error of its start and end, microseconds."""
    agent: str = ""
    turn: Turn | None = None
    """The change by which this state began, where one is known: its facts are the evidence."""

    @property
    def kind(self) -> Kind:
        """Its class."""
        if self.silent:
            return Kind.SILENT
        if self.state is None or self.state is State.UNKNOWN:
            return Kind.UNMEASURED
        return Kind.DOWN if self.state in DOWN else Kind.UP

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start) / SECOND

"""What a probe is: it measures one thing on one target and knows neither schedule nor spool.

A probe lives in ``agent/probes/NAME.py`` (or a folder ``NAME/``), whose class carries :func:`probe`::

    @probe("tcp", every=60.0, load=Load.TRICKLE, costs="about 400 B a measurement")
    class Tcp:
        \"\"\"Opens a TCP connection.\"\"\"

        class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
            host: str
            port: int

        async def measure(self, target: Target, span: Span) -> Finding: ...

One instance serves all targets of its kind and may keep sockets and caches; ``close`` is called last if it has one.
"""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from agent.clock import Clock
from wire.histogram import Histogram
from wire.lease import Grant, Purpose
from wire.meetings import Load
from wire.reasons import Limit, Outcome, Reason


class Right(StrEnum):
    """A right of the operating system that a probe needs."""

    NONE = "none"
    ICMP_SOCKET = "ICMP socket (net.ipv4.ping_group_range or CAP_NET_RAW)"


class Span(NamedTuple):
    """How long one measurement should take (the window) and must end within (the limit), in seconds."""

    seconds: float
    limit: float


class Leases(Protocol):
    """Where a probe gets the right to use a responder."""

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        """Asks the collector; raises :class:`LeaseRefused`."""


class LeaseRefused(Exception):
    """No lease: ``reason`` is what the probe's finding then says (outcome ``skipped``)."""

    def __init__(self, reason: Reason, detail: str = "", retry_after: float = 0.0) -> None:
        super().__init__(detail or str(reason))
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        """Seconds after which asking again makes sense; 0 = not said."""


class NoLeases:
    """Where nobody can be asked: every loan is refused."""

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:  # noqa: ARG002
        raise LeaseRefused(Reason.NO_LEASE, "this agent has not joined a collector, which alone grants leases")


class Target(NamedTuple):
    """What is measured: its name in the site, its platform, and the probe's own settings, decoded."""

    name: str
    platform: str
    settings: Any
    leases: Leases = NoLeases()


class Result(msgspec.Struct, kw_only=True):
    """One direction of a throughput or call test, to become a ``Test`` record (:mod:`wire.observation`)."""

    engine: str
    direction: str
    """``down``, ``up`` or ``both``."""
    start: int
    end: int
    """CLOCK_BOOTTIME, microseconds."""
    outcome: Outcome
    reason: Reason | None = None
    valid: bool = False
    limits: tuple[Limit, ...] = ()
    counts: dict[str, int] = {}
    values: dict[str, float] = {}
    durations: dict[str, Histogram] = {}
    facts: dict[str, str] = {}


class Finding(msgspec.Struct, kw_only=True):
    """What a measurement found; the runner adds who, when and from where. Durations are nanoseconds in histograms."""

    outcome: Outcome
    reason: Reason | None = None
    counts: dict[str, int] = {}
    values: dict[str, float] = {}
    durations: dict[str, Histogram] = {}
    states: dict[str, float] = {}
    facts: dict[str, str] = {}
    results: list[Result] = []
    """What a test found: recorded as a ``Test`` each, beside the window that sums them up."""
    learned: dict[str, str] = {}
    """Addresses for ``@name`` settings of other probes (``edge``); stays on this machine."""


def ok(**found: Any) -> Finding:
    """The target answered as it should."""
    return Finding(outcome=Outcome.OK, **found)


def failed(reason: Reason, **found: Any) -> Finding:
    """The target is bad."""
    return Finding(outcome=Outcome.FAILED, reason=reason, **found)


def skipped(reason: Reason, **found: Any) -> Finding:
    """Not measured on purpose, or measured and nothing proven either way."""
    return Finding(outcome=Outcome.SKIPPED, reason=reason, **found)


def error(reason: Reason, **found: Any) -> Finding:
    """The probe itself could not measure: never the target's fault. Put what to do into ``facts['remedy']``."""
    return Finding(outcome=Outcome.ERROR, reason=reason, **found)


class Probe(Protocol):
    """The one method every probe has."""

    async def measure(self, target: Target, span: Span) -> Finding:
        """One window or one test. Raises nothing on a bad target: that is a ``failed`` finding.

        Cancelled (the agent stops, the assignment is gone), it may return what it has instead of raising: the window
        is then recorded as long as it was.
        """


class ProbeInfo(NamedTuple):
    """What a probe's file states about it; the table of probes in the documentation is made from this."""

    name: str
    make: Callable[[], Any]
    """Makes a :class:`Probe`, or a :class:`Watcher` where ``watcher`` says so."""
    settings: type[Any]
    every: float
    """Default cadence in seconds, from start to start."""
    window: float
    """Default length of one measurement in seconds; 0 = as long as it takes. Equal to ``every`` = continuous."""
    limit: float
    """Seconds after which a measurement is cut off with ``error: probe_overran``, beyond the window."""
    load: Load
    costs: str
    """Bytes on the line, in words."""
    needs: Right
    watches: tuple[str, ...]
    """Facts whose change between two ``ok`` windows is recorded as a ``change`` (a certificate, an address)."""
    summary: str
    """First line of the class's docstring."""
    watcher: bool = False
    """Whether it is a :class:`Watcher`: it runs all the time and owns its pace."""


PROBES: dict[str, ProbeInfo] = {}
"""The probes imported so far; use :func:`load` and :func:`known`."""


class Sighting(msgspec.Struct, kw_only=True):
    """What a watcher has to say: a state was left for another (``change``), or a minute is over (``window``)."""

    target: str
    start: int
    """CLOCK_BOOTTIME, microseconds; of a change: when the new state began (backdated)."""
    end: int
    """Of a change: when it was known."""
    previous: str = ""
    """Empty for a window."""
    current: str = ""
    finding: Finding
    """Of a window: seconds per state in ``states``. Of a change: reason, values and facts are its evidence."""


class Surroundings(Protocol):
    """What a watcher may ask at any time while it watches, because it changes meanwhile."""

    @property
    def clock(self) -> Clock:
        """The machine's clocks."""

    def address(self, text: str) -> str:
        """The text with its ``@name`` given the address; empty while that is not learned."""

    def hindrance(self, interface: str, gateway: str) -> Reason | None:
        """Why nothing that is seen over this way out counts now (``not_on_this_link``), if so."""

    def until_grid(self, seconds: float, boottime: int) -> int:
        """Microseconds from ``boottime`` to where a window of ``seconds`` shall end, so that minutes are minutes."""


class Watcher(Protocol):
    """The one method every watcher has (DESIGN §7)."""

    def watch(self, target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
        """Changes as they happen and a window at the end of each ``span.seconds``, until cancelled. Cancelled, it may
        yield what it has of the window before it ends.

        Its settings come with their ``@name`` references as they are: ``around`` knows the addresses of the moment.
        """


_T = TypeVar("_T", bound=type[Any])


def probe(
    name: str,
    *,
    load: Load,
    costs: str,
    every: float = 60.0,
    window: float = 0.0,
    limit: float = 10.0,
    needs: Right = Right.NONE,
    watches: tuple[str, ...] = (),
) -> Callable[[_T], _T]:
    """Registers a class as the probe ``name``; see :class:`ProbeInfo` for the arguments."""

    def register(cls: _T) -> _T:
        summary = (cls.__doc__ or "").strip().partition("\n")[0]
        PROBES[name] = ProbeInfo(name, cls, cls.Settings, every, window, limit, load, costs, needs, watches, summary)
        return cls

    return register


def watcher(
    name: str, *, load: Load, costs: str, window: float = 60.0, needs: Right = Right.NONE
) -> Callable[[_T], _T]:
    """Registers a class as the watcher ``name``: a probe that looks all the time and tells of every change at once."""

    def register(cls: _T) -> _T:
        summary = (cls.__doc__ or "").strip().partition("\n")[0]
        PROBES[name] = ProbeInfo(name, cls, cls.Settings, window, window, 10.0, load, costs, needs, (), summary, True)
        return cls

    return register


def known() -> list[str]:
    """Names of the probes this release has, found by their files and without importing them."""
    import agent.probes

    return sorted(one.name for one in pkgutil.iter_modules(agent.probes.__path__) if not one.name.startswith("_"))


def load(name: str) -> ProbeInfo:
    """The probe's info, importing its file at first use; raises ``KeyError`` for a name this release does not have."""
    if name not in PROBES:
        if name not in known():
            raise KeyError(name)
        importlib.import_module(f"agent.probes.{name}")
    return PROBES[name]


def unknown_measures(finding: Finding, measures: Mapping[str, Any]) -> list[str]:
    """Names in a finding that the table of measures does not have; always empty for a correct probe."""
    return [
        name for group in (finding.counts, finding.values, finding.durations) for name in group if name not in measures
    ]

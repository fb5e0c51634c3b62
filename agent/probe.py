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
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from wire.histogram import Histogram
from wire.meetings import Load
from wire.reasons import Outcome, Reason


class Right(StrEnum):
    """A right of the operating system that a probe needs."""

    NONE = "none"
    ICMP_SOCKET = "ICMP socket (net.ipv4.ping_group_range or CAP_NET_RAW)"


class Span(NamedTuple):
    """How long one measurement should take (the window) and must end within (the limit), in seconds."""

    seconds: float
    limit: float


class Target(NamedTuple):
    """What is measured: its name in the site, its platform, and the probe's own settings, decoded."""

    name: str
    platform: str
    settings: Any


class Finding(msgspec.Struct, kw_only=True):
    """What a measurement found; the runner adds who, when and from where. Durations are nanoseconds in histograms."""

    outcome: Outcome
    reason: Reason | None = None
    counts: dict[str, int] = {}
    values: dict[str, float] = {}
    durations: dict[str, Histogram] = {}
    states: dict[str, float] = {}
    facts: dict[str, str] = {}
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
    make: Callable[[], Probe]
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


PROBES: dict[str, ProbeInfo] = {}
"""The probes imported so far; use :func:`load` and :func:`known`."""

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

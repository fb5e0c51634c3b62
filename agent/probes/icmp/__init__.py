"""The ``icmp`` probe: loss, round-trip time and jitter of a path, by echo.

:mod:`codec` reads and writes the bytes, :mod:`window` counts, :mod:`sockets` and :mod:`pinger` touch the world.
"""

import asyncio
import errno
import socket
from typing import Annotated, Literal, NamedTuple

import msgspec

from agent.addresses import Host, is_public, resolve
from agent.neterrors import Unresolved, finding_of
from agent.probe import Finding, Right, Span, Target, error, failed, ok, probe, skipped
from agent.probes.icmp.codec import LARGEST_PAYLOAD, SMALLEST_PAYLOAD, Family
from agent.probes.icmp.pinger import Flow, Pinger
from agent.probes.icmp.sockets import REMEDY, Address, NoPermission
from agent.probes.icmp.window import EchoWindow
from wire.meetings import Load
from wire.reasons import Reason

LONGEST_TIMEOUT = 8.0
"""Seconds; less than the probe's own time limit beyond its window."""
OVERHEAD = 28
"""Bytes of the IPv4 and ICMP headers."""
TRICKLE = 50_000
"""Bits per second that the load class ``trickle`` allows."""
RESOLVE_EVERY = 300.0
"""Seconds for which the address of a host name is used before it is asked for again."""
RESOLVE_FIRST = 8.0
RESOLVE_AGAIN = 2.0
"""Seconds to wait for name servers; fewer where an address is known, because no echoes are sent meanwhile."""
FORGET_AFTER = 3600.0
"""Seconds after which the address of a target that is measured no more is forgotten."""

_AF = {"any": (socket.AF_INET, socket.AF_INET6), "4": (socket.AF_INET,), "6": (socket.AF_INET6,)}
_FAMILY = {socket.AF_INET: Family.V4, socket.AF_INET6: Family.V6}
_LOCAL_REMEDY = {
    Reason.NO_PERMISSION: "this machine's own firewall drops outgoing echo requests: allow them (nft list ruleset)",
    Reason.NO_RESOURCES: "this machine's network queue or memory is full: look at its load and its interface",
    Reason.BAD_TARGET: "this machine cannot send an echo to that address: correct the target's host or size",
    Reason.NOT_SUPPORTED: "this machine's kernel has no such protocol: set family to the other one",
}


class IcmpSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is pinged, and how."""

    host: Host
    family: Annotated[
        Literal["any", "4", "6"],
        msgspec.Meta(description="4 or 6 for IPv4 or IPv6 alone; any takes what the name resolves to first"),
    ] = "any"
    interval: Annotated[
        float, msgspec.Meta(ge=0.01, le=3600, description="seconds from one echo to the next; third parties: 5 or more")
    ] = 1.0
    timeout: Annotated[
        float, msgspec.Meta(gt=0, le=LONGEST_TIMEOUT, description="seconds after which an echo counts as lost")
    ] = 2.0
    size: Annotated[
        int, msgspec.Meta(ge=SMALLEST_PAYLOAD, le=LARGEST_PAYLOAD, description="bytes of payload in each echo")
    ] = 56

    def __post_init__(self) -> None:
        """Raises ``ValueError`` where the echoes would be no trickle, for they run during meetings too."""
        rate = (self.size + OVERHEAD) * 8 / self.interval
        if rate > TRICKLE:
            raise ValueError(
                f"interval, size: found {self.size} bytes every {self.interval:g} s, that is {rate / 1000:.0f} kbit/s; "
                f"expected at most {TRICKLE / 1000:.0f} kbit/s, because echoes run during meetings too"
            )


class Place(NamedTuple):
    """An address of one family."""

    family: Family
    address: Address


class _Kept(NamedTuple):
    place: Place
    until: float


@probe(
    "icmp",
    every=60.0,
    window=60.0,
    load=Load.TRICKLE,
    costs="84 B a second each way per target (IPv4, at the default interval and size)",
    needs=Right.ICMP_SOCKET,
)
class Icmp:
    """Echo requests (RFC 792, RFC 4443): loss, round-trip time and jitter of a path."""

    Settings = IcmpSettings

    def __init__(self) -> None:
        self._pinger = Pinger()
        self._flows: dict[tuple[str, IcmpSettings, Address], Flow] = {}
        self._places: dict[IcmpSettings, _Kept] = {}

    async def measure(self, target: Target, span: Span) -> Finding:
        """One window of echoes. It returns when its last echo is answered or lost, up to ``timeout`` after its span;
        the next window of the same target loses nothing by that (:class:`~agent.probes.icmp.pinger.Flow`)."""
        settings: IcmpSettings = target.settings
        begun = asyncio.get_running_loop().time()
        try:
            place = await self._resolve(settings)
            self._pinger.open(place.family)
        except Unresolved as problem:
            return finding_of(problem)
        except OSError as problem:
            return unopened(problem, settings.family)
        flow = self._flow(target.name, settings, place)
        late = asyncio.get_running_loop().time() - begun
        window = flow.begin(max(span.seconds - late, 0.002))
        try:
            await flow.ended(window)
        except asyncio.CancelledError:
            if not window.sent:
                raise
            # The runner records what a measurement that was cut gives: half a minute's echoes are evidence too.
        return finding(window, place.family, flow.source)

    def close(self) -> None:
        """Closes the sockets."""
        self._pinger.close()

    def _flow(self, name: str, settings: IcmpSettings, place: Place) -> Flow:
        """The target's flow; one of its own for a measurement beside the continuous one (an order, say)."""
        key = (name, settings, place.address)
        flow = self._flows.get(key)
        if flow is not None and flow.free:
            return flow
        made = Flow(self._pinger, *place, settings.interval, settings.timeout, settings.size)
        if flow is None:
            self._flows = {held: one for held, one in self._flows.items() if one.sending}
            self._flows[key] = made
        return made

    async def _resolve(self, settings: IcmpSettings) -> Place:
        """The target's address. While name servers are silent the last one is used on: whether the path is down must
        not depend on them."""
        now = asyncio.get_running_loop().time()
        kept = self._places.get(settings)
        if kept and now < kept.until:
            return kept.place
        try:
            place = await place_of(settings.host, settings.family, RESOLVE_AGAIN if kept else RESOLVE_FIRST)
        except Unresolved as problem:
            if kept is None or problem.reason is Reason.NAME_NOT_FOUND:
                raise
            place = kept.place
        self._places = {held: one for held, one in self._places.items() if now < one.until + FORGET_AFTER}
        self._places[settings] = _Kept(place, now + RESOLVE_EVERY)
        return place


def unopened(problem: OSError, family: str) -> Finding:
    """The finding when the kernel would not open an ICMP socket."""
    if isinstance(problem, NoPermission):
        return error(Reason.NO_PERMISSION, facts={"remedy": REMEDY, "detail": str(problem)})
    if problem.errno == errno.EAFNOSUPPORT and family == "6":
        return skipped(Reason.NO_IPV6)
    return finding_of(problem)


async def place_of(host: str, family: str, within: float) -> Place:
    """The address to ping: the first of the wanted family. Raises :class:`~agent.neterrors.Unresolved`."""
    found = await resolve(host, 0, within, socket.SOCK_DGRAM)
    for address in found.addresses:
        if address.family in _AF[family]:
            return Place(_FAMILY[address.family], address.place)
    raise Unresolved(host, Reason.NAME_NOT_FOUND, f"no IPv{family} address")


def finding(window: EchoWindow, family: Family, source: str) -> Finding:
    """What a closed window says: ``ok`` with one reply or more, else why there was none."""
    found = {
        "counts": window.counts(),
        "durations": {"rtt": window.histogram()} if window.sent else {},
        "values": {} if window.jitter is None else {"jitter": window.jitter / 1e9},
    }
    if window.replies:
        return ok(**found)
    if not window.sent and window.local:
        reason = max(window.local, key=window.local.__getitem__)
        return error(reason, **found, facts={"remedy": _LOCAL_REMEDY[reason]})
    if window.reasons:
        reason = max(window.reasons, key=window.reasons.__getitem__)
        if reason is Reason.NO_ROUTE and family is Family.V6 and not source:
            return skipped(Reason.NO_IPV6)  # this machine has none: nobody's failure
        return failed(reason, **found, facts={"said_by": source} if is_public(source) else {})
    if not window.sent:
        return error(Reason.SUSPENDED, facts={"detail": "the machine slept through the window"})
    return failed(Reason.NO_REPLY, **found)

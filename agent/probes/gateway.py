"""The ``gateway`` probe: is there a way out of this machine, and does the router at its end exist on the cable?"""

import asyncio
import socket
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.addresses import is_providers
from agent.netlink import Belief, neighbours
from agent.probe import Finding, Span, Target, failed, ok, probe
from agent.vantage import Route, default_routes, default_routes6
from wire.meetings import Load
from wire.reasons import Reason

PATIENCE = 3.5
"""Seconds for the kernel to find a neighbour: it asks three times, a second apart (arp(7), RFC 4861 §10)."""
_DISCARD = 9
_IFF_POINTOPOINT = 0x10
_GOOD = Belief.REACHABLE | Belief.STALE | Belief.DELAY | Belief.PROBE | Belief.NOARP | Belief.PERMANENT


class GatewaySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Nothing to set: the routing table says what the gateway is."""


class Way(NamedTuple):
    """The default route of one family, the carrier of its interface, and what is believed of the router."""

    route: Route
    carrier: bool
    belief: Belief | None
    """``None`` without a gateway address (point-to-point) or where the kernel has not looked for it."""
    point_to_point: bool = False
    """The interface has one other end only (PPPoE, a tunnel): IFF_POINTOPOINT of netdevice(7)."""


@probe(
    "gateway",
    every=15.0,
    limit=10.0,
    load=Load.TRICKLE,
    costs="one ARP or ND exchange (about 100 B) when the entry has grown old",
    watches=("interface",),
)
class Gateway:
    """The default route, and whether its router answers on the local network (ARP, Neighbour Discovery)."""

    Settings = GatewaySettings

    async def measure(self, target: Target, span: Span) -> Finding:  # noqa: ARG002
        """Looks; where the router is not known yet, has the kernel look for it and waits for what it says."""
        ends = asyncio.get_running_loop().time() + PATIENCE
        ways = await asyncio.to_thread(look)
        unknown = [one for one in ways if one.carrier and _undecided(one)]
        if unknown:
            await asyncio.to_thread(_nudge, unknown)
        while any(map(_undecided, ways)) and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.1)
            ways = await asyncio.to_thread(look)
        return finding(ways)


def look(proc: Path = Path("/proc/net"), system: Path = Path("/sys/class/net")) -> list[Way]:
    """The best default route of each family. Blocking: reads small files and netlink."""
    found = []
    known = {(one.interface, one.address): one.belief for one in neighbours()}
    for routes in (default_routes(_read(proc / "route")), default_routes6(_read(proc / "ipv6_route"))):
        if not routes:
            continue
        best = routes[0]
        try:
            interface = socket.if_nametoindex(best.interface)
        except OSError:
            interface = 0
        carrier = _read(system / best.interface / "carrier").strip() != "0"
        belief = known.get((interface, best.gateway)) if best.gateway else None
        found.append(Way(best, carrier, belief, _is_point_to_point(_read(system / best.interface / "flags"))))
    return found


def finding(ways: list[Way]) -> Finding:
    """``ok`` when one family's router is there: an office without IPv6 is not broken."""
    facts = {f"ipv{version_of(way)}": _word(way) for way in ways}
    learned = {"gateway": "", "gateway6": ""}
    for way in ways:
        learned["gateway6" if version_of(way) == 6 else "gateway"] = _scoped(way.route)
    if not ways:
        return failed(Reason.NO_GATEWAY, learned=learned)
    good = [way for way in ways if way.carrier and (not way.route.gateway or (way.belief or Belief.NONE) & _GOOD)]
    facts["interface"] = (good or ways)[0].route.interface
    if good:
        return ok(facts=facts, learned=learned)
    reason = Reason.HOST_UNREACHABLE if any(way.carrier for way in ways) else Reason.INTERFACE_DOWN
    return failed(reason, facts=facts, learned=learned)


def version_of(way: Way) -> int:
    """4 or 6; a point-to-point route without a gateway counts as 4."""
    return 6 if ":" in way.route.gateway else 4


def is_router(way: Way) -> bool:
    """Whether this machine is the office's router itself, so that its next hop is the provider's: where the route
    leaves by a point-to-point interface, or to a gateway whose address is the provider's (not in IPv6, whose gateways
    are all link-local)."""
    if not way.route.gateway or way.point_to_point:
        return True
    return version_of(way) == 4 and is_providers(way.route.gateway)


def _is_point_to_point(flags: str) -> bool:
    try:
        return bool(int(flags, 16) & _IFF_POINTOPOINT)
    except ValueError:
        return False


def _undecided(way: Way) -> bool:
    return bool(way.route.gateway) and (way.belief is None or way.belief in (Belief.NONE, Belief.INCOMPLETE))


def _word(way: Way) -> str:
    if not way.carrier:
        return "no carrier"
    if not way.route.gateway:
        return "point-to-point"
    return "unknown" if way.belief is None or way.belief.name is None else way.belief.name.lower()


def _scoped(route: Route) -> str:
    """A link-local address means nothing without its interface (RFC 4007 §11)."""
    return f"{route.gateway}%{route.interface}" if route.gateway.startswith("fe80:") else route.gateway


def _nudge(ways: list[Way]) -> None:
    """An empty datagram to the discard port makes the kernel look for the neighbour; an answer is not wanted."""
    for way in ways:
        family = socket.AF_INET6 if version_of(way) == 6 else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(b"", socket.getaddrinfo(_scoped(way.route), _DISCARD, family, socket.SOCK_DGRAM)[0][4])
        except OSError:
            continue  # the neighbour table says what is wrong


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

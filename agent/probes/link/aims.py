"""Whom to ask: addresses behind names and references, looked up beside the watch and never waited for."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from agent.addresses import literal
from agent.neterrors import Unresolved
from agent.probe import Surroundings
from agent.probes.gateway import Way as Route
from agent.probes.gateway import is_router, look
from agent.probes.icmp import Place, place_of
from agent.probes.icmp.codec import Family
from agent.probes.link.classify import Kind, Way
from agent.probes.link.look import Aim

ASK_AGAIN = 300.0
"""Seconds for which the address of a name is used before it is asked for again; while names cannot be resolved the
last one is used on."""
RETRY = 15.0
"""Seconds until a name that gave no address is asked for again."""
PATIENCE = 8.0


class Names:
    """Addresses of host names, refreshed in tasks of their own."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._due: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def place(self, host: str) -> Place | None:
        """The address as known now."""
        if not host:
            return None
        try:
            known = literal(host, 0)
        except Unresolved:
            return None
        if known is not None:
            return Place(Family(6 if known.family_name == "ipv6" else 4), known.place)
        now = asyncio.get_running_loop().time()
        if now >= self._due.get(host, 0.0):
            self._due[host] = now + RETRY
            task = asyncio.create_task(self._refresh(host))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._places.get(host)

    async def _refresh(self, host: str) -> None:
        try:
            self._places[host] = await place_of(host, "any", PATIENCE)
        except Unresolved:
            return  # the last address is used on: whether the link is up must not depend on name servers
        self._due[host] = asyncio.get_running_loop().time() + ASK_AGAIN

    def close(self) -> None:
        """Ends the lookups under way."""
        for task in self._tasks:
            task.cancel()


class Out(NamedTuple):
    """The way out of the machine: route, carrier, and whether the next hop is the provider's already."""

    interface: str = ""
    gateway: str = ""
    way: Way = Way(routed=False)


def way_out(before: Out) -> Out:
    """Looks at the routing table, the carrier and the neighbours. Blocking: reads small files and netlink."""
    return out_of(look(), before)


def out_of(routes: Iterable[Route], before: Out) -> Out:
    """The way out by IPv4, else by IPv6. Without any route the machine is what it was before: a router whose PPP
    session ended still is the router."""
    for one in routes:
        route = one.route
        belief = one.belief.name.lower() if one.belief is not None and one.belief.name else ""
        scoped = f"{route.gateway}%{route.interface}" if route.gateway.startswith("fe80:") else route.gateway
        return Out(route.interface, scoped, Way(True, one.carrier, is_router(one), belief))
    return Out(before.interface, before.gateway, before.way._replace(routed=False, neighbour=""))


class Others(NamedTuple):
    """Those beyond, by role, with the host that is asked."""

    anchors: tuple[tuple[str, str], ...]
    ours: tuple[tuple[str, str], ...]


def aims_of(out: Out, others: Others, names: Names, around: Surroundings) -> list[Aim]:
    """Everybody who can be asked now. Two roles at one address (a responder beside the collector) are asked once."""
    found: list[Aim] = []
    anchors = [
        Aim(role, Kind.ANCHOR, place)
        for role, host in others.anchors
        if (place := names.place(around.address(host))) is not None
    ]
    gateway = names.place(out.gateway)
    if gateway is not None and not out.way.router:
        found.append(Aim("gateway", Kind.GATEWAY, gateway))
    edge = edge_of(out, anchors, names, around)
    found += [*([edge] if edge else []), *anchors]
    held = {one.place.address for one in found if one.ttl is None}
    for role, host in others.ours:
        place = names.place(around.address(host))
        if place is not None and place.address not in held:
            held.add(place.address)
            found.append(Aim(role, Kind.OURS, place))
    return found


def edge_of(out: Out, anchors: list[Aim], names: Names, around: Surroundings) -> Aim | None:
    """The provider's edge: the address that answers echoes, else the distance at which echoes to an anchor run out."""
    place = names.place(around.address("@edge"))
    if place is None and out.way.router:
        place = names.place(out.gateway)
    if place is not None:
        return Aim("edge", Kind.EDGE, place)
    hop = around.address("@edge_hop")
    if hop.isdigit() and anchors:
        return Aim("edge", Kind.EDGE, anchors[0].place, int(hop))
    return None

"""The ``edge`` probe: finds the provider's first hop beyond the gateway by echoes whose hop limit runs out there.

Routers answer such echoes with *time exceeded* (RFC 792, RFC 4443 §3.3). The hop that is found is then sent echoes of
its own: only one that answers them is learned as ``@edge``, because a router that never answers would look like a dead
line for ever. Of one that does not, the distance is learned (``@edge_hop``): the link's watcher then sends it echoes
that run out there. Its address stays on this machine.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Generic, NamedTuple, TypeVar

import msgspec

from agent.addresses import Host, is_public
from agent.neterrors import Unresolved, finding_of
from agent.probe import Finding, Right, Span, Target, ok, probe, skipped
from agent.probes.gateway import is_router, look, version_of
from agent.probes.icmp import RESOLVE_FIRST, Place, place_of, unopened
from agent.probes.icmp.codec import TIME_EXCEEDED, Family, Origin
from agent.probes.icmp.pinger import Pinger, Received
from wire.histogram import Histogram
from wire.meetings import Load
from wire.reasons import Reason

ROUNDS = 3
"""Echoes for each hop: routers answer few of them and late when they are busy (RFC 4443 §2.4 f)."""
SPACING = 0.25
"""Seconds between rounds; many routers allow themselves few errors a second."""
PATIENCE = 1.5
"""Seconds to wait for the last answers."""
_SIZE = 56
T = TypeVar("T")


class EdgeSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Towards where the path is followed, and how far."""

    destination: Host
    ttl_max: Annotated[int, msgspec.Meta(ge=1, le=30, description="how many routers away the edge may be")] = 4


class Hop(NamedTuple):
    """What answered at one distance: an address, or empty for silence; ``end`` when it was the destination itself."""

    ttl: int
    address: str
    end: bool = False


@probe(
    "edge",
    every=300.0,
    limit=15.0,
    load=Load.TRICKLE,
    costs="up to 15 echoes of 84 B every 5 minutes",
    needs=Right.ICMP_SOCKET,
)
class Edge:
    """Traces the provider's first hop beyond the gateway, and learns its address for echoes."""

    Settings = EdgeSettings

    def __init__(self) -> None:
        self._pinger = Pinger()

    async def measure(self, target: Target, span: Span) -> Finding:
        """Two short rounds of echoes: along the path, then to the hop that was found.

        An edge that was learned before is not forgotten when the path falls silent: that is when its own echoes tell
        whether the line or the provider is down.
        """
        settings: EdgeSettings = target.settings
        try:
            place = await place_of(settings.destination, "any", min(RESOLVE_FIRST, span.limit))
            self._pinger.open(place.family)
            hops = await self._trace(place, settings.ttl_max)
            near = await asyncio.to_thread(first_beyond, place.family)
            edge = edge_of(hops, near)
            facts = {"path": path_of(hops)}
            if edge is None:
                return skipped(Reason.NOT_LEARNED_YET, facts={**facts, "detail": _why_not(hops)})
            rtts = await self._echo(Place(place.family, (edge.address, 0, *place.address[2:])))
        except Unresolved as problem:
            return finding_of(problem)
        except OSError as problem:
            return unopened(problem, "any")
        if is_public(edge.address):
            facts["address"] = edge.address
        counts = {"hops": edge.ttl, "sent": ROUNDS, "lost": ROUNDS - len(rtts)}
        if not rtts:
            facts["detail"] = "the hop lets echoes through and reports expired ones, but answers none of its own"
            hop = {"edge_hop": str(edge.ttl)}
            return skipped(Reason.NOT_LEARNED_YET, counts=counts, facts=facts, learned=hop)
        durations = {"rtt": Histogram.of(rtts, lost=counts["lost"])}
        return ok(counts=counts, durations=durations, facts=facts, learned={"edge": edge.address})

    def close(self) -> None:
        """Closes the sockets."""
        self._pinger.close()

    async def _trace(self, place: Place, ttl_max: int) -> list[Hop]:
        found: Answers[Hop] = Answers(ttl_max)

        def hear(ttl: int, received: Received) -> None:
            error = received.error
            if error is None:
                found.add(ttl, Hop(ttl, received.source, end=True))
            elif error.origin in (Origin.ICMP, Origin.ICMP6) and error.type == TIME_EXCEEDED[place.family]:
                found.add(ttl, Hop(ttl, received.source))

        for _ in range(ROUNDS):
            for ttl in range(1, ttl_max + 1):
                if ttl not in found.held:
                    self._pinger.send(place.family, place.address, _SIZE, partial(hear, ttl), ttl)
            await found.all_or(SPACING)
        await found.all_or(PATIENCE)
        return [found.held.get(ttl, Hop(ttl, "")) for ttl in range(1, ttl_max + 1)]

    async def _echo(self, place: Place) -> list[int]:
        found: Answers[int] = Answers(ROUNDS)

        def hear(received: Received) -> None:
            if received.error is None:
                found.add(received.number, received.rtt)

        for _ in range(ROUNDS):
            self._pinger.send(place.family, place.address, _SIZE, hear)
            await asyncio.sleep(SPACING)
        await found.all_or(PATIENCE)
        return list(found.held.values())


class Answers(Generic[T]):
    """The first answer to each of ``wanted`` questions."""

    def __init__(self, wanted: int) -> None:
        self.held: dict[int, T] = {}
        self._wanted = wanted
        self._all = asyncio.Event()

    def add(self, question: int, answer: T) -> None:
        """Keeps an answer unless that question has one."""
        self.held.setdefault(question, answer)
        if len(self.held) >= self._wanted:
            self._all.set()

    async def all_or(self, seconds: float) -> None:
        """Returns when all are answered, or after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all.wait(), seconds)


def edge_of(hops: Iterable[Hop], nearest: int) -> Hop | None:
    """The first hop that answered at a distance of ``nearest`` or more and is not the destination."""
    for hop in hops:
        if hop.end:
            return None
        if hop.ttl >= nearest and hop.address:
            return hop
    return None


def first_beyond(family: Family) -> int:
    """The distance at which the provider's network begins: 2 behind a gateway of the office, 1 where this machine is
    the router itself. Blocking: reads the routing table."""
    for way in look():
        if version_of(way) == family:
            return 1 if is_router(way) else 2
    return 2


def path_of(hops: Iterable[Hop]) -> str:
    """The path in words, without addresses: ``1 router, 2 silent, 3 destination``."""
    words = []
    for hop in hops:
        words.append(f"{hop.ttl} {'destination' if hop.end else 'router' if hop.address else 'silent'}")
        if hop.end:
            break
    return ", ".join(words)


def _why_not(hops: list[Hop]) -> str:
    if any(hop.end for hop in hops):
        return "the destination lies right behind the gateway: nothing between them answers"
    return f"no router beyond the gateway answered within {len(hops)} hops"

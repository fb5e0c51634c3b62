"""The ``throughput`` probe: what the link delivers against its contract."""

import asyncio
import functools
import importlib
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from agent import addresses
from agent.neterrors import Unresolved
from agent.probe import Finding, LeaseRefused, Result, Span, Target, probe, skipped
from agent.probes.throughput.crosswatch import Watch
from agent.probes.throughput.engine import Direction, Engine, Progress, Terms
from agent.probes.throughput.limits import Place, Source
from agent.probes.throughput.nearby import Interface
from agent.probes.throughput.verdict import judged, summed_up
from agent.router_counters import RouterCounters
from wire.meetings import Load
from wire.settings import ContractTerms, ResponderAt, Role

RESOLVE_WITHIN = 2.0
"""Seconds for the responder's name, to know by which interface the test leaves."""


def _about(what: str) -> msgspec.Meta:
    return msgspec.Meta(description=what)


class ThroughputSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Against which responder and contract, by which engine, and what the agent knows of itself."""

    responder: Annotated[ResponderAt, _about("the far end")]
    contract: Annotated[ContractTerms | None, _about("the contract in force; none = the rate alone is found")] = None
    engine: Annotated[Literal["tcp", "light", "iperf3", "speedtest"], _about("how to measure")] = "tcp"
    directions: Annotated[tuple[Direction, ...], _about("down, up or both, in this order")] = (
        Direction.DOWN,
        Direction.UP,
    )
    slot: Annotated[str, _about("the slot that it is for")] = ""
    role: Annotated[Role, _about("the agent's role: room gives no contract evidence")] = Role.BOTH
    on_link: Annotated[bool, _about("whether the agent stands on this link, as its vantage says")] = True
    interface: Annotated[str, _about("by which the link is reached; a test that leaves by another is not of it")] = ""
    time_known: Annotated[bool, _about("whether the agent's time is tied to the collector's")] = True
    inline: Annotated[bool | None, _about("whether the agent is the link's router; none = its own settings say")] = None


@probe(
    "throughput",
    every=86_400.0,
    limit=60.0,
    load=Load.FULL,
    costs="about 1 s at the full rate in each direction: 22 MB down and 11 MB up on 200/80 Mbps",
)
class Throughput:
    """Rate of the link in each direction against its contract, and what else could have limited it."""

    Settings = ThroughputSettings

    def __init__(self) -> None:
        self.progress: Callable[[Progress], None] = lambda _: None
        """Told on the event loop how far a test is."""
        self.router: RouterCounters | None = None
        """Counters of the router towards the provider, where they can be read."""
        self.ask: Callable[[], RouterCounters | None] = lambda: None
        """Asked for them before each test where ``router`` is not set: the gateway may be another by then."""
        self.inline = False
        """Whether this machine is the router, where the test's settings do not say."""

    async def measure(self, target: Target, span: Span) -> Finding:  # noqa: ARG002 - a test knows its own length
        """One test by the engine of the settings, judged; a result for each direction."""
        settings: ThroughputSettings = target.settings
        module = await asyncio.to_thread(importlib.import_module, f"agent.probes.throughput.{settings.engine}")
        engine: Engine = module.ENGINE
        terms = Terms(
            settings.responder, settings.contract, target.leases, settings.directions, settings.slot, self.progress
        )
        place = await self._place(settings)
        watch = await Watch.begun(self.router or self.ask())
        try:
            results = await engine.run(terms)
        except LeaseRefused as no:
            return skipped(no.reason, facts={"detail": no.detail} if no.detail else {})
        await watch.ended(results)
        if watch.seen:
            place = place._replace(source=Source.ROUTER_COUNTERS)
        return summed_up(
            [
                judged(
                    one,
                    self._as_left(settings, watch.beside(one.direction, place), one),
                    settings.contract,
                    evidence=engine.evidence or settings.engine == "light",
                )
                for one in results
            ]
        )

    @staticmethod
    def _as_left(settings: ThroughputSettings, place: Place, result: Result) -> Place:
        """The place, unless the test left by another interface than that of the link: a backup by mobile network may
        have IPv6 where the line has none, a tunnel the way to the responder alone."""
        left_by = result.facts.get("interface", settings.interface)
        return place if settings.interface in ("", left_by) else place._replace(on_link=False)

    async def _place(self, settings: ThroughputSettings) -> Place:
        interface = Interface("")
        try:
            found = await addresses.resolve(settings.responder.host, settings.responder.tcp_port, RESOLVE_WITHIN)
        except Unresolved:
            pass  # the engine says so in its results
        else:
            first = found.addresses[0]
            interface = await asyncio.to_thread(Interface.towards, first.family, first.place)
        inline = self.inline if settings.inline is None else settings.inline
        place = await asyncio.to_thread(functools.partial(interface.place, inline=inline))
        return place._replace(
            role=settings.role,
            on_link=settings.on_link,
            time_known=settings.time_known,
            far_shared=settings.responder.shared,
        )

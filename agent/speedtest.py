"""``phrom-agent speedtest``: a throughput test that a person asks for, beside the daemon and by the same probe."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from agent.clock import SystemClock
from agent.connection import Connection
from agent.directory import Directory, of_collector
from agent.leases import CollectorLeases
from agent.once import Unspooled
from agent.probe import Finding, LeaseRefused, Span, Target, skipped
from agent.probes.throughput import Throughput, ThroughputSettings
from agent.probes.throughput.engine import Direction, Progress
from agent.router_settings import counters_of
from agent.settings import OwnSettings
from agent.state import Identity
from agent.vantage import Vantage
from agent.whereabouts import Whereabouts
from wire.reasons import Reason
from wire.settings import AgentSettings, ResponderAt

NOT_JOINED = "this machine has not joined: phrom-agent join URL CODE"
LONGEST = 150.0
"""Seconds; speedtest-cli may take 90, iperf3 with a busy server 80."""


class Wanted(NamedTuple):
    """What was asked for on the command line."""

    engine: str = "tcp"
    directions: tuple[Direction, ...] = (Direction.DOWN, Direction.UP)
    responder: str = ""
    """Id; empty = the preferred one."""
    server: str = ""
    """A host of somebody else's, for iperf3."""


class NoSuchResponder(LookupError):
    """The site may use no responder of that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"responder: found {name!r}, expected one of {', '.join(known) or 'none: the site has none'}")


async def speedtest(
    own: OwnSettings,
    settings: AgentSettings,
    who: Identity | None,
    wanted: Wanted,
    progress: Callable[[Progress], None],
) -> Finding:
    """Measures now, with a lease of the collector; raises :class:`NoSuchResponder`."""
    clock = await asyncio.to_thread(SystemClock)
    url = own.collector or (who.url if who else "")
    directory = Directory(of_collector(url))
    vantage = await _stand(clock, directory, settings)
    responder = _responder(settings, wanted)
    if who is None:
        return skipped(Reason.NO_LEASE, facts={"detail": NOT_JOINED})
    if responder is None:
        return skipped(Reason.NO_RESPONDER)
    gateway = directory.addresses.get("gateway", "")
    probe = Throughput()
    probe.progress = progress
    probe.router = counters_of(own.router, gateway)
    asked = ThroughputSettings(
        responder=_resolved(responder, directory),
        contract=settings.contract,
        engine=wanted.engine,  # type: ignore[arg-type]  # one of the choices of the command line
        directions=wanted.directions,
        role=settings.role,
        on_link=not settings.vantages or (vantage is not None and vantage.id in settings.vantages),
        interface=vantage.interface if vantage else "",
        inline=own.router.counters == "this-machine",
    )
    async with Connection(url, clock, token=who.token, ca=who.ca) as connection:
        leases = CollectorLeases(lambda: connection)
        return await _measured(probe, Target(responder.id, "", asked, leases))


async def _measured(probe: Throughput, target: Target) -> Finding:
    try:
        async with asyncio.timeout(LONGEST):
            return await probe.measure(target, Span(0.0, LONGEST))
    except LeaseRefused as no:
        return skipped(no.reason, facts={"detail": no.detail} if no.detail else {})


async def _stand(clock: SystemClock, directory: Directory, settings: AgentSettings) -> Vantage | None:
    """Where this machine stands; the directory learns the gateway by it."""
    whereabouts = Whereabouts(clock, Unspooled(), directory, lambda _: None)
    whereabouts.apply(settings)
    return await whereabouts.look()


def _responder(settings: AgentSettings, wanted: Wanted) -> ResponderAt | None:
    if wanted.server:
        return ResponderAt(id="", host=wanted.server)  # the lease is then permission alone, from the preferred one
    known = {one.id: one for one in settings.responders}
    if wanted.responder and wanted.responder not in known:
        raise NoSuchResponder(wanted.responder, list(known))
    return known.get(wanted.responder) or next(iter(known.values()), None)


def _resolved(responder: ResponderAt, directory: Directory) -> ResponderAt:
    return msgspec.structs.replace(responder, host=directory.resolve(responder.host))

"""The ``utilisation`` probe: how much of the link is in use, by counting what passes and sending nothing over it."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
import psutil

from agent.probe import Finding, Span, Target, ok, probe, skipped
from agent.router_counters import Counters, CountersUnavailable, RouterCounters, cross_traffic
from agent.vantage import look
from wire.meetings import Load
from wire.reasons import Reason

FIRST = 10.0
"""Seconds between two readings where there is none from a minute ago."""
OLD = 300.0
"""Seconds after which a reading is no longer compared with."""
LINK, OWN = "the whole link", "this machine alone"


class UtilisationSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The contract that the traffic is a share of, in bits per second; 0 = none."""

    download: Annotated[int, msgspec.Meta(ge=0, description="the contract's download, bits per second")] = 0
    upload: Annotated[int, msgspec.Meta(ge=0, description="the contract's upload, bits per second")] = 0


class OwnCounters:
    """The counters of this machine's interface of the default route."""

    async def read(self) -> Counters:
        """As :class:`agent.router_counters.RouterCounters` says."""
        return await asyncio.to_thread(self._read)

    @staticmethod
    def _read() -> Counters:
        place = look("")
        name = place.interface if place else ""
        found = psutil.net_io_counters(pernic=True).get(name)
        if found is None:
            raise CountersUnavailable(f"found no interface of a default route ({name or 'none'}), expected one")
        return Counters(found.bytes_recv, found.bytes_sent, time.monotonic())


@probe(
    "utilisation",
    every=60.0,
    limit=30.0,
    load=Load.TRICKLE,
    costs="nothing on the link; with UPnP or SNMP some 2 kB a minute between router and agent",
)
class Utilisation:
    """How much of the link is in use, by the router's counters or this machine's where it is the router."""

    Settings = UtilisationSettings

    def __init__(self) -> None:
        self.inline = False
        """Whether this machine is the router: then its own counters are the link's."""
        self.ask: Callable[[], RouterCounters | None] = lambda: None
        """Where the router's counters are read, as the machine's own settings say."""
        self._own = OwnCounters()
        self._before: dict[str, tuple[str, Counters]] = {}

    async def measure(self, target: Target, span: Span) -> Finding:  # noqa: ARG002
        """The mean since the last measurement, or over ten seconds."""
        try:
            source, after = await self._read()
            known, before = self._before.get(target.name, ("", after))
            if known != source or not 0 < after.at - before.at <= OLD:
                before = after
                await asyncio.sleep(FIRST)
                source, after = await self._read()
        except CountersUnavailable as none:
            return skipped(Reason.NOT_LEARNED_YET, facts={"detail": str(none)})
        self._before[target.name] = (source, after)
        return found(before, after, source, target.settings)

    async def _read(self) -> tuple[str, Counters]:
        counters = None if self.inline else self.ask()
        if counters is not None:
            try:
                return LINK, await counters.read()
            except CountersUnavailable:
                pass  # the router does not say: what this machine moved is better than nothing, and is called that
        return (LINK if self.inline else OWN), await self._own.read()


def found(before: Counters, after: Counters, source: str, settings: UtilisationSettings) -> Finding:
    """What passed between two readings; a share of the contract only where the whole link was counted."""
    passed = cross_traffic(before, after, 0, 0)
    if passed is None:
        return skipped(Reason.NOT_LEARNED_YET, facts={"detail": "the counters went backwards: they began anew"})
    values = {"receive_rate": passed.down, "send_rate": passed.up}
    if source == LINK:
        shares = (("down", passed.down, settings.download), ("up", passed.up, settings.upload))
        values |= {f"utilisation_{way}": rate / contract for way, rate, contract in shares if contract}
    return ok(values=values, facts={"counted": source})

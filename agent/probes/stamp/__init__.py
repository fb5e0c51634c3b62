"""The ``stamp`` probe: loss each way, round-trip time and delay variation of the link, all day, by STAMP (RFC 8762).

:mod:`ledger` counts, :mod:`transit` derives delays, :mod:`session` speaks the protocol, :mod:`findings` says what a
window found; :mod:`flow` alone touches the world.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Annotated

import msgspec

from agent.addresses import Address, Host, Port, resolve
from agent.neterrors import Unresolved, finding_of
from agent.probe import Finding, Span, Target, probe
from agent.probes.stamp.findings import finding
from agent.probes.stamp.flow import Flow
from wire.kernel_clock import ClockState, clock_state
from wire.meetings import Load

RESOLVE = 8.0
"""Seconds to wait for name servers; only where no session is open, which keeps its address."""


class StampSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which responder reflects."""

    responder: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="id of the responder")]
    host: Host
    port: Port = 8862


@probe("stamp", every=60.0, window=60.0, load=Load.TRICKLE, costs="1.4 kB a second each way (IPv4)")
class Stamp:
    """Ten small packets a second to a responder: loss each way, round-trip time, jitter and delay variation."""

    Settings = StampSettings

    def __init__(self, look: Callable[[], ClockState] = clock_state) -> None:
        self._look = look
        self._flows: dict[tuple[str, StampSettings], Flow] = {}

    async def measure(self, target: Target, span: Span) -> Finding:
        """One window of packets. It returns when its last packet is answered or lost, up to two seconds after its
        span; the next window of the same target goes on in the same session and loses nothing by that."""
        settings: StampSettings = target.settings
        begun = asyncio.get_running_loop().time()
        try:
            flow = await self._flow(target.name, settings)
        except Unresolved as problem:
            return finding_of(problem)
        late = asyncio.get_running_loop().time() - begun
        window = flow.begin(max(span.seconds - late, 0.002), target.leases)
        try:
            await flow.ended(window)
        except asyncio.CancelledError:
            if not window.tally.sent:
                raise
            # The runner records what a measurement that was cut gives: half a minute is evidence too.
        finally:
            if flow not in self._flows.values():
                flow.close()
        return finding(window, flow.sender.peer)

    def close(self) -> None:
        """Closes the sockets."""
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()

    async def _flow(self, name: str, settings: StampSettings) -> Flow:
        """The target's flow; one of its own for a measurement beside the continuous one (an order, say)."""
        held = self._flows.get((name, settings))
        if held is not None and held.free and held.sender.session is not None:
            return held
        addresses = await self._addresses(settings)
        if held is not None and held.free:
            held.aim(addresses)
            return held
        made = Flow(addresses, settings.responder, self._look)
        if held is None:
            self._tidy()
            self._flows[name, settings] = made
        return made

    def _tidy(self) -> None:
        for key in [key for key, one in self._flows.items() if one.stale]:
            self._flows.pop(key).close()

    @staticmethod
    async def _addresses(settings: StampSettings) -> list[Address]:
        return (await resolve(settings.host, settings.port, RESOLVE, socket.SOCK_DGRAM)).addresses

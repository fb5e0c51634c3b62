"""Whether UDP comes through: a STUN Binding (RFC 8489) to a media server and, if it is silent, to independent ones."""

import asyncio
import os
import socket
import time
from typing import Annotated

import msgspec
from msgspec import Meta

from agent import addresses
from agent.addresses import Address, Host, Port
from agent.datagrams import NoAnswer, Reply, doubling, exchange
from agent.neterrors import Unresolved, finding_of
from agent.probe import Finding, Span, Target, error, failed, ok, probe, skipped
from agent.probes.stun.codec import BINDING, Kind, MalformedStun, Message, decode, encode, error_code, mapped_address
from wire.histogram import Histogram
from wire.meetings import Load
from wire.reasons import Reason

CONTROLS = ("stun.l.google.com:19302", "meet-jit-si-turnrelay.jitsi.net:443")
"""Public STUN servers of two independent operators, from their own shipped settings (field notes, domain 3)."""
FEWEST_CONTROLS = 2
"""Independent servers known to answer that must be silent before UDP is called blocked; a target counts as one of them
if it is such a server itself (in :data:`CONTROLS`) or its settings say that it must answer."""
RTO = 0.5
"""First retransmission timeout in seconds (RFC 8489, section 6.2.1); it doubles each time."""
REQUESTS = 4
"""Requests to one server: at 0, 0.5, 1.5 and 3.5 s. The RFC's 7 would last 39.5 s, for a server that is worth it."""
WAIT = 7.5
"""Seconds from the first request until a server counts as silent: another doubling after the last one."""
HEAD_START = 3.5
"""Seconds after which the controls are asked while we still wait for the target."""
CONTROLS_KEPT = 60.0
"""Seconds for which the controls' answer serves every target."""
LOOKUP_WITHIN = 3.0


@probe("stun", every=60.0, limit=18.0, load=Load.TRICKLE, costs="28 B a request and about 80 B an answer, plus headers")
class Stun:
    """Asks a media server by STUN how it sees us: UDP comes through, round-trip time, public address."""

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """Whom to ask, and whom else if it is silent."""

        host: Host
        port: Port = 3478
        controls: Annotated[
            tuple[str, ...],
            Meta(description="host:port of independent STUN servers, asked only while this one is silent"),
        ] = CONTROLS
        must_answer: Annotated[
            bool,
            Meta(description="whether silence of this host alone is a failure; media ports may be silent by design"),
        ] = False

    def __init__(self) -> None:
        self._controls: dict[str, tuple[float, bool]] = {}

    async def measure(self, target: Target, span: Span) -> Finding:
        """One Binding, retransmitted; the controls only if it is silent. ``span`` must leave 12 s to decide."""
        settings: Stun.Settings = target.settings
        durations: dict[str, Histogram] = {}
        try:
            controls = [_host_and_port(one) for one in settings.controls]
        except ValueError as problem:
            return error(Reason.BAD_TARGET, facts={"detail": str(problem), "remedy": "write controls as host:port"})
        patience = min(1.0, (span.limit - LOOKUP_WITHIN - 1.0) / (HEAD_START + WAIT))
        try:
            address, took = await _address(settings.host, settings.port)
            if took is not None:
                durations["lookup"] = Histogram.of([took])
            asking = asyncio.ensure_future(_bind(address, patience))
            try:
                await asyncio.wait([asking], timeout=HEAD_START * patience)
                others = [] if asking.done() else [one for one in controls if one[0] != settings.host]
                answered = await self._ask_controls(others, patience)
                reply = await asking
            finally:
                asking.cancel()
        except NoAnswer as silence:
            return _silence(silence, settings, len(others), answered, durations)
        except (Unresolved, OSError) as problem:
            return finding_of(problem, durations=durations)
        return _judge(reply, address, durations)

    async def _ask_controls(self, controls: list[tuple[str, int]], patience: float) -> int:
        """How many of the controls answered within the last minute or answer now."""
        return sum(await asyncio.gather(*(self._control(host, port, patience) for host, port in controls)))

    async def _control(self, host: str, port: int, patience: float) -> bool:
        known = self._controls.get(f"{host}:{port}")
        if known is not None and time.monotonic() - known[0] < CONTROLS_KEPT:
            return known[1]
        try:
            address, _ = await _address(host, port)
            await _bind(address, patience)
            answered = True
        except (NoAnswer, Unresolved, OSError):
            answered = False
        self._controls[f"{host}:{port}"] = (time.monotonic(), answered)
        return answered


async def _address(host: str, port: int) -> tuple[Address, int | None]:
    """The address to ask, IPv4 first: media of the platforms is IPv4 still, and its absence must not hide UDP."""
    resolved = await addresses.resolve(host, port, LOOKUP_WITHIN, socket.SOCK_DGRAM)
    chosen = next((one for one in resolved.addresses if one.family == socket.AF_INET), resolved.addresses[0])
    return chosen, resolved.took


async def _bind(address: Address, patience: float) -> Reply[Message]:
    transaction = os.urandom(12)
    request = encode(Message(Kind.REQUEST, BINDING, transaction), fingerprint=True)

    def accept(data: bytes) -> Message | None:
        message = decode(data)
        if message.transaction != transaction or message.method != BINDING:
            return None
        if message.kind is Kind.SUCCESS:
            mapped_address(message)
        elif message.kind is Kind.ERROR:
            error_code(message)
        else:
            return None
        return message

    at = doubling(RTO * patience, REQUESTS)
    return await exchange(address, lambda _number, _local: request, at, WAIT * patience, accept, MalformedStun)


def _judge(reply: Reply[Message], address: Address, durations: dict[str, Histogram]) -> Finding:
    facts = dict(address.facts)
    if reply.sent == 1:
        durations = {**durations, "rtt": Histogram.of([reply.took])}
    if reply.value.kind is Kind.ERROR:
        number, phrase = error_code(reply.value)  # an answer all the same: UDP comes through
        facts["stun_error"] = f"{number} {phrase}".strip()[:100]
    endpoint = mapped_address(reply.value) if reply.value.kind is Kind.SUCCESS else None
    if endpoint is not None:
        text = str(endpoint.address)
        facts["mapped_address"] = text if addresses.is_public(text) else "private"
        facts["mapped_family"] = f"ipv{endpoint.address.version}"
    return ok(counts={"attempts": reply.sent}, durations=durations, facts=facts)


def _silence(
    silence: NoAnswer, settings: Stun.Settings, asked: int, answered: int, durations: dict[str, Histogram]
) -> Finding:
    facts = {"controls": f"{answered} of {asked} answered"}
    found = {"counts": {"attempts": silence.sent}, "durations": durations, "facts": facts}
    if silence.garbage is not None:
        facts["detail"] = str(silence.garbage)[:200]
        return failed(Reason.MALFORMED_ANSWER, **found)
    if settings.must_answer and (answered or not asked):
        return failed(Reason.NO_REPLY, **found)
    if answered:
        return skipped(Reason.SILENCE_PROVES_NOTHING, **found)
    known_to_answer = settings.must_answer or f"{settings.host}:{settings.port}" in CONTROLS
    if asked + known_to_answer >= FEWEST_CONTROLS:
        return failed(Reason.UDP_BLOCKED, **found)
    return skipped(Reason.CONTROLS_SILENT, **found)


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65_536):
        raise ValueError(f"controls: found {text!r}, expected host:port such as {CONTROLS[0]}")
    return host.strip("[]"), int(port)

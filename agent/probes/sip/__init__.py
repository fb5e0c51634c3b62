"""Whether a SIP server (a room unit's registrar, a conference bridge) answers OPTIONS, over UDP or TCP."""

import asyncio
import errno
import os
import socket
import time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent import addresses
from agent.addresses import Address, Host, Port, Resolved
from agent.datagrams import NoAnswer, doubling, exchange
from agent.neterrors import Unresolved, finding_of, no_ipv6, without_ipv6
from agent.probe import Finding, Span, Target, failed, ok, probe
from agent.probes.sip.codec import MAGIC, MalformedSip, Response, head_end, options, parse
from wire.histogram import Histogram
from wire.meetings import Load
from wire.reasons import Reason

T1, T2 = 0.5, 4.0
"""Seconds: first distance of retransmissions over UDP and its cap (RFC 3261, sections 17.1.2.2 and 17.1.1.1)."""
REQUESTS = 5
"""Requests over UDP: at 0, 0.5, 1.5, 3.5 and 7.5 s. Timer F would go on for 32 s."""
WAIT = 11.5
"""Seconds until a UDP server counts as silent: T2 after the last request."""
LOOKUP_WITHIN = 3.0


@probe(
    "sip", every=60.0, limit=16.0, load=Load.TRICKLE, costs="about 400 B a request, 500 B an answer; silent: 5 requests"
)
class Sip:
    """Asks a SIP server for its OPTIONS (RFC 3261): any SIP answer, a refusal too, proves that it is there."""

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """Whom to ask, and over what."""

        host: Host
        port: Port = 5060
        transport: Annotated[Literal["udp", "tcp"], Meta(description="over what to ask")] = "udp"

    async def measure(self, target: Target, span: Span) -> Finding:
        """One transaction. Over UDP it is retransmitted; over TCP it is one request on a connection of its own."""
        settings: Sip.Settings = target.settings
        kind = socket.SOCK_DGRAM if settings.transport == "udp" else socket.SOCK_STREAM
        durations: dict[str, Histogram] = {}
        only_ipv6 = False
        patience = max(0.01, min(1.0, (span.limit - LOOKUP_WITHIN - 1.0) / WAIT))
        try:
            resolved = await addresses.resolve(settings.host, settings.port, LOOKUP_WITHIN, kind)
            if resolved.took is not None:
                durations["lookup"] = Histogram.of([resolved.took])
            only_ipv6 = all(one.family == socket.AF_INET6 for one in resolved.addresses)
            if settings.transport == "udp":
                return await _over_udp(settings, _preferred(resolved), patience, durations)
            return await _over_tcp(settings, resolved, patience, durations)
        except (Unresolved, OSError) as problem:
            if only_ipv6 and without_ipv6(problem):
                return no_ipv6(durations=durations)
            return finding_of(problem, durations=durations)


async def _over_udp(
    settings: Sip.Settings, address: Address, patience: float, durations: dict[str, Histogram]
) -> Finding:
    token = os.urandom(12).hex()

    def request(_number: int, local: tuple[str, int]) -> bytes:
        return options(settings.host, settings.port, "udp", local, token)

    def accept(data: bytes) -> Response | None:
        response = parse(data)
        return response if response.branch in (MAGIC + token, None) else None

    at = doubling(T1 * patience, REQUESTS, T2 * patience)
    try:
        reply = await exchange(address, request, at, WAIT * patience, accept, MalformedSip)
    except NoAnswer as silence:
        return _silence(silence.garbage, silence.sent, durations)
    if reply.sent == 1:
        durations["rtt"] = Histogram.of([reply.took])
    return _judge(reply.value, reply.sent, address, durations)


async def _over_tcp(
    settings: Sip.Settings, resolved: Resolved, patience: float, durations: dict[str, Histogram]
) -> Finding:
    loop = asyncio.get_running_loop()
    connected = await addresses.connect(resolved.addresses, WAIT * patience / 2)
    durations["connect"] = Histogram.of([connected.took])
    with connected.sock as sock:
        local = sock.getsockname()[:2]
        request = options(settings.host, settings.port, "tcp", local, os.urandom(12).hex())
        started = time.perf_counter_ns()
        try:
            async with asyncio.timeout(WAIT * patience / 2):
                await loop.sock_sendall(sock, request)
                response = await _read(sock)
        except TimeoutError:
            return _silence(None, 1, durations)
        except MalformedSip as problem:
            return _silence(problem, 1, durations)
        durations["rtt"] = Histogram.of([time.perf_counter_ns() - started])
    return _judge(response, 1, connected.address, durations)


async def _read(sock: socket.socket) -> Response:
    loop = asyncio.get_running_loop()
    data = b""
    while True:
        piece = await loop.sock_recv(sock, 65_536)
        if not piece:
            if data.strip(b"\r\n"):
                raise MalformedSip("the connection ended within the headers")
            raise ConnectionResetError(errno.ECONNRESET, "closed without an answer")
        data = (data + piece).lstrip(b"\r\n")  # empty lines keep a connection alive (RFC 5626)
        if data and head_end(data) is not None:
            return parse(data)


def _judge(response: Response, sent: int, address: Address, durations: dict[str, Histogram]) -> Finding:
    facts = dict(address.facts)
    software = response.first("server") or response.first("user-agent")
    if software:
        facts["software"] = software[:200]
    if response.phrase:
        facts["phrase"] = response.phrase[:100]
    return ok(counts={"attempts": sent, "status": response.status}, durations=durations, facts=facts)


def _silence(garbage: Exception | None, sent: int, durations: dict[str, Histogram]) -> Finding:
    counts = {"attempts": sent}
    if garbage is not None:
        facts = {"detail": str(garbage)[:200]}
        return failed(Reason.MALFORMED_ANSWER, counts=counts, durations=durations, facts=facts)
    return failed(Reason.NO_REPLY, counts=counts, durations=durations)


def _preferred(resolved: Resolved) -> Address:
    return next((one for one in resolved.addresses if one.family == socket.AF_INET), resolved.addresses[0])

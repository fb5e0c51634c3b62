"""The ``ntp`` probe: how far this machine's clock is from a time server's. :mod:`codec` reads and writes the bytes."""

import asyncio
import secrets
import socket
import time
from typing import Annotated, NamedTuple

import msgspec

from agent.addresses import Address, Host, Port, resolve
from agent.neterrors import Unresolved, finding_of
from agent.probe import Finding, Span, Target, failed, ok, probe, skipped
from agent.probes.ntp import codec
from agent.probes.ntp.codec import Answer, Kiss, Sample, Unsynchronised
from wire.histogram import Histogram
from wire.meetings import Load
from wire.reasons import Reason

SPACING = 2.0
"""Seconds between the samples of one measurement (RFC 5905 §13, the spacing of a burst)."""
TIMEOUT = 1.5
"""Seconds to wait for one answer."""
RESOLVE = 8.0
"""Seconds to wait for the server's address."""
COURTESY = 60.0
"""Seconds before a server is asked again, whoever wishes it."""
AFTER_RATE = 3600.0
"""Seconds of peace for a server that answered with the kiss ``RATE``, and ..."""
AFTER_DENY = 86_400.0
"""... with ``DENY`` or ``RSTD``, after which RFC 5905 §7.4 wants no packet at all; a day later somebody may have
granted us access."""


class NtpSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which server is asked, and how often in one measurement."""

    host: Host
    port: Port = 123
    samples: Annotated[int, msgspec.Meta(ge=1, le=8, description="how many requests, two seconds apart")] = 4


class _Peace(NamedTuple):
    until: float
    why: str


@probe(
    "ntp",
    every=1024.0,
    limit=30.0,
    load=Load.TRICKLE,
    costs="four packets of 76 B each way every 17 minutes",
)
class Ntp:
    """NTP in client mode (RFC 5905): offset of this machine's clock, with a bound on its error."""

    Settings = NtpSettings

    def __init__(self) -> None:
        self._peace: dict[tuple[str, int], _Peace] = {}

    async def measure(self, target: Target, span: Span) -> Finding:
        """Four samples; the median counts. A server is left in peace for a minute, and longer if it says so."""
        settings: NtpSettings = target.settings
        server = (settings.host, settings.port)
        now = asyncio.get_running_loop().time()
        self._peace = {one: peace for one, peace in self._peace.items() if peace.until > now}
        if server in self._peace:
            return skipped(Reason.TOO_SOON, facts={"detail": self._peace[server].why})
        self._peace[server] = _Peace(now + COURTESY, "this server was asked less than a minute ago")
        try:
            address = (await resolve(*server, min(RESOLVE, span.limit), socket.SOCK_DGRAM)).addresses[0]
            exchange = await _ask(address, settings.samples)
        except (OSError, Unresolved) as problem:
            return finding_of(problem)
        if exchange.kiss:
            peace = AFTER_RATE if exchange.kiss == "RATE" else AFTER_DENY
            why = f"the server refused with the kiss-o'-death {exchange.kiss}: no request for {peace / 3600:.0f} h"
            self._peace[server] = _Peace(asyncio.get_running_loop().time() + peace, why)
        return finding(exchange)


class Exchange:
    """What became of the requests of one measurement."""

    def __init__(self) -> None:
        self.sent = 0
        self.samples: list[Sample] = []
        self.kiss = ""
        self.unsynchronised = False
        self.nonsense = False


async def _ask(address: Address, samples: int) -> Exchange:
    loop = asyncio.get_running_loop()
    exchange = Exchange()
    with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(address.place)
        for number in range(samples):
            begun = loop.time()
            exchange.sent += 1
            await _sample(sock, exchange)
            if exchange.kiss:
                break
            if number + 1 < samples:
                await asyncio.sleep(max(0.0, SPACING - (loop.time() - begun)))
    return exchange


async def _sample(sock: socket.socket, exchange: Exchange) -> None:
    loop = asyncio.get_running_loop()
    nonce = secrets.randbits(64) | 1
    sent, started = time.time_ns(), time.monotonic_ns()
    try:
        async with asyncio.timeout(TIMEOUT):
            await loop.sock_sendall(sock, codec.request(nonce))
            while True:
                data = await loop.sock_recv(sock, 1024)
                took = time.monotonic_ns() - started
                found = codec.answer(data, nonce)
                if found is not None:
                    break
                exchange.nonsense = True
    except TimeoutError:
        return
    if isinstance(found, Kiss):
        exchange.kiss = found.code
    elif isinstance(found, Unsynchronised):
        exchange.unsynchronised = True
    else:
        _take(exchange, found, sent, took)


def _take(exchange: Exchange, found: Answer, sent: int, took: int) -> None:
    sample = codec.sample(found, sent, took)
    if sample is None:
        exchange.nonsense = True
    else:
        exchange.samples.append(sample)


def finding(exchange: Exchange) -> Finding:
    """What the exchange says of the server and of this machine's clock."""
    answered = len(exchange.samples)
    counts = {"sent": exchange.sent, "lost": exchange.sent - answered}
    facts = {"kiss": exchange.kiss} if exchange.kiss else {}
    if not answered:
        if exchange.kiss:
            return failed(Reason.REFUSED, counts=counts, facts=facts)
        if exchange.unsynchronised:
            detail = "the server says that its own clock is not set"
            return failed(Reason.MALFORMED_ANSWER, counts=counts, facts={"detail": detail})
        if exchange.nonsense:
            detail = "datagrams came, but none answered our request"
            return failed(Reason.MALFORMED_ANSWER, counts=counts, facts={"detail": detail})
        return failed(Reason.NO_REPLY, counts=counts)
    clock = codec.middle(exchange.samples)
    delays = Histogram.of((round(one.delay * 1e9) for one in exchange.samples), lost=counts["lost"])
    return ok(
        counts={**counts, "stratum": clock.stratum},
        values={"clock_offset": clock.offset, "clock_error": clock.error},
        durations={"rtt": delays},
        facts=facts,
    )

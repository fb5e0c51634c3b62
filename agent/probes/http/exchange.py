"""One GET on a fresh connection, with the time of each of its steps."""

import asyncio
import contextvars
import socket
import ssl
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from agent import addresses, trust
from wire.histogram import Histogram

MOST_BODY = 65_536
"""Bytes of a page that are read at most: enough to find a text, too little to weigh on a meeting."""
HEADERS = {
    "User-Agent": "Phrom (checks that this page can be reached; one request a minute or fewer)",
    "Accept": "text/html,*/*;q=0.5",
    "Accept-Language": "th,en;q=0.8",
    "Accept-Encoding": "identity",
}
LOOKUP_WITHIN = 4.0
"""Seconds a name may take; after this the name server counts as silent."""


class Steps:
    """Instants (``perf_counter_ns``) and durations (ns) of the exchanges of one measurement, hop by hop."""

    def __init__(self) -> None:
        self.took: dict[str, list[int]] = {}
        self.stage = "start"
        """What was under way last; says where a time limit struck."""
        self.families: list[str] = []
        """Families of the addresses tried, in order; the last one is that of the connection."""
        self._since = 0
        self._connecting = False

    def begin(self, stage: str) -> None:
        """A step begins now."""
        self.stage = stage
        self._connecting = False
        self._since = time.perf_counter_ns()

    def done(self, next_stage: str) -> None:
        """The step under way ended now and the next began."""
        now = time.perf_counter_ns()
        self.took.setdefault(self.stage, []).append(now - self._since)
        self.stage = next_stage
        self._connecting = False
        self._since = now

    def connecting(self) -> None:
        """The first socket was made: what aiohttp did until then is not the network's time."""
        if self.stage == "connect" and not self._connecting:
            self._connecting = True
            self._since = time.perf_counter_ns()

    def handshaking(self) -> None:
        """TCP stands and TLS begins."""
        if self.stage == "connect":
            self.done("handshake")

    def histograms(self) -> dict[str, Histogram]:
        """Durations as measures; the body's own time is within ``whole``."""
        kept = ("lookup", "connect", "handshake", "first_byte")
        return {name: Histogram.of(self.took[name]) for name in kept if name in self.took}


_steps: contextvars.ContextVar[Steps | None] = contextvars.ContextVar("http_steps", default=None)


class Answer(NamedTuple):
    """What came back: the status, where it points to, and the first bytes of the page."""

    status: int
    location: str | None
    body: bytes
    cut: bool


class Resolver(AbstractResolver):
    """The system's resolver through :mod:`agent.addresses`, whose failures are told apart."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of ``host``; raises :class:`agent.neterrors.Unresolved`."""
        found = await addresses.resolve(host, port, LOOKUP_WITHIN)
        return [
            ResolveResult(hostname=host, host=one.text, port=port, family=one.family, proto=0, flags=0)
            for one in found.addresses
            if family in (socket.AF_UNSPEC, one.family)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def open_session() -> aiohttp.ClientSession:
    """A session that keeps no cookies, no connections, no names and follows nothing by itself."""
    connector = aiohttp.TCPConnector(
        force_close=True,
        limit=0,
        use_dns_cache=False,
        resolver=Resolver(),
        socket_factory=_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=HEADERS,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        trace_configs=[_tracing()],
        trust_env=False,
    )


async def get(
    session: aiohttp.ClientSession, url: URL, steps: Steps, within: float, context: ssl.SSLContext | bool = True
) -> Answer:
    """One GET within ``within`` seconds; raises ``aiohttp.ClientError``, ``OSError`` or ``Unresolved``."""
    _steps.set(steps)
    trust.on_handshake.set(steps.handshaking)
    async with (
        asyncio.timeout(within),
        session.get(url, ssl=context, allow_redirects=False, trace_request_ctx=steps) as response,
    ):
        steps.done("body")
        body = bytearray()
        while len(body) <= MOST_BODY:
            piece = await response.content.read(MOST_BODY + 1 - len(body))
            if not piece:
                break
            body += piece
        return Answer(response.status, response.headers.get("Location"), bytes(body[:MOST_BODY]), len(body) > MOST_BODY)


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    steps = _steps.get()
    if steps is not None:
        steps.connecting()
        steps.families.append("ipv6" if family == socket.AF_INET6 else "ipv4")
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    return sock


def _tracing() -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()

    async def connecting(_session: Any, trace: SimpleNamespace, _params: Any) -> None:
        trace.trace_request_ctx.begin("connect")

    async def resolving(_session: Any, trace: SimpleNamespace, _params: Any) -> None:
        trace.trace_request_ctx.begin("lookup")

    async def resolved(_session: Any, trace: SimpleNamespace, _params: Any) -> None:
        trace.trace_request_ctx.done("connect")

    async def connected(_session: Any, trace: SimpleNamespace, _params: Any) -> None:
        trace.trace_request_ctx.done("request")

    async def sent(_session: Any, trace: SimpleNamespace, _params: Any) -> None:
        trace.trace_request_ctx.begin("first_byte")

    config.on_connection_create_start.append(connecting)
    config.on_dns_resolvehost_start.append(resolving)
    config.on_dns_resolvehost_end.append(resolved)
    config.on_connection_create_end.append(connected)
    config.on_request_headers_sent.append(sent)
    return config

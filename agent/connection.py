"""The connection to the collector: one HTTPS session, the token, and every failure named for its cause."""

import asyncio
import gzip
import ssl
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from agent.backoff import retry_after
from agent.clock import Clock
from agent.refusals import (
    Busy,
    ConnectionLost,
    ExchangeFailed,
    LeaseDenied,
    NotACollector,
    Rejected,
    SettingsUnreadable,
    TokenRefused,
    TooLarge,
    Unreachable,
)
from wire.batch import Envelope, Receipt
from wire.lease import Grant, LeaseRequest, NoLease
from wire.settings import AgentSettings, JoinAnswer, JoinRequest, Problem, TokenAnswer
from wire.version import UnknownProtocol, minor_of

PATIENCE = 30.0
"""Seconds for a whole exchange: an envelope over a line of 300 kbit/s, or a server that hangs."""
CONNECTING = 10.0
_GZIP_FROM = 1024
_GZIP_IN_THREAD = 64 * 1024
_LARGEST_ANSWER = 4 * 1024 * 1024
_PROBLEM = "application/problem+json"
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL. A box without a clock battery believes in 1970 and could never fetch the time;
where the authority itself is pinned, and signs nothing but the collector, dates add nothing."""
_receipt = msgspec.json.Decoder(Receipt)
_settings = msgspec.json.Decoder(AgentSettings)
_encoder = msgspec.json.Encoder()


class UnsafeAddress(ValueError):
    """An address that would carry the token in clear or nowhere."""


class Answered(NamedTuple):
    """A receipt and when, on CLOCK_BOOTTIME, its request left and it arrived."""

    receipt: Receipt
    sent: int
    received: int


class _Reply(NamedTuple):
    status: int
    kind: str
    body: bytes
    headers: dict[str, str]


def checked_address(url: str) -> str:
    """The collector's base address without a trailing slash. Raises :class:`UnsafeAddress` for anything but https, or
    http to this machine itself."""
    parts = urlsplit(url.strip())
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
        raise UnsafeAddress(f"collector: found {url!r}, expected an address such as https://collector.example:8480")
    if parts.scheme == "http" and not _is_loopback(host):
        raise UnsafeAddress(f"collector: found {url!r}, expected https (http only to this machine itself)")
    return url.strip().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trust(ca: str) -> ssl.SSLContext:
    """The TLS context for a pinned authority (PEM), or for the system's roots where there is none. Reads files: call
    it in a thread."""
    if not ca:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the authority signs nothing but the collector, whose address may change
    context.load_verify_locations(cadata=ca)
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


class Connection:
    """``async with Connection(url, clock, token=..., ca=...) as connection``. Every request raises a class of
    :mod:`agent.refusals`; no message ever holds the token."""

    def __init__(self, url: str, clock: Clock, *, token: str = "", ca: str = "", patience: float = PATIENCE) -> None:
        self.url = checked_address(url)
        self._clock = clock
        self._token = token
        self.tokens = 1
        """How many tokens it was given so far."""
        self._ca = ca
        self._patience = aiohttp.ClientTimeout(total=patience, connect=min(CONNECTING, patience))
        self._session: aiohttp.ClientSession | None = None
        self._context: ssl.SSLContext | bool = True

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the session."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def use_token(self, token: str) -> None:
        """The token for what follows."""
        self._token = token
        self.tokens += 1

    async def post(self, envelope: Envelope) -> Answered:
        """Delivers an envelope; see :mod:`agent.refusals` for what it raises."""
        body = _encoder.encode(envelope)
        headers = {"Content-Type": "application/json"}
        if len(body) >= _GZIP_FROM:
            packed = await asyncio.to_thread(_pack, body) if len(body) >= _GZIP_IN_THREAD else _pack(body)
            body, headers["Content-Encoding"] = packed, "gzip"
        await self._opened()
        sent = self._clock.boottime()
        try:
            reply = await self._request("POST", "/api/v1/observations", body, headers)
        except ConnectionLost:
            # The collector closed an idle connection, or the machine slept. Sending a batch twice changes nothing.
            sent = self._clock.boottime()
            reply = await self._request("POST", "/api/v1/observations", body, headers)
        received = self._clock.boottime()
        self._expect(reply, 200)
        try:
            receipt = _receipt.decode(reply.body)
            minor_of(receipt.protocol)
        except (msgspec.DecodeError, UnknownProtocol) as error:
            raise NotACollector(f"{self.url} answered 200 without a receipt: {error}") from error
        return Answered(receipt, sent, received)

    async def fetch_settings(self, known: str = "") -> AgentSettings | None:
        """The settings for this agent; ``None`` when ``known`` is their revision still."""
        headers = {"If-None-Match": f'"{known}"'} if known else {}
        reply = await self._request("GET", "/api/v1/settings", None, headers)
        if reply.status == 304 and known:
            return None
        self._expect(reply, 200)
        try:
            return _settings.decode(reply.body)
        except msgspec.DecodeError as error:
            raise SettingsUnreadable(f"{self.url}/api/v1/settings: {error}") from error

    async def new_token(self) -> str:
        """Asks for a second token; the present one is valid until the new one is used."""
        reply = await self._request("POST", "/api/v1/token", b"", {})
        self._expect(reply, 200)
        try:
            return msgspec.json.decode(reply.body, type=TokenAnswer).token
        except msgspec.DecodeError as error:
            raise NotACollector(f"{self.url} answered 200 without a token") from error

    async def lease(self, request: LeaseRequest) -> Grant:
        """Asks for the right to use a responder; raises :class:`agent.refusals.LeaseDenied` where the answer is no."""
        reply = await self._request(
            "POST", "/api/v1/leases", _encoder.encode(request), {"Content-Type": "application/json"}
        )
        if reply.status == 409 and (problem := _problem_of(reply)) is not None:
            wait = retry_after(reply.headers["Retry-After"], reply.headers["Date"])
            raise LeaseDenied(problem.detail or problem.title, NoLease(problem.field), wait)
        self._expect(reply, 200)
        try:
            return msgspec.json.decode(reply.body, type=Grant)
        except msgspec.DecodeError as error:
            raise NotACollector(f"{self.url} answered 200 without a lease") from error

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Enrols with a code."""
        reply = await self._request(
            "POST", "/api/v1/join", _encoder.encode(request), {"Content-Type": "application/json"}
        )
        self._expect(reply, 200)
        try:
            return msgspec.json.decode(reply.body, type=JoinAnswer)
        except msgspec.DecodeError as error:
            raise NotACollector(f"{self.url} answered 200 without an agent's identity: {error}") from error

    async def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self.url.startswith("https:"):
                self._context = await asyncio.to_thread(trust, self._ca)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=4, ssl=self._context, ttl_dns_cache=60),
                timeout=self._patience,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
            )
        return self._session

    async def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> _Reply:
        session = await self._opened()
        if self._token:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        try:
            async with session.request(
                method, self.url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                found = await response.content.read(_LARGEST_ANSWER + 1)
                while len(found) <= _LARGEST_ANSWER and (more := await response.content.read(_LARGEST_ANSWER)):
                    found += more
                if len(found) > _LARGEST_ANSWER:
                    raise NotACollector(f"{self.url} answered more than {_LARGEST_ANSWER} bytes")
                wanted = {name: response.headers.get(name, "") for name in ("Retry-After", "Date")}
                return _Reply(response.status, response.content_type, found, wanted)
        except TimeoutError as error:
            raise Unreachable(f"{self.url}: no answer within {self._patience.total:g} s") from error
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as error:
            raise ConnectionLost(f"{self.url}: {str(error) or type(error).__name__}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.url}: {str(error) or type(error).__name__}") from error

    def _expect(self, reply: _Reply, status: int) -> None:
        """Raises what the status means where it is not the expected one."""
        if reply.status == status:
            return
        ours, words = self._words_of(reply)
        words = f"{self.url} answered {reply.status}{words}"
        if reply.status in (429, 503):
            raise Busy(words, retry_after(reply.headers["Retry-After"], reply.headers["Date"]))
        if reply.status == 413:
            raise TooLarge(words)
        if ours and reply.status in (401, 403):
            raise TokenRefused(words)
        if ours and reply.status in (400, 411, 415, 422):
            raise Rejected(words)
        raise (ExchangeFailed if ours else NotACollector)(words)

    @staticmethod
    def _words_of(reply: _Reply) -> tuple[bool, str]:
        if reply.kind != _PROBLEM:
            return False, f" with {reply.kind or 'no content type'}, expected a collector of Phrom"
        problem = _problem_of(reply)
        if problem is None:
            return False, " with an unreadable problem document"
        return True, f": {problem.title}" + (f" ({problem.detail})" if problem.detail else "")


def _problem_of(reply: _Reply) -> Problem | None:
    """The problem document of a refusal; ``None`` where it is none of ours."""
    if reply.kind != _PROBLEM:
        return None
    try:
        return msgspec.json.decode(reply.body, type=Problem)
    except msgspec.DecodeError:
        return None


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=6, mtime=0)

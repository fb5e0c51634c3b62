"""A collector in memory, faithful in what an agent can see of it: the ledger, receipts, orders, settings, joining.

``behave`` takes one behaviour per coming post, then it answers rightly again; ``always`` holds until changed.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any

import msgspec
from aiohttp import web

from agent.clock import Clock
from wire.batch import (
    Batch,
    BatchReceipt,
    BatchStatus,
    Dropped,
    Envelope,
    Receipt,
    Sealed,
    decode_batch,
    decode_observation,
    digest_of,
)
from wire.clock import Instant
from wire.observation import Observation
from wire.orders import Order, OrderAnswer
from wire.reasons import Refusal
from wire.settings import AgentSettings, JoinAnswer, JoinRequest, Problem, TokenAnswer
from wire.version import PROTOCOL

TOKEN = "pha_" + "t" * 43


class Behaviour(Enum):
    """What the collector does with a post instead of answering rightly."""

    DROP_RECEIPT = auto()
    """Commits, then the connection breaks."""
    HANG = auto()
    NOT_JSON = auto()
    """200 with a page of a captive portal."""
    PORTAL_REDIRECT = auto()
    PROXY_404 = auto()
    BUSY = auto()
    TOO_LARGE = auto()
    REVOKED = auto()
    REJECT = auto()
    FILTER = auto()
    """Something on the way lets heartbeats through and answers 400 to every envelope with batches."""
    DEFER = auto()
    REFUSE = auto()
    LIE = auto()
    """Says ``stored`` for batches that were never sent, and nothing of those that were."""
    TIME_TRAVEL = auto()
    """Claims to have held the request for longer than it took."""


class FakeCollector:
    """``async with FakeCollector(clock) as collector`` serves on port 0 of loopback."""

    def __init__(self, clock: Clock, *, tls: ssl.SSLContext | None = None, offset: int = 0) -> None:
        self.clock = clock
        self.offset = offset
        """Microseconds by which its clock differs from ``clock.wall()``'s start; see ``now``."""
        self._tls = tls
        self._utc0 = clock.wall() - clock.boottime() + offset
        self.ledger: dict[tuple[str, int], bytes] = {}
        self.arrivals: list[tuple[str, int]] = []
        """(stream, seq) in the order in which they were stored."""
        self.duplicates = 0
        self.dropped: list[tuple[str, Dropped]] = []
        self.envelopes: list[Envelope] = []
        self.answers: list[OrderAnswer] = []
        self.orders: list[Order] = []
        self.token = TOKEN
        self.next_token = ""
        self.settings = AgentSettings(revision="rev-1")
        self.announce = ""
        self.settings_fetched = 0
        self.coming: list[Behaviour] = []
        self.always: Behaviour | None = None
        self.refuse: Callable[[Batch], Refusal | None] = lambda _: None
        self.most_batches: int | None = None
        self.retry_after = ""
        self.joins: list[JoinRequest] = []
        self.join_problem: Problem | None = None
        self.ca = ""
        self.live_every = 5.0
        self.posted = asyncio.Event()
        self.on_post: Callable[[Envelope], Awaitable[None]] | None = None
        self.release = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    def behave(self, *behaviours: Behaviour) -> None:
        self.coming.extend(behaviours)

    def now(self) -> Instant:
        """The collector's UTC: true time, whatever happens to the agent's wall clock."""
        return self.clock.boottime() + self._utc0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "FakeCollector":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/api/v1/observations", self._observations)
        app.router.add_get("/api/v1/settings", self._settings)
        app.router.add_post("/api/v1/token", self._token)
        app.router.add_post("/api/v1/join", self._join)
        app.router.add_get("/api/v1/ca", self._ca)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.release.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # what it holds

    def batches(self) -> list[Batch]:
        """What was stored, in the order of arrival."""
        return [decode_batch(self.ledger[key]) for key in self.arrivals]

    def observations(self) -> list[Observation]:
        """What was stored, in the order of arrival."""
        return [decode_observation(raw) for batch in self.batches() for raw in batch.observations]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once a post has made ``condition`` true."""
        while not condition():
            self.posted.clear()
            await self.posted.wait()

    # the routes

    async def _observations(self, request: web.Request) -> web.StreamResponse:
        arrived = self.now()
        behaviour = self.coming.pop(0) if self.coming else self.always
        try:
            return await self._answer(request, arrived, behaviour)
        finally:
            self.posted.set()

    async def _answer(self, request: web.Request, arrived: Instant, behaviour: Behaviour | None) -> web.StreamResponse:
        body = await request.read()
        refusal = await self._odd(behaviour)
        if refusal is not None:
            return refusal
        if not self._known(request):
            return problem(401, "Token refused")
        envelope = msgspec.json.decode(body, type=Envelope)
        self.envelopes.append(envelope)
        if self.on_post is not None:
            await self.on_post(envelope)
        if self.most_batches is not None and len(envelope.batches) > self.most_batches:
            return web.Response(status=413, text="<html>Request Entity Too Large</html>", content_type="text/html")
        if behaviour is Behaviour.FILTER and envelope.batches:
            return web.Response(status=400, text="<html>Blocked</html>", content_type="text/html")
        if behaviour is Behaviour.REJECT and envelope.batches:
            return problem(400, "Envelope has the wrong shape")
        receipts = [self._take(one, behaviour) for one in envelope.batches]
        if behaviour is Behaviour.LIE:
            receipts = [BatchReceipt("f" * 32, seq, BatchStatus.STORED) for seq in range(1, 50)]
        if behaviour is Behaviour.DROP_RECEIPT:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        self.answers.extend(envelope.answers)
        heard = [one.id for one in envelope.answers]
        sent = self.now() + (3_600_000_000 if behaviour is Behaviour.TIME_TRAVEL else 0)
        receipt = Receipt(
            protocol=PROTOCOL,
            received=arrived,
            sent=sent,
            batches=receipts,
            orders=self.orders,
            heard=heard,
            settings=self.announce,
            live_every=self.live_every,
        )
        return web.Response(body=msgspec.json.encode(receipt), content_type="application/json")

    async def _odd(self, behaviour: Behaviour | None) -> web.Response | None:
        if behaviour is Behaviour.HANG:
            await self.release.wait()
            return web.Response(status=500)
        if behaviour is Behaviour.NOT_JSON:
            return web.Response(text="<html>Log in to this Wi-Fi</html>", content_type="text/html")
        if behaviour is Behaviour.PORTAL_REDIRECT:
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/login"})
        if behaviour is Behaviour.PROXY_404:
            return web.Response(status=404, text="<html>nginx</html>", content_type="text/html")
        if behaviour is Behaviour.BUSY:
            return problem(503, "Busy", headers={"Retry-After": self.retry_after} if self.retry_after else None)
        if behaviour is Behaviour.TOO_LARGE:
            return problem(413, "Too large")
        if behaviour is Behaviour.REVOKED:
            return problem(401, "Token revoked")
        return None

    def _take(self, sealed: Sealed, behaviour: Behaviour | None) -> BatchReceipt:
        """One batch as the real ledger takes it: by its exact bytes."""
        content = bytes(sealed.batch)
        batch = decode_batch(content)
        key = (batch.stream, batch.seq)
        if behaviour is Behaviour.LIE:
            return BatchReceipt(*key, BatchStatus.DEFERRED)
        if behaviour is Behaviour.DEFER:
            return BatchReceipt(*key, BatchStatus.DEFERRED)
        if digest_of(content) != sealed.digest:
            return BatchReceipt(*key, BatchStatus.REFUSED, Refusal.DIGEST_MISMATCH)
        held = self.ledger.get(key)
        if held is not None:
            if held == content:
                self.duplicates += 1
                return BatchReceipt(*key, BatchStatus.DUPLICATE)
            return BatchReceipt(*key, BatchStatus.REFUSED, Refusal.CONFLICT, "another digest is held")
        before = self.ledger.get((batch.stream, batch.seq - 1))
        if before is not None and digest_of(before) != batch.prev:
            return BatchReceipt(*key, BatchStatus.REFUSED, Refusal.CHAIN_BROKEN)
        refusal = Refusal.WRONG_SHAPE if behaviour is Behaviour.REFUSE else self.refuse(batch)
        if refusal is not None:
            return BatchReceipt(*key, BatchStatus.REFUSED, refusal, "refused by the test")
        self.ledger[key] = content
        self.arrivals.append(key)
        self.dropped.extend((batch.stream, one) for one in batch.dropped)
        return BatchReceipt(*key, BatchStatus.STORED)

    def _known(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        if self.next_token and given == f"Bearer {self.next_token}":
            self.token, self.next_token = self.next_token, ""
        return given == f"Bearer {self.token}"

    async def _settings(self, request: web.Request) -> web.Response:
        if not self._known(request):
            return problem(401, "Token refused")
        if request.headers.get("If-None-Match") == f'"{self.settings.revision}"':
            return web.Response(status=304)
        self.settings_fetched += 1
        return web.Response(body=msgspec.json.encode(self.settings), content_type="application/json")

    async def _token(self, request: web.Request) -> web.Response:
        if not self._known(request):
            return problem(401, "Token refused")
        self.next_token = "pha_" + "n" * 43
        return _json(TokenAnswer(self.next_token))

    async def _join(self, request: web.Request) -> web.Response:
        if self.join_problem is not None:
            return problem(self.join_problem.status, self.join_problem.title)
        self.joins.append(msgspec.json.decode(await request.read(), type=JoinRequest))
        return _json(JoinAnswer(agent="a1", token=self.token, province="udon-thani", site="mueang", link="main"))

    async def _ca(self, request: web.Request) -> web.Response:
        return web.Response(text=self.ca) if self.ca else web.Response(status=404)


def problem(status: int, title: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(Problem(title=title, status=status)),
        content_type="application/problem+json",
        headers=headers,
    )


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")

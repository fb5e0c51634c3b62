"""A whole collector on a free port of loopback, with a clock that a test moves, and agents that joined it."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from sqlalchemy import Connection

from collector import credentials
from collector.inventory import Inventory
from collector.province import load_province
from collector.serve import listening, opened
from collector.services import Services
from collector.settings import CollectorSettings
from tests.support.store import EPOCH, Chain, clock
from wire.batch import Envelope, Sealed
from wire.clock import HOUR, SECOND, Instant
from wire.logs import set_up
from wire.orders import OrderAnswer
from wire.settings import JoinAnswer, Role
from wire.version import PROTOCOL

OBSERVATIONS = "/api/v1/observations"
JSON = {"Content-Type": "application/json"}


@dataclass
class Now:
    """The collector's clock, moved by hand; the agents' boottime 0 is ``EPOCH``."""

    at: Instant = EPOCH + HOUR

    def __call__(self) -> Instant:
        return self.at

    def forward(self, seconds: float) -> None:
        """Lets time pass."""
        self.at += int(seconds * SECOND)

    @property
    def boottime(self) -> int:
        """What an agent's CLOCK_BOOTTIME says now."""
        return self.at - EPOCH


@dataclass
class Answer:
    """Status, headers and body of one answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.body)

    @property
    def problem(self) -> Any:
        """The body, which must be a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        found = self.json
        assert found["status"] == self.status
        return found


@dataclass
class Collector:
    """The collector under test and how to ask it."""

    services: Services
    url: str
    session: aiohttp.ClientSession
    now: Now
    agents: list["Agent"] = field(default_factory=list)

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """One request, exactly as given: no header of a client library is added to say what the body is."""
        async with self.session.request(method, self.url + path, allow_redirects=False, **more) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def code(self, site: str = "na-yung", role: Role = Role.LINK, link: str = "") -> str:
        """A new join code."""
        at = self.now()
        return await self.services.store.write(
            lambda connection: credentials.enrol(connection, at, site, link, role, who="test")
        )

    async def join(self, code: str, machine: str = "box") -> Answer:
        """Joins by HTTP."""
        request = {"protocol": PROTOCOL, "code": code, "machine": machine}
        return await self.ask("POST", "/api/v1/join", data=msgspec.json.encode(request), headers=JSON)

    async def agent(self, site: str = "na-yung", role: Role = Role.LINK, link: str = "") -> "Agent":
        """An agent that joined."""
        answer = await self.join(await self.code(site, role, link))
        assert answer.status == 200, answer.body
        return Agent(self, msgspec.json.decode(answer.body, type=JoinAnswer))

    async def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the store."""

        def read(connection: Connection) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.exec_driver_sql(statement, parameters)]

        return await self.services.store.read(read)


class Agent:
    """What an agent is to the collector."""

    def __init__(self, collector: Collector, joined: JoinAnswer) -> None:
        self.collector = collector
        self.joined = joined
        self.token = joined.token
        self.chain = Chain()

    @property
    def headers(self) -> dict[str, str]:
        """With the token."""
        return {"Authorization": f"Bearer {self.token}", **JSON}

    def envelope(self, *sealed: Sealed, **more: Any) -> Envelope:
        """An envelope that leaves now."""
        settled: dict[str, Any] = {"protocol": PROTOCOL, "clock": clock(self.collector.now.boottime)}
        return Envelope(batches=list(sealed), **(settled | more))

    async def post(self, *sealed: Sealed, answers: list[OrderAnswer] | None = None, packed: bool = False) -> Answer:
        """Delivers batches, or a heartbeat."""
        body = msgspec.json.encode(self.envelope(*sealed, answers=answers or []))
        return await self.post_body(
            gzip.compress(body) if packed else body, **({"Content-Encoding": "gzip"} if packed else {})
        )

    async def post_body(self, body: bytes | Any, **headers: str) -> Answer:
        """Delivers bytes."""
        return await self.collector.ask("POST", OBSERVATIONS, data=body, headers={**self.headers, **headers})

    async def get(self, path: str, **headers: str) -> Answer:
        """Asks with the token."""
        return await self.collector.ask("GET", path, headers={**self.headers, **headers})


@cache
def _province(folder: str) -> Inventory:
    return load_province(CollectorSettings(inventory=folder))


@contextlib.asynccontextmanager
async def collecting(
    folder: Path, *, now: Now | None = None, patch: Callable[[Services], None] | None = None, **settings: Any
) -> AsyncIterator[Collector]:
    """A collector on the example province; ``settings`` are those of ``collector.yaml``."""
    moved = now or Now()
    set_up("json")
    settled: dict[str, Any] = {"data": str(folder), "port": 0}
    made = CollectorSettings(**(settled | settings))
    await asyncio.to_thread(Path(made.data).mkdir, parents=True, exist_ok=True)
    inventory = await asyncio.to_thread(_province, made.inventory)
    async with opened(made, inventory, now=moved) as services:
        if patch is not None:
            patch(services)
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            listening(services) as url,
            aiohttp.ClientSession(
                timeout=timeout, auto_decompress=False, skip_auto_headers=["Content-Type"]
            ) as session,
        ):
            yield Collector(services, url, session, moved)

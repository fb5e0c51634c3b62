"""Who may speak: tokens in memory, read again when another process (a command) changed them; joins; who was heard."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog
from sqlalchemy import Connection, Row, func, select, update

from collector import credentials
from collector.gate import Principal
from collector.limits import Buckets, network_of, retry_after
from collector.problems import Refused
from collector.rivals import Rivals, rivals
from collector.store import CannotWrite, Source, Store
from collector.store.schema import agent, token
from wire.clock import Instant
from wire.settings import JoinRequest

log = structlog.get_logger()
_Row = Row[Any]

LOOK_AGAIN = 0.02
"""Seconds between two looks into the store for a token that memory does not know."""


@dataclass(slots=True)
class Heard:
    """The last word of an agent in this run of the collector."""

    at: Instant
    address: str
    version: str
    settings: str
    changed: bool = True


class Accounts:
    """Tokens, agents and join codes. Used on the event loop; SQL runs in the store's threads."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], Instant],
        *,
        ticks: Callable[[], float] = monotonic,
        posts: tuple[float, float] = (30.0, 120.0),
        joins: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        """``posts`` and ``joins`` are (a second, burst) per token and per address."""
        self._store = store
        self._now = now
        self._ticks = ticks
        self._posts = Buckets(*posts)
        self._joins = Buckets(*joins)
        self._known: dict[bytes, Principal] = {}
        self._unused: set[bytes] = set()
        self._stamp: tuple[int, int, int] = (-1, 0, 0)
        self._looked = -LOOK_AGAIN
        self._looking = asyncio.Lock()
        self.heard: dict[str, Heard] = {}

    async def refresh(self) -> None:
        """Reads the tokens anew if they changed; :func:`collector.serve` calls it every second."""
        async with self._looking:
            stamp, rows = await self._store.read(self._changed)
            self._looked = self._ticks()
            if rows is None:
                return
            self._stamp = stamp
            self._known = {row.hash: _principal(row) for row in rows}
            self._unused = {row.hash for row in rows if row.used is None and row.kind == "agent"}

    def agents(self) -> set[str]:
        """Ids of the agents that may speak."""
        return {one.name for one in self._known.values() if one.kind == "agent"}

    def _changed(self, connection: Connection) -> tuple[tuple[int, int, int], list[_Row] | None]:
        """Revocations and additions both move these figures: no row is ever deleted."""
        figures = select(func.count(), func.coalesce(func.max(token.c.created), 0), func.count(token.c.revoked))
        row = connection.execute(figures).one()
        stamp = (int(row[0]), int(row[1]), int(row[2]))
        if stamp == self._stamp:
            return stamp, None
        wanted = (
            select(token, agent.c.site, agent.c.link, agent.c.role)
            .select_from(token.outerjoin(agent, token.c.agent == agent.c.id))
            .where(token.c.revoked.is_(None))
        )
        return stamp, list(connection.execute(wanted))

    async def principal(self, text: str) -> Principal | None:
        """Whose token this is, or ``None``."""
        hashed = credentials.hash_of(text)
        found = self._known.get(hashed)
        if found is None and self._ticks() - self._looked >= LOOK_AGAIN:
            await self.refresh()
            found = self._known.get(hashed)
        if found is not None and hashed in self._unused:
            await self._first_use(found)
        return found

    async def _first_use(self, principal: Principal) -> None:
        """A token that arrived ends the one before it. Where the disk takes nothing, its next use tries again."""
        at = self._now()
        try:
            await self._store.write(
                lambda connection: credentials.first_use(connection, at, principal.name, principal.token_hash)
            )
        except CannotWrite:
            return  # logged by the store; the agent is who it says, and is heard all the same
        self._unused.discard(principal.token_hash)
        await self.refresh()

    def allow(self, principal: Principal) -> None:
        """Counts one request of a token; raises :class:`Refused` 429 beyond its rate."""
        wait = self._posts.take(principal.token_hash, self._ticks())
        if wait:
            raise Refused(
                429,
                "Too many requests",
                f"found more than {self._posts.rate:g} requests a second with one token; wait {wait:.1f} s",
                headers=retry_after(wait),
            )

    async def join(self, request: JoinRequest, address: str) -> credentials.Joined:
        """Turns a code into an agent; raises :class:`Refused` 403 (code) or 429 (too many failures of one address)."""
        network = network_of(address)
        wait = self._joins.take(network, self._ticks())
        if wait:
            raise Refused(
                429,
                "Too many join attempts",
                f"found too many attempts from {address}; wait {wait:.0f} s",
                headers=retry_after(wait),
            )
        at = self._now()
        heard = {name: one.at for name, one in self.heard.items()}
        try:
            joined = await self._store.write(
                lambda connection: credentials.join(
                    connection, at, request.code, machine=request.machine, address=address, heard=heard
                )
            )
        except credentials.BadCode as bad:
            log.warning("join refused", address=address, why=str(bad))
            raise Refused(403, "Code not valid", str(bad), field="code") from bad
        self._joins.give_back(network)  # only failures count: a province may enrol twenty rooms behind one address
        log.info("agent joined", agent=joined.agent, site=joined.site, role=joined.role, address=address)
        if joined.conflicts:
            log.warning("two live agents at one place", site=joined.site, agents=[joined.agent, *joined.conflicts])
        await self.refresh()
        return joined

    async def rotate(self, principal: Principal) -> str:
        """A second token for the agent that asks."""
        at = self._now()
        made = await self._store.write(
            lambda connection: credentials.rotate(connection, at, principal.name, principal.token_hash)
        )
        await self.refresh()
        return made

    def hear(self, source: Source, at: Instant, address: str, version: str, settings: str) -> None:
        """Notes an agent's word; written down by :meth:`flush`."""
        before = self.heard.get(source.agent)
        if before is None:
            self.heard[source.agent] = Heard(at, address, version, settings)
            return
        before.at, before.address, before.version, before.settings = at, address, version, settings
        before.changed = True

    async def flush(self) -> None:
        """Writes down who was heard since the last call."""
        words = {name: one for name, one in self.heard.items() if one.changed}
        if not words:
            return
        rows = [(name, one.at, one.address, one.version, one.settings) for name, one in words.items()]
        for one in words.values():
            one.changed = False

        def write(connection: Connection) -> None:
            for name, at, address, version, settings in rows:
                connection.execute(
                    update(agent)
                    .where(agent.c.id == name)
                    .values(heard=at, address=address, version=version, settings=settings)
                )

        await self._store.write(write)

    async def conflicts(self) -> list[Rivals]:
        """Places for which two live agents speak now; IT must decide which one stays."""
        rows = await self._store.read(lambda connection: list(connection.execute(_agents)))
        heard = [
            (Source(row.id, row.site, row.link, row.role), max(self._heard_in_memory(row.id), row.heard or 0))
            for row in rows
        ]
        return rivals(heard, self._now())

    def _heard_in_memory(self, identity: str) -> Instant:
        held = self.heard.get(identity)
        return held.at if held is not None else 0


_agents = select(agent.c.id, agent.c.site, agent.c.link, agent.c.role, agent.c.heard).where(agent.c.retired.is_(None))


def _principal(row: _Row) -> Principal:
    if row.kind == "agent":
        source = Source(row.agent, row.site, row.link, row.role)
        return Principal("agent", row.agent, source, frozenset(), row.hash)
    return Principal("machine", row.name, None, frozenset(filter(None, row.scopes.split(","))), row.hash)

"""What the collector asks of agents: an order rides on every receipt until it is acknowledged or expires."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, and_, insert, select, update

from collector.store import Store
from collector.store.schema import order as table
from wire.clock import SECOND, Instant
from wire.orders import Order, OrderAnswer, OrderKind, OrderStatus

log = structlog.get_logger()

WAITING = "waiting"
OPEN = (WAITING, OrderStatus.ACCEPTED.value)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that is not acknowledged yet."""

    id: str
    kind: str
    arguments: dict[str, Any]
    begins: Instant
    expires: Instant

    def on_receipt(self, now: Instant) -> Order:
        """With times counted from now, because agents trust no clock."""
        return Order(
            id=self.id,
            kind=self.kind,
            after=max(0, self.begins - now) / SECOND,
            expires=max(0, self.expires - now) / SECOND,
            arguments=self.arguments,
        )


class Orders:
    """The order table, and in memory what still waits for each agent."""

    def __init__(self, store: Store, now: Callable[[], Instant]) -> None:
        self._store = store
        self._now = now
        self._waiting: dict[str, dict[str, Waiting]] = {}

    async def load(self) -> None:
        """Takes up what was waiting when the collector stopped."""
        now = self._now()
        rows = await self._store.read(
            lambda connection: list(
                connection.execute(select(table).where(and_(table.c.status == WAITING, table.c.expires > now)))
            )
        )
        self._waiting = {}
        for row in rows:
            one = Waiting(row.id, row.kind, msgspec.json.decode(row.arguments), row.begins, row.expires)
            self._waiting.setdefault(row.agent, {})[row.id] = one

    async def give(
        self,
        agent: str,
        kind: OrderKind | str,
        arguments: dict[str, Any] | None = None,
        *,
        after: float = 0.0,
        expires: float = 60.0,
        identity: str = "",
    ) -> str:
        """Asks something of an agent, to begin ``after`` and before ``expires`` seconds from now; its id, which is
        ``identity`` where that is given."""
        now = self._now()
        one = Waiting(
            identity or secrets.token_hex(8),
            str(kind),
            arguments or {},
            now + int(after * SECOND),
            now + int(expires * SECOND),
        )
        values = {
            "id": one.id,
            "agent": agent,
            "kind": one.kind,
            "arguments": msgspec.json.encode(one.arguments).decode(),
            "created": now,
            "begins": one.begins,
            "expires": one.expires,
            "status": WAITING,
        }
        await self._store.write(lambda connection: connection.execute(insert(table).values(values)).rowcount)
        self._waiting.setdefault(agent, {})[one.id] = one
        return one.id

    def waiting(self, agent: str, now: Instant) -> list[Order]:
        """What the next receipt of an agent carries."""
        held = self._waiting.get(agent)
        if not held:
            return []
        return [one.on_receipt(now) for one in held.values() if one.expires > now]

    async def answered(self, agent: str, answers: Iterable[OrderAnswer]) -> list[str]:
        """Writes down what became of orders; returns the ids heard, so that the agent stops repeating them.

        An id that no order of this agent has is heard too: repeating it for ever would help nobody.
        """
        told = list(answers)
        if not told:
            return []
        now = self._now()

        def write(connection: Connection) -> None:
            for one in told:
                held = and_(table.c.id == one.id, table.c.agent == agent)
                if one.status is OrderStatus.ACCEPTED:
                    held = and_(held, table.c.status == WAITING)  # a late echo never reopens what is done
                connection.execute(
                    update(table).where(held).values(status=one.status.value, detail=one.detail[:1000], answered=now)
                )

        await self._store.write(write)
        held = self._waiting.get(agent, {})
        for one in told:
            held.pop(one.id, None)
        return [one.id for one in told]

    async def expire(self) -> int:
        """Ends what was never acknowledged in time; how many."""
        now = self._now()
        over = [(agent, one.id) for agent, held in self._waiting.items() for one in held.values() if one.expires <= now]
        if not over:
            return 0
        ids = [identity for _, identity in over]
        ended = update(table).where(table.c.id.in_(ids), table.c.status == WAITING)
        await self._store.write(
            lambda connection: (
                connection.execute(
                    ended.values(status=OrderStatus.EXPIRED.value, detail="never acknowledged", answered=now)
                ).rowcount
            )
        )
        for agent, identity in over:
            self._waiting[agent].pop(identity, None)
        log.warning("orders expired unacknowledged", orders=len(ids))
        return len(ids)

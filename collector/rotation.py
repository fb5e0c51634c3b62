"""Agents' tokens are renewed before they grow old: the collector orders it, the agent asks, nobody types anything."""

from sqlalchemy import Connection, func, select

from collector.services import Services
from collector.store.schema import agent, token
from wire.clock import DAY, MINUTE, Instant
from wire.orders import OrderKind

TOKEN_LIFE = 90 * DAY
"""After so long a token is renewed."""
HEARD_WITHIN = 5 * MINUTE
"""Only agents that are there are asked; the others are asked once they are back."""
EXPIRES = 3600.0


async def rotate_old_tokens(services: Services) -> int:
    """Orders new tokens from agents whose newest one is old; how many were asked."""
    now = services.now()
    old = await services.store.read(lambda connection: _old(connection, now - TOKEN_LIFE))
    asked = 0
    for identity in old:
        heard = services.accounts.heard.get(identity)
        waiting = services.orders.waiting(identity, now)
        if heard is None or now - heard.at > HEARD_WITHIN or any(one.kind == OrderKind.ROTATE_TOKEN for one in waiting):
            continue
        await services.orders.give(identity, OrderKind.ROTATE_TOKEN, expires=EXPIRES)
        asked += 1
    return asked


def _old(connection: Connection, before: Instant) -> list[str]:
    newest = (
        select(token.c.agent)
        .join(agent, token.c.agent == agent.c.id)
        .where(token.c.revoked.is_(None), agent.c.retired.is_(None))
        .group_by(token.c.agent)
        .having(func.max(token.c.created) <= before)
    )
    return [str(row[0]) for row in connection.execute(newest)]

"""Orders: resent until acknowledged, relative in time, done once."""

from pathlib import Path

from collector.rotation import rotate_old_tokens
from tests.support.collecting import Now, collecting
from wire.orders import OrderAnswer, OrderKind, OrderStatus


async def test_an_order_rides_on_every_receipt_until_it_is_acknowledged(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent, other = await collector.agent(), await collector.agent("phen")
        orders = collector.services.orders
        identity = await orders.give(agent.joined.agent, OrderKind.MEASURE, {"window": 5.0}, after=10, expires=60)
        first = (await agent.post()).json["orders"]
        assert first == [
            {"id": identity, "kind": "measure", "after": 10.0, "expires": 60.0, "arguments": {"window": 5.0}}
        ]
        assert "orders" not in (await other.post()).json
        collector.now.forward(15)
        [again] = (await agent.post()).json["orders"]
        assert (again["id"], again.get("after", 0.0), again["expires"]) == (identity, 0.0, 45.0)
        told = (await agent.post(answers=[OrderAnswer(identity, OrderStatus.ACCEPTED)])).json
        assert told["heard"] == [identity]
        assert "orders" not in told
        assert await status(collector, identity) == "accepted"
        await agent.post(answers=[OrderAnswer(identity, OrderStatus.DONE, "12 windows")])
        assert await status(collector, identity) == "done"
        # an old acknowledgement that comes late never reopens it
        await agent.post(answers=[OrderAnswer(identity, OrderStatus.ACCEPTED)])
        assert await status(collector, identity) == "done"


async def status(collector: object, identity: str) -> str:
    [(found,)] = await collector.sql('SELECT status FROM "order" WHERE id = ?', identity)  # type: ignore[attr-defined]
    return str(found)


async def test_an_order_that_nobody_acknowledged_expires(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        identity = await collector.services.orders.give(agent.joined.agent, OrderKind.FETCH_SETTINGS, expires=30)
        collector.now.forward(29)
        assert await collector.services.orders.expire() == 0
        collector.now.forward(1)
        assert "orders" not in (await agent.post()).json
        assert await collector.services.orders.expire() == 1
        assert await status(collector, identity) == "expired"
        # the agent had it all the same, and its word counts
        await agent.post(answers=[OrderAnswer(identity, OrderStatus.DONE)])
        assert await status(collector, identity) == "done"


async def test_old_tokens_are_renewed_by_order(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent, silent = await collector.agent(), await collector.agent("phen")
        await agent.post()
        await silent.post()
        assert await rotate_old_tokens(collector.services) == 0
        collector.now.forward(90 * 24 * 3600)
        await agent.post()
        assert await rotate_old_tokens(collector.services) == 1
        assert await rotate_old_tokens(collector.services) == 0  # asked already
        [order] = (await agent.post()).json["orders"]
        assert order["kind"] == "rotate_token"
        renewed = await collector.ask("POST", "/api/v1/token", headers=agent.headers)
        agent.token = renewed.json["token"]
        await agent.post(answers=[OrderAnswer(order["id"], OrderStatus.DONE)])
        assert await rotate_old_tokens(collector.services) == 0


async def test_waiting_orders_outlive_a_restart(tmp_path: Path) -> None:
    now = Now()
    async with collecting(tmp_path, now=now) as collector:
        agent = await collector.agent()
        identity = await collector.services.orders.give(agent.joined.agent, "a_kind_of_tomorrow", expires=100)
    async with collecting(tmp_path, now=now) as collector:
        agent.collector = collector
        assert [one["id"] for one in (await agent.post()).json["orders"]] == [identity]
        told = (await agent.post(answers=[OrderAnswer(identity, OrderStatus.UNKNOWN)])).json
        assert told["heard"] == [identity]
        assert await status(collector, identity) == "unknown"


async def test_an_answer_to_no_order_of_this_agent_is_heard_and_changes_nothing(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent, other = await collector.agent(), await collector.agent("phen")
        identity = await collector.services.orders.give(other.joined.agent, OrderKind.MEASURE)
        told = (await agent.post(answers=[OrderAnswer(identity, OrderStatus.DONE)])).json
        assert told["heard"] == [identity]
        assert await status(collector, identity) == "waiting"
        assert [one["id"] for one in (await other.post()).json["orders"]] == [identity]

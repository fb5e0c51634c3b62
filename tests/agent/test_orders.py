"""Orders: at most once, whatever happens, and the answer repeated until it was heard."""

import asyncio
import threading
from pathlib import Path

import pytest

from agent.orders import Orders
from agent.spool import Spool
from tests.support.clock import FakeClock
from tests.support.fake_collector import FakeCollector
from tests.support.uplink_world import World
from wire.batch import Receipt
from wire.orders import Order, OrderAnswer, OrderStatus
from wire.version import PROTOCOL


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def receipt(*orders: Order, heard: list[str] | None = None) -> Receipt:
    return Receipt(protocol=PROTOCOL, received=0, sent=0, orders=list(orders), heard=heard or [])


class Hand:
    """Carries orders out and remembers which."""

    def __init__(self) -> None:
        self.carried: list[str] = []
        self.hurried = 0
        self.begun = asyncio.Event()
        self.done = asyncio.Event()
        self.hold: asyncio.Event | None = None

    async def carry(self, order: Order) -> OrderAnswer:
        self.carried.append(order.id)
        self.begun.set()
        if self.hold is not None:
            await self.hold.wait()
        return OrderAnswer("whatever", OrderStatus.DONE, "fine")

    def hurry(self) -> None:
        self.hurried += 1
        self.done.set()

    async def answered(self, orders: Orders, status: OrderStatus) -> OrderAnswer:
        while not (found := [one for one in orders.answers() if one.status is status]):
            self.done.clear()
            await self.done.wait()
        return found[0]


async def test_an_order_is_accepted_done_once_and_its_answer_repeated_until_heard(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        collector.orders = [Order("o1", "measure")]
        await clock.drive(30)
        assert [one.id for one in world.carried] == ["o1"]
        statuses = [one.status for one in collector.answers if one.id == "o1"]
        assert statuses[-1] is OrderStatus.DONE
        assert set(statuses) <= {OrderStatus.ACCEPTED, OrderStatus.DONE}
        answers = len(collector.answers)
        await clock.drive(30)
        assert len(collector.answers) == answers
        assert len(world.carried) == 1


async def test_an_order_of_a_later_release_is_answered_unknown(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        collector.orders = [Order("o1", "teleport", arguments={"to": "Bangkok"})]
        await clock.drive(20)
        assert world.carried == []
        assert (collector.answers[0].status, collector.answers[0].detail) == (
            OrderStatus.UNKNOWN,
            "this release does not know the order 'teleport'",
        )
        assert world.uplink.status.connected


async def test_rotating_the_token_keeps_it_before_using_it(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        before = collector.token
        collector.orders = [Order("o1", "rotate_token")]
        await clock.drive(20)
        assert world.tokens == [collector.token] and collector.token != before
        assert world.uplink.status.connected
        assert collector.answers[-1].status is OrderStatus.DONE


async def test_an_order_begins_after_its_delay_and_not_after_its_end(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    hand = Hand()
    orders = Orders(spool, clock, hand.carry, hand.hurry)
    now = clock.boottime()
    await orders.receive(receipt(Order("late", "measure", after=30), Order("soon", "measure", after=10)), now)
    await clock.asleep(2)
    assert hand.carried == []
    clock.advance(11)
    assert (await hand.answered(orders, OrderStatus.DONE)).id == "soon"
    clock.suspend(120)
    assert (await hand.answered(orders, OrderStatus.EXPIRED)).id == "late"
    assert hand.carried == ["soon"]
    await spool.close()


async def test_an_order_that_fails_answers_with_its_cause(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    hand = Hand()

    async def carry(order: Order) -> OrderAnswer:
        raise LookupError("no such probe")

    orders = Orders(spool, clock, carry, hand.hurry)
    await orders.receive(receipt(Order("o1", "measure")), clock.boottime())
    assert (await hand.answered(orders, OrderStatus.FAILED)).detail == "LookupError: no such probe"
    await spool.close()


@pytest.mark.parametrize(
    ("reboot", "begun", "status"),
    [
        (False, True, OrderStatus.FAILED),
        (True, True, OrderStatus.FAILED),
        (True, False, OrderStatus.EXPIRED),
        (False, False, OrderStatus.DONE),
    ],
)
async def test_after_a_crash_an_order_that_had_begun_is_never_done_again(
    tmp_path: Path, clock: FakeClock, reboot: bool, begun: bool, status: OrderStatus
) -> None:
    path = tmp_path / "spool.db"
    spool = await Spool.open(path, clock)
    hand = Hand()
    hand.hold = asyncio.Event()
    orders = Orders(spool, clock, hand.carry, hand.hurry)
    order = Order("o1", "measure", after=0 if begun else 30)
    await orders.receive(receipt(order), clock.boottime())
    if begun:
        await hand.begun.wait()
    await orders.stop()
    await spool.close()

    if reboot:
        clock.reboot("boot-2")
    spool = await Spool.open(path, clock)
    after = Hand()
    orders = Orders(spool, clock, after.carry, after.hurry)
    await orders.receive(receipt(order), clock.boottime())
    if status is OrderStatus.DONE:
        await clock.asleep()
        clock.advance(31)
    assert (await after.answered(orders, status)).id == "o1"
    assert after.carried == (["o1"] if status is OrderStatus.DONE else [])
    await spool.close()


async def test_hearing_that_it_was_accepted_does_not_end_the_answer_that_it_is_done(
    tmp_path: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    hand = Hand()
    hand.hold = asyncio.Event()
    orders = Orders(spool, clock, hand.carry, hand.hurry)
    await orders.receive(receipt(Order("o1", "measure")), clock.boottime())
    told = orders.answers()
    assert [one.status for one in told] == [OrderStatus.ACCEPTED]
    hand.hold.set()
    done = await hand.answered(orders, OrderStatus.DONE)
    await orders.receive(receipt(heard=["o1"]), clock.boottime(), told)
    assert orders.answers() == [done]
    await orders.receive(receipt(heard=["o1"]), clock.boottime(), [done])
    assert orders.answers() == []
    await spool.close()


async def test_answers_survive_a_restart_until_they_are_heard(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    for run in range(3):
        spool = await Spool.open(path, clock)
        hand = Hand()
        orders = Orders(spool, clock, hand.carry, hand.hurry)
        await orders.receive(receipt(Order("o1", "measure")), clock.boottime())
        if run < 2:
            done = await hand.answered(orders, OrderStatus.DONE)
            assert hand.carried == (["o1"] if run == 0 else [])
            if run == 1:
                await orders.receive(receipt(heard=["o1"]), clock.boottime(), [done])
        assert run < 2 or orders.answers() == []
        await spool.close()


async def test_a_final_answer_that_comes_while_the_disk_is_written_is_not_lost(
    tmp_path: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    hand = Hand()
    hand.hold = asyncio.Event()
    orders = Orders(spool, clock, hand.carry, hand.hurry)
    await orders.receive(receipt(Order("o1", "measure"), Order("o2", "teleport")), clock.boottime())
    told = orders.answers()
    await hand.begun.wait()
    slow = threading.Event()
    writing = asyncio.create_task(spool.transact(lambda _db: slow.wait(10)))
    hand.hold.set()
    await _settled()  # the final answer waits for the disk
    hearing = asyncio.create_task(orders.receive(receipt(heard=["o1", "o2"]), clock.boottime(), told))
    await _settled()  # and behind it what was heard
    slow.set()
    await asyncio.gather(writing, hearing)
    assert (await hand.answered(orders, OrderStatus.DONE)).id == "o1"
    assert [one.id for one in orders.answers()] == ["o1"]
    await spool.close()


async def _settled() -> None:
    """Lets every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)

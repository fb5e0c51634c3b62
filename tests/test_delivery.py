"""The agent's uplink against the real collector, in simulated time: what the fake one stands for in tests/agent."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.join import join
from agent.state import Identity
from collector import credentials
from collector.services import Services
from tests.support.clock import FakeClock
from tests.support.collecting import Collector, Now, collecting
from tests.support.uplink_world import World, window
from wire.batch import StreamName
from wire.clock import DAY, SECOND
from wire.orders import OrderKind
from wire.settings import Role


@dataclass
class Shared(Now):
    """The collector's UTC follows the simulated boottime, whatever is done to the agent's wall clock."""

    clock: FakeClock | None = None

    def __call__(self) -> int:
        assert self.clock is not None
        return self.at + self.clock.boottime()


class Joined(World):
    """An agent of the real collector."""

    def __init__(self, folder: Path, clock: FakeClock, collector: Collector, identity: Identity) -> None:
        super().__init__(folder, clock, collector)
        self.identity = identity

    async def open(self) -> None:
        await super().open()
        self.connection.use_token(self.identity.token)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The agent's."""
    one = tmp_path / "agent"
    one.mkdir()
    return one


def shared(clock: FakeClock) -> Shared:
    return Shared(clock.wall() - clock.boottime(), clock)


def in_time(clock: FakeClock) -> Callable[[Services], None]:
    """Lets the collector's rate limits count simulated seconds too."""

    def patch(services: Services) -> None:
        services.accounts._ticks = lambda: clock.boottime() / SECOND

    return patch


async def enrolled(collector: Collector, clock: FakeClock, role: Role = Role.LINK) -> Identity:
    return await join(collector.url, await collector.code(role=role), clock, machine="box")


async def numbers(collector: Collector) -> Counter[int]:
    """How often each test window stands in the store."""
    rows = await collector.sql("SELECT json_extract(CAST(body AS TEXT), '$.counts.sent') FROM window")
    return Counter(number or 0 for (number,) in rows)


async def drained(world: World, clock: FakeClock) -> None:
    await clock.drive(11)
    while world.spool.counts.batches:
        await clock.drive(5)


async def test_three_days_offline_with_the_wall_clock_stepped_are_stored_once_each_in_its_own_time(
    tmp_path: Path, folder: Path, clock: FakeClock
) -> None:
    now = shared(clock)
    async with collecting(tmp_path, now=now, patch=in_time(clock)) as collector:
        identity = await enrolled(collector, clock)
        world = Joined(folder, clock, collector, identity)
        await world.open()
        measured: dict[int, int] = {}
        for number in range(1, 3 * 24 * 2 + 1):
            clock.advance(1800)
            if number == 30:
                clock.step_wall(-365 * 86_400)
            if number == 90:
                clock.step_wall(3600)
            measured[number] = now()
            await world.record(window(clock, number=number), stream=StreamName.EVIDENCE)
        assert clock.boottime() > 3 * DAY
        world.run()
        await drained(world, clock)
        assert await numbers(collector) == Counter(measured.keys())
        rows = await collector.sql(
            "SELECT json_extract(CAST(body AS TEXT), '$.counts.sent'), end_utc, error FROM window"
        )
        for number, end, error in rows:
            assert abs(end - measured[number]) <= error
            assert error < 60 * SECOND  # 200 ppm of three days are 52 s
        assert await collector.sql("SELECT count(*) FROM conflict") == [(0,)]
        await world.close()


async def test_a_cloned_card_conflicts_and_both_boxes_go_on(tmp_path: Path, folder: Path, clock: FakeClock) -> None:
    first, second = folder, tmp_path / "second"
    async with collecting(tmp_path, now=shared(clock), patch=in_time(clock)) as collector:
        identity = await enrolled(collector, clock)
        async with Joined(first, clock, collector, identity) as world:
            await world.record(window(clock, number=1))
            await drained(world, clock)
        await asyncio.to_thread(shutil.copytree, first, second)
        async with Joined(first, clock, collector, identity) as world:
            for number in (2, 3, 4):
                await world.record(window(clock, number=number))
            await drained(world, clock)
        async with Joined(second, clock, collector, identity) as world:
            before = set(await world.spool.streams())
            await world.record(window(clock, number=20))
            await drained(world, clock)
            assert not before & set(await world.spool.streams())
            await world.record(window(clock, number=21))
            await drained(world, clock)
            assert world.spool.counts.quarantined >= 1
        async with Joined(first, clock, collector, identity) as world:
            await world.record(window(clock, number=5))
            await drained(world, clock)
        stored = await numbers(collector)
        assert max(stored.values()) == 1
        assert {1, 2, 3, 4, 5, 21} <= set(stored) and 20 not in stored
        assert (await collector.sql("SELECT count(*) FROM conflict"))[0][0] >= 1


async def test_orders_settings_and_a_rotated_token_come_back_on_receipts(
    tmp_path: Path, folder: Path, clock: FakeClock
) -> None:
    async with collecting(tmp_path, now=shared(clock), patch=in_time(clock)) as collector:
        identity = await enrolled(collector, clock)
        async with Joined(folder, clock, collector, identity) as world:
            await clock.drive(11)
            (settings,) = world.applied
            assert settings.site == identity.site and settings.revision == world.revision
            orders = collector.services.orders
            measure = await orders.give(identity.agent, OrderKind.MEASURE, {"window": 1})
            unknown = await orders.give(identity.agent, "teleport")
            rotate = await orders.give(identity.agent, OrderKind.ROTATE_TOKEN)
            found: dict[str, str] = {}
            while not found or {"waiting", "accepted"} & set(found.values()):  # they take real time, not simulated
                await clock.drive(5)
                found = dict(await collector.sql('SELECT id, status FROM "order"'))
            assert found == {measure: "done", unknown: "unknown", rotate: "done"}
            assert [one.id for one in world.carried] == [measure]
            assert world.tokens and world.tokens[0] != identity.token
            assert world.uplink.status.connected


async def test_a_revoked_agent_keeps_its_data(tmp_path: Path, folder: Path, clock: FakeClock) -> None:
    async with collecting(tmp_path, now=shared(clock), patch=in_time(clock)) as collector:
        identity = await enrolled(collector, clock)
        async with Joined(folder, clock, collector, identity) as world:
            await drained(world, clock)
            await collector.services.store.write(
                lambda connection: credentials.retire(connection, 0, identity.agent, "sold", who="test")
            )
            await collector.services.accounts.refresh()
            await world.record(window(clock, number=1))
            await clock.drive(600)
            assert world.uplink.status.token_refused
            assert world.spool.counts.batches >= 1
            assert 1 not in await numbers(collector)


async def test_a_collector_restored_from_a_backup_takes_what_comes_after(
    tmp_path: Path, folder: Path, clock: FakeClock
) -> None:
    """What the agent deleted meanwhile is gone with the newer store; it is a gap, and neither conflict nor clone."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    await asyncio.to_thread(data.mkdir)
    identity: Identity | None = None
    for first in (1, 4, 7):
        async with collecting(data, now=shared(clock), patch=in_time(clock)) as collector:
            identity = identity or await enrolled(collector, clock)
            async with Joined(folder, clock, collector, identity) as world:
                streams = set(await world.spool.streams())
                for number in range(first, first + 3):
                    await world.record(window(clock, number=number))
                await drained(world, clock)
                assert streams == set(await world.spool.streams())
                assert world.spool.counts.quarantined == 0
            if first == 7:
                assert set(await numbers(collector)) == {1, 2, 3, 7, 8, 9}
                assert await collector.sql("SELECT count(*) FROM conflict") == [(0,)]
        if first == 1:
            await asyncio.to_thread(shutil.copytree, data, backup)
        if first == 4:
            await asyncio.to_thread(shutil.rmtree, data)
            await asyncio.to_thread(shutil.copytree, backup, data)

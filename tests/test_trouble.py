"""The real uplink against the real collector on bad days: stored once, with its own time, and never now when late."""

import asyncio
import shutil
from pathlib import Path

from sqlalchemy import Connection

from collector.store import query
from collector.store.backup import restore
from tests.support.chain import free_port
from tests.support.clock import FakeClock
from tests.support.collecting import Agent, Collector, Now, collecting
from tests.support.uplink_world import World
from wire.batch import StreamName
from wire.clock import DAY, SECOND
from wire.observation import Window
from wire.reasons import Outcome, Reason

TRUE_START = 1_795_100_000 * SECOND
"""What true time is when the agents' CLOCK_BOOTTIME is 0; their wall clocks may believe something else."""


class TrueTime(Now):
    """The collector's clock is right, and runs with the agent's CLOCK_BOOTTIME."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def __call__(self) -> int:
        return TRUE_START + self._clock.boottime()


def window(clock: FakeClock, number: int, outcome: Outcome = Outcome.OK, target: str = "gateway") -> Window:
    now, wall = clock.boottime(), clock.wall()
    return Window(
        boot=clock.boot, start=now - 60 * SECOND, end=now, wall_start=wall - 60 * SECOND, wall_end=wall,
        probe="icmp", target=target, outcome=outcome, counts={"sent": number},
        reason=Reason.NO_REPLY if outcome is Outcome.FAILED else None,
    )  # fmt: skip


async def delivered(world: World) -> None:
    """Lives on until nothing waits in the spool."""
    while world.spool.counts.batches:
        await world.clock.drive(5)
        await world.clock.asleep()


async def stored(collector: Collector) -> list[tuple[int, int, int, Window]]:
    """(end, error, received, window) of everything in the store, by time."""

    def read(connection: Connection) -> list[tuple[int, int, int, Window]]:
        series = (one.number for one in query.series(connection))
        rows = (row for number in series for row in query.observations(connection, number, 0, 2**60))
        return sorted(((row.end_utc, row.error, row.received, row.window) for row in rows), key=lambda row: row[:3])

    return await collector.services.store.read(read)


async def test_three_days_offline_arrive_once_with_their_own_time_and_alarm_nobody(tmp_path: Path) -> None:
    clock, port = FakeClock(boottime=3600 * SECOND), free_port()
    async with collecting(tmp_path / "store", now=TrueTime(clock), port=port) as collector:
        joined: Agent = await collector.agent()
        world = World(tmp_path, clock, collector, token=joined.token)
        await world.open()
        await world.record(window(clock, 0))
        world.run()
        await clock.asleep()
        await delivered(world)
    for number in range(1, 865):  # the collector is gone for three days; its line was down, the clock was set twice
        await clock.drive(300)
        if number == 100:
            clock.step_wall(365 * 86_400)
        if number == 500:
            clock.step_wall(-3600)
        await world.record(window(clock, number, Outcome.FAILED if number < 860 else Outcome.OK))
    async with collecting(tmp_path / "store", now=TrueTime(clock), port=port) as collector:
        while not world.uplink.status.connected:
            await clock.drive(5)
            await clock.asleep()
        failing_seen = []
        while world.spool.counts.batches:
            failing_seen.append((await collector.ask("GET", "/api/v1/sites/na-yung")).json.get("failing"))
            await clock.drive(5)
            await clock.asleep()
        found = await stored(collector)
        assert [one.counts["sent"] for *_, one in found] == list(range(865)), "every record, once, in its own order"
        for end, error, _, one in found:
            assert abs(end - (TRUE_START + one.end)) <= error, "the truth lies within the bound that is stated"
            assert error < 60 * SECOND
        arrivals = [received for _, _, received, one in found if one.counts["sent"]]
        assert arrivals == sorted(arrivals, reverse=True), "newest first"
        assert not any(failing_seen), "three days of old failures never stood on the board as if they were now"
        assert collector.services.tally.late >= 860
    await world.close()


async def test_a_box_that_reboots_offline_with_a_date_of_1970_is_right_as_soon_as_it_is_back(tmp_path: Path) -> None:
    clock = FakeClock(boottime=3600 * SECOND)
    async with collecting(tmp_path / "store", now=TrueTime(clock)) as collector:
        joined = await collector.agent()
        clock.reboot("boot-2", boottime=clock.boottime() + 60 * SECOND, wall=0)
        world = World(tmp_path, clock, collector, token=joined.token)
        await world.open()
        for number in range(5):
            await world.record(window(clock, number))
            clock.advance(60)
        world.run()
        await clock.asleep()
        await delivered(world)
        found = await stored(collector)
        assert [one.counts["sent"] for *_, one in found] == list(range(5))
        for end, error, _, one in found:
            assert one.wall_end < DAY, "the original stands beside the correction"
            assert abs(end - (TRUE_START + one.end)) <= error <= SECOND
        await world.close()


async def test_a_cloned_card_is_a_conflict_that_is_shown_and_both_boxes_deliver_on(tmp_path: Path) -> None:
    clock, twin_clock = FakeClock(boottime=3600 * SECOND), FakeClock("boot-twin", boottime=3600 * SECOND)
    async with collecting(tmp_path / "store", now=TrueTime(clock)) as collector:
        joined = await collector.agent()
        world = World(tmp_path / "one", clock, collector, token=joined.token)
        twin = World(tmp_path / "two", twin_clock, collector, token=joined.token)
        for folder in (world.folder, twin.folder):
            await asyncio.to_thread(folder.mkdir)
        await world.open()
        await world.record(window(clock, 1))
        await world.close()
        await asyncio.to_thread(shutil.copy, world.folder / "spool.db", twin.folder / "spool.db")
        async with world, twin:
            for both in (world, twin):
                await both.clock.asleep()
            await delivered(world)
            await delivered(twin)
            for number in range(2, 5):
                await world.record(window(clock, number, target="of-one"))
                await delivered(world)
                await twin.record(window(twin_clock, number, target="of-two"))
                await delivered(twin)
            last = [window(clock, 9, target="of-one"), window(twin_clock, 9, target="of-two")]
            await world.record(last[0])
            await twin.record(last[1])
            await delivered(world)
            await delivered(twin)
            conflicts = await collector.sql("SELECT refusal FROM conflict")
            assert ("conflict",) in conflicts or ("chain_broken",) in conflicts
            kept = [(one.target, one.counts["sent"]) for *_, one in await stored(collector) if one.probe == "icmp"]
            assert kept.count(("gateway", 1)) == 1, "what both cards held is stored once"
            assert ("of-one", 9) in kept and ("of-two", 9) in kept, "both go on"
            refused = world.spool.counts.quarantined + twin.spool.counts.quarantined
            assert len([one for one in kept if one[0] != "gateway"]) + refused >= 8, "what was refused is kept aside"


async def test_a_collector_restored_from_yesterday_shows_what_is_missing_and_goes_on(tmp_path: Path) -> None:
    clock, port = FakeClock(boottime=3600 * SECOND), free_port()
    async with collecting(tmp_path / "store", now=TrueTime(clock), port=port) as collector:
        joined = await collector.agent()
        world = World(tmp_path, clock, collector, token=joined.token)
        async with world:
            await clock.asleep()
            await world.record(window(clock, 1), stream=StreamName.EVIDENCE)
            await delivered(world)
            await collector.services.accounts.flush()
            await collector.services.store.back_up(tmp_path / "yesterday.db")
            for number in (2, 3):
                await world.record(window(clock, number), stream=StreamName.EVIDENCE)
                await delivered(world)
    data = tmp_path / "restored"
    await asyncio.to_thread(restore, tmp_path / "yesterday.db", data / "phrom.db", TRUE_START)
    async with collecting(data, now=TrueTime(clock), port=port) as collector, world:
        await clock.asleep()
        await world.record(window(clock, 4), stream=StreamName.EVIDENCE)
        await delivered(world)
        kept = [one.counts["sent"] for *_, one in await stored(collector)]
        assert kept == [1, 4], "the restored collector takes what comes after the hole"
        gaps = await collector.services.store.read(query.gaps)
        assert gaps and all(one.site == "na-yung" for one in gaps), "and says that something is missing"

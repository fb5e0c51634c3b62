"""What happens to disks in districts: full, read-only, corrupted, unplugged in the middle of a write."""

import asyncio
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journal import Journal
from agent.spool import Spool, SpoolFailing, SpoolFull, SpoolReadOnly
from agent.spool.errors import SpoolDamaged
from tests.support.clock import FakeClock
from tests.support.fake_collector import Behaviour, FakeCollector
from tests.support.mounts import remount, small_disk
from tests.support.uplink_world import World, window
from wire.batch import StreamName, decode_batch, decode_observation
from wire.observation import Note, Observation, Window
from wire.reasons import Event

ROOT = Path(__file__).resolve().parents[2]
KILLS = 50


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


async def records(spool: Spool) -> list[Observation]:
    """Everything in the spool, oldest first."""
    waiting = await spool.newest(budget=2**40, most=10**6)
    return [decode_observation(raw) for one in waiting[::-1] for raw in decode_batch(one.sealed).observations]


async def notes(spool: Spool, event: Event) -> list[Note]:
    return [one for one in await records(spool) if isinstance(one, Note) and one.event is event]


def spoil(path: Path, offset: int, length: int = 3000) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(random.Random(1).randbytes(length))


async def filled(path: Path, clock: FakeClock, batches: int = 60) -> None:
    spool = await Spool.open(path, clock)
    for number in range(batches):
        await spool.put(StreamName.MONITOR, [window(clock, "x" * 60, number=number)] * 10)
    await spool.close()


@pytest.mark.parametrize("offset", [0, 100, 4096 * 3, 4096 * 20])
async def test_a_corrupted_file_is_set_aside_reported_and_a_new_one_begun(
    tmp_path: Path, clock: FakeClock, offset: int
) -> None:
    path = tmp_path / "spool.db"
    await filled(path, clock)
    await asyncio.to_thread(spoil, path, offset)
    spool = await Spool.open(path, clock)
    journal = Journal(spool, clock)
    await journal.record(StreamName.MONITOR, window(clock, number=5), urgent=True)
    (note,) = await notes(spool, Event.SPOOL_SET_ASIDE)
    assert note.facts["kept_as"] == "spool.db.damaged-1"
    assert await asyncio.to_thread((tmp_path / "spool.db.damaged-1").exists)
    assert not spool.reports
    assert [one.seq for one in await spool.newest()] == [1, 1]
    await spool.close()


async def test_a_file_that_rots_while_it_is_used_is_set_aside_too(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    await filled(path, clock)
    spool = await Spool.open(path, clock)
    streams = await spool.streams()
    await spool.transact(lambda db: db.execute("PRAGMA cache_size = 1").fetchall())
    await asyncio.to_thread(spoil, path, 4096, 4096 * 30)
    while not spool.reports:
        await spool.newest(budget=2**40, most=10**6)
        await spool.put(StreamName.MONITOR, [window(clock, number=1)])
    assert not set(await spool.streams()) & set(streams)
    await spool.put(StreamName.MONITOR, [window(clock, number=2)])
    assert 2 in [one.counts["sent"] for one in await records(spool) if isinstance(one, Window)]
    await spool.close()


async def test_only_the_last_three_damaged_files_are_kept(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    for _ in range(5):
        await filled(path, clock, 2)
        await asyncio.to_thread(spoil, path, 0, 200)
        spool = await Spool.open(path, clock)
        await spool.close()
    names = await asyncio.to_thread(lambda: sorted(one.name for one in tmp_path.iterdir() if "damaged" in one.name))
    assert names == ["spool.db.damaged-3", "spool.db.damaged-4", "spool.db.damaged-5"]


async def test_a_disk_that_damages_every_file_is_a_state_and_not_the_agents_end(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)

    def damaged(*_: object, **__: object) -> None:
        raise SpoolDamaged("page 2 is never used")

    with monkeypatch.context() as patch:
        patch.setattr("agent.spool.file.SpoolFile.put", damaged)
        await journal.record(StreamName.EVIDENCE, window(clock, number=1), urgent=True)
        assert isinstance(spool.unavailable, SpoolFailing)
        assert "check or replace the disk or card" in str(spool.unavailable)
        assert journal.lost.evidence == 1
    clock.advance(6)
    await journal.record(StreamName.EVIDENCE, window(clock, number=2), urgent=True)
    assert [one.facts["reason"] for one in await notes(spool, Event.SPOOL_DROPPED)] == ["failing"]
    await spool.close()


@pytest.mark.root
async def test_a_full_disk_is_a_state_and_its_losses_are_declared_when_space_returns(
    disk: Path, clock: FakeClock
) -> None:
    async with FakeCollector(clock) as collector, World(disk, clock, collector) as world:
        await collector.until(lambda: bool(collector.envelopes))
        collector.always = Behaviour.DEFER
        kept = 0
        while world.journal.lost.records == 0:
            await world.journal.record(StreamName.MONITOR, *[window(clock, "x" * 60, number=kept)] * 100, urgent=True)
            kept += 1
        assert isinstance(world.spool.unavailable, SpoolFull)
        assert "the disk is full" in str(world.spool.unavailable)
        await world.journal.record(StreamName.EVIDENCE, window(clock, number=1), urgent=True)
        lost = world.journal.lost
        assert lost.evidence == 1 and lost.monitor == 100 and lost.cause == "full"
        posts = len(collector.envelopes)
        collector.always = None
        await clock.drive(60)
        assert len(collector.envelopes) > posts

        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=16m", str(disk)], check=True)
        await world.journal.record(StreamName.MONITOR, window(clock, number=12345), urgent=True)
        await clock.drive(120)
        assert world.journal.lost.records == 0 and world.journal.lost_ever == 101
        declared = [
            one for one in collector.observations() if isinstance(one, Note) and one.event is Event.SPOOL_DROPPED
        ]
        assert [(one.counts["records"], one.facts["reason"]) for one in declared] == [(101, "full")]
        numbers = Counter(one.counts["sent"] for one in collector.observations() if isinstance(one, Window))
        assert all(numbers[number] == 100 for number in range(kept - 1))
        assert numbers[12345] == 1
        assert world.spool.counts.batches == 0


@pytest.mark.root
async def test_a_read_only_folder_loses_records_until_it_can_be_written(disk: Path, clock: FakeClock) -> None:
    await filled(disk / "spool.db", clock, 3)
    await asyncio.to_thread(remount, disk, "ro")
    async with FakeCollector(clock) as collector, World(disk, clock, collector) as world:
        assert isinstance(world.spool.unavailable, SpoolReadOnly)
        await collector.until(lambda: bool(collector.envelopes))  # the heartbeat needs no disk
        await world.journal.record(StreamName.EVIDENCE, window(clock, number=1), urgent=True)
        assert world.journal.lost.evidence >= 1
        await asyncio.to_thread(remount, disk, "rw")
        await clock.drive(30)
        await world.journal.record(StreamName.EVIDENCE, window(clock, number=2), urgent=True)
        await clock.drive(30)
        declared = [
            one for one in collector.observations() if isinstance(one, Note) and one.event is Event.SPOOL_DROPPED
        ]
        assert declared and declared[0].facts["reason"] == "read-only"
        assert len(collector.ledger) >= 4


@pytest.mark.root
async def test_a_spool_begun_on_a_read_only_disk_comes_to_life_with_it(disk: Path, clock: FakeClock) -> None:
    await asyncio.to_thread(remount, disk, "ro")
    spool = await Spool.open(disk / "spool.db", clock)
    with pytest.raises(SpoolReadOnly, match="cannot be written"):
        await spool.put(StreamName.MONITOR, [window(clock)])
    await asyncio.to_thread(remount, disk, "rw")
    clock.advance(6)
    await spool.put(StreamName.MONITOR, [window(clock)])
    assert spool.unavailable is None and spool.counts.batches == 1
    await spool.close()


async def test_what_was_acknowledged_before_a_kill_is_delivered_and_nothing_twice(tmp_path: Path) -> None:
    """kill -9 at random instants: acknowledged = delivered; what was under way may be there too, but only once."""
    dice = random.Random(20261121)
    claimed: set[tuple[str, int]] = set()
    clock = FakeClock()
    async with FakeCollector(clock) as collector:
        for run in range(KILLS):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.spooling", str(tmp_path), str(run * 100_000), "100000",
                cwd=ROOT, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert process.stdout is not None
            lines = [await process.stdout.readline()]
            waiting = asyncio.create_task(process.stdout.read())
            await asyncio.sleep(dice.uniform(0.0, 0.15))  # not a wait for anything: the instant of the kill
            process.kill()
            lines += (await waiting).splitlines()
            await process.wait()
            claimed |= {(name, int(number)) for name, number in (line.decode().split() for line in lines if line)}
            if run % 10 == 9:
                await _deliver(tmp_path, clock, collector)
        assert len(claimed) > 100
        arrived = Counter(
            (batch.name.value, one.counts["sent"])
            for batch in collector.batches()
            for one in map(decode_observation, batch.observations)
            if isinstance(one, Window)
        )
        assert claimed - set(arrived) == set()
        assert max(arrived.values()) == 1
        found = [
            one for one in collector.observations() if isinstance(one, Note) and one.event is Event.UNCLEAN_STOP_FOUND
        ]
        # the four runs after a delivery follow a life in another boot, the simulated clock's
        assert Counter(one.facts["kind"] for one in found) == {"crash": KILLS - 5, "power": 4}
        assert not collector.dropped and collector.duplicates == 0


async def _deliver(folder: Path, clock: FakeClock, collector: FakeCollector) -> None:
    async with World(folder, clock, collector) as world:
        await clock.asleep()
        while world.spool.counts.batches:
            await clock.drive(5)


@pytest.mark.tool("strace")
async def test_the_disk_has_synced_before_the_spool_answers(tmp_path: Path) -> None:
    """strace: between two acknowledgements there is a sync of the log that returned, after the write it covers."""
    trace = tmp_path / "trace"
    process = await asyncio.create_subprocess_exec(
        "strace", "-f", "-o", str(trace), "-e", "trace=pwrite64,write,fsync,fdatasync", "-y", "-s", "32",
        sys.executable, "-m", "tests.support.spooling", str(tmp_path), "0", "40",
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.count(b"\n") == 40
    calls = await asyncio.to_thread(trace.read_text)
    unsynced = synced = acknowledged = 0
    for line in calls.splitlines():
        if re.search(r"pwrite64\(\d+<[^>]*spool\.db-wal>", line):
            unsynced += 1
        elif re.search(r"f(data)?sync\(\d+<[^>]*spool\.db-wal>\)\s+= 0", line) or re.search(
            r"f(data)?sync resumed>\)\s+= 0", line
        ):
            unsynced, synced = 0, synced + 1
        elif re.search(r'write\(1<.*"(evidence|monitor) \d+', line):
            acknowledged += 1
            assert unsynced == 0, f"acknowledged before it was synced: {line}"
    assert acknowledged == 40
    assert synced >= 8

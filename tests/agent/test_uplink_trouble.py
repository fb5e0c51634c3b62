"""What goes wrong between a district and its collector, and that no record pays for it."""

import asyncio
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.uplink import REVOKED_RETRY
from tests.support.clock import FakeClock
from tests.support.fake_collector import Behaviour, FakeCollector
from tests.support.uplink_world import World, window
from wire.batch import StreamName
from wire.clock import SECOND
from wire.observation import Note, Window
from wire.reasons import Event, Refusal


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def windows_of(collector: FakeCollector) -> list[int]:
    return [one.counts["sent"] for one in collector.observations() if isinstance(one, Window)]


def notes_of(collector: FakeCollector, event: Event) -> list[Note]:
    return [one for one in collector.observations() if isinstance(one, Note) and one.event is event]


async def quarantined(world: World) -> list[tuple[int, str]]:
    return await world.spool.transact(lambda db: db.execute("SELECT seq, refusal FROM quarantine").fetchall())


async def test_failures_back_off_to_a_minute_and_are_logged_once_each_way(tmp_path: Path, clock: FakeClock) -> None:
    collector = FakeCollector(clock)
    await collector.start()
    await collector.stop()
    with capture_logs() as logs:
        async with collector:
            await collector.stop()
            async with World(tmp_path, clock, collector) as world:
                attempts = []
                for _ in range(600):
                    await clock.drive(1)
                    attempts.append(world.uplink.status.failures)
                gaps = [at for at in range(1, 600) if attempts[at] != attempts[at - 1]]
                waits = [later - sooner for sooner, later in pairwise(gaps)]
                assert 29 <= max(waits) <= 61
                assert waits[0] < 6
                assert "Cannot connect" in world.uplink.status.cause
                await collector.start()
                await clock.drive(61)
                assert world.uplink.status.connected
    events = [one["event"] for one in logs]
    assert events.count("collector does not answer") == 1
    assert events.count("collector answers again") == 1


@pytest.mark.parametrize(
    "behaviour", [Behaviour.NOT_JSON, Behaviour.PORTAL_REDIRECT, Behaviour.PROXY_404, Behaviour.BUSY, Behaviour.REVOKED]
)
async def test_whatever_answers_in_the_collectors_place_no_record_is_lost(
    tmp_path: Path, clock: FakeClock, behaviour: Behaviour
) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        collector.always = behaviour
        for number in range(20):
            await world.record(window(clock, number=number))
            await clock.drive(5)
        assert not world.uplink.status.connected
        assert await quarantined(world) == []
        collector.always = None
        await clock.drive(2 * REVOKED_RETRY)
        assert sorted(windows_of(collector)) == list(range(20))
        assert await quarantined(world) == []


async def test_a_filter_that_lets_only_heartbeats_through_is_no_recovery(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        collector.always = Behaviour.FILTER
        posts = len(collector.envelopes)
        with capture_logs() as logs:
            for number in range(20):
                await world.record(window(clock, number=number))
                await clock.drive(60)
        assert [one["event"] for one in logs] == ["collector does not answer"]
        assert len(collector.envelopes) - posts < 100
        assert await quarantined(world) == []
        collector.always = None
        with capture_logs() as logs:
            await clock.drive(120)
        assert [one["event"] for one in logs] == ["collector answers again"]
        assert sorted(windows_of(collector)) == list(range(20))


async def test_a_revoked_token_is_a_clear_state_and_tried_seldom(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        collector.always = Behaviour.REVOKED
        await clock.drive(6)
        before = world.uplink.status.failures
        await world.journal.record(StreamName.EVIDENCE, window(clock), urgent=True)
        await clock.drive(3600)
        assert world.uplink.status.token_refused
        assert world.uplink.status.cause.endswith("answered 401: Token revoked")
        assert 9 <= world.uplink.status.failures - before <= 13
        assert world.spool.counts.batches >= 1


async def test_a_hung_server_costs_a_time_limit_and_the_data_arrives(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector, patience=0.3) as world:
        await clock.drive(6)
        await world.record(window(clock, number=1))
        collector.behave(Behaviour.HANG)
        with capture_logs() as logs:
            await clock.drive(60)
        assert world.uplink.status.failures == 1
        assert logs[0]["cause"].endswith("no answer within 0.3 s")
        assert windows_of(collector) == [1]


@pytest.mark.parametrize(("asked", "least", "most"), [("120", 120, 150), ("9999999", 600, 750), ("nonsense", 0, 2)])
async def test_retry_after_is_honoured_up_to_ten_minutes(
    tmp_path: Path, clock: FakeClock, asked: str, least: int, most: int
) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        posts = len(collector.envelopes)
        collector.retry_after = asked
        collector.behave(Behaviour.BUSY)
        while world.uplink.status.failures == 0:
            await clock.drive(0.5)
        at = clock.boottime()
        while len(collector.envelopes) == posts:
            await clock.drive(0.5)
        assert least <= (clock.boottime() - at) / SECOND + 0.5 <= most + 1


async def test_an_envelope_too_large_for_a_proxy_is_split_until_it_passes(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector:
        collector.most_batches = 3
        world = World(tmp_path, clock, collector)
        await world.open()
        for number in range(40):
            await world.record(window(clock, number=number))
        world.run()
        await clock.drive(300)
        assert Counter(windows_of(collector)) == Counter(range(40))
        assert await quarantined(world) == []
        await world.close()


async def test_one_batch_that_never_passes_is_found_and_quarantined_alone(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector:
        world = World(tmp_path, clock, collector)
        await world.open()
        for number in range(20):
            await world.record(window(clock, "poison" if number == 13 else "gateway", number=number))

        async def choke(envelope: object) -> None:
            poisoned = any(b'"poison"' in bytes(one.batch) for one in collector.envelopes[-1].batches)
            collector.most_batches = 0 if poisoned else None

        collector.on_post = choke
        world.run()
        await clock.drive(300)
        assert Counter(windows_of(collector)) == Counter(set(range(20)) - {13})
        assert await quarantined(world) == [(14, "too_large")]
        (note,) = notes_of(collector, Event.BATCH_QUARANTINED)
        assert (note.counts, note.facts["refusal"]) == ({"batches": 1, "seq": 14}, "too_large")
        await world.close()


async def test_a_collector_that_rejects_every_envelope_makes_no_batch_guilty(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        collector.always = Behaviour.TOO_LARGE
        for number in range(5):
            await world.record(window(clock, number=number))
        await clock.drive(600)
        assert await quarantined(world) == []
        assert world.spool.counts.batches >= 5


async def test_a_refused_batch_is_quarantined_told_once_and_never_sent_again(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        collector.refuse = lambda batch: Refusal.WRONG_SHAPE if batch.name is StreamName.MONITOR else None
        await world.record(window(clock, number=1))
        await clock.drive(6)
        digests = Counter(one.digest for envelope in collector.envelopes for one in envelope.batches)
        await clock.drive(600)
        (note,) = notes_of(collector, Event.BATCH_QUARANTINED)
        assert note.facts["refusal"] == "wrong_shape" and note.facts["detail"] == "refused by the test"
        again = Counter(one.digest for envelope in collector.envelopes for one in envelope.batches)
        assert all(again[digest] == times for digest, times in digests.items())
        assert collector.envelopes[-1].backlog["quarantined"] == 1


async def test_a_collector_that_refuses_everything_does_not_breed_notes(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        collector.always = Behaviour.REFUSE
        await clock.drive(3600)
        assert world.spool.counts.quarantined <= 20


async def test_a_receipt_about_batches_never_sent_deletes_nothing(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        collector.always = Behaviour.LIE
        await world.record(window(clock, number=1))
        await clock.drive(30)
        assert world.spool.counts.batches == 1
        collector.always = None
        await clock.drive(30)
        assert windows_of(collector) == [1]


async def test_a_cloned_card_is_found_out_and_both_boxes_go_on(tmp_path: Path, clock: FakeClock) -> None:
    """Two boxes with the same spool: the second one's batches conflict, are quarantined, and it begins new streams."""
    first, second = tmp_path / "first", tmp_path / "second"
    await asyncio.to_thread(first.mkdir)
    async with FakeCollector(clock) as collector:
        async with World(first, clock, collector) as original:
            await original.record(window(clock, number=1))
            await clock.drive(11)
        await asyncio.to_thread(shutil.copytree, first, second)
        async with World(first, clock, collector) as original:
            for number in (2, 3):
                await original.record(window(clock, number=number))
            await clock.drive(11)
        async with World(second, clock, collector) as clone:
            before = set(await clone.spool.streams())
            await clone.record(window(clock, number=20))
            await clock.drive(11)
            assert not before & set(await clone.spool.streams())
            await clone.record(window(clock, number=21))
            await clock.drive(11)
            assert (3, "conflict") in await quarantined(clone) or (2, "conflict") in await quarantined(clone)
        async with World(first, clock, collector) as original:
            await original.record(window(clock, number=4))
            await clock.drive(11)
            assert original.spool.counts.batches == 0
        assert Counter(windows_of(collector)) == Counter([1, 2, 3, 4, 21])
        causes = [one.facts["cause"] for one in notes_of(collector, Event.SPOOL_SET_ASIDE)]
        assert causes == ["the collector holds other batches under these numbers: a cloned disk?"]
        assert notes_of(collector, Event.BATCH_QUARANTINED)


async def test_a_machine_without_a_clock_is_anchored_all_the_same(tmp_path: Path) -> None:
    """A Pi boots offline in 1970, measures, meets the collector later: every record can be placed."""
    clock = FakeClock(wall=0, boottime=2 * SECOND)
    collector = FakeCollector(clock, offset=1_795_000_000 * SECOND)
    async with collector:
        port_closed = World(tmp_path, clock, collector)
        await port_closed.open()
        await port_closed.record(window(clock, number=1))
        measured = clock.boottime()
        truth = collector.now()
        clock.advance(3600)
        port_closed.run()
        await clock.drive(11)
        (one,) = [one for one in collector.observations() if isinstance(one, Window)]
        assert one.wall_end < 3600 * SECOND
        corrected = port_closed.timekeeper.utc(measured)
        assert corrected is not None and abs(corrected.utc - truth) <= corrected.error <= SECOND
        assert collector.envelopes[-1].clock.anchor is not None
        await port_closed.close()


async def test_an_unclean_stop_is_found_and_named(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector:
        for ending in ("clean", "crash", "power", "last"):
            async with World(tmp_path, clock, collector) as world:
                await world.journal.started("0.1.0")
                await clock.drive(10)
                if ending == "clean":
                    await world.journal.stopped("asked")
                    await world.uplink.drain(2)
                last = clock.boottime()
            if ending == "power":
                clock.reboot("boot-2")
        (crash, power) = notes_of(collector, Event.UNCLEAN_STOP_FOUND)
        assert (crash.facts["kind"], power.facts["kind"]) == ("crash", "power")
        assert power.facts["last_boot"] == "boot-1"
        assert 0 < power.counts["last_boottime"] <= last or power.counts["last_boottime"] > 10 * SECOND
        assert len(notes_of(collector, Event.STARTED)) == 4
        assert len(notes_of(collector, Event.STOPPED)) == 1


async def test_the_last_record_of_a_clean_stop_is_delivered(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector:
        world = World(tmp_path, clock, collector)
        await world.open()
        world.run()
        await clock.drive(11)
        assert world._run is not None
        world._run.cancel()
        await asyncio.gather(world._run, return_exceptions=True)
        await world.journal.stopped("asked")
        await world.uplink.drain(2)
        assert notes_of(collector, Event.STOPPED)[0].facts == {"why": "asked"}
        assert world.spool.counts.batches == 0
        await world.close()

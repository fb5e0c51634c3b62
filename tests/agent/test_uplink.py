"""Delivery as it should be: newest first, once, and only a receipt deletes."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.fake_collector import Behaviour, FakeCollector
from tests.support.uplink_world import World, window
from wire.batch import StreamName
from wire.clock import DAY, MINUTE, SECOND
from wire.observation import Note, Window
from wire.reasons import Event
from wire.settings import AgentSettings


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def windows_of(collector: FakeCollector) -> list[int]:
    return [one.counts["sent"] for one in collector.observations() if isinstance(one, Window)]


async def test_the_first_post_is_an_empty_heartbeat_and_the_second_carries_the_anchor(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with FakeCollector(clock) as collector:
        world = World(tmp_path, clock, collector)
        await world.open()
        await world.record(window(clock))
        world.run()
        await collector.until(lambda: bool(collector.ledger))
        first, second = collector.envelopes[0], collector.envelopes[1]
        assert first.batches == [] and first.clock.anchor is None
        assert second.batches and second.clock.anchor is not None
        assert second.clock.anchor.utc == collector.now()
        await world.close()


async def test_what_was_delivered_is_deleted_and_the_chain_is_unbroken(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        for number in range(5):
            await world.record(window(clock, number=number))
            await clock.drive(5)
        await collector.until(lambda: len(windows_of(collector)) == 5)
        await clock.asleep()
        assert world.spool.counts.batches == 0
        assert sorted(windows_of(collector)) == list(range(5))
        assert not collector.duplicates


async def test_an_urgent_record_is_posted_at_once(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.asleep()
        at = clock.boottime()
        await world.journal.record(StreamName.EVIDENCE, window(clock, number=7), urgent=True)
        await collector.until(lambda: 7 in windows_of(collector))
        assert clock.boottime() == at


async def test_three_days_without_a_collector(tmp_path: Path, clock: FakeClock) -> None:
    """Every record arrives, once, with its own time, the newest first; the wall clock was a year off meanwhile."""
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        begun, true_utc = clock.boottime(), collector.now()
        await collector.until(lambda: bool(collector.envelopes))
        await clock.asleep()
        await collector.stop()
        for number in range(3 * 24 * 12):
            await clock.drive(300)
            if number == 100:
                clock.step_wall(365 * 86_400)
            if number == 500:
                clock.step_wall(-3600)
            await world.record(window(clock, number=number))
        assert clock.boottime() - begun >= 3 * DAY
        assert not world.uplink.status.connected
        await collector.start()
        back = len(collector.arrivals)
        while world.spool.counts.batches:
            await clock.drive(5)
            await clock.asleep()

        arrived = [one for one in collector.observations()[back:] if isinstance(one, Window)]
        assert Counter(one.counts["sent"] for one in arrived) == Counter(range(864))
        assert collector.duplicates == 0 and not collector.dropped
        numbers = [one.counts["sent"] for one in arrived]
        assert numbers == sorted(numbers, reverse=True)
        for one in arrived:
            expected = begun + (one.counts["sent"] + 1) * 300 * SECOND
            assert abs(one.end - expected) < SECOND
            corrected = world.timekeeper.utc(one.end)
            assert corrected is not None
            assert abs(corrected.utc - (true_utc + one.end - begun)) <= corrected.error


async def test_new_records_do_not_wait_behind_the_backlog(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector:
        world = World(tmp_path, clock, collector)
        await world.open()
        filler = [window(clock, "x" * 70, number=9999) for _ in range(200)]
        for _ in range(60):
            await world.record(*filler)
        backlog = world.spool.counts.batches
        world.run()
        await clock.drive(6)
        assert 0 < len(collector.ledger) < backlog
        await world.record(window(clock, number=1))
        await clock.drive(5)
        await collector.until(lambda: 1 in windows_of(collector))
        assert world.spool.counts.batches > backlog / 2
        assert collector.envelopes[-1].batches[0].digest not in {one.digest for one in collector.envelopes[-2].batches}
        await world.close()


async def test_a_receipt_lost_after_the_commit_makes_a_harmless_duplicate(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.asleep()
        collector.behave(Behaviour.DROP_RECEIPT)
        await world.record(window(clock, number=3))
        await clock.drive(60)
        await collector.until(lambda: collector.duplicates > 0)
        await clock.asleep()
        assert windows_of(collector) == [3]
        assert world.spool.counts.batches == 0


async def test_deferred_batches_stay_and_are_offered_again(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        collector.behave(Behaviour.DEFER)
        await world.record(window(clock, number=3))
        await clock.drive(6)
        assert windows_of(collector) == [] and world.spool.counts.batches == 1
        await clock.drive(40)
        assert windows_of(collector) == [3] and world.spool.counts.batches == 0


async def test_anchors_go_into_the_evidence_first_and_every_ten_minutes(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector):
        await clock.drive(25 * 60)
        await clock.asleep()
        notes = [one for one in collector.observations() if isinstance(one, Note) and one.event is Event.ANCHOR]
        assert len(notes) == 3
        assert all(one.counts["utc"] - one.counts["boottime"] == collector.now() - clock.boottime() for one in notes)
        assert notes[1].end - notes[0].end >= 10 * MINUTE


async def test_a_collector_that_contradicts_itself_gives_no_anchor(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        collector.always = Behaviour.TIME_TRAVEL
        await clock.drive(20)
        assert world.uplink.status.connected
        assert world.timekeeper.utc() is None


async def test_settings_are_fetched_when_a_receipt_names_others(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector) as world:
        await clock.drive(6)
        assert world.applied == []
        collector.settings = AgentSettings(revision="rev-2", site="mueang")
        collector.announce = "rev-2"
        await clock.drive(10)
        assert [one.revision for one in world.applied] == ["rev-2"]
        assert collector.envelopes[-1].settings == "rev-2"
        assert collector.settings_fetched == 1


async def test_settings_that_do_not_match_what_was_announced_are_not_fetched_at_every_post(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector):
        collector.announce = "rev-99"
        collector.settings = AgentSettings(revision="rev-2")
        await clock.drive(59)
        assert collector.settings_fetched <= 1


async def test_a_loaded_collector_slows_the_posts_down(tmp_path: Path, clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, World(tmp_path, clock, collector):
        collector.live_every = 20.0
        await clock.drive(30)
        before = len(collector.envelopes)
        await clock.drive(100)
        assert len(collector.envelopes) - before <= 6

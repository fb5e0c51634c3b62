"""The journal gathers, returns when durable, and loses nothing in silence."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from agent.journal import Journal
from agent.spool import Spool
from tests.support.clock import FakeClock
from tests.support.uplink_world import window
from wire.batch import StreamName, decode_batch


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_records_of_one_second_share_a_batch_and_all_wait_for_it(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)
    waiting = [
        asyncio.create_task(journal.record(StreamName.MONITOR, window(clock, number=number))) for number in range(5)
    ]
    waiting.append(asyncio.create_task(journal.record(StreamName.EVIDENCE, window(clock))))
    await clock.asleep()
    assert spool.counts.batches == 0 and not any(one.done() for one in waiting)
    clock.advance(1)
    await asyncio.gather(*waiting)
    batches = [decode_batch(one.sealed) for one in await spool.newest()]
    assert sorted((one.name.value, len(one.observations)) for one in batches) == [("evidence", 1), ("monitor", 5)]
    await spool.close()


async def test_an_urgent_record_takes_the_waiting_ones_along_and_wakes_the_uplink(
    tmp_path: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)
    woken: list[int] = []
    journal.on_urgent = lambda: woken.append(spool.counts.batches)
    waiting = asyncio.create_task(journal.record(StreamName.MONITOR, window(clock)))
    await clock.asleep()
    await journal.record(StreamName.MONITOR, window(clock, number=1), urgent=True)
    await waiting
    assert woken == [1]
    await spool.close()


async def test_a_cancelled_caller_loses_nothing(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)
    waiting = asyncio.create_task(journal.record(StreamName.MONITOR, window(clock, number=1)))
    other = asyncio.create_task(journal.record(StreamName.MONITOR, window(clock, number=2)))
    await clock.asleep()
    waiting.cancel()
    clock.advance(1)
    await other
    (batch,) = [decode_batch(one.sealed) for one in await spool.newest()]
    assert len(batch.observations) == 2
    await spool.close()


async def test_a_record_that_cannot_be_encoded_harms_no_other(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)
    good = asyncio.create_task(journal.record(StreamName.MONITOR, window(clock)))
    await clock.asleep()
    bad = msgspec.structs.replace(window(clock), values={"rtt": float("inf")})
    with pytest.raises(ValueError, match="rtt: found inf"):
        await journal.record(StreamName.MONITOR, bad)
    clock.advance(1)
    await good
    assert spool.counts.batches == 1
    await spool.close()


async def test_a_mistake_of_ours_is_told_to_whoever_recorded(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)

    def broken(*_: object, **__: object) -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr("agent.spool.file.SpoolFile.put", broken)
    waiting = asyncio.create_task(journal.record(StreamName.MONITOR, window(clock)))
    await clock.asleep()
    clock.advance(1)
    with pytest.raises(TypeError, match="a mistake"):
        await waiting
    with pytest.raises(TypeError, match="a mistake"):
        await journal.record(StreamName.MONITOR, window(clock), urgent=True)
    await spool.close()


async def test_a_new_spool_has_no_unclean_stop_to_tell_of(tmp_path: Path, clock: FakeClock) -> None:
    for _ in range(2):
        spool = await Spool.open(tmp_path / "spool.db", clock)
        journal = Journal(spool, clock)
        await journal.started("0.1.0")
        await journal.stopped("asked")
        await spool.close()
    spool = await Spool.open(tmp_path / "spool.db", clock)
    assert spool.before is not None and spool.before.clean
    text = b"".join(one.sealed for one in await spool.newest())
    assert text.count(b'"started"') == 2 and text.count(b'"stopped"') == 2
    assert b"unclean" not in text
    await spool.close()

"""The journal gathers, returns when durable, and loses nothing in silence."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from agent.journal import Journal
from agent.spool import Record, Spool
from tests.support.clock import FakeClock
from tests.support.uplink_world import window
from wire.batch import StreamName, decode_batch, decode_observation
from wire.observation import Note
from wire.reasons import Event


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


async def test_a_mistake_in_one_stream_harms_not_the_other_and_is_declared(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)
    put = spool.put_records

    async def broken(stream: StreamName, records: list[Record], *, last: bool = False) -> None:
        if stream is StreamName.EVIDENCE:
            raise TypeError("a mistake")
        await put(stream, records, last=last)

    with monkeypatch.context() as patched:
        patched.setattr(spool, "put_records", broken)
        evidence = asyncio.create_task(journal.record(StreamName.EVIDENCE, window(clock)))
        monitor = asyncio.create_task(journal.record(StreamName.MONITOR, window(clock)))
        await clock.asleep()
        clock.advance(1)
        with pytest.raises(TypeError, match="a mistake"):
            await evidence
        await monitor
    assert (journal.lost.evidence, journal.lost.monitor, journal.lost_ever) == (1, 0, 1)
    await journal.record(StreamName.EVIDENCE, window(clock), urgent=True)
    batches = {one.name: one for one in [decode_batch(one.sealed) for one in await spool.newest()]}
    assert len(batches[StreamName.MONITOR].observations) == 1
    told, kept = [decode_observation(raw) for raw in batches[StreamName.EVIDENCE].observations]
    assert isinstance(told, Note)
    assert (told.event, told.counts["evidence"], told.facts) == (Event.SPOOL_DROPPED, 1, {"reason": "mistake"})
    assert kept == window(clock)
    assert journal.lost.records == 0
    await spool.close()


async def test_losses_that_cannot_be_told_harm_no_other_stream(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    journal = Journal(spool, clock)

    def broken() -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr(journal, "_told", broken)
    await journal.record(StreamName.MONITOR, window(clock), urgent=True)
    assert spool.counts.batches == 1
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

"""The spool keeps what it took: chained, bounded, declared, over restarts."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from agent.spool import Limits, Refused, Spool, SpoolInUse, Waiting, machine_hint
from tests.support.clock import FakeClock
from tests.support.uplink_world import window
from wire.batch import GENESIS, LARGEST_BATCH, Batch, StreamName, decode_batch, decode_observation, digest_of
from wire.observation import Note
from wire.reasons import Event


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def everything(spool: Spool) -> list[Waiting]:
    """All batches, oldest first."""
    return (await spool.newest(budget=2**40, most=10**6))[::-1]


async def batches(spool: Spool, name: StreamName) -> list[Batch]:
    return [decode_batch(one.sealed) for one in await everything(spool) if one.name is name]


async def test_two_streams_each_with_its_own_unbroken_chain_over_restarts(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    for run in range(3):
        spool = await Spool.open(path, clock)
        for number in range(4):
            await spool.put(StreamName.EVIDENCE, [window(clock, number=run * 10 + number)])
            await spool.put(StreamName.MONITOR, [window(clock, number=run * 10 + number)])
        await spool.close()
    spool = await Spool.open(path, clock)
    waiting = await everything(spool)
    assert len({one.stream for one in waiting}) == 2
    for name in StreamName:
        chain = [one for one in waiting if one.name is name]
        assert [one.seq for one in chain] == list(range(1, 13))
        expected = GENESIS
        for one in chain:
            assert decode_batch(one.sealed).prev == expected
            assert digest_of(one.sealed) == one.digest
            expected = one.digest
    await spool.close()


async def test_the_newest_come_first_within_the_budget(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    for number in range(10):
        await spool.put(StreamName.MONITOR, [window(clock, number=number)])
    size = len((await spool.newest(most=1))[0].sealed)
    assert [one.seq for one in await spool.newest(budget=size * 3 + size // 2)] == [10, 9, 8]
    assert [one.seq for one in await spool.newest(budget=1)] == [10]
    assert [one.seq for one in await spool.newest(most=2, skip=frozenset({10}))] == [9, 8]
    assert [one.seq for one in await spool.newest(above=7)] == [10, 9, 8]
    assert [one.seq for one in await spool.newest(up_to=2)] == [2, 1]
    await spool.close()


async def test_a_delivered_number_is_never_used_again(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    spool = await Spool.open(path, clock)
    (first,) = await spool.put(StreamName.MONITOR, [window(clock)])
    await spool.settle([(first.stream, first.seq)])
    await spool.close()
    spool = await Spool.open(path, clock)
    (second,) = await spool.put(StreamName.MONITOR, [window(clock)])
    assert (second.stream, second.seq) == (first.stream, 2)
    assert decode_batch((await everything(spool))[0].sealed).prev == first.digest
    assert await spool.highest() == 2
    await spool.close()


async def test_records_that_do_not_fit_one_batch_become_several(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    many = [window(clock, "t" * 70, number=number) for number in range(6000)]
    put = await spool.put(StreamName.MONITOR, many)
    waiting = await everything(spool)
    assert len(put) == len(waiting) >= 2
    assert all(len(one.sealed) <= LARGEST_BATCH for one in waiting)
    found = [decode_observation(raw) for one in waiting for raw in decode_batch(one.sealed).observations]
    assert found == many
    await spool.close()


async def test_a_number_that_is_not_finite_is_refused_before_anything_is_written(
    tmp_path: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    bad = msgspec.structs.replace(window(clock), values={"offset": float("nan")})
    with pytest.raises(ValueError, match="offset: found nan, expected a finite number"):
        await spool.put(StreamName.MONITOR, [window(clock), bad])
    assert spool.counts.batches == 0
    await spool.close()


async def test_past_its_byte_limit_the_oldest_monitor_goes_then_evidence_and_all_is_declared(
    tmp_path: Path, clock: FakeClock
) -> None:
    limits = Limits(bytes=20_000)
    spool = await Spool.open(tmp_path / "spool.db", clock, limits)
    for number in range(5):
        await spool.put(StreamName.EVIDENCE, [window(clock, number=number)])
    for number in range(60):
        clock.advance(60)
        await spool.put(StreamName.MONITOR, [window(clock, number=number)])
        assert spool.counts.bytes <= limits.bytes
    kept = await batches(spool, StreamName.MONITOR)
    assert len(await batches(spool, StreamName.EVIDENCE)) == 5
    declared = {seq for one in kept for gap in one.dropped for seq in range(gap.first, gap.last + 1)}
    missing = set(range(1, 61)) - {one.seq for one in kept}
    (after,) = await spool.put(StreamName.MONITOR, [window(clock)])
    last = (await batches(spool, StreamName.MONITOR))[-1]
    assert last.seq == after.seq
    declared |= {seq for gap in last.dropped for seq in range(gap.first, gap.last + 1)}
    assert declared >= missing
    assert all(gap.reason == "full" and 0 < gap.start < gap.end for one in kept for gap in one.dropped)
    for number in range(60):
        await spool.put(StreamName.EVIDENCE, [window(clock, number=number)])
    assert await batches(spool, StreamName.MONITOR) == []
    evidence = await batches(spool, StreamName.EVIDENCE)
    assert evidence[0].seq > 1
    assert spool.counts.dropped > 60
    await spool.close()


async def test_a_dropped_batch_hands_its_own_declarations_on(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock, Limits(bytes=6_000))
    for number in range(200):
        await spool.put(StreamName.MONITOR, [window(clock, number=number)])
    await spool.put(StreamName.MONITOR, [window(clock)])
    kept = await batches(spool, StreamName.MONITOR)
    declared = {seq for one in kept for gap in one.dropped for seq in range(gap.first, gap.last + 1)}
    pending = await spool.transact(lambda db: db.execute("SELECT first, last FROM dropped").fetchall())
    declared |= {seq for first, last in pending for seq in range(first, last + 1)}
    assert declared | {one.seq for one in kept} == set(range(1, 202))
    await spool.close()


async def test_age_counts_running_time_so_a_stepped_wall_clock_drops_nothing(tmp_path: Path, clock: FakeClock) -> None:
    limits = Limits(age=7 * 86_400.0)
    path = tmp_path / "spool.db"
    spool = await Spool.open(path, clock, limits)
    await spool.put(StreamName.MONITOR, [window(clock, number=1)])
    clock.step_wall(3 * 365 * 86_400)
    await spool.put(StreamName.MONITOR, [window(clock, number=2)])
    assert spool.counts.batches == 2
    await spool.close()
    clock.reboot("boot-2")
    spool = await Spool.open(path, clock, limits)
    clock.advance(6 * 86_400)
    await spool.put(StreamName.MONITOR, [window(clock, number=3)])
    assert spool.counts.batches == 3
    clock.advance(2 * 86_400)
    await spool.put(StreamName.MONITOR, [window(clock, number=4)])
    assert [one.seq for one in await everything(spool)] == [3, 4]
    await spool.put(StreamName.MONITOR, [window(clock, number=5)])
    (gap,) = (await batches(spool, StreamName.MONITOR))[-1].dropped
    assert (gap.first, gap.last, gap.reason) == (1, 2, "age")
    await spool.close()


async def test_refused_batches_are_kept_aside_and_bounded(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock, Limits(quarantine=3_000))
    for number in range(10):
        await spool.put(StreamName.MONITOR, [window(clock, number=number)])
    waiting = await everything(spool)
    gone = await spool.settle([], [Refused(one.stream, one.seq, "wrong_shape", "why") for one in waiting])
    assert len(gone) == 10
    assert spool.counts.batches == 0 and 0 < spool.counts.quarantined < 10
    rows = await spool.transact(lambda db: db.execute("SELECT seq, sealed, refusal FROM quarantine").fetchall())
    assert rows[-1] == (10, waiting[-1].sealed, "wrong_shape")
    await spool.put(StreamName.MONITOR, [window(clock)])
    (gap,) = (await batches(spool, StreamName.MONITOR))[-1].dropped
    assert (gap.first, gap.reason) == (1, "quarantine overflow")
    assert gap.last == 10 - spool.counts.quarantined
    await spool.close()


async def test_renewed_streams_begin_new_chains_and_old_batches_keep_their_ids(
    tmp_path: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    (before,) = await spool.put(StreamName.MONITOR, [window(clock)])
    await spool.renew("test")
    (after,) = await spool.put(StreamName.MONITOR, [window(clock)])
    assert after.stream != before.stream and after.seq == 1
    assert [one.stream for one in await everything(spool)] == [before.stream, after.stream]
    assert set(await spool.streams()) > {after.stream} and before.stream not in await spool.streams()
    await spool.close()


async def test_a_spool_on_another_machine_begins_new_streams(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    spool = await Spool.open(path, clock, machine="aaaa")
    (before,) = await spool.put(StreamName.MONITOR, [window(clock)])
    await spool.close()
    spool = await Spool.open(path, clock, machine="aaaa")
    assert before.stream in await spool.streams() and not spool.reports
    await spool.close()
    spool = await Spool.open(path, clock, machine="bbbb")
    assert before.stream not in await spool.streams()
    assert [one.stream for one in await everything(spool)] == [before.stream]
    assert [(one.event, one.facts["cause"]) for one in spool.reports] == [(Event.SPOOL_SET_ASIDE, "another machine")]
    await spool.close()


async def test_losses_of_an_ended_stream_are_reported_because_it_cannot_declare_them(
    tmp_path: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock, Limits(bytes=4_000))
    (old,) = await spool.put(StreamName.MONITOR, [window(clock)])
    await spool.renew("test")
    spool.reports.clear()
    for number in range(10):
        await spool.put(StreamName.MONITOR, [window(clock, number=number)])
    (report,) = [one for one in spool.reports if one.facts["stream"] == old.stream]
    assert report.event is Event.SPOOL_DROPPED
    assert (report.counts["first"], report.counts["last"]) == (1, 1)
    await spool.close()


async def test_rotten_bytes_are_quarantined_before_they_can_spoil_an_envelope(tmp_path: Path, clock: FakeClock) -> None:
    spool = await Spool.open(tmp_path / "spool.db", clock)
    await spool.put(StreamName.MONITOR, [window(clock, number=1)])
    await spool.put(StreamName.MONITOR, [window(clock, number=2)])
    await spool.transact(lambda db: db.execute("UPDATE batch SET sealed = x'7b' WHERE seq = 1").rowcount)
    assert [one.seq for one in await everything(spool)] == [2]
    assert spool.counts.quarantined == 1
    await spool.close()


async def test_a_second_agent_on_one_spool_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    spool = await Spool.open(path, clock)
    with pytest.raises(SpoolInUse, match="in use by another process, expected one agent per state folder"):
        await Spool.open(path, clock)
    await spool.close()


async def test_nobody_else_may_read_the_spool(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    spool = await Spool.open(path, clock)
    await spool.put(StreamName.MONITOR, [window(clock)])
    modes = await asyncio.to_thread(lambda: {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()})
    assert set(modes) >= {"spool.db", "spool.db-wal"}
    assert set(modes.values()) == {0o600}
    await spool.close()


async def test_the_pages_of_what_was_delivered_are_given_back(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    spool = await Spool.open(path, clock)
    filler = [window(clock, "x" * 70, number=number) for number in range(2000)]
    for _ in range(40):
        await spool.put(StreamName.MONITOR, filler)
    while waiting := await spool.newest(most=5):
        await spool.settle([(one.stream, one.seq) for one in waiting])
    await spool.close()
    size = await asyncio.to_thread(lambda: path.stat().st_size)
    assert size < 12 * 2**20


def test_the_machine_hint_tells_machines_apart(tmp_path: Path) -> None:
    assert machine_hint(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("a\n")
    first = machine_hint(tmp_path)
    (tmp_path / "etc/machine-id").write_text("b\n")
    assert len(first) == 16 and machine_hint(tmp_path) not in ("", first)


async def test_a_spool_of_a_later_format_is_set_aside_not_misread(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"

    def later() -> None:
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.close()

    await asyncio.to_thread(later)
    spool = await Spool.open(path, clock)
    (report,) = spool.reports
    assert report.facts["kept_as"] == "spool.db.damaged-1"
    assert "found spool format 99, expected 1" in report.facts["cause"]
    await spool.put(
        StreamName.EVIDENCE, [Note(boot="b", start=1, end=1, wall_start=1, wall_end=1, event=Event.STARTED)]
    )
    await spool.close()

"""Corrected time: which anchors are believed and kept, and what they do to rows that came before them."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from collector.store import Store
from collector.store.query import hours, latest, records, windows
from collector.store.times import ANCHOR_LATE, Boot, Retime, believable, retime
from tests.support.store import BAN_PHUE, BOOT, EPOCH, Chain, anchor, clock, window
from wire.batch import AgentClock, StreamName
from wire.clock import DAY, DRIFT, HOUR, MINUTE, SECOND, Anchor, correct
from wire.observation import Note
from wire.reasons import Event


def test_an_anchor_that_tells_nothing_new_is_not_kept() -> None:
    boot = Boot(1, BOOT, [])
    assert boot.learn(anchor(0)) == (-(2**62), 2**62)
    assert boot.learn(anchor(MINUTE)) is None, "a minute's drift is 12 ms"
    assert boot.learn(anchor(HOUR)) is not None, "an hour's is 720 ms"
    assert boot.learn(anchor(2 * HOUR, error=5 * SECOND)) is None, "worse than what is known"
    assert boot.places == [0, HOUR]


def test_an_anchor_that_contradicts_is_kept_and_widens_the_bound() -> None:
    boot = Boot(1, BOOT, [anchor(0)])
    assert boot.learn(anchor(MINUTE, off=HOUR)) is not None
    found = boot.utc(MINUTE)
    assert found is not None
    assert found.error > HOUR // 2 - MINUTE


def test_only_the_rows_between_its_neighbours_can_be_improved() -> None:
    boot = Boot(1, BOOT, [anchor(place * HOUR) for place in (0, 1, 2, 8, 9, 10)])
    assert boot.learn(anchor(5 * HOUR)) == (1 * HOUR, 9 * HOUR)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.integers(0, 100))
def test_neighbours_alone_bound_the_truth_as_well_as_all(places: list[int], at: int) -> None:
    """With honest anchors: the truth is inside, and the bound is no worse than that of the nearest anchor."""
    boot = Boot(1, BOOT, [anchor(place * MINUTE) for place in set(places)])
    found = boot.utc(at * MINUTE)
    assert found is not None
    assert abs(found.utc - (EPOCH + at * MINUTE)) <= found.error
    nearest = min(abs(place - at) for place in places) * MINUTE
    assert found.error <= 10_000 + nearest * DRIFT + 1
    every = correct(BOOT, at * MINUTE, boot.anchors)
    assert every is not None
    assert found.error >= every.error


@pytest.mark.parametrize(
    ("delay", "good"),
    [(0, True), (MINUTE, True), (ANCHOR_LATE + SECOND, False), (-SECOND, True), (-3 * SECOND, False)],
)
def test_an_anchor_must_agree_with_the_arrival(delay: int, good: bool) -> None:
    assert believable(clock(HOUR), EPOCH + HOUR + delay) is good


def test_an_anchor_of_another_boot_proves_nothing_about_this_one() -> None:
    assert not believable(AgentClock(BOOT, HOUR, 0, anchor(HOUR, boot="other")), EPOCH + HOUR)


async def settled(store: Store) -> None:
    """Waits until what was queued behind the last take is done."""
    await store.write(lambda _: None)
    await store.write(lambda _: None)


async def test_rows_get_their_time_when_the_first_anchor_comes(store: Store) -> None:
    chain, evidence = Chain(), Chain(StreamName.EVIDENCE)
    started = Note(boot=BOOT, start=SECOND, end=SECOND, wall_start=7, wall_end=7, event=Event.STARTED)
    no_clock = clock(MINUTE, anchored=False)
    await store.take(BAN_PHUE, EPOCH + MINUTE, no_clock, [chain.seal(window(MINUTE)), evidence.seal(started)])
    assert await store.read(latest) == []
    await store.take(BAN_PHUE, EPOCH + 2 * MINUTE, clock(2 * MINUTE), [])
    await settled(store)
    (landed,) = await store.read(latest)
    assert landed.time is not None
    assert abs(landed.time.utc - (EPOCH + MINUTE)) <= landed.time.error < 100_000
    (note,) = await store.read(records)
    assert note.time is not None
    assert await store.read(lambda connection: connection.exec_driver_sql("SELECT * FROM dirty").all()) != []


async def test_an_anchor_inside_a_note_serves_as_well(store: Store) -> None:
    evidence = Chain(StreamName.EVIDENCE)
    true = anchor(MINUTE, boot="earlier")
    note = Note(
        boot="earlier", start=MINUTE, end=MINUTE, wall_start=0, wall_end=0, event=Event.ANCHOR,
        counts={"boottime": true.boottime, "utc": true.utc, "error": true.error},
    )  # fmt: skip
    taken = await store.take(BAN_PHUE, EPOCH + HOUR, clock(HOUR), [evidence.seal(note, window(MINUTE, boot="earlier"))])
    assert taken.landed[1].time is not None
    assert taken.landed[1].time.error == 10_000
    lying = Note(
        boot="never", start=1, end=1, wall_start=0, wall_end=0, event=Event.ANCHOR,
        counts={"utc": EPOCH + 2 * HOUR, "error": 5},
    )  # fmt: skip
    taken = await store.take(BAN_PHUE, EPOCH + HOUR, clock(HOUR), [evidence.seal(lying)])
    assert taken.landed[0].time is None, "an anchor in the future is not believed"


async def test_a_better_anchor_after_three_days_offline_corrects_what_came_just_before_it(store: Store) -> None:
    chain = Chain()
    await store.take(BAN_PHUE, EPOCH, clock(0), [])
    offline = 3 * DAY
    old = AgentClock(BOOT, offline, EPOCH + offline, anchor(0))  # the first post back knows the old anchor only
    first = await store.take(BAN_PHUE, EPOCH + offline, old, [chain.seal(window(offline - MINUTE))])
    assert first.landed[0].time is not None
    assert first.landed[0].time.error > 51 * SECOND
    await store.take(BAN_PHUE, EPOCH + offline + SECOND, clock(offline + SECOND), [])
    await settled(store)
    (landed,) = await store.read(latest)
    assert landed.time is not None
    assert landed.time.error < 30_000


async def test_a_window_moved_to_another_hour_leaves_both_hours_right(store: Store) -> None:
    """Its clock ran fast by the most that is thought possible: the first guess put it into the wrong hour."""
    chain = Chain()
    fast = int(3 * DAY * DRIFT)
    await store.take(BAN_PHUE, EPOCH, clock(0), [])
    end = 3 * DAY + 10 * SECOND  # ten seconds into an hour as boottime counts, forty before it in truth
    first = AgentClock(BOOT, end, 0, anchor(0))
    await store.take(BAN_PHUE, EPOCH + end - fast, first, [chain.seal(window(end))])
    (number,) = await store.read(lambda connection: connection.exec_driver_sql("SELECT number FROM series").one())

    def read_hours(connection: Connection) -> Any:
        return hours(connection, [number], EPOCH, EPOCH + 4 * DAY)[number]

    await store.maintain(EPOCH + 3 * DAY + 2 * HOUR)
    assert [one.start for one in (await store.read(read_hours))] == [EPOCH + 3 * DAY], "rolled up where it seemed to be"
    true = Anchor(BOOT, end + SECOND, EPOCH + end + SECOND - fast, 10_000)
    await store.take(BAN_PHUE, EPOCH + end + SECOND - fast, AgentClock(BOOT, end + SECOND, 0, true), [])
    await settled(store)
    await store.maintain(EPOCH + 3 * DAY + 2 * HOUR)

    rolled = await store.read(read_hours)
    columns = (await store.read(lambda c: windows(c, [number], EPOCH, EPOCH + 4 * DAY)))[number]
    assert [one.start for one in rolled] == [EPOCH + 3 * DAY - HOUR]
    assert abs(columns.end[0] - (EPOCH + end - fast)) <= columns.error[0]


async def test_correcting_goes_in_steps_and_ends(store: Store) -> None:
    chain = Chain()
    no_clock = clock(HOUR, anchored=False)
    many = [window(MINUTE + number // 40, f"t{number % 10}") for number in range(1300)]
    await store.take(BAN_PHUE, EPOCH + HOUR, no_clock, [chain.seal(*many)])
    boot = Boot(1, BOOT, [anchor(0)])

    def run(connection: Connection) -> tuple[int, int]:
        work: Retime | None = Retime(boot, 0, 2**62)
        steps = 0
        while work is not None:
            work = retime(connection, work, limit=100)
            steps += 1
        left = connection.exec_driver_sql("SELECT count(*) FROM window WHERE end_utc IS NULL").scalar_one()
        return steps, left

    steps, left = await store.write(run)
    assert left == 0
    assert 13 <= steps <= 40


async def test_a_crash_between_anchor_and_correction_is_made_good_at_start(store: Store, tmp_path: Any) -> None:
    await store.take(BAN_PHUE, EPOCH + MINUTE, clock(MINUTE, anchored=False), [Chain().seal(window(MINUTE))])
    await store.write(
        lambda c: c.exec_driver_sql("INSERT INTO boot VALUES (1, ?, 'ban-phue') ON CONFLICT DO NOTHING", (BOOT,))
    )
    await store.write(lambda c: c.exec_driver_sql("INSERT INTO anchor VALUES (1, 0, ?, 1000)", (EPOCH,)))
    assert await store.read(latest) == []
    again = await asyncio.to_thread(Store.open, store.path)
    await settled(again)
    found = await again.read(latest)
    await asyncio.to_thread(again.close)
    assert len(found) == 1


async def test_a_boottime_does_not_borrow_the_time_of_another_boot(store: Store) -> None:
    chain = Chain()
    await store.take(BAN_PHUE, EPOCH + HOUR, clock(HOUR), [])
    taken = await store.take(BAN_PHUE, EPOCH + HOUR, clock(HOUR), [chain.seal(window(HOUR - MINUTE, boot="other"))])
    assert taken.landed[0].time is None

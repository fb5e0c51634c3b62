"""Past hours: packed once and again when late rows come, rolled up, deleted when they are too old."""

import gc
import random
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from collector.store import Store
from collector.store.chart import Columns, append_piece, append_rows
from collector.store.packing import Piece, Row, pack
from collector.store.query import gaps, hours, latest, observations, records, series, windows
from collector.store.retention import Retention
from collector.store.rollups import pack_rollup, roll_up, unpack_rollup
from tests.support.store import BAN_PHUE, BOOT, EPOCH, PHEN, Chain, clock, window
from wire.batch import AgentClock, Dropped, StreamName
from wire.clock import DAY, HOUR, MINUTE, SECOND
from wire.histogram import Histogram, merge
from wire.observation import Note
from wire.reasons import Event, Outcome, Reason


async def count(store: Store, table: str) -> int:
    """Rows of a table."""
    statement = f"SELECT count(*) FROM {table}"  # noqa: S608
    return int(await store.read(lambda connection: connection.exec_driver_sql(statement).scalar_one()))


async def three_hours(store: Store, chain: Chain, *, skip: int = 0) -> None:
    """A window a minute for three hours, every ``skip``-th not yet."""
    await store.take(BAN_PHUE, EPOCH + 2 * HOUR, clock(2 * HOUR), [])
    batch = [window(place * MINUTE + SECOND) for place in range(180) if not skip or place % skip]
    await store.take(BAN_PHUE, EPOCH + 3 * HOUR, clock(3 * HOUR), [chain.seal(*batch)])


async def numbers(store: Store) -> list[int]:
    """All series."""
    return [one.number for one in await store.read(series)]


async def test_past_hours_are_packed_and_read_as_before(store: Store) -> None:
    await three_hours(store, Chain())
    (number,) = await numbers(store)

    def read(connection: Connection) -> Any:
        span = (EPOCH, EPOCH + DAY)
        return windows(connection, [number], *span)[number], observations(connection, number, *span)

    before = await store.read(read)
    done = await store.maintain(EPOCH + 3 * HOUR)  # the third hour has not settled yet
    assert (done.hours, done.windows) == (2, 120)
    assert (await count(store, "window"), await count(store, "hour")) == (60, 2)
    after = await store.read(read)
    assert after[1] == before[1]
    for name in ("start", "end", "error", "outcome", "reason", "counts", "values", "states", "durations"):
        assert getattr(after[0], name) == getattr(before[0], name), name
    assert after[0].durations["rtt"].means() == pytest.approx(before[0].durations["rtt"].means())
    assert await store.maintain(EPOCH + 3 * HOUR) == (0, 0, 0), "nothing is left to do"


async def test_late_rows_are_merged_into_a_packed_hour_without_duplicates(store: Store) -> None:
    chain = Chain()
    await three_hours(store, chain, skip=7)
    await store.maintain(EPOCH + 4 * HOUR)
    late = [window(place * MINUTE + SECOND) for place in range(0, 180, 7)]
    await store.take(BAN_PHUE, EPOCH + 5 * HOUR, clock(5 * HOUR), [chain.seal(*late)])
    (number,) = await numbers(store)

    def ends(connection: Connection) -> list[int]:
        return windows(connection, [number], EPOCH, EPOCH + DAY)[number].end

    unpacked = await store.read(ends)
    assert unpacked == sorted(unpacked)
    assert len(unpacked) == 180
    done = await store.maintain(EPOCH + 5 * HOUR)
    assert done.windows == len(late)
    assert await store.read(ends) == unpacked
    rolled = (await store.read(lambda c: hours(c, [number], EPOCH, EPOCH + DAY)))[number]
    assert [(one.hour - EPOCH // HOUR, one.windows) for one in rolled] == [(0, 60), (1, 60), (2, 60)]


async def test_a_span_cuts_hours_at_both_ends(store: Store) -> None:
    await three_hours(store, Chain())
    await store.maintain(EPOCH + 4 * HOUR)
    (number,) = await numbers(store)
    whole = (await store.read(lambda c: windows(c, [number], EPOCH, EPOCH + DAY)))[number]
    low, high = whole.end[30], whole.end[100]
    part = (await store.read(lambda c: windows(c, [number], low, high)))[number]
    assert part.end == whole.end[30:101]
    assert part.counts["sent"] == whole.counts["sent"][30:101]
    assert list(part.durations["rtt"]) == whole.durations["rtt"][30:101]


async def test_a_measure_that_some_windows_lack_is_none_there(store: Store) -> None:
    chain = Chain()
    both = [
        window(MINUTE, values={}, durations={}, counts={"sent": 1}),
        window(2 * MINUTE, values={"jitter": 0.5}),
        window(HOUR + MINUTE, values={"ttl": 64.0}, durations={"connect": Histogram.of([5])}, counts={}),
    ]
    await store.take(BAN_PHUE, EPOCH + 2 * HOUR, clock(2 * HOUR), [chain.seal(*both)])
    (number,) = await numbers(store)
    for _ in range(2):
        found = (await store.read(lambda c: windows(c, [number], EPOCH, EPOCH + DAY)))[number]
        assert found.values == {"jitter": [None, 0.5, None], "ttl": [None, None, 64.0]}
        assert found.counts == {"sent": [1, 60, None], "lost": [None, 0, None]}
        assert [one is None for one in found.durations["rtt"]] == [True, False, True]
        assert [one is None for one in found.durations["connect"]] == [True, True, False]
        await store.maintain(EPOCH + 3 * HOUR)


_outcomes = st.sampled_from(
    [(Outcome.OK, None), (Outcome.FAILED, Reason.TIMED_OUT), (Outcome.ERROR, Reason.NO_PERMISSION)]
)


@given(
    st.lists(st.tuples(_outcomes, st.lists(st.integers(0, 10**10), max_size=5), st.integers(0, 9)), min_size=1),
    st.randoms(),
)
def test_a_roll_up_is_what_its_windows_come_to_in_any_order(found: list[Any], order: random.Random) -> None:
    some = [
        window(
            MINUTE * (place + 1),
            outcome=outcome,
            reason=reason,
            counts={"sent": len(times) + lost, "lost": lost},
            values={"jitter": float(lost)},
            durations={"rtt": Histogram.of(times, lost)},
        )
        for place, ((outcome, reason), times, lost) in enumerate(found)
    ]
    rolled = roll_up(7, [(one, 5) for one in some])
    assert rolled.windows == len(some) == sum(rolled.outcomes.values())
    assert rolled.counts["sent"] == sum(one.counts["sent"] for one in some)
    assert rolled.durations["rtt"] == merge(one.durations["rtt"] for one in some)
    assert rolled.values["jitter"].low <= rolled.values["jitter"].mean <= rolled.values["jitter"].high
    assert rolled.watched == MINUTE * len(some)
    assert sum(rolled.reasons.values()) == sum(one.reason is not None for one in some)
    assert unpack_rollup(7, pack_rollup(rolled)) == rolled
    order.shuffle(some)
    again = roll_up(7, [(one, 5) for one in some])
    assert again.durations == rolled.durations
    assert again.counts == rolled.counts


async def test_uncertain_rows_wait_a_day_for_a_better_anchor_and_are_then_packed(store: Store) -> None:
    chain = Chain()
    await store.take(BAN_PHUE, EPOCH, clock(0), [])
    end = DAY
    await store.take(BAN_PHUE, EPOCH + end, AgentClock(BOOT, end, 0, clock(0).anchor), [chain.seal(window(end - HOUR))])
    done = await store.maintain(EPOCH + DAY + HOUR)
    assert (done.hours, done.windows, await count(store, "rollup")) == (1, 0, 1), "rolled up, but still a row"
    done = await store.maintain(EPOCH + 3 * DAY)
    assert (done.windows, await count(store, "window"), await count(store, "hour")) == (1, 0, 1)


async def test_what_is_too_old_goes_and_the_rest_stays(store: Store) -> None:
    chain, evidence = Chain(), Chain(StreamName.EVIDENCE)
    note = Note(boot=BOOT, start=0, end=1, wall_start=0, wall_end=0, event=Event.STARTED)
    await store.take(
        BAN_PHUE, EPOCH, clock(MINUTE, boot="x", anchored=False), [chain.seal(window(MINUTE, boot="lost"))]
    )
    await three_hours(store, chain)
    await store.take(BAN_PHUE, EPOCH + 3 * HOUR, clock(3 * HOUR), [evidence.seal(note)])
    later = 50 * DAY
    chain.seal(window(3 * HOUR))  # never arrives: the gap
    await store.take(BAN_PHUE, EPOCH + later, clock(later), [chain.seal(window(later))])
    await store.maintain(EPOCH + later + 2 * HOUR)
    assert await count(store, "hour") == 4
    done = await store.maintain(EPOCH + 91 * DAY)
    assert done.deleted == 4, "three hours and the window whose time stayed unknown"
    assert (await count(store, "hour"), await count(store, "window"), await count(store, "rollup")) == (1, 0, 4)
    assert len(await store.read(records)) == 1
    assert await count(store, "batch") == 4
    await store.maintain(EPOCH + 91 * DAY, Retention(windows=90, evidence=60, rollups=60))
    assert (await count(store, "batch"), await count(store, "record"), await count(store, "rollup")) == (1, 0, 1)
    found = [(one.first, one.last) for one in await store.read(gaps)]
    assert found == [(3, 3)], "what was deleted on purpose is no gap, what never came is one"


async def test_the_newest_of_every_series_from_rows_or_packed_hours(store: Store) -> None:
    await three_hours(store, Chain())
    await store.take(PHEN, EPOCH + 3 * HOUR, clock(3 * HOUR), [Chain().seal(window(3 * HOUR, "edge"))])
    before = await store.read(latest)
    assert [(one.source, one.observation.end) for one in before] == [
        (BAN_PHUE, 179 * MINUTE + SECOND),
        (PHEN, 3 * HOUR),
    ]
    await store.maintain(EPOCH + 9 * HOUR)
    assert await count(store, "window") == 0
    assert await store.read(latest) == before
    assert await store.read(lambda connection: latest(connection, sites=["phen"])) == before[1:]


async def test_series_are_found_by_any_of_their_names(store: Store) -> None:
    await store.take(
        BAN_PHUE, EPOCH + HOUR, clock(HOUR),
        [Chain().seal(window(1), window(1, "edge"), window(1, "zoom.web", probe="http", platform="zoom"))],
    )  # fmt: skip

    async def targets(**wanted: Any) -> list[str]:
        return [one.key.target for one in await store.read(lambda connection: series(connection, **wanted))]

    assert await targets() == ["zoom.web", "edge", "gateway"]
    assert await targets(probes=["icmp"], targets=["edge", "nowhere"]) == ["edge"]
    assert await targets(platforms=["zoom"], sites=["ban-phue"]) == ["zoom.web"]
    assert await targets(sites=["phen"]) == []
    assert await targets(sites=[]) == []


async def test_dropped_batches_are_not_gaps(store: Store) -> None:
    chain = Chain()
    chain.seq = 5
    chain.prev = "ab" * 32
    await store.take(BAN_PHUE, EPOCH + HOUR, clock(HOUR), [chain.seal(window(1), dropped=[Dropped(1, 3, "age")])])
    assert [(one.first, one.last) for one in await store.read(gaps)] == [(4, 5)]


async def test_a_backlog_that_keeps_marking_hours_cannot_hold_up_a_round(store: Store) -> None:
    """Found by the bench: posts that landed in a past hour made a round of maintenance endless."""
    chain = Chain()
    await three_hours(store, chain)
    pack, rounds = store._pack, 0

    def mark_again(now: int, after: tuple[int, int], connection: Connection) -> Any:
        nonlocal rounds
        rounds += 1
        stepped = pack(now, after, connection)
        for mark in stepped.hours:
            connection.exec_driver_sql("INSERT OR IGNORE INTO dirty (series, hour) VALUES (?, ?)", mark)
        return stepped._replace(more=bool(stepped.hours))

    store._pack = mark_again  # type: ignore[method-assign]
    done = await store.maintain(EPOCH + 5 * HOUR)
    assert (done.hours, rounds) == (3, 2)


def test_what_was_read_is_freed_at_once() -> None:
    """Found by the bench: a cycle kept each page's day of windows until a full collection, 50 ms into another page."""
    row = Row(1, EPOCH + MINUTE, 5, EPOCH + MINUTE, 1, 1, window(MINUTE))
    columns = Columns()
    append_piece(columns, Piece(pack([row])), EPOCH, EPOCH + HOUR)
    append_rows(columns, [row])
    assert len(columns.durations["rtt"].means()) == len(list(columns.durations["rtt"])) == len(columns.counts["sent"])
    watched = weakref.ref(columns)
    gc.disable()
    try:
        del columns
        assert watched() is None
    finally:
        gc.enable()

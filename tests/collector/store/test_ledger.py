"""Which batches the store takes, and what it answers to the others."""

import asyncio
import random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from collector.store import Limits, Store
from collector.store.query import gaps, records, series
from collector.store.reading import Refused, read_batch, read_observations
from tests.support.store import BAN_PHUE, BOOT, EPOCH, PHEN, Chain, anchor, clock, sealed, window
from wire.batch import GENESIS, LARGEST_BATCH, BatchStatus, Dropped, Sealed, StreamName, digest_of
from wire.clock import DAY, HOUR, MINUTE, SECOND, Anchor
from wire.histogram import Histogram
from wire.observation import Change, Note
from wire.reasons import Event, Outcome, Reason, Refusal

NOW = EPOCH + HOUR
AT = HOUR
"""Boottime at NOW."""


async def give(store: Store, *batches: Sealed, source: Any = BAN_PHUE, **more: Any) -> list[tuple[str, str | None]]:
    """Posts batches in one envelope and tells status and refusal of each."""
    taken = await store.take(source, NOW, more.pop("clock", clock(AT)), list(batches), **more)
    return [(one.status.value, one.refusal.value if one.refusal else None) for one in taken.receipts]


def table(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    """All rows of a table."""
    return [tuple(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"')]  # noqa: S608


async def count(store: Store, name: str) -> int:
    """How many rows a table has."""
    return len(await store.read(lambda connection: table(connection, name)))


def handmade(chain: Chain, observations: list[dict[str, Any] | msgspec.Raw], **over: Any) -> Sealed:
    """A batch with whatever in it, sealed rightly."""
    chain.seq += 1
    whole = {
        "protocol": "1.0", "stream": chain.stream, "name": chain.name, "seq": chain.seq, "prev": chain.prev,
        "observations": observations,
    } | over  # fmt: skip
    one = sealed(msgspec.json.encode(whole))
    chain.prev = one.digest
    return one


def as_dict(**over: Any) -> dict[str, Any]:
    """A window as JSON knows it."""
    plain: dict[str, Any] = msgspec.to_builtins(window(AT))
    return plain | over


async def test_a_batch_is_stored_once_however_often_it_comes(store: Store) -> None:
    one = Chain().seal(window(AT - MINUTE), window(AT - MINUTE, "edge"))
    assert await give(store, one) == [("stored", None)]
    assert await give(store, one) == [("duplicate", None)]
    assert await give(store, one, one) == [("duplicate", None), ("duplicate", None)]
    assert await count(store, "window") == 2
    assert store.counters["observations_stored"] == 2
    assert store.counters["batches_duplicate"] == 3


async def test_what_landed_carries_time_and_lateness(store: Store) -> None:
    chain = Chain()
    taken = await store.take(BAN_PHUE, NOW, clock(AT), [chain.seal(window(AT), window(AT - 10 * MINUTE, "edge"))])
    fresh, late = taken.landed
    assert fresh.source == BAN_PHUE
    assert fresh.time is not None
    assert abs(fresh.time.utc - NOW) <= fresh.time.error <= 20_000
    assert (fresh.late, late.late) == (False, True)
    assert late.received == NOW


async def test_rows_keep_the_bytes_as_they_came(store: Store) -> None:
    raw = b'{ "kind":"window", "boot":"b", "start":1,"end":2, "wall_start":1,"wall_end":2,"probe":"icmp","target":"t", "outcome":"ok", "news":[1] }'  # noqa: E501
    chain = Chain()
    head = f'{{"protocol":"1.0","stream":"{chain.stream}","name":"monitor","seq":1,"prev":"{GENESIS}","observations":['
    await give(store, sealed(head.encode() + raw + b"]}"))
    rows = await store.read(lambda connection: table(connection, "window"))
    assert rows[0][-1] == raw


async def test_a_conflict_is_refused_and_recorded(store: Store) -> None:
    chain, twin = Chain(), Chain()
    twin.stream = chain.stream
    await give(store, chain.seal(window(AT - MINUTE)))
    other = twin.seal(window(AT - 2 * MINUTE))
    assert await give(store, other) == [("refused", "conflict")]
    assert await give(store, other) == [("refused", "conflict")]
    rows = await store.read(lambda connection: table(connection, "conflict"))
    assert [(row[1], row[2], row[3], row[4]) for row in rows] == [
        (chain.stream, 1, bytes.fromhex(other.digest), "agent-1")
    ]
    assert await count(store, "window") == 1


async def test_a_broken_chain_is_refused_from_either_side(store: Store) -> None:
    chain = Chain()
    first, second, third = (chain.seal(window(AT - MINUTE + place)) for place in range(3))
    stray = Chain(stream=chain.stream)
    stray.seq, stray.prev = 1, "ab" * 32
    assert await give(store, first, stray.seal(window(AT))) == [("stored", None), ("refused", "chain_broken")]
    assert await give(store, third) == [("stored", None)]
    stray.seq, stray.prev = 1, first.digest
    assert await give(store, stray.seal(window(AT))) == [("refused", "chain_broken")]
    assert await give(store, second) == [("stored", None)]
    begun_wrongly = Chain()
    begun_wrongly.prev = "cd" * 32
    assert await give(store, begun_wrongly.seal(window(AT))) == [("refused", "chain_broken")]


async def test_a_stream_belongs_to_the_site_that_began_it(store: Store) -> None:
    chain = Chain()
    await give(store, chain.seal(window(AT - MINUTE)))
    assert await give(store, chain.seal(window(AT)), source=PHEN) == [("refused", "foreign_stream")]
    assert await count(store, "conflict") == 1


async def test_a_stream_keeps_its_name(store: Store) -> None:
    chain = Chain()
    await give(store, chain.seal(window(AT - MINUTE)))
    chain.name = StreamName.EVIDENCE
    assert await give(store, chain.seal(window(AT))) == [("refused", "wrong_shape")]


async def test_gaps_until_they_close_and_what_was_declared_is_none(store: Store) -> None:
    chain = Chain()
    batches = [chain.seal(window(AT - MINUTE + place)) for place in range(9)]
    await give(store, batches[0], batches[5], batches[8])
    found = await store.read(gaps)
    assert [(gap.site, gap.first, gap.last) for gap in found] == [("ban-phue", 2, 5), ("ban-phue", 7, 8)]
    declaring = chain.seal(window(AT), dropped=[Dropped(3, 4, "full", EPOCH, NOW)])
    await give(store, declaring)
    found = await store.read(gaps)
    assert [(gap.first, gap.last) for gap in found] == [(2, 2), (5, 5), (7, 8), (10, 9)][:3]
    await give(store, batches[1], batches[4], batches[6], batches[7])
    assert await store.read(gaps) == []
    assert store.counters["batches_declared_dropped"] == 2


async def test_evidence_is_kept_byte_for_byte_and_of_monitor_the_digest(store: Store) -> None:
    import cramjam

    evidence, monitor = Chain(StreamName.EVIDENCE).seal(window(AT)), Chain().seal(window(AT, "edge"))
    await give(store, evidence, monitor)
    rows = await store.read(lambda connection: table(connection, "batch"))
    assert [(row[2].hex(), row[7] is None) for row in rows] == [(evidence.digest, False), (monitor.digest, True)]
    assert digest_of(bytes(cramjam.zstd.decompress(rows[0][7]))) == evidence.digest


async def test_a_record_without_anchor_is_kept_as_time_unknown(store: Store) -> None:
    chain = Chain()
    taken = await store.take(BAN_PHUE, NOW, clock(AT, anchored=False), [chain.seal(window(AT - MINUTE))])
    assert taken.landed[0].time is None
    assert taken.landed[0].late
    assert store.counters["observations_time_unknown"] == 1


async def test_an_unknown_kind_is_counted_and_the_rest_taken(store: Store) -> None:
    chain = Chain(StreamName.EVIDENCE)
    batch = handmade(chain, [as_dict(), {"kind": "hologram", "depth": 3}])
    taken = await store.take(BAN_PHUE, NOW, clock(AT), [batch])
    assert taken.receipts[0].status is BatchStatus.STORED
    assert taken.receipts[0].not_understood == 1
    assert len(taken.landed) == 1
    assert store.counters["observations_not_understood"] == 1


async def test_an_unknown_reason_is_news_from_a_newer_agent_and_a_mistake_from_others(store: Store) -> None:
    record = as_dict(outcome="failed", reason="eaten_by_a_buffalo")
    assert await give(store, handmade(Chain(), [record])) == [("refused", "unknown_reason")]
    newer = handmade(Chain(), [record], protocol="1.7")
    taken = await store.take(BAN_PHUE, NOW, clock(AT), [newer])
    assert taken.receipts[0].status is BatchStatus.STORED
    landed = taken.landed[0].observation
    assert not isinstance(landed, Note | Change)
    assert landed.reason is Reason.UNRECOGNISED


def bad_batches() -> dict[str, tuple[Sealed, str]]:
    """One batch for each way to be wrong, with its refusal."""
    nan = b'{"protocol":"1.0","stream":"%s","name":"monitor","seq":1,"prev":"%s","observations":[{"v":NaN}]}'
    huge = msgspec.Raw(msgspec.json.encode(as_dict()).replace(b"0.000123", b"1e999"))
    good = Chain().seal(window(AT))
    return {
        "not json": (sealed(b"{"), "not_json"),
        "wrong digest": (Sealed("0" * 64, good.batch), "digest_mismatch"),
        "too large": (sealed(b'"' + b" " * LARGEST_BATCH + b'"'), "too_large"),
        "no sequence": (handmade(Chain(), [], seq=0), "bad_number"),
        "wrong type": (handmade(Chain(), [as_dict(probe=7)]), "wrong_shape"),
        "no kind": (handmade(Chain(), [{"probe": "icmp"}]), "wrong_shape"),
        "nan": (sealed(nan % (Chain().stream.encode(), GENESIS.encode())), "bad_number"),
        "beyond double": (handmade(Chain(), [huge]), "bad_number"),
        "negative count": (handmade(Chain(), [as_dict(counts={"sent": -1})]), "bad_number"),
        "ends before it starts": (handmade(Chain(), [as_dict(start=AT + 1, end=AT)]), "bad_number"),
        "odd histogram": (handmade(Chain(), [as_dict(durations={"rtt": [0, 1, 2, 3, [5]]})]), "bad_number"),
        "descending histogram": (
            handmade(Chain(), [as_dict(durations={"rtt": [0, 1, 2, 3, [5, 1, 0, 1]]})]),
            "bad_number",
        ),
        "gigantic histogram": (handmade(Chain(), [as_dict(durations={"rtt": [2**60, 1, 2, 3, []]})]), "bad_number"),
        "name with a blank": (handmade(Chain(), [as_dict(target="Zoom Web")]), "wrong_shape"),
        "other major": (handmade(Chain(), [], protocol="2.0", prev=7), "unknown_protocol"),
        "no version": (handmade(Chain(), [], protocol="latest"), "unknown_protocol"),
        "drops its own future": (Chain().seal(window(AT), dropped=[Dropped(1, 9, "full")]), "wrong_shape"),
        "far ahead": (Chain().seal(window(AT + 11 * MINUTE)), "implausible_time"),
    }


async def test_every_way_to_be_wrong_has_its_refusal_and_harms_no_neighbour(store: Store) -> None:
    bad = bad_batches()
    good = Chain()
    envelope: list[Sealed] = []
    for one, _ in bad.values():
        envelope += [one, good.seal(window(AT - MINUTE + good.seq))]
    taken = await store.take(BAN_PHUE, NOW, clock(AT), envelope)
    found = {
        name: receipt.refusal.value if receipt.refusal else receipt.status.value
        for name, receipt in zip(bad, taken.receipts[::2], strict=True)
    }
    assert found == {name: refusal for name, (_, refusal) in bad.items()}
    assert all(receipt.detail for receipt in taken.receipts[::2])
    assert {receipt.status for receipt in taken.receipts[1::2]} == {BatchStatus.STORED}
    assert await count(store, "window") == len(bad)
    assert sum(value for name, value in store.counters.items() if name.startswith("batches_refused_")) == len(bad)


async def test_a_little_ahead_is_plausible(store: Store) -> None:
    assert await give(store, Chain().seal(window(AT + 9 * MINUTE))) == [("stored", None)]


async def test_older_than_400_days_is_not(store: Store) -> None:
    long_up = AT + 401 * DAY
    one = Chain().seal(window(AT - MINUTE))
    at_last = clock(long_up)
    taken = await store.take(BAN_PHUE, EPOCH + long_up, at_last, [one])
    assert taken.receipts[0].refusal is Refusal.IMPLAUSIBLE_TIME


async def test_ten_thousand_targets_from_one_agent_harm_nobody(store: Store) -> None:
    chain = Chain()
    batches = [
        chain.seal(*(window(AT - MINUTE, f"t{number}") for number in range(low, low + 500)))
        for low in range(0, 10_000, 500)
    ]
    answers = await give(store, *batches)
    assert answers == [("stored", None)] * 4 + [("refused", "too_many_series")] * 16
    assert len(await store.read(series)) == 2000
    assert await give(store, Chain().seal(window(AT)), source=PHEN) == [("stored", None)]
    again = Chain().seal(window(AT, "t7"))
    assert await give(store, again) == [("stored", None)], "what is known goes on"
    assert await give(store, Chain().seal(window(AT, "x")), limits=Limits(series=2001)) == [("stored", None)]


async def test_changes_and_notes_are_records(store: Store) -> None:
    common: dict[str, Any] = {"boot": BOOT, "start": AT - SECOND, "end": AT, "wall_start": NOW, "wall_end": NOW}
    change = Change(**common, probe="link", target="link", previous="up", current="down", facts={"carrier": "0"})
    note = Note(**common, event=Event.STARTED)
    await give(store, Chain(StreamName.EVIDENCE).seal(change, note))
    found = await store.read(lambda connection: records(connection, site="ban-phue"))
    assert [landed.observation for landed in found] == [change, note]
    assert await store.read(lambda connection: records(connection, kind="change", site="phen")) == []


async def test_an_anchor_that_contradicts_its_own_arrival_is_not_believed(store: Store) -> None:
    lying = msgspec.structs.replace(clock(AT), anchor=anchor(AT, off=-HOUR))
    taken = await store.take(BAN_PHUE, NOW, lying, [Chain().seal(window(AT))])
    assert taken.landed[0].time is None
    assert store.counters["anchors_not_believed"] == 1
    absurd = msgspec.structs.replace(clock(AT), anchor=Anchor(BOOT, 2**70, 2**70, 2**70))
    assert await give(store, Chain().seal(window(AT)), clock=absurd) == [("stored", None)]


async def test_replayed_in_any_order_the_same_is_stored(store: Store, tmp_path: Any) -> None:
    rng = random.Random(7)
    chains = [Chain(), Chain(StreamName.EVIDENCE)]
    batches = [
        chain.seal(window(MINUTE * place, f"t{place % 3}"), window(MINUTE * place, "edge"))
        for place in range(1, 30)
        for chain in chains
    ]
    other = await asyncio.to_thread(Store.open, tmp_path / "other.db")
    await give(store, *batches)
    shuffled = batches * 2
    rng.shuffle(shuffled)
    for one in shuffled:
        await give(other, one)
    states = [await one.read(_state) for one in (store, other)]
    await asyncio.to_thread(other.close)
    assert states[0] == states[1]
    assert len(states[0]["window"]) == 29 * 4


def _state(connection: Connection) -> dict[str, list[Any]]:
    windows = connection.exec_driver_sql(
        "SELECT target, start_bt, end_bt, end_utc, error, id, seq, body FROM window JOIN series ON number = series"
        " JOIN (SELECT number AS stream_number, id FROM stream) ON stream_number = window.stream".replace(
            "error, id", "error, 0"
        )
    )
    batches = connection.exec_driver_sql(
        "SELECT id, seq, digest, observations, sealed FROM batch JOIN stream ON number = batch.stream"
    )
    streams = connection.exec_driver_sql("SELECT id, highest, held FROM stream")
    return {
        "window": sorted(tuple(row) for row in windows),
        "batch": sorted(tuple(row) for row in batches),
        "stream": sorted(tuple(row) for row in streams),
    }


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise_anything_but_a_refusal(raw: bytes) -> None:
    try:
        batch, _, _ = read_batch(Sealed(digest_of(raw), msgspec.Raw(raw)))
    except Refused:
        return
    read_observations(batch)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(as_dict())), _json)
def test_a_window_with_anything_in_a_field_is_read_or_refused(field: str, value: Any) -> None:
    one = handmade(Chain(), [as_dict(**{field: value})])
    batch, _, _ = read_batch(one)
    try:
        understood = read_observations(batch)
    except Refused as refused:
        assert refused.detail.startswith("observations[0]")
    else:
        assert len(understood.observations) + understood.not_understood == 1


def test_the_quick_check_of_histograms_agrees_with_the_rule() -> None:
    from collector.store.reading import _sound

    for good in (Histogram(), Histogram(lost=3), Histogram.of([1, 10**6, 10**9], lost=1)):
        good.check()
        assert _sound(good)
    for bad in (Histogram(-1), Histogram(0, 5, 4), Histogram(0, 0, 0, 0, (1,)), Histogram(0, 0, 0, 0, (1, 0))):
        assert not _sound(bad)


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_outcome_is_taken(store: Store, outcome: Outcome) -> None:
    assert await give(store, Chain().seal(window(AT, outcome=outcome))) == [("stored", None)]

"""Packed hours: nothing is lost, little is kept."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.store import columns, packing
from collector.store.packing import Row
from tests.support.store import BOOT, EPOCH, window
from wire.clock import MINUTE, SECOND
from wire.histogram import HIGHEST_INDEX, LARGEST, Histogram, bucket_of
from wire.observation import Window
from wire.reasons import Outcome, Reason

_names = st.text("abcdefghij_", min_size=1, max_size=6)
_finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(lambda one: one / 1000)
_moment = st.integers(0, 2**53)
_small = st.integers(0, 10**6)


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    """Any histogram that the ledger would let in, be it of real durations or not."""
    lost = draw(st.integers(0, 100))
    if draw(st.booleans()):
        return Histogram.of(draw(st.lists(st.integers(0, LARGEST), max_size=5)), lost)
    low = draw(st.integers(0, LARGEST))
    places = sorted(draw(st.sets(st.integers(0, HIGHEST_INDEX), max_size=5)))
    flat: list[int] = []
    before = 0
    for place in places:
        flat += [place - before, draw(st.integers(1, 1000))]
        before = place
    return Histogram(lost, low, draw(st.integers(low, LARGEST)), draw(st.integers(0, 2**50)), tuple(flat))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """One row with everything that a window can carry."""
    start = draw(st.integers(0, 2**52))
    one = Window(
        boot=draw(st.sampled_from([BOOT, "b", "c"])),
        start=start,
        end=start + draw(_small),
        wall_start=draw(st.integers(-(2**53), 2**53)),
        wall_end=draw(st.integers(-(2**53), 2**53)),
        settings=draw(st.sampled_from(["", "a1b2"])),
        vantage=draw(st.sampled_from(["", "77"])),
        probe="icmp",
        target="edge",
        platform="",
        outcome=draw(st.sampled_from(Outcome)),
        reason=draw(st.none() | st.sampled_from(Reason)),
        order=draw(st.sampled_from(["", "o-1"])),
        counts=draw(st.dictionaries(_names, st.integers(0, 2**53), max_size=3)),
        values=draw(st.dictionaries(_names, _finite, max_size=3)),
        durations=draw(st.dictionaries(_names, histograms(), max_size=3)),
        states=draw(st.dictionaries(_names, _finite, max_size=2)),
        facts=draw(st.dictionaries(_names, st.text(max_size=5), max_size=2)),
    )
    return Row(draw(st.integers(1, 9)), draw(_moment), draw(_small), draw(_moment), draw(_small), draw(_moment), one)


@given(st.lists(rows(), min_size=1, max_size=8))
def test_nothing_is_lost(given_rows: list[Row]) -> None:
    back = packing.unpack(packing.pack(given_rows))
    assert back == given_rows
    assert [_bits(row.window.values) for row in back] == [_bits(row.window.values) for row in given_rows]


def _bits(values: dict[str, float]) -> dict[str, str]:
    return {name: value.hex() for name, value in values.items()}


def test_negative_zero_keeps_its_sign() -> None:
    assert [value.hex() for value in columns.floats_back(columns.floats([-0.0, 1.0]), 2) if value is not None] == [
        "-0x0.0p+0",
        "0x1.0000000000000p+0",
    ]


@given(st.lists(histograms(), min_size=1, max_size=5))
def test_means_without_building_the_histograms(some: list[Histogram]) -> None:
    column = columns.Histograms.of(some)
    assert column.means(len(some)) == [None if one.mean is None else pytest.approx(one.mean) for one in some]


def an_hour(samples: int, seed: int = 1) -> list[Row]:
    """An hour of icmp windows as they come from a real path: jitter in every number."""
    rng = random.Random(seed)
    found: list[Row] = []
    for minute in range(60):
        end = minute * MINUTE + rng.randint(0, 3000) + 10 * SECOND
        rtts = [int(18e6 + rng.gammavariate(2, 1.5e6)) for _ in range(samples)]
        one = window(
            end,
            length=MINUTE + rng.randint(-200, 200),
            values={"jitter": rng.random() / 1000},
            durations={"rtt": Histogram.of(rtts)},
            settings="0123456789abcdef",
            vantage="1a2b3c4d",
        )
        received = EPOCH + end + rng.randint(50_000, 6 * SECOND)
        found.append(Row(1, EPOCH + end, 9000 + minute * 12, received, 3, 100 + minute, one))
    return found


def test_an_hour_of_sixty_samples_a_minute_takes_less_than_100_bytes_a_window() -> None:
    packed = packing.pack(an_hour(60))
    assert len(packed) / 60 < 100


def test_one_duration_alone_needs_no_bucket() -> None:
    one = columns.Histograms.of([Histogram.of([12_345_678])])
    assert len(one.buckets) <= len(msgspec.msgpack.encode([-1, [], 0]))
    assert one.back(1) == [Histogram(0, 12_345_678, 12_345_678, 12_345_678, (bucket_of(12_345_678), 1))]


def test_a_pack_of_a_newer_release_says_so() -> None:
    packed = bytes([9]) + packing.pack(an_hour(1))[1:]
    with pytest.raises(packing.UnreadablePack, match="packed hour: found version 9, expected 1; written by a newer"):
        packing.unpack(packed)


def test_every_field_of_a_window_is_packed() -> None:
    """A field added to the wire must be added to the packing too: this test then fails."""
    kept = {
        "boot", "start", "end", "wall_start", "wall_end", "settings", "vantage", "probe", "target", "platform",
        "outcome", "reason", "order", "counts", "values", "durations", "states", "facts",
    }  # fmt: skip
    assert {field.name for field in msgspec.structs.fields(Window)} == kept

"""The histogram against the durations themselves: merging loses nothing, a quantile is off by half a bucket at most."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.histogram import (
    BUCKETS_PER_OCTAVE,
    FINEST,
    HIGHEST_INDEX,
    LARGEST,
    BadHistogram,
    Histogram,
    bucket_of,
    lower_edge,
    merge,
)

HALF_A_BUCKET = 2 ** (0.5 / BUCKETS_PER_OCTAVE) - 1
"""Relative: 0.27 %, where the design allows a bucket of 2 %."""

# rounded floats beside integers, so that durations of every size from 0 to an hour appear
durations = st.integers(0, LARGEST) | st.floats(0, math.log2(LARGEST)).map(lambda power: int(2**power))
samples = st.lists(durations, max_size=60)
losses = st.integers(0, 30)
histograms = st.builds(Histogram.of, samples, losses)


@given(durations)
def test_a_duration_lies_in_its_bucket(nanoseconds):
    index = bucket_of(nanoseconds)
    assert 0 <= index <= HIGHEST_INDEX
    slack = 1 + 1e-12  # the edges are floats
    if nanoseconds > FINEST:
        assert lower_edge(index) <= nanoseconds * slack
        assert nanoseconds <= lower_edge(index + 1) * slack
        assert lower_edge(index + 1) / lower_edge(index) - 1 <= 0.02


@given(samples, losses, st.floats(0, 1))
def test_a_quantile_is_the_exact_one_to_half_a_bucket(values, lost, q):
    histogram = Histogram.of(values, lost)
    whole = sorted(values) + [math.inf] * lost
    found = histogram.quantile(q)
    if not whole:
        assert found is None
        return
    exact = whole[max(1, math.ceil(q * len(whole))) - 1]
    assert found is not None
    if math.isinf(exact):
        assert math.isinf(found)
    else:
        # the first bucket holds everything up to a microsecond
        assert abs(found - exact) <= exact * HALF_A_BUCKET * (1 + 1e-9) + (
            lower_edge(1) if bucket_of(exact) == 0 else 0
        )
        assert histogram.low <= found <= histogram.high


@given(samples, losses)
def test_smallest_largest_and_mean_are_exact(values, lost):
    histogram = Histogram.of(values, lost)
    assert (histogram.count, histogram.lost) == (len(values), lost)
    if values:
        assert (histogram.low, histogram.high) == (min(values), max(values))
        assert histogram.mean == float(Fraction(sum(values), len(values)))
        assert histogram.quantile(0) == min(values)
    else:
        assert histogram.mean is None


@given(st.lists(st.tuples(samples, losses), max_size=6))
def test_merging_gives_what_the_union_would_have_given(parts):
    whole = Histogram.of([value for values, _ in parts for value in values], sum(lost for _, lost in parts))
    assert merge(Histogram.of(values, lost) for values, lost in parts) == whole


@given(histograms, histograms, histograms)
def test_merging_is_associative_commutative_and_has_a_zero(one, two, three):
    assert merge([merge([one, two]), three]) == merge([one, merge([two, three])])
    assert merge([one, two]) == merge([two, one])
    assert merge([one, Histogram()]) == one == merge([one])


@given(samples, losses, st.integers(2 * FINEST, LARGEST))
def test_those_above_a_limit_include_the_lost(values, lost, limit):
    found = Histogram.of(values, lost).above(limit)
    margin = 1 + 2 * HALF_A_BUCKET + 1e-9
    assert found >= lost + sum(value > limit * margin for value in values)
    assert found <= lost + sum(value * margin >= limit for value in values)


@given(histograms)
def test_what_is_made_agrees_with_itself_and_survives_the_wire(histogram):
    import msgspec

    histogram.check()
    assert msgspec.json.decode(msgspec.json.encode(histogram), type=Histogram) == histogram


def test_a_quantile_among_the_lost_is_infinite_and_of_nothing_is_none():
    assert Histogram.of([5_000], lost=1).quantile(0.5) == 5_000
    assert Histogram.of([5_000], lost=1).quantile(0.51) == math.inf
    assert Histogram.of([], lost=3).quantile(0) == math.inf
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize("value", [-1, LARGEST + 1])
def test_a_duration_out_of_range_is_refused(value):
    with pytest.raises(BadHistogram, match=f"^duration: found {value} ns, expected"):
        Histogram.of([value])


@pytest.mark.parametrize("q", [-0.01, 1.01, math.nan])
def test_a_quantile_out_of_range_is_refused(q):
    with pytest.raises(BadHistogram, match=r"^quantile: found .*, expected 0 to 1$"):
        Histogram.of([1]).quantile(q)


@pytest.mark.parametrize(
    ("histogram", "words"),
    [
        (Histogram(buckets=(1,)), "expected pairs of distance and count"),
        (Histogram(lost=-1), "expected 0 or more"),
        (Histogram(low=2, high=1, buckets=(0, 1)), "high no less than low"),
        (Histogram(high=LARGEST + 1, buckets=(0, 1)), "expected at most an hour"),
        (Histogram(high=1, buckets=(0, 0)), "expected ascending indexes with counts"),
        (Histogram(high=1, buckets=(3, 1, 0, 1)), "expected ascending indexes with counts"),
        (Histogram(high=1, buckets=(-1, 1)), "expected ascending indexes with counts"),
        (Histogram(high=1, buckets=(HIGHEST_INDEX + 1, 1)), "expected ascending indexes with counts"),
    ],
)
def test_a_histogram_that_contradicts_itself_is_refused(histogram, words):
    with pytest.raises(BadHistogram, match=words):
        histogram.check()

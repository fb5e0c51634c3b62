"""Corrected time: the truth is always inside the bound, whatever clocks drift and in whatever order anchors come."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from wire.clock import DAY, DRIFT, HOUR, SECOND, Anchor, anchor_from_exchange, correct

BOOT = "one"
START = 1_795_000_000 * SECOND
"""UTC at boottime 0 in these worlds."""


class World(NamedTuple):
    """A machine whose oscillator is off by ``drift``, and its exchanges with a collector whose clock is right."""

    drift: float
    exchanges: list[tuple[int, int, int, int]]
    """True time since boot, delay out, time at the collector, delay back: microseconds."""

    def boottime(self, true: int) -> int:
        """What CLOCK_BOOTTIME says at a true time since boot."""
        return round(true * (1 + self.drift))

    def anchors(self) -> list[Anchor]:
        """Each exchange as the agent computes it."""
        found = []
        for true, out, at_collector, back in self.exchanges:
            sent, received = self.boottime(true), self.boottime(true + out + at_collector + back)
            utc = START + true + out
            found.append(anchor_from_exchange(BOOT, sent, received, utc, utc + at_collector))
        return found


ROUNDING = 4
"""Microseconds: boottime and UTC are whole ones, and so are sums and halves of them."""

delays = st.integers(0, 20 * SECOND)
# the product claims 200 ppm; clocks a hair within it, because an anchor's own times are rounded to microseconds
worlds = st.builds(
    World,
    st.floats(-DRIFT * 0.98, DRIFT * 0.98),
    st.lists(st.tuples(st.integers(0, 30 * DAY), delays, st.integers(0, SECOND), delays), min_size=1, max_size=6),
)


@given(worlds, st.integers(0, 60 * DAY))
def test_the_truth_lies_within_the_bound(world, true):
    found = correct(BOOT, world.boottime(true), world.anchors())
    assert found is not None
    assert abs(found.utc - (START + true)) <= found.error + ROUNDING


@given(worlds, st.integers(0, 60 * DAY), st.randoms())
def test_the_order_of_anchors_does_not_matter(world, true, random):
    anchors = world.anchors()
    shuffled = [*anchors, anchors[0]]
    random.shuffle(shuffled)
    at = world.boottime(true)
    assert correct(BOOT, at, anchors) == correct(BOOT, at, shuffled)


@given(worlds, st.integers(0, 60 * DAY))
def test_agreeing_anchors_never_make_the_bound_wider(world, true):
    at = world.boottime(true)
    anchors = world.anchors()
    whole = correct(BOOT, at, anchors)
    alone = [one for anchor in anchors if (one := correct(BOOT, at, [anchor]))]
    assert whole is not None
    assert whole.error <= min(one.error for one in alone) + 1


def test_the_error_grows_with_the_distance_from_the_anchor():
    anchor = Anchor(BOOT, 100 * SECOND, START, 5_000)
    assert correct(BOOT, 100 * SECOND, [anchor]) == (START, 5_000)
    for distance in (HOUR, -HOUR):
        found = correct(BOOT, 100 * SECOND + distance, [anchor])
        assert found == (START + distance, 5_000 + int(HOUR * DRIFT))


def test_anchors_of_another_boot_say_nothing():
    anchor = Anchor("another", 0, START, 1)
    assert correct(BOOT, 0, [anchor]) is None
    assert correct(BOOT, 0, []) is None
    good = Anchor(BOOT, 0, START, 7)
    assert correct(BOOT, 0, [anchor, good]) == (START, 7)


def test_anchors_that_contradict_each_other_widen_the_bound_to_hold_both():
    right = Anchor(BOOT, 0, START, 1_000)
    wrong = Anchor(BOOT, 0, START + 3_600 * SECOND, 1_000)
    found = correct(BOOT, 0, [right, wrong])
    assert found is not None
    for claimed in (right, wrong):
        assert abs(found.utc - claimed.utc) + claimed.error <= found.error + 1
    assert found == correct(BOOT, 0, [wrong, right])


def test_the_error_of_an_exchange_is_half_its_round_trip_without_the_collectors_own_time_and_the_drift_over_it():
    anchor = anchor_from_exchange(BOOT, 1_000, 31_000, START, START + 10_000)
    assert anchor == Anchor(BOOT, 16_000, START + 5_000, 10_000 + 6 + 1)


def test_a_collector_that_claims_to_have_taken_longer_than_the_round_trip_gains_no_negative_error():
    assert anchor_from_exchange(BOOT, 1_000, 2_000, START, START + 10_000).error == 1

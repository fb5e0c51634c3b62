"""From readings to a rate: the ramp left out, bursts and gaps withstood, stopped when more would not tell more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probes.throughput import windows
from wire.throughput import Reading

MBPS = 1e6


def readings(*rates: float, segment: int = 1500, seconds: float = 0.1) -> list[Reading]:
    """Readings whose windows have these rates, in Mbps, as nearly as whole segments allow."""
    found, total = [Reading(0)], 0.0
    for number, rate in enumerate(rates, 1):
        total += rate * MBPS / 8 * seconds / segment
        found.append(Reading(round(number * seconds * 1e6), segments=round(total), payload=round(total) * 1448))
    return found


def level(*rates: float) -> float:
    found = windows.steady(readings(*rates), 1500)
    assert found is not None
    return found.median / MBPS


def test_the_ramp_is_left_out():
    found = windows.steady(readings(40, 90, 150, 180, 199, 200, 201, 200, 200), 1500)
    assert found is not None
    assert found.median / MBPS == pytest.approx(200, rel=2e-3)
    assert found.begins == 400_000
    assert found.ends == 900_000
    assert len(found.windows) == 5
    assert found.mean / MBPS == pytest.approx(200, rel=2e-3)


def test_a_shaper_s_burst_is_left_out():
    assert level(900, 850, 600, 320, 200, 200, 200, 200) == pytest.approx(200, rel=2e-3)
    assert windows.ramp([900, 850, 600, 320, 200, 200, 200, 200]) == 4


def test_a_fast_start_does_not_count_early():
    assert windows.ramp([200] * 8) == windows.LEAST_RAMP == 3


def test_settled_is_within_5_percent_of_what_follows():
    assert windows.ramp([0, 0, 0, 190.5, 200, 200, 200, 200, 200]) == 3
    assert windows.ramp([0, 0, 0, 189.5, 200, 200, 200, 200, 200]) == 4


def test_two_windows_settle_it_whatever_comes_then():
    assert windows.ramp([0, 0, 0, 200, 200, 150, 200, 200, 200, 200]) == 3


def test_one_window_on_its_way_up_is_not_the_end_of_the_ramp():
    assert windows.ramp([50, 60, 70, 200, 120, 200, 201, 199, 200]) == 5


def test_a_rate_that_never_settles_counts_from_the_least_ramp_on():
    assert windows.ramp([10, 10, 10, 50, 150, 50, 150, 50, 150, 50, 150]) == 3


@pytest.mark.parametrize("gap", [(200, 0), (0, 200, 200)])
def test_a_gap_moves_the_mean_but_not_the_median(gap: tuple[float, ...]):
    found = windows.steady(readings(150, 200, 200, 200, 200, 200, *gap, 200, 200), 1500)
    assert found is not None
    assert found.median / MBPS == pytest.approx(200, rel=2e-3)
    assert found.mean / MBPS < 190


def test_windows_are_as_long_as_they_really_were():
    late = [Reading(0), Reading(100_000, 1000), Reading(250_000, 2500), Reading(300_000, 3000)]
    assert [one.rate for one in windows.rates(late, 1500)] == pytest.approx([120e6, 120e6, 120e6])


def test_readings_too_near_to_each_other_make_no_window_of_their_own():
    near = [Reading(0), Reading(100_000, 1000), Reading(100_100, 1200), Reading(200_000, 2000)]
    found = windows.rates(near, 1500)
    assert [one.ends for one in found] == [100_000, 200_000]
    assert [one.rate for one in found] == pytest.approx([120e6, 120e6])


def test_the_shortest_window_is_20_ms():
    near = [Reading(0), Reading(19_900, 20), Reading(40_500, 40), Reading(60_500, 60)]
    assert [one.ends for one in windows.rates(near, 1500)] == [40_500, 60_500]


def test_the_payload_counts_where_no_kernel_does():
    found = windows.rates(readings(200, 100), 0)
    assert [one.rate for one in found] == pytest.approx([200e6 * 1448 / 1500, 100e6 * 1448 / 1500], rel=1e-3)


def test_counters_that_go_back_are_no_negative_rate():
    assert windows.rates([Reading(0, 10), Reading(100_000, 5)], 1500)[0].rate == 0


def test_nothing_yet():
    assert windows.rates([], 1500) == []
    assert windows.steady([], 1500) is None
    assert windows.steady(readings(200, 200, 200), 1500) is None


def stable(*rates: float) -> bool:
    return windows.stable(windows.steady(readings(*rates), 1500))


def test_it_stops_after_five_windows_that_agree():
    assert not stable(150, 200, 200, 200, 200, 200, 200)
    assert stable(150, 200, 200, 200, 200, 200, 200, 200)


def test_it_goes_on_while_the_halves_disagree():
    assert not stable(150, 200, 200, 200, 200, 196, 196, 196)
    assert stable(150, 200, 200, 200, 200, 198.5, 199, 198.5)
    assert not stable(150, 200, 200, 196, 196, 200, 200, 200)


def test_stable_is_within_1_percent():
    assert stable(150, 200, 200, 200, 200, 198.2, 198.2, 198.2)
    assert not stable(150, 200, 200, 200, 200, 197.8, 197.8, 197.8)


def test_it_is_the_halves_that_are_compared():
    assert stable(150, 200, 200, 200, 200, 195, 200, 200, 195)


def test_silence_is_never_stable():
    assert not stable(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_how_long_nothing_has_passed():
    assert windows.silent_for(readings(200, 200, 0, 0, 0), 1500) == pytest.approx(0.3)
    assert windows.silent_for(readings(0, 200), 1500) == 0
    assert windows.silent_for([], 1500) == 0


def test_the_mean_segment_is_that_of_what_was_sent():
    sender = [Reading(0, sent=10, bytes=14_480), Reading(1, sent=110, bytes=14_480 + 99 * 1448 + 448)]
    assert windows.mean_segment(sender, 52, 1500) == pytest.approx(52 + (99 * 1448 + 448) / 100)
    assert windows.mean_segment(sender[:1], 52, 1500) == 1500
    assert windows.mean_segment([], 52, 1500) == 1500
    assert windows.mean_segment([Reading(0, sent=1), Reading(1, sent=9)], 52, 1400) == 1400


@given(st.lists(st.floats(0, 1000), max_size=30))
def test_no_course_of_rates_breaks_it(rates: list[float]):
    found = windows.steady(readings(*rates), 1500)
    assert (found is None) == (len(rates) <= windows.LEAST_RAMP)
    if found is not None:
        assert min(found.windows) <= found.median <= max(found.windows)
        assert min(found.windows) * 0.999 <= found.mean <= max(found.windows) * 1.001
        assert found.ends == len(rates) * 100_000
    windows.stable(found)

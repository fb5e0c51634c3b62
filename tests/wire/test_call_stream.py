"""The timetable of a meeting's stream: its rate, its frames, its sound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.call_stream import SILENT, SOUND, VIDEO, cost, timetable
from wire.udp_tests import DATA


@pytest.mark.parametrize("rate", [1_800_000, 2_500_000, 3_000_000, 4_000_000])
def test_it_carries_the_rate_that_was_asked_for(rate: int):
    items = timetable(rate, 1372, 28, 10.0)
    assert cost(items) * 8 / 10 == pytest.approx(rate, rel=0.002)


def test_thirty_frames_and_fifty_packets_of_sound_a_second():
    items = timetable(2_500_000, 1372, 28, 10.0)
    assert len({one.frame for one in items} - {SILENT}) == 300
    assert sum(one.frame == SILENT for one in items) == 500
    assert {one.size for one in items if one.frame == SILENT} == {SOUND}
    first = [one for one in items if one.frame == 0]
    assert len(first) == 9
    assert {one.at for one in first} == {0}, "a frame is a burst"


def test_a_rate_for_sound_alone_has_no_picture():
    assert {one.frame for one in timetable(90_000, 1372, 28, 1.0)} == {SILENT}


@given(st.integers(64_000, 20_000_000), st.integers(512, 1472), st.sampled_from([28, 48]), st.floats(1, 15))
def test_every_packet_fits_the_path_holds_its_head_and_comes_in_its_time(
    rate: int, payload: int, overhead: int, seconds: float
):
    items = timetable(rate, payload, overhead, seconds)
    assert items
    assert all(DATA.size <= one.size - overhead <= min(payload, VIDEO) for one in items)
    assert [one.at for one in items] == sorted(one.at for one in items)
    assert all(0 <= one.at < seconds * 1e9 for one in items)
    assert timetable(rate, payload, overhead, seconds) == items

"""What a call's lists of packets say: counted by table, and for any lists at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probes.call.figures import FRAME, FREEZE, PLAY_OUT, figures
from wire.call_stream import FRAMES, SILENT, Item, timetable

MS = 1_000_000
ITEMS = timetable(1_000_000, 1372, 28, 2.0)
ALL = [(number, 0) for number in range(len(ITEMS))]
PICTURES = [number for number, item in enumerate(ITEMS) if item.frame != SILENT]


def without(*lost: int) -> list[tuple[int, int]]:
    return [one for one in ALL if one[0] not in lost]


def of_frames(first: int, count: int) -> list[int]:
    """The numbers of one packet of each of some frames in a row."""
    return [next(n for n in PICTURES if ITEMS[n].frame == frame) for frame in range(first, first + count)]


def test_a_perfect_call_has_nothing_to_say():
    found = figures(ITEMS, len(ITEMS), ALL)
    assert found == (len(ITEMS), 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, [0] * len(ITEMS))


@pytest.mark.parametrize(
    ("lost", "bursts", "longest"),
    [
        ([], 0, 0),
        ([5], 1, 1),
        ([5, 6, 7], 1, 3),
        ([0, 1, 9], 2, 2),
        ([5, 7], 2, 1),
        ([len(ITEMS) - 1], 1, 1),
        (list(range(len(ITEMS))), 1, len(ITEMS)),
    ],
)
def test_lost_packets_and_their_runs(lost: list[int], bursts: int, longest: int):
    found = figures(ITEMS, len(ITEMS), without(*lost))
    assert (found.lost, found.loss_bursts, found.longest_burst) == (len(lost), bursts, longest)


def test_a_packet_beyond_its_play_out_time_is_too_late_and_not_lost():
    arrivals = [(0, 0), (1, PLAY_OUT), (2, PLAY_OUT + 1), *without(0, 1, 2)]
    found = figures(ITEMS, len(ITEMS), arrivals)
    assert (found.too_late, found.lost) == (1, 0)
    assert max(found.delays) == PLAY_OUT + 1


def test_delays_are_counted_from_the_least_one_whatever_the_clocks_say():
    shifted = [(number, -(10**18) + (number % 3) * MS) for number, _ in ALL]
    found = figures(ITEMS, len(ITEMS), shifted)
    assert set(found.delays) == {0, MS, 2 * MS}
    assert found.too_late == 0


@pytest.mark.parametrize(("missing", "freezes", "seconds"), [(4, 0, 0), (5, 1, 6 / 30), (9, 1, 10 / 30)])
def test_the_picture_stands_still_when_frames_in_a_row_are_not_whole(missing: int, freezes: int, seconds: float):
    """One packet of each of these frames is missing. At 30 a second a freeze is 183 ms from frame to frame or more."""
    assert pytest.approx(5.5) == FREEZE / FRAME
    found = figures(ITEMS, len(ITEMS), without(*of_frames(10, missing)))
    assert found.lost == missing
    assert found.freezes == freezes
    assert found.freeze_time == pytest.approx(seconds)


def test_late_frames_freeze_the_picture_as_lost_ones_do():
    late = set(of_frames(10, 6))
    arrivals = [(number, PLAY_OUT + MS if number in late else 0) for number, _ in ALL]
    found = figures(ITEMS, len(ITEMS), arrivals)
    assert (found.freezes, found.lost, found.too_late) == (1, 0, 6)


def test_freezes_apart_and_at_both_ends_are_each_counted():
    last = max(item.frame for item in ITEMS)
    lost = [*of_frames(0, 6), *of_frames(20, 6), *of_frames(last - 5, 6)]
    assert figures(ITEMS, len(ITEMS), without(*lost)).freezes == 3


def test_lost_sound_does_not_freeze_the_picture():
    sound = [number for number, item in enumerate(ITEMS) if item.frame == SILENT]
    found = figures(ITEMS, len(ITEMS), without(*sound))
    assert found.lost == len(sound)
    assert found.freezes == 0


def test_a_stream_that_breaks_off_is_judged_as_far_as_it_was_sent():
    half = len(ITEMS) // 2
    found = figures(ITEMS, half, ALL[:half])
    assert (found.sent, found.lost, found.freezes) == (half, 0, 0)


def test_duplicates_and_overtaken_packets_are_counted_once():
    arrivals = [(0, 0), (2, 0), (1, 0), (1, 0), (2, 5), *ALL[3:]]
    found = figures(ITEMS, len(ITEMS), arrivals)
    assert (found.duplicates, found.reordered, found.lost) == (2, 1, 0)


def test_numbers_that_were_never_sent_are_none_of_the_stream():
    assert figures(ITEMS, 10, [*ALL[:10], (10, 0), (-1, 0), (2**32 - 1, 0)]) == figures(ITEMS, 10, ALL[:10])


def test_jitter_is_that_of_rfc_3550():
    """D = 16 ms, then 0, then 0: 16, 15, 14.0625 ms."""
    found = figures(ITEMS, 4, [(0, 0), (1, 16 * MS), (2, 16 * MS), (3, 16 * MS)])
    assert found.jitter == pytest.approx(0.0140625)
    assert figures(ITEMS, 1, [(0, 0)]).jitter is None


def test_nothing_sent_says_nothing():
    assert figures([], 0, []) == (0, 0, 0, 0, 0, 0, 0, 0, 0.0, None, [])


ARRIVALS = st.lists(st.tuples(st.integers(-2, 150), st.integers(-(10**9), 10**10)), max_size=200)


@given(ARRIVALS, st.integers(0, len(ITEMS)))
def test_any_lists_give_figures_that_agree_with_each_other(arrivals: list[tuple[int, int]], sent: int):
    items: list[Item] = ITEMS
    found = figures(items, sent, arrivals)
    unique = {number for number, _ in arrivals if 0 <= number < sent}
    assert found.lost == sent - len(unique)
    assert found.duplicates == sum(0 <= number < sent for number, _ in arrivals) - len(unique)
    assert len(found.delays) == len(unique)
    assert found.longest_burst <= found.lost
    assert found.loss_bursts <= found.lost
    assert found.too_late == sum(delay > PLAY_OUT for delay in found.delays)
    assert found.reordered <= len(unique)
    assert min(found.delays, default=0) == 0
    assert found.freeze_time <= (2 * FRAMES + 1) / FRAMES + 1e-9
    assert (found.freeze_time > 0) == (found.freezes > 0)


@given(st.sets(st.integers(0, len(ITEMS) - 1)), st.integers(0, len(ITEMS) - 1))
def test_losing_more_never_makes_a_call_better(lost: set[int], one_more: int):
    before = figures(ITEMS, len(ITEMS), without(*lost))
    after = figures(ITEMS, len(ITEMS), without(*lost, one_more))
    assert after.lost >= before.lost
    assert after.longest_burst >= before.longest_burst
    assert after.freeze_time >= before.freeze_time

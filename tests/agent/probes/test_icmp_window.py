"""The counts of a window, told by simulated replies."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probes.icmp.window import EchoWindow
from wire.reasons import Reason

MS = 1_000_000
SECOND = 1000 * MS


def window_of(count: int, first: int = 1) -> EchoWindow:
    window = EchoWindow(timeout=2 * SECOND)
    for number in range(count):
        window.send(first + number, number * SECOND)
    return window


def test_every_echo_answered() -> None:
    window = window_of(3)
    for number in (1, 2, 3):
        window.receive(number, 20 * MS)
    assert window.counts() == {"sent": 3, "lost": 0, "duplicates": 0, "reordered": 0, "late": 0}
    assert window.histogram().mean == 20 * MS
    assert not window.waiting


def test_what_is_not_answered_is_lost_and_lies_beyond_every_limit() -> None:
    window = window_of(4)
    window.receive(2, 20 * MS)
    window.expire(now=10 * SECOND)
    assert (window.sent, window.lost, window.replies) == (4, 3, 1)
    assert window.histogram().lost == 3
    assert window.histogram().quantile(0.99) == float("inf")


def test_waiting_ends_with_the_time_of_the_last_echo() -> None:
    window = window_of(2)
    assert window.deadline == 3 * SECOND
    window.expire(now=3 * SECOND - 1)
    assert window.waiting
    window.expire(now=3 * SECOND)
    assert not window.waiting


def test_a_second_answer_is_a_duplicate() -> None:
    window = window_of(2)
    window.receive(1, 20 * MS)
    window.receive(1, 21 * MS)
    window.receive(1, 22 * MS)
    assert window.counts() == {"sent": 2, "lost": 1, "duplicates": 2, "reordered": 0, "late": 0}
    assert window.histogram().count == 1


def test_an_answer_after_its_time_is_late_and_the_echo_stays_lost() -> None:
    window = window_of(1)
    window.receive(1, 2 * SECOND)
    assert (window.lost, window.late) == (0, 0)
    other = window_of(1)
    other.receive(1, 2 * SECOND + 1)
    other.receive(1, 3 * SECOND)
    assert (other.lost, other.late, other.duplicates) == (1, 1, 1)


def test_answers_to_a_window_that_is_closed_are_counted_where_they_arrive() -> None:
    older, newer = window_of(2), window_of(1, first=3)
    older.receive(1, MS)
    newer.receive_for(older, 1)
    newer.receive_for(older, 2)
    newer.receive_for(older, 2)
    assert (newer.duplicates, newer.late, newer.lost) == (2, 1, 1)
    assert (older.duplicates, older.late) == (0, 0)


def test_reordering_counts_those_below_the_highest_seen() -> None:
    """RFC 4737 section 3.3 with arrivals 1 2 5 3 4 6: 3 and 4 are reordered."""
    window = window_of(6)
    for number in (1, 2, 5, 3, 4, 6):
        window.receive(number, 20 * MS)
    assert window.reordered == 2


def test_numbers_across_the_wrap_of_the_sequence_are_in_order() -> None:
    window = window_of(4, first=0xFFFE)
    for number in (0xFFFE, 0xFFFF, 0x10000, 0x10001):
        window.receive(number, 20 * MS)
    assert window.counts() == {"sent": 4, "lost": 0, "duplicates": 0, "reordered": 0, "late": 0}


def test_jitter_follows_the_formula() -> None:
    """RFC 3550 section 6.4.1, begun at the first difference: |D| = 4, 2, 8 ms."""
    window = window_of(4)
    assert window.jitter is None
    window.receive(1, 20 * MS)
    assert window.jitter is None
    for number, rtt in ((2, 24 * MS), (3, 22 * MS), (4, 30 * MS)):
        window.receive(number, rtt)
    second = 4 * MS + (2 * MS - 4 * MS) / 16
    assert window.jitter == pytest.approx(second + (8 * MS - second) / 16)


def test_an_error_explains_a_loss_and_ends_the_wait() -> None:
    window = window_of(2)
    window.fail(1, Reason.PROHIBITED)
    window.fail(1, Reason.PROHIBITED)
    window.fail(2, Reason.NO_ROUTE)
    assert window.reasons == {Reason.PROHIBITED: 1, Reason.NO_ROUTE: 1}
    assert not window.waiting
    assert window.lost == 2


def test_a_reply_after_an_error_counts_as_a_reply() -> None:
    window = window_of(1)
    window.fail(1, Reason.HOST_UNREACHABLE)
    window.receive(1, 20 * MS)
    assert window.lost == 0


def test_no_way_out_is_loss_and_our_own_trouble_is_not() -> None:
    window = window_of(0)
    window.unsendable(Reason.NO_ROUTE)
    window.refused(Reason.NO_RESOURCES)
    assert (window.sent, window.lost) == (1, 1)
    assert window.local == {Reason.NO_RESOURCES: 1}


def test_cut_short_what_is_under_way_does_not_count() -> None:
    window = window_of(4)
    window.receive(4, 20 * MS)
    window.forget_waiting(now=3 * SECOND)
    assert (window.sent, window.lost) == (3, 2), "1 and 2 had their time; 3 was under way"
    assert not window.waiting


@given(st.integers(1, 200), st.integers(0, 2**32), st.integers(0, 0x20000))
def test_the_counts_always_add_up(count: int, seed: int, first: int) -> None:
    """Losses, duplicates and any order of arrival: truth known, truth counted."""
    chance = random.Random(seed)
    window = window_of(count, first)
    numbers = [first + number for number in range(count)]
    answered = [number for number in numbers if chance.random() < 0.8]
    late = {number for number in answered if chance.random() < 0.1}
    copies = [number for number in answered if chance.random() < 0.2]
    arrivals = answered + copies
    chance.shuffle(arrivals)
    for number in arrivals:
        window.receive(number, 3 * SECOND if number in late else chance.randrange(MS, SECOND))
    assert window.sent == count
    assert window.lost == count - len(answered) + len(late)
    assert window.duplicates == len(copies)
    assert window.late == len(late)
    histogram = window.histogram()
    histogram.check()
    assert (histogram.count, histogram.lost) == (len(answered) - len(late), window.lost)

"""A direction's pace: its rate holds after any pause, what was overspent is waited for, the total is never passed."""

from hypothesis import given
from hypothesis import strategies as st

from collector.responder.pace import LEAST, Pace
from wire.clock import SECOND

RATE = 8_000_000
"""A megabyte a second: 100 kB at once."""


def test_a_tenth_of_a_second_at_once_and_then_the_rate() -> None:
    pace = Pace(RATE, 10**9, 0)
    assert pace.allows(100_000, 0, 0)
    assert not pace.allows(1, 100_000, 0)
    assert not pace.allows(50_000, 100_000, SECOND // 20 - 1)
    assert pace.allows(50_000, 100_000, SECOND // 20)


def test_idle_time_saves_nothing_up() -> None:
    """A direction that begins ten seconds after the opening must not begin with ten seconds' worth at once."""
    pace = Pace(RATE, 10**9, 0)
    assert pace.allows(100_000, 0, 10 * SECOND)
    assert not pace.allows(1, 100_000, 10 * SECOND)


def test_what_the_kernel_counted_late_is_waited_for() -> None:
    pace = Pace(RATE, 10**9, 0)
    assert pace.allows(1, 0, 0)
    assert not pace.allows(1, 1_100_000, SECOND // 10)
    assert not pace.allows(1, 1_100_000, SECOND - 2)
    assert pace.allows(1, 1_100_000, SECOND + 2)


def test_more_than_the_bucket_passes_when_it_is_full_so_that_nothing_waits_for_ever() -> None:
    pace = Pace(RATE, 10**9, 0)
    assert pace.allows(256_000, 0, 0)
    assert not pace.allows(256_000, 256_000, SECOND // 5)
    assert pace.allows(256_000, 256_000, SECOND)


def test_the_total_is_never_passed() -> None:
    pace = Pace(RATE, 1_000_000, 0)
    assert not pace.allows(1, 1_100_000, 100 * SECOND)
    assert pace.allows(1, 1_099_999, 100 * SECOND)


def test_a_direction_of_no_rate_lets_nothing_pass_and_a_trickle_lets_a_packet() -> None:
    assert not Pace(0, 10**9, 0).allows(1, 0, SECOND)
    assert Pace(1000, 10**9, 0).allows(LEAST, 0, 0)


def test_a_trickle_may_send_some_packets_at_once() -> None:
    pace = Pace(50_000, 10**9, 0)
    assert pace.allows(160, 0, 0)
    assert pace.allows(160, LEAST - 160, 0)
    assert not pace.allows(160, LEAST, 0)


def test_a_clock_that_is_set_back_gives_nothing_away_and_takes_nothing() -> None:
    pace = Pace(RATE, 10**9, 10 * SECOND)
    assert pace.allows(100_000, 0, 10 * SECOND)
    assert not pace.allows(1, 100_000, 5 * SECOND)
    assert not pace.allows(50_000, 100_000, 10 * SECOND + 10)
    assert pace.allows(50_000, 100_000, 10 * SECOND + SECOND // 20 + 10)


@given(st.lists(st.tuples(st.integers(0, SECOND), st.integers(1, 100_000)), max_size=60))
def test_any_sequence_keeps_the_rate(steps: list[tuple[int, int]]) -> None:
    pace, now, sent = Pace(RATE, 10**9, 0), 0, 0
    for pause, size in steps:
        now += pause
        if pace.allows(size, sent, now):
            sent += size
        assert sent <= RATE / 8 * now / SECOND + 100_000 + 1

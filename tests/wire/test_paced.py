"""The light check's rules: how the stream climbs, when it stops, and what a receiver counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.paced import (
    BURST,
    CONFIRM,
    JUMP,
    LEAD_IN,
    REORDERED,
    RISE,
    SECONDS,
    SHARE,
    TICK,
    TOP,
    Ramp,
    Tally,
    Volley,
    cost,
    judged,
)
from wire.udp_tests import SILENCE, Data, Phase, Report, Why, decode

RATE, SIZE = 190_000_000, 1400
MS = 1_000_000
ID = b"session!"


def report(**what: int) -> Report:
    return Report(ID, Phase.DOWN, **what)


def play(ramp: Ramp, until: int, every: int = MS, stage: int | None = None) -> list[tuple[int, int, int]]:
    """Runs the ramp with a report each 20 ms; returns (now, packets, stage) of each step."""
    steps = []
    for now in range(0, until, every):
        steps.append((now, ramp.due(now), ramp.stage))
        if now % (20 * MS) == 0:
            ramp.hear(report(received=max(1, ramp.sent), stage=ramp.stage if stage is None else stage), now)
        if ramp.why is not None:
            break
    return steps


def test_the_check_of_the_contract_costs_17_megabytes():
    both = cost(round(SHARE * 200e6)) + cost(round(SHARE * 80e6))
    assert 16.5e6 < both <= 17.1e6


def test_it_climbs_in_three_stages_and_keeps_to_each_rate():
    ramp = Ramp(RATE, SIZE, 0)
    steps = play(ramp, 2_000 * MS)
    assert ramp.why is Why.COMPLETE
    shares = [*LEAD_IN, (1.0, round(SECONDS * 1e9))]
    for stage, (share, length) in enumerate(shares):
        packets = sum(count for _, count, of in steps if of == stage)
        assert packets * SIZE * 8 / (length / 1e9) == pytest.approx(RATE * share, rel=0.02)
    assert ramp.bytes == pytest.approx(cost(RATE), rel=0.01)
    assert ramp.idle == 0


def test_no_burst_is_longer_than_wanted_even_when_the_sender_was_not_run():
    ramp = Ramp(RATE, SIZE, 0)
    ramp.due(0)
    most = int(BURST / (SIZE * 8e9 / (RATE * LEAD_IN[0][0])))
    assert ramp.due(50 * MS) == most
    assert ramp.idle == pytest.approx(48 * MS, abs=MS)
    assert ramp.due(51 * MS) <= most / 2 + 1, "and the time that was lost is not made up for later"


@given(st.integers(1_000_000, 10**9), st.integers(100, 1400))
def test_bursts_are_a_millisecond_or_one_packet_apart(rate: int, size: int):
    ramp = Ramp(rate, size, 0)
    spacing = size * 8e9 / (rate * LEAD_IN[0][0])
    wake = ramp.wake()
    assert 0 < wake <= max(TICK * 1.5, spacing) + 1
    assert ramp.due(wake + 1) >= 1


def test_a_stage_lasts_until_reports_show_that_it_came_through():
    ramp = Ramp(RATE, SIZE, 0)
    play(ramp, 300 * MS, stage=0)
    assert ramp.stage == 1, "the first was seen to arrive, the second was not"
    play_on = Ramp(RATE, SIZE, 0)
    for now in range(0, CONFIRM + 100 * MS, MS):
        play_on.due(now)
        play_on.hear(report(received=0), now)
    assert play_on.why is Why.STUCK


def test_without_reports_it_stops_in_200_ms():
    ramp = Ramp(RATE, SIZE, 0)
    reasons = []
    for now in (SILENCE, SILENCE + 1):
        ramp.due(now)
        reasons.append(ramp.why)
    ramp.hear(report(received=5), SILENCE + 2)
    assert [*reasons, ramp.why] == [None, Why.SILENCE, Why.SILENCE]
    assert ramp.due(SILENCE + 3) == 0


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"rise": RISE}, None),
        ({"rise": RISE + 1}, Why.DELAY_ROSE),
        ({"lost": 3}, None),
        ({"lost": 4}, Why.LOSS_SEEN),
        ({"lost": 4, "rise": RISE + 1}, Why.DELAY_ROSE),
        ({"lost": 40, "overflow": 40}, Why.OVERFLOW),
        ({"lost": 44, "overflow": 40}, Why.LOSS_SEEN),
        ({"lost": 3, "overflow": 3}, None),
    ],
)
def test_it_stops_for_delay_for_loss_and_for_a_receiver_that_is_too_slow(what: dict[str, int], why: Why | None):
    assert judged(report(**what), 500) is why
    ramp = Ramp(RATE, SIZE, 0)
    ramp.due(MS)
    ramp.hear(report(received=1, **what), MS)
    assert ramp.why is why


def test_a_stray_loss_in_many_packets_is_no_full_queue():
    assert judged(report(lost=8), 8_000) is None
    assert judged(report(lost=9), 8_000) is Why.LOSS_SEEN


def test_what_could_not_leave_comes_again():
    ramp = Ramp(RATE, SIZE, 0)
    count = ramp.due(2 * MS)
    ramp.unsent(count)
    assert ramp.sent == 0
    assert ramp.due(2 * MS) == count


def test_the_first_reason_to_stop_counts():
    ramp = Ramp(RATE, SIZE, 0)
    ramp.stop(Why.LEASE)
    ramp.stop(Why.LOSS_SEEN)
    ramp.hear(report(rise=2 * RISE), 1)
    assert ramp.why is Why.LEASE


def test_a_volley_is_packets_in_a_row():
    volley = Volley(ID, 512, 4)
    raw = volley.of(7, 3, 123, 2)
    assert len(raw) == 3 * 512
    assert [decode(bytes(raw[at : at + 512])) for at in (0, 512, 1024)] == [Data(ID, n, 123, 2) for n in (7, 8, 9)]


def tallied(packets: list[tuple[int, int, int]], stage: int = TOP) -> Tally:
    """Of (number, sent, at)."""
    tally = Tally()
    for number, sent, at in packets:
        tally.take(Data(ID, number, sent, stage), at, SIZE)
    return tally


@pytest.mark.parametrize(
    ("numbers", "sent", "lost", "duplicates", "reordered"),
    [
        ([0, 1, 2, 3], 4, 0, 0, 0),
        ([0, 1, 3], 4, 1, 0, 0),
        ([1, 2], 5, 3, 0, 0),
        ([0, 2, 1, 3], 4, 0, 0, 1),
        ([0, 0, 1, 1, 1], 2, 0, 3, 0),
        ([3, 2, 1, 0], 4, 0, 0, 3),
        ([], 4, 4, 0, 0),
        ([0, JUMP + 1], 1, 0, 0, 0),
    ],
)
def test_what_came_is_counted(numbers: list[int], sent: int, lost: int, duplicates: int, reordered: int):
    tally = tallied([(number, 0, 0) for number in numbers])
    assert (tally.end(sent), tally.duplicates, tally.reordered) == (lost, duplicates, reordered)
    final = tally.report(ID, Phase.DOWN, 0, sent)
    assert (final.final, final.lost) == (1, lost)


@given(st.permutations(list(range(40))), st.sets(st.integers(0, 39)), st.lists(st.integers(0, 39), max_size=20))
def test_every_packet_is_received_once_or_lost(order: list[int], gone: set[int], again: list[int]):
    numbers = [number for number in order if number not in gone]
    tally = tallied([(number, 0, 0) for number in [*numbers, *(one for one in again if one not in gone)]])
    assert tally.received == len(numbers)
    assert tally.end(40) == len(gone)
    assert tally.duplicates == sum(one not in gone for one in again)
    assert tally.bytes == SIZE * len(numbers)


def test_a_packet_that_may_have_been_overtaken_is_not_lost_yet():
    tally = tallied([(number, 0, 0) for number in range(1, REORDERED)])
    assert tally.lost() == 0
    tally.take(Data(ID, REORDERED, 0, 0), 0, SIZE)
    assert tally.lost() == 1
    tally.take(Data(ID, 0, 0, 0), 0, SIZE)
    assert (tally.lost(), tally.reordered) == (0, 1)


def test_the_rise_is_that_of_two_bursts_and_not_of_one_that_its_sender_held_back():
    base = 5_000 * MS
    bursts = [(number, number * MS, base + number * MS) for number in range(10)]
    tally = tallied(bursts)
    assert tally.report(ID, Phase.DOWN, 0).rise == 0
    for number, late in ((10, 30), (11, 0), (12, 4)):
        tally.take(Data(ID, number, number * MS, 0), base + (number + late) * MS, SIZE)
    told = tally.report(ID, Phase.DOWN, 0)
    assert (told.rise, told.most_rise) == (4 * MS, 4 * MS)
    for number in (13, 14):
        tally.take(Data(ID, number, number * MS, 0), base + (number + 25) * MS, SIZE)
    assert tally.report(ID, Phase.DOWN, 0).rise == 25 * MS
    assert tally.report(ID, Phase.DOWN, 0)[-4:-2] == (0, 25 * MS), "each report is of its own time, the most is kept"


def test_two_packets_of_one_burst_are_one_witness():
    tally = tallied([(0, 0, 0), (1, 1 * MS, 50 * MS), (2, 1 * MS, 50 * MS)])
    assert tally.report(ID, Phase.DOWN, 0).rise == 0


def test_the_rate_is_that_of_whole_bursts_of_the_last_stage():
    """Ten bursts of 4 packets, 1 ms apart: 9 bursts in 9 ms, whatever came of the last."""
    packets = [(burst * 4 + n, burst * MS, burst * MS + n) for burst in range(10) for n in range(4)]
    tally = tallied([(number, sent, at + 1) for number, sent, at in packets])
    assert tally.top == (9 * 4 * SIZE, 9 * MS)
    assert tallied(packets, stage=0).top == (0, 0)


def test_invented_numbers_fill_no_memory():
    tally = Tally()
    for step in range(1, 100):
        tally.take(Data(bytes(8), step * (JUMP - 1), 0, 0), step, 100)
    assert tally.end(tally.expected) < JUMP
    assert tally.received == 1

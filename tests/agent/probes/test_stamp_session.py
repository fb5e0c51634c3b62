"""The Session-Sender with the reflector's own rules at the other end, over a path whose every packet is known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.probes.stamp.ledger import Tally
from agent.probes.stamp.session import ASK_AGAIN, Instant, Sender, arrived_at
from tests.support.lending import granted
from tests.support.stamp_world import GOOD, MS, SECOND, World, lease, losing, straight
from wire.lease import Purpose


def counts(tally: Tally) -> tuple[int, int, int, int, int, int]:
    return (tally.sent, tally.lost, tally.sent_up, tally.lost_up, tally.sent_down, tally.lost_down)


def test_a_session_opens_in_two_round_trips_and_counts_every_packet():
    world = World()
    world.lend()
    tally = world.window(10)
    assert world.sender.session is not None
    assert counts(tally) == (tally.sent, 0, tally.sent, 0, tally.sent, 0)
    assert tally.sent == 99  # of 100: one round trip of 20 ms and the next after it fall between two packets
    assert {one.rtt for one in tally.transits} == {20 * MS}


@pytest.mark.parametrize("rtt", [250, 1_100, 1_900])
def test_a_session_opens_however_long_a_queue_holds_its_packets(rtt: int):
    world = World(up=straight(100 * MS), down=straight((rtt - 100) * MS))
    world.lend()
    tally = world.window(10)
    assert world.sender.knocked == 0
    assert {one.rtt for one in tally.transits} == {rtt * MS}
    assert tally.sent > 50


@pytest.mark.parametrize(
    ("up", "down"), [({5}, set()), (set(), {5}), ({3, 4, 50}, {10, 20, 30, 31}), ({0}, {0}), ({98}, set())]
)
def test_loss_is_told_by_way(up: set[int], down: set[int]):
    world = World(up=losing(10 * MS, up), down=losing(10 * MS, down))
    world.lend()
    tally = Tally()
    world.run(10, tally)
    world.close(tally, Tally())
    assert counts(tally) == (99, len(up | down) if not up & down else 2, 99, len(up), 99 - len(up), len(down))


def test_a_loss_at_a_windows_edge_is_counted_once_and_in_its_window():
    world = World(up=losing(10 * MS, {98}), down=losing(10 * MS, {98}))  # 98: the first window's last, 99 the second's
    world.lend()
    first, second = Tally(), Tally()
    world.run(10, first)
    world.run(2.1, second)
    first.close(world.here.steady)
    world.run(7.9, second)
    world.close(second)
    assert counts(first) == (99, 1, 99, 1, 98, 0)
    assert counts(second) == (100, 1, 100, 0, 100, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 300), st.lists(st.integers(0, 400), max_size=2)),
    st.dictionaries(st.integers(0, 300), st.lists(st.integers(0, 400), max_size=2)),
)
def test_the_windows_together_agree_with_what_the_path_did(up, down):
    """Whatever is lost, doubled or overtaken: nothing is invented and nothing forgotten. Packets with two copies or
    another delay are among them; the last second of each way is undisturbed, so that all is settled."""
    world = World(
        up=lambda n: [d * MS for d in up.get(n, [10])] if n < 260 else [10 * MS],
        down=lambda n: [d * MS for d in down.get(n, [10])] if n < 250 else [10 * MS],
    )
    world.lend()
    tallies = [Tally() for _ in range(4)]
    for number, tally in enumerate(tallies):
        world.run(10 if not number else 7.9, tally)
        if number + 1 < len(tallies):
            world.close(tally, tallies[number + 1])
    world.close(tallies[-1])
    truth = world.truth
    assert sum(one.sent for one in tallies) == truth.sent_up
    assert sum(one.lost for one in tallies) == truth.sent_up - sum(len(one.transits) for one in tallies)
    assert sum(one.sent_up for one in tallies) == truth.sent_up
    assert sum(one.lost_up for one in tallies) == truth.lost_up
    assert sum(one.sent_down for one in tallies) == truth.sent_down
    assert sum(one.lost_down for one in tallies) == truth.lost_down
    assert sum(one.lost for one in tallies) == truth.lost_up + truth.lost_down
    doubled = sum(len(one) == 2 for number, one in down.items() if number < min(250, truth.sent_down))
    assert sum(one.duplicates for one in tallies) == doubled


def test_overtaking_is_told_by_way():
    world = World(up=lambda n: [150 * MS if n == 20 else 10 * MS], down=lambda n: [250 * MS if n == 50 else 10 * MS])
    world.lend()
    tally = world.window(10)
    assert (tally.reordered_up, tally.reordered_down, tally.reordered, tally.lost) == (1, 1, 2, 0)


def test_an_answer_after_two_seconds_is_late_and_lost_on_no_way():
    world = World(down=lambda n: [2_500 * MS if n == 20 else 10 * MS])
    world.lend()
    tally = world.window(10)
    assert (tally.late, tally.lost, tally.lost_up, tally.lost_down) == (1, 1, 0, 0)


def test_a_late_answer_of_a_closed_window_counts_where_it_comes():
    world = World(down=lambda n: [2_500 * MS if n == 98 else 10 * MS])
    world.lend()
    first, second = Tally(), Tally()
    world.run(10, first)
    world.close(first, second)
    world.run(3, second)
    world.close(second)
    assert (first.late, first.lost, second.late, second.lost) == (0, 1, 1, 0)


def test_a_path_that_was_down_is_settled_by_way_when_it_is_up_again():
    dead = set(range(50, 350))
    world = World(up=losing(10 * MS, dead))
    world.lend()
    tallies = [Tally() for _ in range(5)]
    for number, tally in enumerate(tallies):
        world.run(10 if not number else 7.9, tally)
        if number + 1 < len(tallies):
            world.close(tally, tallies[number + 1])
    world.close(tallies[-1])
    assert [one.lost for one in tallies] == [49, 100, 100, 51, 0]
    assert sum(one.lost_up for one in tallies) == 300
    assert sum(one.lost_down for one in tallies) == 0
    assert world.sender.forgotten == 0


def test_a_reflector_that_restarts_is_recognised_and_invents_no_loss():
    world = World()
    world.lend()
    tally = Tally()
    world.run(5, tally)
    world.restart()
    world.run(10, tally)
    world.close(tally)
    assert world.sender.forgotten == 1
    assert (tally.lost, tally.lost_up, tally.lost_down) == (0, 0, 0)
    assert 30 <= tally.set_aside <= 36  # three seconds of silence and the opening
    assert tally.sent + tally.set_aside == 149
    assert tally.sent_up == tally.sent


def test_a_new_port_of_a_nat_is_registered_anew():
    world = World()
    world.lend()
    tally = Tally()
    world.run(5, tally)
    world.port = 50_000
    world.run(10, tally)
    world.close(tally)
    assert (world.sender.forgotten, tally.lost, tally.lost_up, tally.lost_down) == (1, 0, 0, 0)
    assert {one.place.port for one in world.reflector._sessions.values()} == {50_000}


def test_a_lease_is_renewed_without_a_gap():
    world = World()
    world.lend(hours=0.01)  # 36 s, of which 32.4 are used; the next one is asked for after 21.6
    tally = Tally()
    world.run(21, tally)
    assert not world.sender.wants_lease(world.here)
    world.run(1, tally)
    assert world.sender.wants_lease(world.here)
    before = world.sender.session
    world.lend(hours=0.01)
    world.run(20, tally)
    world.close(tally)
    assert world.sender.session is not before
    assert (tally.sent, tally.lost, tally.set_aside, tally.lost_up, tally.lost_down) == (419, 0, 0, 0, 0)
    assert len(tally.runs) == 2
    assert world.reflector.sessions == 2
    world.run(12, Tally())
    assert len(world.admission.sessions) == 2
    world.lend()
    world.run(1, Tally())
    assert world.sender.session is not None
    assert world.sender.session.loan.grant.lease.id in {one.lease.id for one in world.admission.sessions}


def test_a_lease_that_is_not_renewed_ends_measuring_and_no_packet_is_lost():
    world = World()
    world.lend(hours=0.01)
    tally = Tally()
    world.run(60, tally)
    world.close(tally)
    assert world.sender.session is None
    assert world.sender.wants_lease(world.here)
    assert (tally.sent, tally.lost, tally.sent_up, tally.lost_up) == (323, 0, 323, 0)


def test_a_refusal_is_not_asked_about_again_at_once():
    world = World()
    assert world.sender.wants_lease(world.here)
    world.sender.refused(world.here, 0.0)
    assert not world.sender.wants_lease(world.here)
    world.at += ASK_AGAIN
    assert world.sender.wants_lease(world.here)
    world.sender.refused(world.here, 3600.0)
    world.at += 300 * SECOND
    assert world.sender.wants_lease(world.here)


def test_a_denied_lease_is_given_up_and_another_asked_for():
    world = World()
    world.sender.lend(lease(responder="other"), world.here)
    tally = world.window(5)
    assert (tally.sent, world.sender.session, world.sender.denied) == (0, None, "wrong_responder")
    world.at += ASK_AGAIN
    assert world.sender.wants_lease(world.here)
    world.lend()
    assert world.window(5).sent == 49
    assert world.sender.denied == ""


def test_a_full_responder_is_shown_the_same_lease_again():
    world = World()
    world.admission.capacity.sessions = 0
    world.lend()
    assert world.window(5).sent == 0
    assert world.sender.denied == "busy"
    world.admission.capacity.sessions = 1
    assert world.window(20).sent > 100


def test_without_an_answer_openings_go_on_and_no_packet_is_sent():
    world = World(up=lambda _: [])
    world.lend()
    tally = world.window(10)
    assert (tally.sent, world.sender.knocked) == (0, 8)  # 0, 0.2, 0.5, 1, 2, 4, 6, 8 s


@pytest.mark.parametrize("wrong", [-(10**9) * SECOND, 3600 * SECOND])
def test_a_wall_clock_that_is_set_in_a_window_changes_no_delay(wrong: int):
    world = World()
    world.lend()
    tally = Tally()
    world.run(5.05, tally)  # a packet is under way
    world.wrong = wrong
    world.run(5, tally)
    world.close(tally)
    assert world.sender.session is not None
    assert {one.rtt for one in tally.transits} == {20 * MS}
    assert max(one.up for one in tally.transits) == min(one.up for one in tally.transits)
    assert tally.lost == 0


def test_a_suspend_claims_nothing_of_what_was_under_way():
    world = World()
    world.lend()
    first, second = Tally(), Tally()
    world.run(5.001, first)
    world.at += 3600 * SECOND  # the answers that would have come meanwhile are gone
    world.asleep += 3600 * SECOND
    world._wire.clear()
    world._ticks += 36_000
    world.sender.break_off(world.here)
    world.run(5, second)
    first.close(world.here.steady)
    world.close(second)
    assert (second.lost, second.lost_up, second.lost_down) == (0, 0, 0)
    assert second.sent_up in (second.sent, second.sent - 1)
    assert world.sender.forgotten == 0


def test_a_lease_grows_old_in_a_suspend():
    world = World()
    world.lend(hours=1)
    world.window(1)
    world.at += 2 * 3600 * SECOND
    world.asleep += 2 * 3600 * SECOND
    world.sender.poll(world.here)
    assert world.sender.session is None


def test_a_forged_denial_or_opening_changes_nothing():
    world = World()
    world.lend()
    world.window(1)
    session = world.sender.session
    for raw in [*world.answers, b"", b"\0" * 44, b"\xff" * 112]:
        world.sender.hear(type("A", (), {"raw": raw, "at": 0})(), world.here, None)
    assert world.sender.session is session


def test_the_arrival_is_the_kernels_unless_the_clock_was_set():
    now = Instant(real=10 * SECOND, steady=3 * SECOND, boot=3 * SECOND)
    assert arrived_at(10 * SECOND - 5 * MS, now) == 3 * SECOND - 5 * MS
    assert arrived_at(0, now) == 3 * SECOND
    assert arrived_at(11 * SECOND, now) == 3 * SECOND


def test_a_packet_that_never_left_is_not_counted():
    sender, tally = Sender(lambda: GOOD), Tally()
    world = World()
    world.lend()
    world.window(1)
    sender = world.sender
    assert sender.packet(tally, world.here) is not None
    sender.unsent(tally)
    assert (tally.sent, tally.waiting) == (0, False)
    again = world.window(5)
    assert (again.sent, again.lost, again.lost_up) == (50, 0, 0)


def test_a_lease_for_something_else_opens_nothing():
    world = World(up=straight(10 * MS))
    world.sender.lend(granted(Purpose.CALL), world.here)
    assert world.window(3).sent == 0
    assert world.sender.denied == "wrong_purpose"


def test_answers_under_way_when_the_lease_is_renewed_are_heard():
    world = World(up=straight(170 * MS), down=straight(170 * MS))
    world.lend(hours=0.01)
    tally = Tally()
    world.run(5, tally)
    before = world.sender.session
    world.lend(hours=0.01)
    world.run(5, tally)
    world.close(tally)
    assert world.sender.session is not before
    assert (tally.lost, tally.set_aside, len(tally.runs)) == (0, 0, 2)


def test_answers_under_way_when_the_lease_ends_are_heard():
    world = World(up=straight(170 * MS), down=straight(170 * MS))
    world.lend(hours=0.01)
    tally = Tally()
    world.run(40, tally)
    world.close(tally)
    assert world.sender.session is None
    assert (tally.lost, tally.late, tally.sent_up) == (0, 0, tally.sent)


def test_what_was_under_way_when_the_machine_slept_is_lost_on_no_way():
    """Some of it was reflected and some was not: the first answer after it would tell, were it asked."""
    world = World(up=losing(10 * MS, {42}), down=straight(300 * MS))
    world.lend()
    first, second = Tally(), Tally()
    world.run(5.05, first)
    world._wire.clear()
    world.at += 3600 * SECOND
    world.asleep += 3600 * SECOND
    world._ticks += 36_000
    world.sender.break_off(world.here)
    world.run(5, second)
    first.close(world.here.steady)
    world.close(second)
    assert (first.sent, first.lost, first.lost_up, first.lost_down) == (44, 3, 0, 0)  # 41 and 43 were reflected
    assert (second.lost, second.lost_up, second.lost_down) == (0, 0, 0)


def test_an_overtaking_is_of_the_window_in_which_the_packet_was_sent():
    world = World(up=lambda n: [150 * MS if n in (20, 104) else 10 * MS])
    world.lend()
    first, second = Tally(), Tally()
    world.run(10, first)
    world.close(first, second)
    assert world.truth.sent_up > 105, "the next window's overtaking is known when this one is settled"
    world.run(5, second)
    world.close(second)
    assert (first.reordered_up, second.reordered_up) == (1, 1)


def test_an_answer_ends_the_opening_that_silence_began():
    """Were it to go on, an opening that is never answered would be sent for ever beside a path that works."""
    opened: list[bool] = []
    world = World(up=lambda n: ([] if n in range(50, 90) else [10 * MS]) if n >= 0 else [] if opened else [10 * MS])
    world.lend()
    tally = Tally()
    world.run(5, tally)
    opened.append(True)
    session = world.sender.session
    world.run(4.5, tally)
    knocked = world.sender.knocked
    assert knocked > 0
    world.run(10, tally)
    world.close(tally)
    assert world.sender.knocked == knocked
    assert world.sender.session is session
    assert (tally.lost, tally.lost_up) == (40, 40)


def test_the_time_that_the_reflector_takes_is_no_delay():
    world = World(down=straight(20 * MS), took=40 * MS)
    world.lend()
    tally = world.window(5)
    behind = world.here.offset
    assert {one.rtt for one in tally.transits} == {30 * MS}
    assert {(one.up - behind, one.down + behind) for one in tally.transits} == {(10 * MS, 20 * MS)}


@pytest.mark.parametrize("jump", [-SECOND, SECOND])
def test_a_reflector_whose_clock_is_set_while_it_answers_is_not_believed(jump: int):
    world = World(took=40 * MS, jump=jump)
    world.lend()
    assert {one.rtt for one in world.window(2).transits} == {60 * MS}

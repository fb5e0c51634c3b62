"""The Session-Reflector's rules: nothing for strangers, one answer a packet, RFC 8762's two ways of counting."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from collector.responder.stamp_sessions import BURST, RATE, REMEMBERED, Arrival, Reflector, Seen
from tests.support.lending import NOW, ledger
from tests.support.stamp_world import GOOD, lease
from wire import stamp
from wire.clock import SECOND
from wire.lease import Grant, proof
from wire.stamp import SenderPacket, Tlv, read_reflector, write_sender, write_tlvs
from wire.stamp_opening import (
    Asked,
    Challenge,
    Denied,
    How,
    Mode,
    Opened,
    context,
    read_told,
    session_key,
    write_asked,
)
from wire.udp_opening import Cookies

HERE = ("192.0.2.1", 40_000)
SSID = 7


class Hall:
    """A reflector and what one agent says to it."""

    def __init__(self, **more) -> None:
        self.now = NOW
        self.admission = ledger(**more)
        self.reflector = Reflector(self.admission, Cookies(b"c" * 32), lambda: self.now * 1000 + 5_000, lambda: GOOD)

    def hear(self, raw: bytes, place: tuple[str, int] = HERE) -> bytes | None:
        return self.reflector.hear(Arrival(raw, *place, self.now * 1000, 60, 28), self.now)

    def hello(self, grant: Grant, ssid: int = SSID, place: tuple[str, int] = HERE) -> bytes | None:
        return self.hear(write_asked(Asked(SenderPacket(1, 0, GOOD, ssid), grant.token)), place)

    def cookie(self, grant: Grant, ssid: int = SSID, place: tuple[str, int] = HERE) -> bytes:
        answer = self.hello(grant, ssid, place)
        assert answer is not None
        told = read_told(answer)[1]
        assert isinstance(told, Challenge)
        return told.cookie

    def opening(
        self, grant: Grant, cookie: bytes, ssid: int = SSID, mode: Mode = Mode.AUTHENTICATED, key: str = ""
    ) -> bytes:
        shown = proof(bytes.fromhex(key or grant.key), cookie, context(ssid, mode))
        return write_asked(Asked(SenderPacket(2, 0, GOOD, ssid), grant.token, cookie, shown, mode))

    def opened(
        self,
        grant: Grant,
        ssid: int = SSID,
        mode: Mode = Mode.AUTHENTICATED,
        place: tuple[str, int] = HERE,
        key: str = "",
    ):
        answer = self.hear(self.opening(grant, self.cookie(grant, ssid, place), ssid, mode, key), place)
        return None if answer is None else read_told(answer)[1]

    def packet(self, number: int, grant: Grant | None, ssid: int = SSID, more: bytes = b"") -> bytes:
        key = None if grant is None else session_key(bytes.fromhex(grant.key), ssid)
        return write_sender(SenderPacket(number, NOW * 1000, GOOD, ssid), key) + more

    def sequence(self, number: int, grant: Grant | None, ssid: int = SSID) -> int | None:
        """The reflector's number in its answer to a test packet."""
        key = None if grant is None else session_key(bytes.fromhex(grant.key), ssid)
        answer = self.hear(self.packet(number, grant, ssid))
        return None if answer is None else read_reflector(answer, key).sequence


@pytest.mark.parametrize("mode", [Mode(0), Mode.AUTHENTICATED])
def test_a_stateful_session_counts_what_it_reflects(mode):
    hall, grant = Hall(), lease()
    hall.opened(grant, mode=mode)
    shown = grant if mode else None
    assert [hall.sequence(number, shown) for number in (0, 1, 5, 3)] == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", [Mode.STATELESS, Mode.AUTHENTICATED | Mode.STATELESS])
def test_a_stateless_session_copies_the_senders_number(mode):
    hall, grant = Hall(), lease()
    hall.opened(grant, mode=mode)
    shown = grant if mode & Mode.AUTHENTICATED else None
    assert [hall.sequence(number, shown) for number in (0, 1, 5, 3)] == [0, 1, 5, 3]


def test_an_answer_says_when_the_packet_came_and_copies_what_the_sender_wrote():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    raw = hall.packet(9, grant)
    answer = read_reflector(hall.hear(raw) or b"", session_key(bytes.fromhex(grant.key), SSID))
    assert (answer.received, answer.time) == (NOW * 1000, NOW * 1000 + 5_000)
    assert (answer.sender_sequence, answer.sender_time, answer.sender_ttl) == (9, raw[16:24], 60)
    assert (answer.ssid, answer.error, answer.sender_error) == (SSID, GOOD, GOOD)


def test_tlvs_come_back_with_their_flags_and_the_answer_has_the_packets_length():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    raw = hall.packet(0, grant, more=write_tlvs([Tlv(1, b"x" * 20), Tlv(7, b"abc")]))
    answer = hall.hear(raw)
    assert answer is not None
    assert len(answer) == len(raw)
    assert [int(one.flags) for one in stamp.read_tlvs(answer, 112)] == [0, 0xA0]


def test_strangers_and_other_places_are_answered_by_nothing():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    assert hall.hear(hall.packet(0, grant), ("192.0.2.2", 40_000)) is None
    assert hall.hear(hall.packet(0, grant), ("192.0.2.1", 40_001)) is None
    assert hall.hear(hall.packet(0, grant, ssid=8)) is None
    assert hall.hear(hall.packet(0, None)) is None  # unauthenticated, to a session that is not
    assert hall.hear(hall.packet(0, lease())) is None  # another lease's key
    assert hall.hear(hall.packet(0, grant)) is not None


def test_a_number_is_reflected_once():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    raw = hall.packet(0, grant)
    assert hall.hear(raw) is not None
    assert hall.hear(raw) is None
    assert hall.sequence(1, grant) == 1


def test_a_forged_packet_does_not_use_up_its_number():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    forged = bytearray(hall.packet(0, grant))
    forged[-1] ^= 1
    assert hall.hear(bytes(forged)) is None
    assert hall.sequence(0, grant) == 0


def test_a_hello_needs_a_genuine_lease_and_is_answered_by_less():
    hall, grant = Hall(), lease()
    assert hall.hello(lease(secret=b"?" * 32)) is None
    assert hall.hello(lease(issued=NOW - 10 * SECOND, expires=NOW - 1)) is None
    answer = hall.hello(grant)
    assert answer is not None
    assert len(answer) < len(grant.token) + 48
    assert hall.reflector.sessions == 0
    assert not hall.admission.sessions


def test_an_opening_needs_the_cookie_of_its_own_place_and_time():
    hall, grant = Hall(), lease()
    cookie = hall.cookie(grant)
    assert hall.hear(hall.opening(grant, cookie), ("192.0.2.2", 40_000)) is None
    assert hall.hear(hall.opening(grant, cookie), ("192.0.2.1", 40_001)) is None
    assert hall.hear(hall.opening(grant, cookie, ssid=8)) is None
    assert hall.hear(hall.opening(grant, bytes(16))) is None
    hall.now += 25 * SECOND
    assert hall.hear(hall.opening(grant, cookie)) is None
    assert not hall.admission.counted.denied
    assert hall.reflector.sessions == 0


def test_an_opening_needs_the_leases_key_for_this_very_session():
    hall, grant = Hall(), lease()
    told = hall.opened(grant, key="00" * 32)
    assert isinstance(told, Denied)
    assert told.why == "bad_proof"
    cookie = hall.cookie(grant)
    shown = proof(bytes.fromhex(grant.key), cookie, context(SSID, Mode.AUTHENTICATED))
    other = write_asked(Asked(SenderPacket(2, 0, GOOD, SSID), grant.token, cookie, shown, Mode(0)))
    answer = hall.hear(other)
    assert answer is not None
    assert read_told(answer)[1] == Denied(cookie, "bad_proof")


def test_the_answer_to_an_opening_is_proven_and_repeated_when_it_was_lost():
    hall, grant = Hall(), lease()
    first, again = hall.opened(grant), hall.opened(grant)
    assert isinstance(first, Opened)
    assert isinstance(again, Opened)
    assert (first.how, again.how, first.epoch) == (How.NEW, How.CONTINUED, again.epoch)
    assert hall.admission.counted.opened == {"stamp": 1}
    hall.sequence(0, grant)
    assert hall.opened(grant).how is How.CONTINUED
    assert hall.sequence(1, grant) == 1


def test_another_mode_or_another_lease_at_the_same_place_is_another_session():
    hall, grant, other = Hall(), lease(), lease()
    first = hall.opened(grant)
    hall.sequence(0, grant)
    plain = hall.opened(grant, mode=Mode(0))
    assert (plain.how, plain.epoch == first.epoch) == (How.NEW, False)
    assert hall.sequence(0, None) == 0
    assert hall.opened(other).how is How.NEW
    assert hall.sequence(0, other) == 0
    assert hall.reflector.sessions == 1
    assert len(hall.admission.sessions) == 1


def test_the_same_lease_elsewhere_takes_the_session_along_with_a_new_count():
    hall, grant = Hall(), lease()
    before = hall.opened(grant)
    hall.sequence(0, grant)
    there = ("192.0.2.1", 50_000)
    after = hall.opened(grant, place=there)
    assert (after.how, after.epoch == before.epoch) == (How.NEW, False)
    assert hall.sequence(1, grant) is None
    assert hall.hear(hall.packet(1, grant), there) is not None
    assert len(hall.admission.sessions) == 1
    assert hall.reflector.sessions == 1


def test_a_renewed_session_stands_beside_the_old_one_for_a_while():
    hall, old, new = Hall(), lease(), lease()
    hall.opened(old)
    hall.opened(new, ssid=8)
    assert hall.sequence(0, old) == 0
    assert hall.sequence(0, new, ssid=8) == 0
    hall.now += 11 * SECOND
    assert hall.sequence(1, old) is None
    assert hall.sequence(1, new, ssid=8) == 1
    assert len(hall.admission.sessions) == 1


def test_a_session_ends_with_its_lease():
    hall, grant = Hall(), lease(hours=1)
    hall.opened(grant)
    hall.now += 3599 * SECOND
    assert hall.sequence(0, grant) == 0
    hall.now += SECOND
    assert hall.sequence(1, grant) is None
    assert hall.reflector.sessions == 0


def test_a_session_that_gave_way_is_silent():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    for one in list(hall.admission.sessions):
        hall.admission.close(one)
    assert hall.sequence(0, grant) is None
    assert hall.reflector.sessions == 0


def test_ten_a_second_are_reflected_for_ever_and_a_hundred_are_not():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    steady = 0
    for number in range(600):
        hall.now += SECOND // 10
        steady += hall.hear(hall.packet(number, grant)) is not None
    assert steady == 600
    fast = 0
    for number in range(600, 3600):
        hall.now += SECOND // 100
        fast += hall.hear(hall.packet(number, grant)) is not None
    assert fast <= 30 * RATE + BURST


def test_what_a_stalled_network_lets_go_at_once_is_reflected():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    assert [hall.sequence(number, grant) for number in range(BURST)] == list(range(BURST))


def test_no_key_shows_in_a_session():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    (session,) = hall.reflector._sessions.values()
    assert repr(session_key(bytes.fromhex(grant.key), SSID)) not in repr(session)


def test_what_it_costs_is_in_the_ledger():
    hall, grant = Hall(), lease()
    hall.opened(grant)
    for number in range(3):
        hall.hear(hall.packet(number, grant))
    (session,) = hall.admission.sessions
    assert (session.received, session.sent) == (3 * 140, 3 * 140)


def test_numbers_are_remembered_as_far_as_they_can_be_overtaken():
    seen = Seen()
    assert [seen.fresh(number) for number in (5, 5, 3, 3, 6, 5)] == [True, False, True, False, True, False]
    assert seen.fresh(REMEMBERED + 6)
    assert not seen.fresh(6)
    assert seen.fresh(7)
    assert seen.fresh(2**32 - 1)
    assert not seen.fresh(REMEMBERED + 6)


def test_numbers_agree_with_a_set():
    dice, seen = random.Random(4), Seen()
    model: set[int] = set()
    for _ in range(3000):
        number = dice.randrange(max(0, len(model) - 500), len(model) + 30)
        if max(model, default=0) - number < REMEMBERED:
            assert seen.fresh(number) == (number not in model)
            model.add(number)


def test_a_flood_from_invented_addresses_is_answered_by_nothing_and_remembered_nowhere():
    hall, grant, dice = Hall(), lease(), random.Random(1)
    hall.opened(grant)
    kinds = [
        lambda: dice.randbytes(dice.randrange(200)),
        lambda: hall.packet(dice.randrange(9), grant),
        lambda: hall.packet(0, None, ssid=SSID),
        lambda: write_asked(Asked(SenderPacket(1, 0, GOOD, 3), lease(secret=b"?" * 32).token)),
        lambda: hall.opening(grant, dice.randbytes(16)),
    ]
    for number in range(5_000):
        place = (f"198.51.{number % 250}.{number % 199}", 1024 + number)
        assert hall.hear(kinds[number % len(kinds)](), place) is None
    assert hall.reflector.sessions == 1
    assert hall.admission.counts().denied == {}
    assert hall.sequence(0, grant) == 0


class Openings(RuleBasedStateMachine):
    """Whoever opens, moves, lets time pass or sends: no session beyond the ledger's, no answer longer than its packet,
    numbers of a session's own without a gap."""

    def __init__(self) -> None:
        super().__init__()
        self.hall = Hall(sessions=3)
        self.leases = [lease(hours=1) for _ in range(4)]
        self.counts: dict[bytes, int] = {}
        self.epochs: dict[tuple[int, int, int], bytes] = {}
        self.numbers: dict[bytes, int] = {}

    @rule(which=st.integers(0, 3), port=st.integers(1, 3), ssid=st.integers(1, 2))
    def open(self, which: int, port: int, ssid: int) -> None:
        place = ("192.0.2.1", port)
        if self.hall.hello(self.leases[which], ssid, place) is None:
            return
        told = self.hall.opened(self.leases[which], ssid, place=place)
        if isinstance(told, Opened):
            assert (told.how is How.NEW) == (told.epoch not in self.counts)
            self.counts.setdefault(told.epoch, 0)
            self.epochs[which, port, ssid] = told.epoch

    @rule(which=st.integers(0, 3), port=st.integers(1, 3), ssid=st.integers(1, 2))
    def send(self, which: int, port: int, ssid: int) -> None:
        epoch = self.epochs.get((which, port, ssid), b"")
        number = self.numbers.get(epoch, 0)
        self.numbers[epoch] = number + 1
        raw = self.hall.packet(number, self.leases[which], ssid)
        answer = self.hall.hear(raw, ("192.0.2.1", port))
        if answer is not None:
            assert len(answer) == len(raw)
            key = session_key(bytes.fromhex(self.leases[which].key), ssid)
            assert read_reflector(answer, key).sequence == self.counts[epoch]
            self.counts[epoch] += 1

    @rule(seconds=st.sampled_from([1, 15, 70, 3600]))
    def wait(self, seconds: int) -> None:
        self.hall.now += seconds * SECOND

    @invariant()
    def bounded(self) -> None:
        assert len(self.hall.admission.sessions) <= 3
        live = [one for one in self.hall.reflector._sessions.values() if not one.over(self.hall.now)]
        assert len(live) <= 3
        assert self.hall.reflector.sessions <= 6


Openings.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOpenings = Openings.TestCase

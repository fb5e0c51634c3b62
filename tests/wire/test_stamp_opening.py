"""The words of an opening: read as written, refused when they are anything else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stamp_world import GOOD, lease
from wire import stamp
from wire.lease import Grant, proof
from wire.stamp import SenderPacket, Tlv, TlvType
from wire.stamp_opening import (
    Asked,
    BadOpening,
    Challenge,
    Denied,
    How,
    Mode,
    Opened,
    Opening,
    is_opening,
    opened_context,
    read_asked,
    read_told,
    session_key,
    write_asked,
    write_told,
)

TOKEN = "head.tail"
SENDER = SenderPacket(3, 1_600_000_000_000_000_000, GOOD, 9)


def answer(number: int, ssid: int = 9) -> stamp.ReflectorPacket:
    return stamp.ReflectorPacket(number, 0, GOOD, ssid, 0, number, bytes(8), GOOD, 60)


cookies = st.binary(min_size=16, max_size=16)


@given(cookies, cookies, st.sampled_from([Mode(n) for n in range(4)]))
def test_openings_are_read_as_they_were_written(cookie, shown, mode):
    hello = Asked(SENDER, TOKEN)
    assert read_asked(write_asked(hello)) == hello
    opening = Asked(SENDER, TOKEN, cookie, shown, mode)
    assert read_asked(write_asked(opening)) == opening
    assert is_opening(write_asked(hello))
    assert is_opening(write_asked(opening))


@given(
    st.builds(Challenge, cookies)
    | st.builds(Opened, st.sampled_from(How), st.binary(min_size=8, max_size=8), cookies)
    | st.builds(Denied, cookies, st.sampled_from(["busy", "expired", ""]))
)
def test_answers_are_read_as_they_were_written(told):
    packet, found = read_told(write_told(answer(3), told))
    assert (found, packet.sender_sequence) == (told, 3)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw):
    for head in (b"", stamp.write_sender(SENDER), stamp.write_reflector(answer(3))):
        for read in (read_asked, read_told):
            with contextlib.suppress(BadOpening):
                read(head + raw)


@pytest.mark.parametrize("key", [None, b"k" * 32])
def test_no_test_packet_is_taken_for_an_opening(key):
    raw = stamp.write_sender(SENDER, key)
    assert not is_opening(raw)
    assert not is_opening(raw + stamp.write_tlvs([Tlv(TlvType.EXTRA_PADDING, b"x" * 60)]))
    assert not is_opening(stamp.write_sender(SENDER) + stamp.write_tlvs([Tlv(TlvType.LEASE, b"x" * 1200)]))


def test_every_session_has_a_key_of_its_own():
    assert len({session_key(bytes([one]) * 32, ssid) for one in range(3) for ssid in range(3)}) == 9


def begun() -> tuple[Grant, Opening]:
    grant = lease()
    opening = Opening(grant.token, bytes.fromhex(grant.key), 9, 0)
    return grant, opening


def said(raw: bytes | None) -> Asked:
    assert raw is not None
    return read_asked(raw)


def test_the_sender_shows_the_cookie_and_believes_only_a_proven_answer():
    grant, opening = begun()
    hello = said(opening.due(0, 0, GOOD))
    assert not hello.cookie
    assert opening.due(100_000_000, 0, GOOD) is None
    cookie = b"c" * 16
    assert not opening.hear(write_told(answer(hello.packet.sequence + 1), Challenge(cookie)), 0)
    assert not opening.hear(write_told(answer(hello.packet.sequence, 8), Challenge(cookie)), 0)
    assert opening.hear(write_told(answer(hello.packet.sequence), Challenge(cookie)), 1)
    shown = said(opening.due(1, 0, GOOD))
    assert shown.cookie == cookie
    forged = Opened(How.NEW, b"e" * 8, bytes(16))
    opening.hear(write_told(answer(shown.packet.sequence), forged), 2)
    opening.hear(write_told(answer(shown.packet.sequence), Denied(bytes(16), "busy")), 2)
    assert (opening.opened, opening.denied) == (None, "")
    right = proof(bytes.fromhex(grant.key), cookie, opened_context(cookie, 9, How.NEW, b"e" * 8))
    genuine = Opened(How.NEW, b"e" * 8, right)
    opening.hear(write_told(answer(shown.packet.sequence), genuine), 2)
    assert opening.opened == genuine
    assert opening.due(10**12, 0, GOOD) is None


def test_a_denial_shows_the_cookie():
    _, opening = begun()
    hello = said(opening.due(0, 0, GOOD))
    opening.hear(write_told(answer(hello.packet.sequence), Denied(bytes(16), "busy")), 0)
    assert opening.due(1, 0, GOOD) is None
    opening.hear(write_told(answer(hello.packet.sequence), Challenge(b"c" * 16)), 1)
    shown = said(opening.due(1, 0, GOOD))
    opening.hear(write_told(answer(shown.packet.sequence), Denied(b"c" * 16, "busy")), 2)
    assert opening.denied == "busy"


def test_a_cookie_that_opens_nothing_is_asked_for_anew():
    _, opening = begun()
    hello = said(opening.due(0, 0, GOOD))
    opening.hear(write_told(answer(hello.packet.sequence), Challenge(b"c" * 16)), 0)
    now, asked = 0, []
    for _ in range(6):
        asked.append(bool(said(opening.due(now, 0, GOOD)).cookie))
        now = opening.wake()
    assert asked == [True, True, True, True, False, False]

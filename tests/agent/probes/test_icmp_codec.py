"""Bytes of echoes and errors, from captured packets and from anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probes.icmp import codec
from agent.probes.icmp.codec import ExtendedError, Family, Quoted, Reply
from wire.reasons import Reason

TOKEN = b"PHROMTOK"
FAMILIES = st.sampled_from(Family)

# Captured from Linux 6.18: what ping sockets received for the request number 0x10005 with this token, and what their
# error queues held when a router (10.1.1.2, fd01::2) reported a spent hop limit and a missing route.
REPLY_4 = bytes.fromhex("00006e73524a00055048524f4d544f4b00000000000100050000000000000000")
REPLY_6 = bytes.fromhex("8100f30c524e00055048524f4d544f4b00000000000100050000000000000000")
QUOTED_4 = bytes.fromhex("08006671524c00055048524f4d544f4b00000000000100050000000000000000")
QUOTED_6 = bytes.fromhex("8000f40a525000055048524f4d544f4b00000000000100050000000000000000")
EXPIRED_4 = bytes.fromhex("71000000020b00000000000000000000020000000a0101020000000000000000")
EXPIRED_6 = bytes.fromhex("710000000303000000000000000000000a00000000000000fd01000000000000000000000000000200000000")
NO_ROUTE_4 = bytes.fromhex("65000000020300000000000000000000020000000a0101020000000000000000")
NO_ROUTE_6 = bytes.fromhex("650000000301000000000000000000000a00000000000000fd01000000000000000000000000000200000000")
SENT_STAMP = bytes.fromhex("2a00000004000000010000000000000000000000000000000000000000000000")


def test_reads_captured_replies() -> None:
    assert codec.reply(Family.V4, REPLY_4, TOKEN) == Reply(number=0x10005, sequence=5)
    assert codec.reply(Family.V6, REPLY_6, TOKEN) == Reply(number=0x10005, sequence=5)
    assert codec.checksum(REPLY_4) == 0


def test_reads_captured_errors() -> None:
    assert codec.quoted(Family.V4, QUOTED_4, TOKEN, 0x524C) == Quoted(5, 0x10005)
    assert codec.quoted(Family.V6, QUOTED_6, TOKEN, 0x5250) == Quoted(5, 0x10005)
    assert codec.extended_error(EXPIRED_4) == ExtendedError(errno=113, origin=2, type=11, code=0)
    assert codec.extended_error(EXPIRED_6) == ExtendedError(errno=113, origin=3, type=3, code=0)
    assert codec.extended_error(SENT_STAMP) == ExtendedError(errno=42, origin=4, type=0, code=0)


@pytest.mark.parametrize(
    ("origin", "kind", "code", "reason"),
    [
        (2, 3, 0, Reason.NO_ROUTE),
        (2, 3, 1, Reason.HOST_UNREACHABLE),
        (2, 3, 3, Reason.HOST_UNREACHABLE),
        (2, 3, 9, Reason.PROHIBITED),
        (2, 3, 13, Reason.PROHIBITED),
        (2, 11, 0, Reason.HOST_UNREACHABLE),
        (3, 1, 0, Reason.NO_ROUTE),
        (3, 1, 1, Reason.PROHIBITED),
        (3, 1, 3, Reason.HOST_UNREACHABLE),
        (3, 1, 5, Reason.PROHIBITED),
        (3, 3, 0, Reason.HOST_UNREACHABLE),
        (1, 0, 0, Reason.HOST_UNREACHABLE),
    ],
)
def test_codes_of_errors_have_reasons(origin: int, kind: int, code: int, reason: Reason) -> None:
    assert codec.reason_of(ExtendedError(113, origin, kind, code)) is reason


def test_captured_missing_routes_have_their_reason() -> None:
    for captured in (NO_ROUTE_4, NO_ROUTE_6):
        error = codec.extended_error(captured)
        assert error is not None
        assert codec.reason_of(error) is Reason.NO_ROUTE


@given(st.binary(max_size=200))
def test_the_checksum_is_the_sum_of_words_with_end_around_carry(data: bytes) -> None:
    """RFC 1071 section 4.1, word by word."""
    even = data + b"\0" * (len(data) % 2)
    total = sum(even[position] << 8 | even[position + 1] for position in range(0, len(even), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert codec.checksum(data) == 0xFFFF - total


@given(FAMILIES, st.integers(0, 0xFFFF), st.integers(0, 2**64 - 1), st.integers(16, 1472))
def test_a_mirrored_request_is_a_reply(family: Family, identifier: int, number: int, size: int) -> None:
    sent = codec.request(family, identifier, number, TOKEN, size)
    assert len(sent) == 8 + size
    assert family is Family.V6 or codec.checksum(sent) == 0
    mirrored = bytes([codec.ECHO_REPLY[family]]) + sent[1:]
    assert codec.reply(family, mirrored, TOKEN) == Reply(number, number & 0xFFFF)
    assert codec.reply(family, mirrored, b"anothers") is None
    assert codec.quoted(family, sent, TOKEN, identifier) == Quoted(number & 0xFFFF, number)
    assert codec.quoted(family, sent[:8], TOKEN, identifier) == Quoted(number & 0xFFFF, None)
    assert codec.quoted(family, sent, TOKEN, identifier ^ 1) is None


@pytest.mark.parametrize("size", [15, 1473])
def test_sizes_beyond_what_fits_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"found {size}, expected 16 to 1472 bytes"):
        codec.request(Family.V4, 1, 1, TOKEN, size)


@given(FAMILIES, st.binary(max_size=96))
def test_anything_may_arrive(family: Family, data: bytes) -> None:
    assert codec.reply(family, data, TOKEN) is None or TOKEN in data
    codec.quoted(family, data, TOKEN, 1)
    codec.extended_error(data)
    inner = codec.without_ip_header(data)
    assert inner is None or len(inner[0]) <= len(data) - 20


@given(st.binary(max_size=80), st.integers(5, 15))
def test_the_ip_header_comes_off_with_its_options(message: bytes, words: int) -> None:
    packet = bytes([0x40 | words]) + bytes(7) + bytes([64]) + bytes(words * 4 - 9) + message
    assert codec.without_ip_header(packet) == (message, 64)
    assert codec.without_ip_header(packet[: words * 4 - 1]) is None


@given(st.integers(0, 2**40), st.integers(0, 0xFFFF))
def test_the_sequence_unwraps_to_the_newest_number_it_fits(newest: int, back: int) -> None:
    number = newest - back
    assert codec.number_near(number & 0xFFFF, newest) == number


def test_the_sequence_unwraps_around_its_end() -> None:
    assert codec.number_near(0xFFFF, 0x10000) == 0xFFFF
    assert codec.number_near(0, 0x10000) == 0x10000
    assert codec.number_near(5, 3) < 0

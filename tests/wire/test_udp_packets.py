"""Packets of light and call tests: every one survives the wire, and nothing else is taken for one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import udp_tests
from wire.lease import CHALLENGE_BYTES, LONGEST_TOKEN, PROOF_BYTES
from wire.udp_tests import (
    LARGEST,
    MOST_ENTRIES,
    SIZES,
    Arrivals,
    Ask,
    Challenge,
    Data,
    Denied,
    Done,
    End,
    Hello,
    Malformed,
    Open,
    Opened,
    Packet,
    Plan,
    Report,
    decode,
    encode,
    overhead,
    read_plan,
)

EIGHT = st.binary(min_size=8, max_size=8)
WORD = st.integers(0, 2**32 - 1)
LONG = st.integers(0, 2**64 - 1)
BYTE = st.integers(0, 255)
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=LONGEST_TOKEN)
PACKETS = st.one_of(
    st.builds(Hello, EIGHT, TEXT),
    st.builds(Challenge, EIGHT, st.binary(min_size=CHALLENGE_BYTES, max_size=CHALLENGE_BYTES)),
    st.builds(
        Open,
        EIGHT,
        st.binary(min_size=CHALLENGE_BYTES, max_size=CHALLENGE_BYTES),
        st.binary(min_size=PROOF_BYTES, max_size=PROOF_BYTES),
        st.binary(max_size=200),
        TEXT,
    ),
    st.builds(Opened, EIGHT, EIGHT, LONG, LONG),
    st.builds(Denied, EIGHT, TEXT),
    st.builds(Data, EIGHT, WORD, LONG, BYTE),
    st.builds(Report, EIGHT, BYTE, BYTE, BYTE, WORD, WORD, LONG, WORD, WORD, WORD, WORD, LONG, LONG, LONG, LONG),
    st.builds(Done, EIGHT, BYTE, BYTE, WORD, LONG, LONG),
    st.builds(Ask, EIGHT, WORD),
    st.builds(Arrivals, EIGHT, WORD, WORD, st.lists(st.tuples(WORD, WORD), max_size=MOST_ENTRIES).map(tuple)),
    st.builds(End, EIGHT),
)


@given(PACKETS, st.integers(0, LARGEST))
def test_a_packet_survives_the_wire_with_any_padding(packet: Packet, length: int):
    raw = encode(packet, length)
    assert len(raw) >= length
    assert decode(raw) == packet


@given(st.binary(max_size=LARGEST + 10))
def test_any_bytes_are_a_packet_or_malformed(raw: bytes):
    with contextlib.suppress(Malformed):
        decode(raw)


@given(st.binary(max_size=60), st.integers(0, 14))
def test_any_bytes_under_our_own_head_are_a_packet_or_malformed(rest: bytes, kind: int):
    try:
        found = decode(b"PhU" + bytes([kind]) + rest)
    except Malformed:
        return
    assert type(found) in udp_tests._KIND_OF


@given(PACKETS.filter(lambda one: not isinstance(one, End | Data)), st.data())
def test_a_packet_cut_off_is_malformed(packet: Packet, data: st.DataObject):
    raw = encode(packet)
    with pytest.raises(Malformed):
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_another_protocol_s_packet_is_malformed():
    with pytest.raises(Malformed, match=r"^found another protocol's packet$"):
        decode(b"\x00\x01" + bytes(30))


def test_a_packet_longer_than_any_of_ours_is_malformed():
    raw = encode(End(b"session!"), LARGEST)
    assert decode(raw) == End(b"session!")
    with pytest.raises(Malformed, match=r"^found 1473 bytes, expected at most 1472$"):
        decode(raw + b"\0")


def test_every_packet_but_the_opening_fits_the_smallest_size():
    smallest = SIZES[-1] - 48
    whole = Arrivals(b"session!", 10**6, 0, ((2**32 - 1, 2**32 - 1),) * MOST_ENTRIES)
    assert len(encode(whole)) <= smallest
    longest = Open(b"n" * 8, bytes(CHALLENGE_BYTES), bytes(PROOF_BYTES), bytes(160), "t" * LONGEST_TOKEN)
    assert len(encode(longest)) <= smallest


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"test":"full","payload":1372}', "Invalid enum value 'full' - at `$.test`"),
        (b'{"test":"light","payload":1473}', "Expected `int` <= 1472 - at `$.payload`"),
        (b'{"test":"light","payload":100}', "Expected `int` >= 512 - at `$.payload`"),
        (b'{"test":"call","payload":1372,"seconds":61}', "Expected `float` <= 60.0 - at `$.seconds`"),
        (b'{"test":"call","payload":1372,"down":-1}', "Expected `int` >= 0 - at `$.down`"),
        (b"\xff", "JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_a_plan_out_of_bounds_is_malformed(raw: bytes, words: str):
    with pytest.raises(Malformed) as told:
        read_plan(raw)
    assert str(told.value) == f"plan: {words}"


@given(st.binary(max_size=100))
def test_any_bytes_are_a_plan_or_malformed(raw: bytes):
    with contextlib.suppress(Malformed):
        assert isinstance(read_plan(raw), Plan)


@pytest.mark.parametrize(
    ("address", "headers"),
    [("192.0.2.1", 28), ("2001:db8::1", 48), ("::ffff:192.0.2.1", 28), ("fe80::1%eth0", 48)],
)
def test_the_headers_of_a_packet_are_those_of_its_family(address: str, headers: int):
    assert overhead(address) == headers

"""STUN messages: the RFC's own vectors, round trips, and arbitrary bytes."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.probes.stun.codec import (
    BINDING,
    COOKIE,
    Attribute,
    Endpoint,
    Kind,
    MalformedStun,
    Message,
    decode,
    encode,
    error_code,
    mapped_address,
    xor_mapped,
)

# RFC 5769, section 2.2 (IPv4) and 2.3 (IPv6): sample responses, with FINGERPRINT
IPV4_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
IPV6_RESPONSE = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa"
    "a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)

transactions = st.binary(min_size=12, max_size=12)
values = st.binary(max_size=40)
kinds = st.integers(0, 0xFFFF).filter(lambda kind: kind != Attribute.FINGERPRINT)
messages = st.builds(
    Message, st.sampled_from(Kind), st.integers(0, 0xFFF), transactions, st.lists(st.tuples(kinds, values)).map(tuple)
)
endpoints = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 65_535))


def test_the_rfcs_sample_responses():
    for data, address in ((IPV4_RESPONSE, "192.0.2.1"), (IPV6_RESPONSE, "2001:db8:1234:5678:11:2233:4455:6677")):
        message = decode(data)
        assert (message.kind, message.method) == (Kind.SUCCESS, BINDING)
        assert message.first(Attribute.SOFTWARE) == b"test vector"
        assert mapped_address(message) == Endpoint(ipaddress.ip_address(address), 32853)


@given(messages, st.booleans())
def test_what_is_encoded_decodes_to_the_same(message, fingerprint):
    decoded = decode(encode(message, fingerprint=fingerprint))
    attributes = decoded.attributes[:-1] if fingerprint else decoded.attributes
    assert decoded._replace(attributes=attributes) == message


@given(endpoints, transactions)
def test_a_mapped_address_survives_the_xor(endpoint, transaction):
    attributes = ((Attribute.XOR_MAPPED_ADDRESS, xor_mapped(endpoint, transaction)),)
    assert mapped_address(Message(Kind.SUCCESS, BINDING, transaction, attributes)) == endpoint


def test_a_plain_mapped_address_of_an_old_server():
    value = bytes.fromhex("00010050c0000201")
    message = Message(Kind.SUCCESS, BINDING, bytes(12), ((Attribute.MAPPED_ADDRESS, value),))
    assert mapped_address(message) == Endpoint(ipaddress.ip_address("192.0.2.1"), 80)


def looked_at(data: bytes) -> None:
    """Everything the probe does with bytes from outside."""
    try:
        message = decode(data)
        mapped_address(message)
        error_code(message)
    except MalformedStun:
        pass


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(20))
def test_arbitrary_bytes_raise_only_the_named_error(data):
    looked_at(data)


@given(messages, st.integers(0, 300), st.integers(0, 255), st.booleans())
def test_a_damaged_message_raises_only_the_named_error(message, at, byte, fingerprint):
    data = bytearray(encode(message, fingerprint=fingerprint))
    data[at % len(data)] = byte
    looked_at(bytes(data))
    looked_at(bytes(data[: at % len(data)]))


@given(transactions, st.sampled_from(Attribute), values)
def test_any_value_of_an_attribute_we_read_raises_only_the_named_error(transaction, kind, value):
    looked_at(encode(Message(Kind.ERROR, BINDING, transaction, ((kind, value),))))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"x", "found 1 bytes, expected a header of 20"),
        (bytes([0x80]) + bytes(19), "first bits: found 10, expected 00"),
        (bytes(20), "magic cookie: found 00000000, expected 2112a442"),
        (IPV4_RESPONSE[:-4], "length: found 60, expected 56 and a multiple of 4"),
        (
            encode(Message(Kind.SUCCESS, BINDING, bytes(12)))[:2]
            + b"\0\4"
            + COOKIE.to_bytes(4)
            + bytes(12)
            + b"\0\1\0\5",
            "attribute 0001 at 20: found a length of 5 beyond the message's end",
        ),
        (IPV4_RESPONSE[:-1] + b"\0", "FINGERPRINT: found c07d4c00, expected c07d4c96"),
    ],
)
def test_the_error_says_what_was_found(data, text):
    with pytest.raises(MalformedStun) as caught:
        decode(data)
    assert str(caught.value) == text


def test_error_codes():
    value = bytes([0, 0, 4, 20]) + b"Unknown Attribute"
    message = Message(Kind.ERROR, BINDING, bytes(12), ((Attribute.ERROR_CODE, value),))
    assert error_code(message) == (420, "Unknown Attribute")
    with pytest.raises(MalformedStun, match="found class 7 and number 0"):
        error_code(message._replace(attributes=((Attribute.ERROR_CODE, bytes([0, 0, 7, 0])),)))

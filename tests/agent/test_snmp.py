"""The SNMP codec: against bytes that net-snmp wrote, and whatever else may come."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.snmp import BadSnmp, SnmpError, get, read

REQUEST = bytes.fromhex("302c02010104067075626c6963a01f020465f6c9f30201000201003011300f060b2b060102011f01010106010500")
RESPONSE = bytes.fromhex(
    "303102010104067075626c6963a224020465f6c9f302010002010030163014060b2b060102011f010101060146050ac1e86f65"
)
"""Captured from net-snmp 5.9: snmpget of ifHCInOctets.1, and the answer of snmpd."""
NAME = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 6, 1)


def response(request: int, names: list[tuple[int, ...]], error: int = 0, tag: int = 0xA2) -> bytes:
    """A GET made into the answer with nothing in it."""
    data = bytearray(get("public", request, names))
    data[data.index(b"public") + 6] = tag
    if error:
        at = data.index(b"\x02\x01\x00\x02\x01\x00")
        data[at + 2] = error
    return bytes(data)


def test_counter_of_64_bits() -> None:
    assert read(RESPONSE) == (0x65F6C9F3, [(NAME, 46_202_908_517)])


def test_request_is_as_net_snmp_writes_it() -> None:
    assert get("public", 0x65F6C9F3, [NAME]) == REQUEST
    assert get("public", 0x65F6C9F3, [NAME], following=True)[13] == 0xA1


def test_object_that_is_not_there_is_nothing() -> None:
    assert read(response(7, [NAME])) == (7, [(NAME, None)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "found the end in the middle of an element"),
        (response(7, [NAME])[:-1], "expected"),
        (response(7, [NAME]) + b"x", "found more bytes than the message says"),
        (get("public", 7, [NAME]), "found tag 0xa0, expected 0xa2"),
        (b"\x30\x80\x00\x00", "found length octet 0x80"),
        (bytes.fromhex("3003020100"), "found SNMP version 0, expected 1 \\(2c\\)"),
        (bytes(9000), "found 9000 bytes, expected at most 8192"),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadSnmp, match=words):
        read(data)


def test_error_of_the_router_is_told() -> None:
    with pytest.raises(SnmpError, match=r"^the router answers with error 16 for object 0$"):
        read(response(7, [NAME], error=16))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises((BadSnmp, SnmpError)):
        read(data)


@given(st.integers(0, len(RESPONSE) - 1), st.integers(0, 255))
def test_one_wrong_byte_is_read_or_refused(at: int, byte: int) -> None:
    data = bytearray(RESPONSE)
    data[at] = byte
    with contextlib.suppress(BadSnmp, SnmpError):
        read(bytes(data))


OIDS = st.tuples(st.integers(0, 2), st.integers(0, 39)).flatmap(
    lambda head: st.lists(st.integers(0, 2**32 - 1), max_size=12).map(lambda rest: (*head, *rest))
)


@given(st.integers(0, 2**31 - 1), st.lists(OIDS, max_size=20))
def test_names_and_ids_survive(request_id: int, names: list[tuple[int, ...]]) -> None:
    assert read(response(request_id, names)) == (request_id, [(name, None) for name in names])

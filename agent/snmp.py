"""SNMP version 2c as far as counters of a router need it: GET and GETNEXT (RFC 1901, RFC 3416) in BER (X.690). Sans-IO.

Written here because the well-kept libraries weigh more than the agent (pysnmp brings a compiler of MIBs); two requests
and six types are all that is asked.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

Oid = tuple[int, ...]
Value = int | bytes | Oid | None
"""A number, a text's bytes, an object's name; ``None`` for null, no such object, no such instance and the end."""

_SEQUENCE, _INTEGER, _OCTETS, _NULL, _OID = 0x30, 0x02, 0x04, 0x05, 0x06
_COUNTER32, _GAUGE32, _TICKS, _COUNTER64 = 0x41, 0x42, 0x43, 0x46
_GET, _GET_NEXT, _RESPONSE = 0xA0, 0xA1, 0xA2
_NUMBERS = frozenset({_INTEGER, _COUNTER32, _GAUGE32, _TICKS, _COUNTER64})
_NOTHING = frozenset({_NULL, 0x80, 0x81, 0x82})
_VERSION_2C = 1
LARGEST = 8192
"""Bytes of an answer that is read."""


class BadSnmp(ValueError):
    """Bytes that are no SNMP answer."""


class SnmpError(Exception):
    """The router answered with an error (RFC 3416 section 3: 1 = too big, 5 = general, 16 = authorisation)."""


class Answer(NamedTuple):
    """A response, each object with its value."""

    request: int
    values: list[tuple[Oid, Value]]


def get(community: str, request: int, names: Sequence[Oid], *, following: bool = False) -> bytes:
    """A GET request, or with ``following`` a GETNEXT. ``request`` is its id, 0 to 2^31 − 1."""
    bindings = b"".join(_tlv(_SEQUENCE, _oid(name) + _tlv(_NULL, b"")) for name in names)
    pdu = _int(request) + _int(0) + _int(0) + _tlv(_SEQUENCE, bindings)
    message = _int(_VERSION_2C) + _tlv(_OCTETS, community.encode()) + _tlv(_GET_NEXT if following else _GET, pdu)
    return _tlv(_SEQUENCE, message)


def read(data: bytes) -> Answer:
    """Reads a response; raises :class:`BadSnmp`, or :class:`SnmpError` for one that says what is wrong."""
    if len(data) > LARGEST:
        raise BadSnmp(f"found {len(data)} bytes, expected at most {LARGEST}")
    message = _Reader(_only(data, _SEQUENCE))
    version = message.int()
    if version != _VERSION_2C:
        raise BadSnmp(f"found SNMP version {version}, expected {_VERSION_2C} (2c)")
    message.take(_OCTETS)
    pdu = _Reader(message.take(_RESPONSE))
    message.end()
    request, error, index = pdu.int(), pdu.int(), pdu.int()
    bindings = _Reader(pdu.take(_SEQUENCE))
    pdu.end()
    if error:
        raise SnmpError(f"the router answers with error {error} for object {index}")
    return Answer(request, list(_bindings(bindings)))


def _bindings(reader: "_Reader") -> Iterator[tuple[Oid, Value]]:
    while reader.left:
        one = _Reader(reader.take(_SEQUENCE))
        name = _read_oid(one.take(_OID))
        tag, body = one.next()
        one.end()
        yield name, _value(tag, body)


def _value(tag: int, body: bytes) -> Value:
    if tag in _NOTHING:
        return None
    if tag in _NUMBERS:
        return _number(body, signed=tag == _INTEGER)
    if tag == _OCTETS:
        return body
    return _read_oid(body) if tag == _OID else None


class _Reader:
    """Takes one element after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def next(self) -> tuple[int, bytes]:
        tag, start, end = _element(self._data, self._at)
        self._at = end
        return tag, self._data[start:end]

    def take(self, wanted: int) -> bytes:
        tag, body = self.next()
        if tag != wanted:
            raise BadSnmp(f"found tag 0x{tag:02x}, expected 0x{wanted:02x}")
        return body

    def int(self) -> int:
        return _number(self.take(_INTEGER), signed=True)

    def end(self) -> None:
        if self.left:
            raise BadSnmp("found more bytes than the message says")


def _only(data: bytes, wanted: int) -> bytes:
    reader = _Reader(data)
    body = reader.take(wanted)
    reader.end()
    return body


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, and where the body begins and ends."""
    if at + 2 > len(data):
        raise BadSnmp("found the end in the middle of an element")
    tag, length, start = data[at], data[at + 1], at + 2
    if length == 0x80 or length > 0x84:
        raise BadSnmp(f"found length octet 0x{length:02x}, expected a definite length of at most four octets")
    if length > 0x80:
        many = length - 0x80
        length = int.from_bytes(data[start : start + many], "big")
        start += many
    if start + length > len(data):
        raise BadSnmp(f"found {len(data) - start} bytes, expected {length}")
    return tag, start, start + length


def _number(body: bytes, *, signed: bool) -> int:
    if not 1 <= len(body) <= 9:
        raise BadSnmp(f"found a number of {len(body)} octets, expected 1 to 9")
    return int.from_bytes(body, "big", signed=signed)


def _read_oid(body: bytes) -> Oid:
    if not body or body[-1] & 0x80 or len(body) > 256:
        raise BadSnmp("found no object identifier")
    numbers: list[int] = []
    number = 0
    for octet in body:
        number = number << 7 | octet & 0x7F
        if number >> 32:
            raise BadSnmp("found an object identifier with a number of more than 32 bits")
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return (first, numbers[0] - 40 * first, *numbers[1:])


def _oid(name: Oid) -> bytes:
    body = bytearray()
    for number in (name[0] * 40 + name[1], *name[2:]):
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(number & 0x7F | 0x80)
        body += bytes(reversed(septets))
    return _tlv(_OID, bytes(body))


def _int(number: int) -> bytes:
    return _tlv(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def _tlv(tag: int, body: bytes) -> bytes:
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body

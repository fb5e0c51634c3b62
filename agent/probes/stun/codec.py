"""STUN messages (RFC 8489): bytes to messages and back, without I/O.

Only what a Binding needs: the header (section 5), XOR-MAPPED-ADDRESS (14.2) and MAPPED-ADDRESS (14.1, old servers),
ERROR-CODE (14.8) and FINGERPRINT (14.7). :class:`MalformedStun` is the only error any bytes can cause.
"""

import ipaddress
import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

COOKIE = 0x2112A442
BINDING = 1
HEADER = 20
_XOR_FINGERPRINT = 0x5354554E


class Kind(IntEnum):
    """The class of a message (RFC 8489, section 5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class Attribute(IntEnum):
    """Attribute types that we read (RFC 8489, section 18.3)."""

    MAPPED_ADDRESS = 0x0001
    ERROR_CODE = 0x0009
    XOR_MAPPED_ADDRESS = 0x0020
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028


class MalformedStun(Exception):
    """Bytes that are no STUN message, or a message that contradicts the RFC; the text says where."""


class Message(NamedTuple):
    """A message: its class, method, 12-byte transaction id and attributes in order (unknown types included)."""

    kind: Kind
    method: int
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...] = ()

    def first(self, kind: int) -> bytes | None:
        """The value of the first attribute of a type; RFC 8489 has later ones ignored."""
        return next((value for found, value in self.attributes if found == kind), None)


class Endpoint(NamedTuple):
    """An IP address and port as the server saw us."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int


def encode(message: Message, *, fingerprint: bool = False) -> bytes:
    """The bytes of a message; ``fingerprint`` appends FINGERPRINT, which tells STUN from other packets on a port."""
    body = bytearray()
    for kind, value in message.attributes:
        body += struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
    length = len(body) + (8 if fingerprint else 0)
    head = struct.pack("!HHI", _type(message.kind, message.method), length, COOKIE) + message.transaction
    whole = bytes(head + body)
    if fingerprint:
        check = zlib.crc32(whole) ^ _XOR_FINGERPRINT
        whole += struct.pack("!HHI", Attribute.FINGERPRINT, 4, check)
    return whole


def decode(data: bytes) -> Message:
    """The message in a datagram; raises :class:`MalformedStun`, also for a FINGERPRINT that does not match."""
    if len(data) < HEADER:
        raise MalformedStun(f"found {len(data)} bytes, expected a header of {HEADER}")
    kind, length, cookie = struct.unpack_from("!HHI", data)
    if kind & 0xC000:
        raise MalformedStun(f"first bits: found {kind >> 14:02b}, expected 00")
    if cookie != COOKIE:
        raise MalformedStun(f"magic cookie: found {cookie:08x}, expected {COOKIE:08x}")
    if length % 4 or length != len(data) - HEADER:
        raise MalformedStun(f"length: found {length}, expected {len(data) - HEADER} and a multiple of 4")
    attributes: list[tuple[int, bytes]] = []
    at = HEADER
    while at < len(data):
        name, size = struct.unpack_from("!HH", data, at)
        if at + 4 + size > len(data):
            raise MalformedStun(f"attribute {name:04x} at {at}: found a length of {size} beyond the message's end")
        value = data[at + 4 : at + 4 + size]
        if name == Attribute.FINGERPRINT:
            _check_fingerprint(data, at, value)
        attributes.append((name, value))
        at += 4 + size + (-size % 4)
    method = (kind & 0x000F) | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
    return Message(Kind((kind & 0x0010) >> 4 | (kind & 0x0100) >> 7), method, data[8:HEADER], tuple(attributes))


def mapped_address(message: Message) -> Endpoint | None:
    """Where the server saw the request come from, by XOR-MAPPED-ADDRESS or else MAPPED-ADDRESS; ``None`` without."""
    value = message.first(Attribute.XOR_MAPPED_ADDRESS)
    if value is not None:
        return _endpoint(value, COOKIE.to_bytes(4) + message.transaction)
    value = message.first(Attribute.MAPPED_ADDRESS)
    return None if value is None else _endpoint(value, bytes(16))


def xor_mapped(endpoint: Endpoint, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS for an endpoint."""
    mask = COOKIE.to_bytes(4) + transaction
    family = 1 if endpoint.address.version == 4 else 2
    packed = bytes(one ^ key for one, key in zip(endpoint.address.packed, mask, strict=False))
    return struct.pack("!BBH", 0, family, endpoint.port ^ int.from_bytes(mask[:2])) + packed


def error_code(message: Message) -> tuple[int, str]:
    """Number (300 to 699) and phrase of ERROR-CODE; raises :class:`MalformedStun` when an error has none."""
    value = message.first(Attribute.ERROR_CODE)
    if value is None or len(value) < 4:
        raise MalformedStun("ERROR-CODE: found none, expected one in an error response")
    hundreds, rest = value[2] & 0x07, value[3]
    if not (3 <= hundreds <= 6 and rest <= 99):
        raise MalformedStun(f"ERROR-CODE: found class {hundreds} and number {rest}, expected 3 to 6 and 0 to 99")
    return hundreds * 100 + rest, value[4:].decode(errors="replace")


def _type(kind: Kind, method: int) -> int:
    bits = (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2
    return bits | (kind & 1) << 4 | (kind & 2) << 7


def _endpoint(value: bytes, mask: bytes) -> Endpoint:
    size = {1: 4, 2: 16}.get(value[1] if len(value) > 1 else 0)
    if size is None or len(value) != 4 + size:
        raise MalformedStun(f"mapped address: found {value[:4].hex()} in {len(value)} bytes, expected family 1 or 2")
    port = int.from_bytes(value[2:4]) ^ int.from_bytes(mask[:2])
    packed = bytes(one ^ key for one, key in zip(value[4:], mask, strict=False))
    return Endpoint(ipaddress.ip_address(packed), port)


def _check_fingerprint(data: bytes, at: int, value: bytes) -> None:
    if at + 8 != len(data) or len(value) != 4:
        raise MalformedStun("FINGERPRINT: expected it last and of 4 bytes")
    expected = zlib.crc32(data[:at]) ^ _XOR_FINGERPRINT
    if int.from_bytes(value) != expected:
        raise MalformedStun(f"FINGERPRINT: found {value.hex()}, expected {expected:08x}")

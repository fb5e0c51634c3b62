"""Echo requests, replies and errors as bytes: RFC 792 (ICMP), RFC 4443 (ICMPv6), and Linux's extended errors (ip(7)).

No input or output here: bytes in, values out. What is not ours or not whole is ``None``, never an exception, because
anybody on the path may send anything.

Every request carries a 64-bit token, drawn at random when the socket is opened, and a 64-bit number that never wraps.
So a foreign reply never matches, and the 16-bit sequence on the wire may wrap as often as it likes.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from wire.reasons import Reason

HEADER = struct.Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence."""
STAMP = struct.Struct("!8sQ")
"""Token and number, the first bytes of the payload."""
SMALLEST_PAYLOAD = STAMP.size
LARGEST_PAYLOAD = 1472
"""What an Ethernet frame of 1500 bytes holds after the IPv4 and ICMP headers."""

_EXTENDED_ERROR = struct.Struct("=IBBBxII")
"""``struct sock_extended_err`` of <linux/errqueue.h>: errno, origin, type, code, info, data."""


class Family(IntEnum):
    """The two Internet protocols."""

    V4 = 4
    V6 = 6


ECHO_REQUEST = {Family.V4: 8, Family.V6: 128}
ECHO_REPLY = {Family.V4: 0, Family.V6: 129}
TIME_EXCEEDED = {Family.V4: 11, Family.V6: 3}


class Origin(IntEnum):
    """Who made an extended error."""

    NONE = 0
    LOCAL = 1
    ICMP = 2
    ICMP6 = 3
    TIMESTAMPING = 4


class Reply(NamedTuple):
    """An echo reply with our token."""

    number: int
    sequence: int


class Quoted(NamedTuple):
    """What an error quotes of the request that caused it. Routers need not quote more than eight bytes (RFC 792):
    then ``number`` is ``None`` and only the 16-bit sequence is known."""

    sequence: int
    number: int | None


class ExtendedError(NamedTuple):
    """What the kernel's error queue tells of one error."""

    errno: int
    origin: int
    type: int
    code: int


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.

    That sum is the remainder of the whole number by 65535, where zero stands for 65535 unless all bytes are zero
    (RFC 1071 §2: 2^16 = 1 in this arithmetic). One division is much quicker here than adding words.
    """
    whole = int.from_bytes(data + b"\0" if len(data) % 2 else data, "big")
    return ~(whole % 0xFFFF or (0xFFFF if whole else 0)) & 0xFFFF


def request(family: Family, identifier: int, number: int, token: bytes, size: int) -> bytes:
    """An echo request with ``size`` bytes of payload (16 to 1472).

    IPv4's checksum is filled in. IPv6's covers a pseudo-header that only the kernel knows; the kernel fills it in.
    """
    if not SMALLEST_PAYLOAD <= size <= LARGEST_PAYLOAD:
        raise ValueError(f"size: found {size}, expected {SMALLEST_PAYLOAD} to {LARGEST_PAYLOAD} bytes")
    payload = STAMP.pack(token, number).ljust(size, b"\0")
    sequence = number & 0xFFFF
    header = HEADER.pack(ECHO_REQUEST[family], 0, 0, identifier, sequence)
    if family is Family.V4:
        header = HEADER.pack(ECHO_REQUEST[family], 0, checksum(header + payload), identifier, sequence)
    return header + payload


def reply(family: Family, data: bytes, token: bytes) -> Reply | None:
    """The reply in an ICMP message (without IP header), or ``None`` unless it is an echo reply with our token."""
    if len(data) < HEADER.size + STAMP.size:
        return None
    kind, code, _, _, sequence = HEADER.unpack_from(data)
    if kind != ECHO_REPLY[family] or code != 0:
        return None
    found, number = STAMP.unpack_from(data, HEADER.size)
    if found != token or number & 0xFFFF != sequence:
        return None
    return Reply(number, sequence)


def without_ip_header(packet: bytes) -> tuple[bytes, int] | None:
    """The message inside an IPv4 packet as a raw socket delivers it, and the packet's TTL; ``None`` if it is cut."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    length = (packet[0] & 0x0F) * 4
    if length < 20 or len(packet) < length:
        return None
    return packet[length:], packet[8]


def quoted(family: Family, data: bytes, token: bytes, identifier: int) -> Quoted | None:
    """The request of ours that an error quotes (from its ICMP header on), or ``None`` if it was somebody else's."""
    if len(data) < HEADER.size:
        return None
    kind, code, _, found_identifier, sequence = HEADER.unpack_from(data)
    if kind != ECHO_REQUEST[family] or code != 0 or found_identifier != identifier:
        return None
    if len(data) < HEADER.size + STAMP.size:
        return Quoted(sequence, None)
    found, number = STAMP.unpack_from(data, HEADER.size)
    if found != token or number & 0xFFFF != sequence:
        return None
    return Quoted(sequence, number)


def number_near(sequence: int, newest: int) -> int:
    """The number not above ``newest`` whose low 16 bits are ``sequence``: undoes the wrap of the wire's sequence.

    Negative where no such number was ever sent.
    """
    return newest - ((newest - sequence) & 0xFFFF)


def extended_error(data: bytes) -> ExtendedError | None:
    """Reads ``struct sock_extended_err``; the offender's address that may follow it is not read."""
    if len(data) < _EXTENDED_ERROR.size:
        return None
    number, origin, kind, code, _, _ = _EXTENDED_ERROR.unpack_from(data)
    return ExtendedError(number, origin, kind, code)


def reason_of(error: ExtendedError) -> Reason:
    """What an ICMP error says about the target. Codes: RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7, RFC 4443 §3.

    An error that is none of these (a hop limit run out on a routing loop, say) is ``host_unreachable``.
    """
    if error.origin == Origin.ICMP and error.type == 3:
        return _UNREACHABLE_4.get(error.code, Reason.HOST_UNREACHABLE)
    if error.origin == Origin.ICMP6 and error.type == 1:
        return _UNREACHABLE_6.get(error.code, Reason.HOST_UNREACHABLE)
    return Reason.HOST_UNREACHABLE


_UNREACHABLE_4 = {
    0: Reason.NO_ROUTE,
    6: Reason.NO_ROUTE,
    11: Reason.NO_ROUTE,
    9: Reason.PROHIBITED,
    10: Reason.PROHIBITED,
    13: Reason.PROHIBITED,
    14: Reason.PROHIBITED,
}
_UNREACHABLE_6 = {
    0: Reason.NO_ROUTE,
    2: Reason.NO_ROUTE,
    1: Reason.PROHIBITED,
    5: Reason.PROHIBITED,
    6: Reason.PROHIBITED,
}

"""STAMP packets: the Simple Two-way Active Measurement Protocol (RFC 8762) with session ids and TLVs (RFC 8972).

A sender's packet and a reflector's answer are of one length: 44 bytes unauthenticated, 112 bytes authenticated
(HMAC-SHA-256 over the first 96, truncated to 128 bits, section 4.4). Sans-IO; times are integer nanoseconds of UTC.
"""

import hashlib
import hmac
import math
import struct
from collections.abc import Iterable
from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import NamedTuple

PLAIN = 44
"""Bytes of an unauthenticated packet, both ways (section 4.2.1, 4.3.1)."""
AUTHENTICATED = 112
"""Bytes of an authenticated packet, both ways (section 4.2.2, 4.3.2)."""
HMAC_BYTES = 16
_COVERED = AUTHENTICATED - HMAC_BYTES
_BLOCK = 64
"""Bytes of SHA-256's block."""
_INNER, _OUTER = (bytes(one ^ pad for one in range(256)) for pad in (0x36, 0x5C))

_NS = 1_000_000_000
_TO_1970 = 2_208_988_800
"""Seconds from the NTP epoch (1900) to the Unix epoch."""
_ERA = 1 << 32

_SENDER = struct.Struct("!I8sHH28x")
_SENDER_AUTH = struct.Struct("!I12x8sHH68x")
_REFLECTOR = struct.Struct("!I8sHH8sI8sHxxB3x")
_REFLECTOR_AUTH = struct.Struct("!I12x8sHH4x8s8xI12x8sH6xB15x")
_TLV = struct.Struct("!BBH")


class BadStamp(ValueError):
    """Not a STAMP packet; the subclass names the cause."""


class TooShort(BadStamp):
    """Fewer bytes than its mode needs."""


class BadHmac(BadStamp):
    """Altered, or written with another key."""


class BadTlv(BadStamp):
    """A TLV says that it is longer than the packet."""


class ErrorEstimate(NamedTuple):
    """How well a clock is set (RFC 4656, 4.1.2): at most ``multiplier`` x 2^-32 x 2^``scale`` seconds off UTC."""

    synchronised: bool
    ptp: bool
    """Time stamps are PTP's (section 4.1 of RFC 8186), not NTP's."""
    scale: int
    multiplier: int

    @property
    def nanoseconds(self) -> int:
        """The bound, rounded up."""
        return -(-(self.multiplier << self.scale) * _NS >> 32)

    @property
    def number(self) -> int:
        """Its 16 bits on the line."""
        return self.synchronised << 15 | self.ptp << 14 | self.scale << 8 | self.multiplier

    @classmethod
    def read(cls, number: int) -> "ErrorEstimate":
        """From its 16 bits."""
        return cls(bool(number & 0x8000), bool(number & 0x4000), number >> 8 & 0x3F, number & 0xFF)


def error_estimate(nanoseconds: int, *, synchronised: bool, ptp: bool = False) -> ErrorEstimate:
    """The least estimate that is no smaller than ``nanoseconds``; the multiplier is never 0, which would mean nothing
    (RFC 4656). What is beyond its range (500 million seconds) becomes the largest."""
    units = max(1, math.ceil(max(0, nanoseconds) * (1 << 32) / _NS))
    scale = 0
    while units > 0xFF and scale < 63:
        units = (units + 1) // 2
        scale += 1
    return ErrorEstimate(synchronised, ptp, scale, min(units, 0xFF))


def ntp_timestamp(nanoseconds: int) -> bytes:
    """An NTP time stamp of UTC: 32 bits of seconds since 1900, 32 of fraction (RFC 5905 section 6)."""
    seconds, rest = divmod(nanoseconds, _NS)
    return struct.pack("!II", (seconds + _TO_1970) % _ERA, ((rest << 32) + _NS // 2) // _NS)


def ptp_timestamp(nanoseconds: int) -> bytes:
    """A truncated PTP time stamp: 32 bits of seconds since 1970, 32 of nanoseconds (RFC 8186 section 3)."""
    seconds, rest = divmod(nanoseconds, _NS)
    return struct.pack("!II", seconds % _ERA, rest)


def timestamp(nanoseconds: int, *, ptp: bool) -> bytes:
    """A time stamp in the format that the error estimate beside it names."""
    return ptp_timestamp(nanoseconds) if ptp else ntp_timestamp(nanoseconds)


def read_timestamp(raw: bytes, *, ptp: bool) -> int:
    """UTC in nanoseconds. A time stamp of NTP is taken for 1968 to 2104 (RFC 4330 section 3), one of PTP for 1970 to
    2106. Nanoseconds of PTP beyond a second raise :class:`BadStamp`."""
    seconds, rest = struct.unpack("!II", raw)
    if ptp:
        if rest >= _NS:
            raise BadStamp(f"PTP time stamp: found {rest} nanoseconds, expected less than a second")
        return int(seconds * _NS + rest)
    if seconds < 1 << 31:
        seconds += _ERA
    return int((seconds - _TO_1970) * _NS + (rest * _NS + (1 << 31) >> 32))


class SenderPacket(NamedTuple):
    """What a session-sender sends."""

    sequence: int
    time: int
    error: ErrorEstimate
    ssid: int = 0


class ReflectorPacket(NamedTuple):
    """What a session-reflector answers. ``sender_*`` are copied from the packet answered."""

    sequence: int
    """Its own count where it is stateful, the sender's number where it is not (section 4.3)."""
    time: int
    error: ErrorEstimate
    ssid: int
    received: int
    """When the packet answered arrived."""
    sender_sequence: int
    sender_time: bytes
    """As the sender wrote it: eight bytes that the reflector need not understand."""
    sender_error: ErrorEstimate
    sender_ttl: int


def length_of(key: bytes | None) -> int:
    """Bytes of a packet without TLVs."""
    return PLAIN if key is None else AUTHENTICATED


def write_sender(packet: SenderPacket, key: bytes | None = None) -> bytes:
    """A sender's packet; authenticated where there is a key."""
    layout = _SENDER if key is None else _SENDER_AUTH
    when = timestamp(packet.time, ptp=packet.error.ptp)
    return _signed(layout.pack(packet.sequence, when, packet.error.number, packet.ssid), key)


def read_sender(raw: bytes, key: bytes | None = None) -> SenderPacket:
    """Reads a sender's packet; raises a subclass of :class:`BadStamp`."""
    layout = _SENDER if key is None else _SENDER_AUTH
    sequence, when, error, ssid = layout.unpack_from(_checked(raw, key))
    estimate = ErrorEstimate.read(error)
    return SenderPacket(sequence, read_timestamp(when, ptp=estimate.ptp), estimate, ssid)


def write_reflector(packet: ReflectorPacket, key: bytes | None = None) -> bytes:
    """A reflector's packet; authenticated where there is a key."""
    layout = _REFLECTOR if key is None else _REFLECTOR_AUTH
    ptp = packet.error.ptp
    body = layout.pack(
        packet.sequence, timestamp(packet.time, ptp=ptp), packet.error.number, packet.ssid,
        timestamp(packet.received, ptp=ptp), packet.sender_sequence, packet.sender_time, packet.sender_error.number,
        packet.sender_ttl,
    )  # fmt: skip
    return _signed(body, key)


def read_reflector(raw: bytes, key: bytes | None = None) -> ReflectorPacket:
    """Reads a reflector's packet; raises a subclass of :class:`BadStamp`."""
    layout = _REFLECTOR if key is None else _REFLECTOR_AUTH
    sequence, when, error, ssid, received, number, sent, sender_error, ttl = layout.unpack_from(_checked(raw, key))
    estimate = ErrorEstimate.read(error)
    return ReflectorPacket(
        sequence, read_timestamp(when, ptp=estimate.ptp), estimate, ssid, read_timestamp(received, ptp=estimate.ptp),
        number, sent, ErrorEstimate.read(sender_error), ttl,
    )  # fmt: skip


def ssid_of(raw: bytes, *, authenticated: bool) -> int:
    """The session id of a sender's packet, before its key is known; raises :class:`TooShort`."""
    at = 26 if authenticated else 14
    if len(raw) < (AUTHENTICATED if authenticated else PLAIN):
        raise TooShort(f"STAMP packet: found {len(raw)} bytes, expected {AUTHENTICATED if authenticated else PLAIN}")
    return int.from_bytes(raw[at : at + 2], "big")


def sender_time_of(raw: bytes, *, authenticated: bool) -> bytes:
    """The eight bytes of a sender's time stamp, to be copied."""
    at = 16 if authenticated else 4
    return raw[at : at + 8]


@lru_cache(maxsize=1024)
def _keyed(key: bytes) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    """HMAC's inner and outer hash, begun with the key."""
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def _hmac(key: bytes, body: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104), truncated. By hand because :func:`hmac.digest` sets up OpenSSL's for each
    packet: at ten a second, where no cache holds its code from one to the next, it takes three times as long."""
    began, ends = _keyed(key)
    inner, outer = began.copy(), ends.copy()
    inner.update(body)
    outer.update(inner.digest())
    return outer.digest()[:HMAC_BYTES]


def _signed(body: bytes, key: bytes | None) -> bytes:
    return body if key is None else body + _hmac(key, body)


def _checked(raw: bytes, key: bytes | None) -> bytes:
    if len(raw) < length_of(key):
        raise TooShort(f"STAMP packet: found {len(raw)} bytes, expected at least {length_of(key)}")
    if key is not None and not hmac.compare_digest(_hmac(key, raw[:_COVERED]), raw[_COVERED:AUTHENTICATED]):
        raise BadHmac("STAMP packet: its HMAC is not by this session's key")
    return raw


class Flag(IntFlag):
    """The flags of a TLV (RFC 8972 section 4)."""

    UNRECOGNISED = 0x80
    """Set by the sender; cleared by a reflector that understood it."""
    MALFORMED = 0x40
    INTEGRITY = 0x20
    """The reflector could not verify it."""


class TlvType(IntEnum):
    """Types that are used here; 252 to 254 are for private use (RFC 8972 section 5.1)."""

    EXTRA_PADDING = 1
    LEASE = 252
    """Phrom: a lease's token, from a sender that opens a session."""
    PROOF = 253
    """Phrom: that the sender has the lease's key and hears what is sent to it."""
    DOOR = 254
    """Phrom: what the reflector says to an opening."""


class Tlv(NamedTuple):
    """One TLV. ``type`` is a number, for there are types that nobody here knows."""

    type: int
    value: bytes
    flags: Flag = Flag.UNRECOGNISED


def write_tlvs(tlvs: Iterable[Tlv]) -> bytes:
    """The bytes that follow a packet."""
    return b"".join(_TLV.pack(one.flags, one.type, len(one.value)) + one.value for one in tlvs)


def read_tlvs(raw: bytes, start: int) -> list[Tlv]:
    """The TLVs from ``start`` on; raises :class:`BadTlv`."""
    found = []
    while start < len(raw):
        if len(raw) - start < _TLV.size:
            raise BadTlv(f"TLV: found {len(raw) - start} bytes at {start}, expected a header of {_TLV.size}")
        flags, kind, length = _TLV.unpack_from(raw, start)
        start += _TLV.size
        if len(raw) - start < length:
            raise BadTlv(f"TLV {kind}: found {len(raw) - start} bytes, expected {length}")
        found.append(Tlv(kind, raw[start : start + length], Flag(flags & 0xE0)))
        start += length
    return found


def reflected_tlvs(raw: bytes, start: int, *, authenticated: bool) -> bytes:
    """What a reflector answers to the TLVs of a test packet: the same bytes with its flags (RFC 8972 section 4).

    Only padding is understood. In authenticated mode the others come without an HMAC TLV that was verified, so they are
    returned with the integrity flag; from a malformed one on, everything is returned as it was, with that flag.
    """
    answer = bytearray(raw[start:])
    at = 0
    while at < len(answer):
        rest = len(answer) - at
        if rest < _TLV.size:
            answer[at] |= Flag.MALFORMED
            break
        _, kind, length = _TLV.unpack_from(answer, at)
        flags = Flag(0) if kind == TlvType.EXTRA_PADDING else Flag.UNRECOGNISED
        if authenticated and kind != TlvType.EXTRA_PADDING:
            flags |= Flag.INTEGRITY
        if rest - _TLV.size < length:
            answer[at] = flags | Flag.MALFORMED
            break
        answer[at] = flags
        at += _TLV.size + length
    return bytes(answer)

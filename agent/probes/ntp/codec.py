"""NTP client packets as bytes (RFC 5905 §7.3), and what samples say of a clock (§8). No input or output here."""

import struct
from statistics import median
from typing import NamedTuple

PACKET = struct.Struct("!BBbbII4sQQQQ")
"""Leap, version and mode; stratum; poll; precision; root delay; root dispersion; reference id; four times."""
VERSION = 4
_CLIENT, _SERVER = 3, 4
_UNSYNCHRONISED = 3
_SINCE_1900 = 2_208_988_800
"""Seconds from 1900-01-01 to 1970-01-01."""
_GO_AWAY = (b"RATE", b"DENY", b"RSTD")
_HIGHEST_STRATUM = 15
_LARGEST_ROOT = 16.0
"""Seconds; MAXDISP of RFC 5905."""


class Answer(NamedTuple):
    """A server's answer to our request. Times are 64-bit NTP time stamps, roots are seconds."""

    stratum: int
    root_delay: float
    root_dispersion: float
    received: int
    sent: int


class Kiss(NamedTuple):
    """A kiss-o'-death that wants fewer requests (``RATE``) or none (``DENY``, ``RSTD``), RFC 5905 §7.4."""

    code: str


class Unsynchronised(NamedTuple):
    """The server says that its own clock is not set."""


class Sample(NamedTuple):
    """One exchange. Seconds; the true offset lies within ``offset ± error`` if the server's clock is as it says."""

    offset: float
    delay: float
    error: float
    stratum: int


def request(nonce: int) -> bytes:
    """A client request. The transmit time is a random number: it says nothing of this machine, and an answer that does
    not repeat it as its origin is not an answer to this request."""
    return PACKET.pack(VERSION << 3 | _CLIENT, 0, 0, 0, 0, 0, b"\0\0\0\0", 0, 0, 0, nonce)


def answer(data: bytes, nonce: int) -> Answer | Kiss | Unsynchronised | None:
    """What a datagram from the server says, or ``None`` if it is no answer to the request with this nonce."""
    if len(data) < PACKET.size:
        return None
    first, stratum, _, _, delay, dispersion, reference, _, origin, received, sent = PACKET.unpack_from(data)
    if first & 7 != _SERVER or not 3 <= first >> 3 & 7 <= VERSION or origin != nonce:
        return None
    if stratum == 0:
        # The other kisses tell of a server that is only just starting (INIT, STEP) or of keys, which we do not use.
        return Kiss(reference.decode("ascii")) if reference in _GO_AWAY else Unsynchronised()
    root_delay, root_dispersion = delay / 65536, dispersion / 65536
    if first >> 6 == _UNSYNCHRONISED or stratum > _HIGHEST_STRATUM or not received or not sent:
        return Unsynchronised()
    if root_delay / 2 + root_dispersion >= _LARGEST_ROOT:
        return Unsynchronised()
    return Answer(stratum, root_delay, root_dispersion, received, sent)


def timestamp(nanoseconds: int) -> int:
    """UTC nanoseconds since 1970 as a 64-bit NTP time stamp of its era."""
    return ((nanoseconds << 32) // 1_000_000_000 + (_SINCE_1900 << 32)) & 0xFFFFFFFFFFFFFFFF


def difference(later: int, earlier: int) -> float:
    """Seconds between two time stamps, right across eras as long as they lie within 68 years (RFC 5905 §6)."""
    apart = (later - earlier) & 0xFFFFFFFFFFFFFFFF
    return (apart - (1 << 64) if apart >> 63 else apart) / 2**32


def sample(found: Answer, sent: int, took: int) -> Sample | None:
    """Offset and delay of one exchange (RFC 5905 §8), or ``None`` if the server claims to have taken longer than all.

    ``sent`` is when the request left (UTC nanoseconds as this machine believes), ``took`` nanoseconds until the answer.
    """
    t1, t4 = timestamp(sent), timestamp(sent + took)
    inside = difference(found.sent, found.received)
    delay = took / 1e9 - inside
    if inside < 0 or delay < -0.001:
        return None
    offset = (difference(found.received, t1) + difference(found.sent, t4)) / 2
    delay = max(0.0, delay)
    error = delay / 2 + found.root_delay / 2 + found.root_dispersion
    return Sample(offset, delay, error, found.stratum)


def middle(samples: list[Sample]) -> Sample:
    """The median offset, with a bound on its error: that of the sample it came from, or the mean of the two."""
    ordered = sorted(samples, key=lambda one: one.offset)
    count = len(ordered)
    pair = ordered[(count - 1) // 2 : count // 2 + 1]
    return Sample(
        offset=median(one.offset for one in ordered),
        delay=median(one.delay for one in ordered),
        error=sum(one.error for one in pair) / len(pair),
        stratum=pair[0].stratum,
    )

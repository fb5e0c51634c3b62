"""What agent and responder say to each other in light and call tests over UDP (8481/udp). Sans-IO.

**Opening**, with which nobody can be flooded by way of the responder::

    agent                                              responder
      HELLO  nonce, token, padding     ──▶             the token is genuine? else silence; nothing is remembered
             ◀──  CHALLENGE nonce, cookie              cookie = MAC of address, port, nonce and the time
      OPEN   nonce, cookie, proof, plan, token, padding  ──▶   now the address is proven: admission, a session
             ◀──  OPENED nonce, session, rates, padding, or DENIED nonce, why

No answer is longer than what it answers until the session is open. HELLO, OPEN and OPENED are as long as the test's own
packets and must not be fragmented (DF), so whatever opens has shown that packets of that size pass in both directions
(RFC 8899 has the idea); where they do not, the agent tries the next size of :data:`SIZES`.

**After it** every packet bears the session's random 64 bits and comes from the proven address. ``DATA`` is the
stream; ``REPORT`` is feedback each 20 ms, of the side that receives, or its call for the next phase; ``DONE`` ends a
direction; ``ASK`` and ``ARRIVALS`` fetch what the responder received in a call; ``END`` is farewell. Who sends stops
as soon as reports have been missing for :data:`SILENCE`.

Integers are big-endian; times are nanoseconds, rates bits per second at the IP layer.
"""

import enum
import struct
from typing import Annotated, Literal, NamedTuple

import msgspec

from wire.lease import CHALLENGE_BYTES, LONGEST_TOKEN, PROOF_BYTES

MAGIC = b"PhU"
SIZES = (1400, 1280)
"""Sizes of a full IP packet, tried in this order. 1400 passes PPPoE and most tunnels; 1280 is what every IPv6 link must
carry (RFC 8200, section 5)."""
SILENCE = 200_000_000
"""Nanoseconds without a report after which a sender stops: its peer is gone, and nobody may be flooded."""
REPORT_EVERY = 20_000_000
"""Nanoseconds from one report to the next."""
NONCE_BYTES = 8
SESSION_BYTES = 8
LARGEST = 1472
"""Most bytes of UDP payload in any packet."""


class Kind(enum.IntEnum):
    """What a packet is: its fourth byte."""

    HELLO = 1
    CHALLENGE = 2
    OPEN = 3
    OPENED = 4
    DENIED = 5
    DATA = 6
    REPORT = 7
    DONE = 8
    ASK = 9
    ARRIVALS = 10
    END = 11


class Phase(enum.IntEnum):
    """What the agent wants of the responder now; stands in every report."""

    NOTHING = 0
    DOWN = 1
    UP = 2
    BOTH = 3


class Why(enum.IntEnum):
    """Why a sender stopped."""

    COMPLETE = 0
    DELAY_ROSE = 1
    LOSS_SEEN = 2
    SILENCE = 3
    """Its reports were missing."""
    OVERFLOW = 4
    """The receiver's socket overflowed: the receiver's own limit and not the path's."""
    LEASE = 5
    """The lease allows no more."""
    STUCK = 6
    """Reports came, but they showed that the stream did not arrive."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done; the agent's proof covers its very bytes. Rates are bits per second at the IP layer."""

    test: Literal["light", "call"]
    payload: Annotated[int, msgspec.Meta(ge=512, le=LARGEST)]
    """Bytes of UDP payload of a full packet."""
    down: Annotated[int, msgspec.Meta(ge=0, le=100_000_000_000)] = 0
    """0 = nothing in that direction."""
    up: Annotated[int, msgspec.Meta(ge=0, le=100_000_000_000)] = 0
    seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 0.5
    """Length of a call; of a light check: of its last stage (:mod:`wire.paced`)."""


class Malformed(ValueError):
    """Not a packet of ours."""


class Hello(NamedTuple):
    nonce: bytes
    token: str


class Challenge(NamedTuple):
    nonce: bytes
    cookie: bytes


class Open(NamedTuple):
    nonce: bytes
    cookie: bytes
    proof: bytes
    plan: bytes
    """JSON of a :class:`Plan`, as it was signed."""
    token: str


class Opened(NamedTuple):
    nonce: bytes
    session: bytes
    down: int
    """Rates that the lease and the responder allow."""
    up: int


class Denied(NamedTuple):
    nonce: bytes
    why: str


class Data(NamedTuple):
    session: bytes
    number: int
    """From 0, without gaps, in each direction."""
    sent: int
    """Sender's clock, nanoseconds."""
    stage: int


class Report(NamedTuple):
    """What a receiver has seen so far. ``phase`` says what the agent wants; a responder repeats it."""

    session: bytes
    phase: int
    final: int = 0
    """1 when everything that was to come was counted."""
    stage: int = 0
    expected: int = 0
    """One more than the highest number seen."""
    received: int = 0
    bytes: int = 0
    """At the IP layer."""
    lost: int = 0
    duplicates: int = 0
    reordered: int = 0
    overflow: int = 0
    """Packets that the receiver's own socket had no room for."""
    rise: int = 0
    """One-way delay above the least one since the report before, nanoseconds (see :class:`wire.paced.Tally`)."""
    most_rise: int = 0
    """The same over the whole run."""
    top_bytes: int = 0
    top_time: int = 0
    """Bytes of the last stage, and the nanoseconds in which they came."""


class Done(NamedTuple):
    """A sender's last word on a direction."""

    session: bytes
    phase: int
    why: int
    sent: int
    bytes: int
    idle: int = 0
    """Nanoseconds in which the sender did not come to send, for its own reasons."""


class Ask(NamedTuple):
    session: bytes
    first: int
    """Index of the first arrival wanted."""


class Arrivals(NamedTuple):
    """A part of the list of what arrived, in order of arrival."""

    session: bytes
    whole: int
    """Entries of the whole list."""
    first: int
    entries: tuple[tuple[int, int], ...]
    """Number of the packet, and its delay above the least of the test: nanoseconds, at most 4.29 s."""


class End(NamedTuple):
    session: bytes


Packet = Hello | Challenge | Open | Opened | Denied | Data | Report | Done | Ask | Arrivals | End

_HEAD = struct.Struct("!3sB8s")
DATA = struct.Struct("!3sB8sIQB")
"""The head of a ``DATA`` packet; the rest is padding."""
_RATES = struct.Struct("!8sQQ")
_REPORT = struct.Struct("!BBBIIQIIIIQQQQ")
_DONE = struct.Struct("!BBIQQ")
_WORD = struct.Struct("!I")
_LIST = struct.Struct("!IIH")
_ENTRY = struct.Struct("!II")
MOST_ENTRIES = (1200 - _HEAD.size - _LIST.size) // _ENTRY.size
CHALLENGE_LENGTH = _HEAD.size + CHALLENGE_BYTES
"""No packet shorter than this is answered before the path is proven."""


def encode(packet: Packet, length: int = 0) -> bytes:
    """The bytes of a packet, padded with zeros to at least ``length``."""
    kind = _KIND_OF[type(packet)]
    head = _HEAD.pack(MAGIC, kind, packet[0])
    match packet:
        case Hello(_, token):
            body = _text(token)
        case Challenge(_, cookie):
            body = cookie
        case Open(_, cookie, proof, plan, token):
            body = cookie + proof + len(plan).to_bytes(2, "big") + plan + _text(token)
        case Opened(_, session, down, up):
            body = _RATES.pack(session, down, up)
        case Denied(_, why):
            body = _text(why)
        case Data(session, number, sent, stage):
            return DATA.pack(MAGIC, kind, session, number, sent, stage).ljust(length, b"\0")
        case Report():
            body = _REPORT.pack(*packet[1:])
        case Done():
            body = _DONE.pack(*packet[1:])
        case Ask(_, first):
            body = _WORD.pack(first)
        case Arrivals(_, whole, first, entries):
            body = _LIST.pack(whole, first, len(entries)) + b"".join(_ENTRY.pack(*one) for one in entries)
        case End():
            body = b""
    return (head + body).ljust(length, b"\0")


def decode(raw: bytes) -> Packet:
    """Reads a packet; raises :class:`Malformed` for anything else. Padding is not looked at."""
    if len(raw) > LARGEST:
        raise Malformed(f"found {len(raw)} bytes, expected at most {LARGEST}")
    try:
        magic, kind, name = _HEAD.unpack_from(raw)
        if magic != MAGIC:
            raise Malformed("found another protocol's packet")
        return _body(kind, name, raw)
    except (struct.error, UnicodeDecodeError) as wrong:
        raise Malformed(f"packet: {wrong}") from wrong


def _body(kind: int, name: bytes, raw: bytes) -> Packet:
    at = _HEAD.size
    match kind:
        case Kind.DATA:
            return Data(*DATA.unpack_from(raw)[2:])
        case Kind.REPORT:
            return Report(name, *_REPORT.unpack_from(raw, at))
        case Kind.HELLO:
            return Hello(name, _read_text(raw, at))
        case Kind.CHALLENGE:
            return Challenge(name, _part(raw, at, CHALLENGE_BYTES))
        case Kind.OPEN:
            return _open(name, raw, at)
        case Kind.OPENED:
            return Opened(name, *_RATES.unpack_from(raw, at))
        case Kind.DENIED:
            return Denied(name, _read_text(raw, at))
        case Kind.DONE:
            return Done(name, *_DONE.unpack_from(raw, at))
        case Kind.ASK:
            return Ask(name, *_WORD.unpack_from(raw, at))
        case Kind.ARRIVALS:
            whole, first, count = _LIST.unpack_from(raw, at)
            part = _part(raw, at + _LIST.size, count * _ENTRY.size)
            return Arrivals(name, whole, first, tuple((one[0], one[1]) for one in _ENTRY.iter_unpack(part)))
        case Kind.END:
            return End(name)
    raise Malformed(f"found a packet of kind {kind}, expected 1 to {max(Kind)}")


def _open(nonce: bytes, raw: bytes, at: int) -> Open:
    cookie = _part(raw, at, CHALLENGE_BYTES)
    at += CHALLENGE_BYTES
    proof = _part(raw, at, PROOF_BYTES)
    at += PROOF_BYTES
    length = int.from_bytes(_part(raw, at, 2), "big")
    plan = _part(raw, at + 2, length)
    return Open(nonce, cookie, proof, plan, _read_text(raw, at + 2 + length))


def _part(raw: bytes, at: int, length: int) -> bytes:
    part = raw[at : at + length]
    if len(part) != length:
        raise Malformed(f"found {len(part)} bytes, expected {length}: cut off")
    return part


def _text(text: str) -> bytes:
    raw = text.encode("ascii")
    return len(raw).to_bytes(2, "big") + raw


def _read_text(raw: bytes, at: int) -> str:
    length = int.from_bytes(_part(raw, at, 2), "big")
    if length > LONGEST_TOKEN:
        raise Malformed(f"found a text of {length} bytes, expected at most {LONGEST_TOKEN}")
    return _part(raw, at + 2, length).decode("ascii")


_KIND_OF: dict[type, Kind] = {
    Hello: Kind.HELLO,
    Challenge: Kind.CHALLENGE,
    Open: Kind.OPEN,
    Opened: Kind.OPENED,
    Denied: Kind.DENIED,
    Data: Kind.DATA,
    Report: Kind.REPORT,
    Done: Kind.DONE,
    Ask: Kind.ASK,
    Arrivals: Kind.ARRIVALS,
    End: Kind.END,
}


def read_plan(raw: bytes) -> Plan:
    """The plan of an opening; raises :class:`Malformed`."""
    try:
        return msgspec.json.decode(raw, type=Plan)
    except msgspec.DecodeError as wrong:
        raise Malformed(f"plan: {wrong}") from wrong


def overhead(address: str) -> int:
    """Bytes of the IP and UDP headers on a packet to or from an address (a mapped IPv4 address goes by IPv4)."""
    return 48 if ":" in address and not address.startswith("::ffff:") else 28

"""The throughput test's protocol over TCP (port 8481): who opens, joins, begins and stops, and what is reported.

One **control** connection opens the session with a lease; the **streams** (16) join it, each proving the lease's key
against its own challenge. Until then the responder sends nothing but its greeting and one short answer to each. On
the control connection and before a stream has joined, both sides speak in frames: two bytes of length, then JSON. After
joining, a stream carries only test bytes without meaning, in either direction::

    responder                                    agent
    greeting(challenge)          →
                                 ←  Open(token, proof, streams)      on the control connection
    Opened                       →
                                 ←  Join(lease, stream, proof)       on each stream
    Joined                       →
                                 ←  Begin("down", seconds)
    test bytes                   ⇒                                   on every stream, until Stop or the limit
    Progress(reading) each 100 ms→
                                 ←  Stop
    Ended("down", …)             →
                                 ←  Begin("up", seconds)             may come before Ended; then the agent sends

The session ends when the agent closes the control connection, or with its lease. Sans-IO: bytes in, messages out.
"""

import struct
from typing import Annotated, TypeVar

import msgspec

from wire.lease import CHALLENGE_BYTES, LONGEST_TOKEN

MAGIC = b"phrom-t1"
GREETING_BYTES = len(MAGIC) + CHALLENGE_BYTES
STREAMS = 16
"""Parallel connections; four are too few (field: bandwidth §2)."""
MOST_STREAMS = 32
WINDOW = 0.1
"""Seconds between two readings."""
LONGEST_FRAME = 4096
LONGEST_OPENING = LONGEST_TOKEN + 200
"""Most that is read of someone who has shown nothing yet."""
_LENGTH = struct.Struct("!H")
_Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=4096)]


class BadFrame(ValueError):
    """What came is not this protocol; the connection is of no use any more."""


class Reading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Counters summed over the streams at one moment of a direction. The receiver's count what arrived, the sender's
    what was acknowledged; ``streams`` has the segments of each."""

    at: _Whole
    """Microseconds since the direction began, by the clock of the side that counts."""
    segments: _Whole = 0
    payload: _Whole = 0
    """Bytes of the application."""
    sent: _Whole = 0
    """Data segments sent, repeats included; 0 at a receiver, as the next five."""
    bytes: _Whole = 0
    """Payload of those segments, so that their mean length is known exactly."""
    retransmitted: _Whole = 0
    busy: _Whole = 0
    """Microseconds, summed over the streams, in which there was something to send or to be acknowledged."""
    rwnd_limited: _Whole = 0
    sndbuf_limited: _Whole = 0
    held: _Whole = 0
    """Microseconds for which this side kept still because the lease allows no more."""
    streams: Annotated[tuple[_Whole, ...], msgspec.Meta(max_length=MOST_STREAMS)] = ()
    rtts: Annotated[tuple[_Whole, ...], msgspec.Meta(max_length=MOST_STREAMS)] = ()
    """Microseconds: each stream's smoothed round-trip time; only at a sender."""


class Effort(msgspec.Struct, frozen=True, omit_defaults=True):
    """How hard a side had to work in one direction: shares of one processor, 1 = all of it."""

    thread: _Share = 0.0
    """The thread that moved the bytes."""
    busiest: _Share = 0.0
    """The busiest processor."""
    all: _Share = 0.0
    """Mean over the processors."""


class Open(msgspec.Struct, frozen=True, tag="open"):
    """First frame on the control connection."""

    token: Annotated[str, msgspec.Meta(max_length=LONGEST_TOKEN)]
    proof: _Hex
    streams: Annotated[int, msgspec.Meta(ge=1, le=MOST_STREAMS)] = STREAMS


class Join(msgspec.Struct, frozen=True, tag="join"):
    """First frame on a stream. ``stream`` counts from 0."""

    lease: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
    stream: Annotated[int, msgspec.Meta(ge=0, lt=MOST_STREAMS)]
    proof: _Hex


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Ends the direction under way, if there is one, and begins another."""

    direction: Annotated[str, msgspec.Meta(pattern=r"^(down|up)$")]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=60)]
    """The agent wants no more than this; the lease may allow less."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Ends the direction under way."""


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The session is open. Rates in bits per second at the IP layer: the lease's, or what the responder has where that
    is less."""

    down: _Whole = 0
    up: _Whole = 0


class Joined(msgspec.Struct, frozen=True, tag="joined"):
    """From now on the stream carries test bytes."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The responder closes the connection after it. ``denial`` is a code of its admission."""

    denial: Annotated[str, msgspec.Meta(max_length=40)]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """A reading of the responder's side."""

    direction: str
    reading: Reading


class Ended(msgspec.Struct, frozen=True, tag="ended", kw_only=True):
    """The responder's last word on a direction. ``segment`` is a full data segment's bytes at the IP layer, as the
    responder's kernel sees it; 0 = that system has no TCP_INFO and the readings count nothing but payload."""

    direction: str
    reading: Reading
    segment: _Whole
    congestion: Annotated[str, msgspec.Meta(max_length=32)] = ""
    """The sender's congestion control."""
    cut: bool = False
    """The responder ended it: the lease's time or bytes were used up."""
    effort: Effort = Effort()


Asked = Open | Join | Begin | Stop
"""What an agent says."""
Told = Opened | Joined | Refused | Progress | Ended
"""What a responder says."""
_T = TypeVar("_T")
_ASKED = msgspec.json.Decoder(Asked)
_TOLD = msgspec.json.Decoder(Told)


def greeting(challenge: bytes) -> bytes:
    """The responder's first bytes."""
    return MAGIC + challenge


def challenge_of(raw: bytes) -> bytes:
    """The challenge of a greeting; raises :class:`BadFrame`."""
    if len(raw) != GREETING_BYTES or not raw.startswith(MAGIC):
        raise BadFrame(f"greeting: found {raw[:8]!r}, expected {MAGIC!r}: is this a responder's port?")
    return raw[len(MAGIC) :]


def open_context(streams: int) -> bytes:
    """What the proof of an opening is about."""
    return b"throughput open %d" % streams


def join_context(identity: str, stream: int) -> bytes:
    """What the proof of a joining is about: no stream's proof serves for another."""
    return b"throughput join %s %d" % (identity.encode(), stream)


def frame(message: Asked | Told) -> bytes:
    """A message as it goes on the line."""
    body = msgspec.json.encode(message)
    return _LENGTH.pack(len(body)) + body


class _Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._held = bytearray()

    def cut(self, data: bytes) -> list[bytes]:
        """The frames that are whole now; raises :class:`BadFrame` at the first that is too long."""
        self._held += data
        found = []
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if not length or length > self.longest:
                raise BadFrame(f"frame: found {length} bytes, expected 1 to {self.longest}")
            if len(self._held) < _LENGTH.size + length:
                break
            found.append(bytes(self._held[_LENGTH.size : _LENGTH.size + length]))
            del self._held[: _LENGTH.size + length]
        return found


class AgentSays:
    """What a responder hears on one connection."""

    def __init__(self) -> None:
        self._frames = _Frames(LONGEST_OPENING)

    def feed(self, data: bytes) -> list[Asked]:
        """The messages that are whole now; raises :class:`BadFrame`."""
        return [_decoded(_ASKED, one) for one in self._frames.cut(data)]


class ResponderSays:
    """What an agent hears on one connection, after the greeting."""

    def __init__(self) -> None:
        self._frames = _Frames(LONGEST_FRAME)

    def feed(self, data: bytes) -> list[Told]:
        """The messages that are whole now; raises :class:`BadFrame`."""
        return [_decoded(_TOLD, one) for one in self._frames.cut(data)]


def _decoded(decoder: "msgspec.json.Decoder[_T]", body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as wrong:
        raise BadFrame(f"frame: {wrong}") from wrong

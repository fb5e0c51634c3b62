"""How a STAMP session opens under a lease: an exchange inside STAMP packets, with TLVs of private use (RFC 8972).

    sender                                   reflector
    HELLO  LEASE(token)                ->    nothing without a genuine token
                                       <-    DOOR(challenge: cookie)       remembers nothing yet
    OPEN   PROOF(cookie, proof, mode) LEASE  ->    admission
                                       <-    DOOR(opened | denied)
    test packets, by default in authenticated mode   <->   answers of the same length

An answer is never longer than what it answers. The cookie proves that the sender hears what is sent to its address, the
proof that it holds the lease's key. The answer "opened" is proven by the same key; a denial shows the cookie again, so
nobody who does not see the path can forge one. Sans-IO.
"""

import hashlib
import hmac
import secrets
from collections import deque
from enum import IntEnum, IntFlag
from typing import NamedTuple

from wire import lease, stamp
from wire.lease import CHALLENGE_BYTES, PROOF_BYTES
from wire.stamp import ErrorEstimate, ReflectorPacket, SenderPacket, Tlv, TlvType

EPOCH_BYTES = 8
_OPEN_BYTES = CHALLENGE_BYTES + PROOF_BYTES + 1
_OPENED_BYTES = 1 + EPOCH_BYTES + PROOF_BYTES
LONGEST = 1200
"""Bytes; a longer opening is not read."""


class Mode(IntFlag):
    """What kind of session is wanted."""

    AUTHENTICATED = 1
    STATELESS = 2


class How(IntEnum):
    """What the reflector's count does."""

    NEW = 0
    """It begins at 0."""
    CONTINUED = 1
    """The session was known at this address; it goes on."""


class BadOpening(ValueError):
    """Not an opening, or not an answer to one."""


class Asked(NamedTuple):
    """What a sender says at the door: HELLO where ``cookie`` is empty, else OPEN."""

    packet: SenderPacket
    token: str
    cookie: bytes = b""
    proof: bytes = b""
    mode: Mode = Mode.AUTHENTICATED


class Challenge(NamedTuple):
    """The cookie to be shown."""

    cookie: bytes


class Opened(NamedTuple):
    """The session is open. ``epoch`` names the reflector's count; another epoch is another count."""

    how: How
    epoch: bytes
    proof: bytes


class Denied(NamedTuple):
    """It is not; ``why`` is a word of the responder's."""

    cookie: bytes
    why: str


Told = Challenge | Opened | Denied


def session_key(lease_key: bytes, ssid: int) -> bytes:
    """The key of a session's packets: another one for every SSID, so that no packet fits two sessions."""
    return hmac.digest(lease_key, b"phrom stamp\0" + ssid.to_bytes(2, "big"), hashlib.sha256)


def context(ssid: int, mode: Mode) -> bytes:
    """What a proof is for."""
    return b"stamp\0" + ssid.to_bytes(2, "big") + bytes([mode])


def opened_context(cookie: bytes, ssid: int, how: How, epoch: bytes) -> bytes:
    """What the reflector's proof is for."""
    return b"stamp opened\0" + cookie + ssid.to_bytes(2, "big") + bytes([how]) + epoch


def is_opening(raw: bytes) -> bool:
    """Whether a datagram is an opening: in a test packet of either mode that byte is padding, 0 or another type."""
    return stamp.PLAIN + 4 < len(raw) <= LONGEST and raw[stamp.PLAIN + 1] in (TlvType.LEASE, TlvType.PROOF)


def write_asked(asked: Asked) -> bytes:
    """HELLO or OPEN."""
    tlvs = [Tlv(TlvType.LEASE, asked.token.encode("ascii"))]
    if asked.cookie:
        tlvs.insert(0, Tlv(TlvType.PROOF, asked.cookie + asked.proof + bytes([asked.mode])))
    return stamp.write_sender(asked.packet) + stamp.write_tlvs(tlvs)


def read_asked(raw: bytes) -> Asked:
    """Raises :class:`BadOpening`."""
    try:
        packet = stamp.read_sender(raw)
        tlvs = {one.type: one.value for one in stamp.read_tlvs(raw, stamp.PLAIN)}
        token = tlvs[TlvType.LEASE].decode("ascii")
    except (stamp.BadStamp, KeyError, UnicodeDecodeError) as wrong:
        raise BadOpening(f"opening: found {len(raw)} bytes without a lease: {wrong}") from wrong
    proven = tlvs.get(TlvType.PROOF)
    if proven is None:
        return Asked(packet, token)
    if len(proven) != _OPEN_BYTES or proven[-1] > Mode.AUTHENTICATED | Mode.STATELESS:
        raise BadOpening(f"opening: found {len(proven)} bytes of proof, expected {_OPEN_BYTES}")
    cookie, proof = proven[:CHALLENGE_BYTES], proven[CHALLENGE_BYTES:-1]
    return Asked(packet, token, cookie, proof, Mode(proven[-1]))


def write_told(packet: ReflectorPacket, told: Told) -> bytes:
    """The reflector's answer at the door."""
    match told:
        case Challenge(cookie):
            value = b"\1" + cookie
        case Opened(how, epoch, proof):
            value = b"\2" + bytes([how]) + epoch + proof
        case Denied(cookie, why):
            value = b"\3" + cookie + why.encode("ascii")
    return stamp.write_reflector(packet) + stamp.write_tlvs([Tlv(TlvType.DOOR, value, stamp.Flag(0))])


def read_told(raw: bytes) -> tuple[ReflectorPacket, Told]:
    """Raises :class:`BadOpening`."""
    try:
        packet = stamp.read_reflector(raw)
        value = next(one.value for one in stamp.read_tlvs(raw, stamp.PLAIN) if one.type == TlvType.DOOR)
        kind, rest = value[0], value[1:]
        if kind == 1 and len(rest) == CHALLENGE_BYTES:
            return packet, Challenge(rest)
        if kind == 2 and len(rest) == _OPENED_BYTES:
            return packet, Opened(How(rest[0]), rest[1 : 1 + EPOCH_BYTES], rest[1 + EPOCH_BYTES :])
        if kind == 3 and len(rest) >= CHALLENGE_BYTES:
            return packet, Denied(rest[:CHALLENGE_BYTES], rest[CHALLENGE_BYTES:].decode("ascii"))
    except (stamp.BadStamp, StopIteration, IndexError, ValueError) as wrong:
        raise BadOpening(f"answer: found {len(raw)} bytes without a word from the door: {wrong}") from wrong
    raise BadOpening(f"answer: found kind {kind} with {len(rest)} bytes")


TRIES = (0.2, 0.3, 0.5, 1.0, 2.0)
"""Seconds from one HELLO or OPEN to the next; the last one goes on."""
TRIES_OF_A_COOKIE = 4
"""OPENs after which a new cookie is asked for: it lives ten seconds at least."""
REMEMBERED = 8
"""HELLOs and OPENs to which an answer is heard: all of the last two seconds, for a queue may hold answers that long."""


class Opening:
    """The sender's end: ask :meth:`due` what to send, tell it what came, until ``opened`` or ``denied``.

    ``now`` is nanoseconds of a clock that does not step.
    """

    def __init__(self, token: str, key: bytes, ssid: int, now: int, mode: Mode = Mode.AUTHENTICATED) -> None:
        self.ssid = ssid
        self.mode = mode
        self.opened: Opened | None = None
        self.denied = ""
        self.asked = 0
        """HELLOs and OPENs sent."""
        self._token = token
        self._key = key
        self._cookie = b""
        self._tries = 0
        self._next = now
        self._numbers: deque[int] = deque(maxlen=REMEMBERED)

    def wake(self) -> int:
        """When :meth:`due` has something to send."""
        return self._next

    def due(self, now: int, time: int, estimate: ErrorEstimate) -> bytes | None:
        """The datagram to be sent now, if one is. ``time`` is UTC in nanoseconds as believed."""
        if self.opened or self.denied or now < self._next:
            return None
        if self._cookie and self._tries >= TRIES_OF_A_COOKIE:
            self._cookie, self._tries = b"", 0
        self._next = now + round(TRIES[min(self._tries, len(TRIES) - 1)] * 1e9)
        self._tries += 1
        self.asked += 1
        number = secrets.randbits(32)
        self._numbers.append(number)
        packet = SenderPacket(number, time, estimate, self.ssid)
        if not self._cookie:
            return write_asked(Asked(packet, self._token))
        proof = lease.proof(self._key, self._cookie, context(self.ssid, self.mode))
        return write_asked(Asked(packet, self._token, self._cookie, proof, self.mode))

    def hear(self, raw: bytes, now: int) -> bool:
        """A datagram came from the responder's address; says whether it was an answer to this opening."""
        try:
            packet, told = read_told(raw)
        except BadOpening:
            return False
        if packet.ssid != self.ssid or packet.sender_sequence not in self._numbers:
            return False
        match told:
            case Challenge(cookie):
                if not self._cookie:
                    self._cookie, self._tries, self._next = cookie, 0, now
            case Opened(how, epoch, proof):
                if self._cookie and lease.proves(
                    proof, self._key, self._cookie, opened_context(self._cookie, self.ssid, how, epoch)
                ):
                    self.opened = told
            case Denied(cookie, why):
                if self._cookie and hmac.compare_digest(cookie, self._cookie):
                    self.denied = why
        return True

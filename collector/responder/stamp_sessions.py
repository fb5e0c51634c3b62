"""Who is reflected, and with which count: the rules of the STAMP Session-Reflector (RFC 8762 section 4.3). No I/O.

A datagram of a stranger is answered by nothing, unless it brings a genuine lease; then by fewer bytes than it brought,
and nothing is remembered of it. A session is a lease, an address, a port and a session id that came through
:mod:`wire.stamp_opening`; only its packets are reflected, one for one, each number once.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.responder.admission import Admission, Session
from collector.responder.admission import Denied as NotAdmitted
from wire import lease, stamp
from wire.clock import SECOND, Instant
from wire.lease import BadLease, Purpose
from wire.stamp import ErrorEstimate, ReflectorPacket, SenderPacket
from wire.stamp_opening import (
    EPOCH_BYTES,
    Asked,
    BadOpening,
    Challenge,
    Denied,
    How,
    Mode,
    Opened,
    Told,
    context,
    is_opening,
    opened_context,
    read_asked,
    session_key,
    write_told,
)
from wire.udp_opening import Cookies

RATE = 20
"""Packets a second that a session may have reflected."""
BURST = 40
"""Packets at once: what a stalled network lets go after two seconds of silence."""
REMEMBERED = 1024
"""Numbers below the highest that are told from replayed ones."""
RETIRES = 10 * SECOND
"""Microseconds for which a session goes on after another one opened at its address: its last packets are under way."""


class Place(NamedTuple):
    """Where a session's packets come from, and its id."""

    address: str
    port: int
    ssid: int


class Seen:
    """Which sequence numbers came: a sliding window as in RFC 4303 section 3.4.3."""

    __slots__ = ("_bits", "_highest")

    def __init__(self) -> None:
        self._highest = -1
        self._bits = 0

    def fresh(self, number: int) -> bool:
        """Whether a number comes for the first time; remembers it. What is too far below the highest never is."""
        ahead = number - self._highest
        if ahead > 0:
            self._bits = (self._bits << ahead if ahead < REMEMBERED else 0) & ((1 << REMEMBERED) - 1) | 1
            self._highest = number
            return True
        if -ahead >= REMEMBERED or self._bits >> -ahead & 1:
            return False
        self._bits |= 1 << -ahead
        return True


@dataclass(slots=True, eq=False)
class Reflected:
    """One session."""

    admitted: Session
    place: Place
    mode: Mode
    key: bytes | None = field(repr=False)
    epoch: bytes
    count: int = 0
    """The reflector's own sequence number: packets reflected so far."""
    until: Instant | None = None
    """When it ends although its lease does not: another one took its place."""
    seen: Seen = field(default_factory=Seen)
    tokens: float = float(BURST)
    refilled: Instant = 0

    def over(self, now: Instant) -> bool:
        """Whether it reflects no more."""
        replaced = self.until is not None and now >= self.until
        return self.admitted.closed or now >= self.admitted.ends() or replaced

    def allows(self, size: int, now: Instant) -> bool:
        """Whether one more packet of ``size`` bytes at the IP layer is within its rate, both ways."""
        self.tokens = min(float(BURST), self.tokens + max(0, now - self.refilled) * RATE / SECOND)
        self.refilled = max(self.refilled, now)
        admitted = self.admitted
        if self.tokens < 1 or not admitted.may_take(size, now) or not admitted.may_send(size, now):
            return False
        self.tokens -= 1
        admitted.received += size
        admitted.sent += size
        return True


class Arrival(NamedTuple):
    """A datagram, and what the kernel says of it. ``at`` is UTC in nanoseconds."""

    raw: bytes
    address: str
    port: int
    at: int
    ttl: int
    overhead: int
    """Bytes of the IP and UDP headers."""


class Reflector:
    """The sessions. ``clock`` gives UTC in nanoseconds and is read as late as can be, ``estimate`` how good it is."""

    def __init__(
        self, admission: Admission, cookies: Cookies, clock: Callable[[], int], estimate: Callable[[], ErrorEstimate]
    ) -> None:
        self._admission = admission
        self._cookies = cookies
        self._clock = clock
        self._estimate = estimate
        self._sessions: dict[Place, Reflected] = {}

    @property
    def sessions(self) -> int:
        """How many are remembered."""
        return len(self._sessions)

    def hear(self, arrived: Arrival, now: Instant) -> bytes | None:
        """What a datagram deserves: an answer or, mostly, silence."""
        raw = arrived.raw
        if is_opening(raw):
            return self._at_the_door(arrived, now)
        for authenticated in (True, False):
            if len(raw) < (stamp.AUTHENTICATED if authenticated else stamp.PLAIN):
                continue
            place = Place(arrived.address, arrived.port, stamp.ssid_of(raw, authenticated=authenticated))
            session = self._sessions.get(place)
            if session is not None and (session.key is not None) is authenticated:
                return self._reflect(session, arrived, now)
        return None

    def _reflect(self, session: Reflected, arrived: Arrival, now: Instant) -> bytes | None:
        if session.over(now):
            self._drop(session)
            return None
        raw, key = arrived.raw, session.key
        try:
            packet = stamp.read_sender(raw, key)
        except stamp.BadStamp:
            return None
        if not session.seen.fresh(packet.sequence) or not session.allows(len(raw) + arrived.overhead, now):
            return None
        tlvs = b""
        if len(raw) > stamp.length_of(key):
            tlvs = stamp.reflected_tlvs(raw, stamp.length_of(key), authenticated=key is not None)
        number = packet.sequence if session.mode & Mode.STATELESS else session.count
        session.count = session.count + 1 & 0xFFFFFFFF
        return stamp.write_reflector(self._answer(packet, arrived, number, key is not None), key) + tlvs

    def _answer(self, packet: SenderPacket, arrived: Arrival, number: int, authenticated: bool) -> ReflectorPacket:
        estimate = self._estimate()
        sent = stamp.sender_time_of(arrived.raw, authenticated=authenticated)
        return ReflectorPacket(
            number, self._clock(), estimate, packet.ssid, arrived.at, packet.sequence, sent, packet.error, arrived.ttl
        )

    def _at_the_door(self, arrived: Arrival, now: Instant) -> bytes | None:
        try:
            asked = read_asked(arrived.raw)
        except BadOpening:
            return None
        told = self._welcome(asked, arrived, now) if asked.cookie else self._challenge(asked, arrived, now)
        if told is None:
            return None
        answer = write_told(self._answer(asked.packet, arrived, asked.packet.sequence, authenticated=False), told)
        return answer if len(answer) <= len(arrived.raw) else None

    def _challenge(self, asked: Asked, arrived: Arrival, now: Instant) -> Told | None:
        try:
            lease.read(asked.token, self._admission.secret, now)
        except BadLease:
            return None
        return Challenge(self._cookies.make(arrived.address, arrived.port, _nonce(asked), now))

    def _welcome(self, asked: Asked, arrived: Arrival, now: Instant) -> Told | None:
        """``None`` for whoever did not prove that it hears us."""
        if not self._cookies.holds(asked.cookie, arrived.address, arrived.port, _nonce(asked), now):
            return None
        place = Place(arrived.address, arrived.port, asked.packet.ssid)
        session = self._sessions.get(place)
        how = How.CONTINUED
        if session is None or session.over(now) or not self._same(session, asked, now):
            how = How.NEW
            try:
                session = self._opened(asked, place, now)
            except NotAdmitted as refusal:
                return Denied(asked.cookie, refusal.denial.value)
        says = opened_context(asked.cookie, place.ssid, how, session.epoch)
        return Opened(how, session.epoch, lease.proof(session.admitted.key, asked.cookie, says))

    def _same(self, session: Reflected, asked: Asked, now: Instant) -> bool:
        """Whether an opening is that of a session which is open: the answer was lost, or the path was down."""
        try:
            found = lease.read(asked.token, self._admission.secret, now)
        except BadLease:
            return False
        right = lease.proves(asked.proof, session.admitted.key, asked.cookie, context(session.place.ssid, asked.mode))
        return right and found.id == session.admitted.lease.id and asked.mode == session.mode

    def _opened(self, asked: Asked, place: Place, now: Instant) -> Reflected:
        proven = context(place.ssid, asked.mode)
        admitted = self._admission.admit(
            asked.token, asked.proof, asked.cookie, Purpose.STAMP, place.address, now, proven
        )
        self._tidy(now)
        for other in self._sessions.values():
            if (other.place.address, other.place.port) == (place.address, place.port):
                other.until = min(other.until or now + RETIRES, now + RETIRES)
        replaced = self._sessions.get(place)
        if replaced is not None:
            self._drop(replaced)
        key = session_key(admitted.key, place.ssid) if asked.mode & Mode.AUTHENTICATED else None
        session = Reflected(admitted, place, asked.mode, key, secrets.token_bytes(EPOCH_BYTES), refilled=now)
        self._sessions[place] = session
        return session

    def _tidy(self, now: Instant) -> None:
        for one in [one for one in self._sessions.values() if one.over(now)]:
            self._drop(one)

    def _drop(self, session: Reflected) -> None:
        self._admission.close(session.admitted)
        if self._sessions.get(session.place) is session:
            del self._sessions[session.place]


def _nonce(asked: Asked) -> bytes:
    return b"stamp" + asked.packet.ssid.to_bytes(2, "big")

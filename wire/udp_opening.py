"""The opening of a test over UDP, both ends of it (:mod:`wire.udp_tests` shows the exchange). Sans-IO.

The responder's end, :class:`Door`, remembers nothing of a client until its address is proven, so a flood from invented
addresses costs it no memory, and is answered with no more bytes than it brought: not at all without a genuine token.
"""

import hashlib
import hmac
from typing import NamedTuple

import msgspec

from wire import lease
from wire.clock import Instant
from wire.lease import CHALLENGE_BYTES, BadLease
from wire.udp_tests import (
    CHALLENGE_LENGTH,
    SIZES,
    Challenge,
    Denied,
    Hello,
    Malformed,
    Open,
    Opened,
    Plan,
    decode,
    encode,
    read_plan,
)

COOKIE_LIFE = 10_000_000
"""Microseconds of a cookie's period; a cookie is accepted in its own and the next one."""
TRIES = ((0, 0), (300_000_000, 0), (600_000_000, 1), (1_200_000_000, 1), (2_000_000_000, 1), (3_000_000_000, 1))
"""When HELLO and OPEN are sent, nanoseconds after the first, and at which of :data:`~wire.udp_tests.SIZES`."""
PATIENCE = 4_000_000_000
"""Nanoseconds after which a responder that has not answered is silent."""


class Cookies:
    """Stateless proof that a client hears what is sent to its address. ``secret`` is random and this process's own."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret[:64]

    def make(self, address: str, port: int, nonce: bytes, now: Instant) -> bytes:
        """The cookie for a client's address, port and nonce."""
        return self._of(address, port, nonce, now // COOKIE_LIFE)

    def holds(self, cookie: bytes, address: str, port: int, nonce: bytes, now: Instant) -> bool:
        """Whether a cookie was made for this client within the last 10 to 20 seconds."""
        period = now // COOKIE_LIFE
        made = (self._of(address, port, nonce, one) for one in (period, period - 1))
        return any(hmac.compare_digest(cookie, one) for one in made)

    def _of(self, address: str, port: int, nonce: bytes, period: int) -> bytes:
        text = f"{address}\0{port}\0{period}\0".encode() + nonce
        return hashlib.blake2b(text, digest_size=CHALLENGE_BYTES, key=self._secret).digest()


class Knock(NamedTuple):
    """A client whose address is proven wants in. Whether its proof and lease are good is for admission to say."""

    packet: Open
    plan: Plan
    length: int
    """Bytes of its packet: the answer is no longer."""


class Door:
    """The responder's end. ``secret`` signs leases, ``cookies`` proves addresses."""

    def __init__(self, secret: bytes, cookies: Cookies) -> None:
        self._secret = secret
        self._cookies = cookies

    def hear(self, raw: bytes, address: str, port: int, now: Instant) -> bytes | Knock | None:
        """What a datagram at the door deserves: an answer, the opening of a session, or silence."""
        if len(raw) < CHALLENGE_LENGTH:
            return None
        try:
            packet = decode(raw)
            if isinstance(packet, Hello):
                lease.read(packet.token, self._secret, now)
                return encode(Challenge(packet.nonce, self._cookies.make(address, port, packet.nonce, now)))
            if isinstance(packet, Open) and self._cookies.holds(packet.cookie, address, port, packet.nonce, now):
                return Knock(packet, read_plan(packet.plan), len(raw))
        except (Malformed, BadLease):
            return None
        return None


class Opening:
    """The agent's end: ask :meth:`due` what to send, tell it what came, until ``opened``, ``denied`` or ``silent``."""

    def __init__(self, token: str, key: bytes, plan: Plan, nonce: bytes, overhead: int, now: int) -> None:
        self._token = token
        self._key = key
        self._plan = plan
        self._nonce = nonce
        self._payloads = [size - overhead for size in SIZES]
        self._smallest = 0
        """Index of the largest size not known to be too large."""
        self._began = now
        self._tries = 0
        self._cookie: bytes | None = None
        self.opened: Opened | None = None
        self.denied: str | None = None
        self.length = 0
        """Bytes of payload of the packet sent last."""
        self.heard = False
        """Whether anything of the responder's came."""

    @property
    def over(self) -> bool:
        """Whether the answer is there."""
        return self.opened is not None or self.denied is not None

    def silent(self, now: int) -> bool:
        """Whether it makes no sense to wait on."""
        return not self.over and now - self._began >= PATIENCE

    def wake(self) -> int:
        """When :meth:`due` or :meth:`silent` will have something new."""
        return self._began + (TRIES[self._tries][0] if self._tries < len(TRIES) else PATIENCE)

    def due(self, now: int) -> bytes | None:
        """The datagram to be sent now, if one is."""
        if self.over or self._tries >= len(TRIES) or now < self.wake():
            return None
        self._smallest = max(self._smallest, TRIES[self._tries][1])
        self._tries += 1
        self.length = self._payloads[self._smallest]
        return self._packet()

    def too_long(self, now: int) -> bool:
        """The packet was too long for this machine's own route: takes the next size; ``False`` where there is none."""
        if self._smallest + 1 >= len(self._payloads):
            return False
        self._smallest += 1
        self._began, self._tries = now, 0
        return True

    def hear(self, raw: bytes, now: int) -> None:
        """A datagram came from the responder's address."""
        try:
            packet = decode(raw)
        except Malformed:
            return
        if packet[0] != self._nonce:
            return
        if isinstance(packet, Challenge) and self._cookie is None:
            self._cookie, self.heard = packet.cookie, True
            self._began, self._tries = now, 0
        elif isinstance(packet, Opened) and self._cookie is not None:
            self.opened = packet
            self.length = len(raw)
        elif isinstance(packet, Denied) and self._cookie is not None:
            self.denied = packet.why

    def _packet(self) -> bytes:
        if self._cookie is None:
            return encode(Hello(self._nonce, self._token), self.length)
        plan = msgspec.json.encode(msgspec.structs.replace(self._plan, payload=self.length))
        proof = lease.proof(self._key, self._cookie, plan)
        return encode(Open(self._nonce, self._cookie, proof, plan, self._token), self.length)


def opened_of(knock: Knock, session: bytes, down: int, up: int) -> bytes:
    """The answer to a knock that was let in: as long as the test's packets, so that they are known to pass."""
    return encode(Opened(knock.packet.nonce, session, down, up), knock.length)


def denied_of(knock: Knock, why: str) -> bytes:
    """The answer to a knock that was not."""
    return encode(Denied(knock.packet.nonce, why))

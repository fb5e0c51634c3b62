"""Both ends of light and call tests on this machine: a responder, leases for it, a client that does as told."""

import contextlib
import select
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

from agent.probe import Leases
from collector.responder import udp
from collector.responder.admission import Admission, Capacity
from collector.responder.udp import Server
from tests.support.lending import SECRET, granted
from wire.clock import SECOND, Instant
from wire.lease import Grant, Purpose
from wire.udp_opening import Opening
from wire.udp_tests import Opened, Packet, Plan, decode, encode

NONCE = b"a nonce."
MBPS = 1_000_000


def now() -> Instant:
    """UTC microseconds."""
    return time.time_ns() // 1000


def lent(purpose: Purpose = Purpose.LIGHT, **more: Any) -> Grant:
    """A lease that is in force now."""
    settled: dict[str, Any] = {"issued": now(), "expires": now() + 60 * SECOND, "seconds": 4.0}
    return granted(purpose, **(settled | more))


class Lender(Leases):
    """Gives whatever lease is asked for; ``asked`` remembers."""

    def __init__(self, secret: bytes = SECRET, **more: Any) -> None:
        self._secret = secret
        self._more = more
        self.asked: list[tuple[Purpose, str, str, str]] = []

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        self.asked.append((purpose, responder, slot, profile))
        return lent(purpose, secret=self._secret, **self._more)


@contextlib.asynccontextmanager
async def responding(host: str = "127.0.0.1", **capacity: int) -> AsyncIterator[tuple[Server, Admission]]:
    """A responder on a free port, closed at the end."""
    admission = Admission("hall", SECRET, Capacity(10**9, 10**9, **capacity), now() - SECOND)
    server = await udp.serve(host, 0, admission, now)
    try:
        yield server, admission
    finally:
        await server.close()


class Client:
    """One socket of an agent, or of somebody else. What hears blocks, with a time limit: call it from a thread."""

    def __init__(self, port: int, source: str = "127.0.0.1", host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((source, 0))
        self.socket.connect((host, port))
        self.identity = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, packet: Packet, length: int = 0) -> None:
        """Sends one packet."""
        self.socket.send(encode(packet, length))

    def hear(self, within: float = 5.0) -> Packet:
        """The next packet that comes; raises ``TimeoutError``."""
        return decode(self.bytes(within))

    def bytes(self, within: float = 5.0) -> bytes:
        """Its bytes."""
        if not select.select([self.socket], [], [], within)[0]:
            raise TimeoutError
        return self.socket.recv(2048)

    def hear_of(self, kind: type[Packet], within: float = 5.0) -> Any:
        """The next packet of one kind."""
        while not isinstance(found := self.hear(within), kind):
            pass
        return found

    def silence(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for so long."""
        return not select.select([self.socket], [], [], seconds)[0]

    def open(self, grant: Grant, plan: Plan, key: str = "") -> Packet:
        """Opens a session; returns the responder's answer."""
        opening = Opening(grant.token, bytes.fromhex(key or grant.key), plan, NONCE, 28, 0)
        while not opening.over:
            packet = opening.due(0)
            assert packet is not None
            self.socket.send(packet)
            self.said = packet
            raw = self.bytes()
            assert len(raw) <= len(packet), "no answer is longer than what it answers"
            opening.hear(raw, 0)
        answer = decode(raw)
        if isinstance(answer, Opened):
            self.identity = answer.session
        return answer

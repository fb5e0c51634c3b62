"""Both ends of light and call tests on this machine: a responder, leases for it, a client that does as told."""

import asyncio
import contextlib
import select
import socket
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from agent.probe import Leases, Result, Span, Target
from agent.probes.throughput.engine import Terms
from collector.responder import udp
from collector.responder.admission import Admission, Capacity
from collector.responder.udp import Server
from tests.support.lending import SECRET, granted
from wire.clock import SECOND, Instant
from wire.lease import Grant, Purpose
from wire.settings import ContractTerms, ResponderAt
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


async def respond(host: str) -> None:
    """A responder of its own process; until stdin ends."""
    async with responding(host) as (server, _):
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def ask(test: str, host: str, port: int, down: int, up: int, seconds: float) -> list[Result]:
    """One test of its own process."""
    if test == "light":
        from agent.probes.throughput.light import ENGINE

        place = ResponderAt(id="hall", host=host, udp_port=port)
        contract = ContractTerms(download=down, upload=up)
        return await ENGINE.run(Terms(place, contract, Lender(down=2 * down, up=2 * up)))
    from agent.probes.call import Call, CallSettings

    settings = CallSettings(host=host, port=port, download=down, upload=up, seconds=seconds)
    lender = Lender(down=2 * down, up=2 * up, seconds=20.0)
    finding = await Call().measure(Target("hall", "", settings, lender), Span(0, 40))
    whole = Result(
        engine="call", direction="both", start=0, end=0, outcome=finding.outcome, reason=finding.reason,
        facts=finding.facts,
    )  # fmt: skip
    return finding.results or [whole]


def main() -> None:
    """``respond HOST`` or ``light/call HOST PORT DOWN UP SECONDS``."""
    if sys.argv[1] == "respond":
        asyncio.run(respond(sys.argv[2]))
        return
    test, host, *numbers = sys.argv[1:]
    port, down, up = (int(one) for one in numbers[:3])
    print(msgspec.json.encode(asyncio.run(ask(test, host, port, down, up, float(numbers[3])))).decode())


if __name__ == "__main__":
    main()

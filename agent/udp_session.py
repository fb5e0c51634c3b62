"""The agent's end of a light or call test over UDP: opens the session, carries its packets. Blocking, for a thread.

A stream that is sent or received packet by packet has no place on the agent's event loop, which pings beside it.
"""

import asyncio
import errno
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from agent.addresses import Address
from agent.neterrors import finding_of
from agent.probe import Finding
from wire.lease import Grant
from wire.reasons import Outcome, Reason
from wire.udp_opening import Opening
from wire.udp_socket import Arrived, StreamSocket
from wire.udp_tests import NONCE_BYTES, SESSION_BYTES, Malformed, Opened, Packet, Plan, decode, encode, overhead

T = TypeVar("T")
REFUSALS = 2
"""So many ICMP messages in an opening are believed; one may be of an earlier socket's packet."""
_BUSY = frozenset({"busy", "too_many_of_source"})
"""Words of the responder that mean: come again."""


class Silent(Exception):
    """The responder did not answer. ``heard`` says whether it had answered the first packet."""

    def __init__(self, detail: str, heard: bool) -> None:
        super().__init__(detail)
        self.heard = heard


class TurnedAway(Exception):
    """The responder answered that it gives no session; ``why`` is its word."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the responder did not open the session: {why}")
        self.why = why


class Stopped(Exception):
    """The agent itself wants the test to end."""


class Talk:
    """An open session. Use :meth:`begin`, then close it."""

    def __init__(self, address: Address, stop: threading.Event) -> None:
        sock = socket.socket(address.family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(address.place)
        except OSError:
            sock.close()
            raise
        self.socket = StreamSocket(sock)
        self.overhead = overhead(address.text)
        self._stop = stop
        self._poller = select.poll()
        self._poller.register(self.socket.fileno(), select.POLLIN)
        self.identity = bytes(SESSION_BYTES)
        self.payload = 0
        """Bytes of UDP payload of a full packet, known to pass both ways."""
        self.refusals = 0
        """How often an ICMP message said that nothing listens there (any more)."""

    def close(self) -> None:
        """Closes the socket."""
        self.socket.close()

    def begin(self, grant: Grant, plan: Plan) -> Opened:
        """Opens the session; raises :class:`Silent`, :class:`TurnedAway`, :class:`Stopped` or ``OSError``."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        key = bytes.fromhex(grant.key)
        opening = Opening(grant.token, key, plan, nonce, self.overhead, time.monotonic_ns())
        while not opening.over:
            now = time.monotonic_ns()
            if self.refusals >= REFUSALS:
                raise Silent("nothing listens there (ICMP port unreachable)", opening.heard)
            if opening.silent(now):
                raise Silent("no answer", opening.heard)
            self._ask(opening, now)
            for arrived in self.wait(min(opening.wake() - now, 50_000_000)):
                opening.hear(arrived.raw, time.monotonic_ns())
        if opening.opened is None:
            raise TurnedAway(opening.denied or "")
        self.identity, self.payload = opening.opened.session, opening.length
        return opening.opened

    def wait(self, nanoseconds: int) -> Iterator[Arrived]:
        """What has come, or comes within the time; ends after the first batch. Raises :class:`Stopped`."""
        if self._stop.is_set():
            raise Stopped
        if nanoseconds >= 1_000_000:
            self._poller.poll(nanoseconds // 1_000_000)
        try:
            yield from self.socket.receive()
        except OSError as problem:
            self.heed(problem)

    def heed(self, problem: OSError) -> None:
        """Takes a report of the network: a closed port is silence, all else is raised."""
        if problem.errno != errno.ECONNREFUSED:
            raise problem
        self.refusals += 1

    def words(self, arrived: Arrived) -> Packet | None:
        """The packet, if it is one of this session."""
        try:
            packet = decode(arrived.raw)
        except Malformed:
            return None
        return packet if packet[0] == self.identity else None

    def tell(self, packet: Packet) -> None:
        """Sends a packet; what this machine has no room for is lost, as packets may be."""
        self.put(encode(packet))

    def put(self, raw: bytes) -> bool:
        """Sends bytes; ``False`` where they did not leave."""
        try:
            return self.socket.send(raw)
        except OSError as problem:
            self.heed(problem)
            return False

    def _ask(self, opening: Opening, now: int) -> None:
        packet = opening.due(now)
        while packet is not None:
            try:
                self.socket.send(packet)
            except OSError as problem:
                if problem.errno == errno.EMSGSIZE and opening.too_long(now):
                    packet = opening.due(now)
                    continue
                self.heed(problem)
            return


def unopened(problem: Exception) -> Finding:
    """What it means that no session opened."""
    if isinstance(problem, Silent):
        return Finding(outcome=Outcome.FAILED, reason=Reason.RESPONDER_SILENT, facts={"detail": str(problem)})
    if isinstance(problem, TurnedAway):
        reason = Reason.RESPONDER_BUSY if problem.why in _BUSY else Reason.NO_LEASE
        return Finding(outcome=Outcome.SKIPPED, reason=reason, facts={"detail": str(problem)})
    found = finding_of(problem)
    if found.reason is Reason.PROHIBITED:
        found.reason = Reason.UDP_BLOCKED
    return found


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Runs blocking work beside the loop. Cancelled, it tells the work to stop, waits for it and passes that on."""
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    done = loop.run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([done])
        if not done.cancelled():
            done.exception()  # seen: the cancellation says more
        raise

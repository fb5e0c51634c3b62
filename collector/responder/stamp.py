"""The responder's STAMP reflector (8862/udp): kernel time stamps, and answers for sessions under lease alone.

The packets are :mod:`wire.stamp`, the opening :mod:`wire.stamp_opening`, the rules
:mod:`collector.responder.stamp_sessions`.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable

from collector.responder.admission import Admission
from collector.responder.stamp_sessions import Arrival, Reflector
from wire.clock import SECOND, Instant
from wire.kernel_clock import clock_state
from wire.stamp import ErrorEstimate
from wire.stamp_socket import HEADERS, Datagram, listening, plain_address, receive
from wire.udp_opening import Cookies

AT_ONCE = 64
"""Datagrams in one go; then others have their turn on the loop."""
LOOK = 10 * SECOND
"""Microseconds for which the clock's state is believed."""


class Server:
    """The open port. ``port`` is the one that was bound."""

    def __init__(self, sock: socket.socket, admission: Admission, now: Callable[[], Instant]) -> None:
        self._socket = sock
        self._now = now
        self.look = clock_state
        """How the clock's state is seen."""
        self._estimate: ErrorEstimate | None = None
        self._looked = 0
        self.reflector = Reflector(admission, Cookies(secrets.token_bytes(32)), time.time_ns, self._clock_estimate)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)
        self.port = int(sock.getsockname()[1])

    async def close(self) -> None:
        """Ends all sessions and closes the port."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _clock_estimate(self) -> ErrorEstimate:
        now = self._now()
        if self._estimate is None or abs(now - self._looked) >= LOOK:
            self._estimate, self._looked = self.look().estimate(), now
        return self._estimate

    def _readable(self) -> None:
        with contextlib.suppress(OSError):  # an ICMP error to one of our answers: the sender comes again or does not
            for one in receive(self._socket, AT_ONCE):
                self._hear(one)

    def _hear(self, one: Datagram) -> None:
        address = plain_address(one.peer)
        overhead = HEADERS[socket.AF_INET6 if ":" in address else socket.AF_INET]
        arrival = Arrival(one.raw, address, one.peer[1], one.at or time.time_ns(), one.ttl, overhead)
        answer = self.reflector.hear(arrival, self._now())
        if answer is not None:
            with contextlib.suppress(OSError):  # what cannot be sent is lost, as datagrams may be
                self._socket.sendmsg([answer], one.local, 0, one.peer)


async def serve(host: str, port: int, admission: Admission, now: Callable[[], Instant]) -> Server:
    """Opens the port; raises ``OSError`` where it cannot be had. ``host`` is an address; ``::`` means IPv4 too."""
    return Server(listening(host or "::", port), admission, now)

"""The responder's UDP: light and call tests (8481/udp). Opening on the event loop, each session in a thread of its own.

The protocol is :mod:`wire.udp_tests`. Streams never pass through the event loop, which serves STAMP beside them.
"""

import asyncio
import secrets
from collections.abc import Callable

from collector.responder.admission import Admission
from wire.clock import Instant
from wire.udp_opening import Cookies, Door, Knock
from wire.udp_socket import DoorSocket, Met

AT_ONCE = 64
"""Datagrams at the door in one go; then others have their turn on the loop."""


class Server:
    """The open port. ``port`` is the one that was bound."""

    def __init__(self, door: DoorSocket, admission: Admission, now: Callable[[], Instant]) -> None:
        self._socket = door
        self._admission = admission
        self._now = now
        self._door = Door(admission.secret, Cookies(secrets.token_bytes(32)))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(door.fileno(), self._readable)
        self.port = door.port

    async def close(self) -> None:
        """Ends all sessions and closes the port."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        for met in self._socket.receive(AT_ONCE):
            answer = self._door.hear(met.raw, met.peer[0], met.peer[1], self._now())
            if isinstance(answer, Knock):
                self._admit(answer, met)
            elif answer is not None:
                self._socket.answer(met, answer)

    def _admit(self, knock: Knock, met: Met) -> None:
        _ = knock, met


async def serve(host: str, port: int, admission: Admission, now: Callable[[], Instant]) -> Server:
    """Opens the port; raises ``OSError`` where it cannot be had. ``host`` is an address; ``::`` means IPv4 too."""
    return Server(DoorSocket(host or "::", port), admission, now)

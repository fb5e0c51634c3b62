"""The responder's STAMP reflector (8862/udp): kernel time stamps, answers for sessions under lease alone.

The protocol is :mod:`wire.stamp`, its opening :mod:`wire.stamp_opening`, the rules :mod:`stamp_sessions`.
"""

import asyncio
from collections.abc import Callable

from collector.responder.admission import Admission
from wire.clock import Instant
from wire.udp_socket import DoorSocket


class Server:
    """The open port. ``port`` is the one that was bound."""

    def __init__(self, door: DoorSocket, admission: Admission, now: Callable[[], Instant]) -> None:
        self._socket = door
        self._admission = admission
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(door.fileno(), self._readable)
        self.port = door.port

    async def close(self) -> None:
        """Ends all sessions and closes the port."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        for _ in self._socket.receive(64):
            pass


async def serve(host: str, port: int, admission: Admission, now: Callable[[], Instant]) -> Server:
    """Opens the port; raises ``OSError`` where it cannot be had. ``host`` is an address; ``::`` means IPv4 too."""
    return Server(DoorSocket(host or "::", port), admission, now)

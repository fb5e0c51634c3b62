"""The responder's UDP: light and call tests (8481/udp). Opening on the event loop, each session in a thread of its own.

The protocol is :mod:`wire.udp_tests`. Streams never pass through the event loop, which serves STAMP beside them.
"""

import asyncio
import functools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from collector.responder.admission import Admission, Denial, Denied, Session
from collector.responder.udp_session import CallWork, LightWork, Work
from wire.clock import Instant
from wire.lease import Purpose
from wire.udp_opening import Cookies, Door, Knock, denied_of
from wire.udp_socket import DoorSocket, Met, StreamSocket
from wire.udp_tests import SESSION_BYTES, overhead

AT_ONCE = 64
"""Datagrams at the door in one go; then others have their turn on the loop."""
MOST = 64
"""Sessions of this server at once: each has a thread."""
WORKS: dict[Purpose, type[Work]] = {Purpose.LIGHT: LightWork, Purpose.CALL: CallWork}


class Server:
    """The open port. ``port`` is the one that was bound."""

    def __init__(self, door: DoorSocket, admission: Admission, now: Callable[[], Instant]) -> None:
        self._socket = door
        self._admission = admission
        self._now = now
        self._door = Door(admission.secret, Cookies(secrets.token_bytes(32)))
        self._works: dict[Work, asyncio.Future[None]] = {}
        self._threads = ThreadPoolExecutor(MOST, thread_name_prefix="udp-session")
        self._log = structlog.get_logger("collector.responder.udp")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(door.fileno(), self._readable)
        self.port = door.port

    @property
    def sessions(self) -> int:
        """How many are open."""
        return len(self._works)

    async def close(self) -> None:
        """Ends all sessions and closes the port."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for work in self._works:
            work.stop()
        if self._works:
            await asyncio.wait(self._works.values())
        self._threads.shutdown(wait=False)

    def _readable(self) -> None:
        for met in self._socket.receive(AT_ONCE):
            answer = self._door.hear(met.raw, met.peer[0], met.peer[1], self._now())
            if isinstance(answer, Knock):
                self._knocked(answer, met)
            elif answer is not None:
                self._socket.answer(met, answer)

    def _knocked(self, knock: Knock, met: Met) -> None:
        try:
            session = self._admit(knock, met.peer[0])
        except Denied as denied:
            self._socket.answer(met, denied_of(knock, denied.denial.value))
            return
        try:
            sock = StreamSocket(self._socket.session(met))
        except OSError as problem:  # no room in the table of open files: our trouble, and the client is told to wait
            self._log.error("udp session not opened", cause=str(problem))
            self._admission.close(session)
            self._socket.answer(met, denied_of(knock, Denial.BUSY.value))
            return
        kind = WORKS[session.lease.purpose]
        work = kind(sock, session, knock, secrets.token_bytes(SESSION_BYTES), overhead(met.peer[0]), self._now)
        future = self._loop.run_in_executor(self._threads, work.run)
        self._works[work] = future
        future.add_done_callback(functools.partial(self._ended, work, sock, session))

    def _admit(self, knock: Knock, source: str) -> Session:
        if len(self._works) >= MOST:
            raise Denied(Denial.BUSY, f"{MOST} light and call tests are running")
        packet, purpose = knock.packet, Purpose(knock.plan.test)
        return self._admission.admit(
            packet.token, packet.proof, packet.cookie, purpose, source, self._now(), packet.plan
        )

    def _ended(self, work: Work, sock: StreamSocket, session: Session, future: "asyncio.Future[None]") -> None:
        self._works.pop(work, None)
        sock.close()
        self._admission.close(session)
        problem = None if future.cancelled() else future.exception()
        if problem is not None:
            self._log.error("udp session broke", cause=f"{type(problem).__name__}: {problem}")


async def serve(host: str, port: int, admission: Admission, now: Callable[[], Instant]) -> Server:
    """Opens the port; raises ``OSError`` where it cannot be had. ``host`` is an address; ``::`` means IPv4 too."""
    return Server(DoorSocket(host or "::", port), admission, now)

"""The responder's throughput server: TCP port 8481. Admits sessions on the event loop and runs each in a thread.

Whoever connects gets a greeting of 24 bytes and nothing more until it has proven a lease; a connection that has shown
nothing within :data:`SHOW_WITHIN` seconds is closed, and their number is bounded in all and for each source.
"""

import asyncio
import contextlib
import errno
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Self

import structlog

from collector.limits import network_of
from collector.responder.admission import Admission, Denial, Denied, Session
from collector.responder.tcp_session import Transfer
from wire import lease, throughput
from wire.bulk import abort
from wire.clock import Instant
from wire.lease import Purpose
from wire.throughput import AgentSays, BadFrame, Join, Joined, Open, Opened, Refused, Told

SHOW_WITHIN = 5.0
"""Seconds from connecting to a proof."""
GATHER_WITHIN = 8.0
"""Seconds from the opening until all streams joined: a lost SYN costs 1 s, a second one 2 s more."""
MOST_STRANGERS = 512
"""Connections without a proof at one time."""
MOST_OF_ONE_SOURCE = 64
"""The same for one address, or one subscriber's network of IPv6: three tests behind one NAT."""
_BACKLOG = 512
_BRIEFLY = 0.05
log = structlog.get_logger(__name__)


class _Gathering:
    """A session whose streams are still joining."""

    def __init__(self, session: Session, wanted: int) -> None:
        self.session = session
        self.wanted = wanted
        self.streams: dict[int, socket.socket] = {}
        self.complete = asyncio.Event()


class TcpServer:
    """Listens until it is closed; made by :func:`serve`."""

    def __init__(self, listeners: list[socket.socket], admission: Admission, now: Callable[[], Instant]) -> None:
        self._listeners = listeners
        self._admission = admission
        self._now = now
        self._gathering: dict[str, _Gathering] = {}
        self._strangers: Counter[str] = Counter()
        self._cancelled = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        for one in listeners:
            self._start(self._accept(one))
        self.port: int = listeners[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening, ends the sessions and waits for their threads."""
        self._cancelled.set()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in self._listeners:
            one.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, place = await loop.sock_accept(listener)
            except OSError as problem:
                if problem.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    log.warning("no connection accepted", detail=problem.strerror)
                    await asyncio.sleep(_BRIEFLY)
                continue
            source = place[0].removeprefix("::ffff:")
            if self._strangers.total() >= MOST_STRANGERS or self._strangers[network_of(source)] >= MOST_OF_ONE_SOURCE:
                abort(sock)
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._strangers[network_of(source)] += 1
            self._start(self._meet(sock, source))

    async def _meet(self, sock: socket.socket, source: str) -> None:
        """One connection from its greeting until it belongs to a session, or not."""
        kept = False
        try:
            try:
                async with asyncio.timeout(SHOW_WITHIN):
                    first, says, challenge = await _first_words(sock)
            finally:
                network = network_of(source)
                self._strangers[network] -= 1
                if not self._strangers[network]:
                    del self._strangers[network]
            if isinstance(first, Open):
                await self._run(sock, says, first, challenge, source)
            elif isinstance(first, Join):
                kept = await self._join(sock, first, challenge)
        except (OSError, TimeoutError, BadFrame, _Gone) as problem:
            log.debug("a connection came to nothing", detail=str(problem))
        finally:
            if not kept:
                sock.close()

    async def _run(self, sock: socket.socket, says: AgentSays, first: Open, challenge: bytes, source: str) -> None:
        session = await self._admitted(sock, first, challenge, source)
        if session is None:
            return
        gathering = _Gathering(session, first.streams)
        self._gathering[session.lease.id] = gathering
        try:
            await _say(sock, Opened(session.down, session.up))
            async with asyncio.timeout(GATHER_WITHIN):
                await _complete_or_gone(sock, gathering.complete)
        except (TimeoutError, OSError, _Gone, asyncio.CancelledError):
            for one in (sock, *gathering.streams.values()):
                abort(one)
            self._admission.close(session)
            raise
        finally:
            del self._gathering[session.lease.id]
        streams = [gathering.streams[number] for number in sorted(gathering.streams)]
        await self._transfer(Transfer(sock, says, streams, session), session)

    async def _transfer(self, transfer: Transfer, session: Session) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()

        def tell(why: str) -> None:
            if not done.done():
                done.set_result(why)

        def work() -> None:
            why = "its thread failed"
            try:
                why = transfer.run(self._now, self._cancelled)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(tell, why)

        thread = threading.Thread(target=work, name="throughput", daemon=True)
        thread.start()
        try:
            why = await done
        except asyncio.CancelledError:
            why = await done  # ``_cancelled`` is set: the thread ends within a tick
            raise
        finally:
            self._admission.close(session)
        spent = {"bytes_sent": session.sent, "bytes_received": session.received}
        log.info("throughput test over", site=session.lease.site, link=session.lease.link, why=why, **spent)

    async def _admitted(self, sock: socket.socket, first: Open, challenge: bytes, source: str) -> Session | None:
        context = throughput.open_context(first.streams)
        try:
            return self._admission.admit(
                first.token, bytes.fromhex(first.proof), challenge, Purpose.THROUGHPUT, source, self._now(), context
            )
        except Denied as why:
            log.info("throughput test refused", source=source, denial=str(why.denial), detail=str(why))
            await self._refuse(sock, why.denial)
            return None

    async def _join(self, sock: socket.socket, first: Join, challenge: bytes) -> bool:
        gathering = self._gathering.get(first.lease)
        if gathering is None or first.stream >= gathering.wanted:
            await self._refuse(sock, Denial.BAD_LEASE)
            return False
        context = throughput.join_context(first.lease, first.stream)
        if not lease.proves(bytes.fromhex(first.proof), gathering.session.key, challenge, context):
            await self._refuse(sock, Denial.BAD_PROOF)
            return False
        if first.stream in gathering.streams:
            await self._refuse(sock, Denial.REPLAYED)
            return False
        gathering.streams[first.stream] = sock
        with contextlib.suppress(BlockingIOError):  # the first bytes of an empty socket always fit
            sock.send(throughput.frame(Joined()))
        if len(gathering.streams) == gathering.wanted:
            gathering.complete.set()
        return True

    @staticmethod
    async def _refuse(sock: socket.socket, denial: Denial) -> None:
        await _say(sock, Refused(str(denial)))


class _Gone(Exception):
    """The other side closed."""


async def _first_words(sock: socket.socket) -> tuple[throughput.Asked, AgentSays, bytes]:
    loop = asyncio.get_running_loop()
    challenge = secrets.token_bytes(lease.CHALLENGE_BYTES)
    await loop.sock_sendall(sock, throughput.greeting(challenge))
    says = AgentSays()
    while True:
        data = await loop.sock_recv(sock, throughput.LONGEST_OPENING)
        if not data:
            raise _Gone("closed before it said anything")
        messages = says.feed(data)
        if len(messages) > 1:
            raise BadFrame(f"opening: found {len(messages)} frames, expected one and then to wait for its answer")
        if messages:
            return messages[0], says, challenge


async def _complete_or_gone(sock: socket.socket, complete: asyncio.Event) -> None:
    """Waits for the streams; raises :class:`_Gone` as soon as the agent hangs up. Reads nothing of what it says."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        loop.remove_reader(sock)
        try:
            gone = not sock.recv(1, socket.MSG_PEEK)
        except OSError:
            gone = True
        if gone:
            waiting.cancel()

    waiting = loop.create_task(complete.wait())
    loop.add_reader(sock, look)
    try:
        await asyncio.wait({waiting})
        if waiting.cancelled():
            raise _Gone("closed before its streams had joined")
    finally:
        loop.remove_reader(sock)
        waiting.cancel()


async def _say(sock: socket.socket, message: Told) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, throughput.frame(message))


async def serve(host: str, port: int, admission: Admission, now: Callable[[], Instant]) -> TcpServer:
    """Listens on every address of ``host`` (empty = all, of both families); raises ``OSError`` where it cannot."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = list(dict.fromkeys((family, place) for family, _, _, _, place in found))
    listeners: list[socket.socket] = []
    try:
        for family, place in sorted(places, key=lambda one: one[0] != socket.AF_INET6):
            with contextlib.suppress(_NoSuchFamily):
                listeners.append(_listen(family, place, listeners[0].getsockname()[1] if listeners else port))
    except OSError:
        for one in listeners:
            one.close()
        raise
    if not listeners:
        raise OSError(errno.EAFNOSUPPORT, f"no address of {host or 'this machine'} to listen on")
    return TcpServer(listeners, admission, now)


class _NoSuchFamily(Exception):
    """This machine has no IPv6."""


def _listen(family: int, place: tuple[object, ...], port: int) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as problem:
        raise _NoSuchFamily from problem
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((place[0], port, *place[2:]))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock

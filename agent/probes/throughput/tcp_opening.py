"""Opens a throughput session: proves the lease on the control connection, then lets all streams join in parallel.

In parallel, because one lost SYN of connections opened one after the other stalls a test by a second each.
"""

import selectors
import socket
import threading
import time

from wire import lease, throughput
from wire.bulk import abort
from wire.lease import Grant
from wire.throughput import BadFrame, Join, Joined, Open, Opened, Refused, ResponderSays

SET_UP_WITHIN = 8.0
"""Seconds until all streams joined: a lost SYN costs 1 s, a second one 2 s more."""


class Broken(Exception):
    """The connections ended or stood still; the message says how."""


class Denied(Exception):
    """The responder did not open the session; ``denial`` is its code."""

    def __init__(self, denial: str) -> None:
        super().__init__(f"the responder refused: {denial}")
        self.denial = denial


class Cancelled(Exception):
    """The agent stops."""


class _Newcomer:
    """A connection that is not part of the test yet. ``stream`` is ``None`` for the control connection."""

    def __init__(self, sock: socket.socket, stream: int | None) -> None:
        self.sock = sock
        self.stream = stream
        self.greeting = bytearray()
        self.challenge: bytes | None = None
        self.asked = False
        self.joined = False
        self.says = ResponderSays()


class Opening:
    """The connections on their way into a session."""

    def __init__(self, control: socket.socket, grant: Grant, count: int) -> None:
        self._grant = grant
        self._count = count
        self._control = _Newcomer(control, None)
        self.streams: list[socket.socket] = []
        """Non-blocking; :meth:`abort` closes them."""
        self.opened = Opened()
        """What the responder allows; there once :meth:`run` returned."""

    def run(self, cancelled: threading.Event) -> ResponderSays:
        """Until all have joined; what reads the control connection is returned.

        Raises :class:`Broken`, :class:`Denied`, :class:`Cancelled`, ``OSError``, :class:`wire.throughput.BadFrame`.
        """
        ends = time.monotonic() + SET_UP_WITHIN
        with selectors.DefaultSelector() as selector:
            self._control.sock.setblocking(False)
            selector.register(self._control.sock, selectors.EVENT_READ, self._control)
            everyone = [self._control, *self._connect(selector)]
            while not all(one.joined for one in everyone):
                if cancelled.is_set():
                    raise Cancelled
                if time.monotonic() > ends:
                    raise Broken(f"not all connections were open after {SET_UP_WITHIN:.0f} s")
                for key, _ in selector.select(0.05):
                    self._hear(key.data)
                if self._control.joined:
                    for one in everyone:
                        self._ask_to_join(one)
        return self._control.says

    def _connect(self, selector: selectors.BaseSelector) -> list[_Newcomer]:
        peer = self._control.sock.getpeername()
        found = []
        for number in range(self._count):
            sock = socket.socket(self._control.sock.family, socket.SOCK_STREAM)
            self.streams.append(sock)
            sock.setblocking(False)
            sock.connect_ex(peer)  # a refusal shows when it is read
            found.append(_Newcomer(sock, number))
            selector.register(sock, selectors.EVENT_READ, found[-1])
        return found

    def _hear(self, one: _Newcomer) -> None:
        try:
            # No more than the greeting at first: what follows it are frames.
            data = one.sock.recv(4096 if one.challenge else throughput.GREETING_BYTES - len(one.greeting))
        except BlockingIOError:
            return
        if not data:
            raise Broken("the responder closed a connection before the test began")
        if one.challenge is None:
            one.greeting += data
            if len(one.greeting) == throughput.GREETING_BYTES:
                one.challenge = throughput.challenge_of(bytes(one.greeting))
                self._open(one)
            return
        for message in one.says.feed(data):
            if isinstance(message, Refused):
                raise Denied(message.denial)
            if not isinstance(message, Opened | Joined):
                raise BadFrame(f"opening: found {type(message).__name__}, expected Opened, Joined or Refused")
            if isinstance(message, Opened):
                self.opened = message
            one.joined = True

    def _open(self, one: _Newcomer) -> None:
        if one.stream is not None or one.challenge is None:
            return
        proof = self._proof(one.challenge, throughput.open_context(self._count))
        one.sock.sendall(throughput.frame(Open(self._grant.token, proof, self._count)))

    def _ask_to_join(self, one: _Newcomer) -> None:
        if one.stream is None or one.asked or one.challenge is None:
            return
        identity = self._grant.lease.id
        proof = self._proof(one.challenge, throughput.join_context(identity, one.stream))
        one.sock.sendall(throughput.frame(Join(identity, one.stream, proof)))
        one.asked = True

    def _proof(self, challenge: bytes, context: bytes) -> str:
        return lease.proof(bytes.fromhex(self._grant.key), challenge, context).hex()

    def abort(self) -> None:
        """Closes everything at once; the control connection says goodbye, which ends the session."""
        for one in self.streams:
            abort(one)
        self._control.sock.close()

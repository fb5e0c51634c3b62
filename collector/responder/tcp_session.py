"""One throughput session of the responder, from the moment all streams joined: sends or takes test bytes and reports.

It runs in a thread of its own, so that the event loop, which also answers STAMP, never waits for a full socket. The
thread spends its time inside system calls, which give the interpreter back.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable

from collector.responder.admission import Session
from wire import throughput
from wire.bulk import Allowance, Meter, Streams, abort
from wire.clock import Instant
from wire.throughput import AgentSays, BadFrame, Begin, Ended, Progress, Reading, Stop, Told

TICK = 0.005
"""Seconds between two rounds of taking what arrived."""
STALLED = 3.0
"""Seconds without a byte in either direction after which the agent counts as gone."""
_MOST_BACKLOG = 65_536
"""Bytes of reports that may wait for an agent that does not read them."""


class _Over(Exception):
    """The session ends; the message says why."""


class Transfer:
    """The session's sockets and the direction under way, if any."""

    def __init__(self, control: socket.socket, says: AgentSays, streams: list[socket.socket], session: Session) -> None:
        self._control = control
        self._says = says
        self._session = session
        self._streams = Streams(streams, max(session.down, session.up))
        self._direction: _Direction | None = None
        self._begun: set[str] = set()
        self._backlog = bytearray()
        self._selector = selectors.DefaultSelector()
        self._moved = time.monotonic()
        self._writable = False

    def run(self, now: Callable[[], Instant], cancelled: threading.Event) -> str:
        """Serves until the agent is done, the lease is over or ``cancelled``; returns why, in words. Closes all."""
        self._control.setblocking(False)
        self._selector.register(self._control, selectors.EVENT_READ)
        try:
            while not cancelled.is_set():
                self._round(now())
        except _Over as why:
            return str(why)
        except OSError as problem:
            return f"the agent's connection is gone: {problem.strerror or problem}"
        finally:
            self._selector.close()
            self._streams.abort()
            abort(self._control)
        return "the responder stops"

    def _round(self, now: Instant) -> None:
        if self._session.closed or now >= self._session.ends():
            raise _Over("the lease is used up")
        clock = time.monotonic()
        if clock - self._moved > STALLED:
            raise _Over(f"nothing moved for {STALLED:.0f} s")
        direction = self._direction
        may_send = direction is not None and direction.sends and direction.allowance.left(clock) >= 1
        self._watch_streams(may_send)
        for key, _ in self._selector.select(TICK if not may_send else TICK * 4):
            if key.fileobj is self._control:
                self._hear()
            elif direction is not None and self._direction is direction and not direction.allowance.overdrawn:
                self._streams.send(key.fileobj, direction.allowance)  # type: ignore[arg-type]
        self._flush()
        if self._direction is not None:
            self._serve(self._direction)

    def _watch_streams(self, wanted: bool) -> None:
        if wanted == self._writable:
            return
        self._writable = wanted
        for one in self._streams.sockets:
            if wanted:
                self._selector.register(one, selectors.EVENT_WRITE)
            else:
                self._selector.unregister(one)

    def _hear(self) -> None:
        data = self._control.recv(4096)
        if not data:
            raise _Over("the agent is done")
        try:
            messages = self._says.feed(data)
        except BadFrame as wrong:
            raise _Over(str(wrong)) from wrong
        for message in messages:
            self.hear(message)

    def hear(self, message: throughput.Asked) -> None:
        """What the agent asks on the control connection."""
        if isinstance(message, Begin | Stop):
            self._end(cut=False)
        if isinstance(message, Begin):
            rate = self._session.down if message.direction == "down" else self._session.up
            if message.direction in self._begun:  # each time anew would be a full allowance each time
                raise _Over(f"the lease allows {message.direction} once")
            self._begun.add(message.direction)
            if not rate:
                raise _Over(f"the lease allows nothing {message.direction}")
            seconds = min(message.seconds, self._session.lease.seconds)
            self._moved = time.monotonic()
            self._direction = _Direction(message.direction, rate, seconds, self._streams)
            self._report(self._direction)
        elif not isinstance(message, Stop):
            raise _Over("the agent opened twice")

    def _serve(self, direction: "_Direction") -> None:
        clock = time.monotonic()
        if not direction.sends and direction.allowance.left(clock) >= 1:
            for one in self._streams.sockets:
                self._streams.take(one, direction.allowance)
                if direction.allowance.left(clock) < 1:
                    break
        if self._streams.ended:
            raise _Over("the agent closed its streams")
        if clock >= direction.due:
            self._report(direction)
        if clock - direction.begun >= direction.seconds:
            self._end(cut=True)

    def _report(self, direction: "_Direction") -> None:
        """A reading to the agent, and to the ledger what was spent."""
        reading = self._streams.read(direction.begun, direction.allowance.held, sender=direction.sends)
        direction.due = max(direction.due + throughput.WINDOW, time.monotonic() + throughput.WINDOW / 2)
        spent = direction.spent(reading, self._streams.overhead)
        if spent:
            self._moved = time.monotonic()
        total = self._account(direction, spent)
        self._say(Progress(direction.name, reading))
        if total > direction.most(self._session):
            self._end(cut=True)

    def _account(self, direction: "_Direction", spent: int) -> int:
        """Enters what was spent; returns the direction's total."""
        if direction.sends:
            self._session.sent += spent
            return self._session.sent
        self._session.received += spent
        return self._session.received

    def _end(self, *, cut: bool) -> None:
        direction = self._direction
        if direction is None:
            return
        self._direction = None
        self._watch_streams(False)
        reading = self._streams.read(direction.begun, direction.allowance.held, sender=direction.sends)
        self._account(direction, direction.spent(reading, self._streams.overhead))
        self._moved = time.monotonic()
        congestion = self._streams.congestion() if direction.sends else ""
        self._say(
            Ended(
                direction=direction.name, reading=reading, segment=self._streams.segment, congestion=congestion,
                cut=cut, effort=direction.meter.effort(),
            )
        )  # fmt: skip

    def _say(self, message: Told) -> None:
        self._backlog += throughput.frame(message)
        if len(self._backlog) > _MOST_BACKLOG:
            raise _Over("the agent does not read its reports")
        self._flush()

    def _flush(self) -> None:
        if self._backlog:
            with contextlib.suppress(BlockingIOError):
                del self._backlog[: self._control.send(self._backlog)]


class _Direction:
    """One direction of a test under way."""

    def __init__(self, name: str, rate: int, seconds: float, streams: Streams) -> None:
        self.name = name
        self.sends = name == "down"
        self.seconds = seconds
        self.begun = self.due = time.monotonic()
        self.allowance = Allowance(rate, self.begun)
        self._last = streams.read(self.begun, 0.0, sender=self.sends)
        self.meter = Meter()

    def spent(self, reading: Reading, overhead: int) -> int:
        """Bytes at the IP layer since the last reading; ``overhead`` of them are each segment's headers."""
        last, self._last = self._last, reading
        if self.sends and reading.bytes:
            return reading.bytes - last.bytes + (reading.sent - last.sent) * overhead
        return reading.payload - last.payload + (reading.segments - last.segments) * overhead

    def most(self, session: Session) -> int:
        """Bytes that the lease allows in this direction."""
        rate = session.down if self.sends else session.up
        return session.lease.bytes or round(rate * session.lease.seconds / 8)

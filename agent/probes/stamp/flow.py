"""The shell between the event loop and one responder: a socket, a timer, and the windows that follow each other."""

import asyncio
import errno
import random
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from agent.addresses import Address
from agent.probe import LeaseRefused, Leases
from agent.probes.stamp.ledger import Tally
from agent.probes.stamp.session import Arrived, Clocks, Instant, Sender
from wire.kernel_clock import ClockState, clock_state
from wire.lease import Purpose
from wire.stamp_socket import connected, left_at, receive

INTERVAL = 0.1
"""Seconds from one packet to the next: ten a second are 11 kbit/s each way, below what a meeting would notice."""
SPREAD = 0.2
"""Share of the interval by which a packet may leave later than its even time, so that no other rhythm is met always."""
ALMOST = 0.5
"""Seconds before its end at which a window gives way to the next, whose caller came a little early."""
LOOK = 10.0
"""Seconds for which this machine's clock state and its address are believed."""
ASLEEP = 1_000_000_000
"""Nanoseconds by which CLOCK_BOOTTIME may run ahead of CLOCK_MONOTONIC before the machine was suspended."""
TIME_SET = 1_000_000
"""Nanoseconds by which the two clocks may seem to part between two readings without the wall clock having been set."""
FORGET_AFTER = 3600.0
"""Seconds after which a target that is measured no more is forgotten."""
NEXT_ADDRESS = 12
"""Openings sent in vain after which the responder's next address is tried."""

_OURS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL, errno.EMSGSIZE, errno.EMFILE}
)
"""Errors of sending that are this machine's own: such a packet was not sent. All others are the path's."""


class Trouble(NamedTuple):
    """Why nothing could be measured."""

    refused: LeaseRefused | None = None
    denied: str = ""
    problem: OSError | None = None


class Window:
    """A tally with what else is to be said of it."""

    def __init__(self, offset: int, forgotten: int) -> None:
        self.tally = Tally()
        self.trouble = Trouble()
        self.knocked = False
        """Whether an opening was sent: the responder was asked, at least."""
        self.own: list[ClockState] = []
        self.offset = offset
        self.stepped = False
        """Whether this machine's wall clock was set meanwhile."""
        self.forgotten = forgotten


class Flow:
    """Packets to one responder, window after window; sockets and numbers go on from one to the next."""

    def __init__(self, addresses: list[Address], responder: str, look: Callable[[], ClockState] = clock_state) -> None:
        self._addresses = addresses
        self._responder = responder
        self._loop = asyncio.get_running_loop()
        self._clocks = Clocks(look)
        self.sender = Sender(self._clocks.estimate)
        self._socket: socket.socket | None = None
        self._window: Window | None = None
        self._ends: dict[Window, asyncio.Future[None]] = {}
        self._leases: Leases | None = None
        self._borrowing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._end = self._looked = self._due = 0.0
        self._zero, self._step = self._loop.time(), 0
        self._asleep = _asleep(now())
        self._trouble = Trouble()
        self._random = random.Random()  # noqa: S311 - the hour of a packet is no secret

    @property
    def free(self) -> bool:
        """Whether :meth:`begin` may be called: no window is open, or the one open is all but over."""
        return self._window is None or self._end - self._loop.time() < ALMOST

    @property
    def stale(self) -> bool:
        """Whether nothing was measured for so long that nothing more is expected."""
        return self._window is None and self._loop.time() - self._end > FORGET_AFTER

    def aim(self, addresses: list[Address]) -> None:
        """Takes other addresses of the responder; not while a session is open."""
        if set(addresses) != set(self._addresses):
            self._addresses = addresses
            self._disconnect()

    def close(self) -> None:
        """Closes the socket."""
        self._stop()
        if self._borrowing is not None:
            self._borrowing.cancel()
        self._disconnect()

    def begin(self, seconds: float, leases: Leases) -> Window:
        """Opens a window of ``seconds``. Needs :attr:`free`."""
        self._leases = leases
        moment = now()
        if self._window is not None:
            self._finish(self._window)
        else:
            self.sender.quiet(moment)
        window = self._window = Window(moment.offset, self.sender.forgotten)
        self._ends[window] = self._loop.create_future()
        self._end = self._loop.time() + seconds
        self._trouble = self._trouble._replace(problem=None)
        self._timer = self._loop.call_at(min(self._due, self._end), self._tick)
        return window

    async def ended(self, window: Window) -> None:
        """Returns once the window's span is over and each of its packets is answered or lost. Cancelled, it stops
        sending, and packets still under way count no more."""
        try:
            await self._ends[window]
        except asyncio.CancelledError:
            window.tally.forget_waiting(time.monotonic_ns())
            self.sender.break_off(now())
            if self._window is window:
                self._stop()
            raise
        finally:
            window.tally.close(time.monotonic_ns())
            window.own.append(self._clocks.own)
            window.forgotten = self.sender.forgotten - window.forgotten
            del self._ends[window]

    def _stop(self) -> None:
        self._window = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _finish(self, window: Window) -> None:
        self._stop()
        window.trouble = self._trouble._replace(denied=self.sender.denied)
        tally, end = window.tally, self._ends[window]
        moment = time.monotonic_ns()
        tally.expire(moment)
        if tally.waiting:
            self._loop.call_later(max(0.0, (tally.deadline - moment) / 1e9), _resolve, end)
        else:
            _resolve(end)

    def _tick(self) -> None:
        window = self._window
        if window is None:
            return
        if self._loop.time() >= self._end - 1e-3:
            self._finish(window)
            return
        moment = now()
        self._look(window, moment)
        self._send(window, moment)
        passed = (self._loop.time() - self._zero) / INTERVAL
        self._step = max(self._step, int(passed - SPREAD)) + 1
        self._due = self._zero + (self._step + self._random.random() * SPREAD) * INTERVAL
        self._timer = self._loop.call_at(min(self._due, self._end), self._tick)

    def _look(self, window: Window, moment: Instant) -> None:
        """At the clocks, the lease and our own address."""
        if abs(moment.offset - window.offset) > TIME_SET:
            window.stepped = True
            window.offset = moment.offset
        asleep = _asleep(moment)
        if asleep - self._asleep > ASLEEP:
            self.sender.break_off(moment)
        self._asleep = asleep
        if self._loop.time() - self._looked >= LOOK:
            self._looked = self._loop.time()
            self._clocks.look()
            window.own.append(self._clocks.own)
            self._follow_route()
        if self._borrowing is None and self.sender.wants_lease(moment):
            self._borrowing = self._loop.create_task(self._borrow())

    async def _borrow(self) -> None:
        try:
            assert self._leases is not None  # noqa: S101 - begin() gave them
            grant = await self._leases.borrow(Purpose.STAMP, self._responder)
        except LeaseRefused as refused:
            self._trouble = Trouble(refused=refused)
            self.sender.refused(now(), refused.retry_after)
        else:
            self._trouble = Trouble()
            self.sender.lend(grant, now())
        finally:
            self._borrowing = None

    def _send(self, window: Window, moment: Instant) -> None:
        self._knock(window, moment)
        moment = now()
        packet = self.sender.packet(window.tally, moment)
        if packet is None:
            return
        if self._out(packet) in _OURS:
            self.sender.unsent(window.tally)
        elif self._socket is not None:
            self.sender.left(left_at(self._socket), moment)

    def _knock(self, window: Window, moment: Instant) -> None:
        opening = self.sender.poll(moment)
        if opening is None:
            return
        window.knocked = True
        self._out(opening)
        if self.sender.session is None and self.sender.knocked % NEXT_ADDRESS == 0:
            self._addresses.append(self._addresses.pop(0))
            self._disconnect()

    def _out(self, raw: bytes) -> int:
        """Sends; the number of the error, or 0. One that waited on the socket is an earlier packet's: once more."""
        try:
            sock = self._connect()
            try:
                sock.send(raw)
            except OSError:
                sock.send(raw)
        except OSError as problem:
            self._trouble = self._trouble._replace(problem=problem)
            return problem.errno or errno.EINVAL
        return 0

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = connected(*self._addresses[0][:2])
            self._loop.add_reader(self._socket.fileno(), self._readable)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _follow_route(self) -> None:
        """Opens the socket anew where packets would leave from another address now: a connected one keeps its own."""
        if self._socket is None or self.sender.session is None or not self.sender.silent(now()):
            return
        try:
            other = connected(*self._addresses[0][:2])
        except OSError:
            return  # no way out at all: the path is down, and the old socket as good as any
        with other:
            if other.getsockname()[0] != self._socket.getsockname()[0]:
                self._disconnect()

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            for one in receive(self._socket, 1):  # seldom is there a second one, and it wakes us again
                self._hear(Arrived(one.raw, one.at))
                return
            left_at(self._socket)  # a stamp that came late, which would wake us for ever
        except OSError as problem:
            self._trouble = self._trouble._replace(problem=problem)

    def _hear(self, arrived: Arrived) -> None:
        tally = self._window.tally if self._window else None
        moment = now()
        changed = self.sender.hear(arrived, moment, tally)
        if changed is None and self._window is not None:
            self._knock(
                self._window, moment
            )  # an opening has a next step, which need not wait for the next packet's time
        if changed is not None and not changed.waiting:
            for window, end in self._ends.items():
                if window.tally is changed and window is not self._window:
                    _resolve(end)


def now() -> Instant:
    """The clocks now, read closely together even on a busy machine."""
    for _ in range(4):
        before = time.time_ns()
        steady = time.monotonic_ns()
        after = time.time_ns()
        if 0 <= after - before < 20_000:
            break
    return Instant((before + after) // 2, steady, time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def _asleep(moment: Instant) -> int:
    return moment.boot - moment.steady


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)

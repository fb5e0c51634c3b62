"""The shell between the event loop and the echo sockets: one socket per family for all targets, no task per echo.

A :class:`Flow` sends to one target and fills its windows; the :class:`Pinger` owns the sockets and finds the echo that
a reply or an error belongs to.
"""

import asyncio
import errno
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from agent.probes.icmp.codec import ExtendedError, Family, number_near, reason_of
from agent.probes.icmp.sockets import Address, Arrived, EchoSocket, Event, Failed, Moment, moment
from agent.probes.icmp.window import EchoWindow
from wire.reasons import Reason

MEMORY = 60_000_000_000
"""Nanoseconds for which an echo is remembered, so that late replies and duplicates are told from foreign ones."""
MOST_REMEMBERED = 20_000
BEAT = 0.25
"""Seconds; echoes to all targets leave on a common beat, because waking the machine costs more than sending does.
An interval shorter than this is its own beat."""
ALMOST = 0.5
"""Seconds before its end at which a window gives way to the next, whose caller came a little early."""
STEP = 200_000
"""Nanoseconds by which the two clocks may seem to part while an echo is under way without it being a step: slewing
moves both alike, so this is the noise of reading them."""

# Errors of sending that are the path's fault, and those that are ours.
_NO_WAY_OUT = {
    errno.ENETUNREACH: Reason.NO_ROUTE,
    errno.EADDRNOTAVAIL: Reason.NO_ROUTE,
    errno.ENETDOWN: Reason.INTERFACE_DOWN,
    errno.EHOSTUNREACH: Reason.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Reason.HOST_UNREACHABLE,
}
_OURS = {
    errno.EPERM: Reason.NO_PERMISSION,
    errno.EACCES: Reason.NO_PERMISSION,
    errno.ENOBUFS: Reason.NO_RESOURCES,
    errno.ENOMEM: Reason.NO_RESOURCES,
    errno.EINVAL: Reason.BAD_TARGET,
    errno.EMSGSIZE: Reason.BAD_TARGET,
    errno.EAFNOSUPPORT: Reason.NOT_SUPPORTED,
}


class Received(NamedTuple):
    """What became of one echo: a round-trip time (nanoseconds) for a reply, or the error; who sent it."""

    number: int
    source: str
    rtt: int
    ttl: int | None
    error: ExtendedError | None


class _Echo(NamedTuple):
    number: int
    sent: Moment
    listener: Callable[[Received], None]


class Pinger:
    """The sockets, opened at first use, and the echoes under way."""

    def __init__(self) -> None:
        self._sockets: dict[Family, EchoSocket] = {}
        self._echoes: dict[int, _Echo] = {}
        self._order: deque[_Echo] = deque()
        self._newest = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, family: Family) -> EchoSocket:
        """The family's socket. Raises :class:`~agent.probes.icmp.sockets.NoPermission` or ``OSError``."""
        found = self._sockets.get(family)
        if found is None:
            found = EchoSocket(family)
            self._sockets[family] = found
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(found.fileno(), self._readable, found)
        return found

    def close(self) -> None:
        """Closes the sockets; echoes under way are forgotten."""
        for one in self._sockets.values():
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(one.fileno())
            one.close()
        self._sockets.clear()
        self._echoes.clear()
        self._order.clear()

    def send(
        self,
        family: Family,
        address: Address,
        size: int,
        listener: Callable[[Received], None],
        ttl: int | None = None,
    ) -> int:
        """Sends one echo and returns its number; ``listener`` hears of every reply and error. Raises ``OSError``."""
        sock = self.open(family)
        self._newest += 1
        number = self._newest
        sent = sock.send(address, number, size, ttl)
        echo = _Echo(number, sent, listener)
        self._echoes[number] = echo
        self._order.append(echo)
        self._forget(sent.steady)
        if sock.pending and self._loop is not None:
            self._loop.call_soon(self._readable, sock)
        return number

    def _forget(self, now: int) -> None:
        while self._order and (now - self._order[0].sent.steady > MEMORY or len(self._order) > MOST_REMEMBERED):
            del self._echoes[self._order.popleft().number]

    def _readable(self, sock: EchoSocket) -> None:
        events = sock.receive()
        if not events:
            return
        now = moment()
        for event in events:
            echo = self._echo_of(event)
            if echo is not None:
                error = event.error if isinstance(event, Failed) else None
                ttl = event.ttl if isinstance(event, Arrived) else None
                echo.listener(Received(echo.number, event.source, round_trip(echo.sent, event.at, now), ttl, error))

    def _echo_of(self, event: Event) -> _Echo | None:
        if isinstance(event, Arrived):
            return self._echoes.get(event.reply.number)
        number = event.quoted.number
        return self._echoes.get(number_near(event.quoted.sequence, self._newest) if number is None else number)


def round_trip(sent: Moment, stamp: int | None, now: Moment) -> int:
    """Nanoseconds from sending to arrival.

    The kernel's stamp of the arrival is on CLOCK_REALTIME, as that of the sending is. If the wall clock was stepped
    between them (or the machine slept), their difference is worthless: then, and without a stamp, the time on
    CLOCK_MONOTONIC up to ``now`` counts, which is never too short.
    """
    steady = now.steady - sent.steady
    if stamp is None or abs(now.offset - sent.offset) > STEP:
        return max(0, steady)
    return max(0, min(stamp - sent.real, steady))


class Flow:
    """Echoes to one target: a grid of sendings, and the window that counts those sent now.

    An echo belongs to the window it was sent in. A window whose last echoes are still waited for has stopped sending,
    so the next one may begin beside it: windows that follow each other lose and double nothing.
    """

    def __init__(
        self, pinger: Pinger, family: Family, address: Address, interval: float, timeout: float, size: int
    ) -> None:
        self._pinger = pinger
        self._loop = asyncio.get_running_loop()
        self._family = family
        self._address = address
        self._interval = interval
        self._timeout = timeout
        self._size = size
        self._tally: EchoWindow | None = None
        self._start = self._end = 0.0
        self._sendings = 0
        self._listener: Callable[[Received], None] = _deaf
        self._ends: dict[EchoWindow, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.source = ""
        """Who sent the last error."""

    @property
    def sending(self) -> bool:
        """Whether echoes are being sent."""
        return self._tally is not None

    @property
    def free(self) -> bool:
        """Whether :meth:`window` may be called: none is open, or the one open is all but over."""
        return self._tally is None or self._end - self._loop.time() < ALMOST

    def begin(self, seconds: float) -> EchoWindow:
        """Opens a window of ``seconds``. Needs :attr:`free`."""
        now = self._loop.time()
        if self._tally is not None:
            self._finish(self._tally)
        tally = self._tally = EchoWindow(round(self._timeout * 1e9))
        self._ends[tally] = self._loop.create_future()
        self._listener = partial(self._heard, tally)
        self._end, self._sendings = now + seconds, 0
        beat = min(BEAT, self._interval)
        self._start = math.ceil(now / beat) * beat
        if self._start > self._end - beat / 10:
            self._start = now
        self._timer = self._loop.call_at(self._start, self._tick)
        return tally

    async def ended(self, tally: EchoWindow) -> None:
        """Returns once the window's span is over and each of its echoes is answered or lost.

        Cancelled, it stops sending, and the echoes still waited for count no more.
        """
        try:
            await self._ends[tally]
        except asyncio.CancelledError:
            tally.forget_waiting(time.monotonic_ns())
            if self._tally is tally:
                self._stop()
            raise
        finally:
            tally.closed = True
            del self._ends[tally]

    def _stop(self) -> None:
        self._tally = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        tally = self._tally
        if tally is None:
            return
        now = self._loop.time()
        if now >= self._end - 1e-3:
            self._finish(tally)
            return
        if now >= self._start + self._sendings * self._interval - 1e-3:
            self._send(tally)
            missed = int((now - self._start) / self._interval)
            self._sendings = max(self._sendings, missed) + 1
        due = min(self._start + self._sendings * self._interval, self._end)
        self._timer = self._loop.call_at(due, self._tick)

    def _finish(self, tally: EchoWindow) -> None:
        """The window's span is over: it ends now, or when its last echo is answered or lost."""
        self._stop()
        end = self._ends[tally]
        now = time.monotonic_ns()
        tally.expire(now)
        if tally.waiting:
            self._loop.call_later(max(0.0, (tally.deadline - now) / 1e9), _resolve, end)
        else:
            _resolve(end)

    def _send(self, tally: EchoWindow) -> None:
        try:
            number = self._pinger.send(self._family, self._address, self._size, self._listener)
        except OSError as problem:
            cause = problem.errno or 0
            if cause in _NO_WAY_OUT:
                tally.unsendable(_NO_WAY_OUT[cause])
            else:
                tally.refused(_OURS.get(cause, Reason.NO_RESOURCES))
            return
        tally.send(number, time.monotonic_ns())

    def _heard(self, tally: EchoWindow, received: Received) -> None:
        if received.error is not None:
            self.source = received.source
            tally.fail(received.number, reason_of(received.error))
        elif not tally.closed:
            tally.receive(received.number, received.rtt)
        elif self._tally is not None:
            self._tally.receive_for(tally, received.number)
        if not tally.waiting and tally is not self._tally and tally in self._ends:
            _resolve(self._ends[tally])


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _deaf(_: Received) -> None:
    """Hears nothing: no window is open yet."""

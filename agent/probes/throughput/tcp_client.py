"""The agent's end of a throughput test over TCP: moves the bytes, reads the counters, stops early. In a thread.

Blocking on purpose: the event loop of the agent goes on with its other probes meanwhile.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from agent.neterrors import OURS
from agent.probes.throughput import windows
from agent.probes.throughput.engine import Direction
from agent.probes.throughput.nearby import Interface, Passed
from agent.probes.throughput.tcp_opening import Broken, Cancelled, Opening
from wire import tcp_info, throughput
from wire.bulk import Allowance, Meter, Streams, family_of
from wire.lease import Grant
from wire.throughput import BadFrame, Begin, Effort, Ended, Progress, Reading, ResponderSays, Stop

LONGEST = 2.0
"""Seconds of one direction where the rate never becomes stable."""
GRACE = 0.5
"""Seconds by which the responder may go on after us; where it ended first, the lease was used up."""
SILENCE = 1.0
"""Seconds without a byte, or without a word, after which the test counts as broken off."""
LAST_WORD_WITHIN = 1.5
TICK = 0.004
"""Seconds between two rounds of taking what arrived."""


class Run(NamedTuple):
    """What one direction brought, before anyone judges it."""

    direction: Direction
    start: int
    end: int
    """CLOCK_BOOTTIME, microseconds."""
    ours: list[Reading]
    theirs: list[Reading]
    segment: float
    """Bytes of a data segment at the IP layer: the mean of those sent; 0 = no kernel counts."""
    overhead: int
    """Of these, headers."""
    effort: Effort
    nearby: list[Passed]
    """The interface's counters at each of our readings."""
    congestion: str = ""
    interface: str = ""
    """Name of that by which the test left; empty where it is not known."""
    told: Ended | None = None
    problem: str = ""
    """Why it was broken off, in words."""
    cost: int = 0
    """Bytes at the IP layer in all, those after the last reading too, and the acknowledgements of the other direction:
    a router counts them."""

    @property
    def receiver(self) -> list[Reading]:
        """The readings of the side that took the bytes."""
        return self.ours if self.direction is Direction.DOWN else self.theirs

    @property
    def sender(self) -> list[Reading]:
        """The readings of the other side."""
        return self.theirs if self.direction is Direction.DOWN else self.ours


def counted(receiver: list[Reading], sender: list[Reading]) -> list[Reading]:
    """The receiver's readings, unless only the sender's kernel counts segments."""
    if sender and sender[-1].streams and not (receiver and receiver[-1].streams):
        return sender
    return receiver


class Client:
    """One test. ``control`` is connected already and belongs to it from now on."""

    def __init__(
        self,
        control: socket.socket,
        grant: Grant,
        cancelled: threading.Event,
        progress: Callable[[Direction, float, float], None],
        streams: int = throughput.STREAMS,
    ) -> None:
        self._control = control
        self._grant = grant
        self._cancelled = cancelled
        self._progress = progress
        self._opening = Opening(control, grant, streams)
        self._told: dict[str, Ended] = {}
        self.idle: list[int] = []
        """Microseconds: the least round-trip time of each stream before the test began."""

    def run(self, directions: tuple[Direction, ...]) -> list[Run]:
        """The directions one after the other; stops at the first that is broken off.

        Raises :class:`Broken` where it did not even begin, what else :class:`Opening` raises, and ``OSError`` only for
        this machine's own trouble, such as a full table of open files.
        """
        try:
            says = self._opening.run(self._cancelled)
            rate = max(self.allowed(Direction.DOWN), self.allowed(Direction.UP))
            streams = Streams(self._opening.streams, rate)
            self.idle = [info.min_rtt for info in map(tcp_info.of, streams.sockets) if info is not None]
            with selectors.DefaultSelector() as selector:
                selector.register(self._control, selectors.EVENT_READ)
                test = _Test(self._control, says, selector, streams, self._told)
                return self._all(test, directions)
        except OSError as problem:
            if problem.errno in OURS:
                raise
            raise Broken(problem.strerror or str(problem)) from problem
        except BadFrame as wrong:
            raise Broken(str(wrong)) from wrong
        finally:
            self._opening.abort()

    def allowed(self, direction: Direction) -> int:
        """Bits per second at the IP layer that lease and responder allow; there once the session is open."""
        down = direction is Direction.DOWN
        lease, opened = self._grant.lease, self._opening.opened
        return min(lease.down, opened.down) if down else min(lease.up, opened.up)

    def _all(self, test: "_Test", directions: tuple[Direction, ...]) -> list[Run]:
        found: list[Run] = []
        for direction in directions:
            seconds = min(LONGEST, self._grant.lease.seconds)
            flow = _Flow(test, direction, self.allowed(direction), seconds, self._cancelled, self._progress)
            found.append(flow.run())
            if found[-1].problem:
                break
        test.wait_for({one.direction.value for one in found if not one.problem}, self._cancelled)
        passed = test.segments()
        return [_completed(one, self._told, test.streams.segment, passed) for one in found]


class _Segments(NamedTuple):
    """Segments that passed this machine one way."""

    data: int
    bare: int
    """Without payload: what the test costs against its own direction."""


def _completed(run: Run, told: dict[str, Ended], segment: int, passed: dict[Direction, _Segments]) -> Run:
    ended = told.get(run.direction.value)
    full = ended.segment if ended else 0
    if run.direction is Direction.UP or not full:
        full = segment or full
    sender = [*run.sender, ended.reading] if ended and run.direction is Direction.DOWN else run.sender
    mean = windows.mean_segment(sender, run.overhead, full)
    problem = run.problem or ("" if ended else "the responder fell silent before its last word")
    data, bare = passed[run.direction]
    return run._replace(told=ended, segment=mean, problem=problem, cost=round(data * mean) + bare * run.overhead)


class _Test:
    """The connections of a test that began."""

    def __init__(
        self,
        control: socket.socket,
        says: ResponderSays,
        selector: selectors.BaseSelector,
        streams: Streams,
        told: dict[str, Ended],
    ) -> None:
        self._control = control
        self._says = says
        self.selector = selector
        self.streams = streams
        self.told = told
        self.theirs: dict[str, list[Reading]] = {}
        self.interface = Interface.holding(control.getsockname()[0])
        self.overhead = 0
        info = tcp_info.of(streams.sockets[0])
        if info is not None:
            self.overhead = info.header(family_of(streams.sockets[0]))

    def say(self, message: Begin | Stop) -> None:
        """A few bytes: they always fit."""
        self._control.sendall(throughput.frame(message))

    def hear(self) -> None:
        """What came on the control connection; raises :class:`Broken` at its end."""
        try:
            data = self._control.recv(65_536)
        except BlockingIOError:
            return
        if not data:
            raise Broken("the responder closed the test")
        for message in self._says.feed(data):
            if isinstance(message, Progress):
                self.theirs.setdefault(message.direction, []).append(message.reading)
            elif isinstance(message, Ended):
                self.told[message.direction] = message

    def wait_for(self, directions: set[str], cancelled: threading.Event) -> None:
        """The last word on each direction, for a short while; those that do not come are missing afterwards."""
        ends = time.monotonic() + LAST_WORD_WITHIN
        try:
            while not directions <= set(self.told) and time.monotonic() < ends and not cancelled.is_set():
                for _ in self.selector.select(0.05):
                    self.hear()
                for one in self.streams.sockets:  # what is still on its way must not stand before the last word
                    self.streams.take(one, None)
        except (Broken, OSError):
            return

    def watch(self, wanted: bool) -> None:
        """Whether to be told of streams that take more."""
        for one in self.streams.sockets:
            if wanted:
                self.selector.register(one, selectors.EVENT_WRITE)
            else:
                self.selector.unregister(one)

    def segments(self) -> dict[Direction, _Segments]:
        """Segments that passed this machine so far; zeros where nobody counts."""
        try:
            infos = [info for info in map(tcp_info.of, self.streams.sockets) if info is not None]
        except OSError:
            infos = []
        return {
            Direction.DOWN: _Segments(
                sum(info.data_segs_in for info in infos), sum(info.bare_segs_in for info in infos)
            ),
            Direction.UP: _Segments(
                sum(info.data_segs_out for info in infos), sum(info.bare_segs_out for info in infos)
            ),
        }


class _Flow:
    """One direction of a test."""

    def __init__(
        self,
        test: _Test,
        direction: Direction,
        rate: int,
        seconds: float,
        cancelled: threading.Event,
        progress: Callable[[Direction, float, float], None],
    ) -> None:
        self._test = test
        self._streams = test.streams
        self._direction = direction
        self._sends = direction is Direction.UP
        self._seconds = seconds
        self._cancelled = cancelled
        self._progress = progress
        self._begun = self._due = self._heard = time.monotonic()
        self._allowance = Allowance(rate, self._begun)
        self._looked = 0
        self._ours: list[Reading] = []
        self._theirs = test.theirs.setdefault(direction.value, [])
        self._nearby: list[Passed] = []

    def run(self) -> Run:
        """Until it has told enough; what went wrong stands in ``problem``. Raises :class:`Cancelled`."""
        meter, start = Meter(), _boottime()
        problem, congestion = "", ""
        try:
            self._test.say(Begin(self._direction.value, self._seconds + GRACE))
            self._read()
            self._move()
            self._test.say(Stop())
            if self._sends:
                congestion = self._streams.congestion()
        except Broken as trouble:
            problem = str(trouble)
        except OSError as trouble:
            if trouble.errno in OURS:
                raise
            problem = trouble.strerror or str(trouble)
        return Run(
            self._direction,
            start,
            _boottime(),
            self._ours,
            self._theirs,
            float(self._streams.segment),
            self._test.overhead,
            meter.effort(),
            self._nearby,
            congestion,
            self._test.interface.name,
            problem=problem,
        )

    def _move(self) -> None:
        watched = False
        try:
            while not self._done():
                if self._cancelled.is_set():
                    raise Cancelled
                may_send = self._sends and self._allowance.left(time.monotonic()) >= 1
                if may_send is not watched:
                    self._test.watch(may_send)
                    watched = may_send
                for key, events in self._test.selector.select(TICK * 3 if may_send else TICK):
                    if events & selectors.EVENT_READ:
                        self._test.hear()
                    elif not self._allowance.overdrawn:
                        self._streams.send(key.fileobj, self._allowance)  # type: ignore[arg-type]
                self._round()
        finally:
            if watched:
                self._test.watch(False)

    def _round(self) -> None:
        due = time.monotonic() >= self._due
        if due or not self._sends:
            for one in self._streams.sockets:
                self._streams.take(one, None)
            if self._streams.ended:
                raise Broken("the responder closed the connections")
        if due:
            self._read()

    def _read(self) -> None:
        self._ours.append(self._streams.read(self._begun, self._allowance.held, sender=self._sends))
        self._nearby.append(self._test.interface.read())
        clock = time.monotonic()
        self._due = max(self._due + throughput.WINDOW, clock + throughput.WINDOW / 2)
        last = windows.rates(self._counted()[-2:], self._streams.segment)
        self._progress(self._direction, min(1.0, (clock - self._begun) / self._seconds), last[-1].rate if last else 0.0)

    def _counted(self) -> list[Reading]:
        return counted(self._theirs, self._ours) if self._sends else counted(self._ours, self._theirs)

    def _done(self) -> bool:
        """Whether this direction has told enough; each new reading is looked at once."""
        clock, readings = time.monotonic(), self._counted()
        if self._direction.value in self._test.told or clock - self._begun >= self._seconds:
            return True
        if len(readings) == self._looked:
            if clock - self._heard > SILENCE:
                raise Broken(f"no word from the responder for {SILENCE:.0f} s")
            return False
        self._looked, self._heard = len(readings), clock
        if windows.silent_for(readings, self._streams.segment) >= SILENCE:
            raise Broken(f"nothing passed for {SILENCE:.0f} s")
        return windows.stable(windows.steady(readings, self._streams.segment))


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

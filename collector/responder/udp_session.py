"""One session of a light or call test at the responder, in a thread of its own, so that streams never pass through the
event loop. What is counted on the lease is what the IP layer carries."""

import contextlib
import select
import threading
import time
from collections.abc import Callable

from collector.responder.admission import Session
from wire import lease
from wire.call_stream import Item, timetable
from wire.clock import Instant
from wire.paced import Ramp, Tally, Volley
from wire.udp_opening import Knock, opened_of
from wire.udp_socket import MOST_SEGMENTS, Arrived, StreamSocket
from wire.udp_tests import (
    DATA,
    MOST_ENTRIES,
    REPORT_EVERY,
    SILENCE,
    Arrivals,
    Ask,
    Data,
    Done,
    End,
    Kind,
    Malformed,
    Open,
    Packet,
    Phase,
    Report,
    Why,
    decode,
    encode,
    read_plan,
)

FORGOTTEN = 2_000_000_000
"""Nanoseconds without a word from the client after which its session is over."""
AT_ONCE = 8
"""Parts of the list of arrivals that one ASK brings."""


class Work:
    """What both tests have in common. :meth:`run` lasts until the client says farewell, falls silent, or its lease
    ends; :meth:`stop` ends it from another thread."""

    def __init__(
        self, sock: StreamSocket, session: Session, knock: Knock, identity: bytes, overhead: int,
        now: Callable[[], Instant],
    ) -> None:  # fmt: skip
        self._socket = sock
        self._session = session
        self._knock = knock
        self._plan = knock.plan
        self._identity = identity
        self._overhead = overhead
        self._now = now
        self._stopped = threading.Event()
        self._over = False
        self._heard = time.monotonic_ns()
        self._tally = Tally()
        self._down = min(knock.plan.down, session.down)
        self._up = min(knock.plan.up, session.up)

    def stop(self) -> None:
        """Ends it within some milliseconds."""
        self._stopped.set()

    def run(self) -> None:
        """Serves the client."""
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLIN)
        self._put(opened_of(self._knock, self._identity, self._down, self._up))
        while not (self._over or self._stopped.is_set() or self._now() >= self._session.ends()):
            wait = self._step(time.monotonic_ns())
            if wait > 2_000_000:
                poller.poll(min(wait, REPORT_EVERY) // 1_000_000)
            elif wait > 0:
                time.sleep(wait / 1e9)
            self._listen()
            if time.monotonic_ns() - self._heard > FORGOTTEN:
                return

    def _step(self, now: int) -> int:
        """Sends what is due; returns the nanoseconds until there is more to do."""
        raise NotImplementedError

    def _word(self, packet: Packet, now: int) -> None:
        """A packet other than the stream's."""
        raise NotImplementedError

    def _listen(self) -> None:
        arrived: Arrived
        with contextlib.suppress(OSError):  # the client's port is closed (ECONNREFUSED): silence will end it
            for arrived in self._socket.receive():
                self._take(arrived)

    def _take(self, arrived: Arrived) -> None:
        raw = arrived.raw
        size = len(raw) + self._overhead
        if len(raw) >= DATA.size and raw[3] == Kind.DATA:
            packet = Data(*DATA.unpack_from(raw)[2:])
            if packet.session == self._identity and self._session.may_take(size, self._now()):
                self._session.received += size
                self._heard = time.monotonic_ns()
                self._count(packet, arrived.at, size)
            return
        try:
            word = decode(raw)
        except Malformed:
            return
        if isinstance(word, Open):
            self._again(word, len(raw))
        elif word[0] == self._identity:
            self._session.received += size
            self._heard = time.monotonic_ns()
            if isinstance(word, End):
                self._over = True
            else:
                self._word(word, self._heard)

    def _count(self, packet: Data, at: int, size: int) -> None:
        self._tally.take(packet, at, size)

    def _again(self, word: Open, length: int) -> None:
        """Our answer was lost, perhaps because packets of that size do not pass: the client asks with smaller ones."""
        if not lease.proves(word.proof, self._session.key, word.cookie, word.plan):
            return
        try:
            plan = read_plan(word.plan)
        except Malformed:
            return
        self._knock = Knock(word, plan, length)
        self._plan = plan
        self._put(opened_of(self._knock, self._identity, self._down, self._up))

    def _tell(self, packet: Packet) -> None:
        self._put(encode(packet))

    def _put(self, raw: bytes) -> bool:
        self._session.sent += len(raw) + self._overhead
        with contextlib.suppress(OSError):
            return self._socket.send(raw)
        return False


class LightWork(Work):
    """A light check: first our stream, then the client's."""

    _ramp: Ramp | None = None
    _volley: Volley | None = None
    _phase: int = Phase.NOTHING
    _reported = 0
    _sent_up: int | None = None

    def _step(self, now: int) -> int:
        ramp = self._ramp
        if self._phase == Phase.DOWN and ramp is not None and ramp.why is None:
            self._send(ramp, now)
            return min(ramp.wake() - time.monotonic_ns(), 1_000_000)
        if self._phase == Phase.UP and now - self._reported >= REPORT_EVERY and now - self._heard < SILENCE:
            self._reported = now
            self._tell(self._tally.report(self._identity, Phase.UP, self._socket.overflow, self._sent_up))
        return REPORT_EVERY if self._phase != Phase.UP else max(1_000_000, self._reported + REPORT_EVERY - now)

    def _send(self, ramp: Ramp, now: int) -> None:
        first, count = ramp.sent, ramp.due(now)
        payload = self._plan.payload
        while count:
            part = min(count, MOST_SEGMENTS)
            size = part * (payload + self._overhead)
            if not self._session.may_send(size, self._now()):
                ramp.unsent(count)
                ramp.stop(Why.LEASE)
                return
            if self._volley is None:
                self._volley = Volley(self._identity, payload, MOST_SEGMENTS)
            try:
                went = self._socket.burst(self._volley.of(first, part, time.time_ns(), ramp.stage), payload)
            except OSError:  # the client's port is closed
                went = 0
            self._session.sent += went * (payload + self._overhead)
            if went < part:
                ramp.unsent(count - went)
                return
            first, count = first + part, count - part

    def _word(self, packet: Packet, now: int) -> None:
        match packet:
            case Report(_, phase):
                self._phase = phase
                if phase == Phase.DOWN and self._down:
                    self._feedback(packet, now)
            case Done(_, Phase.UP, _, sent):
                self._sent_up, self._phase = sent, Phase.UP
                self._reported = 0
            case _:
                pass

    def _feedback(self, report: Report, now: int) -> None:
        if self._ramp is None:
            self._ramp = Ramp(self._down, self._plan.payload + self._overhead, now, self._plan.seconds)
        self._ramp.hear(report, now)
        if self._ramp.why is not None:
            ramp = self._ramp
            self._tell(Done(self._identity, Phase.DOWN, self._ramp.why, ramp.sent, ramp.bytes, ramp.idle))


class CallWork(Work):
    """A call: both streams at once."""

    _items: list[Item] | None = None
    _began = 0
    _next = 0
    _why: Why | None = None
    _base = 0
    _frozen: tuple[tuple[int, int], ...] | None = None

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self._arrivals: list[tuple[int, int]] = []
        self._most = 2 * len(timetable(self._up, self._plan.payload, self._overhead, self._plan.seconds))

    def _count(self, packet: Data, at: int, size: int) -> None:  # noqa: ARG002
        if self._frozen is None and len(self._arrivals) < self._most:
            self._arrivals.append((packet.number, at - packet.sent))

    def _step(self, now: int) -> int:
        if self._items is None or self._next >= len(self._items):
            return REPORT_EVERY
        if now - self._heard > SILENCE:  # the stream waits for the client and then goes on where it was
            self._began += now - self._base
            self._base = now
            return REPORT_EVERY
        self._base = now
        while self._next < len(self._items) and self._began + self._items[self._next].at <= now:
            item = self._items[self._next]
            if not self._session.may_send(item.size, self._now()):
                self._why, self._items = Why.LEASE, self._items[: self._next]
                return REPORT_EVERY
            packet = Data(self._identity, self._next, time.time_ns(), 0)
            self._put(encode(packet, item.size - self._overhead))
            self._next += 1
        if self._next >= len(self._items):
            return REPORT_EVERY
        return min(REPORT_EVERY, max(0, self._began + self._items[self._next].at - time.monotonic_ns()))

    def _word(self, packet: Packet, now: int) -> None:
        match packet:
            case Report(_, Phase.BOTH) if self._items is None:
                self._items = timetable(self._down, self._plan.payload, self._overhead, self._plan.seconds)
                self._items = self._items if self._down else []
                self._began = self._base = now
            case Done() if self._items is not None and self._next >= len(self._items):
                self._tell(Done(self._identity, Phase.BOTH, self._why or Why.COMPLETE, self._next, 0))
            case Ask(_, first):
                self._list(first)
            case _:
                pass

    def _list(self, first: int) -> None:
        """What arrived, by its delay above the least; late packets that come after the first question are not in it."""
        if self._frozen is None:
            least = min((delay for _, delay in self._arrivals), default=0)
            self._frozen = tuple((number, min(delay - least, 2**32 - 1)) for number, delay in self._arrivals)
        whole = len(self._frozen)
        for begin in range(first, max(first + 1, min(whole, first + AT_ONCE * MOST_ENTRIES)), MOST_ENTRIES):
            raw = encode(Arrivals(self._identity, whole, begin, self._frozen[begin : begin + MOST_ENTRIES]))
            if not self._session.may_send(len(raw) + self._overhead, self._now()):
                return  # more than the lease allows: the client asks again for what is missing
            self._put(raw)

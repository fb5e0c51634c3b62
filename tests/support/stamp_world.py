"""A STAMP sender and a reflector with a path between them, in made-up time: what the path did is known exactly."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.probes.stamp.ledger import Tally
from agent.probes.stamp.session import Arrived, Instant, Sender
from collector.responder.admission import Admission
from collector.responder.stamp_sessions import Arrival, Reflector
from tests.support.lending import NOW, granted, ledger
from wire.lease import Grant, Purpose
from wire.stamp import AUTHENTICATED, ErrorEstimate
from wire.udp_opening import Cookies

MS = 1_000_000
SECOND = 1_000_000_000
GOOD = ErrorEstimate(True, False, 20, 100)
BAD = ErrorEstimate(False, False, 36, 255)

Way = Callable[[int], list[int]]
"""From the number of a test packet on its way to the delays of its copies, nanoseconds: none = lost."""


def straight(delay: int) -> Way:
    """Every packet arrives once, after the same delay."""
    return lambda _: [delay]


def losing(delay: int, lost: set[int]) -> Way:
    """Some packets never arrive."""
    return lambda number: [] if number in lost else [delay]


def lease(hours: float = 24.0, **more: Any) -> Grant:
    """A STAMP lease that begins at ``NOW``."""
    life = round(hours * 3600e6)
    settled = {"issued": NOW, "expires": NOW + life, "down": 50_000, "up": 50_000, "seconds": 86_400.0}
    return granted(Purpose.STAMP, **(settled | more))


@dataclass
class Truth:
    """What the path did with test packets."""

    sent_up: int = 0
    lost_up: int = 0
    sent_down: int = 0
    lost_down: int = 0


@dataclass
class World:
    """Time goes on in :meth:`run`. The agent's wall clock is ``wrong`` nanoseconds ahead of the responder's. The
    reflector answers ``took`` nanoseconds after a packet came, and its clock is set by ``jump`` meanwhile."""

    up: Way = field(default_factory=lambda: straight(10 * MS))
    down: Way = field(default_factory=lambda: straight(10 * MS))
    wrong: int = 0
    took: int = 0
    jump: int = 0
    at: int = 0
    asleep: int = 0
    address: str = "192.0.2.1"
    port: int = 40_000
    truth: Truth = field(default_factory=Truth)
    admission: Admission = field(default_factory=ledger)
    estimate: ErrorEstimate = GOOD

    def __post_init__(self) -> None:
        self.sender = Sender(lambda: GOOD, itertools.count(1).__next__)
        self.reflector = self._reflector()
        self.answers: list[bytes] = []
        self._wire: list[tuple[int, int, str, bytes, int]] = []
        self._order = itertools.count()
        self._ticks = 0

    def _reflector(self) -> Reflector:
        return Reflector(
            self.admission, Cookies(b"c" * 32), lambda: self.utc + self.took + self.jump, lambda: self.estimate
        )

    @property
    def utc(self) -> int:
        """The responder's clock, nanoseconds."""
        return NOW * 1000 + self.at

    @property
    def here(self) -> Instant:
        """The agent's clocks."""
        return Instant(self.utc + self.wrong, 5 * SECOND + self.at - self.asleep, 7 * SECOND + self.at)

    def restart(self) -> None:
        """The reflector's process ends and begins again."""
        self.admission = ledger(started=self.utc // 1000)
        self.reflector = self._reflector()

    def lend(self, hours: float = 24.0) -> Grant:
        """A lease that begins now."""
        now = self.utc // 1000
        grant = lease(issued=now, expires=now + round(hours * 3600e6))
        self.sender.lend(grant, self.here)
        return grant

    def run(self, seconds: float, tally: Tally | None) -> None:
        """Ten packets a second; without a tally nothing is sent, but what is under way arrives."""
        ends = self.at + round(seconds * SECOND)
        while self.at < ends:
            self._deliver(min(ends, self._ticks * 100 * MS))
            if self.at >= ends:
                break
            self._ticks += 1
            if tally is not None:
                self._tick(tally)

    def close(self, tally: Tally, following: Tally | None = None) -> Tally:
        """Two seconds in which the last answers come, while the following window may be sent in; settles."""
        self.run(2.1, following)
        tally.expire(self.here.steady)
        tally.close(self.here.steady)
        return tally

    def window(self, seconds: float = 10.0) -> Tally:
        """One window by itself."""
        tally = Tally()
        self.tally = tally
        self.run(seconds, tally)
        return self.close(tally)

    def _tick(self, tally: Tally) -> None:
        self.tally = tally
        self._knock()
        packet = self.sender.packet(tally, self.here)
        if packet is not None:
            self._send("up", packet, self.port)

    def _knock(self) -> None:
        opening = self.sender.poll(self.here)
        if opening is not None:
            self._send("up", opening, self.port)

    def _send(self, way: str, raw: bytes, port: int, after: int = 0) -> None:
        delays = (self.up if way == "up" else self.down)(self._number(way, raw))
        for delay in delays:
            heapq.heappush(self._wire, (self.at + after + delay, next(self._order), way, raw, port))

    def _number(self, way: str, raw: bytes) -> int:
        """Of a test packet on its way, from 0; openings are -1."""
        if len(raw) != AUTHENTICATED:
            return -1
        number = getattr(self.truth, f"sent_{way}")
        setattr(self.truth, f"sent_{way}", number + 1)
        gone = not (self.up if way == "up" else self.down)(number)
        setattr(self.truth, f"lost_{way}", getattr(self.truth, f"lost_{way}") + gone)
        return int(number)

    def _deliver(self, until: int) -> None:
        while self._wire and self._wire[0][0] <= until:
            self.at, _, way, raw, port = heapq.heappop(self._wire)
            if way == "down":
                if port == self.port:
                    self._home(raw)
                continue
            arrival = Arrival(raw, self.address, port, self.utc, 60, 28)
            answer = self.reflector.hear(arrival, self.utc // 1000)
            if answer is not None:
                self.answers.append(answer)
                assert len(answer) <= len(raw)
                self._send("down", answer, port, self.took)
        self.at = max(self.at, until)

    def _home(self, raw: bytes) -> None:
        tally = getattr(self, "tally", None)
        changed = self.sender.hear(Arrived(raw, self.here.real), self.here, tally)
        if changed is None and tally is not None:
            self._knock()

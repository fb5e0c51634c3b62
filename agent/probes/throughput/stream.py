"""The two directions of a light check as the agent runs them, in a thread (:mod:`wire.paced` has the rules)."""

import time
from collections.abc import Callable
from typing import NamedTuple, Self

from agent.udp_session import Talk
from wire.paced import LEAD_IN, SECONDS, Ramp, Tally, Volley
from wire.udp_socket import MOST_SEGMENTS, Arrived
from wire.udp_tests import DATA, REPORT_EVERY, Data, Done, Kind, Phase, Report, Why

GONE = 1_500_000_000
"""Nanoseconds without a word after which the responder, or the way to it, is gone."""
SETTLE = 50_000_000
"""Nanoseconds that the last packets may be behind the word that all were sent."""
WHOLE = round(sum(length for _, length in LEAD_IN) + SECONDS * 1e9)

Told = Callable[[float, float], None]
"""Hears the share that is done, 0 to 1, and the rate in bits per second."""


class Course(NamedTuple):
    """How one direction went."""

    start: int
    end: int
    """CLOCK_BOOTTIME, microseconds."""
    why: Why
    sent: int
    report: Report
    """The receiver's last word; ``final`` is 0 where it never came."""
    size: int
    """Bytes of a full packet at the IP layer."""
    delays: list[int] = []
    """Of each packet above the least, nanoseconds; known for the direction that we received."""

    @classmethod
    def none(cls, why: Why, now: int) -> Self:
        """A direction in which nothing was sent; ``LEASE``: because none was allowed."""
        return cls(now, now, why, 0, Report(b"", Phase.NOTHING, final=int(why is Why.LEASE)), 0)


class _Meter:
    """Rate of about the last 100 ms, told with each report."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._began = time.monotonic_ns()
        self._marks: list[tuple[int, int]] = []

    def mark(self, now: int, total: int) -> None:
        self._marks = [*self._marks[-5:], (now, total)]
        (then, before), elapsed = self._marks[0], now - self._began
        rate = (total - before) * 8e9 / (now - then) if now > then else 0.0
        self._told(min(1.0, elapsed / WHOLE), rate)


def receive(talk: Talk, rate: int, told: Told) -> Course:  # noqa: ARG001 - the responder paces
    """The responder's stream: counts it and reports until it is done."""
    tally, meter, started = Tally(), _Meter(told), boottime()
    size = talk.payload + talk.overhead
    done: Done | None = None
    heard = time.monotonic_ns()
    reported = ends = 0
    while True:
        now = time.monotonic_ns()
        if done is not None and now >= ends:
            break
        if now - heard > GONE:
            return Course(
                started, boottime(), Why.SILENCE, tally.expected, _last(talk, tally, None), size, _above(tally)
            )
        if now - reported >= REPORT_EVERY:
            reported = now
            talk.tell(tally.report(talk.identity, Phase.DOWN, talk.socket.overflow))
            meter.mark(now, tally.bytes)
        for arrived in talk.wait(reported + REPORT_EVERY - now):
            heard = now
            word = _counted(talk, tally, arrived)
            if word is not None and done is None:
                done, ends = word, time.monotonic_ns() + SETTLE
    report = _last(talk, tally, done.sent)
    return Course(started, boottime(), Why(done.why), done.sent, report, size, _above(tally))


def _counted(talk: Talk, tally: Tally, arrived: Arrived) -> Done | None:
    raw = arrived.raw
    if len(raw) >= DATA.size and raw[3] == Kind.DATA:
        packet = Data(*DATA.unpack_from(raw)[2:])
        if packet.session == talk.identity:
            tally.take(packet, arrived.at, len(raw) + talk.overhead)
        return None
    word = talk.words(arrived)
    return word if isinstance(word, Done) else None


def _last(talk: Talk, tally: Tally, sent: int | None) -> Report:
    return tally.report(talk.identity, Phase.DOWN, talk.socket.overflow, sent)


def _above(tally: Tally) -> list[int]:
    least = min(tally.delays, default=0)
    return [one - least for one in tally.delays]


def send(talk: Talk, rate: int, told: Told) -> Course:
    """Our stream: paces it and heeds the responder's reports."""
    size = talk.payload + talk.overhead
    started = boottime()
    silence = Course(started, started, Why.SILENCE, 0, Report(talk.identity, Phase.UP), size)
    if _called(talk, Report(talk.identity, Phase.UP), final=False) is None:
        return silence._replace(end=boottime())
    ramp = Ramp(rate, size, time.monotonic_ns())
    meter, volley = _Meter(told), Volley(talk.identity, talk.payload, MOST_SEGMENTS)
    last = Report(talk.identity, Phase.UP)
    while ramp.why is None:
        now = time.monotonic_ns()
        _volleys(talk, ramp, volley, now)
        for arrived in talk.wait(0):
            word = talk.words(arrived)
            if isinstance(word, Report):
                last = word
                ramp.hear(word, time.monotonic_ns())
                meter.mark(now, word.bytes)
        time.sleep(max(0.0, min(ramp.wake() - time.monotonic_ns(), 1_000_000) / 1e9))
    ended = boottime()
    done = Done(talk.identity, Phase.UP, ramp.why, ramp.sent, ramp.bytes, ramp.idle)
    final = _called(talk, done, final=True)
    return Course(started, ended, ramp.why, ramp.sent, final or last, size)


def _volleys(talk: Talk, ramp: Ramp, volley: Volley, now: int) -> None:
    first, count = ramp.sent, ramp.due(now)
    while count:
        part = min(count, MOST_SEGMENTS)
        try:
            went = talk.socket.burst(volley.of(first, part, time.time_ns(), ramp.stage), talk.payload)
        except OSError as problem:
            talk.heed(problem)
            went = 0
        if went < part:
            ramp.unsent(count - went)
            return
        first, count = first + part, count - part


def _called(talk: Talk, packet: Report | Done, *, final: bool) -> Report | None:
    """Tells the responder until it reports, with its last word where ``final``; ``None`` when it is gone."""
    began = told = time.monotonic_ns()
    if final:
        time.sleep(SETTLE / 1e9 / 2)
    talk.tell(packet)
    while (now := time.monotonic_ns()) - began < GONE:
        if now - told >= SETTLE:
            told = now
            talk.tell(packet)
        for arrived in talk.wait(SETTLE - (now - told)):
            word = talk.words(arrived)
            if isinstance(word, Report) and word.final >= int(final):
                return word
    return None


def boottime() -> int:
    """CLOCK_BOOTTIME, microseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

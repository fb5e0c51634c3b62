"""The call itself as the agent carries it, in a thread: both streams at once, then the responder's list of arrivals."""

import threading
import time

from agent.addresses import Address
from agent.udp_session import Talk
from wire.call_stream import Item, timetable
from wire.lease import Grant
from wire.udp_socket import Arrived
from wire.udp_tests import (
    DATA,
    REPORT_EVERY,
    Arrivals,
    Ask,
    Data,
    Done,
    End,
    Kind,
    Opened,
    Phase,
    Plan,
    Report,
    Why,
    encode,
)

GONE = 3_000_000_000
"""Nanoseconds without a word after which the responder, or the way to it, is gone."""
SETTLE = 300_000_000
"""How long the last packets may be under way: three times the play-out time."""
ASK_EVERY = 100_000_000


class Conversation:
    """What was sent and what came, on both sides."""

    def __init__(self, opened: Opened, plan: Plan, talk: Talk) -> None:
        self.down, self.up = (
            timetable(rate, talk.payload, talk.overhead, plan.seconds) if rate else []
            for rate in (min(plan.down, opened.down), min(plan.up, opened.up))
        )
        self.allowed = opened
        self.start = self.end = boottime()
        self.sent_up = 0
        self.done: Done | None = None
        """The responder's last word on its stream; ``None`` if it never came."""
        self.arrivals_down: list[tuple[int, int]] = []
        """Number and delay by the two clocks, in order of arrival."""
        self.arrivals_up: list[tuple[int, int]] | None = None
        """The responder's list; ``None`` if it could not be fetched."""
        self.overflow = 0

    @property
    def sent_down(self) -> int:
        """Packets that the responder sent, as far as is known."""
        return self.done.sent if self.done else max((number + 1 for number, _ in self.arrivals_down), default=0)


class Caller:
    """One call over an open session."""

    def __init__(self, talk: Talk, opened: Opened, plan: Plan) -> None:
        self._talk = talk
        self.found = Conversation(opened, plan, talk)
        self._began = self._heard = time.monotonic_ns()
        self._asked = 0
        self._list: dict[int, tuple[tuple[int, int], ...]] = {}
        self._whole: int | None = None

    def run(self) -> Conversation:
        """Talks, then asks; the result lacks what could not be learned."""
        found = self.found
        while not self._gone() and found.sent_up < len(found.up):
            self._say()
            following = self._began + found.up[found.sent_up].at if found.sent_up < len(found.up) else 0
            self._listen(min(REPORT_EVERY, max(0, following - time.monotonic_ns())))
        found.end = boottime()
        settled = time.monotonic_ns() + SETTLE
        while not self._gone() and (found.done is None or time.monotonic_ns() < settled):
            self._remind(Done(self._talk.identity, Phase.BOTH, Why.COMPLETE, found.sent_up, 0))
            self._listen(REPORT_EVERY)
        while not self._gone() and found.arrivals_up is None:
            self._remind(Ask(self._talk.identity, self._first_missing()))
            self._listen(REPORT_EVERY)
        found.overflow = self._talk.socket.overflow
        for _ in range(3):
            self._talk.tell(End(self._talk.identity))
        return found

    def _gone(self) -> bool:
        return time.monotonic_ns() - self._heard > GONE

    def _say(self) -> None:
        found, talk = self.found, self._talk
        if not found.arrivals_down:  # begins the responder's stream; the rest of ours is its feedback
            self._remind(Report(talk.identity, Phase.BOTH), REPORT_EVERY)
        while found.sent_up < len(found.up):
            item: Item = found.up[found.sent_up]
            if self._began + item.at > time.monotonic_ns():
                return
            raw = encode(Data(talk.identity, found.sent_up, time.time_ns(), 0), item.size - talk.overhead)
            if not talk.put(raw) and not talk.refusals:
                return  # this machine's own queue is full: the packet comes again
            found.sent_up += 1

    def _remind(self, packet: Report | Done | Ask, every: int = ASK_EVERY) -> None:
        now = time.monotonic_ns()
        if now - self._asked >= every:
            self._asked = now
            self._talk.tell(packet)

    def _listen(self, nanoseconds: int) -> None:
        for arrived in self._talk.wait(nanoseconds):
            self._take(arrived)

    def _take(self, arrived: Arrived) -> None:
        raw, talk = arrived.raw, self._talk
        if len(raw) >= DATA.size and raw[3] == Kind.DATA:
            packet = Data(*DATA.unpack_from(raw)[2:])
            if packet.session == talk.identity and len(self.found.arrivals_down) < 2 * len(self.found.down):
                self._heard = time.monotonic_ns()
                self.found.arrivals_down.append((packet.number, arrived.at - packet.sent))
            return
        word = talk.words(arrived)
        if word is None:
            return
        self._heard = time.monotonic_ns()
        if isinstance(word, Done):
            self.found.done = word
        elif isinstance(word, Arrivals):
            self._part(word)

    def _part(self, part: Arrivals) -> None:
        self._whole = part.whole
        if part.first not in self._list:
            self._list[part.first] = part.entries
            self._asked = 0 if self._first_missing() % (8 * max(1, len(part.entries))) == 0 else self._asked
        if self._first_missing() >= part.whole:
            entries = [one for first in sorted(self._list) for one in self._list[first]]
            self.found.arrivals_up = entries[: part.whole]

    def _first_missing(self) -> int:
        """Index of the first arrival that was not told yet."""
        at = 0
        while self._list.get(at):
            at += len(self._list[at])
        return at


def converse(address: Address, grant: Grant, plan: Plan, stop: threading.Event) -> Conversation:
    """Opens a session and holds the call; raises as :meth:`agent.udp_session.Talk.begin` does."""
    talk = Talk(address, stop)
    try:
        opened = talk.begin(grant, plan)
        return Caller(talk, opened, plan).run()
    finally:
        talk.close()


def boottime() -> int:
    """CLOCK_BOOTTIME, microseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

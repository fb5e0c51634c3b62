"""What was sent, what came back, and on which way the rest was lost: pure rules over sequence numbers.

The reflector numbers its answers by a count of its own (RFC 8762 section 4.3, stateful): an answer counted there that
never came was lost on the way down, a packet of ours that was never counted on the way up. Times are nanoseconds.
"""

from typing import NamedTuple

TIMEOUT = 2_000_000_000
"""Nanoseconds after which an answer is late: it counts as lost."""
REMEMBERED = 12_000_000_000
"""Nanoseconds for which a packet is remembered, to tell late answers and duplicates from foreign ones."""


class Transit(NamedTuple):
    """One packet that was answered in time.

    ``up`` and ``down`` are the reflector's clock against ours (CLOCK_MONOTONIC): delays but for a constant, the same
    with both signs. Their sum is ``rtt``, without the time that the reflector took.
    """

    steady: int
    rtt: int
    up: int
    down: int


class Tally:
    """One window: the packets **sent** in it, whenever they are answered."""

    def __init__(self) -> None:
        self.sent = 0
        self.duplicates = 0
        self.reordered = 0
        self.reordered_up = 0
        self.reordered_down = 0
        self.late = 0
        self.sent_up = 0
        self.lost_up = 0
        self.sent_down = 0
        self.lost_down = 0
        self.set_aside = 0
        """Packets that count no more: the reflector had forgotten the session, or the measurement was cut."""
        self.transits: list[Transit] = []
        """In the order of arrival."""
        self.closed = False
        self.runs: dict[Run, int] = {}
        """The counts in use, with the last number of each that was sent in this window."""
        self._waiting: dict[tuple[Run, int], int] = {}
        self._last = 0

    @property
    def lost(self) -> int:
        """Packets not answered in time (yet)."""
        return self.sent - len(self.transits)

    @property
    def waiting(self) -> bool:
        """Whether a packet may still be answered in time."""
        return bool(self._waiting)

    @property
    def deadline(self) -> int:
        """When the last packet's time is up (monotonic)."""
        return self._last + TIMEOUT

    def expire(self, now: int) -> None:
        """Stops waiting for packets whose time is up."""
        while self._waiting:
            key, at = next(iter(self._waiting.items()))
            if now - at < TIMEOUT:
                return
            del self._waiting[key]

    def forget_waiting(self, now: int) -> None:
        """Takes back the packets whose time is not up: the measurement was cut, and nobody will know."""
        self.expire(now)
        for run, number in list(self._waiting):
            run.take_back(number)

    def close(self, now: int) -> None:
        """Settles on which way packets were lost; nothing changes afterwards."""
        for run, last in self.runs.items():
            run.settle(last, self)
            run.prune(now)
        self.closed = True

    def add(self, run: "Run", number: int, at: int) -> None:
        """A packet was sent at ``at``."""
        self.sent += 1
        self.runs[run] = number
        self._waiting[run, number] = at
        self._last = at

    def remove(self, run: "Run", number: int) -> None:
        """The last packet was not sent after all."""
        self.sent -= 1
        self.runs[run] = number - 1
        self.drop(run, number)

    def drop(self, run: "Run", number: int) -> None:
        """A packet of this window is waited for no more."""
        self._waiting.pop((run, number), None)


class _Packet:
    __slots__ = ("answered", "at", "tally", "void")

    def __init__(self, tally: Tally, at: int) -> None:
        self.tally = tally
        self.at = at
        self.answered = False
        self.void = False


class Answer(NamedTuple):
    """One answer as it arrived. ``reflected`` is the reflector's own number."""

    number: int
    reflected: int
    arrived: int
    """Monotonic."""
    up: int
    down: int
    """As in :class:`Transit`."""


class Run:
    """One count of the reflector's: it begins at 0 with ours."""

    def __init__(self) -> None:
        self.next = 0
        self._packets: dict[int, _Packet] = {}
        self._answers: dict[int, int] = {}
        """Reflector's numbers of the packets that were answered, beyond the settled ones."""
        self._settled = -1
        self._reflected = 0
        """How many of the settled ones the reflector counted."""
        self._highest = -1
        """Highest number of the reflector's among the settled ones."""
        self._newest = -1
        self._newest_reflected = -1
        self._broken_at: int | None = None

    def send(self, tally: Tally, at: int) -> int:
        """The number of a packet that is sent now."""
        number = self.next
        self.next += 1
        self._packets[number] = _Packet(tally, at)
        tally.add(self, number, at)
        return number

    def left(self, at: int) -> None:
        """The packet numbered last left at ``at``, as the kernel knows better than whoever handed it over."""
        packet = self._packets.get(self.next - 1)
        if packet is not None:
            packet.at = at

    def unsend(self, tally: Tally) -> None:
        """The packet numbered last never left: its number is free again."""
        self.next -= 1
        del self._packets[self.next]
        tally.remove(self, self.next)

    def sent_at(self, number: int) -> int | None:
        """When a packet was sent (monotonic); ``None`` for one that is not remembered."""
        packet = self._packets.get(number)
        return None if packet is None else packet.at

    def take_back(self, number: int) -> None:
        """A packet counts no more, whatever becomes of it."""
        packet = self._packets.get(number)
        if packet is None or packet.void or packet.answered or packet.tally.closed:
            return
        packet.void = True
        packet.tally.sent -= 1
        packet.tally.set_aside += 1
        packet.tally.drop(self, number)

    def hear(self, answer: Answer, now: Tally | None) -> Tally | None:
        """An answer came; returns the window that it changed. ``now`` is the window being sent in, which counts what
        came for a window that is closed."""
        packet = self._packets.get(answer.number)
        if packet is None or packet.void:
            return None
        tally = now if packet.tally.closed else packet.tally
        if packet.answered:
            if tally is not None:
                tally.duplicates += 1
            return tally
        packet.answered = True
        packet.tally.drop(self, answer.number)
        if answer.number > self._settled:
            self._answers[answer.number] = answer.reflected
        if answer.arrived - packet.at > TIMEOUT or packet.tally.closed:
            if tally is not None:
                tally.late += 1
            return tally
        self._note_order(packet.tally, answer)
        packet.tally.transits.append(Transit(packet.at, max(0, answer.up + answer.down), answer.up, answer.down))
        return packet.tally

    def _note_order(self, tally: Tally, answer: Answer) -> None:
        """RFC 4737 section 3.3: whatever is below the next expected number was overtaken."""
        tally.reordered += answer.number < self._newest
        tally.reordered_down += answer.reflected < self._newest_reflected
        self._newest = max(self._newest, answer.number)
        self._newest_reflected = max(self._newest_reflected, answer.reflected)

    def set_aside(self) -> None:
        """The reflector has forgotten this count: what it answered last is the last that can be known of it. Packets
        after that count no more, as far as their window is open."""
        newest = max((number for number, one in self._packets.items() if one.answered), default=self._settled)
        for number in [number for number in self._packets if number > newest]:
            tally = self._packets[number].tally
            self.take_back(number)
            if not tally.closed and self in tally.runs:
                tally.runs[self] = newest

    def break_off(self) -> None:
        """The machine slept: nothing is claimed of the way of what was under way."""
        self._broken_at = self.next - 1

    def settle(self, last: int, tally: Tally) -> None:
        """Attributes the packets up to number ``last`` to a way, as far as later answers tell, and counts them in
        ``tally``. What no later answer tells of yet (the path is down) is settled with a later window."""
        self._mend()
        overtaken = _overtaken(self._answers, self._settled, last)
        known = [number for number in sorted(self._answers) if number > self._settled]
        before = max((number for number in known if number <= last), default=self._settled)
        after = next((number for number in known if number > last), None)
        counted = self._counted(before)
        target = before
        if after is not None and last > before:
            between = max(0, min(after - before - 1, self._counted(after) - counted - 1))
            mine, others = last - before, after - last - 1
            share = round(between * mine / (mine + others))
            counted += max(between - others, min(share, mine, between))
            target = last
        if target <= self._settled:
            return
        sent, reflected = target - self._settled, max(0, counted - self._reflected)
        answered = sum(number <= target for number in known)
        tally.sent_up += sent
        tally.lost_up += max(0, sent - reflected)
        tally.sent_down += reflected
        tally.lost_down += max(0, reflected - answered)
        tally.reordered_up += overtaken
        self._move(target, counted)

    def _counted(self, number: int) -> int:
        """How many packets up to an answered one (or the settled ones) the reflector counted."""
        highest = max((one for key, one in self._answers.items() if key <= number), default=-1)
        highest = max(highest, self._highest)
        if number <= self._settled:
            return self._reflected
        ahead = sum(1 for key, one in self._answers.items() if key > number and one < highest)
        return highest + 1 - ahead

    def _move(self, target: int, counted: int) -> None:
        gone = [one for number, one in self._answers.items() if number <= target]
        self._highest = max(self._highest, *gone) if gone else self._highest
        self._settled, self._reflected = target, counted
        self._answers = {number: one for number, one in self._answers.items() if number > target}

    def _mend(self) -> None:
        """After a break, the first packet answered is where the account goes on."""
        if self._broken_at is None:
            return
        first = min((number for number in self._answers if number > self._broken_at), default=None)
        if first is None:
            self._move(max(self._settled, self._broken_at), self._reflected)
            return
        self._move(first, self._counted(first))
        self._broken_at = None

    def prune(self, now: int) -> None:
        """Forgets packets of which nothing more is expected."""
        while self._packets:
            number = next(iter(self._packets))
            packet = self._packets[number]
            if not packet.tally.closed or now - packet.at < REMEMBERED:
                return
            del self._packets[number]


def _overtaken(answers: dict[int, int], settled: int, last: int) -> int:
    """Packets from ``settled`` to ``last`` that arrived at the reflector after a later one."""
    newest, found = -1, 0
    for number, _ in sorted(answers.items(), key=lambda pair: pair[1]):
        found += settled < number <= last and number < newest
        newest = max(newest, number)
    return found

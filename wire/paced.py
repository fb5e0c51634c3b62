"""The light check's rules: how its stream climbs, when it stops by itself, and what a receiver counts. Pure.

The stream climbs in stages, so that a link in trouble is not hit at full rate, and goes on to the next stage only when
reports show that the one before came through. It is spread in bursts of about a millisecond: a queue at the bottleneck
holds no more than that. Times are nanoseconds, rates bits per second and bytes at the IP layer.
"""

from wire.udp_tests import DATA, MAGIC, SILENCE, Data, Kind, Report, Why

SHARE = 0.95
"""Of the contract: enough to prove a link, little enough to leave no queue (field page bandwidth, sections 1 and 2)."""
LEAD_IN = ((0.25, 80_000_000), (0.5, 80_000_000))
"""Stages before the last: part of the top rate, and nanoseconds."""
TOP = len(LEAD_IN)
"""Number of the last stage, in which the rate is proven."""
SECONDS = 0.45
"""Length of the last stage. With the stages before it 17 MB for both directions of 200/80."""
RISE = 20_000_000
"""One-way delay above the least one at which the check stops (field page bandwidth, section 1)."""
STRAY = 3
"""Packets that may be lost without it being a sign of a full queue: product default, and :data:`STRAY_SHARE`."""
STRAY_SHARE = 0.001
TICK = 1_000_000
"""From one burst to the next."""
BURST = 2_000_000
"""A sender that came too late makes up for no more than this at once; what is beyond it is lost to the run."""
CONFIRM = 500_000_000
"""How long a stage lasts at most until reports show that its packets arrive."""
REORDERED = 32
"""A packet is lost when so many later ones were sent; before that it may have been overtaken."""
JUMP = 100_000
"""Numbers that may be missing at one time, more than a check of 1 Gbit/s has: one further ahead is none of the
stream's, and whoever invents numbers fills no memory."""


def cost(rate: int, seconds: float = SECONDS) -> int:
    """Bytes that one direction costs at a top rate of ``rate``."""
    lead_in = sum(share * length / 1e9 for share, length in LEAD_IN)
    return round(rate * (lead_in + seconds) / 8)


def judged(report: Report, sent: int) -> Why | None:
    """Why the stream must stop, by what its receiver says; ``sent`` is the number of packets so far."""
    allowed = max(STRAY, sent * STRAY_SHARE)
    if report.rise > RISE:
        return Why.DELAY_ROSE
    if report.lost - report.overflow > allowed:
        return Why.LOSS_SEEN
    if report.overflow > allowed:
        return Why.OVERFLOW
    return None


class Ramp:
    """The sender's side of one direction: ask :meth:`due` how many packets to send, until ``why`` is set."""

    def __init__(self, rate: int, size: int, now: int, seconds: float = SECONDS) -> None:
        self._size = size
        self._stages = [(max(1.0, rate * share), length) for share, length in (*LEAD_IN, (1.0, round(seconds * 1e9)))]
        self.stage = 0
        self.why: Why | None = None
        self.sent = 0
        self.idle = 0
        """Nanoseconds in which the sender should have sent and was not run."""
        self._began = self._base = self._heard = now
        self._of_stage = 0
        self._confirmed = -1

    @property
    def bytes(self) -> int:
        """Sent so far."""
        return self.sent * self._size

    def due(self, now: int) -> int:
        """Packets to be sent now, of the stage ``stage``. They count as sent."""
        if self.why is None:
            self._advance(now)
        if self.why is not None:
            return 0
        spacing = self._spacing()
        count = int((now - self._base) / spacing) - self._of_stage
        most = max(1, int(BURST / spacing))
        if count > most:
            late = round((count - most) * spacing)
            self._base += late
            self.idle += late
            count = most
        count = max(0, count)
        self._of_stage += count
        self.sent += count
        return count

    def unsent(self, count: int) -> None:
        """So many of those that were due could not leave this machine: they come again."""
        self.sent -= count
        self._of_stage -= count

    def wake(self) -> int:
        """When :meth:`due` will have something next."""
        spacing = self._spacing()
        return round(self._base + (self._of_stage + max(1, round(TICK / spacing))) * spacing)

    def hear(self, report: Report, now: int) -> None:
        """The receiver reported."""
        self._heard = now
        if report.received:
            self._confirmed = max(self._confirmed, report.stage)
        if self.why is None:
            self.why = judged(report, self.sent)

    def stop(self, why: Why) -> None:
        """Ends it for another reason."""
        if self.why is None:
            self.why = why

    def _spacing(self) -> float:
        return self._size * 8e9 / self._stages[self.stage][0]

    def _advance(self, now: int) -> None:
        lasted = now - self._began
        if now - self._heard > SILENCE:
            self.why = Why.SILENCE
        elif lasted < self._stages[self.stage][1]:
            return
        elif self.stage == TOP:
            self.why = Why.COMPLETE
        elif self._confirmed >= self.stage:
            self.stage += 1
            self._began = self._base = now
            self._of_stage = 0
        elif lasted > CONFIRM:
            self.why = Why.STUCK


class Volley:
    """Room for a burst of ``DATA`` packets that stand one after the other, as segmentation offload wants them."""

    def __init__(self, session: bytes, payload: int, most: int) -> None:
        self._session = session
        self._payload = payload
        self._room = bytearray(payload * most)

    def of(self, first: int, count: int, sent: int, stage: int) -> bytearray:
        """The packets numbered from ``first``."""
        for position in range(count):
            at = position * self._payload
            DATA.pack_into(self._room, at, MAGIC, Kind.DATA, self._session, first + position, sent, stage)
        return self._room[: count * self._payload]


class Tally:
    """The receiver's side of one direction: what came, what is missing, and how the delay rose."""

    def __init__(self) -> None:
        self.expected = self.received = self.bytes = 0
        self.duplicates = self.reordered = 0
        self.stage = 0
        self.delays: list[int] = []
        """Arrival minus sending of each packet, by two clocks that need not agree."""
        self.first_at = self.last_at = 0
        self._missing: set[int] = set()
        self._base = 0
        self._bursts: dict[int, int] = {}
        """Since the last report: the longest delay of each burst, by its time of sending."""
        self._most = 0
        self._top = self._top_marked = 0
        self._top_from = self._top_to = self._top_sent = 0

    def take(self, packet: Data, at: int, size: int) -> bool:
        """A packet of ``size`` bytes came at ``at``; says whether it was a new one."""
        number = packet.number
        if number - self.expected + len(self._missing) >= JUMP:
            return False
        if number >= self.expected:
            self._missing.update(range(self.expected, number))
            self.expected = number + 1
        elif number in self._missing:
            self._missing.remove(number)
            self.reordered += 1
        else:
            self.duplicates += 1
            return False
        delay = at - packet.sent
        if not self.received:
            self.first_at, self._base = at, delay
        self.last_at = at
        self._base = min(self._base, delay)
        self.received += 1
        self.bytes += size
        self.delays.append(delay)
        self._bursts[packet.sent] = max(delay, self._bursts.get(packet.sent, delay))
        self.stage = max(self.stage, packet.stage)
        if packet.stage == TOP:
            self._take_top(packet.sent, at, size)
        return True

    def _take_top(self, sent: int, at: int, size: int) -> None:
        """The rate is that between the first packets of the first and of the last burst, so it is that of whole bursts:
        bytes that came at once with the last of them would count for too much."""
        if not self._top_from:
            self._top_from = at
        if sent > self._top_sent:
            self._top_sent, self._top_to, self._top_marked = sent, at, self._top
        self._top += size

    @property
    def top(self) -> tuple[int, int]:
        """Bytes of the last stage, and the nanoseconds in which they came."""
        return self._top_marked, max(0, self._top_to - self._top_from)

    def lost(self) -> int:
        """Packets missing that can hardly still come."""
        if not self._missing:
            return 0
        return sum(number < self.expected - REORDERED for number in self._missing)

    def end(self, sent: int) -> int:
        """Packets missing in all, when ``sent`` were sent."""
        return len(self._missing) + max(0, sent - self.expected)

    def report(self, session: bytes, phase: int, overflow: int, sent: int | None = None) -> Report:
        """What is to be told now; with ``sent`` it is the last word. Begins a new interval for the rise."""
        rise = self._rise()
        self._most = max(self._most, rise)
        top_bytes, top_time = self.top
        return Report(
            session,
            phase,
            final=int(sent is not None),
            stage=self.stage,
            expected=self.expected,
            received=self.received,
            bytes=self.bytes,
            lost=min(self.lost() if sent is None else self.end(sent), _WORD),
            duplicates=min(self.duplicates, _WORD),
            reordered=min(self.reordered, _WORD),
            overflow=min(overflow, _WORD),
            rise=rise,
            most_rise=self._most,
            top_bytes=top_bytes,
            top_time=top_time,
        )

    def _rise(self) -> int:
        """The second highest burst's: a single one may have waited in its sender, between its clock and its socket; a
        queue on the path holds up every one of them."""
        highest = sorted(self._bursts.values())[-2:]
        self._bursts.clear()
        return max(0, highest[0] - self._base) if highest else 0


_WORD = 2**32 - 1

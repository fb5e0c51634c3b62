"""One window of echoes, counted: a pure rule that is told what was sent and what came back, and when.

Times are nanoseconds of any clock that does not step; round-trip times are handed in, because the sockets know them
better than any clock read here (kernel stamps).
"""

from wire.histogram import Histogram
from wire.reasons import Reason


class EchoWindow:
    """The echoes **sent** within one window; each belongs to the window it was sent in, whenever it is answered.

    ``timeout`` is in nanoseconds. An echo is answered, or it is lost: a reply after ``timeout`` counts as late and the
    echo stays lost. An ICMP error explains a loss; if a reply comes nevertheless, the reply counts.
    """

    def __init__(self, timeout: int) -> None:
        self.timeout = timeout
        self.sent = 0
        self.duplicates = 0
        self.reordered = 0
        self.late = 0
        self.closed = False
        """Set when the window has been reported; nothing in it changes afterwards."""
        self.reasons: dict[Reason, int] = {}
        """What errors said of echoes of this window."""
        self.local: dict[Reason, int] = {}
        """Echoes that could not be sent for this machine's own reasons; they are not among ``sent``."""
        self._waiting: dict[int, int] = {}
        self.answered: set[int] = set()
        self._rtts: list[int] = []
        self._highest = -1
        self._jitter: float | None = None
        self._last_sent = 0

    @property
    def waiting(self) -> bool:
        """Whether an echo may still be answered."""
        return bool(self._waiting)

    @property
    def replies(self) -> int:
        """Echoes answered in time."""
        return len(self._rtts)

    @property
    def lost(self) -> int:
        """Echoes not answered (yet)."""
        return self.sent - len(self._rtts)

    @property
    def deadline(self) -> int:
        """When the last echo's time is up."""
        return self._last_sent + self.timeout

    def send(self, number: int, at: int) -> None:
        """An echo left at ``at``. Numbers rise from echo to echo."""
        self.sent += 1
        self._waiting[number] = at
        self._last_sent = at

    def unsendable(self, reason: Reason) -> None:
        """An echo for which there was no way out of this machine to the target: lost without being waited for."""
        self.sent += 1
        self._count_reason(reason)

    def refused(self, reason: Reason) -> None:
        """An echo that this machine would not send for reasons of its own: neither sent nor lost."""
        self.local[reason] = self.local.get(reason, 0) + 1

    def receive(self, number: int, rtt: int) -> None:
        """A reply to an echo of this window came ``rtt`` nanoseconds after the echo was sent."""
        if number in self.answered:
            self.duplicates += 1
            return
        self.answered.add(number)
        self._waiting.pop(number, None)
        if rtt > self.timeout:
            self.late += 1
            return
        if number < self._highest:  # RFC 4737 section 3.3: below the next expected number
            self.reordered += 1
        self._highest = max(self._highest, number)
        self._note_jitter(rtt)
        self._rtts.append(max(0, rtt))

    def fail(self, number: int, reason: Reason) -> None:
        """An ICMP error answered an echo of this window; it is no longer waited for."""
        if self._waiting.pop(number, None) is not None:
            self._count_reason(reason)

    def receive_for(self, older: "EchoWindow", number: int) -> None:
        """A reply to an echo of a window before this one, which is closed: it is late or a duplicate, and it is counted
        here, where it arrived."""
        if number in older.answered:
            self.duplicates += 1
        else:
            older.answered.add(number)
            self.late += 1

    def forget_waiting(self, now: int) -> None:
        """Takes back the echoes whose time is not up: the measurement was cut short, and nobody will know."""
        self.expire(now)
        self.sent -= len(self._waiting)
        self._waiting.clear()

    def expire(self, now: int) -> None:
        """Stops waiting for echoes whose time is up."""
        while self._waiting:
            number, at = next(iter(self._waiting.items()))
            if now - at < self.timeout:
                return
            del self._waiting[number]

    @property
    def jitter(self) -> float | None:
        """Interarrival jitter in nanoseconds (RFC 3550 §6.4.1), or ``None`` below two replies.

        J += (|D| - J) / 16 with D the change of transit time from one arrival to the next. RFC 3550 begins at zero,
        where a window of ten echoes would stay; we begin at the first |D|, and the rest is the same.
        """
        return self._jitter

    def histogram(self) -> Histogram:
        """Round-trip times, with the lost ones beyond every limit."""
        return Histogram.of(self._rtts, lost=self.lost)

    def counts(self) -> dict[str, int]:
        """The window's counts by their names in ``wire.measures``."""
        return {
            "sent": self.sent,
            "lost": self.lost,
            "duplicates": self.duplicates,
            "reordered": self.reordered,
            "late": self.late,
        }

    def _note_jitter(self, rtt: int) -> None:
        if self._rtts:
            difference = abs(rtt - self._rtts[-1])
            before = self._jitter
            self._jitter = float(difference) if before is None else before + (difference - before) / 16

    def _count_reason(self, reason: Reason) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

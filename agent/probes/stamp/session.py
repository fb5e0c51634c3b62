"""The Session-Sender (RFC 8762 section 4.2) under leases: opening, renewal, silence, a reflector that forgot. Sans-IO.

Told what the clocks say, it says what to send. ``steady`` is nanoseconds of CLOCK_MONOTONIC, ``boot`` of
CLOCK_BOOTTIME: leases grow old in a suspend as well, and are never judged by a wall clock, which may be wrong.
"""

import secrets
from collections.abc import Callable
from typing import NamedTuple

from agent.probes.stamp.ledger import TIMEOUT, Answer, Run, Tally
from wire import stamp
from wire.kernel_clock import ClockState
from wire.lease import Grant
from wire.stamp import ErrorEstimate, SenderPacket
from wire.stamp_opening import How, Opened, Opening, session_key

SILENCE = 3_000_000_000
"""Nanoseconds without an answer after which the session is opened again: the reflector may have forgotten it."""
ASK_AGAIN = 10_000_000_000
"""Nanoseconds after which a lease that was refused is asked for again, unless the refusal said when."""
ASK_AT_MOST = 300_000_000_000
"""Nanoseconds that a refusal may make us wait while nothing is measured."""
RENEW = 1 / 3
"""Share of its life that a lease has left when the next one is asked for: hours, for the collector may be away."""
MARGIN = 30_000_000_000
"""Nanoseconds before its end at which a lease is no longer used: the responder's clock may be a little ahead."""
LONGEST_SENDING = 1_000_000_000
"""Nanoseconds from a packet's writing to its leaving; what seems longer was a wall clock that was set."""
PATIENT = frozenset({"busy", "too_many_of_source", "too_many_failures"})
"""Denials after which the same lease is shown again; after any other it is worthless."""


class Instant(NamedTuple):
    """One reading of the clocks, nanoseconds."""

    real: int
    steady: int
    boot: int

    @property
    def offset(self) -> int:
        """Changes only when the wall clock is stepped: slewing moves both alike."""
        return self.real - self.steady


class Arrived(NamedTuple):
    """A datagram of the responder's. ``at`` is CLOCK_REALTIME by the kernel, 0 where it gave no stamp."""

    raw: bytes
    at: int


class Loan(NamedTuple):
    """A lease as it counts here, in CLOCK_BOOTTIME."""

    grant: Grant
    ends: int
    renews: int


class Session:
    """One that the reflector admitted."""

    def __init__(self, loan: Loan, ssid: int, epoch: bytes, now: int) -> None:
        self.loan = loan
        self.ssid = ssid
        self.epoch = epoch
        self.key = session_key(bytes.fromhex(loan.grant.key), ssid)
        self.run = Run()
        self.heard = now
        """When the last answer came, or it was opened (monotonic)."""


class Sender:
    """``poll`` for openings, ``packet`` for test packets, ``hear`` for what came."""

    def __init__(self, estimate: Callable[[], ErrorEstimate], new_ssid: Callable[[], int] | None = None) -> None:
        self._estimate = estimate
        self._new_ssid = new_ssid or (lambda: secrets.randbelow(0xFFFF) + 1)
        self._loan: Loan | None = None
        self._opening: Opening | None = None
        self._former: list[Session] = []
        self._ask_at = 0
        self.session: Session | None = None
        self.denied = ""
        """Why the responder did not open, its last word; empty once it did."""
        self.knocked = 0
        """Openings sent since the last one that succeeded."""
        self.forgotten = 0
        """How often the reflector had forgotten the session."""
        self.peer: ErrorEstimate | None = None
        """The reflector's own estimate of its clock."""

    def wants_lease(self, now: Instant) -> bool:
        """Whether one should be asked for now."""
        return now.boot >= self._ask_at and (self._loan is None or now.boot >= self._loan.renews)

    def lend(self, grant: Grant, now: Instant) -> None:
        """A lease was granted: a session under it is opened, beside the one that goes on meanwhile."""
        lease = grant.lease
        life = (lease.expires - lease.issued) * 1000
        usable = life - min(MARGIN, life // 10)
        self._loan = Loan(grant, now.boot + usable, now.boot + round(usable * (1 - RENEW)))
        self._ask_at = 0
        self._open(self._loan, self._other_ssid(), now)

    def refused(self, now: Instant, retry_after: float) -> None:
        """No lease now."""
        most = ASK_AT_MOST if self.session is None else 2 * ASK_AT_MOST
        self._ask_at = now.boot + min(most, max(ASK_AGAIN, round(retry_after * 1e9)))

    def _other_ssid(self) -> int:
        held = {one.ssid for one in (*self._former, *filter(None, [self.session]))}
        while (found := self._new_ssid()) in held:
            pass
        return found

    def _open(self, loan: Loan, ssid: int, now: Instant) -> None:
        self._opening = Opening(loan.grant.token, bytes.fromhex(loan.grant.key), ssid, now.steady)

    def poll(self, now: Instant) -> bytes | None:
        """The opening to be sent now, if one is; ends what is over."""
        self._end_leases(now)
        session = self.session
        if self._opening is None and self._loan is not None:
            if session is None:
                self._open(self._loan, self._other_ssid(), now)
            elif self.silent(now):
                self._open(session.loan, session.ssid, now)
        if self._opening is None:
            return None
        raw = self._opening.due(now.steady, now.real, self._estimate())
        self.knocked += raw is not None
        return raw

    def _end_leases(self, now: Instant) -> None:
        if self.session is not None and now.boot >= self.session.loan.ends:
            self._former.append(self.session)
            self.session = None
        if self._loan is not None and now.boot >= self._loan.ends:
            self._loan = self._opening = None
        if self._former:
            self._former = [one for one in self._former if now.steady - one.heard < 2 * TIMEOUT]

    def packet(self, tally: Tally, now: Instant) -> bytes | None:
        """The next test packet, counted in ``tally`` as sent now; ``None`` while no session is open."""
        session = self.session
        if session is None:
            return None
        number = session.run.send(tally, now.steady)
        return stamp.write_sender(SenderPacket(number, now.real, self._estimate(), session.ssid), session.key)

    def left(self, stamp_of_kernel: int, now: Instant) -> None:
        """When the packet given last at ``now`` really left, by the kernel; 0 where it did not say."""
        took = stamp_of_kernel - now.real
        if self.session is not None and 0 <= took < LONGEST_SENDING:
            self.session.run.left(now.steady + took)

    def unsent(self, tally: Tally) -> None:
        """The packet given last did not leave this machine, for a reason of its own."""
        if self.session is not None:
            self.session.run.unsend(tally)

    def silent(self, now: Instant) -> bool:
        """Whether the session has not been answered for :data:`SILENCE`."""
        return self.session is not None and now.steady - self.session.heard >= SILENCE

    def quiet(self, now: Instant) -> None:
        """Nothing was sent for a while: silence meanwhile means nothing."""
        if self.session is not None:
            self.session.heard = now.steady

    def break_off(self, now: Instant) -> None:
        """The machine slept, or the measurement was cut: nothing is claimed of the way of what was under way."""
        if self.session is not None:
            self.session.heard = now.steady
            self.session.run.break_off()

    def hear(self, arrived: Arrived, now: Instant, tally: Tally | None) -> Tally | None:
        """What came; returns the window that it changed. ``tally`` is the window being sent in."""
        for session in (self.session, *self._former):
            if session is None:
                continue
            try:
                packet = stamp.read_reflector(arrived.raw, session.key)
            except stamp.BadStamp:
                continue
            if packet.ssid == session.ssid:
                return self._answered(session, packet, arrived, now, tally)
        if self._opening is not None and self._opening.hear(arrived.raw, now.steady):
            self._opened(now)
        return None

    def _answered(
        self, session: Session, packet: stamp.ReflectorPacket, arrived: Arrived, now: Instant, tally: Tally | None
    ) -> Tally | None:
        session.heard = now.steady
        self.peer = packet.error
        if session is self.session and self._opening is not None and self._opening.ssid == session.ssid:
            self._opening = None  # it was the path that was silent
        sent = session.run.sent_at(packet.sender_sequence)
        if sent is None:
            return None
        back = arrived_at(arrived.at, now)
        took = packet.time - packet.received
        if not 0 <= took <= back - sent:  # its clock was set in between
            took = 0
        up = packet.received - sent
        down = back - sent - took - up
        return session.run.hear(Answer(packet.sender_sequence, packet.sequence, back, up, down), tally)

    def _opened(self, now: Instant) -> None:
        opening, loan = self._opening, self._loan
        if opening is None or loan is None:
            return
        if opening.denied:
            self._opening = None
            self._denied(opening, now)
        elif opening.opened is not None:
            self._opening = None
            self._begin(opening.opened, opening.ssid, loan, now)

    def _denied(self, opening: Opening, now: Instant) -> None:
        self.denied = opening.denied
        session = self.session
        if session is not None and session.ssid == opening.ssid:
            session.run.set_aside()
            self.session = None
        if self.denied in PATIENT and self._loan is not None:
            self._ask_at = now.boot + ASK_AGAIN
            self._open(self._loan, self._other_ssid(), now._replace(steady=now.steady + ASK_AGAIN))
            return
        self._loan = None if self.session is None else self.session.loan
        self._ask_at = now.boot + ASK_AGAIN

    def _begin(self, opened: Opened, ssid: int, loan: Loan, now: Instant) -> None:
        before = self.session
        self.denied, self.knocked = "", 0
        if before is not None and before.ssid == ssid:
            if opened.how is How.CONTINUED and opened.epoch == before.epoch:
                before.heard = now.steady
                return
            loan = before.loan
            before.run.set_aside()
            self.forgotten += 1
        elif before is not None:
            self._former.append(before)
        self.session = Session(loan, ssid, opened.epoch, now.steady)


def arrived_at(stamp_of_kernel: int, now: Instant) -> int:
    """When a datagram came, on CLOCK_MONOTONIC. Without a stamp, or where the wall clock was set since, it is now."""
    ago = now.real - stamp_of_kernel
    return now.steady - ago if 0 <= ago < 1_000_000_000 else now.steady


class Clocks:
    """How well both clocks are set, looked at now and then."""

    def __init__(self, look: Callable[[], ClockState]) -> None:
        self._look = look
        self.look()

    def look(self) -> None:
        """Asks the kernel again."""
        self.own = self._look()
        self._estimate = self.own.estimate()

    def estimate(self) -> ErrorEstimate:
        """What our packets say."""
        return self._estimate

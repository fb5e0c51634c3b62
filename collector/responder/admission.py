"""Who may use the responder, for what and how much: a pure ledger of leases and capacity. ``now`` is an argument.

Every protocol server asks :meth:`Admission.admit` before it sends its first byte beyond the greeting, asks the session
before every burst, and closes it at the end. Nothing here does I/O, and nothing grows without a bound.

A server calls ``admit`` only for a challenge that it gave to that very source: whoever echoes it has proven the path.
So nobody can spend another's patience, or have bytes sent to him, from a forged address.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from collector.limits import Buckets, network_of
from collector.responder.pace import LEAST, Pace
from wire import lease
from wire.clock import SECOND, Instant
from wire.lease import Lease, Purpose

STAMP_MOST = 100_000
"""Bits per second that a STAMP session may cost each way, whatever its lease says: it is not weighed."""
STAMP_AT_ONCE = 16_000
"""Bytes that a STAMP session may have taken and sent at once: what a network, or this process, that stood still for
seconds lets go must not be lost here, or our own pause would be booked as the link's loss."""
IDLE = 60 * SECOND
"""A STAMP session without a packet for so long gives way where there is no room for another."""
FAILURES = (1.0, 20.0)
"""Bad openings of one source: a second, and at once."""
MOST_USED = 50_000
"""Single-use leases remembered; beyond it no further test opens until one of them expired."""


class Denial(StrEnum):
    """Why a session was not opened: told to the client in one byte or word, counted in the metrics."""

    BAD_LEASE = "bad_lease"
    EXPIRED = "expired"
    BAD_PROOF = "bad_proof"
    WRONG_PURPOSE = "wrong_purpose"
    WRONG_RESPONDER = "wrong_responder"
    REPLAYED = "replayed"
    BUSY = "busy"
    TOO_MANY_OF_SOURCE = "too_many_of_source"
    NOT_YET = "not_yet"
    """Issued in the future: the clocks of collector and responder differ."""
    TOO_MANY_FAILURES = "too_many_failures"


HARMLESS = frozenset({Denial.BUSY, Denial.TOO_MANY_OF_SOURCE})
"""Denials of a good lease: they do not count as bad openings."""


class Denied(Exception):
    """The session is not opened."""

    def __init__(self, denial: Denial, detail: str = "") -> None:
        super().__init__(detail or str(denial))
        self.denial = denial


@dataclass(slots=True, eq=False)
class Session:
    """One lease in use. The servers count here what they send and take."""

    lease: Lease
    key: bytes = field(repr=False)
    source: str
    """Address of the client, without its port."""
    opened: Instant
    sent: int = 0
    received: int = 0
    """Bytes at the IP layer so far."""
    down: int = -1
    up: int = -1
    """Bits per second that may really be used: those of the lease, or the responder's capacity where that is less."""
    heard: Instant = 0
    """When a packet was judged last."""
    closed: bool = False
    """It gave its capacity back: nothing more is sent or taken."""
    _sends: Pace = field(init=False)
    _takes: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.down = self.lease.down if self.down < 0 else self.down
        self.up = self.lease.up if self.up < 0 else self.up
        self.heard = self.heard or self.opened
        least = STAMP_AT_ONCE if self.lease.purpose is Purpose.STAMP else LEAST
        self._sends = Pace(self.down, self._most(self.down), self.opened, least)
        self._takes = Pace(self.up, self._most(self.up), self.opened, least)

    def _most(self, rate: int) -> int:
        return self.lease.bytes or round(rate * self.lease.seconds / 8)

    def ends(self) -> Instant:
        """When it must be cut at the latest: its lease's end, or its longest time after opening."""
        return min(self.lease.expires, self.opened + round(lease.session_seconds(self.lease) * SECOND))

    @property
    def capped(self) -> bool:
        """Whether the lease allows more than the responder has: the result must say ``responder_capacity``."""
        return self.down < self.lease.down or self.up < self.lease.up

    def may_send(self, size: int, now: Instant) -> bool:
        """Whether ``size`` more bytes are within the session's rate (with a tenth of a second's slack) and bytes."""
        return self._open(now) and self._sends.allows(size, self.sent, now)

    def may_take(self, size: int, now: Instant) -> bool:
        """Whether ``size`` more bytes from the client are within the lease."""
        return self._open(now) and self._takes.allows(size, self.received, now)

    def _open(self, now: Instant) -> bool:
        self.heard = max(self.heard, now)
        return not self.closed and now < self.ends()


@dataclass(slots=True)
class Capacity:
    """What the responder may spend at once, bits per second in each direction, and sessions."""

    down: int
    """Most that all sessions together may be sent (by the responder)."""
    up: int
    sessions: int = 500
    of_one_source: int = 64
    """A province behind one NAT is one source."""


@dataclass(slots=True)
class Counts:
    """What happened since the start; it only grows."""

    opened: Counter[str] = field(default_factory=Counter)
    """Sessions, by purpose."""
    denied: Counter[str] = field(default_factory=Counter)
    """Openings refused, by :class:`Denial`."""
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    """Bytes at the IP layer, by purpose."""


@dataclass(slots=True)
class Admission:
    """The ledger."""

    name: str
    """This responder's id, which leases name."""
    secret: bytes = field(repr=False)
    capacity: Capacity
    started: Instant
    sessions: set[Session] = field(default_factory=set)
    used: dict[str, Instant] = field(default_factory=dict)
    """Ids of single-use leases that were opened, with the time after which they may be forgotten."""
    counted: Counts = field(default_factory=Counts)
    """Of sessions that are over; :meth:`counts` adds the open ones."""
    _failures: Buckets = field(default_factory=lambda: Buckets(*FAILURES))

    def admit(
        self,
        token: str,
        proof: bytes,
        challenge: bytes,
        purpose: Purpose,
        source: str,
        now: Instant,
        context: bytes = b"",
    ) -> Session:
        """Opens a session; raises :class:`Denied`. A single-use lease issued before this process started is denied as
        replayed: it may have been used, and nobody remembers."""
        try:
            session = self._admitted(token, proof, challenge, purpose, source, now, context)
        except Denied as denied:
            self.counted.denied[denied.denial.value] += 1
            if denied.denial in HARMLESS:
                self._failures.give_back(network_of(source))
            raise
        self._failures.give_back(network_of(source))
        self.counted.opened[purpose.value] += 1
        return session

    def _admitted(
        self, token: str, proof: bytes, challenge: bytes, purpose: Purpose, source: str, now: Instant, context: bytes
    ) -> Session:
        self.started = min(self.started, now)  # a clock that was ahead at the start was set right meanwhile
        if self._failures.take(network_of(source), now / SECOND):
            raise Denied(Denial.TOO_MANY_FAILURES, f"{source} opened badly too often; it may come again in seconds")
        found = self._read(token, now)
        key = lease.key_of(found.id, self.secret)
        if not lease.proves(proof, key, challenge, context):
            raise Denied(Denial.BAD_PROOF)
        if found.responder != self.name:
            raise Denied(Denial.WRONG_RESPONDER, f"lease: for {found.responder!r}, this is {self.name!r}")
        if found.purpose is not purpose:
            raise Denied(Denial.WRONG_PURPOSE, f"lease: found {found.purpose}, expected {purpose}")
        once = purpose in lease.ONCE
        if once and (found.id in self.used or found.issued < self.started):
            raise Denied(Denial.REPLAYED)
        self.expire(now)
        for one in [one for one in self.sessions if one.lease.id == found.id]:
            self.close(one)  # a client that lost its socket opens its STAMP lease again
        self._make_room(network_of(source), now)
        down, up = self._rates(found)
        session = Session(found, key, source, now, down=down, up=up)
        self.sessions.add(session)
        if once:
            self.used[found.id] = found.expires
        return session

    def close(self, session: Session) -> None:
        """Gives its capacity back; closing twice does nothing."""
        if session in self.sessions:
            self.sessions.remove(session)
            self.counted.sent[session.lease.purpose.value] += session.sent
            self.counted.received[session.lease.purpose.value] += session.received
        session.closed = True

    def expire(self, now: Instant) -> list[Session]:
        """Forgets what is over; returns the sessions that must be cut."""
        over = [one for one in self.sessions if now >= one.ends()]
        for one in over:
            self.close(one)
        if any(until <= now for until in self.used.values()):
            self.used = {identity: until for identity, until in self.used.items() if until > now}
        return over

    def counts(self) -> Counts:
        """What happened so far, the open sessions included."""
        total = self.counted
        found = Counts(+total.opened, +total.denied, +total.sent, +total.received)
        for one in self.sessions:
            found.sent[one.lease.purpose.value] += one.sent
            found.received[one.lease.purpose.value] += one.received
        return found

    def _read(self, token: str, now: Instant) -> Lease:
        try:
            return lease.read(token, self.secret, now)
        except lease.Expired as over:
            raise Denied(Denial.EXPIRED, str(over)) from over
        except lease.NotYet as early:
            raise Denied(Denial.NOT_YET, str(early)) from early
        except lease.BadLease as bad:
            raise Denied(Denial.BAD_LEASE, str(bad)) from bad

    def _make_room(self, network: str, now: Instant) -> None:
        """Room for one more session of that source; the longest idle STAMP session gives way where there is none."""
        same = [one for one in self.sessions if network_of(one.source) == network]
        if len(same) >= self.capacity.of_one_source and not self._end_idle(same, now):
            words = f"{network} has {self.capacity.of_one_source} sessions open"
            raise Denied(Denial.TOO_MANY_OF_SOURCE, words)
        if len(self.sessions) >= self.capacity.sessions and not self._end_idle(list(self.sessions), now):
            raise Denied(Denial.BUSY, f"{len(self.sessions)} sessions are open")
        if len(self.used) >= MOST_USED:
            raise Denied(Denial.BUSY, f"{len(self.used)} leases were used within their time")

    def _end_idle(self, among: list[Session], now: Instant) -> bool:
        idle = [one for one in among if one.lease.purpose is Purpose.STAMP and now - one.heard >= IDLE]
        if idle:
            self.close(min(idle, key=lambda one: (one.heard, one.lease.id)))
        return bool(idle)

    def _rates(self, found: Lease) -> tuple[int, int]:
        """What a new session may use; raises :class:`Denied` ``busy``. STAMP's trickle never keeps a test out. One test
        alone may ask for more than there is: it runs capped, and nothing else runs beside it in that direction."""
        if found.purpose is Purpose.STAMP:
            return min(found.down, STAMP_MOST), min(found.up, STAMP_MOST)
        weighed = [one for one in self.sessions if one.lease.purpose is not Purpose.STAMP]
        if not weighed:
            return min(found.down, self.capacity.down), min(found.up, self.capacity.up)
        place = (found.site, found.link)
        if found.purpose is Purpose.THROUGHPUT and any(
            one.lease.purpose is Purpose.THROUGHPUT and (one.lease.site, one.lease.link) == place for one in weighed
        ):
            raise Denied(Denial.BUSY, f"{found.site} {found.link}: another throughput test of this link is running")
        down = sum(one.down for one in weighed) + found.down
        up = sum(one.up for one in weighed) + found.up
        if down > self.capacity.down or up > self.capacity.up:
            words = f"{down} down and {up} up asked for, {self.capacity.down} and {self.capacity.up} held"
            raise Denied(Denial.BUSY, words)
        return found.down, found.up

    def sessions_of(self, purpose: Purpose) -> int:
        """Sessions open of one purpose."""
        return sum(one.lease.purpose is purpose for one in self.sessions)

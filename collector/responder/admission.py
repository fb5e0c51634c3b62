"""Who may use the responder, for what and how much: a pure ledger of leases and capacity. ``now`` is an argument.

Every protocol server asks :meth:`Admission.admit` before it sends its first byte beyond the greeting, asks the session
before every burst, and closes it at the end. Nothing here does I/O.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from wire import lease
from wire.clock import SECOND, Instant
from wire.lease import Lease, Purpose


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


class Denied(Exception):
    """The session is not opened."""

    def __init__(self, denial: Denial, detail: str = "") -> None:
        super().__init__(detail or str(denial))
        self.denial = denial


@dataclass(slots=True, eq=False)
class Session:
    """One lease in use. The servers count here what they send and take."""

    lease: Lease
    key: bytes
    source: str
    """Address of the client, without its port."""
    opened: Instant
    sent: int = 0
    received: int = 0
    """Bytes at the IP layer so far."""

    def ends(self) -> Instant:
        """When it must be cut at the latest: its lease's end, or its longest time (two directions) after opening."""
        longest = self.lease.seconds * (1 if self.lease.purpose is Purpose.STAMP else 2.5)
        return min(self.lease.expires, self.opened + round(longest * SECOND))

    def may_send(self, size: int, now: Instant) -> bool:
        """Whether ``size`` more bytes are within the lease's rate (with a tenth of a second's slack) and bytes."""
        return self._within(self.sent + size, self.lease.down, now)

    def may_take(self, size: int, now: Instant) -> bool:
        """Whether ``size`` more bytes from the client are within the lease."""
        return self._within(self.received + size, self.lease.up, now)

    def _within(self, total: int, rate: int, now: Instant) -> bool:
        if not rate or now >= self.ends():
            return False
        if self.lease.bytes and total > self.lease.bytes:
            return False
        return total * 8 <= rate * ((now - self.opened) / SECOND + 0.1)


@dataclass(slots=True)
class Capacity:
    """What the responder may spend at once, bits per second in each direction, and sessions."""

    down: int
    """Most that all sessions together may be sent (by the responder)."""
    up: int
    sessions: int = 500
    of_one_source: int = 8


@dataclass(slots=True)
class Admission:
    """The ledger."""

    name: str
    """This responder's id, which leases name."""
    secret: bytes
    capacity: Capacity
    started: Instant
    sessions: set[Session] = field(default_factory=set)
    used: dict[str, Instant] = field(default_factory=dict)
    """Ids of single-use leases that were opened, with the time after which they may be forgotten."""

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
        found = self._read(token, now)
        key = lease.key_of(found.id, self.secret)
        if not lease.proves(proof, key, challenge, context):
            raise Denied(Denial.BAD_PROOF)
        if found.purpose is not purpose:
            raise Denied(Denial.WRONG_PURPOSE, f"lease: found {found.purpose}, expected {purpose}")
        if found.responder != self.name:
            raise Denied(Denial.WRONG_RESPONDER, f"lease: for {found.responder!r}, this is {self.name!r}")
        if purpose in lease.ONCE and (found.id in self.used or found.issued < self.started - lease.SKEW):
            raise Denied(Denial.REPLAYED)
        self.expire(now)
        self._check_room(found, source)
        session = Session(found, key, source, now)
        self.sessions.add(session)
        if purpose in lease.ONCE:
            self.used[found.id] = found.expires
        return session

    def close(self, session: Session) -> None:
        """Gives its capacity back; closing twice does nothing."""
        self.sessions.discard(session)

    def expire(self, now: Instant) -> list[Session]:
        """Forgets what is over; returns the sessions that must be cut."""
        over = [one for one in self.sessions if now >= one.ends()]
        self.sessions.difference_update(over)
        self.used = {identity: until for identity, until in self.used.items() if until > now}
        return over

    def _read(self, token: str, now: Instant) -> Lease:
        try:
            return lease.read(token, self.secret, now)
        except lease.Expired as over:
            raise Denied(Denial.EXPIRED, str(over)) from over
        except lease.BadLease as bad:
            raise Denied(Denial.BAD_LEASE, str(bad)) from bad

    def _check_room(self, found: Lease, source: str) -> None:
        down = sum(one.lease.down for one in self.sessions) + found.down
        up = sum(one.lease.up for one in self.sessions) + found.up
        if len(self.sessions) >= self.capacity.sessions:
            raise Denied(Denial.BUSY, f"{len(self.sessions)} sessions are open")
        # One test alone may ask for more than there is: it runs capped, and its result says so.
        if self.sessions_of(found.purpose) and (down > self.capacity.down or up > self.capacity.up):
            raise Denied(
                Denial.BUSY, f"{down} down and {up} up asked for, {self.capacity.down} and {self.capacity.up} held"
            )
        if sum(one.source == source for one in self.sessions) >= self.capacity.of_one_source:
            raise Denied(Denial.TOO_MANY_OF_SOURCE, f"{source} has {self.capacity.of_one_source} sessions open")

    def sessions_of(self, purpose: Purpose) -> int:
        """Sessions open that weigh: the trickle of STAMP never keeps a test out."""
        return (
            sum(one.lease.purpose is not Purpose.STAMP for one in self.sessions) if purpose is not Purpose.STAMP else 0
        )

"""Leases as a collector signs them, and how an agent opens with one."""

from typing import Any

from collector.responder.admission import Admission, Capacity, Session
from wire.clock import SECOND, Instant
from wire.lease import Grant, Lease, Purpose, grant, new_id, proof

SECRET = bytes(range(32))
NOW: Instant = 1_790_000_000 * SECOND
CHALLENGE = b"c" * 16
MBPS = 1_000_000


def lease(purpose: Purpose = Purpose.THROUGHPUT, **more: Any) -> Lease:
    """A lease that is in force at ``NOW``."""
    settled: dict[str, Any] = {
        "id": new_id(),
        "responder": "hall",
        "site": "na-yung",
        "link": "fibre",
        "issued": NOW,
        "expires": NOW + 60 * SECOND,
        "down": 50 * MBPS,
        "up": 20 * MBPS,
        "seconds": 10.0,
    }
    return Lease(purpose=purpose, **(settled | more))


def granted(purpose: Purpose = Purpose.THROUGHPUT, *, secret: bytes = SECRET, **more: Any) -> Grant:
    """The same, signed."""
    return grant(lease(purpose, **more), secret)


def ledger(down: int = 100 * MBPS, up: int = 100 * MBPS, **more: Any) -> Admission:
    """A responder's ledger, started at ``NOW``."""
    started = more.pop("started", NOW)
    return Admission("hall", SECRET, Capacity(down, up, **more), started)


def opened(
    admission: Admission,
    given: Grant,
    now: Instant = NOW,
    *,
    purpose: Purpose | None = None,
    source: str = "192.0.2.1",
    key: str = "",
) -> Session:
    """Opens with a proof by the grant's key."""
    shown = proof(bytes.fromhex(key or given.key), CHALLENGE, b"open")
    return admission.admit(given.token, shown, CHALLENGE, purpose or given.lease.purpose, source, now, b"open")

"""A collector's leases without a collector: whoever asks for STAMP gets a lease, unless told otherwise."""

import time

from agent.probe import LeaseRefused
from tests.support.lending import SECRET, granted
from wire.clock import SECOND
from wire.lease import Grant, Purpose


def now() -> int:
    """UTC in microseconds, as this machine believes."""
    return time.time_ns() // 1000


class Lender:
    """Lends at once, or refuses."""

    def __init__(self, refusal: LeaseRefused | None = None, secret: bytes = SECRET, seconds: float = 3600.0) -> None:
        self.refusal = refusal
        self.secret = secret
        self.seconds = seconds
        self.asked = 0

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        """As :class:`agent.probe.Leases` has it."""
        assert (purpose, responder) == (Purpose.STAMP, "hall")
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        begun = now()
        ends = begun + round(self.seconds * SECOND)
        more = {"issued": begun, "expires": ends, "down": 50_000, "up": 50_000, "seconds": 86_400.0}
        return granted(Purpose.STAMP, secret=self.secret, **more)

"""Counts of what the collector did since it started, for its own ``/metrics``. Written on the event loop alone."""

from collections import Counter
from dataclasses import dataclass, field

LATENCY_LIMITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper edges in seconds of the buckets of :attr:`Tally.seconds`."""


@dataclass
class Tally:
    """Everything is monotonic: it only grows until the process ends."""

    posts: int = 0
    """Envelopes answered with a receipt."""
    bytes: int = 0
    """Bytes of those envelopes, decompressed."""
    batches: Counter[str] = field(default_factory=Counter)
    """By status of the receipt: ``stored``, ``duplicate``, ``refused``, ``deferred``."""
    batch_refusals: Counter[str] = field(default_factory=Counter)
    """Batches refused, by :class:`wire.reasons.Refusal`."""
    observations: Counter[str] = field(default_factory=Counter)
    """Stored, by kind: ``window``, ``change``, ``test``, ``note``."""
    late: int = 0
    """Observations that were old when they arrived."""
    time_unknown: int = 0
    """Observations without an anchor."""
    not_understood: int = 0
    """Records of kinds that this release does not know."""
    refusals: Counter[int] = field(default_factory=Counter)
    """Requests refused, by HTTP status."""
    joins: Counter[str] = field(default_factory=Counter)
    """``joined``, ``superseded``, ``conflict``, ``refused``."""
    leases: Counter[str] = field(default_factory=Counter)
    """Requests for a lease: granted by :class:`wire.lease.Purpose`, refused by :class:`wire.lease.NoLease`."""
    seconds: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_LIMITS) + 1))
    """Envelopes by the time from arrival to receipt, per bucket of :data:`LATENCY_LIMITS` and beyond."""
    seconds_total: float = 0.0

    def refused(self, status: int) -> None:
        """A request was refused."""
        self.refusals[status] += 1

    def took(self, seconds: float) -> None:
        """An envelope was answered after so long."""
        self.seconds_total += seconds
        for index, limit in enumerate(LATENCY_LIMITS):
            if seconds <= limit:
                self.seconds[index] += 1
                return
        self.seconds[-1] += 1

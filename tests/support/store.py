"""Observations, batches and clocks for tests of the store."""

from collections.abc import Sequence
from typing import Any

import msgspec

from collector.store import Source
from wire.batch import GENESIS, AgentClock, Dropped, Sealed, StreamName, digest_of, new_stream_id, seal
from wire.clock import HOUR, SECOND, Anchor, Instant
from wire.histogram import Histogram
from wire.observation import Observation, Window
from wire.reasons import Outcome

BOOT = "0f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d"
EPOCH: Instant = 1_795_000_000_000_000 // HOUR * HOUR
"""UTC of boottime 0 in these tests: a full hour."""
BAN_PHUE = Source("agent-1", "ban-phue", "main", "both")
PHEN = Source("agent-2", "phen", "main", "both")


def window(end: int, target: str = "gateway", *, boot: str = BOOT, length: int = 60 * SECOND, **more: Any) -> Window:
    """A window ending at a boottime, cut off where the machine started."""
    settled: dict[str, Any] = {
        "probe": "icmp",
        "outcome": Outcome.OK,
        "counts": {"sent": 60, "lost": 0},
        "values": {"jitter": 0.000123},
        "durations": {"rtt": Histogram.of([20_000_000, 21_000_000, 23_456_789])},
    }
    return Window(
        boot=boot,
        start=max(0, end - length),
        end=end,
        wall_start=EPOCH + max(0, end - length),
        wall_end=EPOCH + end,
        target=target,
        **(settled | more),
    )


def anchor(boottime: int, *, boot: str = BOOT, error: int = 10_000, off: int = 0) -> Anchor:
    """A true anchor, or one that is ``off`` by microseconds."""
    return Anchor(boot, boottime, EPOCH + boottime + off, error)


def clock(boottime: int, *, boot: str = BOOT, anchored: bool = True) -> AgentClock:
    """An agent's clocks at a boottime, with an anchor of that moment unless told otherwise."""
    return AgentClock(boot, boottime, EPOCH + boottime, anchor(boottime, boot=boot) if anchored else None)


def sealed(raw: bytes) -> Sealed:
    """Bytes with their digest."""
    return Sealed(digest_of(raw), msgspec.Raw(raw))


class Chain:
    """A stream that an agent writes."""

    def __init__(self, name: StreamName = StreamName.MONITOR, stream: str = "") -> None:
        self.stream = stream or new_stream_id()
        self.name = name
        self.seq = 0
        self.prev = GENESIS

    def seal(self, *observations: Observation, dropped: Sequence[Dropped] = ()) -> Sealed:
        """The next batch."""
        self.seq += 1
        one = sealed(seal(self.stream, self.name, self.seq, self.prev, list(observations), list(dropped)))
        self.prev = one.digest
        return one

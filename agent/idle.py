"""Whether the line is idle, before it is filled: what is on it now would suffer, and the test would say too little.

Two signs, each against the line's own recent past: the traffic of this machine's port, and whether echoes to the edge
and the anchors queue. Other machines behind the same router show in the second only; what a router counted stands in
the test itself (:mod:`agent.probes.throughput.crosswatch`).
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wire.clock import HOUR, SECOND
from wire.observation import Window
from wire.reasons import Outcome, Reason
from wire.settings import ContractTerms

QUEUES = 0.020
"""Seconds by which the median echo may exceed the least one of late; the light check breaks off at the same."""
IN_USE = 0.10
"""Share of the contract that others may use: beyond it no sample is valid (field: bandwidth §4)."""
REMEMBER = 24
"""Hours of which the least round-trip time is known."""


class Passed(NamedTuple):
    """An interface's counters at one moment, bytes; ``at`` CLOCK_BOOTTIME in microseconds."""

    at: int
    received: int
    sent: int


class Busy(NamedTuple):
    """Why the line must not be filled now."""

    reason: Reason
    detail: str


class Calm:
    """Remembers the least round-trip time of each target, by the hour; every recorded window is shown to it."""

    def __init__(self) -> None:
        self._least: dict[str, deque[tuple[int, float]]] = {}

    def saw(self, window: Window, _seconds: float = 0.0) -> None:
        """Learns from a window."""
        rtt = window.durations.get("rtt")
        if window.probe != "icmp" or window.platform or window.outcome is not Outcome.OK or rtt is None:
            return
        least = rtt.quantile(0.0)
        if least is None:
            return
        hour = window.end // HOUR
        held = self._least.setdefault(window.target, deque(maxlen=REMEMBER))
        if held and held[-1][0] == hour:
            held[-1] = (hour, min(held[-1][1], least / 1e9))
        else:
            held.append((hour, least / 1e9))

    def least(self) -> dict[str, float]:
        """Seconds by target."""
        return {target: min(value for _, value in held) for target, held in self._least.items() if held}


def passed(interface: str, at: int) -> Passed:
    """The counters of an interface now; zeros where the system does not tell. Reads a file: call it in a thread."""
    import psutil  # here, so that an agent that never fills its link does not hold it

    found = psutil.net_io_counters(pernic=True).get(interface)
    return Passed(at, found.bytes_recv, found.bytes_sent) if found else Passed(at, 0, 0)


def in_use(before: Passed, after: Passed, terms: ContractTerms | None) -> Busy | None:
    """Whether this machine's own port carries more than a tenth of the contract in a direction."""
    seconds = (after.at - before.at) / SECOND
    if terms is None or seconds <= 0:
        return None
    for name, moved, rate in (
        ("down", after.received - before.received, terms.download),
        ("up", after.sent - before.sent, terms.upload),
    ):
        found = moved * 8 / seconds
        if found > IN_USE * rate:
            return Busy(Reason.LINK_IN_USE, f"{found / 1e6:.1f} Mbit/s {name} on this machine's port")
    return None


def queueing(now: Iterable[Window], least: Mapping[str, float]) -> Busy | None:
    """Whether the line answers at all, and without a queue. One target may be slow by itself: the calmest one tells."""
    found = [one for one in now if one.probe == "icmp"]
    rises = {}
    for one in found:
        rtt = one.durations.get("rtt")
        median = rtt.quantile(0.5) if rtt is not None else None
        if one.outcome is Outcome.OK and median is not None and median != float("inf"):
            rises[one.target] = median / 1e9 - least.get(one.target, median / 1e9)
    if found and not rises and all(one.outcome is Outcome.FAILED for one in found):
        return Busy(Reason.LINK_DOWN, "neither edge nor anchors answer")
    if rises and min(rises.values()) > QUEUES:
        target = min(rises, key=lambda name: rises[name])
        return Busy(Reason.LINK_IN_USE, f"echoes to {target} take {rises[target] * 1000:.0f} ms more than at rest")
    return None

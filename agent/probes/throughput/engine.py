"""What a throughput engine is: one way of finding out how fast a link is. Each result names its engine.

Engines of this folder: ``tcp`` (primary, evidence), ``light`` (paced UDP: "at least"), ``iperf3`` and ``speedtest``
(cross-checks, no evidence).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

from agent.probe import Leases, Result
from wire.settings import ContractTerms, ResponderAt


class Direction(StrEnum):
    """Seen from the district."""

    DOWN = "down"
    UP = "up"


class Progress(NamedTuple):
    """How far a test is, for people who wait."""

    engine: str
    direction: Direction
    share: float
    """0 to 1 of this direction."""
    rate: float
    """Bits per second at the IP layer of the last 100 ms; 0 while unknown."""


class Terms(NamedTuple):
    """What to measure and how far."""

    responder: ResponderAt
    contract: ContractTerms | None
    leases: Leases
    directions: tuple[Direction, ...] = (Direction.DOWN, Direction.UP)
    slot: str = ""
    progress: Callable[[Progress], None] = lambda _: None


class Engine(Protocol):
    """One way of measuring. Adds the limits that it alone can know; those of the machine are added by the probe."""

    name: str
    evidence: bool
    """Whether its results may be evidence at all."""

    async def run(self, terms: Terms) -> list[Result]:
        """One result for each direction, in the order asked. Raises nothing on a bad path or responder: that is a
        result with ``failed`` or ``skipped``. Raises :class:`agent.probe.LeaseRefused` where there is no lease.
        Cancelled, it closes its sockets and passes the cancellation on."""

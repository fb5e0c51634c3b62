"""What could have limited a test other than the link, and whether its result may be evidence. Pure (DESIGN §6.5).

A limit is noted whenever it *could* have held the rate down, not only when it did: a wrong acquittal of our own means a
wrong accusation of the provider. The rules and their reasons stand in docs/decisions/015-valid-samples.md.
"""

from enum import StrEnum
from typing import NamedTuple

from agent.probes.throughput import layers, windows
from agent.probes.throughput.engine import Direction
from agent.vantage import Medium
from wire.reasons import Limit
from wire.settings import ContractTerms, Role
from wire.throughput import Effort

REACHED = 0.99
"""Share of the contract from which it counts as reached: the method errs by up to 1 %."""
HEADROOM = 1.05
"""A responder should offer this much of the contract; below it, and near to it, it may be what limits."""
NEAR = 0.9
"""Share of what a responder offers from which a rate is near to it."""
THREAD_BUSY = 0.8
"""Share of one processor that the thread moving the bytes used."""
PROCESSOR_BUSY = 0.95
"""Share of the busiest processor: packets are taken in by one of them, which may be busy with anything."""
MACHINE_BUSY = 0.9
HELD_BACK = 0.1
"""Share of the time for which a window, a buffer or an allowance held a sender back."""
SENDER_BUSY = 0.9
"""Share of the time in which each stream should have had something to send or to be acknowledged."""
SHORT_QUEUE = 0.010
"""Seconds of queue below which a sender that fears losses may leave part of a line unused."""
CROSS = 0.1
"""Share of the contract that other traffic may take (FCC: a test is put off above it)."""
CROSS_BACK = 0.5
"""The same the other way: an uplink that others fill holds up the acknowledgements of a download."""
ACKNOWLEDGED = 0.05
"""Share of a test's rate that its acknowledgements may take the other way: one of 70 bytes for each segment."""


class Source(StrEnum):
    """How other traffic on the link could be seen."""

    INLINE = "inline"
    """The agent is the router: all of the link passes its interface."""
    ROUTER_COUNTERS = "router counters"
    UNSEEN = "unseen"
    """The agent sees its own machine alone."""


class Place(NamedTuple):
    """Where and as what the agent measured."""

    role: Role = Role.BOTH
    on_link: bool = True
    time_known: bool = True
    medium: Medium = Medium.CABLE
    port_speed: int | None = None
    full_duplex: bool = True
    source: Source = Source.UNSEEN
    cross: float = 0.0
    """Bits per second of other traffic in the same direction, as far as it was seen."""
    cross_back: float = 0.0
    """The same the other way."""
    far_shared: bool = False
    """Whether the responder stands on a line that others use, unseen by it."""


class Taken(NamedTuple):
    """What was measured of one direction."""

    direction: Direction
    rate: float
    """Bits per second at the IP layer."""
    windows: int
    segment: float = layers.FULL
    overhead: int = layers.OVERHEAD
    kernel_counted: bool = True
    cut: bool = False
    """The responder or the lease ended it before it was stable."""
    rwnd_limited: float = 0.0
    sndbuf_limited: float = 0.0
    busy: float = 1.0
    """Shares of the steady time, mean over the streams, as the sender's kernel tells."""
    loss_based: bool = False
    """Whether the sender's congestion control takes losses for a full line."""
    queueing: float = 1.0
    """Seconds by which the test's own load raised the round-trip time, median."""
    held: float = 0.0
    """Share of it for which the lease's allowance was used up, on either side."""
    ours: Effort = Effort()
    theirs: Effort = Effort()


class Offer(NamedTuple):
    """What was allowed in this direction: the lease's rate and the responder's declared capacity; 0 = not declared."""

    leased: int
    declared: int = 0


NEVER = frozenset(
    {
        Limit.WRONG_ROLE,
        Limit.WRONG_VANTAGE,
        Limit.TIME_UNKNOWN,
        Limit.NO_LEASE,
        Limit.ENGINE_NO_EVIDENCE,
        Limit.FEW_WINDOWS,
        Limit.CLIENT_COUNTED,
        Limit.WIFI,
    }
)
"""Limits that make a result no evidence in any case: it is not of this link, not of a known time, or not exact."""


def of_contract(contract: ContractTerms | None, direction: Direction) -> int:
    """The contract's rate in one direction at its own layer; 0 without a contract."""
    if contract is None:
        return 0
    return contract.download if direction is Direction.DOWN else contract.upload


def of_engine(taken: Taken, offer: Offer, contract: ContractTerms | None) -> tuple[Limit, ...]:
    """The limits that show in the test itself, in the order of the table of limits."""
    layer = contract.layer if contract else "ip"
    wanted = layers.at_ip(of_contract(contract, taken.direction), layer, taken.segment, taken.overhead)
    return _those(
        {
            Limit.RESPONDER_CAPACITY: _responder_limits(taken, offer, wanted),
            Limit.RESPONDER_CPU: _busy(taken.theirs),
            Limit.CPU_BUSY: _busy(taken.ours),
            Limit.RECEIVE_WINDOW: taken.rwnd_limited > HELD_BACK,
            Limit.SEND_BUFFER: taken.sndbuf_limited > HELD_BACK,
            Limit.CUT_SHORT: taken.cut,
            Limit.FEW_WINDOWS: taken.windows < windows.FEWEST,
            Limit.CLIENT_COUNTED: not taken.kernel_counted,
            Limit.SENDER_IDLE: taken.busy < SENDER_BUSY,
            Limit.LOSS_BASED: taken.loss_based and taken.queueing < SHORT_QUEUE,
        }
    )


def of_place(place: Place, direction: Direction, rate: float, contract: ContractTerms | None) -> tuple[Limit, ...]:
    """The limits of where, when and as what the agent measured. ``rate`` in bits per second at the IP layer."""
    wanted = layers.at_ip(of_contract(contract, direction), contract.layer if contract else "ip")
    return _those(
        {
            Limit.PORT_SPEED: _port_limits(place, rate, wanted),
            Limit.WIFI: place.medium in (Medium.WIFI, Medium.MOBILE),
            Limit.CROSS_TRAFFIC: place.cross > CROSS * (wanted or rate)
            or fills_back(place.cross_back, direction, rate, contract),
            Limit.CROSS_TRAFFIC_UNSEEN: place.source is Source.UNSEEN,
            Limit.RESPONDER_LINK_IN_USE: place.far_shared,
            Limit.WRONG_VANTAGE: not place.on_link,
            Limit.WRONG_ROLE: place.role is Role.ROOM,
            Limit.TIME_UNKNOWN: not place.time_known,
        }
    )


def fills_back(cross: float, direction: Direction, rate: float, contract: ContractTerms | None) -> bool:
    """Whether what passed against a test's direction, its acknowledgements among it, may have held these up. Bits per
    second; ``rate`` is the test's."""
    back = Direction.UP if direction is Direction.DOWN else Direction.DOWN
    return contract is not None and cross - ACKNOWLEDGED * rate > CROSS_BACK * of_contract(contract, back)


def _those(applies: dict[Limit, bool]) -> tuple[Limit, ...]:
    return tuple(limit for limit, yes in applies.items() if yes)


def valid(limits: tuple[Limit, ...], rate: float, contract: int) -> bool:
    """Whether a result is evidence. ``rate`` and ``contract`` at the contract's layer; ``contract`` 0 = none in force.

    A rate that reached the contract proves it whatever could have held it down; one below proves something only where
    nothing could.
    """
    if NEVER & set(limits):
        return False
    if contract and rate >= REACHED * contract:
        return True
    return not limits


def _responder_limits(taken: Taken, offer: Offer, wanted: float) -> bool:
    if taken.held > HELD_BACK:
        return True
    most = min(filter(None, offer), default=0)
    if not most or most >= HEADROOM * wanted:
        return bool(most) and taken.rate >= most / HEADROOM
    return most < wanted or taken.rate >= NEAR * most


def _port_limits(place: Place, rate: float, wanted: float) -> bool:
    if not place.full_duplex:
        return True
    if place.port_speed is None:
        return False
    carries = layers.port_carries(place.port_speed)
    return carries < wanted or rate >= NEAR * carries


def _busy(effort: Effort) -> bool:
    return effort.thread >= THREAD_BUSY or effort.busiest >= PROCESSOR_BUSY or effort.all >= MACHINE_BUSY

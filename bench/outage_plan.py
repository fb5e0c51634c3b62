"""What breaks when in :mod:`bench.outages`. Pure: the same seed gives the same hour. Seconds from the begin."""

import math
import random
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

APART = 30.0
"""Seconds between two faults of one site, so that they are two outages by any rule."""
LONGEST = 600.0
STORM = (20.0, 45.0)
"""When in a storm the box loses power, and when it is up again with a wrong date, seconds after the cut."""


class Kind(StrEnum):
    """What is done."""

    ACCESS = "access"
    """The line between the site's router and the provider's edge carries nothing, both ways."""
    LAN = "lan"
    """The router is unplugged from the office's switch."""
    CABLE = "cable"
    """The box's own cable is unplugged."""
    EDGE = "edge"
    """The provider's edge has lost its core: all its sites."""
    CORE = "core"
    """The provider's core is dead: all sites."""
    AGENT = "agent"
    """The agent is killed and started again later."""
    CUT_AND_KILL = "access, agent killed in it"
    COLLECTOR = "collector"
    """The collector is killed and started again later."""
    STORM = "storm"
    """The line is cut, and the box reboots while it is, with a date that is years wrong."""


SHARES: Mapping[Kind, int] = {
    Kind.ACCESS: 54,
    Kind.LAN: 14,
    Kind.CABLE: 4,
    Kind.EDGE: 6,
    Kind.CORE: 2,
    Kind.AGENT: 9,
    Kind.CUT_AND_KILL: 5,
    Kind.COLLECTOR: 3,
    Kind.STORM: 3,
}
"""Of a hundred."""
_ORDER = [Kind.CORE, Kind.EDGE, Kind.STORM, Kind.CUT_AND_KILL, Kind.ACCESS, Kind.LAN, Kind.CABLE, Kind.AGENT]
_SPREAD: Mapping[Kind, tuple[float, float]] = {
    Kind.CORE: (8.0, 60.0),
    Kind.EDGE: (3.0, 240.0),
    Kind.AGENT: (15.0, 240.0),
    Kind.CUT_AND_KILL: (60.0, 240.0),
    Kind.COLLECTOR: (10.0, 60.0),
    Kind.STORM: (100.0, 240.0),
}
"""Shortest and longest in seconds, where it is not 1 s to 10 min."""


class Cut(NamedTuple):
    """One thing that breaks at ``at`` for ``length`` seconds. ``sites`` are those that feel it."""

    kind: Kind
    site: str
    at: float
    length: float
    sites: tuple[str, ...]


def counts(cuts: int) -> dict[Kind, int]:
    """How many of each kind: by share, at least one of each where there are enough, exactly ``cuts`` in all."""
    found = {kind: max(1, math.floor(share * cuts / 100)) for kind, share in SHARES.items()}
    found[Kind.ACCESS] += cuts - sum(found.values())
    if found[Kind.ACCESS] < 1:
        raise ValueError(f"cuts: found {cuts}, expected at least {len(SHARES)}, one of each kind")
    return found


def plan(edges: Mapping[str, int], cuts: int, seconds: float, seed: int) -> list[Cut]:
    """The hour, in order. ``edges``: the edge that each site hangs on. Faults of one site never overlap, but those of
    the collector overlap everything."""
    chance = random.Random(seed)
    wanted = counts(cuts)
    busy: dict[str, list[tuple[float, float]]] = {site: [] for site in edges}
    found = []
    for kind in _ORDER:
        spread = lengths(kind, wanted[kind], seconds, chance)
        found += [_place(kind, length, edges, busy, seconds, chance) for length in spread]
    alone: dict[str, list[tuple[float, float]]] = {"": []}
    spread = lengths(Kind.COLLECTOR, wanted[Kind.COLLECTOR], seconds, chance)
    found += [_place(Kind.COLLECTOR, length, {"": 0}, alone, seconds, chance) for length in spread]
    return sorted(found, key=lambda one: one.at)


def lengths(kind: Kind, count: int, seconds: float, chance: random.Random) -> list[float]:
    """Spread evenly on a logarithmic scale from the shortest to the longest, the longest first."""
    low, high = _SPREAD.get(kind, (1.0, LONGEST))
    high = max(low, min(high, seconds * 0.4))
    steps = [(number + chance.random()) / count for number in range(count)]
    if kind is Kind.ACCESS and count > 1:
        steps[0], steps[-1] = 0.0, 1.0
    return sorted((low * (high / low) ** step for step in steps), reverse=True)


def _place(
    kind: Kind,
    length: float,
    edges: Mapping[str, int],
    busy: dict[str, list[tuple[float, float]]],
    seconds: float,
    chance: random.Random,
) -> Cut:
    for attempt in range(4000):
        if attempt and attempt % 1000 == 0 and kind not in (Kind.STORM, Kind.CUT_AND_KILL):
            length = max(_SPREAD.get(kind, (1.0, 0.0))[0], length / 2)
        site = chance.choice(list(edges))
        at = chance.uniform(0, max(0.0, seconds - length))
        felt = _felt(kind, site, edges)
        if all(_free(busy[one], at, at + length) for one in felt):
            for one in felt:
                busy[one].append((at, at + length))
            return Cut(kind, site if kind is not Kind.CORE else "", at, length, felt)
    raise ValueError(
        f"found no room for {kind} of {length:.0f} s: fewer cuts, more minutes or more districts are needed"
    )


def _felt(kind: Kind, site: str, edges: Mapping[str, int]) -> tuple[str, ...]:
    if kind is Kind.CORE:
        return tuple(edges)
    if kind is Kind.EDGE:
        return tuple(one for one, edge in edges.items() if edge == edges[site])
    return (site,)


def _free(busy: Sequence[tuple[float, float]], start: float, end: float) -> bool:
    return all(end + APART < begun or start > ended + APART for begun, ended in busy)

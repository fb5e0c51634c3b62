"""The link's watcher in virtual time: what it says of a hundred troubles, to the second."""

import errno
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from agent.probe import Sighting
from agent.probes.link import LinkSettings
from agent.probes.link import watch as module
from agent.probes.link.aims import Out
from agent.probes.link.classify import Way
from tests.support.linkworld import ALL, BEYOND, FAR, ON_ROUTER, SETTINGS, Fault, LinkWorld
from tests.support.warp import warp
from wire.clock import SECOND
from wire.reasons import Reason

NO_CARRIER = Out("eth0", "192.168.1.1", Way(True, False, False, "failed"))
NO_ROUTE = Out("", "", Way(False, True, False, ""))
GONE = Out("eth0", "192.168.1.1", Way(True, True, False, "failed"))
ROUTER_SHARED = Out("wan", "10.9.0.1", Way(True, True, True, "reachable"))
BACKUP = Out("wwan0", "", Way(True, True, True, ""))


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The routing table and its changes come from the world of the test."""

    class Deaf:
        def __init__(self, loop: object, tell: object) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(module, "Changes", Deaf)
    yield


def watched(
    seconds: float, prepare: Callable[[LinkWorld], None], settings: LinkSettings = SETTINGS
) -> tuple[list[Sighting], LinkWorld]:
    """The sightings of a world, times in seconds since its start."""

    async def story() -> tuple[list[Sighting], LinkWorld]:
        world = LinkWorld()
        prepare(world)
        return await world.watch(seconds, settings), world

    found, world = warp(story())
    check(found, world)
    return found, world


def check(found: list[Sighting], world: LinkWorld) -> None:
    """What holds of every watch: windows follow each other, sum up to their length, and agree with the changes."""
    windows = [one for one in found if not one.previous]
    changes = [one for one in found if one.previous]
    for before, after in itertools.pairwise(windows):
        assert after.start == before.end
    for before, after in itertools.pairwise(changes):
        assert after.previous == before.current
        assert after.start > before.start
    for window in windows:
        assert sum(window.finding.states.values()) == pytest.approx((window.end - window.start) / SECOND, abs=1e-6)
        for state, spent in window.finding.states.items():
            assert spent == pytest.approx(told(changes, state, window.start, window.end) / SECOND, abs=1e-6)
    for change in changes:
        assert change.start <= change.end
    assert not any("192.168" in fact or "10.9" in fact for one in found for fact in one.finding.facts.values())


def told(changes: list[Sighting], state: str, start: int, end: int) -> int:
    """Microseconds of a state between two moments, by the changes alone."""
    line = [(0, "unknown"), *((one.start, one.current) for one in changes), (2**60, "")]
    return sum(
        max(0, min(until, end) - max(since, start))
        for (since, name), (until, _) in itertools.pairwise(line)
        if name == state
    )


def states(found: list[Sighting], world: LinkWorld) -> list[tuple[str, float]]:
    """The changes as (state, second at which it began)."""
    origin = round(world.began * SECOND)
    return [(one.current, (one.start - origin) / SECOND) for one in found if one.previous]


class Case(NamedTuple):
    """A trouble, and the states that must be told after ``up``, with the seconds at which they truly began."""

    name: str
    faults: list[Fault]
    expected: list[tuple[str, float]]
    world: dict[str, Any] = {}
    seconds: float = 80


CASES = [
    Case("nothing happens", [], []),
    Case("the access line is cut", [Fault(20.3, 40.6)], [("link", 20.3), ("up", 40.6)]),
    Case("for three seconds", [Fault(20.5, 23.9)], [("link", 20.5), ("up", 23.9)]),
    Case("for a second, again and again", [Fault(20.5 + 4 * n, 21.6 + 4 * n) for n in range(10)], []),
    Case("the cable is pulled", [Fault(20.3, 33.2, ALL, NO_CARRIER)], [("lan", 20.3), ("up", 33.2)]),
    Case("the gateway starts anew", [Fault(20.3, 63.2, ALL, GONE)], [("lan", 20.3), ("up", 63.2)]),
    Case("the gateway vanishes; ARP still believes in it", [Fault(20.3, 33.2, ALL)], [("lan", 20.3), ("up", 33.2)]),
    Case("the default route is gone", [Fault(20.3, 33.2, ALL, NO_ROUTE)], [("lan", 20.3), ("up", 33.2)]),
    Case("the provider's core fails", [Fault(20.3, 33.2, BEYOND)], [("provider", 20.3), ("up", 33.2)]),
    Case("one anchor is lost", [Fault(20.3, 33.2, ("anchor-1",))], []),
    Case("the other anchor is lost", [Fault(20.3, 33.2, ("anchor-2",))], []),
    Case("the edge alone is silent", [Fault(20.3, 63.2, ("edge",))], []),
    Case("the gateway answers no more, others do", [Fault(20.3, 63.2, ("gateway",))], []),
    Case(
        "the anchors are lost one by one",
        [Fault(10, 60, ("anchor-1",)), Fault(20.3, 33.2, ("anchor-2", "responder", "collector"))],
        [("provider", 20.3), ("up", 33.2)],
    ),
    Case("only the anchors", [Fault(20.3, 33.2, ("anchor-1", "anchor-2"))], [("provider", 20.3), ("up", 33.2)]),
    Case("only ours", [Fault(20.3, 33.2, ("responder", "collector"))], [("collector", 20.3), ("up", 33.2)]),
    Case("only the collector, the responder answers", [Fault(20.3, 33.2, ("collector",))], []),
    Case("the collector never answers echoes", [], [], {"never": {"collector", "responder"}}),
    Case(
        "the edge was never learned",
        [Fault(20.3, 33.2)],
        [("link_or_provider", 20.3), ("up", 33.2)],
        {"learned": {"beyond": "2"}},
    ),
    Case(
        "the edge was learned and answers no more",
        [Fault(80.3, 93.2)],
        [("link_or_provider", 80.3), ("up", 93.2)],
        {"never": {"edge"}},
        110,
    ),
    Case(
        "the edge answers only echoes that run out there; cut",
        [Fault(20.3, 33.2)],
        [("link", 20.3), ("up", 33.2)],
        {"never": {"edge"}, "learned": {"beyond": "2", "edge_hop": "2"}},
    ),
    Case(
        "the edge answers only echoes that run out there; core",
        [Fault(20.3, 33.2, BEYOND)],
        [("provider", 20.3), ("up", 33.2)],
        {"never": {"edge"}, "learned": {"beyond": "2", "edge_hop": "2"}},
    ),
    Case(
        "the gateway never answers echoes; the line is cut",
        [Fault(20.3, 33.2)],
        [("link", 20.3), ("up", 33.2)],
        {"never": {"gateway"}},
    ),
    Case(
        "the gateway never answers echoes and vanishes",
        [Fault(20.3, 33.2, ALL, GONE)],
        [("lan", 20.3), ("up", 33.2)],
        {"never": {"gateway"}},
    ),
    Case("800 ms of delay", [], [], {"delay": lambda _: 0.8}),
    Case("800 ms of delay and a cut", [Fault(20.3, 33.2)], [("link", 20.3), ("up", 34.0)], {"delay": lambda _: 0.8}),
    Case("a queue fills up to 2.4 s and empties", [], [], {"delay": lambda t: 0.02 + max(0, 2.4 - abs(t - 30) / 4)}),
    Case("30 % loss", [], [], {"loss": 0.3}, 3600),
    Case("30 % loss and a cut", [Fault(20.3, 40.6)], [("link", 20.3), ("up", 40.6)], {"loss": 0.3}),
    Case(
        "on the router, PPPoE: the session ends and with it the route",
        [Fault(20.3, 33.2, ALL, NO_ROUTE)],
        [("link", 20.3), ("up", 33.2)],
        {"out": ON_ROUTER},
    ),
    Case(
        "on the router, PPPoE: silence",
        [Fault(20.3, 33.2, FAR)],
        [("link", 20.3), ("up", 33.2)],
        {"out": ON_ROUTER},
    ),
    Case(
        "on the router, the edge is the gateway",
        [Fault(20.3, 33.2, FAR), Fault(50.3, 63.2, BEYOND)],
        [("link", 20.3), ("up", 33.2), ("provider", 50.3), ("up", 63.2)],
        {"out": ROUTER_SHARED, "learned": {"beyond": "1"}},
    ),
    Case(
        "on the router, its port without carrier",
        [Fault(20.3, 33.2, FAR, ROUTER_SHARED._replace(way=Way(True, False, True, "failed")))],
        [("link", 20.3), ("up", 33.2)],
        {"out": ROUTER_SHARED, "learned": {"beyond": "1"}},
    ),
    Case(
        "the firewall of this machine forbids echoes",
        [Fault(20.0, 33.0, ALL, None, errno.EPERM)],
        [("unknown", 20.0), ("up", 33.0)],
    ),
    Case(
        "no memory for packets",
        [Fault(20.0, 33.0, ALL, None, errno.ENOBUFS)],
        [("unknown", 20.0), ("up", 33.0)],
    ),
    Case(
        "no way out to the targets",
        [Fault(20.3, 33.2, ALL, None, errno.ENETUNREACH)],
        [("lan", 20.3), ("up", 33.2)],
    ),
    Case(
        "a backup takes over two seconds after the cut",
        [Fault(20.0, 60.0), Fault(22.0, 60.0, (), BACKUP)],
        [("unknown", 20.0), ("up", 60.0)],
        {"reason": lambda t: Reason.NOT_ON_THIS_LINK if 22 <= t < 60 else None},
    ),
    Case(
        "the hall's collector is in the same building",
        [Fault(20.3, 33.2, ("edge", "anchor-1", "anchor-2"))],
        [("link", 20.3), ("up", 33.2)],
        {"near": {"collector", "responder"}},
    ),
    Case("nothing has ever answered here", [Fault(0, 80)], [], {"learned": {"edge": "10.9.0.1"}}),
    Case("it starts during an outage, and has been here before", [Fault(0, 33.2)], [("link", 0), ("up", 33.2)]),
    Case(
        "a fault becomes another",
        [Fault(20.3, 60.2, BEYOND), Fault(40.3, 60.2, FAR)],
        [("provider", 20.3), ("link", 40.3), ("up", 60.2)],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[one.name for one in CASES])
def test_a_trouble_is_told_by_its_state_and_to_the_second(case: Case) -> None:
    def prepare(world: LinkWorld) -> None:
        world.faults = case.faults
        extra = dict(case.world)
        if "learned" in extra:
            world.directory.addresses = dict(extra.pop("learned"))
        for name, value in extra.items():
            setattr(world, name, value)

    found, world = watched(case.seconds, prepare)
    seen = states(found, world)
    starts_down = bool(case.faults) and case.faults[0].start == 0
    expected = case.expected if starts_down else [("up", 0.0), *case.expected]
    assert [state for state, _ in seen] == [state for state, _ in expected]
    for (_, start), (_, truth) in zip(seen, expected, strict=True):
        assert abs(start - truth) <= 1.1

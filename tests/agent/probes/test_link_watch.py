"""The link's watcher in virtual time: what it says of a hundred troubles, to the second."""

import errno
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from agent.probe import Sighting
from agent.probes.link import FarEnd, LinkSettings, look
from agent.probes.link import watch as module
from agent.probes.link.aims import Out
from agent.probes.link.classify import Way
from tests.support.linkworld import ALL, BEYOND, FAR, ON_ROUTER, SETTINGS, Fault, LinkWorld
from tests.support.warp import warp
from wire.clock import SECOND
from wire.reasons import Outcome, Reason

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
    Case("the anchors never answer", [], [], {"never": {"anchor-1", "anchor-2"}}),
    Case(
        "the anchors never answer, and ours are restarted",
        [Fault(20.3, 33.2, ("responder", "collector"))],
        [("unknown", 20.3), ("up", 33.2)],
        {"never": {"anchor-1", "anchor-2"}},
    ),
    Case(
        "the anchors never answer, and the line is cut",
        [Fault(20.3, 33.2)],
        [("link", 20.3), ("up", 33.2)],
        {"never": {"anchor-1", "anchor-2"}},
    ),
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
        "this machine's own queue is full",
        [Fault(20.0, 33.0, ALL, None, errno.EAGAIN)],
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


def only_change(found: list[Sighting], state: str) -> Sighting:
    """The one change to a state."""
    (one,) = [one for one in found if one.current == state]
    return one


def test_a_change_is_told_three_seconds_after_it_began_with_the_evidence() -> None:
    found, _ = watched(40, lambda world: setattr(world, "faults", [Fault(20.3, 99)]))
    assert only_change(found, "up").finding.facts == {
        "answered": "gateway, edge, anchor-1, anchor-2, responder:hall, collector"
    }
    change = only_change(found, "link")
    assert (change.end - change.start) / SECOND == pytest.approx(3.0, abs=0.01)
    assert change.previous == "up"
    assert change.finding.outcome is Outcome.OK
    assert change.finding.facts == {
        "answered": "gateway",
        "silent": "edge, anchor-1, anchor-2, responder:hall, collector",
        "carrier": "yes",
        "route": "yes",
        "gateway": "reachable",
        "trace": "1 gateway, 2 silent",
    }


def test_the_trace_says_where_the_path_stops() -> None:
    found, _ = watched(40, lambda world: setattr(world, "faults", [Fault(20.3, 99, BEYOND)]))
    assert only_change(found, "provider").finding.facts["trace"] == "1 gateway, 2 edge, 3 silent"


@pytest.mark.parametrize("begins", [22.2, 23.2, 24.3, 25.3])
def test_a_fault_soon_after_a_blink_is_traced_itself(begins: float) -> None:
    faults = [Fault(20.3, 21.9), Fault(begins, 90, BEYOND)]
    found, _ = watched(130, lambda world: setattr(world, "faults", faults))
    traces = [one.finding.facts["trace"] for one in found if "trace" in one.finding.facts]
    assert traces == ["1 gateway, 2 edge, 3 silent"]


def test_a_window_soon_after_a_change_tells_no_older_trace() -> None:
    def prepare(world: LinkWorld) -> None:
        world.clock.slept = 54_500_000  # the minute ends half a second before the change is told
        world.faults = [Fault(20.3, 21.9), Fault(22.2, 90, BEYOND)]

    found, _ = watched(130, prepare)
    change = only_change(found, "provider")
    window = found[found.index(change) + 1]
    assert change.end - SECOND < window.end < change.end
    assert "trace" not in change.finding.facts | window.finding.facts
    traces = [one.finding.facts["trace"] for one in found if "trace" in one.finding.facts]
    assert traces == ["1 gateway, 2 edge, 3 silent"]


def test_the_trace_of_a_blink_is_told_of_no_later_fault() -> None:
    faults = [Fault(20.3, 21.9), Fault(50.3, 90, BEYOND)]
    found, _ = watched(100, lambda world: setattr(world, "faults", faults))
    traces = [one.finding.facts["trace"] for one in found if "trace" in one.finding.facts]
    assert traces == ["1 gateway, 2 edge, 3 silent"]


def test_a_window_waits_for_a_change_that_is_dated_back_into_it() -> None:
    def prepare(world: LinkWorld) -> None:
        start = 60 - world.began % 60  # the second in which the minute ends
        world.faults = [Fault(start - 1.3, start + 10)]

    found, _ = watched(100, prepare)
    change = only_change(found, "link")
    window = next(one for one in found if not one.previous)
    assert change.start < window.end < change.end
    assert window.finding.states["link"] == pytest.approx((window.end - change.start) / SECOND, abs=1e-6)
    assert found.index(change) < found.index(window)
    assert window.finding.counts["attempts"] >= 1


def test_an_anchor_that_is_lost_is_a_fact_and_no_state() -> None:
    found, _ = watched(80, lambda world: setattr(world, "faults", [Fault(0, 99, ("anchor-2",))]))
    windows = [one for one in found if not one.previous]
    assert windows[-1].finding.facts["silent"].startswith("anchor-2 ")
    assert [one.current for one in found if one.previous] == ["up"]


def test_stopped_it_ends_its_last_window_at_the_last_second_that_is_certain() -> None:
    found, world = watched(30.5, lambda _: None)
    last = found[-1]
    assert last.previous == ""
    assert 29 * SECOND <= last.end - round(world.began * SECOND) <= 30.5 * SECOND


def test_stopped_before_the_first_second_it_says_nothing() -> None:
    found, _ = watched(0.0001, lambda _: None)
    assert found == []


def test_what_the_machine_slept_through_is_unknown_and_never_down() -> None:
    def prepare(world: LinkWorld) -> None:
        world.loop.call_later(20.4, sleep, world)
        world.faults = [Fault(20.4, 25)]  # the network comes back later than the clock

    def sleep(world: LinkWorld) -> None:
        world.clock.slept += 7200 * SECOND

    found, _ = watched(60, prepare)
    assert [one.current for one in found if one.previous] == ["up", "unknown", "up"]
    asleep = only_change(found, "unknown")
    assert asleep.finding.reason is Reason.SUSPENDED
    back = [one for one in found if one.current == "up"][-1]
    assert 7200 <= (back.start - asleep.start) / SECOND <= 7206
    windows = [one for one in found if not one.previous]
    asleep_windows = [one for one in windows if set(one.finding.states) == {"unknown"}]
    assert asleep_windows
    assert {one.finding.reason for one in asleep_windows} == {Reason.SUSPENDED}
    assert {one.finding.outcome for one in asleep_windows} == {Outcome.ERROR}


def test_a_starved_loop_saw_nothing() -> None:
    def prepare(world: LinkWorld) -> None:
        world.loop.call_later(20.4, starve, world)

    def starve(world: LinkWorld) -> None:
        world.loop._warp.warped += 9.0  # type: ignore[attr-defined]

    found, _ = watched(60, prepare)
    assert [one.current for one in found if one.previous] == ["up", "unknown", "up"]
    starved = only_change(found, "unknown")
    assert starved.finding.reason is Reason.NO_RESOURCES
    back = [one for one in found if one.current == "up"][-1]
    assert 7 <= (back.start - starved.start) / SECOND <= 9


@pytest.mark.parametrize("by", [-86_400 * 365, 3600])
def test_the_wall_clock_does_not_matter(by: int) -> None:
    def prepare(world: LinkWorld) -> None:
        world.faults = [Fault(20.3, 33.2)]
        world.loop.call_later(25, world.clock.step, by * SECOND)

    found, world = watched(60, prepare)
    assert [state for state, _ in states(found, world)] == ["up", "link", "up"]


def test_elsewhere_nothing_is_asked_and_the_reason_is_told() -> None:
    def prepare(world: LinkWorld) -> None:
        world.reason = lambda _: Reason.NOT_ON_THIS_LINK

    found, world = watched(130, prepare)
    assert world.sent == 0
    assert found
    assert not [one for one in found if one.previous]
    assert {(one.finding.outcome, one.finding.reason) for one in found} == {(Outcome.SKIPPED, Reason.NOT_ON_THIS_LINK)}


def test_elsewhere_a_route_that_is_gone_is_no_fault_of_this_link() -> None:
    def prepare(world: LinkWorld) -> None:
        world.reason = lambda t: None if 40 <= t < 50 else Reason.NOT_ON_THIS_LINK  # as asked without any route
        world.faults = [Fault(20.3, 50, ALL, NO_ROUTE)]

    found, _ = watched(70, prepare)
    assert not [one for one in found if one.previous]


def test_no_permission_says_what_to_do() -> None:
    found, _ = watched(130, lambda world: setattr(world, "faults", [Fault(0, 999, ALL, None, errno.EPERM)]))
    last = found[-1].finding
    assert (last.outcome, last.reason) == (Outcome.ERROR, Reason.NO_PERMISSION)
    assert "ping_group_range" in last.facts["remedy"]


def test_a_place_where_nothing_ever_answered_is_unknown() -> None:
    def prepare(world: LinkWorld) -> None:
        world.faults = [Fault(0, 999)]
        world.directory.addresses = {"edge": "10.9.0.1"}

    found, _ = watched(130, prepare)
    assert {one.finding.reason for one in found} == {Reason.CONTROLS_SILENT}


def test_what_answers_is_learned_for_the_next_run() -> None:
    def prepare(world: LinkWorld) -> None:
        world.directory.addresses = {}
        world.out = ON_ROUTER

    _, world = watched(10, prepare)
    assert world.directory.addresses == {"beyond": "1", "anchored": "203.0.113.1 203.0.113.2"}


def test_it_is_learned_anew_where_it_was_forgotten_while_the_link_stayed_up() -> None:
    def prepare(world: LinkWorld) -> None:
        world.loop.call_later(20, world.directory.learn, {"beyond": ""})

    _, world = watched(90, prepare)
    assert world.directory.addresses["beyond"] == "2"


def test_who_was_silent_is_told_of_the_window_in_which_it_was() -> None:
    found, _ = watched(190, lambda world: setattr(world, "faults", [Fault(2.5, 6.5, ("anchor-2",))]))
    told = [one.finding.facts.get("silent") for one in found if not one.previous]
    assert told[0] == "anchor-2 4"
    assert set(told[1:]) == {None}


def test_names_that_cannot_be_resolved_harm_nothing() -> None:
    far = (FarEnd("hall", "responder.invalid"),)
    settings = LinkSettings(anchors=SETTINGS.anchors, responders=far, collector="@collector")
    found, world = watched(40, lambda world: setattr(world, "faults", [Fault(20.3, 33.2)]), settings)
    assert [state for state, _ in states(found, world)] == ["up", "link", "up"]


def test_it_is_a_trickle_even_in_a_fault() -> None:
    _, quiet = watched(120, lambda _: None)
    _, fault = watched(120, lambda world: setattr(world, "faults", [Fault(0, 999)]))
    packet = look.SIZE + 28
    _, slow = watched(120, lambda world: setattr(world, "delay", lambda _: 0.8))
    assert quiet.sent * packet * 8 / 120 <= 3_000
    assert slow.sent <= quiet.sent * 1.05, "a slow line is no reason to ask twice"
    assert fault.sent * packet * 8 / 120 <= 6_500

"""Whom the link's watcher asks, by which way out, and what it makes of answers and errors."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any, cast

import pytest

from agent.addresses import is_providers
from agent.directory import Directory
from agent.neterrors import Unresolved
from agent.netlink import Belief
from agent.probes.gateway import Way as Route
from agent.probes.gateway import is_router
from agent.probes.icmp import Place
from agent.probes.icmp.codec import ExtendedError, Family, Origin
from agent.probes.icmp.pinger import Pinger, Received
from agent.probes.icmp.sockets import NoPermission
from agent.probes.link import aims as module
from agent.probes.link.aims import Names, Others, Out, aims_of, out_of
from agent.probes.link.classify import Kind, Way
from agent.probes.link.look import Aim, Look
from agent.probes.link.trace import Hop, in_words
from agent.vantage import Route as Default
from tests.support.warp import WarpClock, warp
from tests.support.watch import PlainSurroundings
from wire.reasons import Reason

V4 = Route(Default("eth0", "192.168.1.1", 100), True, Belief.REACHABLE)
V6 = Route(Default("eth0", "fe80::1", 100), True, Belief.STALE)
PPP = Route(Default("ppp0", "", 0), True, None, point_to_point=True)
OTHERS = Others(
    (("anchor-1", "192.0.2.1"), ("anchor-2", "2001:db8::2")),
    (("responder:hall", "@collector"), ("collector", "@collector")),
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("100.64.0.1", True),
        ("100.127.255.254", True),
        ("100.63.255.1", True),
        ("100.128.0.1", True),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("router", False),
    ],
)
def test_whose_a_gateway_s_address_is(address: str, expected: bool) -> None:
    assert is_providers(address) is expected


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (V4, False),
        (V6, False),
        (PPP, True),
        (V4._replace(point_to_point=True), True),
        (V6._replace(point_to_point=True), True),
        (V4._replace(route=Default("wan", "100.64.3.1", 0)), True),
        (V6._replace(route=Default("wan", "2400::1", 0)), False),
    ],
)
def test_whether_this_machine_is_the_router(way: Route, expected: bool) -> None:
    assert is_router(way) is expected


def test_the_way_out() -> None:
    nowhere = Out()
    assert out_of([V4, V6], nowhere) == Out("eth0", "192.168.1.1", Way(True, True, False, "reachable"))
    assert out_of([V6], nowhere) == Out("eth0", "fe80::1%eth0", Way(True, True, False, "stale"))
    assert out_of([V4._replace(carrier=False, belief=None)], nowhere).way == Way(True, False, False, "")
    ppp = out_of([PPP], nowhere)
    assert ppp == Out("ppp0", "", Way(True, True, True, ""))
    assert out_of([], ppp).way == Way(False, True, True, ""), "a router without a session still is the router"
    assert out_of([], out_of([V4], nowhere)).way == Way(False, True, False, "")


def aims(out: Out, learned: dict[str, str], others: Others = OTHERS) -> list[tuple[str, Kind, str, int | None]]:
    """Who is asked, with the address."""

    async def story() -> list[tuple[str, Kind, str, int | None]]:
        around = PlainSurroundings(WarpClock(asyncio.get_running_loop()), learned)
        found = aims_of(out, others, Names(), around)
        return [(one.role, one.kind, str(one.place.address[0]), one.ttl) for one in found]

    return warp(story())


BEHIND = Out("eth0", "192.168.1.1", Way(True, True, False, "reachable"))
ANCHORS = [("anchor-1", Kind.ANCHOR, "192.0.2.1", None), ("anchor-2", Kind.ANCHOR, "2001:db8::2", None)]


def test_everybody_is_asked_who_can_be_and_one_address_once() -> None:
    gateway = ("gateway", Kind.GATEWAY, "192.168.1.1", None)
    edge = ("edge", Kind.EDGE, "10.0.0.1", None)
    hall = ("responder:hall", Kind.OURS, "198.51.100.9", None)
    assert aims(BEHIND, {}) == [gateway, *ANCHORS]
    assert aims(BEHIND, {"edge": "10.0.0.1", "collector": "198.51.100.9"}) == [gateway, edge, *ANCHORS, hall]
    assert aims(BEHIND, {"edge_hop": "2"}) == [gateway, ("edge", Kind.EDGE, "192.0.2.1", 2), *ANCHORS]
    assert aims(BEHIND, {"edge_hop": "2"}, Others((), ())) == [gateway]
    assert aims(BEHIND, {"collector": "192.0.2.1"}) == [gateway, *ANCHORS], "an anchor is asked once"


def test_on_the_router_the_next_hop_is_the_edge() -> None:
    wan = Out("wan", "100.64.3.1", Way(True, True, True, "reachable"))
    assert aims(wan, {}) == [("edge", Kind.EDGE, "100.64.3.1", None), *ANCHORS]
    assert aims(wan, {"edge": "100.64.3.9"})[0] == ("edge", Kind.EDGE, "100.64.3.9", None)
    assert aims(Out("ppp0", "", Way(True, True, True, "")), {"edge_hop": "1"})[0] == (
        "edge", Kind.EDGE, "192.0.2.1", 1,
    )  # fmt: skip


def test_in_ipv6_alone_the_gateway_is_asked_over_its_interface() -> None:
    found = aims(Out("lo", "fe80::1%lo", Way()), {}, Others((("anchor-2", "2001:db8::2"),), ()))
    assert found == [("gateway", Kind.GATEWAY, "fe80::1", None), ANCHORS[1]]
    assert aims(Out("gone", "fe80::1%gone", Way()), {}, Others((), ())) == [], "an interface that is no more"


def test_a_name_is_asked_for_beside_the_watch_and_its_last_address_used_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        asked: list[str] = []
        answers: list[Place | None] = [None, Place(Family.V4, ("192.0.2.8", 0)), None]

        async def resolved(host: str, family: str, within: float) -> Place:
            asked.append(host)
            found = answers.pop(0)
            await asyncio.sleep(3)
            if found is None:
                raise Unresolved(host, Reason.NAME_SERVER_SILENT, "no answer")
            return found

        monkeypatch.setattr(module, "place_of", resolved)
        names = Names()
        assert names.place("hall.example") is None
        await asyncio.sleep(5)
        assert names.place("hall.example") is None, "not asked again at once"
        assert len(asked) == 1
        await asyncio.sleep(module.RETRY)
        assert names.place("hall.example") is None
        await asyncio.sleep(4)
        held = names.place("hall.example")
        assert held == Place(Family.V4, ("192.0.2.8", 0))
        await asyncio.sleep(module.ASK_AGAIN)
        assert names.place("hall.example") == held
        await asyncio.sleep(5)
        assert names.place("hall.example") == held, "name servers are silent: the last address is used on"
        assert len(asked) == 3
        names.close()

    warp(story())


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        ([], ""),
        ([Hop(1), Hop(2)], "1 silent"),
        ([Hop(1, "192.168.1.1"), Hop(2, "10.0.0.1"), Hop(3), Hop(4)], "1 gateway, 2 edge, 3 silent"),
        ([Hop(1, "192.168.1.1"), Hop(2), Hop(3, "8.8.4.4"), Hop(4)], "1 gateway, 2 silent, 3 8.8.4.4, 4 silent"),
        ([Hop(1, "10.9.9.9"), Hop(2, "8.8.8.8", True), Hop(3, "8.8.8.8", True)], "1 router, 2 anchor-1 (8.8.8.8)"),
        ([Hop(1, "192.0.2.77", True)], "1 destination"),
    ],
)
def test_a_trace_in_words_has_no_private_address(hops: list[Hop], expected: str) -> None:
    roles = {"192.168.1.1": "gateway", "10.0.0.1": "edge", "8.8.8.8": "anchor-1"}
    assert in_words(hops, roles) == expected


class FakePinger:
    """Keeps the listeners, or fails."""

    def __init__(self) -> None:
        self.heard: dict[str, Callable[[Received], None]] = {}
        self.problem: OSError | None = None
        self.sent = 0

    def send(
        self, family: Family, address: Any, size: int, listener: Callable[[Received], None], ttl: int | None = None
    ) -> int:
        if self.problem is not None:
            raise self.problem
        self.sent += 1
        self.heard[f"{address[0]} {ttl or ''}".strip()] = listener
        return self.sent


def place(address: str) -> Place:
    return Place(Family.V4, (address, 0))


AIMS = [
    Aim("gateway", Kind.GATEWAY, place("192.168.1.1")),
    Aim("edge", Kind.EDGE, place("192.0.2.1"), 2),
    Aim("anchor-1", Kind.ANCHOR, place("192.0.2.1")),
    Aim("collector", Kind.OURS, place("192.0.2.9")),
]
EXCEEDED = ExtendedError(errno.EHOSTUNREACH, Origin.ICMP, 11, 0)
UNREACHABLE = ExtendedError(errno.EHOSTUNREACH, Origin.ICMP, 3, 1)
LOCAL = ExtendedError(errno.EHOSTUNREACH, Origin.LOCAL, 0, 0)


def looked() -> tuple[Look, FakePinger, list[tuple[str, bool]]]:
    pinger = FakePinger()
    told: list[tuple[str, bool]] = []

    def tell(aim: Aim, near: bool, rtt: int) -> None:
        assert rtt >= 1
        told.append((aim.role, near))
        look.heard[aim.role] = near

    look = Look(cast(Pinger, pinger), 0, AIMS, tell)
    look.ask()
    return look, pinger, told


def answered(look: Look) -> list[str]:
    return [one.role for one in look.asked() if one.answered]


def test_an_answer_is_the_aim_s_and_is_told_when_it_comes() -> None:
    look, pinger, told = looked()
    pinger.heard["192.0.2.1"](Received(3, "192.0.2.1", 20_000_000, 55, None))
    pinger.heard["192.0.2.9"](Received(4, "192.0.2.9", 10_000_000, 64, None))
    assert answered(look) == ["anchor-1", "collector"]
    assert [one.near for one in look.asked() if one.answered] == [False, True]
    assert told == [("anchor-1", False), ("collector", True)]
    look.heard.clear()
    assert answered(look) == [], "it is the watch that says in which second it was heard"


def test_only_time_exceeded_is_an_edge_s_answer_to_an_echo_that_runs_out() -> None:
    look, pinger, _ = looked()
    pinger.heard["192.0.2.1 2"](Received(2, "192.168.1.1", 1, None, UNREACHABLE))
    assert answered(look) == ["gateway"], "the gateway says that there is no way: it is there, the edge is not"
    pinger.heard["192.0.2.1 2"](Received(2, "", 1, None, LOCAL))
    pinger.heard["192.0.2.1 2"](Received(2, "192.0.2.1", 1, 55, None))
    assert "edge" not in answered(look)
    pinger.heard["192.0.2.1 2"](Received(2, "10.0.0.1", 1, None, EXCEEDED))
    assert answered(look) == ["gateway", "edge"]


def test_an_error_is_no_answer_of_whom_it_is_about() -> None:
    look, pinger, _ = looked()
    pinger.heard["192.0.2.1"](Received(3, "203.0.113.5", 1, None, UNREACHABLE))
    pinger.heard["192.0.2.9"](Received(4, "192.0.2.9", 1, None, LOCAL))
    assert answered(look) == []


def test_those_who_answered_are_not_asked_again() -> None:
    look, pinger, _ = looked()
    pinger.heard["192.0.2.1"](Received(3, "192.0.2.1", 1, 55, None))
    look.ask()
    assert pinger.sent == 7


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (NoPermission(Family.V4), Reason.NO_PERMISSION),
        (OSError(errno.EPERM, "no"), Reason.NO_PERMISSION),
        (OSError(errno.ENOBUFS, "no"), Reason.NO_RESOURCES),
        (OSError(errno.ENETUNREACH, "no"), None),
        (OSError(errno.EHOSTUNREACH, "no"), None),
    ],
)
def test_why_an_echo_was_not_sent(problem: OSError, expected: Reason | None) -> None:
    pinger = FakePinger()
    pinger.problem = problem
    look = Look(cast(Pinger, pinger), 0, AIMS, lambda *_: None)
    look.ask()
    assert {one.unsent for one in look.asked()} == {expected}
    pinger.problem = None
    look.ask()
    assert {one.unsent for one in look.asked()} == {None}, "the next one left"


def test_asked_once_more_are_those_without_whom_nothing_is_known() -> None:
    look, pinger, _ = looked()
    assert look.wanting(frozenset())
    pinger.heard["192.0.2.1"](Received(3, "192.0.2.1", 1, 55, None))
    assert not look.wanting(frozenset())
    assert look.wanting(frozenset({"collector"})), "it has answered before, and is silent now"
    pinger.heard["192.0.2.9"](Received(4, "192.0.2.9", 1, 55, None))
    assert not look.wanting(frozenset({"collector"}))
    nobody = Look(cast(Pinger, pinger), 0, AIMS[:1], lambda *_: None)
    assert nobody.wanting(frozenset())


def test_references_that_are_not_learned_are_empty() -> None:
    around = PlainSurroundings(cast(Any, None), {})
    assert around.address("@edge") == ""
    assert around.address("192.0.2.1") == "192.0.2.1"
    around.directory = Directory({"edge": "10.0.0.1"})
    assert around.address("@edge") == "10.0.0.1"

"""Echoes through network namespaces: truth made by routers, rules and rights that the test sets."""

import itertools
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from agent.probe import Finding
from agent.probes.edge import Hop, edge_of, path_of
from tests.lab.path import Lab, command
from tests.support.measure import measured
from wire.reasons import Outcome, Reason

pytestmark = [pytest.mark.root, pytest.mark.tool("ip", "nft", "ping")]


class World(NamedTuple):
    """A host, three routers in a row (gateway, edge, core), and an anchor behind them."""

    lab: Lab
    host: str
    gateway: str
    edge: str
    core: str
    anchor: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        names = ["host", "gateway", "edge", "core", "anchor"]
        spaces = [lab.space(name) for name in names]
        for number, (left, right) in enumerate(itertools.pairwise(spaces)):
            v4, v6 = f"10.77.{number}", f"fd77:{number}:"
            lab.cable(left, [f"{v4}.1/24", f"{v6}:1/64"], right, [f"{v4}.2/24", f"{v6}:2/64"])
        for number, space in enumerate(spaces):
            if number < 4:  # everything unknown lies to the right
                lab.inside(space, "ip", "route", "add", "default", "via", f"10.77.{number}.2")
                lab.inside(space, "ip", "-6", "route", "add", "default", "via", f"fd77:{number}::2")
            for behind in range(number - 1):  # and the way back to the left
                lab.inside(space, "ip", "route", "add", f"10.77.{behind}.0/24", "via", f"10.77.{number - 1}.1")
                back = f"fd77:{number - 1}::1"
                lab.inside(space, "ip", "-6", "route", "add", f"fd77:{behind}::/64", "via", back)
            if 0 < number < 4:
                lab.forwarding(space)
        for anchor in ("10.77.3.2", "fd77:3::2"):  # until every router knows its neighbours
            lab.inside(spaces[0], "ping", "-c", "1", "-w", "20", "-i", "0.2", anchor)
        yield World(lab, *spaces)


@pytest.fixture
def rules(world: World) -> Iterator[None]:
    yield
    for space in (world.host, world.gateway, world.edge, world.core, world.anchor):
        world.lab.inside(space, "nft", "flush", "ruleset")


def rule(space: str, chain: str, hook: str, words: str) -> None:
    text = f"table inet test {{ chain {chain} {{ type filter hook {hook} priority 0; {words}; }}; }}"
    subprocess.run(command(space, "nft", "-f", "-"), input=text, text=True, check=True, timeout=20)


def ping(world: World, host: str, seconds: float = 0.3, nobody: bool = False, **settings: object) -> Finding:
    given = {"host": host, "interval": 0.05, "timeout": 0.5, **settings}
    return measured(world.host, "icmp", given, seconds, nobody)


def ping_group_range(world: World, words: str) -> None:
    world.lab.inside(world.host, "sysctl", "-qw", f"net.ipv4.ping_group_range={words}")


@pytest.fixture(params=["ping sockets, as nobody", "raw sockets, as root"])
def nobody(request: pytest.FixtureRequest, world: World) -> bool:
    unprivileged = str(request.param).endswith("nobody")
    ping_group_range(world, "0 2147483647" if unprivileged else "1 0")
    return unprivileged


@pytest.mark.parametrize("host", ["10.77.3.2", "fd77:3::2"])
def test_both_kinds_of_socket_reach_through_three_routers(world: World, host: str, nobody: bool) -> None:
    found = ping(world, host, nobody=nobody)
    assert found.outcome is Outcome.OK
    assert 3 <= found.counts["sent"] <= 6
    assert found.counts["lost"] == 0


@pytest.mark.parametrize("host", ["10.99.0.1", "fd99::1"])
def test_a_router_that_has_no_route_says_so(world: World, host: str, nobody: bool) -> None:
    for route, net in (("-4", "10.99.0.0/16"), ("-6", "fd99::/16")):
        world.lab.inside(world.edge, "ip", route, "route", "replace", "unreachable", net)
    found = ping(world, host, nobody=nobody)
    assert found.outcome is Outcome.FAILED
    assert found.reason in (Reason.HOST_UNREACHABLE, Reason.NO_ROUTE)
    assert found.counts["lost"] == found.counts["sent"] > 0
    assert "10.77" not in str(found.facts)


@pytest.mark.parametrize(("host", "icmp"), [("10.77.3.2", "icmp"), ("fd77:3::2", "icmpv6")])
def test_a_firewall_that_forbids_is_told_from_silence(
    world: World, host: str, icmp: str, nobody: bool, rules: None
) -> None:
    prohibited = "icmp type admin-prohibited" if icmp == "icmp" else "icmpv6 type admin-prohibited"
    rule(world.core, "through", "forward", f"{icmp} type echo-request reject with {prohibited}")
    assert ping(world, host, nobody=nobody).reason is Reason.PROHIBITED
    world.lab.inside(world.core, "nft", "flush", "ruleset")
    rule(world.core, "through", "forward", f"{icmp} type echo-request drop")
    found = ping(world, host, nobody=nobody)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_REPLY)


def test_without_any_route_there_is_no_route(world: World) -> None:
    with Lab() as lab:
        found = measured(lab.space("alone"), "icmp", {"host": "192.0.2.1", "interval": 0.05}, 0.2)
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_ROUTE)
        assert found.counts["lost"] == found.counts["sent"] > 0
        found = measured(lab.space("too"), "icmp", {"host": "2001:db8::1", "family": "6", "interval": 0.05}, 0.2)
        assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.NO_IPV6)


def test_the_machines_own_firewall_is_an_error_of_the_agent(world: World, rules: None) -> None:
    rule(world.host, "leaving", "output", "icmp type echo-request drop")
    found = ping(world, "10.77.3.2")
    assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.NO_PERMISSION)
    assert found.counts["sent"] == found.counts["lost"] == 0
    assert "own firewall" in found.facts["remedy"]


def test_without_any_right_it_says_what_to_grant(world: World) -> None:
    ping_group_range(world, "1 0")
    for probe, settings in (("icmp", {"host": "10.77.0.2"}), ("edge", {"destination": "10.77.3.2"})):
        found = measured(world.host, probe, settings, 0.2, nobody=True)
        assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.NO_PERMISSION)
        assert found.facts["remedy"] == (
            "allow ping sockets with: sysctl -w net.ipv4.ping_group_range='0 2147483647' "
            "(keep it in /etc/sysctl.d/), or give the agent CAP_NET_RAW (AmbientCapabilities=CAP_NET_RAW in its unit)"
        )


@pytest.mark.parametrize(("host", "icmp"), [("10.77.3.2", "icmp"), ("fd77:3::2", "icmpv6")])
def test_loss_equals_what_the_rule_dropped(world: World, host: str, icmp: str, nobody: bool, rules: None) -> None:
    every_fifth = f"{icmp} type echo-request numgen inc mod 5 0 counter drop"
    rule(world.anchor, "arriving", "input", every_fifth)
    found = ping(world, host, seconds=1.0, nobody=nobody, interval=0.02)
    said = world.lab.inside(world.anchor, "nft", "list", "ruleset")
    dropped = re.search(r"counter packets (\d+)", said)
    assert dropped
    assert found.counts["lost"] == int(dropped[1]) == -(-found.counts["sent"] // 5) > 0
    assert found.outcome is Outcome.OK


def test_duplicates_are_counted(world: World, rules: None) -> None:
    """The core sends a copy of each request through its own interface again."""
    text = (
        "table netdev test { chain arriving { type filter hook ingress device c2b priority 0; "
        "icmp type echo-request dup to c3a; }; }"
    )
    subprocess.run(command(world.core, "nft", "-f", "-"), input=text, text=True, timeout=20, check=True)
    mac = world.lab.inside(world.anchor, "cat", "/sys/class/net/c3b/address").strip()
    mac_in = world.lab.inside(world.core, "cat", "/sys/class/net/c2b/address").strip()
    world.lab.inside(world.anchor, "ip", "link", "set", "c3b", "address", mac_in)
    world.lab.inside(world.core, "ip", "neigh", "flush", "dev", "c3a")
    try:
        found = ping(world, "10.77.3.2")
    finally:
        world.lab.inside(world.anchor, "ip", "link", "set", "c3b", "address", mac)
        world.lab.inside(world.core, "ip", "neigh", "flush", "dev", "c3a")
    assert found.counts["sent"] == found.counts["duplicates"] > 0
    assert found.counts["lost"] == 0


@pytest.mark.parametrize(("destination", "edge"), [("10.77.3.2", "10.77.1.2"), ("fd77:3::2", "fd77:1::2")])
def test_the_trace_learns_the_router_behind_the_gateway(
    world: World, destination: str, edge: str, nobody: bool
) -> None:
    found = measured(world.host, "edge", {"destination": destination}, nobody=nobody)
    assert found.outcome is Outcome.OK
    assert found.learned == {"edge": edge}
    assert found.facts == {"path": "1 router, 2 router, 3 router, 4 destination"}, "no private address in facts"
    assert found.counts == {"hops": 2, "sent": 3, "lost": 0}
    assert found.durations["rtt"].count == 3


def test_a_silent_edge_gives_way_to_the_router_behind_it(world: World, rules: None) -> None:
    rule(world.edge, "leaving", "output", "icmp type time-exceeded drop")
    found = measured(world.host, "edge", {"destination": "10.77.3.2"})
    assert found.learned == {"edge": "10.77.2.2"}
    assert found.facts["path"] == "1 router, 2 silent, 3 router, 4 destination"


def test_an_edge_that_answers_no_echoes_is_not_learned(world: World, rules: None) -> None:
    rule(world.edge, "arriving", "input", "icmp type echo-request drop")
    found = measured(world.host, "edge", {"destination": "10.77.3.2"})
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.NOT_LEARNED_YET)
    assert found.learned == {"edge_hop": "2"}, "an edge that was learned before stands"
    assert found.counts == {"hops": 2, "sent": 3, "lost": 3}
    assert "answers none of its own" in found.facts["detail"]


def test_a_path_of_silence_teaches_nothing(world: World, rules: None) -> None:
    rule(world.gateway, "through", "forward", "icmp type echo-request drop")
    found = measured(world.host, "edge", {"destination": "10.77.3.2"})
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.NOT_LEARNED_YET)
    assert found.facts["path"] == "1 router, 2 silent, 3 silent, 4 silent"
    assert found.learned == {}
    assert found.facts["detail"] == "no router beyond the gateway answered within 4 hops"


def test_the_edge_is_never_the_gateway_nor_the_destination() -> None:
    near, far, end = Hop(1, "10.0.0.1"), Hop(2, "10.1.0.1"), Hop(3, "192.0.2.1", end=True)
    assert edge_of([near, far, end], 2) == far
    assert edge_of([near, far, end], 1) == near
    assert edge_of([near, Hop(2, ""), end], 2) is None
    assert edge_of([Hop(1, "192.0.2.1", end=True), Hop(2, "192.0.2.1", end=True)], 2) is None
    assert path_of([near, Hop(2, ""), end, Hop(4, "192.0.2.1", end=True)]) == "1 router, 2 silent, 3 destination"

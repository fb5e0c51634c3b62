"""The gateway probe: what it makes of routes and neighbours, and real ones in namespaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.netlink import Belief, Neighbour, parse
from agent.probes.gateway import Way, finding
from agent.vantage import Route
from tests.lab.path import Lab
from tests.support.measure import measured
from wire.reasons import Outcome, Reason

V4, V6 = Route("eth0", "192.0.2.1", 0), Route("eth0", "fe80::1", 100)

# Captured from Linux 6.18: two entries of a dump, and its end.
DUMP = bytes.fromhex(
    "4c0000001c00020001000000326c00000200000004000000 02000001 08000100c0000201 0a00020002fc000000050000 "
    "0800040001000000 140003009b0a00009b0a00009b0a000001000000"
    "4c0000001c00020001000000326c00000a00000004000000 20000001 14000100fd000000000000000000000000000001 "
    "0800040006000000 14000300736b05006b3b0200ab32000000000000"
)
END = bytes.fromhex("140000000300020001000000326c000000000000")


def test_reads_a_captured_table() -> None:
    found, done = parse(DUMP)
    assert found == [
        Neighbour(4, "192.0.2.1", "02:fc:00:00:00:05", Belief.REACHABLE),
        Neighbour(4, "fd00::1", "", Belief.FAILED),
    ]
    assert not done
    assert parse(END) == ([], True)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_an_end(data: bytes) -> None:
    parse(data)
    parse(DUMP + data)


@given(st.integers(0, len(DUMP)))
def test_a_table_that_is_cut_gives_what_is_whole(length: int) -> None:
    found, _ = parse(DUMP[:length])
    assert len(found) <= 2


def test_a_router_that_answers_is_ok_and_learned() -> None:
    found = finding([Way(V4, True, Belief.REACHABLE), Way(V6, True, Belief.STALE)])
    assert found.outcome is Outcome.OK
    assert found.learned == {"gateway": "192.0.2.1", "gateway6": "fe80::1%eth0"}
    assert found.facts == {"ipv4": "reachable", "ipv6": "stale", "interface": "eth0"}


def test_an_office_without_ipv6_is_not_broken() -> None:
    found = finding([Way(V4, True, Belief.REACHABLE), Way(V6, True, Belief.FAILED)])
    assert found.outcome is Outcome.OK


def test_without_a_default_route_what_was_learned_is_forgotten() -> None:
    found = finding([])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_GATEWAY)
    assert found.learned == {"gateway": "", "gateway6": ""}


@pytest.mark.parametrize(
    ("carrier", "belief", "reason"),
    [
        (True, Belief.FAILED, Reason.HOST_UNREACHABLE),
        (True, Belief.INCOMPLETE, Reason.HOST_UNREACHABLE),
        (True, None, Reason.HOST_UNREACHABLE),
        (False, Belief.REACHABLE, Reason.INTERFACE_DOWN),
    ],
)
def test_a_router_that_is_not_there_is_a_failure(carrier: bool, belief: Belief | None, reason: Reason) -> None:
    found = finding([Way(V4, carrier, belief)])
    assert (found.outcome, found.reason) == (Outcome.FAILED, reason)


def test_a_point_to_point_route_needs_no_neighbour() -> None:
    found = finding([Way(Route("ppp0", "", 0), True, None)])
    assert found.outcome is Outcome.OK
    assert found.learned == {"gateway": "", "gateway6": ""}
    assert found.facts == {"ipv4": "point-to-point", "interface": "ppp0"}


@pytest.mark.root
@pytest.mark.tool("ip")
def test_real_routes_and_neighbours() -> None:
    with Lab() as lab:
        host, router = lab.space("host"), lab.space("router")
        none = measured(host, "gateway", {})
        assert (none.outcome, none.reason) == (Outcome.FAILED, Reason.NO_GATEWAY)
        lab.cable(host, ["10.78.0.1/24", "fd78::1/64"], router, ["10.78.0.2/24", "fd78::2/64"])
        lab.inside(host, "ip", "route", "add", "default", "via", "10.78.0.9")
        nobody = measured(host, "gateway", {})
        assert (nobody.outcome, nobody.reason) == (Outcome.FAILED, Reason.HOST_UNREACHABLE)
        assert nobody.learned["gateway"] == "10.78.0.9"
        lab.inside(host, "ip", "route", "replace", "default", "via", "10.78.0.2")
        lab.inside(host, "ip", "-6", "route", "add", "default", "via", "fd78::2")
        there = measured(host, "gateway", {})
        assert there.outcome is Outcome.OK
        assert there.learned == {"gateway": "10.78.0.2", "gateway6": "fd78::2"}
        assert there.facts["ipv4"] == "reachable"
        lab.inside(router, "ip", "link", "set", "c0b", "down")
        cut = measured(host, "gateway", {})
        assert cut.outcome is Outcome.FAILED
        assert cut.reason in (Reason.INTERFACE_DOWN, Reason.NO_GATEWAY)

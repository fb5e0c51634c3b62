"""One second's verdict, as a table; and what the seconds teach of whose silence proves anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probes.link.classify import Asked, Kind, Known, Seen, State, Verdict, Way, classify
from agent.probes.link.memory import EDGE_FORGOTTEN, Memory
from wire.reasons import Reason

KINDS = {
    "gateway": Kind.GATEWAY,
    "edge": Kind.EDGE,
    "anchor-1": Kind.ANCHOR,
    "anchor-2": Kind.ANCHOR,
    "responder:hall": Kind.OURS,
    "collector": Kind.OURS,
}
ANCHORS = frozenset({"anchor-1", "anchor-2"})
ALL_KNOWN = Known(True, True, True, frozenset({"responder:hall", "collector"}), ANCHORS)
ROUTER = Way(True, True, True, "reachable")


def seen(answered: str, without: str = "", way: Way = Way(), known: Known = ALL_KNOWN, near: str = "") -> Seen:  # noqa: B008
    """Roles by name, comma-separated: who answered, who is not even asked, whose answer crossed no router."""
    asked = tuple(
        Asked(role, kind, role in answered.split(", "), role in near.split(", "))
        for role, kind in KINDS.items()
        if role not in without.split(", ")
    )
    return Seen(asked, way, known)


UP = "gateway, edge, anchor-1, anchor-2, responder:hall, collector"


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (seen(UP), "up"),
        (seen("anchor-2, collector"), "up"),
        (seen("gateway, edge, anchor-1, responder:hall"), "up"),
        (seen("gateway, edge, anchor-1"), "collector"),
        (seen("gateway, edge, anchor-1", known=Known(True, True, True)), "up"),
        (seen("gateway, edge, collector"), "provider"),
        (seen("gateway, collector"), "provider"),
        (seen("gateway, collector", known=Known()), "up"),
        (seen("gateway, edge, collector", known=ALL_KNOWN._replace(anchors=frozenset())), "up"),
        (seen("gateway, edge, collector", known=ALL_KNOWN._replace(anchors=frozenset({"anchor-9"}))), "up"),
        (seen("gateway, edge, collector", without="anchor-1, anchor-2"), "up"),
        (seen("gateway, edge", without="anchor-1, anchor-2"), "unknown"),
        (seen("gateway, edge"), "provider"),
        (seen("edge"), "provider"),
        (seen("gateway, collector", near="collector"), "link"),
        (seen("gateway, edge, collector", near="collector"), "provider"),
        (seen("gateway"), "link"),
        (seen("gateway", known=Known(beyond=True, gateway=True, anchors=ANCHORS)), "link_or_provider"),
        (seen("gateway", without="edge", known=Known(beyond=True, gateway=True, anchors=ANCHORS)), "link_or_provider"),
        (seen("gateway", known=Known(edge=True, gateway=True)), "unknown"),
        (seen(""), "lan"),
        (seen("", known=Known(True, True)), "link"),
        (seen("", known=Known(True, True), way=Way(neighbour="failed")), "lan"),
        (seen("", known=Known(True, True), way=Way(neighbour="incomplete")), "lan"),
        (seen("", known=Known(True, True), way=Way(neighbour="stale")), "link"),
        (seen("", without="gateway"), "link"),
        (seen("", way=Way(routed=False)), "lan"),
        (seen("", way=Way(carrier=False), known=Known()), "lan"),
        (seen("", "gateway", ROUTER), "link"),
        (seen("edge", "gateway", ROUTER), "provider"),
        (seen("edge", "gateway", ROUTER, near="edge"), "provider"),
        (seen("gateway", known=Known(beyond=True, gateway=True)), "unknown"),
        (seen("", "gateway, edge", ROUTER, Known(beyond=True, anchors=ANCHORS)), "link_or_provider"),
        (seen("", "gateway, edge", ROUTER, Known(beyond=True)), "unknown"),
        (seen("", "gateway, edge", ROUTER._replace(neighbour="failed"), Known(beyond=True)), "link"),
        (seen("", "gateway, edge", ROUTER._replace(routed=False), Known(beyond=True)), "link"),
        (seen("", "gateway, edge", ROUTER._replace(carrier=False), Known(beyond=True)), "link"),
        (seen("", "gateway, edge", ROUTER._replace(carrier=False), Known()), "unknown"),
        (seen("gateway", ", ".join(list(KINDS)[1:])), "unknown"),
    ],
)
def test_verdicts(second: Seen, expected: str) -> None:
    assert str(classify(second).state) == expected


def test_reasons_of_not_knowing() -> None:
    assert classify(seen(UP)._replace(hindrance=Reason.NOT_ON_THIS_LINK)) == Verdict(
        State.UNKNOWN, Reason.NOT_ON_THIS_LINK
    )
    assert classify(seen("gateway", known=Known(gateway=True))).reason is Reason.CONTROLS_SILENT
    assert classify(seen("gateway", ", ".join(list(KINDS)[1:]))).reason is Reason.NOT_LEARNED_YET
    unsent = tuple(Asked(role, kind, unsent=Reason.NO_PERMISSION) for role, kind in KINDS.items())
    assert classify(Seen(unsent, Way(), ALL_KNOWN)) == Verdict(State.UNKNOWN, Reason.NO_PERMISSION)
    unplugged = ROUTER._replace(carrier=False)
    assert classify(Seen(unsent, unplugged, ALL_KNOWN)).state is State.LINK, "no carrier explains it"
    one_sent = (*unsent[:-1], Asked("collector", Kind.OURS))
    assert classify(Seen(one_sent, Way(), Known(True, True))).state is State.LINK


asked_of = st.builds(
    Asked,
    st.sampled_from(list(KINDS)),
    st.sampled_from(Kind),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, Reason.NO_PERMISSION, Reason.NO_RESOURCES]),
)
seconds = st.builds(
    Seen,
    st.lists(asked_of, max_size=8).map(tuple),
    st.builds(Way, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["", "failed", "reachable"])),
    st.builds(Known, st.booleans(), st.booleans(), st.booleans(), st.frozensets(st.sampled_from(list(KINDS)))),
    st.sampled_from([None, None, None, Reason.SUSPENDED]),
)


@given(seconds)
def test_whatever_is_seen_has_a_verdict_and_only_what_is_unknown_has_a_reason(second: Seen) -> None:
    verdict = classify(second)
    assert (verdict.reason is None) == (verdict.state is not State.UNKNOWN)


@given(seconds)
def test_an_anchor_that_answers_is_proof_whatever_else_is_silent(second: Seen) -> None:
    anchor = Asked("anchor-1", Kind.ANCHOR, True)
    second = second._replace(asked=(*second.asked, anchor), hindrance=None)
    assert classify(second).state in (State.UP, State.COLLECTOR)


@given(seconds)
def test_our_own_fault_is_never_the_link_s(second: Seen) -> None:
    asked = tuple(one._replace(answered=False, unsent=Reason.NO_RESOURCES) for one in second.asked)
    verdict = classify(second._replace(asked=asked, way=second.way._replace(routed=True, carrier=True)))
    assert verdict.state is State.UNKNOWN


def test_an_edge_that_is_silent_while_the_link_is_up_is_forgotten_and_believed_again() -> None:
    memory = Memory(beyond=True)
    assert memory.known(edge=True).edge
    for _ in range(EDGE_FORGOTTEN - 1):
        memory.learn(seen("gateway, anchor-1"))
    assert memory.known(edge=True).edge
    memory.learn(seen("gateway"))
    assert memory.known(edge=True).edge, "in a fault its silence teaches nothing"
    memory.learn(seen("gateway, anchor-1"))
    assert not memory.known(edge=True).edge
    memory.learn(seen("gateway, edge"))
    assert memory.known(edge=True).edge
    assert not memory.known(edge=False).edge


def test_who_answered_once_is_known() -> None:
    memory = Memory()
    assert memory.known(edge=False) == Known()
    memory.learn(seen("gateway"))
    assert memory.known(edge=False) == Known(gateway=True)
    memory.learn(seen("collector", near="collector"))
    assert memory.known(edge=False) == Known(gateway=True, ours=frozenset({"collector"}))
    memory.learn(seen("anchor-2")._replace(hindrance=Reason.SUSPENDED))
    assert not memory.known(edge=False).beyond
    memory.learn(seen("anchor-2"))
    assert memory.known(edge=False).beyond


def test_anchors_that_never_answered_make_no_outage_of_a_link_that_carries() -> None:
    memory = Memory()
    for _ in range(5):
        second = seen("gateway, edge, collector", known=memory.known(edge=True))
        assert classify(second).state is State.UP
        memory.learn(second)
    memory.learn(seen("gateway, edge, anchor-2"))
    assert memory.known(edge=True).anchors == {"anchor-2"}
    assert classify(seen("gateway, edge, collector", known=memory.known(edge=True))).state is State.PROVIDER

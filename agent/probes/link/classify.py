"""One second of looking, judged: a pure function of who was asked and who answered.

The states and their domains are those of DESIGN §2; `docs/decisions/017-link-states.md` says why they are drawn so.
"""

from enum import StrEnum
from typing import NamedTuple

from wire.reasons import Reason

GONE = frozenset({"failed", "incomplete", "none"})
"""What the kernel says of a neighbour that does not answer on the local network (RFC 4861 §7.3.2)."""


class State(StrEnum):
    """What a link is in. ``collector`` is no outage of the link: it was up, and our own far end was not."""

    UP = "up"
    LAN = "lan"
    LINK = "link"
    PROVIDER = "provider"
    LINK_OR_PROVIDER = "link_or_provider"
    COLLECTOR = "collector"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """How far away somebody is who is asked."""

    GATEWAY = "gateway"
    EDGE = "edge"
    ANCHOR = "anchor"
    OURS = "ours"
    """Our collector and responders."""


class Asked(NamedTuple):
    """What became of asking one of them within one second."""

    role: str
    kind: Kind
    answered: bool = False
    near: bool = False
    """The answer crossed no router."""
    unsent: Reason | None = None
    """Why this machine would not send, for reasons of its own."""

    @property
    def at_home(self) -> bool:
        """Ours, in the same building (the hall's collector): it says nothing of the link."""
        return self.near and self.kind is Kind.OURS


class Known(NamedTuple):
    """What the seconds before have taught. Silence proves nothing of somebody who never answers."""

    beyond: bool = False
    """Something beyond the provider's edge has answered from this place before, in this run or an earlier one."""
    edge: bool = False
    """The edge answers while the link is up."""
    gateway: bool = False
    """The gateway answers echoes."""
    ours: frozenset[str] = frozenset()
    """Those of ours that have answered echoes in this run."""
    anchors: frozenset[str] = frozenset()
    """The anchors that have answered from this place before, in this run or an earlier one."""


class Way(NamedTuple):
    """The way out of the machine at that second."""

    routed: bool = True
    carrier: bool = True
    router: bool = False
    """This machine is the office's router, or its provider's edge is its next hop."""
    neighbour: str = ""
    """What the kernel believes of the gateway; empty where it has not said."""


class Seen(NamedTuple):
    """One second of looking."""

    asked: tuple[Asked, ...]
    way: Way = Way()
    known: Known = Known()
    hindrance: Reason | None = None
    """Why nothing that was seen counts: the machine stands elsewhere, slept, was starved."""

    def answered(self, kind: Kind) -> bool:
        """Whether anybody of that kind answered. Of ours only those beyond a router count."""
        return any(one.answered and not one.at_home for one in self.asked if one.kind is kind)

    @property
    def beyond(self) -> bool:
        """Whether anybody beyond the edge answered."""
        return self.answered(Kind.ANCHOR) or self.answered(Kind.OURS)


class Verdict(NamedTuple):
    """The state of one second, and the reason where it is unknown."""

    state: State
    reason: Reason | None = None


def classify(seen: Seen) -> Verdict:
    """The state of the link in one second. Whatever answers from beyond outweighs all silence."""
    if seen.hindrance is not None:
        return Verdict(State.UNKNOWN, seen.hindrance)
    if seen.answered(Kind.ANCHOR):
        return Verdict(State.COLLECTOR if _ours_lost(seen) else State.UP)
    if seen.answered(Kind.OURS):  # the link carries; without an anchor that ever answered ours are all there is beyond
        return Verdict(State.PROVIDER if _anchor_lost(seen) else State.UP)
    return _nothing_beyond(seen)


def _nothing_beyond(seen: Seen) -> Verdict:
    way = seen.way
    out = way.routed and way.carrier
    if not out and not way.router:
        return Verdict(State.LAN)
    own = _own_fault(seen)
    if out and own is not None:
        return Verdict(State.UNKNOWN, own)
    if not any(one.kind in (Kind.ANCHOR, Kind.OURS) for one in seen.asked) and not seen.answered(Kind.EDGE):
        return Verdict(State.UNKNOWN, Reason.NOT_LEARNED_YET)
    if not seen.answered(Kind.EDGE) and _gateway_lost(seen):
        return Verdict(State.LAN)
    if not seen.known.beyond:
        return Verdict(State.UNKNOWN, Reason.CONTROLS_SILENT)
    # Where no anchor ever answered, ours alone are silent beyond the edge: that may be our own trouble.
    beyond_edge = None if _anchor_lost(seen) else Verdict(State.UNKNOWN, Reason.CONTROLS_SILENT)
    if seen.answered(Kind.EDGE):
        return beyond_edge or Verdict(State.PROVIDER)
    cut = way.router and (not out or way.neighbour in GONE)  # the next hop is the edge, and it is not there
    if seen.known.edge or cut:
        return Verdict(State.LINK)
    return beyond_edge or Verdict(State.LINK_OR_PROVIDER)


def _anchor_lost(seen: Seen) -> bool:
    """Whether an anchor that has answered before is asked, and none answers (as whoever calls this has seen)."""
    return any(one.kind is Kind.ANCHOR and one.role in seen.known.anchors for one in seen.asked)


def _ours_lost(seen: Seen) -> bool:
    """All of ours that have answered before are silent."""
    proven = [one for one in seen.asked if one.kind is Kind.OURS and one.role in seen.known.ours]
    return bool(proven) and not any(one.answered for one in proven)


def _own_fault(seen: Seen) -> Reason | None:
    """Why this machine could send to nobody, where that was its own fault."""
    reasons = [one.unsent for one in seen.asked]
    return reasons[0] if reasons and all(reasons) else None


def _gateway_lost(seen: Seen) -> bool:
    """The gateway is not on the local network: it answers echoes and did not, or the kernel cannot find it at all."""
    if seen.way.router or seen.answered(Kind.GATEWAY):
        return False
    asked = any(one.kind is Kind.GATEWAY for one in seen.asked)
    return (asked and seen.known.gateway) or seen.way.neighbour in GONE

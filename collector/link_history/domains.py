"""Where a fault lies, as the collector judges it: it sees every site of the province, an agent only its own. Pure.

The agent's domain is provisional and stands beside this one. A rule that changes what comes out gets a new number, so
that a report names the rule that it was made by.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from collector.link_history.outages import Outage
from collector.link_history.shapes import BEYOND, Interval, Kind, State
from wire.clock import SECOND, Instant

RULE = 1
TOGETHER = 10 * SECOND
"""Outages that begin within this of each other began together; both clocks' errors come on top."""
FEWEST = 2
"""Other links of the provider that must have fallen together with this one before it is the provider's common part."""
SHARE = 0.5
"""… and what share they must be of its links that were watched then."""


class Judged(NamedTuple):
    """The collector's domain of one outage."""

    domain: State
    rule: int
    reason: str
    """``own_network``, ``fell_together``, ``others_were_up`` or ``as_the_agent_says``."""
    together: int = 0
    """Other links of the provider that fell together with this one."""
    watched: int = 0
    """Its other links that were watched then; where ``others_were_up``, those that were up."""


def judge(outage: Outage, others: Mapping[str, Sequence[Interval]]) -> Judged:
    """The domain of one outage. ``others``: histories of the other links of the same provider, by any name."""
    said = outage.state
    if said not in BEYOND:
        return Judged(said, RULE, "own_network")  # a fault of the site's own is never the provider's
    seen = outage.before in (Kind.UP, Kind.DOWN)
    together = sum(_fell(history, outage) for history in others.values()) if seen else _down_at_once(others, outage)
    watched = sum(_watched(history, outage.start) for history in others.values())
    if together >= FEWEST and together >= SHARE * watched:
        return Judged(State.PROVIDER, RULE, "fell_together", together, watched)
    up = sum(_up(history, outage.start) for history in others.values())
    if said is State.LINK_OR_PROVIDER and not together and up > watched - up:
        return Judged(State.LINK, RULE, "others_were_up", together, up)
    return Judged(said, RULE, "as_the_agent_says", together, watched)


def _fell(history: Sequence[Interval], outage: Outage) -> bool:
    """Whether a link was seen to go down beyond its site together with this one. One that was down when somebody began
    to look, after an agent's start for instance, may have fallen long before."""
    return any(
        one.state in BEYOND
        and abs(one.start - outage.start) <= TOGETHER + one.error + outage.error
        and before.kind in (Kind.UP, Kind.DOWN)
        and before.state not in BEYOND
        for before, one in pairwise(history)
    )


def _down_at_once(others: Mapping[str, Sequence[Interval]], outage: Outage) -> int:
    """For a beginning that nobody saw, because the agent started in the middle of it: the most links that fell together
    with each other, of those that were down when this one was found to be."""
    falls = [fall for history in others.values() if (fall := _fall_before(history, outage.start)) is not None]
    return max((sum(abs(one - other) <= TOGETHER for other in falls) for one in falls), default=0)


def _fall_before(history: Sequence[Interval], moment: Instant) -> Instant | None:
    """When a link that was down beyond its site at ``moment`` was seen to go down; ``None`` if it was not."""
    fall = None
    for before, one in pairwise(history):
        if one.start > moment:
            break
        if one.state not in BEYOND:
            fall = None
        elif before.state not in BEYOND:
            fall = one.start if before.kind in (Kind.UP, Kind.DOWN) else None
        if one.end <= moment:
            continue
        return fall
    return None


def _watched(history: Sequence[Interval], moment: Instant) -> bool:
    """Whether a link was known to be up, or down beyond its site, about then."""
    return any(one.kind is Kind.UP or one.state in BEYOND for one in _about(history, moment))


def _up(history: Sequence[Interval], moment: Instant) -> bool:
    """Whether a link was known to be up about then, and never down beyond its site."""
    about = _about(history, moment)
    return any(one.kind is Kind.UP for one in about) and not any(one.state in BEYOND for one in about)


def _about(history: Sequence[Interval], moment: Instant) -> list[Interval]:
    return [one for one in history if one.start - TOGETHER <= moment < one.end + TOGETHER]

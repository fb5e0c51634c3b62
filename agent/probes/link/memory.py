"""What the seconds teach of those who are asked: pure counting, one object a watch."""

from agent.probes.link.classify import Kind, Known, Seen

EDGE_FORGOTTEN = 60
"""Seconds in a row in which the link was up and the edge silent, after which its silence proves nothing any more: the
provider has another edge now, or has told it not to answer."""


class Memory:
    """Fed with every second once it is settled."""

    def __init__(self, *, beyond: bool = False, anchors: frozenset[str] = frozenset()) -> None:
        """What earlier runs have learned at this place; ``anchors`` by role."""
        self._beyond = beyond
        self.anchors = anchors
        self._edge_missed = 0
        self._gateway = False
        self._ours: frozenset[str] = frozenset()

    def known(self, *, edge: bool) -> Known:
        """What holds now; ``edge`` says whether there is an edge to ask."""
        trusted = edge and self._edge_missed < EDGE_FORGOTTEN
        return Known(self._beyond, trusted, self._gateway, self._ours, self.anchors)

    def learn(self, seen: Seen) -> None:
        """One second."""
        if seen.hindrance is not None:
            return
        up = seen.beyond
        self._beyond = self._beyond or up
        self._gateway = self._gateway or seen.answered(Kind.GATEWAY)
        self._ours |= {one.role for one in seen.asked if one.kind is Kind.OURS and one.answered}
        self.anchors |= {one.role for one in seen.asked if one.kind is Kind.ANCHOR and one.answered}
        if seen.answered(Kind.EDGE):
            self._edge_missed = 0
        elif up and any(one.kind is Kind.EDGE for one in seen.asked):
            self._edge_missed += 1

"""Looks at the router's counters before and after a test: what else was on the link meanwhile."""

from collections.abc import Sequence

import structlog

from agent.probe import Result
from agent.router_counters import Counters, CountersUnavailable, RouterCounters, cross_traffic, settled

log = structlog.get_logger(__name__)


class Watch:
    """One test's two readings. Without counters, or where they fail, nothing is seen and nothing claimed."""

    def __init__(self, router: RouterCounters | None, before: Counters | None) -> None:
        self._router = router
        self._before = before
        self.seen = False
        """Whether the router's counters took in the test; there once it is ended."""

    @classmethod
    async def begun(cls, router: RouterCounters | None) -> "Watch":
        """Reads the counters for the first time."""
        if router is None:
            return cls(None, None)
        try:
            return cls(router, await router.read())
        except CountersUnavailable as why:
            log.info("router counters not read", detail=str(why))
            return cls(None, None)

    async def ended(self, results: Sequence[Result]) -> dict[str, float]:
        """Bits per second of other traffic, by direction."""
        if self._router is None or self._before is None:
            return {}
        cost = {one.direction: one.counts.get("test_bytes", 0) for one in results}
        down, up = cost.get("down", 0), cost.get("up", 0)
        try:
            after = await settled(self._router, self._before, down, up)
        except CountersUnavailable as why:
            log.info("router counters not read", detail=str(why))
            return {}
        found = cross_traffic(self._before, after, down, up)
        self.seen = found is not None
        return {} if found is None else {"down": found.down, "up": found.up}

"""Looks at the router's counters before and after a test: what else was on the link meanwhile."""

from collections.abc import Sequence

import structlog

from agent.probe import Result
from agent.probes.throughput.limits import Place
from agent.router_counters import Counters, CountersUnavailable, Cross, Lasted, RouterCounters, cross_traffic, settled

log = structlog.get_logger(__name__)


class Watch:
    """One test's two readings. Without counters, or where they fail, nothing is seen and nothing claimed."""

    def __init__(self, router: RouterCounters | None, before: Counters | None) -> None:
        self._router = router
        self._before = before
        self.seen = False
        """Whether the router's counters took in the test; there once it is ended."""
        self._found = Cross(0.0, 0.0)

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

    def beside(self, direction: str, place: Place) -> Place:
        """The place with the other traffic beside a direction: the most that it may have been."""
        with_it, against = self._found if direction == "down" else self._found[::-1]
        return place._replace(cross=with_it, cross_back=against)

    async def ended(self, results: Sequence[Result]) -> None:
        """Reads them again and finds the other traffic."""
        if self._router is None or self._before is None:
            return
        cost = {one.direction: one.counts.get("test_bytes", 0) for one in results}
        down, up = cost.get("down", 0), cost.get("up", 0)
        try:
            after = await settled(self._router, self._before, down, up)
        except CountersUnavailable as why:
            log.info("router counters not read", detail=str(why))
            return
        times = {one.direction: one.values.get("test_duration", 0.0) for one in results}
        longest = max(times.values(), default=0.0)
        lasted = Lasted(times.get("down", longest), times.get("up", longest))
        found = cross_traffic(self._before, after, down, up, lasted)
        self.seen = found is not None
        self._found = found or self._found

"""A probe that tests: each direction becomes a ``Test`` record beside the window that sums it up."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agent import probe as registry
from agent.clock import Timekeeper
from agent.directory import Directory
from agent.probe import Finding, Result, Span, Target, ok, probe
from agent.runner import Runner
from tests.support.warp import Kept, WarpClock, warp
from wire.clock import SECOND
from wire.meetings import Load
from wire.observation import Test, Window
from wire.reasons import Limit, Outcome, Reason
from wire.settings import AgentSettings, Assignment


@pytest.fixture
def results() -> Iterator[list[Result]]:
    """What the probe ``tester`` finds."""
    before, found = dict(registry.PROBES), list[Result]()

    @probe("tester", load=Load.TRICKLE, costs="nothing")
    class Tester:
        """Finds what the test says."""

        class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
            pass

        async def measure(self, target: Target, span: Span) -> Finding:
            await asyncio.sleep(3)
            return ok(results=found)

    yield found
    registry.PROBES.clear()
    registry.PROBES.update(before)


def result(clock_end: int, **more: Any) -> Result:
    return Result(engine="tcp", direction="down", start=clock_end - SECOND, end=clock_end, outcome=Outcome.OK, **more)


def records(results: list[Result]) -> list[Window | Test]:
    async def measured() -> list[Any]:
        clock, kept = WarpClock(asyncio.get_running_loop()), Kept()
        for number, one in enumerate(results):
            one.start, one.end = clock.boottime() + number * SECOND, clock.boottime() + (number + 1) * SECOND
        runner = Runner(clock, Timekeeper(clock), kept, Directory())
        runner.apply(AgentSettings(site="phen", assignments=[Assignment(probe="tester", target="hall", evidence=True)]))
        await runner.measure_now(["tester"], order="order-1")
        await runner.close()
        return [one for _, one, _ in kept.records]

    return warp(measured())


def test_each_direction_is_a_record_beside_the_window(results: list[Result]) -> None:
    results += [
        result(SECOND, valid=True, values={"throughput": 2e8}),
        result(SECOND, reason=Reason.BROKEN_OFF, limits=(Limit.CUT_SHORT,), facts={"detail": "x" * 3000}),
    ]
    results[1].outcome, results[1].direction = Outcome.FAILED, "up"
    window, down, up = records(results)
    assert isinstance(window, Window)
    assert isinstance(down, Test)
    assert isinstance(up, Test)
    assert (window.outcome, window.values) == (Outcome.OK, {})
    assert (down.engine, down.direction, down.valid, down.values) == ("tcp", "down", True, {"throughput": 2e8})
    assert (up.outcome, up.reason, up.limits, len(up.facts["detail"])) == (
        Outcome.FAILED,
        Reason.BROKEN_OFF,
        (Limit.CUT_SHORT,),
        1000,
    )
    assert {one.order for one in (window, down, up)} == {"order-1"}
    assert {one.target for one in (window, down, up)} == {"hall"}
    assert (down.end - down.start, up.start) == (SECOND, down.end)
    assert down.wall_end - down.end == window.wall_end - window.end


def test_a_result_that_may_not_be_recorded_spoils_the_finding(results: list[Result]) -> None:
    results.append(result(SECOND, values={"warp_speed": 9.0}))
    (window,) = records(results)
    assert (window.outcome, window.reason) == (Outcome.ERROR, Reason.PROBE_CRASHED)
    assert "warp_speed" in window.facts["detail"]

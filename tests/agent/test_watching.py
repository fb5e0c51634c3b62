"""Watchers in the runner: run as long as they are assigned, recorded beside their looks, started anew if they break."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from agent import probe as registry
from agent.clock import Timekeeper
from agent.directory import Directory
from agent.probe import Sighting, Span, Surroundings, Target, ok, skipped, watcher
from agent.runner import BROKEN, Runner
from agent.vantage import Medium, Vantage
from tests.support.warp import Kept, WarpClock, warp
from wire.batch import StreamName
from wire.clock import MINUTE, SECOND, Anchor
from wire.meetings import Load
from wire.observation import Change, Observation
from wire.reasons import Outcome, Reason
from wire.settings import AgentSettings, Assignment

Watch = Callable[[Target, Span, Surroundings], AsyncIterator[Sighting]]
HOME = Vantage("home0001", "eth0", Medium.CABLE, "192.168.1.1", "", "", None, "")
BACKUP = Vantage("4g000002", "wwan0", Medium.MOBILE, "", "", "", None, "")


class World:
    """A runner with its surroundings."""

    def __init__(self, kept: Kept | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.clock = WarpClock(loop)
        self.times = Timekeeper(self.clock)
        self.kept = kept or Kept()
        self.directory = Directory()
        self.runner = Runner(self.clock, self.times, self.kept, self.directory)

    async def go(self, seconds: float, *assignments: Assignment, **settings: Any) -> None:
        """Runs the assignments for a while and stops."""
        self.runner.apply(AgentSettings(site="na-yung", assignments=list(assignments), **settings))
        running = asyncio.create_task(self.runner.run())
        await asyncio.sleep(seconds)
        await self.runner.stop()
        await running


@pytest.fixture
def fake() -> Iterator[Callable[[Watch], None]]:
    """Registers a watcher for one test."""
    before = dict(registry.PROBES)

    def make(watch: Watch) -> None:
        class Fake:
            """A watcher that does what the test says."""

            class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
                host: str = ""

            def watch(self, target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
                return watch(target, span, around)

        watcher("fake", load=Load.TRICKLE, costs="nothing")(Fake)

    yield make
    registry.PROBES.clear()
    registry.PROBES.update(before)


def one(**fields: Any) -> Assignment:
    return Assignment(**{"probe": "fake", "target": "t", "evidence": True, **fields})


async def minutes(target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
    """A change at once, a window at each full minute, a last one when cancelled."""
    start = around.clock.boottime()
    yield Sighting(target=target.name, start=start - SECOND, end=start, previous="unknown", current="up", finding=ok())
    try:
        while True:
            end = start + around.until_grid(span.seconds, start)
            await asyncio.sleep((end - around.clock.boottime()) / SECOND)
            yield Sighting(target=target.name, start=start, end=end, finding=ok(states={"up": (end - start) / SECOND}))
            start = end
    except asyncio.CancelledError:
        end = around.clock.boottime()
        yield Sighting(target=target.name, start=start, end=end, finding=ok(states={"up": (end - start) / SECOND}))


def test_changes_go_at_once_and_windows_meet_on_the_minute(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        world = World()
        fake(minutes)
        await world.go(210, one())
        change, *windows = world.kept.records
        assert isinstance(change[1], Change)
        assert (change[0], change[2]) == (StreamName.EVIDENCE, True)
        assert (change[1].previous, change[1].current) == ("unknown", "up")
        assert change[1].wall_end - change[1].wall_start == SECOND
        assert {(stream, urgent) for stream, _, urgent in windows} == {(StreamName.EVIDENCE, False)}
        kept = world.kept.windows
        assert len(kept) == 5
        assert {window.wall_end % MINUTE for window in kept[:-1]} == {0}
        assert [after.start for after in kept[1:]] == [before.end for before in kept[:-1]]
        assert kept[-1].end == world.clock.boottime(), "the last one ends where the watch was stopped"
        assert {(window.probe, window.target, window.outcome) for window in kept} == {("fake", "t", Outcome.OK)}

    warp(story())


def test_the_minute_is_that_of_corrected_time(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        world = World()
        believed = world.clock.wall()
        world.times.learn(Anchor(world.clock.boot, world.clock.boottime(), believed + 23 * SECOND, 1000))
        fake(minutes)
        await world.go(100, one(evidence=False))
        assert [(window.wall_end + 23 * SECOND) % MINUTE for window in world.kept.windows[:-1]] == [0]
        assert {stream for stream, _, _ in world.kept.records} == {StreamName.MONITOR}

    warp(story())


def test_a_slow_disk_holds_up_no_look(fake: Callable[[Watch], None]) -> None:
    class Slow(Kept):
        async def record(self, stream: StreamName, *observations: Observation, urgent: bool = False) -> None:
            await asyncio.sleep(7)
            await super().record(stream, *observations, urgent=urgent)

    async def story() -> None:
        looks: list[float] = []

        async def watch(target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
            while True:
                await asyncio.sleep(1)
                looks.append(around.clock.boottime() / SECOND)
                now = around.clock.boottime()
                yield Sighting(target="t", start=now, end=now, finding=ok())

        world = World(Slow())
        fake(watch)
        await world.go(20.5, one())
        assert len(looks) == 20

    warp(story())


def test_a_watcher_that_breaks_is_recorded_and_started_anew(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        begun: list[float] = []

        async def watch(target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
            begun.append(around.clock.boottime() / SECOND)
            await asyncio.sleep(5)
            yield Sighting(target="t", start=0, end=1, finding=ok())
            raise ZeroDivisionError("by zero")

        world = World()
        fake(watch)
        with capture_logs() as log:
            await world.go(40, one())
        assert len([entry for entry in log if entry["event"] == "probe crashed"]) == 1
        crashed = [window for window in world.kept.windows if window.reason is Reason.PROBE_CRASHED]
        assert crashed[0].facts == {"detail": "ZeroDivisionError: by zero"}
        assert crashed[0].start == crashed[0].end
        assert len(begun) == 3
        assert begun[1] - begun[0] == pytest.approx(5 + BROKEN)

    warp(story())


def test_settings_that_do_not_fit_say_so(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        world = World()
        fake(minutes)
        await world.go(5, one(settings={"hots": 1}))
        (window,) = world.kept.windows
        assert (window.outcome, window.reason) == (Outcome.ERROR, Reason.BAD_TARGET)
        assert window.facts["detail"] == "fake:t: Object contains unknown field `hots`"

    warp(story())


def test_references_stay_and_are_looked_up_while_it_watches(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        found: list[str] = []

        async def watch(target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
            found.append(target.settings.host)
            for _ in range(2):
                found.append(around.address(target.settings.host))
                await asyncio.sleep(10)
            yield Sighting(target="t", start=0, end=1, finding=ok(learned={"beyond": "2"}))
            await asyncio.sleep(1000)

        world = World()
        fake(watch)
        asyncio.get_running_loop().call_later(5, world.directory.learn, {"edge": "10.0.0.1"})
        await world.go(30, one(settings={"host": "@edge"}))
        assert found == ["@edge", "", "10.0.0.1"]
        assert world.directory.addresses["beyond"] == "2"

    warp(story())


def test_an_assignment_that_is_gone_ends_its_watch_with_a_last_window(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        world = World()
        fake(minutes)
        world.runner.apply(AgentSettings(site="na-yung", assignments=[one()]))
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(10)
        world.runner.apply(AgentSettings(site="na-yung", assignments=[one()], post_every=7))
        await asyncio.sleep(1)
        assert world.kept.windows == [], "what did not change is not disturbed"
        world.runner.apply(AgentSettings(site="na-yung"))
        await asyncio.sleep(20)
        assert [window.states for window in world.kept.windows] == [{"up": 11.0}]
        await world.runner.stop()
        await running

    warp(story())


def test_once_watches_for_a_short_time_and_an_order_leaves_a_running_watch_alone(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        world = World()
        fake(minutes)
        world.runner.apply(AgentSettings(site="na-yung", assignments=[one()]))
        (window,) = await world.runner.measure_now(["fake"], 4)
        assert window.states == {"up": 7.0}
        kept = len(world.kept.records)
        running = asyncio.create_task(world.runner.run())
        await asyncio.sleep(5)
        assert await world.runner.measure_now(["fake"], 4, "order-1") == []
        assert not [record for record in world.kept.windows[kept:] if record.order]
        await world.runner.stop()
        await running

    warp(story())


@pytest.mark.parametrize(
    ("vantage", "interface", "gateway", "expected"),
    [
        (HOME, "eth0", "192.168.1.1", None),
        (HOME, "wwan0", "", Reason.NOT_ON_THIS_LINK),
        (HOME, "eth0", "192.168.2.1", Reason.NOT_ON_THIS_LINK),
        (BACKUP, "wwan0", "", Reason.NOT_ON_THIS_LINK),
        (BACKUP, "eth0", "192.168.1.1", Reason.NOT_ON_THIS_LINK),
        (None, "eth0", "192.168.1.1", None),
        (HOME._replace(gateway="fe80::1"), "eth0", "fe80::1%eth0", None),
    ],
)
def test_a_way_out_that_is_not_the_link_s_proves_nothing(
    fake: Callable[[Watch], None], vantage: Vantage | None, interface: str, gateway: str, expected: Reason | None
) -> None:
    async def story() -> None:
        found: list[Reason | None] = []

        async def watch(target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
            found.append(around.hindrance(interface, gateway))
            await asyncio.sleep(1000)
            yield Sighting(target="t", start=0, end=1, finding=ok())

        world = World()
        fake(watch)
        world.runner.stand(vantage)
        await world.go(3, one(), vantages=["home0001"])
        assert found == [expected]

    warp(story())


def test_a_record_bears_the_vantage_at_which_it_was_seen(fake: Callable[[Watch], None]) -> None:
    async def story() -> None:
        async def watch(target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
            around.hindrance("eth0", "192.168.1.1")
            world.runner.stand(BACKUP)
            around.hindrance("wwan0", "")
            away = skipped(Reason.NOT_ON_THIS_LINK)
            yield Sighting(target="t", start=0, end=1, previous="up", current="unknown", finding=away)
            yield Sighting(target="t", start=0, end=1, finding=ok(states={"up": 30.0, "unknown": 30.0}))
            elsewhere = skipped(Reason.NOT_ON_THIS_LINK, states={"unknown": 60.0})
            yield Sighting(target="t", start=0, end=1, finding=elsewhere)
            await asyncio.sleep(1000)

        world = World()
        fake(watch)
        world.runner.stand(HOME)
        await world.go(3, one(), vantages=["home0001"])
        found = [(type(record).__name__, record.vantage) for _, record, _ in world.kept.records]
        assert found == [("Change", "home0001"), ("Window", "home0001"), ("Window", "4g000002")]

    warp(story())

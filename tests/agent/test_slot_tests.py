"""Slots in the district: the agent judges first, listens, tests once, and says what came of it."""

import asyncio
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from agent import idle
from agent.clock import Timekeeper
from agent.findings import decoded
from agent.idle import Calm, Passed, in_use, passed, queueing
from agent.probe import Finding, LeaseRefused, failed, ok, skipped
from agent.probes.throughput import ThroughputSettings
from agent.slots import OWN, SlotTests, is_open
from agent.standby import ASK_AGAIN, FILE, OLD, STANDBY, KeptLeases
from agent.vantage import Medium, Vantage
from tests.support.lending import lease
from tests.support.warp import Kept, WarpClock, warp
from wire.clock import DAY, HOUR, MINUTE, SECOND, Anchor
from wire.histogram import Histogram
from wire.lease import Grant, Purpose, grant
from wire.meetings import MeetingTimes
from wire.observation import Note, Window
from wire.orders import Order, OrderStatus, Slot
from wire.reasons import Event, Outcome, Reason
from wire.settings import AgentSettings, Assignment, ContractTerms, OwnSchedule, ResponderAt, Role, ServiceHours

TERMS = ContractTerms(download=200_000_000, upload=80_000_000)
SETTINGS = AgentSettings(
    site="phen", link="fibre", role=Role.LINK, contract=TERMS, responders=[ResponderAt(id="core", host="192.0.2.1")],
    assignments=[Assignment(probe="icmp", target=name) for name in ("gateway", "edge", "anchor-1")],
)  # fmt: skip
MS = 1_000_000


def echo(target: str, rtt: float = 20.0, outcome: Outcome = Outcome.OK, end: int = HOUR, **more: Any) -> Window:
    durations = (
        {"rtt": Histogram.of([round(rtt * MS)] * 10)} if outcome is Outcome.OK else {"rtt": Histogram.of([], 10)}
    )
    return Window(
        boot="b", start=0, end=end, wall_start=0, wall_end=end, probe="icmp", target=target, outcome=outcome,
        durations=durations, **more,
    )  # fmt: skip


class Runner:
    """What a slot needs of the runner."""

    def __init__(self, clock: WarpClock) -> None:
        self.clock = clock
        self.settings = SETTINGS
        self.vantage: Vantage | None = Vantage("v", "eth0", Medium.CABLE, "192.0.2.9", "", "", None, "")
        self.on_link = True
        self.echoes = [echo("edge"), echo("anchor-1")]
        self.finding: Finding | None = ok()
        self.filled: list[tuple[Assignment, str]] = []
        self.listened: list[str] = []

    async def measure_now(self, names: Any, window: float | None = None, order: str = "") -> list[Window]:
        self.listened += names
        await self.clock.sleep(window or 0)
        return self.echoes

    async def fill(self, assignment: Assignment, order: str) -> Window | None:
        self.filled.append((assignment, order))
        await self.clock.sleep(3)
        if self.finding is None:
            return None
        found = self.finding
        return echo("x", outcome=found.outcome, reason=found.reason, facts=found.facts)


class Lender:
    """A collector that lends, or not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now = 0
        self.no: Reason | None = None

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        self.asked.append(slot)
        if self.no:
            raise LeaseRefused(self.no)
        return grant(lease(responder="core", issued=self.now, expires=self.now + 3 * DAY), bytes(32))


class World:
    """An agent with a link to fill."""

    def __init__(self, folder: Path) -> None:
        self.clock = WarpClock(asyncio.get_running_loop())
        self.times = Timekeeper(self.clock)
        self.kept = Kept()
        self.runner = Runner(self.clock)
        self.lender = Lender()
        self.leases = KeptLeases(self.lender, folder)
        self.heard: int | None = self.clock.boottime()
        self.moved = [0, 0]
        self.slots = SlotTests(
            self.clock, self.times, self.runner, self.kept, self.leases, heard=lambda: self.heard,
            counters=self.counters, rng=Random(1),
        )  # fmt: skip

    def counters(self, interface: str, at: int) -> Passed:
        assert interface == "eth0"
        self.moved = [self.moved[0] + self.step[0], self.moved[1] + self.step[1]]
        return Passed(at, *self.moved)

    step = (0, 0)

    def anchor(self) -> None:
        self.times.learn(Anchor(self.clock.boot, self.clock.boottime(), self.clock.wall(), 1000))

    async def carry(self, **more: Any) -> str:
        arguments = msgspec.to_builtins(Slot(**{"slot": "s1", "responder": "core", **more}))
        answer = await self.slots.carry(Order("s1", "slot", arguments=arguments))
        assert answer.status is OrderStatus.DONE
        return answer.detail

    @property
    def note(self) -> Note:
        return self.kept.notes[-1]


def told(story: Callable[[World], Coroutine[Any, Any, None]], folder: Path, *, anchored: bool = True) -> World:
    worlds = []

    async def run() -> None:
        world = World(folder)
        worlds.append(world)
        if anchored:
            world.anchor()
        await story(world)

    warp(run())
    return worlds[0]


def test_a_good_slot_is_tested_once_with_all_that_the_probe_must_know(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        assert await world.carry(directions=("up",), retest=True) == "taken"

    world = told(story, tmp_path)
    ((assignment, order),) = world.runner.filled
    assert (assignment.name, assignment.evidence, order) == ("throughput:core", True, "s1")
    settings = decoded(assignment.settings, ThroughputSettings)
    assert isinstance(settings, ThroughputSettings)
    assert (settings.responder, settings.contract, settings.slot) == (SETTINGS.responders[0], TERMS, "s1")
    assert (settings.directions, settings.role, settings.on_link, settings.time_known, settings.interface) == (
        ("up",),
        Role.LINK,
        True,
        True,
        "eth0",
    )
    assert world.runner.listened == ["icmp:edge", "icmp:anchor-1"]
    assert (world.note.event, world.note.order, world.note.reason) == (Event.SLOT_TAKEN, "s1", None)
    assert [stream for stream, _, urgent in world.kept.records if urgent] == ["evidence"]


@pytest.mark.parametrize(
    ("finding", "event", "detail"),
    [
        (skipped(Reason.RESPONDER_BUSY), Event.SLOT_DEFERRED, "deferred: responder_busy"),
        (skipped(Reason.QUIET_TIME, facts={"detail": "of hall"}), Event.SLOT_SKIPPED, "skipped: quiet_time: of hall"),
        (failed(Reason.BROKEN_OFF), Event.SLOT_FAILED, "failed: broken_off"),
        (None, Event.SLOT_FAILED, "failed: stopping"),
    ],
)
def test_what_the_test_says_is_noted(tmp_path: Path, finding: Finding | None, event: Event, detail: str) -> None:
    async def story(world: World) -> None:
        world.runner.finding = finding
        assert await world.carry() == detail

    assert told(story, tmp_path).note.event is event


def test_without_a_known_time_nothing_is_filled(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        assert (await world.carry()).startswith("deferred: time_unknown")

    assert told(story, tmp_path, anchored=False).runner.filled == []


@pytest.mark.parametrize(
    ("starts", "expected"), [(75, "skipped: quiet_time"), (60 + 39 / 60, "skipped: quiet_time"), (61, "taken")]
)
def test_its_own_rules_keep_quiet_time_to_the_tests_end(tmp_path: Path, starts: float, expected: str) -> None:
    async def story(world: World) -> None:
        start = world.clock.wall() + round((starts if starts < 75 else 45) * MINUTE)
        meeting = MeetingTimes("m", start, start, start + HOUR)
        world.runner.settings = msgspec.structs.replace(SETTINGS, meetings=[meeting])
        assert await world.carry() == expected

    told(story, tmp_path)


def test_from_elsewhere_nothing_is_filled(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runner.on_link = False
        assert await world.carry() == "skipped: not_on_this_link"

    told(story, tmp_path)


@pytest.mark.parametrize(
    ("step", "echoes", "expected"),
    [
        ((6_000_000, 0), None, "deferred: link_in_use: 24.0 Mbit/s down on this machine's port"),
        ((4_900_000, 1_900_000), None, "taken"),
        ((0, 2_100_000), None, "deferred: link_in_use: 8.4 Mbit/s up on this machine's port"),
        (
            (0, 0),
            [("edge", 45), ("anchor-1", 46)],
            "deferred: link_in_use: echoes to edge take 25 ms more than at rest",
        ),
        ((0, 0), [("edge", 90), ("anchor-1", 25)], "taken"),
        ((0, 0), [("edge", 0), ("anchor-1", 0)], "deferred: link_down: neither edge nor anchors answer"),
        ((0, 0), [("edge", 0), ("anchor-1", 20)], "taken"),
    ],
)
def test_a_line_in_use_is_left_alone(tmp_path: Path, step: Any, echoes: Any, expected: str) -> None:
    async def story(world: World) -> None:
        for target in ("edge", "anchor-1"):
            world.slots.calm.saw(echo(target, 20.0))
        world.step = step
        if echoes:
            world.runner.echoes = [echo(name, rtt, Outcome.OK if rtt else Outcome.FAILED) for name, rtt in echoes]
        assert await world.carry() == expected

    told(story, tmp_path)


def test_never_two_at_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        found = await asyncio.gather(world.carry(), world.carry(slot="s2"))
        assert list(found) == ["taken", "deferred: link_in_use: another test runs on this machine"]
        assert len(world.runner.filled) == 1

    told(story, tmp_path)


def test_an_order_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for arguments, words in (
            ({}, "slot: Object missing required field `slot`"),
            ({"slot": "s", "responder": "mars"}, "responder: found 'mars', which is unknown"),
        ):
            answer = await world.slots.carry(Order("o", "slot", arguments=arguments))
            assert (answer.status, answer.detail[: len(words)]) == (OrderStatus.REFUSED, words)
        assert world.runner.filled == []

    told(story, tmp_path)


# calm


def test_the_least_of_a_day_is_remembered_and_only_of_the_links_own_targets() -> None:
    calm = Calm()
    for hour, rtt in ((1, 30), (1, 20), (2, 25), (30, 40)):
        calm.saw(echo("edge", rtt, end=hour * HOUR))
    calm.saw(echo("zoom.media", 5, platform="zoom"))
    calm.saw(echo("anchor-1", 5, Outcome.FAILED))
    assert calm.least() == {"edge": pytest.approx(0.020)}
    for hour in range(31, 60):
        calm.saw(echo("edge", 40, end=hour * HOUR))
    assert calm.least() == {"edge": pytest.approx(0.040)}


def test_nothing_is_concluded_from_nothing() -> None:
    assert queueing([], {}) is None
    assert queueing([echo("edge", 500)], {}) is None  # never seen at rest
    assert in_use(Passed(0, 0, 0), Passed(SECOND, 10**9, 0), None) is None
    assert in_use(Passed(5, 0, 0), Passed(5, 10**9, 0), TERMS) is None


def test_an_interface_that_is_none_counts_nothing() -> None:
    assert passed("no-such-interface", 7) == Passed(7, 0, 0)
    assert passed("lo", 7).at == 7
    assert idle.IN_USE == 0.10


# alone

OWN_SCHEDULE = OwnSchedule(every=43_200.0, after=21_600.0)


def alone(world: World, own: OwnSchedule | None = OWN_SCHEDULE) -> None:
    world.runner.settings = msgspec.structs.replace(SETTINGS, own_schedule=own)
    world.lender.now = world.clock.wall()


async def live(world: World, hours: float) -> None:
    """Looks every ten minutes, as ``run`` does."""
    running = asyncio.create_task(world.slots.run())
    await asyncio.sleep(hours * 3600)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_an_agent_left_alone_tests_sparsely_by_leases_that_it_kept(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alone(world)
        await world.slots.look()  # the collector is there
        assert world.lender.asked == [STANDBY, STANDBY]
        found = await asyncio.to_thread((tmp_path / FILE).stat)
        assert stat.S_IMODE(found.st_mode) == 0o600
        begun = world.clock.boottime()
        await live(world, 5.9)
        assert world.runner.filled == []
        await live(world, 66)
        assert len(world.runner.filled) == 2  # and then none is left
        orders = [order for _, order in world.runner.filled]
        assert all(order.startswith(OWN) for order in orders)
        assert orders[0] != orders[1]
        assert {assignment.settings["slot"] for assignment, _ in world.runner.filled} == {STANDBY}
        starts = [one.start - begun for one in world.kept.notes]
        assert starts[0] >= 9 * HOUR
        assert 3 * HOUR <= starts[1] - starts[0] <= 25 * HOUR
        assert world.lender.asked == [STANDBY, STANDBY]

    told(use_leases(story), tmp_path)


def use_leases(story: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[World], Coroutine[Any, Any, None]]:
    """The fake test borrows as the probe does."""

    async def run(world: World) -> None:
        fill = world.runner.fill

        async def borrowing(assignment: Assignment, order: str) -> Window | None:
            await world.leases.borrow(Purpose.THROUGHPUT, "core", slot=assignment.settings["slot"])
            return await fill(assignment, order)

        world.runner.fill = borrowing  # type: ignore[method-assign]
        await story(world)

    return run


def test_own_tests_keep_quiet_time_and_service_hours(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alone(world, OwnSchedule(every=3600.0, after=600.0, hours=(ServiceHours(6, 0, 1),)))
        await world.slots.look()
        await live(world, 70)
        assert world.runner.filled == []
        alone(world, OwnSchedule(every=3600.0, after=600.0))
        now = world.clock.wall()
        meeting = MeetingTimes("m", now, now, now + DAY)
        world.runner.settings = msgspec.structs.replace(world.runner.settings, meetings=[meeting])
        await live(world, 1)
        assert {one.reason for one in world.kept.notes} == {Reason.QUIET_TIME}
        assert world.runner.filled == []

    told(story, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"own_schedule": None},
        {"own_schedule": OWN_SCHEDULE, "role": Role.ROOM},
        {"own_schedule": OWN_SCHEDULE, "contract": None},
    ],
)
def test_whoever_may_not_keeps_no_leases(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        alone(world)
        world.runner.settings = msgspec.structs.replace(SETTINGS, **settings)
        await world.slots.look()
        assert world.lender.asked == []

    told(story, tmp_path)


async def test_a_kept_lease_is_used_once_and_renewed_when_old(tmp_path: Path) -> None:
    lender = Lender()
    kept = KeptLeases(lender, tmp_path)
    await kept.renew(0)
    assert (len(lender.asked), await kept.next_responder(0)) == (2, "core")
    await kept.renew(MINUTE)
    await kept.renew(3 * DAY - OLD - 1)  # still young enough
    assert len(lender.asked) == 2
    one = await kept.borrow(Purpose.THROUGHPUT, "core", slot=STANDBY)
    two = await KeptLeases(lender, tmp_path).borrow(Purpose.THROUGHPUT, "core", slot=STANDBY)  # after a restart too
    assert one.lease.id != two.lease.id
    with pytest.raises(LeaseRefused):
        await kept.borrow(Purpose.THROUGHPUT, "core", slot=STANDBY)
    assert await kept.next_responder(0) == ""
    lender.now = 4 * DAY
    await kept.renew(4 * DAY)
    lender.now = 5 * DAY + 1
    await kept.renew(5 * DAY + 1)
    assert len(lender.asked) == 6
    assert await kept.next_responder(8 * DAY - 2 * MINUTE) == "core"
    assert await kept.next_responder(9 * DAY) == ""  # expired
    assert (await kept.borrow(Purpose.STAMP)).lease.responder == "core"  # all else is asked for
    assert lender.asked[-1] == ""


async def test_a_collector_that_says_no_is_not_pestered(tmp_path: Path) -> None:
    lender = Lender()
    kept = KeptLeases(lender, tmp_path)
    lender.no = Reason.NO_RESPONDER
    await kept.renew(0)
    await kept.renew(ASK_AGAIN - 1)
    assert len(lender.asked) == 1
    lender.no = Reason.NO_LEASE  # could not be asked at all
    await kept.renew(ASK_AGAIN)
    await kept.renew(ASK_AGAIN + 10 * MINUTE)
    assert len(lender.asked) == 3


async def test_a_file_that_cannot_be_read_is_no_lease(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / FILE).write_text, "{")
    assert await KeptLeases(Lender(), tmp_path).next_responder(0) == ""


def test_service_hours_are_local() -> None:
    monday = 1_793_552_400_000_000  # 2026-11-02 00:00 in Bangkok
    hours = (ServiceHours(0, 510, 990),)
    assert is_open(0, ())
    for minute, expected in ((509, False), (510, True), (989, True), (990, False), (510 + 24 * 60, False)):
        assert is_open(monday + minute * MINUTE, hours) is expected

"""From the plan to the order, the lease, the records and the page; and over restarts, without a slot granted twice."""

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from collector.lending import NotNow
from collector.localtime import bangkok
from collector.problems import Refused
from collector.services import Services
from collector.slots.api import month_asked
from collector.slots.asking import EARLY, NOBODY
from collector.slots.held import Doubt, Kind, State
from collector.slots.rules import LEAD, LENGTH, TO_BEGIN
from collector.store import CannotWrite
from tests.support.collecting import Agent, Answer, Collector, collecting
from tests.support.store import BOOT, EPOCH, Chain
from wire.batch import StreamName
from wire.clock import DAY, HOUR, MINUTE, SECOND
from wire.lease import Grant, LeaseRequest, NoLease, Purpose
from wire.observation import Note, Test
from wire.orders import OrderAnswer, OrderStatus
from wire.reasons import Event, Limit, Outcome, Reason
from wire.settings import Role

LEASES = "/api/v1/leases"
PLACE = ("na-yung", "fibre")


async def lease(agent: Agent, slot: str = "", purpose: Purpose = Purpose.THROUGHPUT) -> Answer:
    body = msgspec.json.encode(LeaseRequest(purpose=purpose, slot=slot))
    return await agent.collector.ask("POST", LEASES, data=body, headers=agent.headers)


async def granted(collector: Collector, agent: Agent) -> Any:
    """Moves the clock to the next slot of na-yung and has it granted; the order, as the agent is told it."""
    services = collector.services
    services.slots._rng = Random(3)
    await agent.post()
    await services.slots.tick()
    plan = services.slots.book.planned[PLACE]
    assert (await agent.post()).json.get("orders", []) == []
    collector.now.at = plan.start - LEAD
    await agent.post()
    await services.slots.tick()
    (order,) = (await agent.post()).json["orders"]
    return order


def record(order: str, at: int, direction: str, **more: Any) -> Test:
    contract = 200e6 if direction == "down" else 80e6
    settled: dict[str, Any] = {
        "outcome": Outcome.OK, "valid": True, "counts": {"test_bytes": 20_000_000},
        "values": {"throughput_contract": contract * 0.99, "contract": contract},
    }  # fmt: skip
    return Test(
        boot=BOOT, start=at - EPOCH - SECOND, end=at - EPOCH, wall_start=at - SECOND, wall_end=at, probe="throughput",
        target="hall", engine="tcp", direction=direction, order=order, **(settled | more),
    )  # fmt: skip


def evidence(*records: Any) -> Any:
    return Chain(StreamName.EVIDENCE).seal(*records)


def note(event: Event, order: str, at: int, reason: Reason | None = None, **facts: str) -> Note:
    times: dict[str, Any] = {"start": at - EPOCH, "end": at - EPOCH, "wall_start": at, "wall_end": at}
    return Note(boot=BOOT, **times, event=event, order=order, reason=reason, facts=facts)


async def test_a_slot_from_the_plan_to_the_page(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)
        now, slots = collector.now, collector.services.slots
        slot = slots.book.held[order["id"]]
        assert (order["kind"], order["after"], order["expires"]) == ("slot", LEAD / SECOND, (LEAD + TO_BEGIN) / SECOND)
        assert order["arguments"] == {"slot": slot.id, "responder": "hall"}
        assert await collector.sql("SELECT id, site, link, state FROM slot") == [(slot.id, *PLACE, "granted")]

        early = await lease(agent, slot.id)
        assert (early.problem["field"], early.headers["Retry-After"]) == ("no_slot", str(LEAD // SECOND))
        other = await collector.agent("ban-phue", link="fibre")
        assert (await lease(other, slot.id)).problem["field"] == "no_slot"
        now.at = slot.start
        room = await collector.agent("na-yung", Role.ROOM)
        assert (await lease(room, slot.id)).problem["field"] == "no_slot"
        await room.post(evidence(record(slot.id, now.at, "down")))
        assert slots.book.held[slot.id].results == {}  # nobody measures for another
        grant = msgspec.json.decode((await lease(agent, slot.id)).body, type=Grant).lease
        assert (grant.id, grant.expires, grant.down, grant.up) == (slot.id, slot.ends, 220_000_000, 88_000_000)
        assert (await lease(agent, slot.id)).json["lease"]["id"] == slot.id  # a replay, as the responder will say
        now.at = slot.latest + EARLY + 1
        assert (await lease(agent, slot.id)).problem["field"] == "no_slot"

        results = [
            record(slot.id, now.at, "down"),
            record(slot.id, now.at, "up", limits=(Limit.CPU_BUSY,), valid=False),
        ]
        await agent.post(evidence(*results, note(Event.SLOT_TAKEN, slot.id, now.at)))
        done = slots.book.held[slot.id]
        assert (done.state, done.at, done.bytes) == (State.DONE, now.at, 40_000_000)
        assert await collector.sql("SELECT state FROM slot") == [("done",)]

        found = (await collector.ask("GET", "/api/v1/slots?site=na-yung")).json
        (link,) = found["links"]
        assert (found["month"], found["rules"]["samples"], link["bytes"]) == ("2026-11", 60, 40_000_000)
        down, up = link["directions"]
        assert (down["valid"], up["valid"], up["tests"]) == (1, 0, 1)
        assert link["slots"][0]["results"]["up"]["limits"] == ["cpu_busy"]
        page = (await collector.ask("GET", "/sites/na-yung")).body.decode()
        assert "198.0 จาก 200 Mbps" in page
        assert "ได้ความเร็วตามแพ็กเกจ" in page
        assert "ยังสรุปไม่ได้: เครื่องวัดทำงานเต็มกำลัง" in page
        assert "คาดว่าตัวอย่างจะไม่เพียงพอเมื่อสิ้นเดือน: จุดทดสอบปลายทางพิสูจน์ความเร็วตามแพ็กเกจไม่ได้" in page


async def test_nothing_is_lost_or_granted_twice_over_a_restart(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)
        now = collector.now
        services = collector.services
        services.slots.book.held.clear()  # the collector stops before it enters what it committed
        now.at += LEAD + 5 * SECOND
        await agent.post(evidence(record(order["id"], now.at, "down")))
    async with collecting(tmp_path, now=now) as collector:
        slots = collector.services.slots
        assert slots.book.held[order["id"]].state is State.DONE
        assert slots.book.held[order["id"]].results["down"].rate == 198e6
        slots._rng = Random(4)
        await slots.tick()
        assert slots.book.planned[PLACE].start >= now.at + 36 * MINUTE - 5 * SECOND


async def test_a_note_that_a_stopping_collector_did_not_enter_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)
        slots, now = collector.services.slots, collector.now
        now.forward(LEAD / SECOND)

        async def stopped(_: Any) -> None:
            """As if it stopped between the commit and this."""

        with monkeypatch.context() as between:
            between.setattr(slots, "landed", stopped)
            await agent.post(evidence(note(Event.SLOT_DEFERRED, order["id"], now(), Reason.LINK_IN_USE)))
        assert slots.book.held[order["id"]].state is State.GRANTED
        await slots.load()
        slot = slots.book.held[order["id"]]
        assert (slot.state, slot.reason) == (State.DEFERRED, "link_in_use")


async def test_a_slot_that_is_still_open_is_open_after_a_restart(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)
        now = collector.now
    async with collecting(tmp_path, now=now) as collector:
        await collector.services.slots.tick()
        assert PLACE not in collector.services.slots.book.planned
        assert collector.services.slots.book.held[order["id"]].state is State.GRANTED
        agent.collector = collector
        now.at += LEAD
        assert (await lease(agent, order["id"])).status == 200
        now.at += 10 * MINUTE
        await collector.services.slots.tick()
        assert await collector.sql("SELECT state FROM slot WHERE id = ?", order["id"]) == [("unanswered",)]


async def test_no_order_without_a_slot_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        services = collector.services
        await agent.post()
        await services.slots.tick()
        collector.now.at = services.slots.book.planned[PLACE].start - LEAD
        await agent.post()
        write = services.store.write

        async def full(_work: Any) -> Any:
            raise CannotWrite("full")

        monkeypatch.setattr(services.store, "write", full)
        await services.slots.tick()
        monkeypatch.setattr(services.store, "write", write)
        assert await collector.sql("SELECT count(*) FROM \"order\" WHERE kind = 'slot'") == [(0,)]
        (slot,) = services.slots.book.held.values()
        assert (slot.state, slot.reason) == (State.SKIPPED, "store")
        await services.slots.tick()
        assert await collector.sql("SELECT state FROM slot") == [("skipped",)]


async def test_an_agent_that_is_silent_is_not_asked(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        slots = collector.services.slots
        await agent.post()
        await slots.tick()
        collector.now.at = slots.book.planned[PLACE].start - LEAD  # hours later, unheard
        await slots.tick()
        (slot,) = slots.book.held.values()
        assert (slot.state, slot.reason) == (State.SKIPPED, "agent_silent")
        assert (await agent.post()).json.get("orders", []) == []


async def test_only_agents_of_the_link_get_slots(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        await (await collector.agent("na-yung", Role.ROOM, "fibre")).post()
        await collector.services.slots.tick()
        assert collector.services.slots.book.planned == {}


@pytest.mark.parametrize(
    ("told", "state", "reason"),
    [
        (
            note(Event.SLOT_DEFERRED, "ID", EPOCH + HOUR, Reason.LINK_IN_USE, detail="31 ms"),
            State.DEFERRED,
            "link_in_use",
        ),
        (note(Event.SLOT_SKIPPED, "ID", EPOCH + HOUR, Reason.QUIET_TIME), State.SKIPPED, "quiet_time"),
        (note(Event.SLOT_FAILED, "ID", EPOCH + HOUR, Reason.BROKEN_OFF), State.FAILED, "broken_off"),
        (OrderAnswer("ID", OrderStatus.EXPIRED), State.FAILED, "order_expired"),
        (OrderAnswer("ID", OrderStatus.UNKNOWN, "old"), State.FAILED, "not_supported"),
        (OrderAnswer("ID", OrderStatus.DONE), State.GRANTED, ""),
        (OrderAnswer("ID", OrderStatus.ACCEPTED), State.GRANTED, ""),
    ],
)
async def test_what_agents_tell_is_entered(tmp_path: Path, told: Any, state: State, reason: str) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)
        other = await collector.agent("ban-phue", link="fibre")
        for one, expected in ((other, (State.GRANTED, "")), (agent, (state, reason))):  # nobody speaks for another
            if isinstance(told, Note):
                await one.post(evidence(msgspec.structs.replace(told, order=order["id"])))
            else:
                await one.post(answers=[OrderAnswer(order["id"], told.status, told.detail)])
            slot = collector.services.slots.book.held[order["id"]]
            assert (slot.state, slot.reason) == expected


async def test_a_meeting_that_came_up_keeps_the_lease_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)

        def quiet(*_: Any, **__: Any) -> None:
            raise NotNow(NoLease.QUIET_TIME, "quiet time of hall", 900)

        monkeypatch.setattr("collector.slots.asking.check_quiet", quiet)
        collector.now.forward(LEAD / SECOND)
        assert (await lease(agent, order["id"])).problem["field"] == "quiet_time"
        assert (await lease(agent)).problem["field"] == "quiet_time"


async def test_a_test_asked_for_now_is_a_slot_too(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        room = await collector.agent("na-yung", Role.ROOM)
        slots, now = collector.services.slots, collector.now
        mine = (await lease(agent)).json["lease"]
        slot = slots.book.held[mine["id"]]
        assert (slot.kind, slot.state, slot.ends) == (Kind.ASKED, State.TAKEN, now() + LENGTH)
        again = await lease(room)  # the room's machine fills the same link
        assert (again.problem["field"], again.headers["Retry-After"]) == ("link_in_use", "60")
        other = await collector.agent("ban-phue", link="fibre")
        assert (await lease(other)).problem["field"] == "responder_busy"  # 80 of 80 are taken
        assert (await lease(agent, purpose=Purpose.LIGHT)).problem["field"] == "link_in_use"
        assert (await lease(other, purpose=Purpose.CALL)).problem["field"] == "responder_busy"
        assert (await lease(other, purpose=Purpose.STAMP)).status == 200
        now.forward(4)
        await agent.post(evidence(record("", now(), "down")))
        assert slots.book.held[slot.id].state is State.DONE
        assert (await lease(other, purpose=Purpose.LIGHT)).status == 200  # what is done gives its room back
        await agent.post(evidence(record("", now() + HOUR, "down", values={})))
        assert slots.book.held[slot.id].results["down"].contract == 200e6  # none of its own time


async def test_a_site_without_a_link_is_tested_at_the_responders_capacity(tmp_path: Path) -> None:
    """There is no contract to claim anything against, and the same rules hold."""
    async with collecting(tmp_path) as collector:
        services, now = collector.services, collector.now
        inventory = services.inventory
        bare = msgspec.structs.replace(inventory.sites["na-yung"], id="this-machine", links=[])
        sites = inventory.sites | {"this-machine": bare}
        services.inventory = msgspec.structs.replace(inventory, sites=sites)
        agent = await collector.agent("this-machine")
        book, far = services.slots.book, services.slots.world(now()).fars["hall"]
        mine = (await lease(agent)).json["lease"]
        assert (mine["down"], mine["up"]) == (far.down, far.up)
        slot = book.held[mine["id"]]
        assert (slot.kind, slot.place, slot.down, slot.up) == (Kind.ASKED, ("this-machine", ""), far.down, far.up)
        room = await collector.agent("this-machine", Role.ROOM)
        assert (await lease(room)).problem["field"] == "link_in_use"
        other = await collector.agent("ban-phue", link="fibre")
        assert (await lease(other)).problem["field"] == "responder_busy"
        now.forward(4)
        plain = {"throughput": 9e8}
        await agent.post(evidence(record("", now(), "down", values=plain), record("", now(), "up", values=plain)))
        assert (book.held[slot.id].state, book.held[slot.id].doubt) == (State.DONE, Doubt.NONE)
        assert (await lease(agent)).status == 200
        assert (await lease(agent, slot=NOBODY)).problem["field"] == "no_slot"
        meeting = next(iter(inventory.meetings.values()))
        soon = bangkok(now() + HOUR).replace(tzinfo=None)
        held = msgspec.structs.replace(
            meeting, sites=["this-machine"], start=soon, doors=None, end=None, repeat=[], rehearsals=[]
        )
        services.inventory = msgspec.structs.replace(services.inventory, meetings={"m": held})
        assert (await lease(agent)).problem["field"] == "quiet_time"


async def test_light_tests_keep_slots_away_until_they_are_over(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        slots = collector.services.slots
        light = msgspec.json.decode((await lease(agent, purpose=Purpose.LIGHT)).body, type=Grant).lease
        assert (await lease(agent)).problem["field"] == "link_in_use"
        slots.release(light)
        slots.release(light)
        assert (await lease(agent)).status == 200


async def test_the_budget_is_kept(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        slots, now = collector.services.slots, collector.now
        first = (await lease(agent)).json["lease"]["id"]
        now.forward(5)
        await agent.post(evidence(record("", now(), "down", counts={"test_bytes": 9_990_000_000})))
        assert slots.book.held[first].bytes == 9_990_000_000
        no = (await lease(agent)).problem
        assert (no["field"], no["detail"]) == ("budget_spent", "na-yung: the month's 10 GB are used up")


async def test_an_agents_own_tests_are_entered_when_they_land(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        at = collector.now()
        collector.now.forward(6 * 3600)
        batch = evidence(record("own-1", at, "down"), record("own-1", at + SECOND, "up"))
        await agent.post(batch)
        await agent.post(batch)
        (slot,) = collector.services.slots.book.held.values()
        assert (slot.kind, slot.state, slot.at) == (Kind.OWN, State.DONE, at + SECOND)
        assert set(slot.results) == {"down", "up"}
        assert await collector.sql("SELECT id, state FROM slot") == [("own-1", "done")]


async def test_a_bad_result_is_planned_again_within_minutes_and_told_only_when_confirmed(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)
        slots, now = collector.services.slots, collector.now
        low = {"throughput_contract": 40e6, "contract": 80e6}
        now.at += LEAD + 5 * SECOND
        await agent.post(evidence(record(order["id"], now(), "up", values=low)))
        await slots.tick()
        plan = slots.book.planned[PLACE]
        assert (plan.kind, plan.of) == (Kind.RETEST, order["id"])
        assert plan.start - now() <= 8 * MINUTE
        page = (await collector.ask("GET", "/sites/na-yung")).body.decode()
        assert "ผลต่ำ ยังไม่ได้ยืนยันด้วยการทดสอบซ้ำ" in page
        assert "ต่ำกว่าความเร็ว" not in page
        now.at = plan.start - LEAD
        await agent.post()
        await slots.tick()
        (second,) = [one for one in (await agent.post()).json["orders"] if one["id"] != order["id"]]
        assert second["arguments"]["retest"] is True
        now.at = plan.start + 5 * SECOND
        await agent.post(evidence(record(second["id"], now(), "up", values=low)))
        assert {one.doubt for one in slots.book.held.values()} == {Doubt.CONFIRMED}
        page = (await collector.ask("GET", "/sites/na-yung")).body.decode()
        assert "ต่ำกว่าความเร็วสูงสุดตามแพ็กเกจ (เพื่อทราบ)" in page


# standby


def outside(services: Services) -> None:
    """The responder stands at no site."""
    inventory = services.inventory
    places = {name: msgspec.structs.replace(one, site=None) for name, one in inventory.responders.items()}
    services.inventory = msgspec.structs.replace(inventory, responders=places)


async def test_standby_leases_are_few_and_only_for_responders_away_from_every_site(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        no = (await lease(agent, NOBODY)).problem
        assert (no["field"], "stands away from every site" in no["detail"]) == ("no_responder", True)
        outside(collector.services)
        first = msgspec.json.decode((await lease(agent, NOBODY)).body, type=Grant).lease
        assert (first.expires - first.issued, first.purpose, first.down) == (3 * DAY, Purpose.THROUGHPUT, 220_000_000)
        assert (await lease(agent, NOBODY)).status == 200
        again = await lease(agent, NOBODY)
        assert (again.problem["field"], again.headers["Retry-After"]) == ("no_slot", str(20 * 3600))
        collector.now.forward(20 * 3600)
        assert (await lease(agent, NOBODY)).status == 200
        room = await collector.agent("na-yung", Role.ROOM)
        assert (await lease(room, NOBODY)).problem["field"] == "no_slot"


# the API's month


async def test_months_that_are_over_come_from_the_store(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        order = await granted(collector, agent)
        collector.now.at += LEAD + 5 * SECOND
        await agent.post(evidence(record(order["id"], collector.now(), "down")))
        collector.now.forward(60 * 86_400)
        collector.services.slots.book.forget(collector.now())
        for month in ("2026-11", "2569-11"):
            found = (await collector.ask("GET", f"/api/v1/slots?site=na-yung&month={month}")).json
            assert (found["month"], len(found["links"][0]["slots"])) == ("2026-11", 1)
            assert found["links"][0]["directions"][0]["expected"] == 1
        assert (await collector.ask("GET", "/api/v1/slots")).json["month"] == "2027-01"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("november", "month: found 'november', expected one such as 2026-11"),
        ("2026-13", "month: found '2026-13', expected one such as 2026-11"),
        ("2026-1", "month: found '2026-1', expected one such as 2026-11"),
        ("0001-01", "month: found '0001-01', expected one such as 2026-11"),
        ("2026-12", "month: found '2026-12', expected one that has begun"),
    ],
)
def test_a_month_that_is_none_is_refused(text: str, detail: str) -> None:
    with pytest.raises(Refused) as refused:
        month_asked(text, EPOCH, "Asia/Bangkok")
    assert (refused.value.problem.status, refused.value.problem.detail) == (400, detail)


async def test_an_unknown_site_is_not_found(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        assert (await collector.ask("GET", "/api/v1/slots?site=atlantis")).problem["field"] == "site"

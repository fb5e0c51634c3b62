"""A link's history through the whole collector: batches in, outages out."""

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.link_history.histories import Histories
from tests.support.collecting import Agent, Collector, Now, collecting
from tests.support.store import EPOCH, Chain
from tests.support.watching import Box, Script
from wire.batch import AgentClock, StreamName
from wire.clock import DAY, HOUR, SECOND, Anchor
from wire.observation import Observation
from wire.reasons import Event
from wire.settings import Role

LINK = "fibre"
UP: Script = [(0, "up")]
BY_ISO = "expected a date and time by ISO 8601, such as 2026-11-21T02:00:00Z or 2026-11-21T09:00+07:00"


async def joined(collector: Collector, site: str = "na-yung") -> Agent:
    """A link agent that joined at EPOCH."""
    collector.now.at = EPOCH
    agent = await collector.agent(site, link=LINK)
    agent.chain = Chain(StreamName.EVIDENCE)
    return agent


async def send(
    agent: Agent, some: list[Observation], *, boot: str = "", anchored: bool = True, epoch: int = EPOCH
) -> None:
    """Delivers records now, in batches of 200; the clock's anchor is true."""
    now = agent.collector.now()
    for number in range(0, max(1, len(some)), 200):
        part = some[number : number + 200]
        envelope = agent.envelope(agent.chain.seal(*part)) if part else agent.envelope()
        name = boot or (some[0].boot if some else envelope.clock.boot)
        tie = Anchor(name, now - epoch, now, 10_000) if anchored else None
        envelope = msgspec.structs.replace(envelope, clock=AgentClock(name, now - epoch, now, tie))
        answer = await agent.post_body(msgspec.json.encode(envelope))
        assert answer.status == 200, answer.body
        assert {one["status"] for one in answer.json.get("batches", [])} <= {"stored"}, answer.json


async def outages(collector: Collector, **query: str) -> Any:
    """The answer for a site."""
    answer = await collector.ask("GET", "/api/v1/outages", params={"site": "na-yung", **query})
    assert answer.status == 200, answer.body
    return answer.json


async def story(collector: Collector, site: str = "na-yung", **query: str) -> list[tuple[float, float, str]]:
    """The history in seconds since EPOCH."""
    answer = await collector.ask("GET", f"/api/v1/sites/{site}/links/{LINK}/history", params=query)
    assert answer.status == 200, answer.body
    found = answer.json
    parts = found["intervals"]
    assert parts[0]["start"] == found["start"]
    assert parts[-1]["end"] == found["end"]
    assert all(one["end"] == following["start"] for one, following in itertools.pairwise(parts))
    assert sum(found["seconds"].values()) == pytest.approx(found["end"] - found["start"], abs=1e-4)
    return [
        (
            round(one["start"] - EPOCH / SECOND, 3),
            round(one["end"] - EPOCH / SECOND, 3),
            one.get("state") or one.get("why"),
        )
        for one in parts
        if one.get("why") != "no_agent"
    ]


def at(seconds: float) -> int:
    """UTC of a second."""
    return EPOCH + round(seconds * SECOND)


async def test_an_outage_from_batch_to_answer(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await joined(collector)
        collector.now.at = at(1205)
        await send(
            agent,
            Box().run(0, 1200, [(0, "up"), (300, "link"), (342.5, "up"), (500, "lan"), (503.5, "up")], stop="none"),
        )
        found = await outages(collector)
        assert found["rules"] == {"counts_from_seconds": 5.0, "joins_below_seconds": 10.0, "domain_rule": 1}
        one, short = found["outages"]
        assert one | {"evidence": 0} == {
            "site": "na-yung", "link": LINK, "start": at(300) / SECOND, "end": at(342.5) / SECOND, "seconds": 42.5,
            "error_seconds": one["error_seconds"], "domain": "link", "agent_domain": "link", "rule": 1,
            "rule_reason": "as_the_agent_says", "together": 0, "watched": 0, "counted": True, "joins": False,
            "after": "up", "provisional": False, "evidence": 0,
        }  # fmt: skip
        assert 0 < one["error_seconds"] < 1
        assert one["evidence"] == [{"why": "up to link"}]
        assert (short["seconds"], short["counted"], short["domain"]) == (3.5, False, "lan")
        assert await story(collector) == [
            (0, 300, "up"), (300, 342.5, "link"), (342.5, 500, "up"), (500, 503.5, "lan"), (503.5, 1200, "up"),
            (1200, 1205, "up"),
        ]  # fmt: skip


@pytest.mark.parametrize(("role", "found"), [(Role.BOTH, ["lan"]), (Role.ROOM, [])])
async def test_a_notebook_of_both_roles_gives_evidence_and_the_rooms_alone_none(
    tmp_path: Path, role: Role, found: list[str]
) -> None:
    async with collecting(tmp_path) as collector:
        collector.now.at = EPOCH
        agent = await collector.agent("na-yung", role, LINK if role is Role.BOTH else "")
        agent.chain = Chain(StreamName.EVIDENCE)
        collector.now.at = at(605)
        await send(agent, Box().run(0, 600, [(0, "up"), (300.5, "lan"), (342.5, "up")], stop="none"))
        assert [one["domain"] for one in (await outages(collector))["outages"]] == found
        assert bool(await story(collector)) is bool(found)


async def test_packing_changes_nothing_and_late_data_settles_what_was_silent(tmp_path: Path) -> None:
    """The collector is down for the agent for three hours; the backlog comes later than the hours were packed."""
    async with collecting(tmp_path) as collector:
        agent = await joined(collector)
        box = Box()
        script: Script = [(0, "up"), (5000, "provider"), (9000, "up")]
        whole = box.run(0, 6 * 3600, script, stop="none")
        collector.now.at = at(3600)
        await send(agent, [one for one in whole if one.end <= 3600 * SECOND])
        collector.now.at = at(4 * 3600)
        assert (await story(collector))[-1] == (3600, 4 * 3600, "silent")
        await collector.services.store.maintain(collector.now())
        collector.now.at = at(6 * 3600)
        await send(agent, [one for one in whole if one.end > 4 * 3600 * SECOND])
        backlog = [one for one in whole if 3600 * SECOND < one.end <= 4 * 3600 * SECOND]
        await collector.services.store.maintain(collector.now())
        hole = await story(collector)
        assert (3600, 4 * 3600, "missing") in hole
        collector.now.at = at(6 * 3600 + 60)
        await send(agent, backlog)
        expected = [(0, 5000, "up"), (5000, 9000, "provider"), (9000, 6 * 3600, "up"), (6 * 3600, 6 * 3600 + 60, "up")]
        assert await story(collector) == expected
        await collector.services.store.maintain(at(9 * 3600))
        assert (await collector.sql("SELECT count(*) FROM window"))[0][0] == 0
        assert await story(collector) == expected


async def test_three_days_offline_with_a_wrong_clock(tmp_path: Path) -> None:
    """No battery: it boots in 1970 and reaches nobody. Nothing is known until an anchor comes, then everything."""
    async with collecting(tmp_path) as collector:
        agent = await joined(collector)
        collector.now.at = at(600)
        await send(agent, Box().run(0, 600, UP, stop="none"))
        boot = "1f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d"
        box = Box(boot=boot, epoch=at(1000), wrong_by=-EPOCH)
        box.note(5, Event.UNCLEAN_STOP_FOUND, kind="power")
        length = 3 * 86_400
        box.run(5, length, [(0, "link"), (250_000, "up")], stop="none")
        collector.now.at = at(1000 + length)
        await send(agent, box.made, boot=boot, anchored=False, epoch=at(1000))
        during = await story(collector)
        assert during[1:2] == [(600, 1000 + length, "time_unknown")]
        await send(agent, [], boot=boot, epoch=at(1000))
        while (await collector.sql("SELECT count(*) FROM window WHERE end_utc IS NULL"))[0][0]:
            await collector.services.store.write(lambda _: None)  # times are corrected in steps between the writes
        found = await story(collector)
        assert [(round(one[0]), round(one[1]), one[2]) for one in found] == [
            (0, 600, "up"), (600, 1005, "power_lost"), (1005, 251_000, "link"), (251_000, 945 + length, "up"),
            (945 + length, 1000 + length, "up"),
        ]  # fmt: skip


async def test_a_cut_of_the_provider_over_twenty_sites(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        sites = [site.id for site in collector.services.inventory.sites.values() if site.links][:20]
        agents = [await joined(collector, site) for site in sites]
        collector.now.at = at(900)
        for number, agent in enumerate(agents):
            # each sees it a little later; one is cut alone as well, another has a fault in its own network
            script: list[tuple[float, str]] = [(0, "up"), (300 + number * 0.2, "link"), (360, "up")]
            script += [(600, "link"), (630, "up")] if number == 3 else []
            script += [(600, "lan"), (630, "up")] if number == 4 else []
            await send(agent, Box(boot=f"{number:08x}-6c1c-4b7e-9a3d-4a5f8f1c2b3d").run(0, 900, script, stop="none"))
        answer = await collector.ask("GET", "/api/v1/outages")
        found = answer.json["outages"]
        assert len(found) == 22
        shared = [one for one in found if one["start"] < at(400) / SECOND]
        assert {(one["domain"], one["agent_domain"], one["rule_reason"]) for one in shared} == {
            ("provider", "link", "fell_together")
        }
        assert {(one["together"], one["watched"]) for one in shared} == {(19, 19)}
        alone = {one["site"]: one["domain"] for one in found if one["start"] > at(400) / SECOND}
        assert alone == {sites[3]: "link", sites[4]: "lan"}


async def test_days_are_kept_and_made_anew_when_late_data_lands(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await joined(collector)
        whole = Box().run(0, 3 * 86_400, [(0, "up"), (5000, "link"), (9000, "up")], stop="none")
        late = {1800 * SECOND, 1860 * SECOND}
        for day in (1, 2, 3):  # day by day, for a time that is uncertain by much waits for a better anchor
            collector.now.at = at(day * 86_400)
            span = range((day - 1) * 86_400 * SECOND + 1, day * 86_400 * SECOND + 1)
            await send(agent, [one for one in whole if one.end in span and one.end not in late])
        store, histories = collector.services.store, collector.services.histories
        collector.now.at = at(4 * 86_400 + 7200)
        await store.maintain(collector.now())
        first = await story(collector)
        assert first[:2] == [(0, 1740, "up"), (1740, 1860, "missing")]
        assert await histories.keep(store, collector.now()) == 4  # three days that begin at another hour than UTC's
        assert await histories.keep(store, collector.now()) == 0
        collector.services.histories = Histories()
        assert await story(collector) == first
        await send(agent, [one for one in whole if one.end in late])
        collector.now.at += DAY
        await store.maintain(collector.now())
        healed = await story(collector)
        assert healed[:1] == [(0, 5000, "up")]
        assert await histories.keep(store, collector.now()) == 1
        assert await story(collector) == healed
        # the windows are gone after their ninety days; the history is not
        await store.write(lambda connection: connection.exec_driver_sql("DELETE FROM hour").rowcount)
        collector.services.histories = Histories()
        assert [one for one in await story(collector) if one[1] <= 86_400] == [
            one for one in healed if one[1] <= 86_400
        ]


@pytest.mark.parametrize(
    ("query", "field", "detail"),
    [
        (
            {"from": "yesterday"},
            "from",
            f"found 'yesterday', {BY_ISO}",
        ),
        (
            {"to": "2026-13-01"},
            "to",
            f"found '2026-13-01', {BY_ISO}",
        ),
        (
            {"from": "2026-11-21", "to": "2026-11-21"},
            "from",
            "found a from that is not before to, expected an earlier one",
        ),
        (
            {"from": "2024-01-01", "to": "2026-01-01"},
            "from",
            "found 731 days, expected at most 400; ask in parts",
        ),
    ],
)
async def test_what_is_wrong_with_a_span_is_said(
    tmp_path: Path, query: dict[str, str], field: str, detail: str
) -> None:
    async with collecting(tmp_path) as collector:
        for path in ("/api/v1/outages", f"/api/v1/sites/na-yung/links/{LINK}/history"):
            found = (await collector.ask("GET", path, params=query)).problem
            assert (found["status"], found["field"], found["detail"]) == (400, field, detail)


async def test_a_site_or_link_that_is_not_there(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        found = (await collector.ask("GET", "/api/v1/outages", params={"site": "atlantis"})).problem
        assert (found["status"], found["field"]) == (404, "site")
        found = (await collector.ask("GET", "/api/v1/sites/na-yung/links/other/history")).problem
        assert (found["status"], found["field"]) == (404, "link")
        for asked in ({"site": "na-yung", "link": "other"}, {"link": "other"}):  # none is not the same as no outage
            found = (await collector.ask("GET", "/api/v1/outages", params=asked)).problem
            assert (found["status"], found["field"]) == (404, "link")
            assert found["detail"].startswith("found 'other', expected a link of the inventory or one that was watched")


async def test_the_outages_of_a_link_that_left_the_inventory_are_not_lost(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await joined(collector)
        box = Box()
        box.run(0, 600, [(0, "up"), (100, "link"), (200, "up")])
        collector.now.at = at(700)
        await send(agent, box.made)
        (before,) = (await outages(collector))["outages"]
        inventory = collector.services.inventory
        sites = {name: one for name, one in inventory.sites.items() if name != "na-yung"}
        collector.services.inventory = msgspec.structs.replace(inventory, sites=sites)
        (after,) = (await outages(collector))["outages"]
        assert after == before


async def test_times_in_thailand_and_in_utc_are_the_same(tmp_path: Path) -> None:
    async with collecting(tmp_path, now=Now(EPOCH + 100 * DAY)) as collector:
        spans = [
            {"from": "2026-11-21T02:00:00Z", "to": "2026-11-21T03:00:00Z"},
            {"from": "2026-11-21T09:00:00+07:00", "to": "2026-11-21T10:00:00+07:00"},
            {"from": "2026-11-21T09:00", "to": "2026-11-21T10:00"},
        ]
        found = [await outages(collector, **span) for span in spans]
        assert len({(one["start"], one["end"]) for one in found}) == 1
        assert found[0]["end"] - found[0]["start"] == HOUR / SECOND
        raw = await collector.ask("GET", "/api/v1/outages?from=2026-11-21T09:00:00+07:00&to=2026-11-21T10:00:00+07:00")
        assert raw.json["start"] == found[0]["start"]

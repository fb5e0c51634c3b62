"""Where agents stand: learned from their changes, confirmed by a person, and what follows for settings and pages."""

import asyncio
import html
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from agent import probe as registry
from agent.clock import Timekeeper
from agent.directory import Directory
from agent.probe import Finding, Span, Target, ok, probe
from agent.runner import Runner
from agent.vantage import Medium
from agent.vantage import Vantage as Stand
from collector import vantages
from collector.cli import main
from collector.picture import State
from collector.store import CannotWrite, Landed, Source
from collector.vantages import MOST, Vantage, tells_vantage, vantage_of
from tests.support.collecting import Agent, Collector, collecting
from tests.support.store import BOOT, EPOCH, Chain, window
from tests.support.warp import Kept, WarpClock, warp
from wire.batch import StreamName
from wire.clock import DAY, HOUR, MINUTE, SECOND, Corrected
from wire.meetings import Load
from wire.observation import Change, Window
from wire.reasons import Outcome, Reason
from wire.settings import AgentSettings, Role

HOME, AWAY = "0badcafe", "deadbeef"
FACTS = {"medium": "cable", "interface": "eth0", "gateway_hash": "f" * 16, "speed_bits_per_second": "1000000000"}


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    async with collecting(tmp_path) as made:
        yield made


def change(end: int, current: str = HOME, previous: str = "unknown", **more: Any) -> Change:
    settled: dict[str, Any] = {"probe": "vantage", "target": "machine", "facts": FACTS}
    return Change(
        boot=BOOT,
        start=end,
        end=end,
        wall_start=EPOCH + end,
        wall_end=EPOCH + end,
        previous=previous,
        current=current,
        vantage=current,
        **(settled | more),
    )


async def came(agent: Agent, current: str = HOME, ago: int = 0, **more: Any) -> None:
    """The agent delivers that it came to stand somewhere."""
    if not hasattr(agent, "evidence"):
        agent.evidence = Chain(StreamName.EVIDENCE)  # type: ignore[attr-defined]
    one = change(agent.collector.now.boottime - ago, current, **more)
    answer = await agent.post(agent.evidence.seal(one))  # type: ignore[attr-defined]
    assert answer.json["batches"][0]["status"] == "stored", answer.body


async def measured(agent: Agent, vantage: str, **more: Any) -> None:
    answer = await agent.post(agent.chain.seal(window(agent.collector.now.boottime, vantage=vantage, **more)))
    assert answer.json["batches"][0]["status"] == "stored", answer.body


async def command(collector: Collector, *arguments: str) -> Result:
    """A command beside the running collector, which looks for what commands changed."""
    data = collector.services.settings.data
    result = await asyncio.to_thread(CliRunner().invoke, main, ["vantage", *arguments, "--data", data])
    await collector.services.vantages.refresh()
    return result


async def settings(agent: Agent) -> AgentSettings:
    answer = await agent.get("/api/v1/settings")
    return msgspec.json.decode(answer.body, type=AgentSettings)


async def page(collector: Collector, language: str = "th") -> str:
    answer = await collector.ask("GET", f"/sites/na-yung?lang={language}")
    assert answer.status == 200
    return html.unescape(answer.body.decode())


# Learning


async def test_a_change_of_vantage_teaches_where_the_agent_stands(collector: Collector) -> None:
    agent = await collector.agent(link="fibre")
    await came(agent)
    [one] = collector.services.vantages.of("na-yung")
    now = collector.now()
    assert one == Vantage("na-yung", "fibre", HOME, FACTS, "127.0.0.1", agent.joined.agent, now, now)
    assert await collector.sql("SELECT link, id, confirmed FROM vantage") == [("fibre", HOME, None)]


async def test_coming_back_moves_only_when_it_was_seen_last(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent)
    first = collector.now()
    collector.now.forward(3600)
    await came(agent, AWAY, facts=FACTS | {"medium": "wifi"})
    collector.now.forward(3600)
    await came(agent)
    home, away = collector.services.vantages.of("na-yung")
    assert (home.id, home.seen_first, home.seen_last) == (HOME, first, collector.now())
    assert (away.id, away.medium) == (AWAY, "wifi")


async def test_late_data_adds_a_place_with_its_own_time_and_no_address(collector: Collector) -> None:
    collector.now.forward(4 * 86_400)
    agent = await collector.agent()
    await came(agent)
    first = collector.now()
    await came(agent, AWAY, ago=3 * DAY)
    await came(agent, HOME, ago=2 * DAY, facts={"medium": "mobile"})
    home, away = collector.services.vantages.of("na-yung")
    assert (away.seen_first, away.address, away.confirmed) == (first - 3 * DAY, "", None)
    assert (home.seen_first, home.seen_last, home.medium) == (first - 2 * DAY, first, "cable")
    assert home.address == "127.0.0.1", "what is older never replaces what is newer"


async def test_other_changes_and_other_ids_teach_nothing(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent, "none")
    await came(agent, HOME, probe="gateway")
    await came(agent, "$(reboot)")
    await came(agent, "0badcafe; reboot")
    assert await collector.sql("SELECT * FROM vantage") == []


async def test_facts_that_are_not_known_to_be_harmless_are_left_out(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent, facts={"medium": "cable", "gateway": "192.168.1.1", "interface": "e" * 200})
    assert collector.services.vantages.of("na-yung")[0].facts == {"medium": "cable", "interface": "e" * 80}


async def test_a_place_is_bounded_and_what_was_confirmed_stays(collector: Collector) -> None:
    store = collector.services.store

    def stood(number: int) -> Vantage:
        return Vantage("na-yung", "", f"{number:08x}", {}, "", "a", number, number)

    def fill(connection: Any) -> list[Vantage]:
        vantages.learn(connection, [stood(0)])
        vantages.confirm(connection, 1, "na-yung", "00000000", None, who="test")
        vantages.learn(connection, map(stood, range(1, 200)))
        return vantages.known(connection, "na-yung")

    found = await store.write(fill)
    assert [one.id for one in found] == ["00000000", *(f"{number:08x}" for number in range(199, 199 - MOST, -1))]


async def test_a_full_disk_delays_learning_and_loses_nothing(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_function: object) -> None:
        raise CannotWrite("disk full")

    agent = await collector.agent()
    await agent.post()  # the first use of its token is written down
    with monkeypatch.context() as patched:
        patched.setattr(collector.services.store, "write", full)
        await came(agent)
        assert collector.services.vantages.of("na-yung") == ()
    await collector.services.vantages.refresh()
    assert [one.id for one in collector.services.vantages.of("na-yung")] == [HOME]


async def test_what_was_forgotten_is_learned_again_while_an_agent_stands_there(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent)
    await command(collector, "forget", "na-yung", HOME)
    assert collector.services.vantages.of("na-yung") == ()
    await measured(agent, HOME)
    services = collector.services
    await services.vantages.seen([services.picture.site("na-yung", services.now())], services.now())
    assert [(one.id, one.confirmed) for one in services.vantages.of("na-yung")] == [(HOME, None)]
    await command(collector, "forget", "na-yung", HOME)
    collector.now.forward(HOUR / SECOND)
    await services.vantages.seen([services.picture.site("na-yung", services.now())], services.now())
    assert services.vantages.of("na-yung") == (), "an agent that is silent stands nowhere"


@given(st.text(max_size=64))
def test_only_plain_ids_are_taken(text: str) -> None:
    taken = tells_vantage(change(MINUTE, text)) if text else False
    assert taken == (len(text) >= 4 and set(text) <= set("0123456789abcdef"))


def test_a_change_without_a_time_is_dated_by_its_arrival() -> None:
    source = Source("a", "na-yung", "", "link")
    one = Landed(source, change(MINUTE), None, EPOCH, late=True)
    assert vantage_of(one, "203.0.113.1").seen_first == EPOCH
    known = vantage_of(one._replace(time=Corrected(EPOCH - 5, 10), late=False), "203.0.113.1")
    assert (known.seen_first, known.address) == (EPOCH - 5, "203.0.113.1")


async def test_a_place_unseen_for_long_goes_unless_it_was_confirmed(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent, HOME)
    await came(agent, AWAY)
    await command(collector, "confirm", "na-yung", HOME)
    store, now = collector.services.store, collector.now()
    await store.maintain(now + 90 * DAY)
    assert await collector.sql("SELECT count(*) FROM vantage") == [(2,)]
    await store.maintain(now + 90 * DAY + 1)
    assert await collector.sql("SELECT id FROM vantage") == [(HOME,)]


# Confirming


async def test_confirming_reaches_the_settings_at_once_and_forgetting_takes_it_back(collector: Collector) -> None:
    agent, other = await collector.agent(), await collector.agent("phen")
    await came(agent)
    before = await settings(agent)
    elsewhere = await settings(other)
    assert before.vantages == []
    done = await command(collector, "confirm", "na-yung", HOME)
    assert (done.exit_code, done.stderr) == (0, "")
    confirmed = await settings(agent)
    assert confirmed.vantages == [HOME]
    assert confirmed.revision != before.revision
    assert (await agent.post()).json["settings"] == confirmed.revision
    assert await settings(other) == elsewhere
    assert (await command(collector, "forget", "na-yung", HOME)).stdout == f"{HOME}: forgotten for na-yung (-)\n"
    assert await settings(agent) == before


async def test_learning_and_late_data_never_confirm_nor_undo_it(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent)
    await command(collector, "confirm", "na-yung", HOME)
    collector.now.forward(7200)
    await came(agent, AWAY)
    await came(agent, HOME, ago=HOUR)
    assert (await settings(agent)).vantages == [HOME]


async def test_what_was_confirmed_holds_after_a_restart(tmp_path: Path) -> None:
    async with collecting(tmp_path) as before:
        agent = await before.agent()
        await came(agent)
        await command(before, "confirm", "na-yung", HOME)
        now = before.now
    async with collecting(tmp_path, now=now) as after:
        agent.collector = after
        assert (await settings(agent)).vantages == [HOME]


async def test_who_confirmed_and_forgot_is_in_the_audit(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent)
    await command(collector, "confirm", "na-yung", HOME)
    await command(collector, "forget", "na-yung", HOME)
    rows = await collector.sql("SELECT who, what, detail FROM audit WHERE what LIKE 'vantage%' ORDER BY id")
    assert [row[1:] for row in rows] == [
        ("vantage confirmed", f"site na-yung link - vantage {HOME}"),
        ("vantage forgotten", f"site na-yung link - vantage {HOME}, confirmed"),
    ]
    assert all(row[0].startswith("command by ") for row in rows)


async def test_the_list_is_for_people_and_programs(collector: Collector) -> None:
    agent = await collector.agent(link="fibre")
    assert (await command(collector, "list")).stdout == "none\n"
    await came(agent)
    plain = (await command(collector, "list", "na-yung")).stdout
    assert plain.startswith(f"  na-yung fibre {HOME}  cable eth0  seen 2")
    assert plain.endswith("Z  not confirmed\n")
    await command(collector, "confirm", "na-yung", HOME)
    assert (await command(collector, "list")).stdout.startswith(f"* na-yung fibre {HOME}")
    [row] = json.loads((await command(collector, "list", "--json")).stdout)
    assert (row["vantage"], row["facts"], row["agent"]) == (HOME, FACTS, agent.joined.agent)
    assert row["confirmed"].endswith("Z")
    assert row["who"].startswith("command by ")


async def test_an_unknown_site_or_id_is_refused_with_what_there_is(collector: Collector) -> None:
    agent = await collector.agent(link="fibre")

    async def refused(*arguments: str) -> str:
        result = await command(collector, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        return result.stderr.strip()

    assert await refused("confirm", "na-yung", HOME) == (
        f"vantage: found '{HOME}', expected one known at na-yung: none yet;"
        " one is learned when an agent of the site reports"
    )
    await came(agent)
    for word in ("confirm", "forget"):
        assert await refused(word, "na-yung", AWAY) == (
            f"vantage: found '{AWAY}', expected one known at na-yung: {HOME} (fibre)"
        )
        assert (await refused(word, "bangkok", HOME)).startswith("site: found 'bangkok', expected one of hall, ")
    assert await refused("confirm", "na-yung", HOME, "--link", "copper") == (
        f"vantage: found '{HOME}', expected one known at na-yung (copper): {HOME} (fibre)"
    )
    assert (await refused("list", "bangkok")).startswith("site: found 'bangkok', expected one of hall, ")
    assert (await command(collector, "confirm")).exit_code == 2


async def test_one_place_seen_by_box_and_notebook_is_confirmed_for_each(collector: Collector) -> None:
    box, notebook = await collector.agent(link="fibre"), await collector.agent(role=Role.ROOM)
    await came(box)
    await came(notebook)
    result = await command(collector, "confirm", "na-yung", HOME)
    assert (result.exit_code, result.stderr) == (
        1,
        f"vantage: {HOME} is known at several places of na-yung, say which one with --link: -, fibre\n",
    )
    assert "phrom-collector vantage confirm na-yung 0badcafe --link fibre" in await page(collector)
    await command(collector, "confirm", "na-yung", HOME, "--link", "-")
    assert ((await settings(box)).vantages, (await settings(notebook)).vantages) == ([], [HOME])
    await command(collector, "confirm", "na-yung", HOME, "--link", "fibre")
    assert (await settings(box)).vantages == [HOME]


# The page


async def test_the_page_says_what_is_known_and_how_to_confirm_it(collector: Collector) -> None:
    agent = await collector.agent()
    assert "vantage confirm" not in await page(collector)
    await came(agent)
    await measured(agent, HOME)
    thai, english = await page(collector), await page(collector, "en")
    assert f"<dt>จุดเชื่อมต่อ</dt><dd>สายเครือข่าย · {HOME} · ยังไม่ได้ยืนยัน พบครั้งแรก " in thai
    assert "ขณะนี้เครื่องวัดอยู่ที่จุดนี้" in thai
    assert "ยังไม่มีผู้ยืนยันจุดเชื่อมต่อที่ใช้วัดหน่วยนี้" in thai
    assert f"<code>phrom-collector vantage confirm na-yung {HOME}</code>" in thai
    assert f"network cable · {HOME} · not confirmed, first seen " in english
    await command(collector, "confirm", "na-yung", HOME)
    confirmed = await page(collector)
    assert f"{HOME} · ยืนยันแล้วตั้งแต่ " in confirmed
    assert "vantage confirm" not in confirmed


async def test_the_page_says_when_an_agent_stands_elsewhere(collector: Collector) -> None:
    agent = await collector.agent()
    await came(agent)
    await command(collector, "confirm", "na-yung", HOME)
    await came(agent, AWAY, facts=FACTS | {"medium": "wifi"})
    await measured(agent, AWAY, outcome=Outcome.SKIPPED, reason=Reason.NOT_ON_THIS_LINK, counts={}, durations={})
    found = await page(collector)
    assert "ขณะนี้เครื่องวัดอยู่ที่จุดเชื่อมต่อซึ่งยังไม่ได้ยืนยันสำหรับหน่วยนี้" in found
    assert f"<code>phrom-collector vantage confirm na-yung {AWAY}</code>" in found
    collector.now.forward(20)
    assert "vantage confirm" not in await page(collector), "a silent agent stands nowhere now"
    await agent.post()
    assert "vantage confirm" in await page(collector)
    collector.now.forward(3600)
    await agent.post()
    assert "vantage confirm" not in await page(collector), "nor does one that measured nothing of late"


# The whole way


def run(told: AgentSettings, identity: str) -> list[Window]:
    """What the real runner records of the router's echo while it stands somewhere, in warped time."""

    class Fine:
        """Finds every target well."""

        Settings = type("Settings", (msgspec.Struct,), {"__annotations__": {"host": str, "interval": float}})

        async def measure(self, _target: Target, span: Span) -> Finding:
            await asyncio.sleep(span.seconds)
            return ok(counts={"sent": 60, "lost": 0})

    async def story() -> list[Window]:
        clock = WarpClock(asyncio.get_running_loop())
        kept, directory = Kept(), Directory()
        directory.learn({"gateway": "192.0.2.1"})
        runner = Runner(clock, Timekeeper(clock), kept, directory)
        runner.stand(Stand(identity, "eth0", Medium.CABLE, "192.0.2.1", "02:00:00:00:00:01", "f" * 16, None, ""))
        runner.apply(
            msgspec.structs.replace(told, assignments=[one for one in told.assignments if one.name == "icmp:gateway"])
        )
        running = asyncio.create_task(runner.run())
        await asyncio.sleep(130)
        await runner.stop()
        await running
        return kept.windows

    before = dict(registry.PROBES)
    try:
        registry.PROBES.pop("icmp", None)
        probe("icmp", load=Load.TRICKLE, costs="nothing", every=60.0, window=60.0)(Fine)
        return warp(story())
    finally:
        registry.PROBES.clear()
        registry.PROBES.update(before)


async def test_from_elsewhere_nothing_is_measured_and_the_site_is_never_green(collector: Collector) -> None:
    agent = await collector.agent(link="fibre")
    await came(agent)
    await command(collector, "confirm", "na-yung", HOME)
    told = await settings(agent)

    async def delivered(identity: str) -> State:
        """Runs the agent and delivers what it recorded last; the state of what was measured."""
        collector.now.forward(60)
        last = (await asyncio.to_thread(run, told, identity))[-1]
        at = collector.now.boottime
        moved = msgspec.structs.replace(last, boot=BOOT, start=at - MINUTE, end=at)
        await agent.post(agent.chain.seal(moved))
        [seen] = collector.services.picture.site("na-yung", collector.now()).series
        assert (seen.window.vantage, seen.window.settings) == (identity, told.revision)
        return collector.services.picture.site("na-yung", collector.now()).state

    assert await delivered(HOME) is State.OK
    assert await delivered(AWAY) is State.UNKNOWN
    [seen] = collector.services.picture.site("na-yung", collector.now()).series
    assert (seen.window.outcome, seen.window.reason) == (Outcome.SKIPPED, Reason.NOT_ON_THIS_LINK)
    assert (await collector.ask("GET", "/api/v1/sites/na-yung")).json["state"] == "unknown"
    assert "router of the site, Round-trip time: not measured on this link" in await page(collector, "en")
    await command(collector, "forget", "na-yung", HOME)
    told = await settings(agent)
    assert await delivered(AWAY) is State.OK, "while nothing is confirmed, nothing is skipped"

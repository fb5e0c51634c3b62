"""The doctor: what it finds on healthy and on sick machines, in both languages."""

import asyncio
import re
import string
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.doctor import Check, disk, examine, healthy, name, state_folder, vantage
from agent.doctor_words import WORDS, say
from agent.settings import OwnSettings
from agent.state import Identity, State
from agent.vantage import Medium, Vantage
from tests.support.fake_collector import TOKEN, Behaviour, FakeCollector
from wire.clock import HOUR
from wire.settings import AgentSettings, Role

HOME = Vantage("aaaaaaaa", "eth0", Medium.CABLE, "192.0.2.1", "", "", None, "")


@pytest.fixture
async def collector() -> AsyncIterator[FakeCollector]:
    async with FakeCollector(await asyncio.to_thread(SystemClock)) as found:
        yield found


async def states(collector: FakeCollector, folder: Path, token: str = TOKEN) -> dict[str, Check]:
    who = Identity(url=collector.url, agent="a1", token=token, province="udon-thani", site="na-yung")
    await asyncio.to_thread(State(folder).keep_identity, who)
    return {one.name: one for one in await examine(OwnSettings(state=str(folder)))}


async def test_a_machine_that_has_joined(collector: FakeCollector, tmp_path: Path) -> None:
    found = await states(collector, tmp_path)
    assert list(found) == ["state", "disk", "icmp", "vantage", "joined", "name", "collector", "token", "clock"]
    assert {
        key: found[key].state for key in ("state", "joined", "name", "collector", "token", "clock")
    } == dict.fromkeys(("state", "joined", "name", "collector", "token", "clock"), "ok")
    assert found["joined"].text("en") == f"site na-yung at {collector.url}"
    assert found["name"].text("en") == "the collector is reached by its address"
    assert not any(TOKEN in one.text(language) for one in found.values() for language in ("th", "en"))
    assert collector.ledger == {}, "the doctor's heartbeat carries no records"


async def test_a_revoked_token(collector: FakeCollector, tmp_path: Path) -> None:
    found = await states(collector, tmp_path, "pha_" + "x" * 43)
    assert (found["collector"].state, found["token"].state, found["clock"].state) == ("ok", "bad", "unknown")
    assert found["collector"].text("en") == "answered, and refused this machine's token"
    assert found["collector"].text("th") == "ตอบแล้ว แต่ไม่รับสิทธิ์ส่งข้อมูลของเครื่องนี้"
    assert "ask the province for a new code" in found["token"].text("en")
    assert not healthy(list(found.values()))


async def test_a_captive_portal_is_no_collector(collector: FakeCollector, tmp_path: Path) -> None:
    collector.always = Behaviour.NOT_JSON
    found = await states(collector, tmp_path)
    assert (found["collector"].state, found["token"].state) == ("bad", "unknown")


async def test_a_collector_that_is_not_there(collector: FakeCollector, tmp_path: Path) -> None:
    await collector.stop()
    found = await states(collector, tmp_path)
    assert found["collector"].state == "bad"
    assert str(collector.port) in found["collector"].text("en")


async def test_a_clock_that_is_an_hour_off(tmp_path: Path) -> None:
    async with FakeCollector(await asyncio.to_thread(SystemClock), offset=HOUR) as ahead:
        clock = (await states(ahead, tmp_path))["clock"]
    assert clock.state == "warn"
    assert re.match(r"-3600 s off the collector \(records are corrected for it\): turn on", clock.text("en"))


async def test_a_name_that_does_not_resolve() -> None:
    found = await name("https://no-such-host.invalid:8480")
    assert found.state == "bad"
    assert found.text("en").startswith("no-such-host.invalid cannot be resolved (")
    assert (await name("")).state == "unknown"
    assert (await name("http://localhost:1")).state == "ok"


def test_a_state_folder_that_cannot_be_made() -> None:
    found = state_folder(Path("/proc/phrom"))
    assert found.state == "bad"
    assert found.text("en").startswith("/proc/phrom: ")


def test_a_full_disk(tmp_path: Path) -> None:
    found = disk(tmp_path / "not" / "there", lambda _: (10**9, 10**9, 10**6))
    assert (found.state, found.text("en")) == (
        "warn",
        "only 1 MB free, expected 210 MB for days without the collector: free space or lower spool.size",
    )
    assert disk(tmp_path, lambda _: (10**9, 0, 10**9)).state == "ok"


@pytest.mark.parametrize(
    ("standing", "settings", "state", "words"),
    [
        (None, AgentSettings(), "bad", "vantage_none"),
        (HOME, AgentSettings(), "ok", "vantage_fine"),
        (HOME, AgentSettings(vantages=["bbbbbbbb"]), "bad", "vantage_elsewhere"),
        (HOME, AgentSettings(vantages=["aaaaaaaa"]), "ok", "vantage_fine"),
        (HOME._replace(medium=Medium.WIFI), AgentSettings(role=Role.LINK), "warn", "vantage_wifi"),
        (HOME._replace(medium=Medium.WIFI), AgentSettings(role=Role.ROOM), "ok", "vantage_fine"),
    ],
)
def test_where_it_stands(standing: Vantage | None, settings: AgentSettings, state: str, words: str) -> None:
    found = vantage(standing, settings)
    assert (found.state, found.words) == (state, words)


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_say_the_same_things(key: str) -> None:
    thai, english = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in WORDS[key])
    assert thai <= english | {"id"}
    assert say(key, "th", dict.fromkeys(thai, "x"))
    assert say(key, "en", dict.fromkeys(english, "x"))

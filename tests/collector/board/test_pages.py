"""The board over HTTP: what an agent delivered is what a person reads, in Thai unless asked otherwise."""

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.collecting import Agent, Collector, collecting
from tests.support.store import window
from wire.clock import MINUTE
from wire.reasons import Outcome, Reason


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    async with collecting(tmp_path) as made:
        yield made


async def saw(agent: Agent, outcome: Outcome = Outcome.OK, reason: Reason | None = None) -> None:
    """The agent measured until now and delivered it."""
    one = window(agent.collector.now.boottime, outcome=outcome, reason=reason)
    answer = await agent.post(agent.chain.seal(one))
    assert answer.status == 200, answer.body
    assert answer.json["batches"][0]["status"] == "stored", answer.body


async def text(collector: Collector, path: str) -> str:
    answer = await collector.ask("GET", path)
    assert answer.status == 200, answer.body
    return answer.body.decode()


class Links(HTMLParser):
    """Every address that a page would make a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href", "hx-get") and value and tag != "a"]


async def test_every_district_stands_on_the_first_board_without_an_agent(collector):
    page = await text(collector, "/")
    assert '<html lang="th">' in page
    assert page.count("ยังไม่มีเครื่องวัด</span>") == 21
    assert "อำเภอนายูง" in page
    assert "<b>0</b> ปกติ" in page


async def test_what_fails_is_named_with_its_beginning_in_both_languages(collector):
    agent = await collector.agent()
    await saw(agent)
    collector.now.forward(60)
    await saw(agent, Outcome.FAILED, Reason.NO_REPLY)
    thai, english = await text(collector, "/"), await text(collector, "/?lang=en")
    assert "เราเตอร์ของหน่วย, เวลาไป–กลับ: ไม่ตอบกลับ ตั้งแต่" in thai
    assert "router of the site, Round-trip time: does not reply, since" in english
    assert "Na Yung" in english
    assert '<tr class="site failing">' in thai


async def test_a_silent_agent_turns_its_site_silent_after_twelve_seconds(collector):
    agent = await collector.agent()
    await saw(agent)
    collector.now.forward(13)
    page = await text(collector, "/fragments/board")
    assert '<tr class="site silent">' in page
    assert "ขาดการติดต่อ ยังไม่ทราบสาเหตุ" in page


async def test_a_site_page_shows_each_series_with_its_day_in_words_and_as_a_chart(collector):
    agent = await collector.agent()
    await saw(agent)
    page = await text(collector, "/sites/na-yung")
    assert "ค่ากลาง 21.0 ms" in page
    assert "EXAMPLE" in page, "the circuit of the example is plainly an example"
    chart = next(one for one in links(page) if "day.svg" in one)
    answer = await collector.ask("GET", chart)
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    svg = ET.fromstring(answer.body)
    assert [one.get("class") for one in svg.iter("{http://www.w3.org/2000/svg}rect")] == ["ok"]


async def test_a_restart_forgets_neither_a_fault_nor_its_beginning_nor_a_silent_site(tmp_path):
    async with collecting(tmp_path) as before:
        agent = await before.agent()
        for outcome in (Outcome.OK, Outcome.FAILED, Outcome.FAILED, Outcome.FAILED):
            reason = Reason.NO_REPLY if outcome is Outcome.FAILED else None
            await saw(agent, outcome, reason)
            before.now.forward(60)
        now = before.now
        began = now() - 4 * MINUTE
    async with collecting(tmp_path, now=now) as after:
        found = (await after.ask("GET", "/api/v1/sites/na-yung")).json
        assert found["state"] == "silent"
        assert found["series"][0]["outcome"] == "failed"
        assert found["series"][0]["since"] == began / 1e6
        await agent_again(after, agent).post()
        assert (await after.ask("GET", "/api/v1/sites/na-yung")).json["state"] == "failing"


def agent_again(collector: Collector, agent: Agent) -> Agent:
    agent.collector = collector
    return agent


def links(page: str) -> list[str]:
    parser = Links()
    parser.feed(page)
    return parser.found


async def test_pages_fetch_nothing_from_anywhere_else_and_everything_they_name_is_there(collector):
    agent = await collector.agent()
    await saw(agent)
    for path in ("/", "/sites/na-yung"):
        for link in links(await text(collector, path)):
            assert link.startswith("/"), link
            assert (await collector.ask("GET", link)).status == 200, link
    style = await text(collector, "/static/board.css")
    for font in ("thai-400", "thai-700", "latin-400", "latin-700"):
        assert f"fonts/sarabun-{font}-normal.woff2" in style
        assert (await collector.ask("GET", f"/static/fonts/sarabun-{font}-normal.woff2")).status == 200


@pytest.mark.parametrize("path", ["/sites/nowhere", "/fragments/sites/nowhere", "/sites/na-yung%2F..%2F.."])
async def test_a_site_that_does_not_exist_is_not_found(collector, path):
    assert (await collector.ask("GET", path)).status == 404


@pytest.mark.parametrize("name", ["../pages.py", "%2e%2e/render.py", "fonts", "fonts/", "board.css.map", "x"])
async def test_static_files_are_looked_up_and_never_walked_to(collector, name):
    assert (await collector.ask("GET", f"/static/{name}")).status == 404


async def test_an_unknown_language_is_thai_and_a_known_one_is_remembered(collector):
    assert '<html lang="th">' in await text(collector, "/?lang=xx")
    answer = await collector.ask("GET", "/?lang=en")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("phrom-language=en") and "HttpOnly" in cookie and "SameSite=Strict" in cookie


async def test_two_live_agents_of_one_link_are_shown_with_what_to_do(collector):
    one, other = await collector.agent(), await collector.agent()
    for agent in (one, other):
        await saw(agent)
    assert "มีเครื่องวัดสองเครื่องรายงานแทนจุดเดียวกัน" in await text(collector, "/")
    page = await text(collector, "/sites/na-yung")
    for agent in (one, other):
        assert f"phrom-collector agent retire {agent.joined.agent}" in page


async def test_names_from_agents_are_escaped(collector):
    agent = await collector.agent()
    one = window(collector.now.boottime, target="a", facts={"x": "<script>alert(1)</script>"})
    await agent.post(agent.chain.seal(one))
    assert "<script>alert" not in await text(collector, "/sites/na-yung")


async def test_the_api_tells_what_keeps_a_site_from_being_confirmed(collector):
    agent = await collector.agent()
    await saw(agent)
    found = (await collector.ask("GET", "/api/v1/sites/na-yung")).json
    assert found["state"] == "unknown"
    assert {"doubt": "not_measured_yet", "probe": "icmp", "target": "edge"} in found["doubts"]
    listed = (await collector.ask("GET", "/api/v1/sites")).json
    assert len(listed["sites"]) == 21
    assert {one["state"] for one in listed["sites"]} == {"no_agent", "unknown"}


async def test_the_api_names_a_site_that_it_does_not_know(collector):
    answer = await collector.ask("GET", "/api/v1/sites/nowhere")
    assert answer.problem["field"] == "site"
    assert answer.problem["detail"] == "found 'nowhere', expected a site of the inventory"

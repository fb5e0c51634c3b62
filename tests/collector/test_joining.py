"""Join codes, tokens and the two agents of one place."""

import asyncio
from pathlib import Path

import pytest

from collector import credentials
from collector.gate import Scope
from collector.serve import read_tokens
from collector.settings import Limits
from collector.store import CannotWrite
from collector.tls import pin_of
from tests.support.collecting import Agent, Collector, collecting
from wire.settings import Role

JOIN = "/api/v1/join"
MANY = Limits(join_attempts_per_minute=600)


async def test_a_link_code_is_used_once(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        code = await collector.code("na-yung", Role.LINK, "fibre")
        joined = (await collector.join(code)).json
        assert joined["token"].startswith("pha_")
        assert len(joined["token"]) == 47
        del joined["token"], joined["agent"]
        assert joined == {"province": "udon-thani", "site": "na-yung", "link": "fibre", "role": "link"}
        again = await collector.join(code)
        assert again.status == 403
        assert again.problem["detail"] == (
            "the code was used already, and a link code is used once; make a new one: phrom-collector enrol"
        )
        assert again.problem["field"] == "code"
        assert collector.services.tally.joins == {"joined": 1, "refused": 1}


async def test_a_room_code_is_reusable_until_it_is_revoked_and_opens_the_room_alone(tmp_path: Path) -> None:
    async with collecting(tmp_path, limits=MANY) as collector:
        code = await collector.code("na-yung", Role.ROOM)
        joined = [(await collector.join(code)).json for _ in range(3)]
        assert {one["role"] for one in joined} == {"room"}
        assert len({one["agent"] for one in joined}) == 3
        at = collector.now()
        number = await collector.services.store.write(
            lambda connection: credentials.revoke_codes(connection, at, "na-yung", Role.ROOM, who="test")
        )
        # the code was used, and is none the less open
        assert number == 1
        assert (await collector.join(code)).problem["detail"].startswith("the code was revoked;")


async def test_a_link_code_that_nobody_used_expires(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        code = await collector.code()
        collector.now.forward(31 * 24 * 3600)
        assert (await collector.join(code)).problem["detail"].startswith("the code has expired;")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "the code is not complete: expected 16 letters and digits such as ABCD-EFGH-IJKL-MNOP"),
        ("ABCD-EFGH-IJKL-MNO1", "the code is not complete"),
        ("ABCD-EFGH-IJKL-MNOP", "the code is unknown: check it letter by letter"),
    ],
)
async def test_a_code_that_opens_nothing_says_why_and_is_not_repeated(tmp_path: Path, code: str, words: str) -> None:
    async with collecting(tmp_path) as collector:
        refused = await collector.join(code)
        assert refused.status == 403
        assert words in refused.problem["detail"]
        assert not code or code not in refused.body.decode().replace("such as ABCD-EFGH-IJKL-MNOP", "")


async def test_a_code_is_read_as_people_type_it(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        code = await collector.code()
        assert (await collector.join(f"  {code.lower().replace('-', ' ')} ")).status == 200


async def test_guessing_codes_is_slowed_per_address(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        code = await collector.code()
        statuses = [(await collector.join(credentials.new_code_secret())).status for _ in range(12)]
        assert statuses == [403] * 6 + [429] * 6
        limited = await collector.join(code)
        assert limited.problem["title"] == "Too many join attempts"
        assert 1 <= int(limited.headers["Retry-After"]) <= 10


async def test_many_rooms_may_join_behind_one_address(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        statuses = [(await collector.join(await collector.code(role=Role.ROOM))).status for _ in range(12)]
        assert statuses == [200] * 12


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{}", {"Content-Type": "text/plain"}, 415, "expected application/json"),
        (b"{}", {}, 400, "Object missing required field `protocol`"),
        (b'{"protocol":"9.0","code":"x"}', {}, 426, "found '9.0', expected 1.x"),
        (b'{"protocol":"1.0","code":"' + b"x" * 20000 + b'"}', {}, 413, "expected at most 16384 bytes"),
    ],
)
async def test_what_is_no_join_request_is_refused(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    async with collecting(tmp_path) as collector:
        refused = await collector.ask("POST", JOIN, data=body, headers={"Content-Type": "application/json", **headers})
        assert refused.status == status
        assert words in refused.problem["detail"]


async def test_no_secret_is_stored_or_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with collecting(tmp_path) as collector:
        code = await collector.code()
        await collector.join("ABCD-EFGH-IJKL-MNOP")
        joined = (await collector.join(code)).json
    kept = await asyncio.to_thread(everything_in, tmp_path)
    told = capsys.readouterr()
    for secret in (code, joined["token"]):
        assert secret.encode() not in kept
        assert secret not in told.out + told.err
    assert credentials.hash_of(joined["token"]) in kept


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_two_tokens_are_valid_until_the_new_one_is_used(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        old = agent.token
        agent.token = await rotated(agent)
        unused = agent.token
        agent.token = old
        assert (await agent.post()).status == 200
        newer = await rotated(agent)  # the answer was lost: it asks again, and never are three valid
        agent.token = unused
        assert (await agent.post()).status == 401
        agent.token = newer
        assert (await agent.post()).status == 200
        agent.token = old
        refused = await agent.post()
        assert refused.status == 401
        assert refused.problem["detail"].startswith("the token is unknown, was revoked, or its agent was superseded")


async def test_a_first_use_that_a_full_disk_did_not_take_is_written_down_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_function: object) -> None:
        raise CannotWrite("database or disk is full")

    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        assert (await agent.get("/api/v1/settings")).status == 200
        old = agent.token
        agent.token = await rotated(agent)
        new = agent.token
        with monkeypatch.context() as broken:
            broken.setattr(collector.services.store, "write", full)
            assert (await agent.get("/api/v1/settings")).status == 200  # the token is good; only the note is missing
        agent.token = old
        assert (await agent.get("/api/v1/settings")).status == 200
        agent.token = new
        assert (await agent.get("/api/v1/settings")).status == 200
        agent.token = old
        assert (await agent.get("/api/v1/settings")).status == 401


async def rotated(agent: Agent) -> str:
    answer = await agent.collector.ask("POST", "/api/v1/token", headers={"Authorization": f"Bearer {agent.token}"})
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.json["token"])


async def test_a_token_revoked_by_another_process_ends_at_the_next_look(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        at = collector.now()
        await collector.services.store.write(
            lambda connection: credentials.retire(connection, at, agent.joined.agent, "by hand", who="test")
        )
        await collector.services.accounts.refresh()  # what the daemon does every second
        assert (await agent.post()).status == 401
        assert (await agent.get("/api/v1/settings")).problem["title"] == "Token not valid"


async def test_a_newcomer_supersedes_a_silent_agent(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        first = await collector.agent()
        await first.post()
        collector.now.forward(5 * 60)
        second = await collector.agent()
        assert (await first.post()).status == 401
        assert (await second.post()).status == 200
        assert await collector.services.accounts.conflicts() == []
        assert collector.services.tally.joins["superseded"] == 1
        [(why,)] = await collector.sql("SELECT retired_why FROM agent WHERE retired IS NOT NULL")
        assert why == f"superseded by {second.joined.agent}"


async def test_two_live_agents_are_a_conflict_that_is_shown(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        first = await collector.agent()
        await first.post()
        collector.now.forward(4 * 60)
        await first.post()
        collector.now.forward(4 * 60)
        second = await collector.agent()
        assert [(await one.post()).status for one in (first, second)] == [200, 200]
        [conflict] = await collector.services.accounts.conflicts()
        assert (conflict.site, set(conflict.agents)) == ("na-yung", {first.joined.agent, second.joined.agent})
        page = await collector.ask("GET", "/sites/na-yung")
        assert "มีเครื่องวัดสองเครื่องรายงานแทนจุดเดียวกัน" in page.body.decode()
        assert b"phrom_collector_rival_places 1.0" in (await collector.ask("GET", "/metrics")).body
        assert ("conflict",) in await collector.sql("SELECT what FROM audit")
        collector.now.forward(6 * 60)
        await second.post()
        assert await collector.services.accounts.conflicts() == []


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        (Role.LINK, Role.ROOM, False),
        (Role.LINK, Role.LINK, True),
        (Role.ROOM, Role.ROOM, True),
        (Role.BOTH, Role.ROOM, True),
        (Role.BOTH, Role.LINK, True),
        (Role.ROOM, Role.BOTH, True),
    ],
)
async def test_roles_that_cover_the_same_ground_collide(
    tmp_path: Path, first: Role, second: Role, collide: bool
) -> None:
    async with collecting(tmp_path) as collector:
        for role in (first, second):
            await (await collector.agent("na-yung", role, "" if role is Role.ROOM else "fibre")).post()
        other = await collector.agent("phen", second)
        await other.post()
        assert bool(await collector.services.accounts.conflicts()) is collide


async def test_an_agent_that_a_command_retired_leaves_the_picture_and_others_stay(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        gone, stays = await collector.agent(role=Role.ROOM), await collector.agent()
        await gone.post()
        await stays.post()
        at, services = collector.now(), collector.services
        await services.store.write(
            lambda connection: credentials.retire(connection, at, gone.joined.agent, "by hand", who="test")
        )
        await read_tokens(services)
        assert [one.source.agent for one in services.picture.site("na-yung", at).agents] == [stays.joined.agent]


async def test_the_codes_pin_is_that_of_the_ca_and_another_collectors_code_is_told(tmp_path: Path) -> None:
    async with collecting(tmp_path, tls="own") as collector:
        authority = collector.services.authority
        assert authority is not None
        assert authority.pin == pin_of(authority.certificate)
        assert len(authority.pin) == 26


async def test_settings_are_given_by_revision(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        first = await agent.get("/api/v1/settings")
        assert (first.status, first.json["site"], first.json["role"]) == (200, "na-yung", "link")
        tag = first.headers["ETag"]
        assert tag == f'"{first.json["revision"]}"'
        assert (await agent.post()).json["settings"] == first.json["revision"]
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            again = await agent.get("/api/v1/settings", **{"If-None-Match": known})
            assert (again.status, again.body) == (304, b"")
        assert (await agent.get("/api/v1/settings", **{"If-None-Match": '"other"'})).status == 200


async def test_a_place_that_left_the_inventory_is_said_and_its_data_is_kept(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("gone")
        missing = await agent.get("/api/v1/settings")
        assert missing.status == 404
        assert missing.problem["detail"].startswith("site: found 'gone', expected one of hall, ")
        assert "settings" not in (await agent.post()).json


async def test_a_machine_has_two_tokens_at_most(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        store, at = collector.services.store, collector.now()

        def add(connection: object) -> str:
            return credentials.add_machine(connection, at, "prom", ["scrape"], who="test")  # type: ignore[arg-type]

        tokens = [await store.write(add), await store.write(add)]
        with pytest.raises(credentials.BadToken, match="two tokens are valid already; revoke the older"):
            await store.write(add)
        with pytest.raises(credentials.BadToken, match="found write, expected one or more of scrape, read"):
            await store.write(lambda connection: credentials.add_machine(connection, at, "x", ["write"], who="test"))
        await revoke(collector, keep_newest=True)
        assert [await known(collector, one) for one in tokens] == [False, True]
        await revoke(collector, keep_newest=False)
        assert [await known(collector, one) for one in tokens] == [False, False]
        assert {scope.value for scope in Scope} == set(credentials.SCOPES)


async def revoke(collector: Collector, *, keep_newest: bool) -> None:
    at = collector.now()
    await collector.services.store.write(
        lambda connection: credentials.revoke_machine(connection, at, "prom", who="test", keep_newest=keep_newest)
    )
    await collector.services.accounts.refresh()


async def known(collector: Collector, token: str) -> bool:
    return await collector.services.accounts.principal(token) is not None

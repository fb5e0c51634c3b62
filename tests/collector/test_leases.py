"""``POST /api/v1/leases``: granted to agents alone, signed with the responder's key, refused with the cause."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.responder.keys import read_key
from collector.services import Services
from tests.support.collecting import Agent, Answer, collecting
from wire.clock import SECOND
from wire.lease import Grant, LeaseRequest, NoLease, Purpose, key_of, read

PATH = "/api/v1/leases"


async def ask(agent: Agent, purpose: Purpose = Purpose.STAMP, **more: Any) -> Answer:
    body = msgspec.json.encode(LeaseRequest(purpose=purpose, **more))
    return await agent.collector.ask("POST", PATH, data=body, headers=agent.headers)


async def test_a_grant_is_signed_with_the_responders_own_key(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        answer = await ask(agent)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        grant = msgspec.json.decode(answer.body, type=Grant)
        secret = await asyncio.to_thread(read_key, tmp_path / "responders" / "hall.key")
        now = collector.now()
        assert read(grant.token, secret, now) == grant.lease
        assert bytes.fromhex(grant.key) == key_of(grant.lease.id, secret)
        assert (grant.lease.site, grant.lease.link, grant.lease.responder) == ("na-yung", "fibre", "hall")
        assert (await ask(agent)).json["lease"]["id"] != grant.lease.id
        assert collector.services.tally.leases == {"stamp": 2}


async def test_no_answer_and_no_log_holds_the_responders_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        granted = await ask(agent)
        secret = await asyncio.to_thread(read_key, tmp_path / "responders" / "hall.key")
        assert secret.hex().encode() not in granted.body
        told = capsys.readouterr()
        assert granted.json["key"] not in told.err + told.out


async def test_the_collectors_no_names_its_cause(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        for purpose, responder, field in (
            (Purpose.THROUGHPUT, "", "no_slot"),
            (Purpose.STAMP, "core", "no_responder"),
        ):
            problem = (await ask(agent, purpose, responder=responder, slot="none")).problem
            assert (problem["status"], problem["title"], problem["field"]) == (409, "No lease now", field)
        hall = await collector.agent("hall", link="fibre")
        assert (await ask(hall)).problem["field"] == "no_responder"
        assert collector.services.tally.leases == {"no_slot": 1, "no_responder": 2}


async def test_whoever_stands_elsewhere_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = "c0ffee00c0ffee00"

    seen: dict[tuple[str, str], tuple[str, int]] = {}

    def standing(_picture: Any, _now: int) -> dict[tuple[str, str], tuple[str, int]]:
        return seen

    monkeypatch.setattr("collector.leases.standing", standing)
    async with collecting(tmp_path) as collector:
        agent = await collector.agent("na-yung", link="fibre")
        seen[("fibre", here)] = (agent.joined.agent, 1)
        assert (await ask(agent)).status == 200  # nothing is confirmed: nothing is held back
        services = collector.services
        services.vantages._confirmed = {("na-yung", "fibre"): ("beef0000beef0000",)}
        seen[("fibre", here)] = ("somebody else", 1)
        assert (await ask(agent)).status == 200  # where this agent stands is not known
        seen[("fibre", here)] = (agent.joined.agent, 1)
        answer = await ask(agent)
        assert (answer.status, answer.problem["field"], answer.headers["Retry-After"]) == (
            409,
            "not_on_this_link",
            "60",
        )
        assert answer.problem["detail"] == f"the agent stands at {here}, which is not confirmed for na-yung fibre"
        services.vantages._confirmed = {("na-yung", "fibre"): ("beef0000beef0000", here)}
        assert (await ask(agent)).status == 200


async def test_a_responder_that_is_known_not_to_run_is_not_lent(tmp_path: Path) -> None:
    class Silent:
        name, report = "hall", None

        def silent(self, responder: str) -> bool:
            return responder == "hall"

    def patch(services: Services) -> None:
        services.beside = Silent()  # type: ignore[assignment]

    async with collecting(tmp_path, patch=patch) as collector:
        answer = await ask(await collector.agent())
        assert (answer.status, answer.problem["field"], answer.headers["Retry-After"]) == (409, "no_responder", "30")
        assert "phrom_responder_up" in str((await collector.ask("GET", "/metrics")).body)


def damage(file: Path) -> None:
    file.parent.mkdir(mode=0o700)
    file.write_bytes(b"short")
    file.chmod(0o600)


async def test_nonsense_is_told_and_a_bad_key_file_is_the_collectors_own_trouble(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        for body in (b"{}", b"[", b'{"purpose":"war"}', b'{"purpose":"stamp","responder":"' + b"x" * 65 + b'"}'):
            answer = await collector.ask("POST", PATH, data=body, headers=agent.headers)
            assert (answer.status, answer.problem["field"]) == (400, "body")
        await asyncio.to_thread(damage, tmp_path / "responders" / "hall.key")
        answer = await ask(agent)
        assert (answer.status, answer.problem["detail"]) == (503, "the collector's log says why")


async def test_slots_judge_throughput(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collector.lending import NotNow
    from tests.support.lending import lease

    class Slots:
        def judge(self, source: Any, request: LeaseRequest, now: int) -> Any:
            if request.slot != "s1":
                raise NotNow(NoLease.BUDGET_SPENT, "enough for this month", 3600)
            return lease(site=source.site, link=source.link, issued=now, expires=now + 60 * SECOND)

    async with collecting(tmp_path) as collector:
        monkeypatch.setattr(collector.services, "slots", Slots(), raising=False)
        agent = await collector.agent("na-yung", link="fibre")
        no = await ask(agent, Purpose.THROUGHPUT)
        assert (no.problem["field"], no.problem["detail"]) == ("budget_spent", "enough for this month")
        assert no.headers["Retry-After"] == "3600"
        yes = await ask(agent, Purpose.THROUGHPUT, slot="s1")
        assert (yes.status, yes.json["lease"]["purpose"]) == (200, "throughput")

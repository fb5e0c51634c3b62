"""Leases as an agent borrows them: granted, refused for a reason, or not to be had because nobody could be asked."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from agent.connection import Connection
from agent.leases import REASONS, CollectorLeases
from agent.probe import LeaseRefused
from tests.support.clock import FakeClock
from wire.clock import SECOND
from wire.lease import Lease, LeaseRequest, NoLease, Purpose, grant
from wire.reasons import Reason
from wire.settings import Problem

LEASE = Lease(id="0" * 16, purpose=Purpose.CALL, responder="hall", site="na-yung", issued=0, expires=60 * SECOND)
GRANT = grant(LEASE, b"s" * 32)


class Lender:
    """Answers every request for a lease alike."""

    def __init__(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.answer = (status, body, kind, headers)
        self.asked: list[tuple[str, LeaseRequest]] = []

    async def lend(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=LeaseRequest)
        self.asked.append((request.headers["Authorization"], body))
        status, content, kind, headers = self.answer
        return web.Response(status=status, body=content, content_type=kind, headers=headers)


@contextlib.asynccontextmanager
async def lender(
    status: int, body: Any, kind: str = "application/json", **headers: str
) -> AsyncIterator[tuple[Lender, CollectorLeases]]:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    made = Lender(status, content, kind, {name.replace("_", "-"): value for name, value in headers.items()})
    app = web.Application()
    app.router.add_post("/api/v1/leases", made.lend)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Connection(url, FakeClock(), token="pha_secret") as connection:
        yield made, CollectorLeases(lambda: connection)
    await runner.cleanup()


async def refusal(leases: CollectorLeases) -> LeaseRefused:
    with pytest.raises(LeaseRefused) as refused:
        await leases.borrow(Purpose.CALL)
    return refused.value


async def test_what_is_asked_arrives_and_the_grant_comes_back() -> None:
    async with lender(200, GRANT) as (made, leases):
        found = await leases.borrow(Purpose.CALL, "hall", slot="s1", profile="zoom")
        assert found == GRANT
        request = LeaseRequest(purpose=Purpose.CALL, responder="hall", slot="s1", profile="zoom")
        assert made.asked == [("Bearer pha_secret", request)]


@pytest.mark.parametrize("why", NoLease)
async def test_each_no_of_the_collector_is_a_reason_of_its_own(why: NoLease) -> None:
    problem = Problem(title="No lease now", status=409, detail="because", field=why.value)
    async with lender(409, problem, "application/problem+json", Retry_After="90") as (_, leases):
        refused = await refusal(leases)
        assert (refused.reason, refused.detail, refused.retry_after) == (REASONS[why], "because", 90)
        expected = Reason.NO_LEASE if why is NoLease.UNRECOGNISED else Reason(why.value)
        assert refused.reason is expected


async def test_a_cause_of_a_newer_collector_is_a_no_all_the_same() -> None:
    problem = Problem(title="No lease now", status=409, detail="the moon", field="wrong_moon")
    async with lender(409, problem, "application/problem+json") as (_, leases):
        refused = await refusal(leases)
        assert (refused.reason, refused.detail, refused.retry_after) == (Reason.NO_LEASE, "the moon", 0)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (200, b"<html>", "text/html", "answered 200 without a lease"),
        (409, b"<html>", "text/html", "expected a collector of Phrom"),
        (404, Problem(title="Not Found", status=404), "application/problem+json", "answered 404: Not Found"),
        (401, Problem(title="Token not valid", status=401), "application/problem+json", "Token not valid"),
        (503, Problem(title="Busy", status=503), "application/problem+json", "answered 503: Busy"),
    ],
)
async def test_whoever_cannot_be_asked_gives_no_lease(status: int, body: Any, kind: str, words: str) -> None:
    async with lender(status, body, kind, Retry_After="7") as (_, leases):
        refused = await refusal(leases)
        assert refused.reason is Reason.NO_LEASE
        assert words in refused.detail
        assert refused.retry_after == (7 if status == 503 else 0)
        assert "pha_secret" not in refused.detail


async def test_nobody_there_and_not_joined_give_no_lease() -> None:
    async with Connection("http://127.0.0.1:1", FakeClock()) as connection:
        refused = await refusal(CollectorLeases(lambda: connection))
        assert refused.reason is Reason.NO_LEASE
    refused = await refusal(CollectorLeases(lambda: None))
    assert refused.detail == "this agent has not joined a collector, which alone grants leases"

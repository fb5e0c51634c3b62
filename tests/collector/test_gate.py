"""Every route declares its permission, and the gate holds to it."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.app import ROUTES, create_app
from collector.gate import PERSON, READ, client_of, host_of, is_loopback
from tests.support.chain import free_port
from tests.support.collecting import JSON, Collector, collecting

PERMISSIONS = {
    ("GET", "/"): "person",
    ("GET", "/api/v1/ca"): "anyone",
    ("GET", "/api/v1/openapi.json"): "anyone",
    ("GET", "/api/v1/settings"): "agent",
    ("GET", "/api/v1/outages"): "read",
    ("GET", "/api/v1/sites"): "read",
    ("GET", "/api/v1/sites/{site}"): "read",
    ("GET", "/api/v1/sites/{site}/links/{link}/history"): "read",
    ("GET", "/api/v1/slots"): "read",
    ("GET", "/fragments/board"): "person",
    ("GET", "/fragments/sites/{site}"): "person",
    ("GET", "/healthz"): "anyone",
    ("GET", "/metrics"): "scrape",
    ("GET", "/readyz"): "anyone",
    ("GET", "/sites/{site}"): "person",
    ("GET", "/sites/{site}/day.svg"): "person",
    ("GET", "/sites/{site}/links/{link}"): "person",
    ("GET", "/static/{name:[-a-z0-9./]+}"): "anyone",
    ("POST", "/api/v1/join"): "anyone",
    ("POST", "/api/v1/leases"): "agent",
    ("POST", "/api/v1/observations"): "agent",
    ("POST", "/api/v1/read"): "read",
    ("POST", "/api/v1/token"): "agent",
}
"""A new route must be written here too: that is the moment to think of who may use it."""


async def test_every_route_has_exactly_the_permission_written_here(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        app = create_app(collector.services)
        table = app[ROUTES]
        found = {(route.method, route.path): route.permission.name for route in table.values()}
        assert found == PERMISSIONS
        # nothing was added beside the table
        assert {id(route) for resource in app.router.resources() for route in resource} == {
            id(route) for route in table
        }


async def test_without_a_token_only_the_open_routes_answer_elsewhere(tmp_path: Path) -> None:
    """Asked by a name that is not loopback's: a person nowhere, and without a token nobody."""
    async with collecting(tmp_path) as collector:
        for (method, path), permission in PERMISSIONS.items():
            url = (
                path.replace("{site}", "na-yung").replace("{link}", "main").replace("{name:[-a-z0-9./]+}", "board.css")
            )
            answer = await collector.ask(method, url, headers={"Host": "phrom.example"})
            expected = {
                "anyone": (200, 400, 404, 415),
                "agent": (401,),
                "read": (401,),
                "scrape": (401,),
                "person": (403,),
            }
            assert answer.status in expected[permission], (method, path, answer.status)
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"] == 'Bearer realm="phrom"'


async def machine(collector: Collector, *scopes: str) -> dict[str, str]:
    """Headers of a machine with a new token."""
    from collector import credentials

    at = collector.now()
    token = await collector.services.store.write(
        lambda connection: credentials.add_machine(connection, at, "prometheus", list(scopes), who="test")
    )
    await collector.services.accounts.refresh()
    return {"Authorization": f"Bearer {token}", "Host": "phrom.example"}


async def test_a_machines_token_opens_its_scopes_and_nothing_else(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        scrape, read = await machine(collector, "scrape"), await machine(collector, "read")
        opened = {
            path: (
                (await collector.ask("GET", path, headers=scrape)).status,
                (await collector.ask("GET", path, headers=read)).status,
            )
            for path in ("/metrics", "/api/v1/sites", "/api/v1/settings", "/", "/sites/na-yung")
        }
        assert opened == {
            "/metrics": (200, 403),
            "/api/v1/sites": (403, 200),
            "/api/v1/settings": (403, 403),
            "/": (403, 403),
            "/sites/na-yung": (403, 403),
        }
        refused = (await collector.ask("GET", "/metrics", headers=read)).problem
        assert refused["detail"] == (
            "found a token of machine ['read'], expected a machine's token with the scope 'scrape' "
            "(phrom-collector token add)"
        )


async def test_an_agents_token_opens_no_machines_route(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        assert (await agent.get("/api/v1/settings")).status == 200
        for path in ("/metrics", "/api/v1/sites", "/"):
            assert (await agent.get(path)).status == 403, path


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Host": "evil.example:8480"}, "found the host 'evil.example'"),
        ({"Host": "127.0.0.1.evil.example"}, "found the host '127.0.0.1.evil.example'"),
        ({"Host": "[::ffff:10.0.0.1]:8480"}, "found the host '::ffff:10.0.0.1'"),
        ({"X-Forwarded-For": "127.0.0.1"}, "found the header X-Forwarded-For"),
        ({"Forwarded": "for=127.0.0.1"}, "found the header Forwarded"),
        ({"X-Real-IP": "127.0.0.1"}, "found the header X-Real-IP"),
        ({"Via": "1.1 proxy"}, "found the header Via"),
    ],
)
async def test_a_page_is_not_for_who_comes_by_another_name_or_was_forwarded(
    tmp_path: Path, headers: dict[str, str], why: str
) -> None:
    async with collecting(tmp_path) as collector:
        answer = await collector.ask("GET", "/", headers=headers)
        assert answer.status == 403
        assert why in answer.problem["detail"]
        # and a route that machines may use too asks for the token instead
        assert (await collector.ask("GET", "/api/v1/sites", headers=headers)).status == 401


@pytest.mark.parametrize("host", ["127.0.0.1:8480", "localhost", "LOCALHOST:8480", "[::1]:8480", "127.9.9.9"])
async def test_a_page_is_for_whoever_sits_at_the_machine(tmp_path: Path, host: str) -> None:
    async with collecting(tmp_path) as collector:
        assert (await collector.ask("GET", "/", headers={"Host": host})).status == 200
        assert (await collector.ask("HEAD", "/", headers={"Host": host})).status == 200


async def test_no_page_is_served_where_a_proxy_is_declared_but_agents_and_machines_are(tmp_path: Path) -> None:
    async with collecting(tmp_path, behind_tls_proxy=True) as collector:
        assert (await collector.ask("GET", "/")).status == 403
        assert (await collector.ask("GET", "/metrics")).status == 401
        agent = await collector.agent()
        assert (await agent.post()).status == 200
        assert (await collector.ask("GET", "/metrics", headers=await machine(collector, "scrape"))).status == 200
        assert (await collector.ask("GET", "/healthz")).status == 200


async def test_a_page_of_another_site_cannot_post_as_the_person(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        crossing = await collector.ask("POST", "/api/v1/read", headers={"Sec-Fetch-Site": "cross-site", **JSON})
        assert crossing.status == 401
        own = await collector.ask("POST", "/api/v1/read", headers={"Sec-Fetch-Site": "same-origin", **JSON})
        assert own.status == 415


async def test_a_wrong_scheme_or_an_unknown_token_is_told_apart(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        basic = await collector.ask("GET", "/metrics", headers={"Authorization": "Basic YTpi"})
        assert (basic.status, basic.problem["detail"]) == (401, "found the scheme 'Basic', expected Bearer and a token")
        unknown = await collector.ask("GET", "/metrics", headers={"Authorization": "Bearer phm_" + "x" * 43})
        assert (unknown.status, unknown.problem["title"]) == (401, "Token not valid")
        assert "xxx" not in unknown.body.decode()


async def test_a_token_has_its_rate(tmp_path: Path) -> None:
    from collector.settings import Limits

    async with collecting(tmp_path, limits=Limits(requests_per_second=1)) as collector:
        agent = await collector.agent()
        statuses = [(await agent.post()).status for _ in range(6)]
        assert statuses[:4] == [200] * 4  # the burst is four seconds' worth
        assert statuses[-1] == 429
        limited = await agent.post()
        assert limited.problem["title"] == "Too many requests"
        assert int(limited.headers["Retry-After"]) >= 1


async def test_what_is_not_there_is_a_problem_document_too(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        assert (await collector.ask("GET", "/nothing")).problem["status"] == 404
        wrong = await collector.ask("DELETE", "/api/v1/settings")
        assert (wrong.problem["status"], wrong.headers["Allow"]) == (405, "GET,HEAD")


async def test_bytes_that_are_no_token_and_no_http_are_refused_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with collecting(tmp_path) as collector:
        port = int(collector.url.rpartition(":")[2])
        answers = []
        for line in (b"Authorization: Bearer \xff\xfe", b"Authorization Bearer x", b"X: \x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"GET /api/v1/settings HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            writer.write(head + line + b"\r\n\r\n")
            answers.append((await reader.readline()).split()[1])
            writer.close()
            await writer.wait_closed()
    assert answers == [b"401", b"400", b"400"]
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err


async def test_a_handler_that_fails_tells_nothing_of_its_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the inside")

    async with collecting(tmp_path, patch=lambda services: setattr(services, "not_ready", fail)) as collector:
        answer = await collector.ask("GET", "/readyz")
        assert answer.problem == {
            "title": "Collector failed",
            "status": 500,
            "detail": "the collector's log says why; try again later",
        }
    told = capsys.readouterr()
    assert (told.out + told.err).count("request failed") == 1


@given(st.text(alphabet=st.sampled_from("127.0:[]@lochstA-_ \t%"), max_size=24))
def test_a_host_header_is_one_host_or_none(header: str) -> None:
    found = host_of(header)
    assert found == found.lower()
    assert not set(found) & set("@[] \t%")
    if found:
        assert header.lower().strip("[").startswith(found), "never a part of it that a browser would not have meant"


def test_hosts_and_addresses_are_read_as_browsers_write_them() -> None:
    assert [host_of(one) for one in ("a.example:80", "A.example", "[::1]:8480", "[::1]")] == [
        "a.example",
        "a.example",
        "::1",
        "::1",
    ]
    odd = ("", "::1", "[::1", "[::1]x", "[a]", "127.0.0.1:21480@evil", "127.0.0.1:", "127.0.0.1:70000", "a b", "a\n")
    assert [host_of(one) for one in odd] == [""] * len(odd)
    loopback = {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"}
    assert {one for one in (*loopback, "128.0.0.1", "::2", "localhost", "", "0.0.0.0") if is_loopback(one)} == loopback


def test_only_a_declared_proxy_is_believed_about_the_client() -> None:
    from aiohttp.test_utils import make_mocked_request

    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.5"})
    assert client_of(request, proxy_declared=True) == "203.0.113.5"
    assert client_of(request, proxy_declared=False) != "203.0.113.5"


def test_persons_and_readers_are_different_permissions() -> None:
    assert PERSON.scope is None
    assert READ.person


@pytest.mark.parametrize("behind_tls_proxy", [False, True])
async def test_with_a_port_for_people_a_relayed_stranger_sees_no_page(tmp_path: Path, behind_tls_proxy: bool) -> None:
    """What ssh -R relays comes from 127.0.0.1 with whatever Host the stranger writes: only the port tells."""
    port = free_port()
    async with collecting(tmp_path, people_port=port, behind_tls_proxy=behind_tls_proxy) as collector:
        relayed = await collector.ask("GET", "/", headers={"Host": "127.0.0.1:8480"})
        assert relayed.status == 403
        assert relayed.problem["detail"] == f"people's pages are served on http://127.0.0.1:{port} alone (people_port)"
        assert (await collector.ask("GET", "/api/v1/sites", headers={"Host": "127.0.0.1:8480"})).status == 401
        async with collector.session.get(f"http://127.0.0.1:{port}/") as page:
            assert page.status == 200
        async with collector.session.get(f"http://127.0.0.1:{port}/", headers={"Host": "phrom.example"}) as rebound:
            assert rebound.status == 403


async def test_a_browser_that_is_refused_gets_a_plain_page(tmp_path: Path) -> None:
    async with collecting(tmp_path, behind_tls_proxy=True) as collector:
        browser = {"Accept": "text/html,application/xhtml+xml", "Host": "phrom.example"}
        answer = await collector.ask("GET", "/", headers=browser)
        assert (answer.status, answer.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
        page = answer.body.decode()
        assert "หน้านี้เปิดได้เฉพาะที่เครื่องของระบบเท่านั้น" in page
        assert "until people can sign in" in page
        missing = await collector.ask("GET", "/<script>", headers=browser)
        assert (missing.status, missing.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert b"<script>" not in missing.body

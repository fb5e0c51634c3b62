"""The http probe against a web server that redirects, delays, lies, floods and breaks the protocol."""

import asyncio
import errno
import socket
import ssl

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from agent import trust
from agent.probes.http import MOST_REDIRECTS, Http, exchange
from agent.probes.http.captive import CONTROLS
from agent.probes.http.exchange import MOST_BODY
from agent.probes.http.places import place, plain
from agent.sites import expected, same_site, site_of
from tests.support.certificates import authority, client_context, leaf, server_context
from tests.support.measuring import measure, milliseconds
from tests.support.webserver import late_relay, page, raw_server, redirect, web_server
from wire.reasons import Outcome, Reason

ROOT = authority()
GENUINE = "<HTML><BODY>Success</BODY></HTML>"


async def test_a_page_with_the_time_of_each_step():
    async with web_server({"/": page()}) as server:
        found = await measure("http", url=server.url())
    assert found.outcome is Outcome.OK
    assert found.counts == {"status": 200, "redirects": 0}
    assert set(found.durations) == {"lookup", "connect", "first_byte", "whole"}
    assert found.facts == {"url": server.url(), "family": "ipv4"}
    steps = sum(milliseconds(found, name) for name in ("lookup", "connect", "first_byte"))
    assert steps <= milliseconds(found, "whole")


async def test_an_address_needs_no_lookup():
    async with web_server({"/": page()}) as server:
        found = await measure("http", url=server.url(host="127.0.0.1"))
    assert set(found.durations) == {"connect", "first_byte", "whole"}


async def test_a_slow_first_byte_and_a_slow_body_are_told_apart():
    async def slow_first(_request):
        await asyncio.sleep(0.05)
        return web.Response(text="late")

    async def slow_body(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"early")
        await asyncio.sleep(0.05)
        await response.write(b"late")
        return response

    async with web_server({"/first": slow_first, "/body": slow_body}) as server:
        first = await measure("http", url=server.url("/first"))
        body = await measure("http", url=server.url("/body"))
    assert 50 <= milliseconds(first, "first_byte") < 150
    assert milliseconds(body, "first_byte") < 50 <= milliseconds(body, "whole") < 200


async def test_tls_is_timed_apart_from_tcp(tmp_path):
    context = await asyncio.to_thread(server_context, tmp_path, leaf(ROOT, "localhost"))
    probe = Http(trust.Contexts(lambda: client_context(ROOT, kind=trust.TimedContext)))
    async with web_server({"/": page()}, context) as server, late_relay(server.port, 0.05) as port:
        for _ in range(2):
            found = await measure("http", probe=probe, url=f"https://localhost:{port}/")
            assert found.outcome is Outcome.OK
            assert milliseconds(found, "connect") < 50 <= milliseconds(found, "handshake") < 200
    await probe.close()


async def test_renewed_roots_do_not_disturb_a_measurement_under_way(tmp_path, monkeypatch):
    good, strange = authority("Good"), authority("Strange")
    roots = [good, strange]
    probe = Http(trust.Contexts(lambda: client_context(roots.pop(0))))
    context = await asyncio.to_thread(server_context, tmp_path, leaf(good, "localhost"))
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request):
        asked.set()
        await go_on.wait()
        return web.Response()

    async with web_server({"/slow": slow, "/": page()}, context) as server:
        under_way = asyncio.ensure_future(measure("http", probe=probe, url=server.url("/slow", "https"), controls=[]))
        await asked.wait()
        monkeypatch.setattr(trust, "RENEWED_AFTER", -1.0)
        found = await measure("http", probe=probe, url=server.url("/", "https"), controls=[])
        assert found.reason is Reason.TLS_UNTRUSTED
        go_on.set()
        assert (await under_way).outcome is Outcome.OK
    await probe.close()


async def test_every_measurement_connects_anew_without_cookies_and_says_who_asks():
    probe = Http()
    async with web_server({"/": page(headers={"Set-Cookie": "seen=1"})}) as server:
        for _ in range(3):
            await measure("http", probe=probe, url=server.url())
    assert len(set(server.peers)) == 3
    for request in server.requests:
        assert "Cookie" not in request.headers
        assert request.headers["User-Agent"].startswith("Phrom (")
    await probe.close()


async def test_redirects_are_followed_and_recorded():
    async with web_server({"/": redirect("/join?pwd=secret"), "/join": page("room")}) as server:
        found = await measure("http", url=server.url(), expect_text="room")
    assert found.outcome is Outcome.OK
    assert found.counts == {"status": 200, "redirects": 1}
    assert found.facts["redirects"] == f"302 {server.url('/join')}"
    assert "secret" not in str(found.facts)
    assert found.durations["connect"].count == 2


async def test_not_following_judges_the_redirect_itself():
    async with web_server({"/": redirect("/join", 301)}) as server:
        found = await measure("http", url=server.url(), follow=False)
        assert (found.outcome, found.counts["status"]) == (Outcome.OK, 301)
        found = await measure("http", url=server.url(), follow=False, expect_status=[200], controls=[])
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.HTTP_STATUS)


async def test_an_endless_redirect_ends_after_ten():
    async with web_server({"*": redirect("/again")}) as server:
        found = await measure("http", url=server.url(), controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.HTTP_TOO_MANY_REDIRECTS)
    assert found.counts["redirects"] == MOST_REDIRECTS
    assert len(server.requests) == MOST_REDIRECTS + 1


async def test_a_redirect_out_of_the_site_is_unexpected_and_not_followed():
    async with web_server({"/": redirect("http://127.0.0.1:1/login?mac=aa"), "/ok": page()}) as server:
        found = await measure("http", url=server.url(), controls=[])
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.HTTP_UNEXPECTED_REDIRECT)
        assert found.facts["detail"] == "leads to 127.0.0.1"
        assert len(server.requests) == 1
    async with web_server({"/": page()}) as other, web_server({"/": redirect(other.url(host="127.0.0.1"))}) as server:
        found = await measure("http", url=server.url(), hosts=["127.0.0.1"])
        assert found.outcome is Outcome.OK


async def test_a_redirect_into_an_app_is_where_a_browser_would_stop_too():
    async with web_server({"/": redirect("zoommtg://zoom.us/join?confno=1")}) as server:
        found = await measure("http", url=server.url())
    assert (found.outcome, found.counts) == (Outcome.OK, {"status": 302, "redirects": 1})


@pytest.mark.parametrize("location", ["", "http://[", "https://a:999999/"])
async def test_a_redirect_to_nowhere_is_malformed(location):
    async with web_server({"/": redirect(location)}) as server:
        found = await measure("http", url=server.url(), controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)


@pytest.mark.parametrize(
    ("status", "expect", "good"),
    [(200, [], True), (204, [], True), (401, [], False), (404, [], False), (503, [], False), (404, [200, 404], True)],
)
async def test_status(status, expect, good):
    async with web_server({"/": page(status=status)}) as server:
        found = await measure("http", url=server.url(), expect_status=expect, controls=[])
    assert found.counts["status"] == status
    assert (found.outcome, found.reason) == ((Outcome.OK, None) if good else (Outcome.FAILED, Reason.HTTP_STATUS))


async def test_the_expected_text():
    async with web_server({"/": page("ระบบประชุม")}) as server:
        assert (await measure("http", url=server.url(), expect_text="ประชุม")).outcome is Outcome.OK
        found = await measure("http", url=server.url(), expect_text="Scopia", controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)
    assert found.facts["detail"] == "the expected text is missing"


async def test_a_huge_body_is_not_read_to_its_end():
    written = 0

    async def flood(request):
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while written < 1 << 28:
                await response.write(b"x" * 65_536)
                written += 65_536
        except OSError:  # the probe hung up
            pass
        return response

    async with web_server({"/": flood}) as server:
        found = await measure("http", url=server.url())
    assert found.outcome is Outcome.OK
    assert found.facts["body"] == f"longer than {MOST_BODY} bytes, not read to its end"
    assert written < 1 << 26  # what the kernel's buffers took


async def test_a_compression_bomb_stays_compressed():
    async with web_server({"/": page("x" * 1000, headers={"Content-Encoding": "gzip"})}) as server:
        found = await measure("http", url=server.url())
    assert found.outcome is Outcome.OK
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


async def test_a_captive_portal_is_named_when_the_target_looks_wrong():
    async with web_server({"/": redirect("http://127.0.0.9:1/login"), "*": page("Please log in")}) as portal:
        controls = [{"url": portal.url("/hotspot-detect.html"), "expect_text": "Success"}]
        found = await measure("http", url=portal.url(), controls=controls)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.CAPTIVE_PORTAL)
    assert found.facts["without_portal"] == "http_unexpected_redirect"
    assert found.facts["portal"] == "localhost answered 200 instead of its known page"


async def test_a_portal_that_answers_200_to_everything_is_not_taken_for_a_page_without_tls(monkeypatch):
    asked = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *more, **options: asked("127.0.0.1", *more, **options))
    async with web_server({"*": page("Please log in")}) as portal:
        controls = [{"url": portal.url("/hotspot-detect.html", host="captive.example.com"), "expect_text": "Success"}]
        url = portal.url("/join", host="meet.example.com")
        found = await measure("http", url=url, controls=controls)
        told = await measure("http", url=url, controls=controls, expect_text="Please")
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.CAPTIVE_PORTAL)
    assert found.facts["without_portal"] == "ok"
    assert told.outcome is Outcome.OK, "a page known by its text needs no control"


async def test_a_genuine_control_means_that_the_target_itself_is_wrong():
    async with web_server({"/": page(status=500), "/genuine": page(GENUINE)}) as server:
        lying = {"url": server.url("/lie"), "expect_text": "Success"}
        genuine = {"url": server.url("/genuine"), "expect_text": "Success"}
        found = await measure("http", url=server.url(), controls=[lying, genuine])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.HTTP_STATUS)


async def test_silent_controls_prove_nothing_and_no_control_is_asked_while_all_is_well():
    async with web_server({"/": page(status=500), "/ok": page()}) as server, web_server({}) as control:
        silent = {"url": "http://127.0.0.1:1/", "expect_text": "Success"}
        found = await measure("http", url=server.url(), controls=[silent])
        assert found.reason is Reason.HTTP_STATUS
        await measure("http", url=server.url("/ok"), controls=[{"url": control.url(), "expect_text": "x"}])
        assert control.requests == []


async def test_controls_are_asked_once_a_minute_for_all_targets():
    probe = Http()
    async with web_server({"/": page(status=500), "/genuine": page(GENUINE)}) as server:
        controls = [{"url": server.url("/genuine"), "expect_text": "Success"}]
        for _ in range(3):
            await measure("http", probe=probe, url=server.url(), controls=controls)
    assert sum(request.path == "/genuine" for request in server.requests) == 1
    await probe.close()


def test_the_shipped_controls_are_plain_http_with_a_known_text():
    assert [control.url for control in CONTROLS] == [
        "http://captive.apple.com/hotspot-detect.html",
        "http://www.msftncsi.com/ncsi.txt",
    ]


async def test_refused_silent_and_unresolved_are_told_apart(monkeypatch):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        found = await measure("http", url=f"http://127.0.0.1:{port}/", controls=[])
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)
        assert found.facts["stage"] == "connect"

    done = asyncio.Event()

    async def never(_request):
        await done.wait()
        return web.Response()

    async with web_server({"/": never}) as server:
        found = await measure("http", url=server.url(), controls=[], limit=0.3)
        done.set()
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.TIMED_OUT)
    assert found.facts["stage"] == "first_byte"
    assert "connect" in found.durations

    def getaddrinfo(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = await measure("http", url="http://nowhere.example/", controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_NOT_FOUND)


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH])
async def test_absent_or_broken_ipv6_hides_nothing_and_absent_ipv6_fails_nothing(monkeypatch, number):
    made = exchange._socket

    def without_ipv6(address):
        sock = made(address)
        if address[0] == socket.AF_INET6:
            sock.close()
            raise OSError(number, "said by the kernel")
        return sock

    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 1, 0, 0))
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
    monkeypatch.setattr(exchange, "_socket", without_ipv6)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [six, four])
    found = await measure("http", url="http://both.example:1/", controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [six])
    found = await measure("http", url="http://six.example:1/", controls=[])
    assert found.reason is (Reason.NO_IPV6 if number == errno.ENETUNREACH else Reason.HOST_UNREACHABLE)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", Reason.RESET),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.MALFORMED_ANSWER),
        (b"HTTP/1.1 abc\r\n\r\n", Reason.MALFORMED_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Reason.MALFORMED_ANSWER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Reason.MALFORMED_ANSWER),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Reason.MALFORMED_ANSWER),
    ],
)
async def test_a_broken_protocol(answer, reason):
    async with raw_server(answer) as port:
        found = await measure("http", url=f"http://127.0.0.1:{port}/", controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, reason)


@pytest.mark.parametrize(
    ("names", "trusted", "reason"),
    [
        (("other.example",), True, Reason.TLS_WRONG_NAME),
        (("localhost",), False, Reason.TLS_UNTRUSTED),
    ],
)
async def test_a_bad_certificate(tmp_path, names, trusted, reason):
    issuer = ROOT if trusted else authority("Stranger")
    context = await asyncio.to_thread(server_context, tmp_path, leaf(issuer, *names))
    probe = Http(trust.Contexts(lambda: client_context(ROOT)))
    async with web_server({"/": page()}, context) as server:
        found = await measure("http", probe=probe, url=server.url(scheme="https"), controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, reason)
    await probe.close()


async def test_no_tls_where_tls_is_expected():
    async with web_server({"/": page()}) as server:
        found = await measure("http", url=server.url(scheme="https"), controls=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.TLS_HANDSHAKE)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a:b/", "http://a:99999/", "https://]a[@/"])
async def test_an_address_without_a_host_is_a_bad_target(url):
    found = await measure("http", url=url, controls=[])
    assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.BAD_TARGET)


@given(st.sampled_from(["", "http://", "//", "/", "zoommtg://", "http://u:p@", "http://["]), st.text(max_size=20))
@example("http://", "[é]9[ก@#@'a'")
@example("http://", "[:-\x7f&]")
def test_any_text_is_an_address_or_none(start, text):
    base = URL("http://user:secret@localhost/page?pwd=secret")
    assert plain(base) == "http://localhost/page"
    for found in (place(start + text), place(start + text, base)):
        if found is not None and found.scheme in ("http", "https"):
            assert found.host
            assert "?" not in plain(found)


def test_sites():
    assert site_of("conference.dla.go.th") == "dla.go.th"
    assert site_of("www.zoom.us") == site_of("zoom.us.") == "zoom.us"
    assert site_of("192.0.2.1") == "192.0.2.1"
    assert not same_site("192.0.2.1", "192.0.3.1")
    assert not same_site("dla.go.th", "dopa.go.th")
    assert expected("app.zoom.com", "zoom.us", ["zoom.com"])
    assert not expected("notzoom.com", "zoom.us", ["zoom.com"])


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_host_has_a_site(one, other):
    assert same_site(one, other) == same_site(other, one)
    assert same_site(one, one)


def test_the_timed_context_verifies_like_any_other():
    context = trust.system_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname

"""The dns probe against servers that tell the truth, lie, cut their answers short or say nothing."""

import contextlib
import socket
from typing import Any

import dns.message
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.addresses import Address
from agent.neterrors import Unresolved
from agent.probes.dns import Dns, inquiry, query
from agent.probes.dns.servers import is_public_name, parse_resolv_conf, parse_server
from tests.support.dnsserver import code, dns_server, records, truncated, zone
from tests.support.measuring import measure, milliseconds
from wire.reasons import Outcome, Reason

SHORT = 0.3


def at(server) -> str:
    return f"127.0.0.1:{server.port}"


async def test_an_honest_answer():
    async with dns_server(zone("A", "8.8.8.8", "8.8.4.4")) as server:
        found = await measure("dns", name="zoom.us", server=at(server))
    assert found.outcome is Outcome.OK
    assert found.counts == {"attempts": 1, "answers": 2}
    assert found.facts["answer"] == "8.8.4.4, 8.8.8.8"
    assert 0 < milliseconds(found, "lookup") < 500
    assert [name.partition(".")[0][:6] for name in server.udp] == ["zoom", "phrom-"]
    assert server.udp[1].endswith(".example.com.")


async def test_expected_addresses_and_networks():
    async with dns_server(zone("A", "8.8.8.8", "8.8.4.4")) as server:
        found = await measure("dns", name="zoom.us", server=at(server), expect=["8.8.8.8", "8.8.4.0/24"])
        assert found.outcome is Outcome.OK
        found = await measure("dns", name="zoom.us", server=at(server), expect=["8.8.8.8"])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_WRONG)
    assert found.facts["detail"] == "found 8.8.4.4, expected 8.8.8.8"


@pytest.mark.parametrize(
    ("rcode", "reason"),
    [
        ("NXDOMAIN", Reason.NAME_NOT_FOUND),
        ("SERVFAIL", Reason.NAME_SERVER_FAILED),
        ("REFUSED", Reason.NAME_SERVER_REFUSED),
        ("NOTIMP", Reason.NAME_SERVER_FAILED),
    ],
)
async def test_refusals_are_told_apart(rcode, reason):
    async with dns_server(lambda query, _tcp: code(query, rcode)) as server:
        found = await measure("dns", name="zoom.us", server=at(server))
    assert (found.outcome, found.reason) == (Outcome.FAILED, reason)
    assert found.facts["rcode"] == rcode


async def test_silence_is_said_after_two_questions():
    async with dns_server(lambda _query, _tcp: None) as server:
        found = await measure("dns", name="zoom.us", server=at(server), limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_SERVER_SILENT)
    assert found.counts == {"attempts": 2}
    assert len(server.udp) == 2


async def test_a_lost_question_is_asked_again_with_a_time_of_its_own():
    lost: list[Any] = []

    def loses_one(asked, _tcp):
        if not lost:
            lost.append(asked)
            return None
        return zone("A", "8.8.8.8")(asked, False)

    async with dns_server(loses_one) as server:
        found = await measure("dns", name="zoom.us", server=at(server), limit=1.0, hijack_check=False)
    assert found.outcome is Outcome.OK
    assert found.counts["attempts"] == 2
    assert milliseconds(found, "lookup") < 200  # not the 425 ms since the first question


async def test_a_cut_answer_is_fetched_by_tcp():
    def cut(asked, by_tcp):
        if asked.question[0].name.to_text().startswith("phrom-"):
            return code(asked, "NXDOMAIN")
        return records(asked, "A", "8.8.8.8") if by_tcp else truncated(asked)

    async with dns_server(cut) as server:
        found = await measure("dns", name="zoom.us", server=at(server))
    assert found.outcome is Outcome.OK
    assert found.facts["transport"] == "tcp"
    assert server.tcp == ["zoom.us."]


async def test_a_cut_answer_without_tcp_is_the_network_s_failure_not_a_crash():
    async with dns_server(lambda asked, by_tcp: None if by_tcp else truncated(asked)) as server:
        found = await measure("dns", name="zoom.us", server=at(server), limit=1.0)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.RESET)


async def test_a_server_that_invents_names_is_a_hijacker():
    async with dns_server(lambda asked, _tcp: records(asked, "A", "8.8.8.8")) as server:
        found = await measure("dns", name="zoom.us", server=at(server))
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_HIJACKED)
        assert found.facts["hijack"] == "a name that does not exist was given 8.8.8.8"
        found = await measure("dns", name="zoom.us", server=at(server), hijack_check=False)
        assert found.outcome is Outcome.OK


async def test_the_hijack_check_is_made_once_in_ten_minutes():
    probe = Dns()
    async with dns_server(zone("A", "8.8.8.8")) as server:
        for name in ("zoom.us", "webex.com", "zoom.us"):
            await measure("dns", probe=probe, name=name, server=at(server))
    assert sum(name.startswith("phrom-") for name in server.udp) == 1


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "0.0.0.0", "169.254.0.1"])
async def test_a_private_address_for_a_public_name_is_hijacked_unless_expected(address):
    async with dns_server(zone("A", address)) as server:
        found = await measure("dns", name="zoom.us", server=at(server))
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_HIJACKED)
        assert address not in str(found.facts)
        found = await measure("dns", name="zoom.us", server=at(server), expect=[address])
        assert found.outcome is Outcome.OK
        found = await measure("dns", name="printer.lan", server=at(server))
        assert found.outcome is Outcome.OK


async def test_absent_ipv6_is_nobodys_failure():
    async with dns_server(lambda asked, _tcp: code(asked, "NOERROR")) as server:
        found = await measure("dns", name="zoom.us", type="AAAA", server=at(server))
        assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.NO_IPV6)
        found = await measure("dns", name="zoom.us", type="A", server=at(server))
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_NOT_FOUND)


async def test_ipv6_and_srv_answers():
    async with dns_server(zone("AAAA", "2001:4860:4860::8888")) as server:
        found = await measure("dns", name="zoom.us", type="AAAA", server=at(server))
        assert (found.outcome, found.facts["answer"]) == (Outcome.OK, "2001:4860:4860::8888")
    async with dns_server(zone("SRV", "1 5 5061 sip.example.net.")) as server:
        ask: dict[str, Any] = {"name": "_sips._tcp.example.net", "type": "SRV", "server": at(server)}
        found = await measure("dns", **ask, expect=["SIP.example.net"])
        assert (found.outcome, found.facts["answer"]) == (Outcome.OK, "sip.example.net.:5061")
        found = await measure("dns", **ask, expect=["other.example.net"])
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_WRONG)


async def test_the_system_s_servers_are_asked_in_turn(monkeypatch):
    async with dns_server(lambda asked, _tcp: code(asked, "SERVFAIL")) as bad, dns_server(zone("A", "8.8.8.8")) as good:
        servers = [Address(socket.AF_INET, ("127.0.0.1", one.port)) for one in (bad, good)]
        monkeypatch.setattr(inquiry, "read_system", lambda: servers)
        found = await measure("dns", name="zoom.us")
    assert found.outcome is Outcome.OK
    assert found.counts["attempts"] == 2
    assert found.facts["failed_before"] == "name_server_failed"
    assert found.facts["server"] == "private"


async def test_all_servers_silent(monkeypatch):
    async with dns_server(lambda _asked, _tcp: None) as one, dns_server(lambda _asked, _tcp: None) as two:
        servers = [Address(socket.AF_INET, ("127.0.0.1", server.port)) for server in (one, two)]
        monkeypatch.setattr(inquiry, "read_system", lambda: servers)
        found = await measure("dns", name="zoom.us", limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_SERVER_SILENT)
    assert found.counts == {"attempts": 4}


async def test_no_server_at_the_address_is_refused_and_garbage_is_malformed():
    async with dns_server(lambda _asked, _tcp: b"\0garbage") as server:
        found = await measure("dns", name="zoom.us", server=at(server), limit=SHORT)
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)
    found = await measure("dns", name="zoom.us", server=at(server))
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)


async def test_an_answer_to_another_question_is_not_ours():
    def other(asked, _tcp):
        asked.id ^= 1
        return records(asked, "A", "8.8.8.8")

    async with dns_server(other) as server:
        found = await measure("dns", name="zoom.us", server=at(server), limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_SERVER_SILENT)


@pytest.mark.parametrize(("name", "server"), [("a..b", ""), ("x" * 64 + ".us", ""), ("zoom.us", "resolver.example")])
async def test_wrong_settings_are_a_bad_target(name, server):
    found = await measure("dns", name=name, server=server)
    assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.BAD_TARGET)


def test_resolv_conf_as_the_c_library_reads_it():
    lines = [
        "# comment",
        "search x",
        *(f"nameserver {one}" for one in ("192.0.2.1", "fe80::1%0", "junk", "::1", "4.4.4.4")),
    ]
    assert [one.text for one in parse_resolv_conf("\n".join(lines))] == ["192.0.2.1", "fe80::1", "::1"]
    assert [one.place for one in parse_resolv_conf("")] == [("127.0.0.1", 53)]


@given(st.text())
@example("nameserver 1.1.1.1%eth0")
@example("nameserver fe80::1%nosuchinterface")
def test_any_resolv_conf_gives_servers(text):
    assert 1 <= len(parse_resolv_conf(text)) <= 3


@given(st.text(max_size=40))
@example("[::1]:x")
@example("[::1")
@example("1.2.3.4:٣")
def test_any_server_text_is_an_address_or_a_bad_target(text):
    try:
        assert parse_server(text).place[1] > 0
    except Unresolved as problem:
        assert problem.reason is Reason.BAD_TARGET


def test_servers_with_ports():
    assert parse_server("192.0.2.53").place == ("192.0.2.53", 53)
    assert parse_server("192.0.2.53:5353").place == ("192.0.2.53", 5353)
    assert parse_server("2001:db8::53").place == ("2001:db8::53", 53, 0, 0)
    assert parse_server("[2001:db8::53]:5353").place == ("2001:db8::53", 5353, 0, 0)


def test_public_names():
    assert all(map(is_public_name, ("zoom.us", "conference.dla.go.th", "a.b.example.com.")))
    assert not any(
        map(is_public_name, ("printer", "nas.local", "x.LAN", "router.home.arpa", "localhost", "a.internal"))
    )


def rich_answer() -> bytes:
    """An answer with records of many kinds, to be damaged."""
    asked = dns.message.make_query("zoom.us", "A", use_edns=0)
    said = records(asked, "A", "8.8.8.8")
    for kind, value in (
        ("AAAA", "2001:db8::1"),
        ("SRV", "1 5 5061 sip.example."),
        ("CNAME", "x."),
        ("SOA", "a. b. 1 2 3 4 5"),
    ):
        said.answer.append(dns.rrset.from_text("zoom.us.", 300, "IN", kind, value))
    return said.to_wire()


RICH = rich_answer()


@given(st.lists(st.tuples(st.integers(0, len(RICH) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@example([(RICH.index(b"\x08\x08\x08\x08") - 7, 3)])  # an A record of class CHAOS, which has no address
def test_a_damaged_answer_raises_only_the_named_error(damages):
    data = bytearray(RICH)
    for at, byte in damages:
        data[at] = byte
    with contextlib.suppress(query.Malformed):
        message = query._parse(bytes(data))
        for kind in ("A", "AAAA", "SRV"):
            inquiry._records(message, kind)


@given(st.binary(max_size=120))
def test_arbitrary_bytes_raise_only_the_named_error(data):
    with contextlib.suppress(query.Malformed):
        query._parse(data)

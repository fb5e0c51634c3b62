"""The stun probe against real UDP servers: honest, lossy, silent, lying."""

import asyncio
import ipaddress
import os
import time
from typing import Any

from agent.datagrams import doubling
from agent.probes.stun import Stun
from agent.probes.stun.codec import BINDING, Attribute, Endpoint, Kind, Message, decode, encode, xor_mapped
from tests.support.datagramserver import datagram_server, silent
from tests.support.measuring import measure, milliseconds
from wire.reasons import Outcome, Reason

SHORT = 4.3
"""A limit that scales the RFC's 0.5 s to about 14 ms, and the whole wait to about 0.2 s."""
PUBLIC = Endpoint(ipaddress.ip_address("8.8.4.4"), 4000)


def response(request: bytes, endpoint: Endpoint = PUBLIC, transaction: bytes = b"") -> bytes:
    """An honest success response to a request, or one with another transaction id."""
    asked = transaction or decode(request).transaction
    value = xor_mapped(endpoint, asked)
    return encode(Message(Kind.SUCCESS, BINDING, asked, ((Attribute.XOR_MAPPED_ADDRESS, value),)), fingerprint=True)


def honest(data, _peer):
    yield response(data)


async def test_an_answer_gives_the_rtt_and_the_mapped_address():
    async with datagram_server(honest) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port)
    assert found.outcome is Outcome.OK
    assert found.counts == {"attempts": 1}
    assert 0 < milliseconds(found, "rtt") < 200
    assert found.facts == {"family": "ipv4", "mapped_address": "8.8.4.4", "mapped_family": "ipv4"}
    request = decode(server.received[0])
    assert (request.kind, request.method) == (Kind.REQUEST, BINDING)
    assert [kind for kind, _ in request.attributes] == [Attribute.FINGERPRINT]


async def test_the_rtt_is_that_of_the_path():
    loop = asyncio.get_running_loop()

    def slow(data, peer):
        loop.call_later(0.05, server.send, response(data), peer)
        return ()

    async with datagram_server(slow) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port)
    assert 50 <= milliseconds(found, "rtt") < 150


async def test_a_private_mapped_address_stays_in_the_building():
    def seen_from_inside(data, peer):
        yield response(data, Endpoint(ipaddress.ip_address(peer[0]), peer[1]))

    async with datagram_server(seen_from_inside) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port)
    assert found.facts["mapped_address"] == "private"


async def test_an_ipv6_mapped_address():
    endpoint = Endpoint(ipaddress.ip_address("2001:4860:4860::8888"), 4000)
    async with datagram_server(lambda data, _peer: [response(data, endpoint)]) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port)
    assert found.facts["mapped_address"] == "2001:4860:4860::8888"
    assert found.facts["mapped_family"] == "ipv6"


async def test_a_lost_request_is_sent_again_and_then_the_rtt_is_not_guessed():
    seen = []

    def loses_two(data, _peer):
        seen.append(data)
        return [response(data)] if len(seen) > 2 else []

    async with datagram_server(loses_two) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port, limit=SHORT)
    assert found.outcome is Outcome.OK
    assert found.counts == {"attempts": 3}
    assert "rtt" not in found.durations
    assert len(set(seen)) == 1  # RFC 8489, section 6.2.1: the same bytes


def test_the_rfc_s_times_of_requests():
    assert doubling(0.5, 7) == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]  # RFC 8489, section 6.2.1
    assert doubling(0.5, 6, 4.0) == [0, 0.5, 1.5, 3.5, 7.5, 11.5]  # RFC 3261, section 17.1.2.2


async def test_no_request_is_sent_before_its_time():
    at = []

    def note(_data, _peer):
        at.append(time.monotonic())
        return ()

    async with datagram_server(note) as server:
        started = time.monotonic()
        await measure("stun", host="127.0.0.1", port=server.port, controls=[], limit=5.1)  # a tenth of real time
    assert len(at) == 4
    for arrived, due in zip(at, (0, 0.05, 0.15, 0.35), strict=True):
        assert arrived - started >= due


async def test_a_wrong_transaction_id_is_not_our_answer():
    def stranger_first(data, _peer):
        yield response(data, Endpoint(ipaddress.ip_address("1.1.1.1"), 1), os.urandom(12))
        yield response(data)

    async with datagram_server(stranger_first) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port)
    assert found.facts["mapped_address"] == "8.8.4.4"

    async with datagram_server(lambda data, _peer: [response(data, PUBLIC, os.urandom(12))]) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port, controls=[], limit=SHORT)
    assert found.outcome is not Outcome.OK


async def test_an_error_response_proves_that_udp_comes_through():
    def refuses(data, _peer):
        value = bytes([0, 0, 4, 1]) + b"Unauthenticated"
        yield encode(Message(Kind.ERROR, BINDING, decode(data).transaction, ((Attribute.ERROR_CODE, value),)))

    async with datagram_server(refuses) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port)
    assert found.outcome is Outcome.OK
    assert found.facts["stun_error"] == "401 Unauthenticated"


async def test_garbage_is_a_malformed_answer_but_the_truth_may_come_after_it():
    async with datagram_server(lambda _data, _peer: [b"HTTP/1.1 400 Bad Request"]) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port, controls=[], limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)

    async with datagram_server(lambda data, _peer: [b"garbage", response(data)]) as server:
        found = await measure("stun", host="127.0.0.1", port=server.port)
    assert found.outcome is Outcome.OK


async def test_silence_is_blocked_only_when_two_controls_are_silent_too():
    async with (
        datagram_server(silent) as one,
        datagram_server(silent, "127.0.0.2") as two,
        datagram_server(silent, "127.0.0.3") as three,
    ):
        settings: dict[str, Any] = {"host": "127.0.0.1", "port": one.port, "limit": SHORT}
        both = [f"127.0.0.2:{two.port}", f"127.0.0.3:{three.port}"]
        found = await measure("stun", **settings, controls=both)
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.UDP_BLOCKED)
        assert found.facts["controls"] == "0 of 2 answered"

        found = await measure("stun", **settings, controls=both[:1])
        assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.CONTROLS_SILENT)

        found = await measure("stun", **settings, controls=both[:1], must_answer=True)
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.UDP_BLOCKED)  # the target is known to answer

        found = await measure("stun", **settings, controls=[f"127.0.0.1:{one.port}", both[0]])
        assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.CONTROLS_SILENT)  # not independent


async def test_silence_beside_an_answering_control_proves_nothing_unless_it_must_answer():
    async with datagram_server(silent) as quiet, datagram_server(honest, "127.0.0.2") as control:
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": quiet.port,
            "controls": [f"127.0.0.2:{control.port}"],
            "limit": SHORT,
        }
        found = await measure("stun", **settings)
        assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.SILENCE_PROVES_NOTHING)
        found = await measure("stun", **settings, must_answer=True)
        assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_REPLY)


async def test_controls_are_asked_once_a_minute_for_all_targets():
    probe = Stun()
    async with datagram_server(silent) as quiet, datagram_server(honest, "127.0.0.2") as control:
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": quiet.port,
            "controls": [f"127.0.0.2:{control.port}"],
            "limit": SHORT,
        }
        for _ in range(3):
            await measure("stun", probe=probe, **settings)
        assert len(control.received) == 1


async def test_controls_are_left_alone_while_the_target_answers():
    async with datagram_server(honest) as server, datagram_server(honest, "127.0.0.2") as control:
        controls = [f"127.0.0.2:{control.port}"]
        await measure("stun", host="127.0.0.1", port=server.port, controls=controls)
        assert control.received == []


async def test_a_closed_port_is_refused():
    async with datagram_server(silent) as server:
        port = server.port
    found = await measure("stun", host="127.0.0.1", port=port, controls=[], limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)


async def test_a_control_without_a_port_is_a_mistake_in_the_settings():
    found = await measure("stun", host="127.0.0.1", controls=["stun.l.google.com"])
    assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.BAD_TARGET)
    assert found.facts["detail"] == (
        "controls: found 'stun.l.google.com', expected host:port such as stun.l.google.com:19302"
    )

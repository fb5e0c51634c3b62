"""The sip probe against real servers over UDP and TCP."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from tests.support.datagramserver import datagram_server, silent
from tests.support.measuring import measure, milliseconds
from wire.reasons import Outcome, Reason

SHORT = 4.4


def answer(request: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    """What a server says to a request: its Via, From, To, Call-ID and CSeq copied (RFC 3261, section 8.2.6)."""
    copied = [line for line in request.decode().split("\r\n") if re.match("(Via|From|To|Call-ID|CSeq):", line)]
    return "\r\n".join(
        [f"SIP/2.0 {status}", *copied, "Content-Length: 0", *([extra] if extra else []), "", ""]
    ).encode()


@asynccontextmanager
async def tcp_server(speak):
    """A TCP server on port 0 that reads one request and lets ``speak`` write; yields its port."""

    async def serve(reader, writer):
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            await speak(request, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "status", ["200 OK", "404 Not Found", "486 Busy Here", "503 Service Unavailable", "100 Trying"]
)
async def test_any_sip_answer_passes_over_udp(status):
    async with datagram_server(lambda data, _peer: [answer(data, status, "Server: Example/1")]) as server:
        found = await measure("sip", host="127.0.0.1", port=server.port)
    assert found.outcome is Outcome.OK
    assert found.counts == {"attempts": 1, "status": int(status[:3])}
    assert found.facts["phrase"] == status[4:]
    assert found.facts["software"] == "Example/1"
    assert 0 < milliseconds(found, "rtt") < 200


async def test_lost_requests_are_sent_again():
    seen = []

    def loses_two(data, _peer):
        seen.append(data)
        return [answer(data)] if len(seen) > 2 else []

    async with datagram_server(loses_two) as server:
        found = await measure("sip", host="127.0.0.1", port=server.port, limit=SHORT)
    assert found.outcome is Outcome.OK
    assert found.counts["attempts"] == 3
    assert "rtt" not in found.durations
    assert len(set(seen)) == 1


async def test_silence_over_udp_is_no_reply_after_five_requests():
    async with datagram_server(silent) as server:
        found = await measure("sip", host="127.0.0.1", port=server.port, limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_REPLY)
    assert found.counts == {"attempts": 5}
    assert len(server.received) == 5


async def test_an_answer_to_another_request_is_not_ours():
    other = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKother\r\n\r\n"
    async with datagram_server(lambda _data, _peer: [other]) as server:
        found = await measure("sip", host="127.0.0.1", port=server.port, limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_REPLY)


async def test_garbage_over_udp_is_a_malformed_answer():
    async with datagram_server(lambda _data, _peer: [b"\xff\x00garbage"]) as server:
        found = await measure("sip", host="127.0.0.1", port=server.port, limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)


async def test_a_closed_udp_port_is_refused():
    async with datagram_server(silent) as server:
        port = server.port
    found = await measure("sip", host="127.0.0.1", port=port, limit=SHORT)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)


async def test_over_tcp_in_pieces_after_keep_alives():
    async def in_pieces(request, writer):
        data = b"\r\n\r\n" + answer(request, "200 OK")
        for at in range(0, len(data), 7):
            writer.write(data[at : at + 7])
            await writer.drain()

    async with tcp_server(in_pieces) as port:
        found = await measure("sip", host="127.0.0.1", port=port, transport="tcp")
    assert found.outcome is Outcome.OK
    assert found.counts["status"] == 200
    assert set(found.durations) == {"connect", "rtt"}


async def test_over_tcp_garbage_is_malformed():
    async def web_server(_request, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with tcp_server(web_server) as port:
        found = await measure("sip", host="127.0.0.1", port=port, transport="tcp")
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)


async def test_over_tcp_a_closed_connection_is_a_reset_and_half_an_answer_is_malformed():
    async def hangs_up(_request, _writer):
        return

    async def half(_request, writer):
        writer.write(b"SIP/2.0 200 OK\r\nVia: ")
        await writer.drain()

    async with tcp_server(hangs_up) as port:
        found = await measure("sip", host="127.0.0.1", port=port, transport="tcp")
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.RESET)
    async with tcp_server(half) as port:
        found = await measure("sip", host="127.0.0.1", port=port, transport="tcp")
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)


async def test_over_tcp_silence_is_no_reply():
    done = asyncio.Event()

    async def holds(_request, _writer):
        await done.wait()

    async with tcp_server(holds) as port:
        found = await measure("sip", host="127.0.0.1", port=port, transport="tcp", limit=SHORT)
        done.set()
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_REPLY)
    assert "connect" in found.durations


async def test_over_tcp_a_closed_port_is_refused():
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await measure("sip", host="127.0.0.1", port=port, transport="tcp")
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)

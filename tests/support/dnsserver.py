"""A DNS server on the loopback, UDP and TCP on one port, whose honesty a function decides."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.support.datagramserver import datagram_server

Reply = Callable[[dns.message.Message, bool], dns.message.Message | bytes | None]
"""Gets the query and whether it came by TCP; ``None`` is silence, bytes are sent as they are."""


class DnsServer:
    """Counts what it was asked, by transport, and answers by ``reply``."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.port = 0
        self.udp: list[str] = []
        self.tcp: list[str] = []

    def answer(self, data: bytes, by_tcp: bool) -> bytes | None:
        """The bytes to send for a query, if any."""
        query = dns.message.from_wire(data)
        (self.tcp if by_tcp else self.udp).append(query.question[0].name.to_text())
        said = self.reply(query, by_tcp)
        return said.to_wire() if isinstance(said, dns.message.Message) else said


def records(query: dns.message.Message, kind: str, *values: str) -> dns.message.Message:
    """An answer with these records of ``kind`` under the name asked for."""
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", kind, *values))
    return response


def code(query: dns.message.Message, rcode: str) -> dns.message.Message:
    """An answer without records."""
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.from_text(rcode))
    return response


def truncated(query: dns.message.Message) -> dns.message.Message:
    """An answer that says: ask again by TCP."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response


def zone(kind: str = "A", *values: str) -> Reply:
    """An honest server: these records for every name but the ones that cannot exist."""

    def reply(query: dns.message.Message, _by_tcp: bool) -> dns.message.Message:
        if query.question[0].name.to_text().startswith("phrom-"):
            return code(query, "NXDOMAIN")
        return records(query, kind, *values)

    return reply


@asynccontextmanager
async def dns_server(reply: Reply, host: str = "127.0.0.1") -> AsyncIterator[DnsServer]:
    """A server that lives as long as the block."""
    server = DnsServer(reply)

    async def by_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        said = server.answer(await reader.readexactly(length), True)
        if said is not None:
            writer.write(struct.pack("!H", len(said)) + said)
            await writer.drain()
        writer.close()

    tcp = await asyncio.start_server(by_tcp, host, 0)
    server.port = tcp.sockets[0].getsockname()[1]

    def by_udp(data: bytes, _peer: tuple[str, int]) -> list[bytes]:
        said = server.answer(data, False)
        return [] if said is None else [said]

    async with tcp, datagram_server(by_udp, host, server.port):
        yield server

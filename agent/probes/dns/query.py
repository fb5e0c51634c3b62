"""One DNS question to one server: UDP, then TCP if the answer was cut (RFC 1035, RFC 7766), in dnspython's messages."""

import asyncio
import errno
import socket
import struct
import time
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype

# Classes of records are imported by dnspython when first met; here that happens in a thread, not on the event loop.
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV

from agent import addresses
from agent.addresses import Address
from agent.datagrams import exchange

AT = (0.0, 1.5)
"""Seconds at which a question is sent; the second time with an id of its own, so that its time is its own."""
WITHIN = 3.0
"""Seconds after which a server counts as silent."""
PAYLOAD = 1232
"""Octets of a UDP answer that pass without fragments (DNS flag day 2020)."""


class Malformed(Exception):
    """An answer that is no DNS message, or not to our question."""


class Answer(NamedTuple):
    """An answer, the nanoseconds from its own question, how many questions were sent, and whether TCP was needed."""

    message: dns.message.Message
    took: int
    sent: int
    by_tcp: bool


def question(name: str, kind: str) -> dns.message.Message:
    """A recursive question; raises ``dns.exception.DNSException`` for what cannot be a name."""
    return dns.message.make_query(dns.name.from_text(name), kind, use_edns=0, payload=PAYLOAD)


async def ask(server: Address, name: str, kind: str, patience: float) -> Answer:
    """Asks one server. Raises ``NoAnswer`` (silence or garbage), :class:`Malformed` (by TCP) or ``OSError``."""
    questions: list[dns.message.Message] = []
    sent_at: list[int] = []

    def request(_number: int, _local: tuple[str, int]) -> bytes:
        questions.append(question(name, kind))
        sent_at.append(time.perf_counter_ns())
        return questions[-1].to_wire()

    def accept(data: bytes) -> tuple[dns.message.Message, int] | None:
        received = time.perf_counter_ns()
        message = _parse(data)
        for asked, at in zip(questions, sent_at, strict=True):
            if asked.is_response(message):
                return message, received - at
        return None

    at = [one * patience for one in AT]
    reply = await exchange(server, request, at, WITHIN * patience, accept, Malformed)
    message, took = reply.value
    if not message.flags & dns.flags.TC:
        return Answer(message, took, reply.sent, by_tcp=False)
    started = time.perf_counter_ns()
    async with asyncio.timeout(WITHIN * patience):
        message = await _by_tcp(server, question(name, kind), WITHIN * patience)
    return Answer(message, took + time.perf_counter_ns() - started, reply.sent + 1, by_tcp=True)


async def _by_tcp(server: Address, asked: dns.message.Message, within: float) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    connected = await addresses.connect([server], within)
    with connected.sock as sock:
        wire = asked.to_wire()
        await loop.sock_sendall(sock, struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await _exactly(sock, 2))
        message = _parse(await _exactly(sock, length))
    if not asked.is_response(message):
        raise Malformed("found an answer to another question")
    return message


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise ConnectionResetError(errno.ECONNRESET, "closed within the answer")
        data += piece
    return data


def _parse(data: bytes) -> dns.message.Message:
    """dnspython raises more than its own errors on hostile bytes; all of them mean the same."""
    try:
        return dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error) as problem:
        raise Malformed(f"no DNS message: {type(problem).__name__} {problem}"[:200]) from problem

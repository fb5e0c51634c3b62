"""The reflector over real sockets: kernel stamps, both families, and a flood it does not answer."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from collector.responder.admission import Admission, Capacity
from collector.responder.stamp import Server, serve
from tests.support.lending import SECRET, granted
from tests.support.stamp_world import GOOD
from wire import stamp
from wire.clock import SECOND
from wire.lease import Grant, Purpose, proof
from wire.stamp import SenderPacket, read_reflector, write_sender
from wire.stamp_opening import Asked, Challenge, Mode, Opened, context, read_told, session_key, write_asked


def now() -> int:
    return time.time_ns() // 1000


def lease() -> Grant:
    begun = now()
    return granted(Purpose.STAMP, issued=begun, expires=begun + 3600 * SECOND, down=50_000, up=50_000, seconds=3600.0)


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
async def server(request) -> AsyncIterator[Server]:
    admission = Admission("hall", SECRET, Capacity(10**8, 10**8), now())
    found = await serve(request.param, 0, admission, now)
    yield found
    await found.close()


class Client:
    """A sender of one's own making."""

    def __init__(self, server: Server, host: str = "") -> None:
        listens = server._socket.getsockname()[0]
        self.host = host or ("::1" if listens == "::" else listens)
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((self.host, server.port))
        self.loop = asyncio.get_running_loop()

    async def ask(self, raw: bytes) -> bytes:
        await self.loop.sock_sendall(self.socket, raw)
        async with asyncio.timeout(5):
            return await self.loop.sock_recv(self.socket, 2048)

    async def open(self, grant: Grant, mode: Mode = Mode.AUTHENTICATED) -> None:
        packet = SenderPacket(1, 0, GOOD, 7)
        told = read_told(await self.ask(write_asked(Asked(packet, grant.token))))[1]
        assert isinstance(told, Challenge)
        shown = proof(bytes.fromhex(grant.key), told.cookie, context(7, mode))
        answer = await self.ask(write_asked(Asked(packet, grant.token, told.cookie, shown, mode)))
        assert isinstance(read_told(answer)[1], Opened)


@pytest.mark.parametrize("mode", [Mode.AUTHENTICATED, Mode(0)])
async def test_packets_are_reflected_with_the_kernels_time(server: Server, mode: Mode):
    client, grant = Client(server), lease()
    key = session_key(bytes.fromhex(grant.key), 7) if mode else None
    with client.socket:
        await client.open(grant, mode)
        before = time.time_ns()
        raw = await client.ask(write_sender(SenderPacket(0, before, GOOD, 7), key))
        after = time.time_ns()
    answer = read_reflector(raw, key)
    assert before <= answer.received <= answer.time <= after
    assert answer.sender_ttl == 64
    assert answer.sequence == 0
    assert stamp.read_timestamp(answer.sender_time, ptp=False) == before


async def test_one_socket_serves_both_families():
    admission = Admission("hall", SECRET, Capacity(10**8, 10**8), now())
    server = await serve("::", 0, admission, now)
    try:
        for host in ("127.0.0.1", "::1"):
            client = Client(server, host)
            with client.socket:
                await client.open(lease())
        assert {one.source for one in admission.sessions} == {"127.0.0.1", "::1"}
    finally:
        await server.close()


async def test_a_flood_is_not_answered_and_does_not_keep_a_session_from_its_answers(server: Server):
    client, grant = Client(server), lease()
    key = session_key(bytes.fromhex(grant.key), 7)
    with client.socket, Client(server).socket as flood:
        await client.open(grant)
        hello = write_asked(Asked(SenderPacket(1, 0, GOOD, 9), lease().token[:-2] + "xx"))
        for number in range(15):
            for _ in range(100):
                flood.send(hello)
            await client.ask(write_sender(SenderPacket(number, 0, GOOD, 7), key))
        with pytest.raises(BlockingIOError):
            flood.recv(2048)
    assert server.reflector.sessions == 1


async def test_a_port_in_use_is_the_callers_to_hear_of(server: Server):
    listens = server._socket.getsockname()[0]
    with pytest.raises(OSError, match="in use"):
        await serve(listens, server.port, server.reflector._admission, now)


async def test_closing_twice_is_closing_once(server: Server):
    await server.close()
    await server.close()

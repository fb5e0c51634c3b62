"""A UDP server on port 0 of the loopback whose answers a function decides: the base of the false STUN, SIP and DNS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

Answer = Callable[[bytes, tuple[str, int]], Iterable[bytes]]


class DatagramServer(asyncio.DatagramProtocol):
    """Hands each datagram to ``answer`` and sends what it yields back; keeps what it received."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append(data)
        for piece in self.answer(data, addr):
            self.send(piece, addr)

    def send(self, data: bytes, addr: tuple[str, int]) -> None:
        """Sends a datagram, now."""
        assert self._transport is not None
        self._transport.sendto(data, addr)


@asynccontextmanager
async def datagram_server(answer: Answer, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[DatagramServer]:
    """A server that lives as long as the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: DatagramServer(answer), local_addr=(host, port))
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()


def silent(_data: bytes, _peer: tuple[str, int]) -> list[bytes]:
    """Answers nothing."""
    return []

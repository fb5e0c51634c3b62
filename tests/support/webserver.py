"""A web server on the loopback: pages by path, and raw servers that break the protocol."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer:
    """What a test wants to know of the server: its port and the requests it saw."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[web.Request] = []
        self.peers: list[object] = []

    def url(self, path: str = "/", scheme: str = "http", host: str = "localhost") -> str:
        """An address on this server."""
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def web_server(pages: dict[str, Page], tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    """Serves ``pages`` (``"*"`` for all others) as long as the block lasts."""
    known = WebServer(0)

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        known.requests.append(request)  # type: ignore[arg-type]
        known.peers.append(request.transport.get_extra_info("peername") if request.transport else None)
        page = pages.get(request.path) or pages.get("*")
        if page is None:
            return web.Response(status=404)
        return await page(request)  # type: ignore[arg-type]

    server = web.Server(serve)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    known.port = runner.addresses[0][1]
    try:
        yield known
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[int]:
    """Sends ``answer`` to whoever connects and asks, then closes; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        with suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def late_relay(to: int, delay: float) -> AsyncIterator[int]:
    """Accepts at once and begins ``delay`` seconds later to pass bytes on to the port ``to``; yields its port."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay)
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def page(text: str = "hello", status: int = 200, headers: dict[str, str] | None = None) -> Page:
    """A page that says ``text``."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, headers=headers)

    return answer


def redirect(to: str, status: int = 302) -> Page:
    """A page that points elsewhere."""
    return page("", status, {"Location": to})

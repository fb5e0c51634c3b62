"""A server that speaks what speedtest-cli 2.1.3 asks of speedtest.net: settings, servers, latency, pictures, upload.

The client reaches it as its HTTP proxy (``http_proxy``), so that www.speedtest.net is asked of us and of nobody else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

SIZES = {
    350: 245_388, 500: 505_544, 750: 1_118_012, 1000: 1_986_284, 1500: 4_468_241, 2000: 7_907_740, 2500: 12_407_926,
    3000: 17_816_816, 3500: 24_262_167, 4000: 31_625_365,
}  # fmt: skip
"""Bytes of the pictures ``random350x350.jpg`` and so on, as the real servers send them."""
_BLOCK = bytes(65536)
_CONFIG = """<?xml version="1.0" encoding="UTF-8"?><settings>
<client ip="192.0.2.1" lat="17.41" lon="102.79" isp="Example" country="TH"/>
<server-config threadcount="{threads}" ignoreids="" notonmap="" forcepingid="" preferredserverid=""/>
<download testlength="{seconds}" initialtest="250K" mintestsize="250K" threadsperurl="{per_url}"/>
<upload testlength="{seconds}" ratio="5" threads="2" maxchunksize="512K" maxchunkcount="{chunks}"/>
</settings>"""
_SERVERS = """<?xml version="1.0" encoding="UTF-8"?><settings><servers>
<server url="http://{host}/speedtest/upload.php" lat="17.4" lon="102.8" name="Udon Thani" sponsor="Example" id="1"/>
</servers></settings>"""


@dataclass
class FakeSpeedtest:
    """Where it listens, and what it does to whom."""

    port: int = 0
    address: str = "127.0.0.1"
    refuses: int = 0
    """Status with which the configuration is refused; 0 = it is not. 403 and 429 are what users met."""
    malformed: bool = False
    seconds: int = 1
    per_url: int = 1
    threads: int = 2
    chunks: int = 10
    asked: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What the client must find in its environment."""
        proxy = f"http://{self.address}:{self.port}"
        return {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, url, _ = head.split("\r\n")[0].split(" ")
        path = "/" + url.split("://", 1)[-1].split("/", 1)[-1] if "://" in url else url
        self.asked.append(path.split("?")[0])
        length = next(
            (int(one.split(":")[1]) for one in head.split("\r\n") if one.lower().startswith("content-length")), 0
        )
        left = length
        while left > 0:
            some = await reader.read(min(left, 65536))
            if not some:
                return False
            left -= len(some)
        status, size, body = self._answer(method, path, length)
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        writer.write(body)
        for _ in range((size - len(body)) // len(_BLOCK)):
            writer.write(_BLOCK)
            await writer.drain()
        writer.write(bytes((size - len(body)) % len(_BLOCK)))
        await writer.drain()
        return False

    def _answer(self, method: str, path: str, length: int) -> tuple[int, int, bytes]:
        name = path.split("?")[0].rpartition("/")[2]
        if name == "speedtest-config.php":
            if self.refuses:
                return self.refuses, 0, b""
            fill = {"threads": self.threads, "seconds": self.seconds, "per_url": self.per_url, "chunks": self.chunks}
            text = "<settings" if self.malformed else _CONFIG.format(**fill)
        elif name.startswith("speedtest-servers"):
            text = _SERVERS.format(host=f"{self.address}:{self.port}")
        elif name == "latency.txt":
            text = "test=test\n"
        elif name.startswith("random") and method == "GET":
            return 200, SIZES.get(int(name[6:].split("x")[0]), 0), b""
        elif name == "upload.php" and method == "POST":
            text = f"size={length}"
        else:
            return 404, 0, b""
        return 200, len(text), text.encode()


@contextlib.asynccontextmanager
async def fake_speedtest(
    address: str = "127.0.0.1", port: int = 0, **options: int | bool
) -> AsyncIterator[FakeSpeedtest]:
    """Serves on ``address``; with port 0 the system chooses one."""
    fake = FakeSpeedtest(address=address, **options)  # type: ignore[arg-type]
    server = await asyncio.start_server(fake.serve, address, port)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        await server.wait_closed()

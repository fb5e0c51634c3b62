"""What the agent_footprint bench measures against, in a process of its own.

Targets on loopback and a collector that acknowledges: ``python -m bench.footprint_world FILE`` writes its ports to FILE
as JSON and serves until it is ended.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from aiohttp import web

TARGETS = [f"127.0.0.{number}" for number in range(11, 31)]
"""20 addresses: the first ten for echoes, five for TCP, five for HTTP."""
ICMP, TCP, HTTP = TARGETS[:10], TARGETS[10:15], TARGETS[15:]
TOKEN = "pha_" + "f" * 43


def assignments(tcp: int, http: int) -> list[dict[str, object]]:
    """The set of the claim: 10 icmp at 1/s, 5 tcp and 5 http every 10 s."""

    def one(probe: str, number: int, every: float, **settings: object) -> dict[str, object]:
        return {"probe": probe, "target": f"{probe}-{number}", "every": every, "settings": settings}

    return [
        *(one("icmp", number, 60.0, host=host) for number, host in enumerate(ICMP)),
        *(one("tcp", number, 10.0, host=host, port=tcp) for number, host in enumerate(TCP)),
        *(one("http", number, 10.0, url=f"http://{host}:{http}/") for number, host in enumerate(HTTP)),
    ]


class Collector:
    """Takes every batch, keeps none, and counts them."""

    def __init__(self, settings: dict[str, object]) -> None:
        self._settings = settings
        self.batches = self.posts = self.observations = self.bytes = 0

    async def observations_posted(self, request: web.Request) -> web.Response:
        """``POST /api/v1/observations``."""
        received = time.time_ns() // 1000
        body = await request.read()
        envelope = json.loads(body)
        self.posts += 1
        self.bytes += request.content_length or 0
        receipts = []
        for one in envelope.get("batches", []):
            self.batches += 1
            self.observations += len(one["batch"]["observations"])
            receipts.append({"stream": one["batch"]["stream"], "seq": one["batch"]["seq"], "status": "stored"})
        sent = time.time_ns() // 1000
        answer = {"protocol": "1.0", "received": received, "sent": sent, "batches": receipts, "settings": "bench"}
        return web.json_response(answer)

    async def settings(self, _: web.Request) -> web.Response:
        """``GET /api/v1/settings``."""
        return web.json_response(self._settings)

    async def counts(self, _: web.Request) -> web.Response:
        """What was taken so far."""
        return web.json_response(
            {"batches": self.batches, "posts": self.posts, "observations": self.observations, "bytes": self.bytes}
        )


async def serve(told: Path) -> None:
    """Starts everything and writes the ports."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html><title>join</title>ready</html>", content_type="text/html")

    tcp = await asyncio.start_server(hang_up, "0.0.0.0", 0)
    pages = web.Application()
    pages.router.add_get("/", page)
    http = await _serve(pages, "0.0.0.0")
    tcp_port = int(tcp.sockets[0].getsockname()[1])
    settings: dict[str, object] = {"revision": "bench", "site": "bench", "assignments": assignments(tcp_port, http)}
    collector = Collector(settings)
    routes = web.Application(client_max_size=8 * 1024 * 1024)
    routes.router.add_post("/api/v1/observations", collector.observations_posted)
    routes.router.add_get("/api/v1/settings", collector.settings)
    routes.router.add_get("/counts", collector.counts)
    ports = {"tcp": tcp_port, "http": http, "collector": await _serve(routes, "127.0.0.1")}
    draft = told.with_suffix(".new")
    draft.write_text(json.dumps(ports))
    draft.rename(told)
    await asyncio.Event().wait()


async def _serve(app: web.Application, host: str) -> int:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    return int(runner.addresses[0][1])


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))

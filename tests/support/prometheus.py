"""Debian's Prometheus and Alertmanager for a test: on free ports, in a folder of their own, ended with the test."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE = 30.0
"""Seconds until a server that was started must answer."""
POLL = 0.05


def free_port() -> int:
    """A TCP port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """A server under test and how to ask it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, log: Path) -> None:
        self.url = url
        self.session = session
        self.log = log

    async def ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Returns when it answers ``/-/ready``; fails with its log if it ended or did not answer in time."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if process.poll() is not None:
                    raise AssertionError(await asyncio.to_thread(self.log.read_text))
                with contextlib.suppress(aiohttp.ClientError):
                    async with self.session.get(f"{self.url}/-/ready") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(POLL)

    async def api(self, path: str, **form: Any) -> Any:
        """``data`` of an answer of Prometheus's API; an error or a warning (remote read failed) fails the test."""
        async with self.session.post(f"{self.url}/api/v1/{path}", data=form) as answer:
            body = await answer.json()
        assert body["status"] == "success", body
        assert not body.get("warnings"), body
        return body["data"]

    async def until(self, expression: str) -> None:
        """Returns when a query at the present has rows: something was scraped."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if (await self.api("query", query=expression))["result"]:
                    return
                await asyncio.sleep(POLL)

    async def instant(self, expression: str, at: float) -> list[dict[str, Any]]:
        """The result of an instant query at a time (seconds since 1970)."""
        data = await self.api("query", query=expression, time=repr(at))
        return list(data["result"])

    async def ranged(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The result of a range query."""
        data = await self.api("query_range", query=expression, start=repr(start), end=repr(end), step=repr(step))
        return list(data["result"])


def config(collector: str, *, scrape: bool = False) -> str:
    """A Prometheus that reads a collector's history and, if wished, scrapes it every second."""
    lines = ["global:", "  scrape_interval: 1s", "  scrape_timeout: 1s"]
    lines += ["remote_read:", f"  - url: {collector}/api/v1/read", "    read_recent: true"]
    if scrape:
        address = collector.removeprefix("http://")
        lines += ["scrape_configs:", "  - job_name: phrom", "    static_configs:", f"      - targets: ['{address}']"]
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def prometheus(folder: Path, settings: str) -> AsyncIterator[Served]:
    """Runs Prometheus with a configuration."""
    port = free_port()
    await asyncio.to_thread((folder / "prometheus.yml").write_text, settings)
    arguments = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with _running(arguments, f"http://127.0.0.1:{port}", folder / "prometheus.log") as served:
        yield served


@contextlib.asynccontextmanager
async def alertmanager(folder: Path, settings: Path) -> AsyncIterator[Served]:
    """Runs Alertmanager with a configuration file."""
    port = free_port()
    arguments = [
        "prometheus-alertmanager",
        f"--config.file={settings}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    async with _running(arguments, f"http://127.0.0.1:{port}", folder / "alertmanager.log") as served:
        yield served


@contextlib.asynccontextmanager
async def _running(arguments: Sequence[str], url: str, log: Path) -> AsyncIterator[Served]:
    process = await asyncio.to_thread(_start, arguments, log)
    try:
        async with aiohttp.ClientSession() as session:
            served = Served(url, session, log)
            await served.ready(process)
            yield served
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


def _start(arguments: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as out:
        return subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT)

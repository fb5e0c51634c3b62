"""The responder as a process of its own (DESIGN §6.7): its servers, its ledger, and what it tells of itself.

Alone (``phrom-collector responder``) it ends with SIGTERM. Beside a collector it reads its settings as one line of JSON
from stdin, tells how it fares as lines of JSON on stdout, and ends when stdin does: it can never outlive its parent.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from collector.responder import stamp, tcp, udp
from collector.responder.admission import Admission, Counts
from collector.responder.keys import BadKey, read_key
from collector.responder.report import Report
from collector.responder.settings import ResponderSettings
from wire import systemd
from wire.clock import Instant
from wire.logs import set_up

log = structlog.get_logger("responder")

REPORT_EVERY = 5.0
"""Seconds from one line about itself to the next."""
EXPIRE_EVERY = 1.0
"""Seconds between looks which sessions are over."""
STOPPING = 5.0
"""Seconds that the servers get to close."""


class CannotServe(Exception):
    """The responder cannot do its work here; the message says why and what to do."""


class Server(Protocol):
    """What each protocol's module serves by ``serve(host, port, admission, now)``."""

    @property
    def port(self) -> int:
        """Where it listens."""

    async def close(self) -> None:
        """Ends it and its sessions."""


Serve = Callable[[str, int, Admission, Callable[[], Instant]], Awaitable[Server]]
PROTOCOLS: dict[str, Serve] = {"tcp": tcp.serve, "udp": udp.serve, "stamp": stamp.serve}


def now_utc() -> Instant:
    """The machine's clock in UTC microseconds."""
    return time.time_ns() // 1000


class Responder:
    """``async with Responder(settings, now) as responder`` serves; ``responder.ports`` says where."""

    def __init__(self, settings: ResponderSettings, now: Callable[[], Instant] = now_utc) -> None:
        self._settings = settings
        self._now = now
        self._servers: dict[str, Server] = {}
        self._chore: asyncio.Task[None] | None = None
        self.admission: Admission | None = None

    async def __aenter__(self) -> "Responder":
        settings = self._settings
        secret = await asyncio.to_thread(_secret, settings)
        self.admission = Admission(settings.id, secret, settings.capacity(), self._now())
        try:
            for name, serve in PROTOCOLS.items():
                port = getattr(settings, f"{name}_port")
                self._servers[name] = await _bound(name, serve, settings.bind, port, self.admission, self._now)
        except BaseException:
            await self.close()
            raise
        self._chore = asyncio.create_task(self._expire(), name="expire")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the servers, each with a limit on its patience."""
        if self._chore is not None:
            self._chore.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._chore
            self._chore = None
        while self._servers:
            name, server = self._servers.popitem()
            try:
                async with asyncio.timeout(STOPPING):
                    await server.close()
            except TimeoutError:
                log.warning("server did not close in time", protocol=name, seconds=STOPPING)

    @property
    def ports(self) -> dict[str, int]:
        """Where it listens, by protocol."""
        return {name: server.port for name, server in self._servers.items()}

    def report(self) -> Report:
        """What it can say of itself now."""
        assert self.admission is not None  # noqa: S101 - it is open
        counts: Counts = self.admission.counts()
        purposes = {one.lease.purpose for one in self.admission.sessions}
        sessions = {one.value: self.admission.sessions_of(one) for one in purposes}
        return Report(
            ports=self.ports,
            sessions=sessions,
            opened=dict(counts.opened),
            denied=dict(counts.denied),
            sent=dict(counts.sent),
            received=dict(counts.received),
        )

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY)
            assert self.admission is not None  # noqa: S101 - it is open
            self.admission.expire(self._now())


def _secret(settings: ResponderSettings) -> bytes:
    try:
        return read_key(Path(settings.key_file))
    except BadKey as bad:
        raise CannotServe(f"key_file: {bad}") from bad


async def _bound(
    name: str, serve: Serve, bind: str, port: int, admission: Admission, now: Callable[[], Instant]
) -> Server:
    host = "" if bind == "::" else bind  # every address of both families, as the servers understand it
    try:
        return await serve(host, port, admission, now)
    except OSError as error:
        protocol = "tcp" if name == "tcp" else "udp"
        words = os.strerror(error.errno) if error.errno else str(error)
        raise CannotServe(
            f"cannot listen on {bind} port {port}/{protocol} ({name}): {words}; another responder may run here, "
            f"or bind or {name}_port is wrong (ss -lnp shows who listens)"
        ) from error


async def run_alone(settings: ResponderSettings) -> None:
    """Until SIGTERM or SIGINT; raises :class:`CannotServe`."""
    stop = _stopped_by_signal()
    async with contextlib.AsyncExitStack() as stack:
        responder = await stack.enter_async_context(Responder(settings))
        if settings.metrics_port:
            await _serve_metrics(stack, responder, settings)
        watchdog = asyncio.create_task(systemd.watchdog())
        stack.callback(watchdog.cancel)
        _settle()
        log.info("responder serves", id=settings.id, bind=settings.bind, **responder.ports)
        systemd.notify("READY=1\nSTATUS=serving as " + settings.id)
        await stop.wait()
        systemd.notify("STOPPING=1")
        log.info("responder stops")


async def _serve_metrics(stack: contextlib.AsyncExitStack, responder: Responder, settings: ResponderSettings) -> None:
    from collector.responder.metrics import serve_metrics  # with aiohttp, which only this needs

    try:
        await stack.enter_async_context(serve_metrics(settings.id, responder.report, settings.metrics_port))
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)
        raise CannotServe(f"cannot listen on 127.0.0.1 port {settings.metrics_port} (metrics_port): {words}") from error


async def run_beside() -> int:
    """With settings from stdin, until stdin ends; the exit code. What goes wrong is told to the parent alone."""
    lines = await _stdin()
    settings = msgspec.json.decode(await lines.readline(), type=ResponderSettings)
    set_up(settings.log, settings.log_level)
    stop = _stopped_by_signal()
    tasks = [asyncio.create_task(lines.read()), asyncio.create_task(stop.wait())]
    try:
        async with Responder(settings) as responder:
            _settle()
            tell(responder.report())
            tasks.append(asyncio.create_task(_keep_telling(responder)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except CannotServe as cause:
        tell(Report(trouble=str(cause)))
        return 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return 0


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(sys.stdin.fileno(), "rb"))
    return reader


async def _keep_telling(responder: Responder) -> None:
    while True:
        await asyncio.sleep(REPORT_EVERY)
        tell(responder.report())


def tell(report: Report) -> None:
    """One line for the parent. A parent that does not read must not hold up a test."""
    os.set_blocking(1, False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(1, msgspec.json.encode(report) + b"\n")


def _stopped_by_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _settle() -> None:
    """What start made stays for good: no collection of garbage looks at it while packets are being stamped."""
    gc.collect()
    gc.freeze()

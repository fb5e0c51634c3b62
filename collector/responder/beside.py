"""The responder beside the collector: a process of its own that ``serve`` and ``demo`` start, watch and end.

Its trouble is told plainly and never stops the collector. It gets its settings by its stdin, and ends when that does.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from collector.inventory import Inventory
from collector.responder.keys import BadKey, ensure_key, key_file
from collector.responder.report import Report
from collector.responder.settings import ResponderSettings
from collector.settings import CollectorSettings
from wire.logs import Trouble

if TYPE_CHECKING:
    from collector.services import Services

log = structlog.get_logger()

COMMAND = (sys.executable, "-P", "-m", "collector.cli", "responder", "--beside")
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before a responder that ended is started again; each time doubled, until one has lived for the longest."""
LOOK_EVERY = 2.0
"""Seconds between looks whether the inventory wants another responder."""
STOPPING = 8.0
"""Seconds that it gets to end its sessions."""
LONGEST_LINE = 64 * 1024


def wanted(settings: CollectorSettings, inventory: Inventory) -> ResponderSettings | None:
    """What the responder beside this collector is told; ``None`` where the inventory has none without a host."""
    place = next((one for one in inventory.responders.values() if not one.host), None)
    own = settings.responder
    if place is None or not own.start:
        return None
    return ResponderSettings(
        id=place.id,
        bind=own.bind or settings.bind,
        tcp_port=place.tcp_port,
        udp_port=place.udp_port,
        stamp_port=place.stamp_port,
        sends_mbps=place.sends_mbps,
        takes_mbps=place.takes_mbps,
        key_file=str(key_file(Path(settings.data), place.id)),
        sessions=own.sessions,
        of_one_source=own.of_one_source,
        log=settings.log,
        log_level=settings.log_level,
    )


class Beside:
    """``run`` keeps the responder going until it is cancelled."""

    def __init__(
        self,
        services: "Services",
        command: tuple[str, ...] = COMMAND,
        *,
        first_wait: float = FIRST_WAIT,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._services = services
        self._command = command
        self._first_wait = first_wait
        self._pause = pause
        self._trouble = Trouble(log, "responder does not run", "responder runs again")
        self.name = ""
        """Id of the responder that is wanted; empty where none is."""
        self.report: Report | None = None
        """The last that the running one said; ``None`` while none serves."""
        self.starts = 0
        """Processes started so far."""

    def silent(self, responder: str) -> bool:
        """Whether it is known that this responder does not serve now."""
        return responder == self.name and self.report is None

    async def run(self) -> None:
        """Until cancelled."""
        wait = self._first_wait
        while True:
            settings = self._wanted()
            if settings is None:
                await asyncio.sleep(LOOK_EVERY)
                continue
            begun = asyncio.get_running_loop().time()
            ended = await self._once(settings)
            if self._wanted() != settings:
                wait = self._first_wait
                continue
            self._trouble.failed(ended, responder=settings.id)
            if asyncio.get_running_loop().time() - begun > LONGEST_WAIT:
                wait = self._first_wait
            await self._pause(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _wanted(self) -> ResponderSettings | None:
        found = wanted(self._services.settings, self._services.inventory)
        self.name = found.id if found else ""
        return found

    async def _once(self, settings: ResponderSettings) -> str:
        """One process from start to end; why it ended."""
        try:
            await asyncio.to_thread(ensure_key, Path(settings.key_file))
            process = await self._start()
        except BadKey as bad:
            return str(bad)
        except OSError as error:
            return f"{self._command[0]}: {error.strerror}"
        self.starts += 1
        try:
            return await self._hear(process, settings)
        finally:
            self.report = None
            await _end(process)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is the parent's to pass on
        )

    async def _hear(self, process: asyncio.subprocess.Process, settings: ResponderSettings) -> str:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
        listening = asyncio.create_task(self._listen(process.stdout, settings))
        try:
            while self._wanted() == settings:
                done, _ = await asyncio.wait({listening}, timeout=LOOK_EVERY)
                if done:
                    cause = listening.result()
                    return cause or f"its process ended with code {await process.wait()}"
            return "the inventory changed"
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _listen(self, lines: asyncio.StreamReader, settings: ResponderSettings) -> str:
        """Takes its lines until there are no more; the trouble that the last one told."""
        while True:
            try:
                line = await lines.readline()
                report = msgspec.json.decode(line, type=Report) if line else None
            except (ValueError, msgspec.DecodeError):
                return "its process wrote what no responder says"
            if report is None:
                return ""
            if report.trouble:
                return report.trouble
            if self.report is None:
                self._trouble.worked(responder=settings.id)
                log.info("responder serves", responder=settings.id, bind=settings.bind, **report.ports)
            self.report = report


async def make_keys(services: "Services") -> None:
    """Every responder of the inventory has its key file, so that it can be copied to where the responder stands; raises
    :class:`BadKey`."""
    for place in services.inventory.responders.values():
        await asyncio.to_thread(ensure_key, key_file(Path(services.settings.data), place.id))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends it in order: without its stdin it closes its sessions and goes."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOPPING):
            await process.wait()
    except TimeoutError:
        log.warning("responder did not end in time", seconds=STOPPING)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def responding(services: "Services") -> AsyncIterator[Beside]:
    """Keeps the responder beside a collector going; it is ended at the end."""
    beside = Beside(services)
    services.beside = beside
    task = asyncio.create_task(beside.run(), name="responder")
    try:
        yield beside
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

"""Looks every few seconds where the agent stands, tells those who need it, and records when it changed."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from agent.clock import Clock
from agent.directory import Directory
from agent.measuring import Records
from agent.vantage import Vantage, look, salt_of
from wire.batch import StreamName
from wire.observation import Change
from wire.settings import AgentSettings

EVERY = 5.0
"""Seconds between looks: a few small files of /proc and /sys."""
RESOLV = Path("/etc/resolv.conf")
NOWHERE = "none"
"""The name of having no default route."""
ROUSED = (0.1, 0.3, 0.6)
"""Seconds to wait for the gateway's MAC address after each datagram that makes the kernel ask for it."""
DISCARD = 9
"""Port of the discard protocol, RFC 863: whoever answers at all says that nobody listens."""

Look = Callable[[str, Vantage | None], Vantage | None]


class Whereabouts:
    """Keeps the present vantage and, in the directory, the gateway's and the resolver's address."""

    def __init__(
        self,
        clock: Clock,
        records: Records,
        directory: Directory,
        tell: Callable[[Vantage | None], None],
        look: Look = look,
        rouse: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._records = records
        self._directory = directory
        self._tell = tell
        self._look = look
        self._rouse = rouse or rouse_neighbour
        self._vain = ""
        self._settings = AgentSettings()
        self._salt = salt_of("", "")
        self._said: str | None = None
        self._place = ""
        self._seen = (0, 0)
        self._log = structlog.get_logger("agent.vantage")
        self.present: Vantage | None = None

    def apply(self, settings: AgentSettings) -> None:
        """The site's salt; from the next look on the vantage is named by it."""
        self._settings = settings
        self._salt = salt_of(settings.province, settings.site)

    async def look(self, record: bool = True) -> Vantage | None:
        """Looks once; a change is recorded on the evidence stream. Before the site is known the place has no name, for
        it would be another one after joining, and somebody might confirm the first."""
        joined = bool(self._settings.site)
        found, resolver = await self._find()
        place = found.id if found else ""
        if found and not joined:
            found = found._replace(id="", gateway_hash="")
        self.present = found
        self._directory.routed = found is not None
        self._directory.learn({"gateway": found.gateway if found else "", "resolver": resolver})
        self._tell(found)
        if place and self._place not in ("", place):
            self._directory.learn(
                {"edge": "", "edge_hop": "", "beyond": "", "anchored": ""}
            )  # learned at another place
        self._place = place or self._place
        boottime, wall = self._clock.boottime(), self._clock.wall()
        name = found.id if found else NOWHERE
        before, self._said = self._said, name if joined else None
        if record and joined and name != before:
            await self._record(before or "unknown", found, (boottime, wall))
        self._seen = (boottime, wall)
        return found

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._clock.sleep(EVERY)
            await self.look()

    async def _find(self) -> tuple[Vantage | None, str]:
        """Where the machine stands, and its resolver. Right after a boot or a pulled cable the kernel does not know the
        router's MAC address yet; named by the private address the place would be another, which nobody confirmed."""
        seen = partial(_all, self._look, self._salt, self.present)
        found, resolver = await asyncio.to_thread(seen)
        for wait in ROUSED:
            if found is None or found.mac or found.gateway in ("", self._vain) or ":" in found.gateway:
                break
            await asyncio.to_thread(self._rouse, found.gateway)
            await self._clock.sleep(wait)
            found, resolver = await asyncio.to_thread(seen)
        self._vain = found.gateway if found and not found.mac else ""
        return found, resolver

    async def _record(self, before: str, found: Vantage | None, now: tuple[int, int]) -> None:
        since = self._seen if self._seen[0] else now
        facts = found.facts if found else {}
        change = Change(
            boot=self._clock.boot,
            start=since[0],
            end=now[0],
            wall_start=since[1],
            wall_end=now[1],
            settings=self._settings.revision,
            vantage=found.id if found else "",
            probe="vantage",
            target="machine",
            previous=before,
            current=found.id if found else NOWHERE,
            facts=facts,
        )
        self._log.info("vantage", before=before, now=change.current, **facts)
        await self._records.record(StreamName.EVIDENCE, change, urgent=True)


def rouse_neighbour(address: str) -> None:
    """Sends an empty datagram, for which the kernel must resolve the neighbour. Where it cannot be sent the place keeps
    being named by what is known."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"", (address, DISCARD))


def _all(looking: Look, salt: str, previous: Vantage | None) -> tuple[Vantage | None, str]:
    return looking(salt, previous), resolver_of(_text(RESOLV))


def resolver_of(text: str) -> str:
    """The first name server of resolv.conf(5), or empty."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1].partition("%")[0]):
            return words[1]
    return ""


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

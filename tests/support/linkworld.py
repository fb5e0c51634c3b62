"""A link in virtual time: who answers when, and how late, so that the watcher's seconds can be told beforehand."""

import asyncio
import errno
import random
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from agent.directory import Directory, NotLearnedYet
from agent.probe import Sighting, Span, Target
from agent.probes.icmp.codec import TIME_EXCEEDED, ExtendedError, Family, Origin
from agent.probes.icmp.pinger import Pinger, Received
from agent.probes.link import AnchorAt, FarEnd, Link, LinkSettings
from agent.probes.link.aims import Out
from agent.probes.link.classify import Way
from tests.support.warp import WarpClock
from wire.clock import SECOND
from wire.reasons import Reason

ADDRESSES = {
    "gateway": "192.168.1.1",
    "edge": "10.9.0.1",
    "anchor-1": "203.0.113.1",
    "anchor-2": "203.0.113.2",
    "responder": "198.51.100.8",
    "collector": "198.51.100.9",
}
ROLES = {address: role for role, address in ADDRESSES.items()}
BEYOND = ("anchor-1", "anchor-2", "responder", "collector")
FAR = ("edge", *BEYOND)
ALL = ("gateway", *FAR)
SETTINGS = LinkSettings(
    anchors=(AnchorAt("anchor-1", ADDRESSES["anchor-1"]), AnchorAt("anchor-2", ADDRESSES["anchor-2"])),
    responders=(FarEnd("hall", ADDRESSES["responder"]),),
    collector=ADDRESSES["collector"],
)
BEHIND = Out("eth0", ADDRESSES["gateway"], Way(True, True, False, "reachable"))
ON_ROUTER = Out("ppp0", "", Way(True, True, True, ""))


class Fault(NamedTuple):
    """Roles that are silent from one second to another (after the start of the watch)."""

    start: float
    end: float
    roles: tuple[str, ...] = FAR
    out: Out | None = None
    """The way out meanwhile."""
    sending: int = 0
    """An errno with which sending fails meanwhile."""


class LinkWorld:
    """Stands for the pinger, the routing table and the surroundings at once. A test sets what differs from a link that
    is up."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = WarpClock(self.loop)
        self.began = self.loop.time()
        self.faults: list[Fault] = []
        self.never: set[str] = set()
        self.delay: Callable[[float], float] = lambda _: 0.02
        self.loss = 0.0
        self.near: set[str] = set()
        self.out = BEHIND
        self.reason: Callable[[float], Reason | None] = lambda _: None
        self.sent = 0
        self.told: list[Callable[[], None]] = []
        self.directory = Directory({"edge": ADDRESSES["edge"], "beyond": "2"})
        self._chance = random.Random(7)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.loop.time() - self.began

    # the pinger

    def send(
        self, family: Family, address: Any, size: int, listener: Callable[[Received], None], ttl: int | None = None
    ) -> int:
        self.sent += 1
        role = ROLES[address[0]]
        present = [one for one in self.faults if one.start <= self.now < one.end]
        for one in present:
            if one.sending:
                raise OSError(one.sending, "sending fails")
        turned = {1: "gateway", 2: "edge"}.get(ttl or 99)
        answering = turned or role
        silent = set().union(*(one.roles for one in present)) | (set() if turned else self.never)
        if answering in silent or self._chance.random() < self.loss:
            return self.sent
        error = ExtendedError(errno.EHOSTUNREACH, Origin.ICMP, TIME_EXCEEDED[family], 0) if turned else None
        received = Received(self.sent, ADDRESSES[answering], 0, 64 if role in self.near else 55, error)
        delay = self.delay(self.now)
        self.loop.call_later(delay, listener, received._replace(rtt=round(delay * 1e9)))
        return self.sent

    def close(self) -> None:
        """As the pinger."""

    # the routing table

    def way_out(self, before: Out) -> Out:
        present = [one.out for one in self.faults if one.out is not None and one.start <= self.now < one.end]
        found = present[-1] if present else self.out
        return found if found.way.routed else before._replace(way=before.way._replace(routed=False, neighbour=""))

    # the surroundings

    def address(self, text: str) -> str:
        try:
            return str(self.directory.resolve(text))
        except NotLearnedYet:
            return ""

    def hindrance(self, interface: str, gateway: str) -> Reason | None:
        return self.reason(self.now)

    def until_grid(self, seconds: float, boottime: int) -> int:
        length = round(seconds * SECOND)
        return length - boottime % length

    async def watch(self, seconds: float, settings: LinkSettings = SETTINGS) -> list[Sighting]:
        """What a watch of so many seconds says, each sighting with the second at which it came in ``values``."""
        link = Link(cast(Pinger, self), self.way_out)
        found: list[Sighting] = []

        async def follow() -> None:
            async for one in link.watch(Target("link", "", settings), Span(60.0, 60.0), self):
                self.directory.learn(one.finding.learned)
                found.append(one)

        task = asyncio.create_task(follow())
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
        return found

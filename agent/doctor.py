"""``phrom-agent doctor``: can this machine do its work? Every check, what was found, and what to do."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent.anchoring import anchor_of
from agent.clock import Clock, SystemClock
from agent.connection import Answered, Connection, UnsafeAddress
from agent.doctor_words import say
from agent.once import quantity
from agent.refusals import ExchangeFailed, TokenRefused
from agent.settings import OwnSettings
from agent.state import Identity, State, StateDamaged, StateUnusable
from agent.vantage import Medium, Vantage, look, salt_of
from wire.batch import AgentClock, Envelope
from wire.clock import SECOND
from wire.settings import AgentSettings, Role
from wire.version import PROTOCOL

LEAST_FREE = 200 * 1024 * 1024
"""Bytes of free disk below which the doctor warns: twelve days of a site with 30 observations a minute."""
CLOCK_OFF = 2.0
"""Seconds of offset beyond which the doctor warns; records are corrected, but certificates are judged by this clock."""
PATIENCE = 10.0
"""Seconds for each question to the network."""


class Check(msgspec.Struct, frozen=True):
    """One check: ``state`` is ``ok``, ``warn``, ``bad`` or ``unknown``; ``words`` is a key of the catalogue."""

    name: str
    state: str
    words: str
    values: dict[str, str] = {}

    def text(self, language: str) -> str:
        """What was found and what to do."""
        return say(self.words, language, self.values)


async def examine(own: OwnSettings) -> list[Check]:
    """All checks, in the order in which to mend what they find."""
    clock: Clock = await asyncio.to_thread(SystemClock)
    state = State(own.state_dir)
    folder = await asyncio.to_thread(state_folder, own.state_dir)
    joined, identity = await asyncio.to_thread(membership, state)
    fetched = await asyncio.to_thread(settings_of, state)
    settings = fetched or AgentSettings(
        province=identity.province if identity else "", site=identity.site if identity else ""
    )
    found = [folder, await asyncio.to_thread(disk, own.state_dir), await asyncio.to_thread(right_to_ping)]
    standing = await asyncio.to_thread(look, salt_of(settings.province, settings.site))
    if standing and not settings.site:
        standing = standing._replace(id="-")  # named by the site, which joining tells
    found += [vantage(standing, settings), joined]
    address = own.collector or (identity.url if identity else "")
    named = await name(address)
    found.append(named)
    return found + await conversation(address, identity, clock, named.state == "bad")


def healthy(checks: list[Check]) -> bool:
    """Whether nothing must be mended."""
    return not any(check.state == "bad" for check in checks)


def state_folder(folder: Path) -> Check:
    """Can it be made and written?"""
    try:
        State(folder).prepare()
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            pass
    except StateUnusable as trouble:
        return Check("state", "bad", "state_bad", {"cause": str(trouble)})
    except OSError as trouble:
        return Check("state", "bad", "state_bad", {"cause": str(StateUnusable(folder, trouble))})
    return Check("state", "ok", "state_fine", {"folder": str(folder)})


def disk(folder: Path, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> Check:
    """Is there room for days without a collector?"""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    free = usage(nearest)[2]
    values = {"free": quantity(free, "B"), "wanted": quantity(LEAST_FREE, "B")}
    return Check("disk", "ok", "disk_fine", values) if free >= LEAST_FREE else Check("disk", "warn", "disk_low", values)


def right_to_ping() -> Check:
    """May an ICMP socket be opened, and of which kind?"""
    from agent.probes.icmp.codec import Family
    from agent.probes.icmp.sockets import REMEDY, EchoSocket

    try:
        echo = EchoSocket(Family.V4)
    except OSError:
        return Check("icmp", "bad", "icmp_bad", {"remedy": REMEDY})
    how = "raw socket" if echo.raw else "ping socket"
    echo.close()
    return Check("icmp", "ok", "icmp_fine", {"how": how})


def vantage(standing: Vantage | None, settings: AgentSettings) -> Check:
    """Where does it stand, and is that the site's link?"""
    if standing is None:
        return Check("vantage", "bad", "vantage_none")
    values = {"id": standing.id, "interface": standing.interface, "medium": standing.medium.value}
    if settings.vantages and standing.id not in settings.vantages:
        return Check("vantage", "bad", "vantage_elsewhere", values)
    if standing.medium is Medium.WIFI and settings.role is not Role.ROOM:
        return Check("vantage", "warn", "vantage_wifi", values)
    return Check("vantage", "ok", "vantage_fine", values)


def membership(state: State) -> tuple[Check, Identity | None]:
    """Has it joined?"""
    try:
        identity = state.identity()
    except (StateDamaged, StateUnusable) as trouble:
        return Check("joined", "bad", "joined_bad", {"cause": str(trouble)}), None
    if identity is None:
        return Check("joined", "bad", "joined_not"), None
    return Check("joined", "ok", "joined_fine", {"site": identity.site, "url": identity.url}), identity


def settings_of(state: State) -> AgentSettings | None:
    """The last good copy, if there is a readable one."""
    try:
        return state.settings()
    except StateUnusable:
        return None


async def name(address: str) -> Check:
    """Does the collector's name resolve?"""
    host = urlsplit(address).hostname or ""
    if not host:
        return Check("name", "unknown", "not_tried")
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return Check("name", "ok", "name_not_needed")
    try:
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return Check("name", "bad", "name_bad", {"host": host, "cause": f"no answer within {PATIENCE:g} s"})
    except OSError as trouble:
        return Check("name", "bad", "name_bad", {"host": host, "cause": trouble.strerror or str(trouble)})
    return Check("name", "ok", "name_fine", {"host": host, "address": str(found[0][4][0])})


async def conversation(address: str, identity: Identity | None, clock: Clock, hopeless: bool) -> list[Check]:
    """Does the collector answer, does it take the token, and what time is it there? One heartbeat answers all."""
    untried = [Check(one, "unknown", "not_tried") for one in ("collector", "token", "clock")]
    if identity is None or hopeless:
        return untried
    heartbeat = Envelope(protocol=PROTOCOL, clock=AgentClock(clock.boot, clock.boottime(), clock.wall()))
    try:
        async with Connection(address, clock, token=identity.token, ca=identity.ca, patience=PATIENCE) as connection:
            answered = await connection.post(heartbeat)
    except TokenRefused as refusal:
        values = {"cause": str(refusal)}
        return [
            Check("collector", "ok", "collector_refuses"),
            Check("token", "bad", "token_bad", values),
            untried[2],
        ]
    except (ExchangeFailed, UnsafeAddress) as failure:
        return [Check("collector", "bad", "collector_bad", {"cause": str(failure)}), *untried[1:]]
    took = quantity((answered.received - answered.sent) / SECOND, "s")
    return [
        Check("collector", "ok", "collector_fine", {"took": took}),
        Check("token", "ok", "token_fine"),
        time_of(answered, clock),
    ]


def time_of(answered: Answered, clock: Clock) -> Check:
    """How far this machine's clock is from the collector's."""
    anchor = anchor_of(answered, clock.boot)
    if anchor is None:
        return Check("clock", "unknown", "not_tried")
    now = anchor.utc + clock.boottime() - anchor.boottime
    offset = (clock.wall() - now) / SECOND
    values = {"offset": quantity(offset, "s"), "error": quantity(anchor.error / SECOND, "s")}
    if abs(offset) > CLOCK_OFF:
        return Check("clock", "warn", "clock_off", values)
    return Check("clock", "ok", "clock_fine", values)

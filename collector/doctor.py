"""Whether this machine can do a collector's work; each finding says what was found and what to do."""

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
from cryptography import x509

from collector.findings import Finding
from collector.inventory import Inventory
from collector.province import folder_of, load_province
from collector.responder import doctor as responder
from collector.settings import CollectorSettings, is_any
from collector.tls import RENEW_BEFORE, utc_now
from wire.yaml_settings import SettingsError

LEAST_FREE = 2 * 1024**3
"""Bytes of free disk below which the doctor warns: a province writes about 100 MB a day before packing."""


async def examine(settings: CollectorSettings) -> list[Finding]:
    """Every check, the costly ones in threads."""
    quiet: list[Callable[[CollectorSettings], Finding]] = [_folder, _disk, _inventory, _certificate]
    found = [await asyncio.to_thread(one, settings) for one in quiet]
    return [*found, *await _responder(settings), await _clock(), await _running(settings)]


def today(inventory: Inventory) -> dt.date:
    """The province's day."""
    return dt.datetime.now(ZoneInfo(inventory.province.time_zone)).date()


async def _responder(settings: CollectorSettings) -> list[Finding]:
    try:
        inventory = await asyncio.to_thread(load_province, settings)
    except SettingsError:
        return []  # told already
    return await responder.examine(settings, inventory, today(inventory))


def _folder(settings: CollectorSettings) -> Finding:
    folder = Path(settings.data)
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            "data folder", False, f"{folder}: {nearest} is not writable for this user; chown it or set data:"
        )
    if not folder.exists():
        return Finding("data folder", True, f"{folder}: not there yet, will be made")
    if folder.stat().st_mode & 0o007:
        return Finding("data folder", False, f"{folder}: open to everyone; chmod o= {folder}")
    return Finding("data folder", True, str(folder))


def _disk(settings: CollectorSettings) -> Finding:
    folder = Path(settings.data)
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(nearest).free
    words = f"{free / 1024**3:.1f} GiB free for {folder}"
    return Finding("disk", free >= LEAST_FREE, words if free >= LEAST_FREE else f"{words}; expected 2 GiB or more")


def _inventory(settings: CollectorSettings) -> Finding:
    try:
        inventory = load_province(settings)
    except SettingsError as error:
        return Finding("inventory", False, str(error))
    return Finding("inventory", True, f"{len(inventory.sites)} sites from {folder_of(settings)}")


def _certificate(settings: CollectorSettings) -> Finding:
    if settings.tls == "none":
        where = "a declared proxy ends TLS" if settings.behind_tls_proxy else f"plain HTTP on {settings.bind} only"
        return Finding("tls", True, where)
    file = Path(settings.certificate) if settings.tls == "files" else settings.tls_folder / "server.pem"
    if not file.exists():
        return Finding("tls", True, f"{file}: will be made at first start")
    end = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    left = end - utc_now()
    words = f"{file}: valid until {end.astimezone(dt.UTC):%Y-%m-%d}"
    if left <= RENEW_BEFORE and settings.tls == "files":
        return Finding("tls", False, f"{words}, {left.days} days; replace the file and restart")
    return Finding("tls", left.days >= 0, words)


async def _clock() -> Finding:
    """Whether the machine's clock is kept by NTP, as systemd tells."""
    tool = await asyncio.to_thread(shutil.which, "timedatectl")
    if tool is None:
        return Finding("clock", True, "timedatectl is not here: whether the clock is kept by NTP cannot be told")
    process = await asyncio.create_subprocess_exec(
        tool, "show", "--property=NTPSynchronized", "--value",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    answer = out.decode().strip()
    if answer == "no":
        return Finding("clock", False, "the clock is not synchronised; every agent's time hangs on it: set up NTP")
    return Finding("clock", True, "synchronised" if answer == "yes" else "whether NTP keeps it cannot be told")


async def _running(settings: CollectorSettings) -> Finding:
    """Either a collector answers on the port, or the port is free for one."""
    host = "127.0.0.1" if is_any(settings.bind) else settings.bind
    verified = settings.scheme != "https"  # it is our own machine, and nothing is told to whoever answers
    url = f"{settings.scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}/readyz"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url, ssl=verified) as answer,
        ):
            text = (await answer.text()).strip()
            ours = answer.headers.get("Server") == "phrom"
    except (aiohttp.ClientConnectorError, aiohttp.ClientConnectionResetError):
        return await asyncio.to_thread(_port_free, settings)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Finding("port", False, f"{url}: something else answers there ({type(error).__name__}); change port")
    if not ours:
        return Finding("port", False, f"{url}: another program answers there; change port or stop it")
    return Finding("collector", answer.status == 200, f"runs, {text}")


def _port_free(settings: CollectorSettings) -> Finding:
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.bind, settings.port))
        except OSError as error:
            return Finding("port", False, f"{settings.bind}:{settings.port}: {error.strerror}; change bind or port")
    return Finding("port", True, f"{settings.bind}:{settings.port} is free; no collector runs")

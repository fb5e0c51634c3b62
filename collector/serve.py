"""The collector as a daemon: opens its parts, serves, keeps house, and ends in order."""

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from collector import tls
from collector.accounts import Accounts
from collector.app import create_app
from collector.inventory import Inventory
from collector.orders import Orders
from collector.picture import Picture
from collector.province import keep, load_province, stamp_of
from collector.responder.beside import make_keys, responding
from collector.rotation import rotate_old_tokens
from collector.services import Services
from collector.settings import CollectorSettings
from collector.store import Store
from collector.store.retention import Retention
from wire import systemd
from wire.clock import Instant
from wire.logs import Trouble

log = structlog.get_logger()

SHUTDOWN = 10.0
"""Seconds that requests in hand get to end; agents send again what was not answered."""


class CannotStart(Exception):
    """The collector cannot start here; the message says why and what to do."""


def now_utc() -> Instant:
    """The machine's clock in UTC microseconds."""
    return time.time_ns() // 1000


@contextlib.contextmanager
def lone(folder: Path) -> Iterator[None]:
    """Holds the data folder for one collector; raises :class:`CannotStart` if another holds it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(
            f"data folder {folder}: {error.strerror}; make it writable for this user, or set data:"
        ) from (error)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise CannotStart(f"data folder {folder}: another collector runs on it; stop that one first") from error
    try:
        yield
    finally:
        os.close(handle)


@contextlib.asynccontextmanager
async def opened(
    settings: CollectorSettings, inventory: Inventory, *, now: Callable[[], Instant] = now_utc
) -> AsyncIterator[Services]:
    """The parts of a collector, open; closed again at the end."""
    store = await asyncio.to_thread(Store.open, settings.store_file)
    try:
        limits = settings.limits
        accounts = Accounts(
            store,
            now,
            posts=(limits.requests_per_second, 4 * limits.requests_per_second),
            joins=(limits.join_attempts_per_minute / 60, max(5.0, limits.join_attempts_per_minute)),
        )
        services = Services(
            settings=settings,
            store=store,
            accounts=accounts,
            orders=Orders(store, now),
            picture=Picture(),
            inventory=inventory,
            now=now,
            started=now(),
        )
        if settings.tls == "own":
            services.authority = await asyncio.to_thread(_authority, settings)
        await accounts.refresh()
        await services.orders.load()
        await services.vantages.refresh()
        await services.picture.rebuild(store)
        await services.slots.load()
        await keep(store, inventory, now())
        yield services
        await accounts.flush()
    finally:
        await asyncio.to_thread(store.close)


def _authority(settings: CollectorSettings) -> tls.Authority:
    authority = tls.Authority.open(settings.tls_folder, tls.utc_now())
    authority.ensure_server(tls.wanted_names(settings), tls.utc_now())
    return authority


@contextlib.asynccontextmanager
async def listening(services: Services) -> AsyncIterator[str]:
    """Serves; yields the URL. With port 0 the system chooses one."""
    settings = services.settings
    secure = await asyncio.to_thread(_context, settings)
    runner = web.AppRunner(
        create_app(services),
        access_log=None,
        logger=_server_log(),
        auto_decompress=False,  # collector.body unpacks, bounded
        handle_signals=False,
        shutdown_timeout=SHUTDOWN,
    )
    await runner.setup()
    tasks: list[asyncio.Task[None]] = []
    try:
        await _bind(runner, settings.bind, settings.port, secure)
        if settings.people_port:
            await _bind(runner, "127.0.0.1", settings.people_port, None)
        tasks = [asyncio.create_task(job, name=name) for name, job in _chores(services, secure)]
        port = runner.addresses[0][1]
        host = settings.bind if settings.bind not in ("0.0.0.0", "::") else "127.0.0.1"
        yield f"{settings.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        services.stopping = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()


def _server_log() -> logging.Logger:
    """aiohttp's own log without what strangers send: it would write a traceback for every request that is no HTTP."""
    found = logging.getLogger("phrom.http")
    found.filters = [_no_nonsense]
    return found


def _no_nonsense(record: logging.LogRecord) -> bool:
    cause = record.exc_info[1] if record.exc_info else None
    return not isinstance(cause, HttpProcessingError)


def _context(settings: CollectorSettings) -> ssl.SSLContext | None:
    if settings.tls == "none":
        return None
    return tls.context(*_chain(settings))


def _chain(settings: CollectorSettings) -> tuple[Path, Path]:
    if settings.tls == "files":
        return Path(settings.certificate), Path(settings.key)
    return settings.tls_folder / "server.pem", settings.tls_folder / "server.key"


async def _bind(runner: web.AppRunner, address: str, port: int, secure: ssl.SSLContext | None) -> None:
    try:
        await web.TCPSite(runner, address, port, ssl_context=secure, backlog=512).start()
    except OSError as error:
        place = f"{address}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"port {place} is taken by another program (ss -ltnp shows which); stop that one, or set another port"
            ) from error
        raise CannotStart(
            f"cannot listen on {place}: {os.strerror(error.errno or 0)}; check bind, port and people_port"
        ) from error


def _chores(services: Services, secure: ssl.SSLContext | None) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    """What is done beside serving, each at its own pace."""

    async def maintain() -> None:
        kept = services.settings.retention
        await services.store.maintain(
            services.now(), Retention(kept.windows_days, kept.evidence_days, kept.rollups_days)
        )

    async def keep_days() -> None:
        await services.histories.keep(services.store, services.now())

    async def flush() -> None:
        now = services.now()
        await services.vantages.seen([services.picture.site(site, now) for site in services.picture.sites()], now)
        await services.accounts.flush()
        await services.orders.expire()

    found = [
        ("tokens", every(1.0, "reading tokens", partial(read_tokens, services))),
        ("vantages", every(1.0, "reading vantages", services.vantages.refresh)),
        ("slots", every(5.0, "granting slots", services.slots.tick)),
        ("flush", every(15.0, "writing who was heard", flush)),
        ("maintain", every(60.0, "keeping the store", maintain)),
        ("history", every(3600.0, "keeping the link history", keep_days)),
        ("inventory", every(10.0, "reading the inventory", _Reload(services))),
        ("rotation", every(3600.0, "asking for new tokens", partial(rotate_old_tokens, services))),
        ("responder keys", every(10.0, "making the keys of responders", partial(make_keys, services))),
        ("watchdog", systemd.watchdog()),
    ]
    if services.authority is not None and secure is not None:
        found.append(("certificate", every(3600.0, "renewing the certificate", _Renew(services, secure))))
    return found


async def read_tokens(services: Services) -> None:
    """Takes up what a command changed: who may speak, and whose silence says nothing any more."""
    await services.accounts.refresh()
    services.picture.keep_agents(services.accounts.agents())


async def every(seconds: float, what: str, job: Callable[[], Awaitable[object]]) -> None:
    """Does a chore again and again; its failure is logged once, its recovery too, and it never ends the service."""
    trouble = Trouble(log, f"{what} failed", f"{what} works again")
    while True:
        await asyncio.sleep(seconds)
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - a chore that fails is tried again; the cause is logged
            trouble.failed(f"{type(error).__name__}: {error}")
        else:
            trouble.worked()


class _Reload:
    """Takes up changed inventory files; keeps the good one while they are wrong."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stamp: object = None

    async def __call__(self) -> None:
        services = self._services
        stamp = await asyncio.to_thread(stamp_of, services.settings)
        if stamp == self._stamp:  # never so at the first look: the files may have changed since they were loaded
            return
        inventory = await asyncio.to_thread(load_province, services.settings)
        self._stamp = stamp
        if inventory.hash != services.inventory.hash:
            await keep(services.store, inventory, services.now())
            services.inventory = inventory
            log.info("inventory changed", hash=inventory.hash[:16])


class _Renew:
    """Renews the own certificate before it ends, for new connections, without a restart."""

    def __init__(self, services: Services, secure: ssl.SSLContext) -> None:
        self._services = services
        self._secure = secure

    async def __call__(self) -> None:
        if await asyncio.to_thread(self._renewed):
            log.info("certificate renewed")

    def _renewed(self) -> bool:
        authority = self._services.authority
        if authority is None or not authority.ensure_server(tls.wanted_names(self._services.settings), tls.utc_now()):
            return False
        tls.load_chain(self._secure, *_chain(self._services.settings))
        return True


async def serve(settings: CollectorSettings) -> None:
    """The daemon: until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, lone(Path(settings.data)))
        inventory = await asyncio.to_thread(load_province, settings)
        async with opened(settings, inventory) as services, listening(services) as url, responding(services):
            gc.collect()
            gc.freeze()  # what start made stays for good: collections pass over it, and no request waits for that
            log.info("collector serves", url=url, sites=len(inventory.sites), data=settings.data)
            systemd.notify("READY=1\nSTATUS=serving " + url)
            await stop.wait()
            systemd.notify("STOPPING=1")
            log.info("collector stops")

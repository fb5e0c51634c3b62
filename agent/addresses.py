"""Names into addresses, and connections to them, without blocking the event loop and with the time each step took."""

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from agent.neterrors import NOT_NAMES, Unresolved, finding_of, without_ipv6
from wire.reasons import Reason

Host = Annotated[
    str, Meta(min_length=1, max_length=253, description="a host name or an IP address", examples=["zoom.us"])
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port number", examples=[443])]

MOST_LOOKUPS = 16
"""Lookups under way at once; a silent name server must not fill the machine with waiting threads."""
SILENT_AFTER = 4.0
"""Seconds after which "try again" means silence: the resolver of the C library waits 5 s for each server."""
MOST_ADDRESSES = 4
"""Addresses of one name that are tried before the target counts as failed."""

_SHARED = ipaddress.ip_network("100.64.0.0/10")
_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


class Address(NamedTuple):
    """One address of a target, as ``socket.connect`` takes it."""

    family: socket.AddressFamily
    place: tuple[str, int] | tuple[str, int, int, int]

    @property
    def text(self) -> str:
        """The IP address alone."""
        return self.place[0]

    @property
    def family_name(self) -> str:
        """``ipv4`` or ``ipv6``."""
        return "ipv6" if self.family == socket.AF_INET6 else "ipv4"

    @property
    def facts(self) -> dict[str, str]:
        """The family, and the address unless it is private: that stays in the building."""
        facts = {"family": self.family_name}
        if is_public(self.text):
            facts["address"] = self.text
        return facts


class Resolved(NamedTuple):
    """The addresses of a name in the system's order of preference; ``took`` is ``None`` for a literal address."""

    addresses: list[Address]
    took: int | None
    """Nanoseconds."""


class Connected(NamedTuple):
    """An open connection: the socket (the caller closes it), the address that answered and the time it took."""

    sock: socket.socket
    address: Address
    took: int
    """Nanoseconds."""
    failures: tuple[str, ...]
    """Addresses tried before, as ``family: error``."""


def is_public(text: str) -> bool:
    """Whether an IP address is a global one (IANA's special-purpose registries, by ``ipaddress``)."""
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_global
    except ValueError:
        return False


def is_providers(text: str) -> bool:
    """Whether a gateway with this address is the provider's and no office router: a public one, or one of the space
    between providers and their customers' routers, 100.64.0.0/10 (RFC 6598)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_global or (address.version == 4 and address in _SHARED)


def literal(host: str, port: int) -> Address | None:
    """The address that ``host`` already is, or ``None`` for a name."""
    bare, _, scope = host.strip("[]").partition("%")
    try:
        ip = ipaddress.ip_address(bare)
    except ValueError:
        return None
    if ip.version == 4:
        return Address(socket.AF_INET, (bare, port))
    try:
        number = int(scope) if scope.isdecimal() else socket.if_nametoindex(scope) if scope else 0
    except OSError as problem:
        raise Unresolved(host, Reason.BAD_TARGET, f"no interface {scope!r} on this machine") from problem
    return Address(socket.AF_INET6, (bare, port, 0, number))


async def resolve(host: str, port: int, within: float, kind: socket.SocketKind = socket.SOCK_STREAM) -> Resolved:
    """Asks the system's resolver (hosts file included), for at most ``within`` seconds; raises :class:`Unresolved`."""
    known = literal(host, port)
    if known is not None:
        return Resolved([known], None)
    started = time.perf_counter_ns()
    try:
        async with asyncio.timeout(within):
            found = await _in_thread(lambda: socket.getaddrinfo(host, port, type=kind))
    except TimeoutError as problem:
        raise Unresolved(host, Reason.NAME_SERVER_SILENT, f"no answer in {within:.1f} s") from problem
    except socket.gaierror as problem:
        raise Unresolved(host, _reason(problem, time.perf_counter_ns() - started), problem.args[1]) from problem
    except UnicodeError as problem:
        raise Unresolved(host, Reason.BAD_TARGET, f"not a host name: {problem}") from problem
    addresses = [
        Address(socket.AddressFamily(family), (str(place[0]), int(place[1]), *place[2:]))
        for family, _, _, _, place in found
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    if not addresses:
        raise Unresolved(host, Reason.NAME_NOT_FOUND, "neither an IPv4 nor an IPv6 address")
    return Resolved(addresses, time.perf_counter_ns() - started)


async def connect(addresses: list[Address], within: float) -> Connected:
    """Opens TCP to the first address that answers, in order, within ``within`` seconds altogether.

    Raises the error of the most telling address: an IPv6 address on a machine without IPv6 says nothing about the
    target, unless there is no other.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + within
    tried = addresses[:MOST_ADDRESSES]
    problems: list[OSError] = []
    failures: list[str] = []
    for position, address in enumerate(tried):
        share = max(0.05, (ends - loop.time()) / (len(tried) - position))
        try:
            sock, took = await _open(loop, address, share)
        except OSError as problem:
            telling = not (address.family == socket.AF_INET6 and without_ipv6(problem))
            problems.insert(0 if telling and address.family == socket.AF_INET else len(problems), problem)
            if telling:
                failures.append(f"{address.family_name}: {finding_of(problem).reason}")
        else:
            return Connected(sock, address, took, tuple(failures))
    raise problems[0]


async def _open(loop: asyncio.AbstractEventLoop, address: Address, within: float) -> tuple[socket.socket, int]:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        started = time.perf_counter_ns()
        async with asyncio.timeout(within):
            await loop.sock_connect(sock, address.place)
        return sock, time.perf_counter_ns() - started
    except BaseException:
        sock.close()
        raise


def _reason(problem: socket.gaierror, took: int) -> Reason:
    """``EAI_AGAIN`` stands for a server that failed (quickly) and for one that was silent (after its time limit)."""
    if problem.errno == socket.EAI_AGAIN and took >= SILENT_AFTER * 1e9:
        return Reason.NAME_SERVER_SILENT
    return NOT_NAMES.get(problem.errno or 0, Reason.NAME_SERVER_FAILED)


_Found = list[Any]
"""What ``getaddrinfo`` gives; its exact type differs between releases of the type stubs."""


async def _in_thread(ask: Callable[[], _Found]) -> _Found:
    """Runs a lookup in a thread of its own that nobody waits for at the end: a silent server may hold it for 30 s."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Found] = loop.create_future()
    if not _lookups.acquire(blocking=False):
        raise Unresolved("resolver", Reason.NO_RESOURCES, f"{MOST_LOOKUPS} lookups are waiting already")

    def tell(found: _Found | None, problem: Exception | None) -> None:
        if answer.done():
            return
        if problem is not None:
            answer.set_exception(problem)
        else:
            answer.set_result(found or [])

    def work() -> None:
        found: _Found | None = None
        trouble: Exception | None = None
        try:
            found = ask()
        except (OSError, UnicodeError) as problem:
            trouble = problem
        finally:
            _lookups.release()
        with contextlib.suppress(RuntimeError):  # the loop ended while we waited
            loop.call_soon_threadsafe(tell, found, trouble)

    threading.Thread(target=work, name="lookup", daemon=True).start()
    return await answer

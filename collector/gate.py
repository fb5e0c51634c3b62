"""The one permission gate. Every route declares what it needs; one middleware decides; a test enumerates the routes.

Three kinds of principal ask (DESIGN §6.6): an **agent** with its token, a **machine** with a scoped token, and a
**person**. Until people can sign in, a person is whoever sits at the collector itself: a direct peer on loopback whose
``Host`` is loopback too (a page of a stranger's site that rebinds its name to 127.0.0.1 sends its own name), with no
sign of having been forwarded, and only where no proxy is declared.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from collector.problems import Refused

if TYPE_CHECKING:
    from collector.services import Services
    from collector.settings import CollectorSettings
    from collector.store import Source


class Scope(StrEnum):
    """What a machine's token may do."""

    SCRAPE = "scrape"
    """Read ``/metrics``."""
    READ = "read"
    """Read sites, history and Prometheus remote read."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Who may use a route: any one of those named suffices."""

    name: str
    anyone: bool = False
    agent: bool = False
    scope: Scope | None = None
    """Machines whose token has this scope."""
    person: bool = False


ANYONE = Permission("anyone", anyone=True)
AGENT = Permission("agent", agent=True)
SCRAPE = Permission("scrape", scope=Scope.SCRAPE, person=True)
READ = Permission("read", scope=Scope.READ, person=True)
PERSON = Permission("person", person=True)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as the gate found."""

    kind: str
    """``anyone``, ``agent``, ``machine`` or ``person``."""
    name: str = ""
    source: "Source | None" = None
    """An agent's site, link and role, from its token and never from what it says."""
    scopes: frozenset[str] = frozenset()
    token_hash: bytes = b""


Handler = Callable[[web.Request, "Services"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One route of the collector and everything that its OpenAPI entry says."""

    method: str
    path: str
    permission: Permission
    handler: Handler
    summary: str
    """One English sentence."""
    asks: type[Any] | str | None = None
    """The request body: a msgspec Struct, or a content type such as ``application/x-protobuf``."""
    answers: Mapping[int, Any] = field(default_factory=dict)
    """Body by status: a type that msgspec knows, a content type as text, or ``None`` for no body."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters with a line on each."""
    largest: int = 64 * 1024
    """Bytes that a body may have."""


PRINCIPAL = web.RequestKey("principal", Principal)
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_NOBODY = Principal("anyone")
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_UNAUTHORISED = {"WWW-Authenticate": 'Bearer realm="phrom"'}


async def admit(request: web.Request, permission: Permission, services: "Services") -> Principal:
    """Who asks, if the permission allows it; raises :class:`Refused` (401 or 403) otherwise."""
    if permission.anyone:
        return _NOBODY
    if hdrs.AUTHORIZATION in request.headers:
        return await _by_token(request, permission, services)
    if permission.person:
        found = not_direct(request, services.settings)
        if not found:
            return Principal("person", "loopback")
        if permission.scope is None:
            raise Refused(403, "Only at the collector itself", found)
    wanted = _words(permission)
    raise Refused(401, "Token missing", f"found no Authorization header, expected {wanted}", headers=_UNAUTHORISED)


async def _by_token(request: web.Request, permission: Permission, services: "Services") -> Principal:
    scheme, _, token = request.headers[hdrs.AUTHORIZATION].partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(
            401,
            "Token missing",
            f"found the scheme {scheme[:20]!r}, expected Bearer and a token",
            headers=_UNAUTHORISED,
        )
    principal = await services.accounts.principal(token.strip())
    if principal is None:
        raise Refused(
            401,
            "Token not valid",
            "the token is unknown, was revoked, or its agent was superseded; join again with a new code "
            "(phrom-collector enrol) or make a new token (phrom-collector token add)",
            headers=_UNAUTHORISED,
        )
    services.accounts.allow(principal)
    if principal.kind == "agent" and permission.agent:
        return principal
    if principal.kind == "machine" and permission.scope is not None and permission.scope in principal.scopes:
        return principal
    raise Refused(
        403,
        "Token not enough",
        f"found a token of {principal.kind} {sorted(principal.scopes)}, expected {_words(permission)}",
    )


def _words(permission: Permission) -> str:
    if permission.agent:
        return "an agent's token (phrom-agent join)"
    if permission.scope is not None:
        return f"a machine's token with the scope {permission.scope.value!r} (phrom-collector token add)"
    return "a browser on the collector's own machine"


def not_direct(request: web.Request, settings: "CollectorSettings") -> str:
    """Why the one who asks is no person at this machine; empty if it is one.

    A relay that ends on loopback (``ssh -R``) makes a stranger's request come from 127.0.0.1 and lets him choose its
    ``Host``. Only a port that nothing is relayed to tells him apart, hence ``people_port``.
    """
    if settings.people_port:
        if port_of(request) != settings.people_port:
            return f"people's pages are served on http://127.0.0.1:{settings.people_port} alone (people_port)"
    elif settings.behind_tls_proxy:
        return "people's pages are not served through a declared proxy until people can sign in; set people_port"
    peer = peer_of(request)
    if not is_loopback(peer):
        return f"found a request from {peer or 'an unknown address'}, expected one from this machine (127.0.0.1)"
    for name in _FORWARDED:
        if name in request.headers:
            return f"found the header {name}: the request was forwarded, expected a browser on this machine"
    if request.version < (1, 1):
        return "found HTTP/1.0, as proxies speak it, expected a browser on this machine"
    header = request.headers.get(hdrs.HOST, "")
    host = host_of(header)
    if host != "localhost" and not is_loopback(host):
        shown = (host or header)[:100]
        return f"found the host {shown!r}, expected http://127.0.0.1 or http://localhost with the collector's port"
    site = request.headers.get("Sec-Fetch-Site", "none")
    if request.method not in ("GET", "HEAD") and site not in ("none", "same-origin"):
        return f"found a request that another site made ({site}), expected the collector's own page"
    return ""


def peer_of(request: web.Request) -> str:
    """The address of the direct peer, without a port; empty where the connection is already gone."""
    name = request.transport.get_extra_info("peername") if request.transport else None
    return str(name[0]) if name else ""


def port_of(request: web.Request) -> int:
    """The port of ours that the request came in by; 0 where the connection is already gone."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return int(name[1]) if name else 0


def client_of(request: web.Request, *, proxy_declared: bool) -> str:
    """The client's address: the direct peer or, behind the declared proxy, what that proxy itself added last."""
    if proxy_declared:
        last = request.headers.getall("X-Forwarded-For", [""])[-1].rpartition(",")[2].strip()
        if last:
            return last[:64]
    return peer_of(request)


def host_of(header: str) -> str:
    """The host of a ``Host`` header (RFC 9110, 7.2) in lower case, without port and brackets; empty if it is none."""
    found = _HOST.fullmatch(header)
    if found is None or int(found["port"] or 0) > 65535:
        return ""
    if found["six"] is None:
        return found["name"].lower()
    try:
        return found["six"].lower() if ipaddress.IPv6Address(found["six"]) else ""
    except ValueError:
        return ""


def is_loopback(text: str) -> bool:
    """Whether the text is an address in 127.0.0.0/8 or ::1 (also written as IPv4 within IPv6)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)

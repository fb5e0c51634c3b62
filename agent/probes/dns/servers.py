"""Which name servers to ask: the system's (``/etc/resolv.conf``, resolv.conf(5)) or the one in the settings.

Pure but for :func:`read_system`.
"""

import ipaddress
from pathlib import Path

from agent import addresses
from agent.addresses import Address
from agent.neterrors import Unresolved
from wire.reasons import Reason

RESOLV_CONF = Path("/etc/resolv.conf")
MOST_SERVERS = 3
"""As the C library: further ones are never asked."""
PORT = 53


def read_system(path: Path = RESOLV_CONF) -> list[Address]:
    """The system's name servers; reads a file, so call it in a thread. A missing file means the local host."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        text = ""
    return parse_resolv_conf(text)


def parse_resolv_conf(text: str) -> list[Address]:
    """``nameserver`` lines in order, at most three; without any, 127.0.0.1 as the C library does."""
    found: list[Address] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                known = addresses.literal(words[1], PORT)
            except Unresolved:
                continue  # a scope of an interface that is gone: the C library skips it too
            if known is not None:
                found.append(known)
    default = addresses.literal("127.0.0.1", PORT)
    assert default is not None  # noqa: S101 — a literal
    return found[:MOST_SERVERS] or [default]


def parse_server(text: str) -> Address:
    """An address, ``address:port`` or ``[address]:port``; raises :class:`Unresolved` (bad target) for a name."""
    host, port = text, PORT
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = _port(text, rest.removeprefix(":")) if rest else PORT
    elif text.count(":") == 1:
        host, _, rest = text.partition(":")
        port = _port(text, rest)
    known = addresses.literal(host, port)
    if known is None:
        raise Unresolved(text, Reason.BAD_TARGET, "expected the IP address of a name server, such as 192.0.2.53")
    return known


def is_public_name(name: str) -> bool:
    """Whether a name belongs to the public tree: more than one label, and no private top (RFC 6761, 9476)."""
    labels = name.rstrip(".").casefold().split(".")
    private = {"local", "localhost", "lan", "internal", "intranet", "home", "corp", "test", "invalid", "example", "alt"}
    return len(labels) > 1 and labels[-1] not in private and labels[-2:] != ["home", "arpa"]


def parse_networks(entries: list[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None:
    """Addresses and networks, or ``None`` if one of them is neither (then they are names, for SRV)."""
    try:
        return [ipaddress.ip_network(entry, strict=False) for entry in entries]
    except ValueError:
        return None


def _port(text: str, digits: str) -> int:
    if not (digits.isdecimal() and 0 < int(digits) < 65_536):
        raise Unresolved(text, Reason.BAD_TARGET, "expected address:port, such as 192.0.2.53:5353")
    return int(digits)

"""What else passes the interface by which a test leaves: the agent's own machine, and more where it is the router."""

import ipaddress
import socket
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_FORWARDS = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding")


class Passed(NamedTuple):
    """The interface's counters at one moment."""

    at: float
    """Seconds, CLOCK_MONOTONIC."""
    down: int
    up: int
    """Bytes received and sent, as the driver counts them: frames without checksum."""


class Interface:
    """The interface of a connection."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def of(cls, sock: socket.socket) -> "Interface":
        """The one that holds the connection's own address."""
        own = _plain(sock.getsockname()[0])
        for name, addresses in psutil.net_if_addrs().items():
            if any(one.family in (socket.AF_INET, socket.AF_INET6) and _plain(one.address) == own for one in addresses):
                return cls(name)
        return cls("")

    def read(self) -> Passed:
        """The counters now; zeros where the system does not tell."""
        found = psutil.net_io_counters(pernic=True).get(self.name)
        at = time.monotonic()
        return Passed(at, found.bytes_recv, found.bytes_sent) if found else Passed(at, 0, 0)


def _plain(address: str) -> str:
    """One way of writing an address: without its zone, IPv4 as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(mapped or ip)


def forwards() -> bool:
    """Whether this machine is a router, so that all traffic of the link passes its own counters. Reads small files."""
    return any(_says_yes(Path(path)) for path in _FORWARDS)


def _says_yes(path: Path) -> bool:
    try:
        return path.read_text(encoding="ascii").strip() not in ("", "0")
    except OSError:
        return False

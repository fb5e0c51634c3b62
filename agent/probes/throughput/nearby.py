"""What passes the interface by which a test leaves, and where that interface stands. Reads small files: in a thread."""

import ipaddress
import socket
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from agent.probes.throughput.limits import Place, Source
from agent.vantage import Medium, port_at

SYS = Path("/sys/class/net")


class Passed(NamedTuple):
    """The interface's counters at one moment."""

    at: float
    """Seconds, CLOCK_MONOTONIC."""
    down: int
    up: int
    """Bytes received and sent, as the driver counts them: frames without checksum."""
    errors: int = 0
    """Frames damaged on the way in or out: a bad cable or plug of ours."""


class Interface:
    """An interface of this machine; without a name where it is not known, and then it counts nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def holding(cls, address: str) -> "Interface":
        """The one that holds an address of this machine."""
        own = plain(address)
        for name, addresses in psutil.net_if_addrs().items():
            if any(one.family in (socket.AF_INET, socket.AF_INET6) and plain(one.address) == own for one in addresses):
                return cls(name)
        return cls("")

    @classmethod
    def towards(cls, family: socket.AddressFamily, place: tuple[str, int] | tuple[str, int, int, int]) -> "Interface":
        """The one by which packets to an address leave. Sends nothing."""
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect(place)
            except OSError:
                return cls("")
            return cls.holding(sock.getsockname()[0])

    def read(self) -> Passed:
        """The counters now; zeros where the system does not tell."""
        found = psutil.net_io_counters(pernic=True).get(self.name)
        at = time.monotonic()
        if not found:
            return Passed(at, 0, 0)
        return Passed(at, found.bytes_recv, found.bytes_sent, found.errin + found.errout)

    def place(self, *, inline: bool) -> Place:
        """Where it stands. ``inline``: whether this machine is the router, as its own settings say: one that forwards
        may do so for its containers alone."""
        source = Source.INLINE if inline else Source.UNSEEN
        if not self.name:
            return Place(medium=Medium.OTHER, port_speed=slowest_door(), source=source)
        port = port_at(self.name)
        # Of anything but Ethernet (TUN, PPP) the speed in sysfs is made up: below it is one of this machine's ports.
        speed = port.speed if port.medium is Medium.CABLE else None
        if speed is None and self.name != "lo":
            speed = slowest_door()
        return Place(medium=port.medium, port_speed=speed, full_duplex=port.duplex != "half", source=source)


def plain(address: str) -> str:
    """One way of writing an address: without its zone, IPv4 as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def slowest_door() -> int | None:
    """The least speed of the interfaces that have hardware and a carrier, by one of which packets of PPP, a bridge or a
    tunnel leave; ``None`` where none tells."""
    ports = (port_at(one.name) for one in _doors(SYS))
    return min((one.speed for one in ports if one.medium is Medium.CABLE and one.speed), default=None)


def _doors(system: Path) -> list[Path]:
    if not system.is_dir():
        return []
    return [one for one in system.iterdir() if (one / "device").exists() and _read(one / "carrier") == "1"]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""

"""Where the agent stands: the interface of the default route, its medium and speed, and the gateway behind it.

The parsers are pure functions of what Linux writes under ``/proc/net`` and ``/sys/class/net``; :func:`look` reads the
files. A gateway's MAC address never leaves the machine in clear: it is hashed with a salt of the site.
"""

import hashlib
import ipaddress
import socket
import struct
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc/net")
SYS = Path("/sys/class/net")

_RTF_UP = 0x1
_RTF_GATEWAY = 0x2
_RTF_REJECT = 0x200
_ATF_COM = 0x2
"""Flags of <linux/route.h> and <linux/if_arp.h>."""
_ARPHRD_ETHER = 1


class Medium(StrEnum):
    """What the default route leaves by."""

    CABLE = "cable"
    WIFI = "wifi"
    MOBILE = "mobile"
    OTHER = "other"


class Route(NamedTuple):
    """A default route. ``gateway`` is empty on a point-to-point interface."""

    interface: str
    gateway: str
    metric: int


class Port(NamedTuple):
    """What sysfs says of an interface. ``speed`` is bit/s, ``None`` where the driver does not say."""

    medium: Medium
    speed: int | None
    duplex: str
    carrier: bool


class Vantage(NamedTuple):
    """Where the agent stands. ``id`` names the place (medium and gateway), not the machine: notebooks are swapped."""

    id: str
    interface: str
    medium: Medium
    gateway: str
    """Address of the gateway; stays on this machine."""
    mac: str
    """Its MAC address; stays on this machine."""
    gateway_hash: str
    speed: int | None
    duplex: str

    @property
    def facts(self) -> dict[str, str]:
        """What may leave the machine."""
        found = {"medium": self.medium.value, "interface": self.interface}
        if self.gateway_hash:
            found["gateway_hash"] = self.gateway_hash
        if self.speed is not None:
            found["speed_bits_per_second"] = str(self.speed)
        if self.duplex:
            found["duplex"] = self.duplex
        return found


def default_routes(table: str) -> list[Route]:
    """The IPv4 default routes of ``/proc/net/route``, best metric first; lines that are not routes are passed over."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        name, destination, gateway, flags, metric, mask = (*fields[:4], fields[6], fields[7])
        try:
            numbers = [int(text, 16) for text in (destination, gateway, flags, mask)]
            cost = int(metric)
        except ValueError:
            continue
        if numbers[0] or numbers[3] or not numbers[2] & _RTF_UP or numbers[2] & _RTF_REJECT:
            continue
        address = ""
        if numbers[2] & _RTF_GATEWAY and 0 < numbers[1] <= 0xFFFFFFFF:
            address = socket.inet_ntoa(struct.pack("=I", numbers[1]))
        found.append(Route(name, address, cost))
    return sorted(found, key=lambda route: route.metric)


def default_routes6(table: str) -> list[Route]:
    """The IPv6 default routes of ``/proc/net/ipv6_route``, best metric first."""
    found = []
    for line in table.splitlines():
        fields = line.split()
        if len(fields) != 10 or fields[0] != "0" * 32 or fields[1] != "00":
            continue
        try:
            flags, metric = int(fields[8], 16), int(fields[5], 16)
            address = str(ipaddress.IPv6Address(bytes.fromhex(fields[4])))
        except ValueError:
            continue
        if flags & _RTF_UP and not flags & _RTF_REJECT and fields[9] != "lo":
            found.append(Route(fields[9], "" if address == "::" else address, metric))
    return sorted(found, key=lambda route: route.metric)


def neighbour(table: str, address: str, interface: str) -> str:
    """The MAC address that ``/proc/net/arp`` holds for a neighbour, or empty while it is not resolved."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 6 or fields[0] != address or fields[5] != interface:
            continue
        try:
            complete = int(fields[2], 16) & _ATF_COM
        except ValueError:
            continue
        mac = fields[3].lower()
        if complete and mac.count(":") == 5 and mac != "00:00:00:00:00:00":
            return mac
    return ""


def port_of(files: dict[str, str]) -> Port:
    """From the contents of an interface's files: ``type``, ``uevent``, ``speed``, ``duplex``, ``carrier``, and
    ``wireless`` where that folder or ``phy80211`` exists."""
    kind = dict(line.split("=", 1) for line in files.get("uevent", "").splitlines() if "=" in line).get("DEVTYPE", "")
    if "wireless" in files or kind == "wlan":
        medium = Medium.WIFI
    elif kind == "wwan":
        medium = Medium.MOBILE
    elif files.get("type", "").strip() == str(_ARPHRD_ETHER):
        medium = Medium.CABLE
    else:
        medium = Medium.OTHER
    speed = files.get("speed", "").strip()
    megabits = int(speed) if speed.isascii() and speed.isdigit() and len(speed) < 10 else 0
    duplex = files.get("duplex", "").strip()
    return Port(
        medium,
        megabits * 1_000_000 or None,
        duplex if duplex in ("full", "half") else "",
        files.get("carrier", "").strip() != "0",
    )


def stand(route: Route, port: Port, mac: str, salt: str, previous: Vantage | None = None) -> Vantage:
    """The vantage made of what was read. A neighbour entry that expired for a while does not make another place: the
    MAC of ``previous`` is kept for the same gateway on the same interface."""
    if not mac and previous and (previous.gateway, previous.interface) == (route.gateway, route.interface):
        mac = previous.mac
    place = mac or route.gateway or route.interface
    hashed = _hash(salt, mac) if mac else ""
    identity = _hash(salt, f"{port.medium} {place}")[:8]
    return Vantage(identity, route.interface, port.medium, route.gateway, mac, hashed[:16], port.speed, port.duplex)


def _hash(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}\n{text}".encode()).hexdigest()


def salt_of(province: str, site: str) -> str:
    """The salt of a site: the same for all of its agents, so that they name the same place alike."""
    return f"phrom vantage {province}/{site}"


def look(salt: str, previous: Vantage | None = None, proc: Path = PROC, system: Path = SYS) -> Vantage | None:
    """Where this machine stands now, or ``None`` without a default route. Reads small files: call it in a thread."""
    routes = default_routes(_read(proc / "route")) or default_routes6(_read(proc / "ipv6_route"))
    if not routes:
        return None
    route = routes[0]
    mac = neighbour(_read(proc / "arp"), route.gateway, route.interface) if route.gateway else ""
    return stand(route, port_of(_files(system / route.interface)), mac, salt, previous)


def port_at(interface: str, system: Path = SYS) -> Port:
    """What sysfs says of one interface now. Reads small files: call it in a thread."""
    return port_of(_files(system / interface))


def _files(folder: Path) -> dict[str, str]:
    found = {name: _read(folder / name) for name in ("type", "uevent", "speed", "duplex", "carrier")}
    if (folder / "wireless").exists() or (folder / "phy80211").exists():
        found["wireless"] = ""
    return found


def _read(path: Path) -> str:
    """A file's text, empty where it is absent or the driver has no answer (``speed`` of a bridge gives EINVAL)."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

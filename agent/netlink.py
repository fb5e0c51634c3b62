"""The kernel's table of neighbours (ARP, RFC 826; Neighbour Discovery, RFC 4861) by netlink (rtnetlink(7)).

``/proc/net/arp`` knows neither IPv6 nor whether an entry is still believed; netlink says both, without privilege.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from enum import IntFlag
from typing import NamedTuple

_HEADER = struct.Struct("=IHHII")
_NDMSG = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30
_NLM_F_REQUEST_DUMP = 0x1 | 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NDA_DST, _NDA_LLADDR = 1, 2
_NETLINK_ROUTE = 0
_RTMGRP_LINK, _RTMGRP_IPV4_ROUTE, _RTMGRP_IPV6_ROUTE = 0x1, 0x40, 0x400
_LENGTH = {socket.AF_INET: 4, socket.AF_INET6: 16}


class Belief(IntFlag):
    """What the kernel believes of a neighbour (<linux/neighbour.h>, RFC 4861 §7.3.2)."""

    NONE = 0x00
    INCOMPLETE = 0x01
    REACHABLE = 0x02
    STALE = 0x04
    DELAY = 0x08
    PROBE = 0x10
    FAILED = 0x20
    NOARP = 0x40
    PERMANENT = 0x80


class Neighbour(NamedTuple):
    """One entry: an address on a link, and what is believed of it."""

    interface: int
    address: str
    mac: str
    belief: Belief


def neighbours() -> list[Neighbour]:
    """All neighbours now. Short but blocking: call it in a thread. Raises ``OSError``."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE) as sock:
        sock.settimeout(2.0)
        sock.bind((0, 0))
        payload = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        size = _HEADER.size + len(payload)
        sock.sendall(_HEADER.pack(size, _RTM_GETNEIGH, _NLM_F_REQUEST_DUMP, 1, 0) + payload)
        found: list[Neighbour] = []
        done = False
        while not done:
            some, done = parse(sock.recv(1 << 16))
            found += some
        return found


def parse(data: bytes) -> tuple[list[Neighbour], bool]:
    """The neighbours in one datagram of a dump, and whether the dump ends with it. What is cut is passed over; an
    error or an empty datagram ends the dump too."""
    found: list[Neighbour] = []
    if len(data) < _HEADER.size:
        return found, True
    position = 0
    while position + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, position)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or size < _HEADER.size:
            return found, True
        if kind == _RTM_NEWNEIGH:
            one = _neighbour(data[position + _HEADER.size : position + size])
            if one:
                found.append(one)
        position += (size + 3) & ~3
    return found, False


def _neighbour(message: bytes) -> Neighbour | None:
    if len(message) < _NDMSG.size:
        return None
    family, interface, belief, _, _ = _NDMSG.unpack_from(message)
    address, mac = "", ""
    position = _NDMSG.size
    while position + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, position)
        if size < _ATTRIBUTE.size:
            break
        value = message[position + _ATTRIBUTE.size : position + size]
        if kind == _NDA_DST and len(value) == _LENGTH.get(family, -1):
            address = socket.inet_ntop(family, value)
        elif kind == _NDA_LLADDR:
            mac = value.hex(":")
        position += (size + 3) & ~3
    return Neighbour(interface, address, mac, Belief(belief & 0xFF)) if address else None


class Changes:
    """Calls ``tell`` whenever the kernel tells of a change of an interface or a route (rtnetlink(7) groups). Where it
    tells nothing of them (a sandbox), nothing is ever called."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
        self._loop = loop
        self._tell = tell
        self._socket: socket.socket | None = None
        try:
            sock = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_ROUTE
            )
        except OSError:
            return
        try:
            sock.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_ROUTE))
        except OSError:
            sock.close()
            return
        self._socket = sock
        loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Listens no more."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        """What exactly changed does not matter; a full buffer (ENOBUFS) means that much did."""
        if self._socket is not None:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                pass
            self._tell()

"""A UDP socket that says when each datagram arrived, by the kernel (SO_TIMESTAMPNS), and with which TTL."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from wire.udp_socket import Place, stamp_of

_SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_TIMESTAMPING = 33, 35, 37  # <asm-generic/socket.h>
_TX_STAMPS = 1 << 1 | 1 << 4 | 1 << 11  # <linux/net_tstamp.h>: TX_SOFTWARE | SOFTWARE | OPT_TSONLY
_IP_PKTINFO, _IP_RECVTTL = 8, 12  # <linux/in.h>
_INT = struct.Struct("@i")
_LARGEST = 2048
_ANCILLARY = 256

BUFFER = 1 << 20
"""Bytes: some thousand small packets, so that nobody else's flood pushes ours out at once."""
HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""Bytes of the IP and UDP headers by family."""


class Datagram(NamedTuple):
    """One that came. ``at`` is CLOCK_REALTIME in nanoseconds by the kernel, 0 where it gave no stamp."""

    raw: bytes
    at: int
    ttl: int
    """255 where the kernel did not say, which is what RFC 8762 section 4.3 asks for."""
    peer: Place
    local: list[tuple[int, int, bytes]]
    """Ancillary data with which an answer leaves from the address that was asked."""


def prepare(sock: socket.socket) -> None:
    """Sets what every STAMP socket needs; makes it non-blocking."""
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    with contextlib.suppress(OSError):  # of an IPv6 socket that speaks no IPv4
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)


def listening(host: str, port: int) -> socket.socket:
    """The reflector's socket; raises ``OSError``. ``::`` means IPv4 too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        prepare(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def connected(family: int, place: tuple[str | int, ...]) -> socket.socket:
    """The sender's socket, which hears that one place alone; raises ``OSError``. ``place`` is as ``getaddrinfo`` has
    it."""
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        prepare(sock)
        with contextlib.suppress(OSError):  # an old kernel: sending is timed by us alone
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _TX_STAMPS)
        sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock


def left_at(sock: socket.socket) -> int:
    """When the datagram sent last was handed to the network device: CLOCK_REALTIME in nanoseconds by the kernel; 0
    while it does not say. Takes one stamp off its queue: one that stays wakes the event loop."""
    for _ in range(16):
        try:
            _, ancillary, _, _ = sock.recvmsg(0, _ANCILLARY, socket.MSG_ERRQUEUE)
        except OSError:
            break
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPING:
                return stamp_of(value)
    return 0


def receive(sock: socket.socket, most: int = 64) -> Iterator[Datagram]:
    """What waits, at most ``most``; never blocks. Raises ``OSError`` for what the network reports."""
    for _ in range(most):
        try:
            raw, ancillary, _, peer = sock.recvmsg(_LARGEST, _ANCILLARY)
        except BlockingIOError:
            return
        yield _datagram(raw, ancillary, peer)


def _datagram(raw: bytes, ancillary: list[tuple[int, int, bytes]], peer: Place) -> Datagram:
    at, ttl, local = 0, 255, []
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            at = stamp_of(value)
        elif (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            ttl = _INT.unpack_from(value)[0]
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            local = [(level, kind, value[:16] + bytes(4))]  # the route chooses the device, unless it is link-local
            if value[:2] == b"\xfe\x80":
                local = [(level, kind, value)]
        elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            local = [(level, kind, bytes(4) + value[4:8] + bytes(4))]  # ipi_spec_dst: the address to leave from
    return Datagram(raw, at, ttl, peer, local)


def plain_address(place: Place) -> str:
    """An address as people write it: an IPv4 one that came through an IPv6 socket is an IPv4 one."""
    return place[0].removeprefix("::ffff:") if "." in place[0] else place[0].partition("%")[0]

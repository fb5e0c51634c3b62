"""A UDP socket for streams: kernel time stamps on what comes, segmentation offload for what goes, own overflow counted.

Numbers that Python's ``socket`` lacks are those of the Linux headers named beside them.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

# <asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>, <linux/udp.h>
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _DO = 10, 23, 2
_IP_PKTINFO = 8
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_TIMESPEC = struct.Struct("@ll")
_INT = struct.Struct("@i")
_SHORT = struct.Struct("@H")

BUFFER = 4 << 20
"""Bytes of receive buffer wanted: 170 ms at 200 Mbit/s. Without CAP_NET_ADMIN it is ``net.core.rmem_max`` at most."""
MOST_SEGMENTS = 44
"""Packets that one call hands to the kernel: below its limits of 64 segments and 64 kB (udp(7), UDP_SEGMENT)."""
_NO_OFFLOAD = frozenset({errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


class Arrived(NamedTuple):
    """A datagram that came. ``at`` is CLOCK_REALTIME in nanoseconds, by the kernel."""

    raw: bytes
    at: int


class StreamSocket:
    """One connected, non-blocking UDP socket. Wraps ``sock`` and owns it. Packets are never fragmented (DF)."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray(65_536)
        self._offload = True
        self.overflow = 0
        """Datagrams that this socket had no room for, since it was opened."""
        sock.setblocking(False)
        prepare(sock)
        with contextlib.suppress(OSError):  # Linux < 5.0: every datagram comes by itself
            sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)

    def fileno(self) -> int:
        """For polling."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def send(self, packet: bytes | bytearray | memoryview) -> bool:
        """Sends one datagram; ``False`` where this machine's queue is full. Raises ``OSError`` for what the network
        reports, such as ECONNREFUSED or EMSGSIZE."""
        try:
            self._socket.send(packet)
        except BlockingIOError:
            return False
        except OSError as problem:
            if problem.errno == errno.ENOBUFS:
                return False
            raise
        return True

    def burst(self, packets: bytearray, size: int) -> int:
        """Sends datagrams of ``size`` bytes that stand one after the other, at most :data:`MOST_SEGMENTS`, in one call
        where the kernel can; returns how many left: fewer where this machine's queue is full."""
        count = len(packets) // size
        if self._offload and count > 1:
            try:
                self._socket.sendmsg([packets], [(_SOL_UDP, _UDP_SEGMENT, _SHORT.pack(size))])
            except BlockingIOError:
                return 0
            except OSError as problem:
                if problem.errno == errno.ENOBUFS:
                    return 0
                if problem.errno not in _NO_OFFLOAD:
                    raise
                self._offload = False
            else:
                return count
        view = memoryview(packets)
        for position in range(count):
            if not self.send(view[position * size : (position + 1) * size]):
                return position
        return count

    def receive(self, most: int = 64) -> Iterator[Arrived]:
        """What waits, at most ``most`` reads; never blocks. Raises ``OSError`` for what the network reports."""
        for _ in range(most):
            try:
                length, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], 256)
            except BlockingIOError:
                return
            at, size = 0, length
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                    at = stamp_of(value)
                elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                    self.overflow = _INT.unpack_from(value)[0] & 0xFFFFFFFF
                elif level == _SOL_UDP and kind == _UDP_GRO:
                    size = _INT.unpack_from(value)[0]
            view = memoryview(self._buffer)
            for begin in range(0, length, max(1, size)):
                yield Arrived(bytes(view[begin : min(begin + size, length)]), at)


def prepare(sock: socket.socket) -> None:
    """Sets the options that every socket of these tests has."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    with contextlib.suppress(OSError):  # of an IPv6 socket that speaks no IPv4
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _DO)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _DO)


def stamp_of(value: bytes) -> int:
    """A ``struct timespec`` in nanoseconds."""
    seconds, nanoseconds = _TIMESPEC.unpack_from(value)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


Place = tuple[str, int] | tuple[str, int, int, int]


class Met(NamedTuple):
    """A datagram at a door: who sent it, and to which of this machine's addresses."""

    raw: bytes
    peer: Place
    local: str


class DoorSocket:
    """The unconnected socket at which strangers knock. Its answers leave from the address that was asked."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            self._socket.bind((host, port))
            # After the binding, so that a second responder on this port is refused and our own sessions are not.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError:
            self._socket.close()
            raise
        self.family = family
        self.port = int(self._socket.getsockname()[1])

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def receive(self, most: int) -> Iterator[Met]:
        """What waits, at most ``most`` datagrams; never blocks."""
        for _ in range(most):
            try:
                raw, ancillary, _, peer = self._socket.recvmsg(2048, 256)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error to one of our answers: the client asks again or does not
            yield Met(raw, peer, _local(ancillary))

    def answer(self, met: Met, packet: bytes) -> None:
        """Answers a datagram; what cannot be sent is lost, as datagrams may be."""
        with contextlib.suppress(OSError):
            self._socket.sendmsg([packet], self._from(met.local), 0, met.peer)

    def session(self, met: Met) -> socket.socket:
        """A socket of this same address and port that hears this one client alone."""
        sock = socket.socket(self.family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if self.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not met.local.startswith("::ffff:")))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            scope = met.peer[2:] if met.local.startswith("fe80") else (0, 0)
            sock.bind((met.local, self.port, *scope) if self.family == socket.AF_INET6 else (met.local, self.port))
            sock.connect(met.peer)
        except OSError:
            sock.close()
            raise
        return sock

    def _from(self, local: str) -> list[tuple[int, int, bytes]]:
        if not local:
            return []
        if self.family == socket.AF_INET6:
            return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, local) + bytes(4))]
        return [(socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + socket.inet_aton(local) + bytes(4))]


def _local(ancillary: list[tuple[int, int, bytes]]) -> str:
    """The address to which a datagram came (``struct in_pktinfo``, ``struct in6_pktinfo``)."""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return socket.inet_ntoa(value[8:12])
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return socket.inet_ntop(socket.AF_INET6, value[:16])
    return ""

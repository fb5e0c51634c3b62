"""Sockets that send echoes and say, by the kernel's own clock stamps, when echo and reply passed the machine's edge.

Ping sockets (icmp(7), no privilege where ``net.ipv4.ping_group_range`` allows) come first, raw ones second. Errors come
by the socket's error queue (IP_RECVERR, ip(7)), which works on both kinds and without privilege. Numbers that Python's
``socket`` lacks are those of the Linux headers named beside them.
"""

import array
import errno
import secrets
import socket
import struct
import time
from typing import NamedTuple

from agent.probes.icmp import codec
from agent.probes.icmp.codec import ExtendedError, Family, Origin, Quoted, Reply

# <asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>, <linux/icmpv6.h>
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPING = 37
_IP_RECVTTL = 12
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_ICMP6_FILTER = 1
# <linux/net_tstamp.h>
_RX_SOFTWARE, _SOFTWARE, _TX_SCHED, _TSONLY = 1 << 3, 1 << 4, 1 << 8, 1 << 11
_STAMPS = _RX_SOFTWARE | _SOFTWARE | _TX_SCHED | _TSONLY
_TIMESPEC = struct.Struct("@ll")
_INT = struct.Struct("@i")

_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_PROTOCOL = {Family.V4: socket.IPPROTO_ICMP, Family.V6: socket.IPPROTO_ICMPV6}
_LARGEST = 2048
_ANCILLARY = 512

REMEDY = (
    "allow ping sockets with: sysctl -w net.ipv4.ping_group_range='0 2147483647' "
    "(keep it in /etc/sysctl.d/), or give the agent CAP_NET_RAW (AmbientCapabilities=CAP_NET_RAW in its unit)"
)


_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""No right that is granted helps against these."""


class NoPermission(PermissionError):
    """Neither a ping socket nor a raw socket may be opened."""

    def __init__(self, family: Family) -> None:
        super().__init__(f"no ICMP socket for IPv{family.value}: neither ping nor raw sockets are allowed; {REMEDY}")


class Moment(NamedTuple):
    """One instant on both clocks, in nanoseconds: CLOCK_REALTIME (which the stamps use) and CLOCK_MONOTONIC."""

    real: int
    steady: int

    @property
    def offset(self) -> int:
        """Changes only when the wall clock is stepped."""
        return self.real - self.steady


class Arrived(NamedTuple):
    """A reply came. ``at`` is CLOCK_REALTIME by the kernel, or ``None`` where it gave no stamp."""

    reply: Reply
    source: str
    ttl: int | None
    at: int | None


class Failed(NamedTuple):
    """An error came for a request. ``source`` is who sent it (empty: this machine), ``at`` as in :class:`Arrived`."""

    quoted: Quoted
    error: ExtendedError
    source: str
    at: int | None


Event = Arrived | Failed
Address = tuple[str | int, ...]
"""A socket address as ``getaddrinfo`` gives it."""


def moment() -> Moment:
    """Now on both clocks, read closely together even on a busy machine."""
    for _ in range(4):
        before = time.time_ns()
        steady = time.monotonic_ns()
        after = time.time_ns()
        if 0 <= after - before < 20_000:
            break
    return Moment((before + after) // 2, steady)


class EchoSocket:
    """One non-blocking socket of one family, for all targets. Raises :class:`NoPermission`, or ``OSError`` when the
    kernel has no such family."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.token = secrets.token_bytes(8)
        self.pending: list[Event] = []
        """Errors met while sending; whoever sends takes them with :meth:`receive`."""
        self._socket, self.raw = _open(family)
        self._level = socket.IPPROTO_IP if family is Family.V4 else socket.IPPROTO_IPV6
        self._recverr = _IP_RECVERR if family is Family.V4 else _IPV6_RECVERR
        self._ttl = socket.IP_TTL if family is Family.V4 else socket.IPV6_HOPLIMIT
        try:
            self._prepare()
        except OSError:
            self._socket.close()
            raise

    def _prepare(self) -> None:
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setsockopt(self._level, self._recverr, 1)
        received_ttl = _IP_RECVTTL if self.family is Family.V4 else socket.IPV6_RECVHOPLIMIT
        self._socket.setsockopt(self._level, received_ttl, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _STAMPS)
        if self.raw:
            self.identifier = secrets.randbelow(0xFFFF) + 1
            _filter(self._socket, self.family, self.identifier)
        else:
            self._socket.bind(("0.0.0.0" if self.family is Family.V4 else "::", 0))
            self.identifier = self._socket.getsockname()[1]

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def send(self, address: Address, number: int, size: int, ttl: int | None = None) -> Moment:
        """Sends one echo and returns when it entered the network queue. Raises ``OSError`` with the cause.

        ``address`` is a socket address with port 0. An error pending from an earlier echo is not this one's: it is
        taken off and the echo sent again.
        """
        packet = codec.request(self.family, self.identifier, number, self.token, size)
        control = [] if ttl is None else [(self._level, self._ttl, _INT.pack(ttl))]
        try:
            now = self._send(packet, control, address)
        except BlockingIOError:
            raise OSError(errno.ENOBUFS, "the socket's send buffer is full") from None
        except OSError:
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            now = self._send(packet, control, address)
        return now

    def _send(self, packet: bytes, control: list[tuple[int, int, bytes]], address: Address) -> Moment:
        now = moment()
        self._socket.sendmsg([packet], control, 0, address)
        stamp = self._drain(self.pending)
        if stamp is None or not 0 <= stamp - now.real < 1_000_000_000:
            return now  # still waiting for the neighbour's address, or the wall clock was stepped just now
        return Moment(stamp, now.steady + stamp - now.real)

    def receive(self) -> list[Event]:
        """Replies that wait, at most 64, or else errors; never blocks. What is left makes the socket readable anew."""
        found, self.pending = self.pending, []
        for _ in range(64):
            try:
                data, ancillary, _, source = self._socket.recvmsg(_LARGEST, _ANCILLARY)
            except BlockingIOError:
                break
            except OSError:
                continue  # the error that the queue below explains
            event = self._reply(data, ancillary, source)
            if event:
                found.append(event)
        if not found:
            self._drain(found)
        return found

    def _drain(self, found: list[Event]) -> int | None:
        """Reads the error queue into ``found``, up to the stamp of a sending, which is returned if there was one."""
        for _ in range(64):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(_LARGEST, _ANCILLARY, socket.MSG_ERRQUEUE)
            except OSError:
                break
            error, source, at = None, "", None
            for level, kind, value in ancillary:
                if level == self._level and kind == self._recverr:
                    error = codec.extended_error(value)
                    source = _offender(value)
                elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPING:
                    at = _stamp(value)
            if error is None:
                continue
            if error.origin == Origin.TIMESTAMPING:
                return at
            request = codec.quoted(self.family, data, self.token, self.identifier)
            if request:
                found.append(Failed(request, error, source, at))
        return None

    def _reply(self, data: bytes, ancillary: list[tuple[int, int, bytes]], source: tuple[str, int]) -> Arrived | None:
        ttl = at = None
        if self.raw and self.family is Family.V4:
            inner = codec.without_ip_header(data)
            if inner is None:
                return None
            data, ttl = inner
        reply = codec.reply(self.family, data, self.token)
        if reply is None:
            return None
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPING:
                at = _stamp(value)
            elif level == self._level and kind == self._ttl:
                ttl = _INT.unpack_from(value)[0]
        return Arrived(reply, source[0], ttl, at)


def _open(family: Family) -> tuple[socket.socket, bool]:
    refusal = False
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            return socket.socket(_AF[family], kind | socket.SOCK_CLOEXEC, _PROTOCOL[family]), kind == socket.SOCK_RAW
        except PermissionError:
            refusal = True
        except OSError as problem:
            if problem.errno in _SHORTAGE or (kind == socket.SOCK_RAW and not refusal):
                raise
    raise NoPermission(family)


def _filter(sock: socket.socket, family: Family, identifier: int) -> None:
    """A raw socket would be woken by every ICMP message of the machine: lets through only replies with our identifier
    (classic BPF; errors come by the error queue, which no filter touches)."""
    header = [(0xB1, 0, 0, 0)] if family is Family.V4 else [(0x01, 0, 0, 0)]  # X = length of the IP header, or 0
    program = [
        *header,
        (0x50, 0, 0, 0),  # A = type
        (0x15, 0, 3, codec.ECHO_REPLY[family]),
        (0x48, 0, 0, 4),  # A = identifier
        (0x15, 0, 1, identifier),
        (0x06, 0, 0, 0xFFFFFFFF),
        (0x06, 0, 0, 0),
    ]
    code = array.array("B", b"".join(struct.pack("=HBBI", *line) for line in program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), code.buffer_info()[0]))
    if family is Family.V6:
        passing = [0xFFFFFFFF] * 8
        passing[codec.ECHO_REPLY[family] >> 5] &= ~(1 << (codec.ECHO_REPLY[family] & 31))
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *passing))


def _stamp(value: bytes) -> int | None:
    """``struct scm_timestamping``: the first of three times is the software stamp."""
    if len(value) < _TIMESPEC.size:
        return None
    seconds, nanoseconds = _TIMESPEC.unpack_from(value)
    return seconds * 1_000_000_000 + nanoseconds if seconds else None


def _offender(value: bytes) -> str:
    """The address behind ``struct sock_extended_err`` (SO_EE_OFFENDER); empty where there is none."""
    rest = value[16:]
    if len(rest) < 8:
        return ""
    family = struct.unpack_from("=H", rest)[0]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, rest[4:8])
    if family == socket.AF_INET6 and len(rest) >= 24:
        return socket.inet_ntop(socket.AF_INET6, rest[8:24])
    return ""

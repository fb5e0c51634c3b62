"""Moving test bytes over many connections and counting them: what both ends of a throughput test must do alike.

Blocking in nothing but the ``select`` of its caller, so it belongs into a thread of its own. The bytes mean nothing.
"""

import contextlib
import os
import socket
import struct
import time
from typing import Any

import psutil

from wire import tcp_info
from wire.tcp_info import TcpInfo
from wire.throughput import Effort, Reading

AT_HAND = 0.02
"""Seconds of a stream's fair share that may wait in the kernel unsent: enough that a busy thread leaves no gap, little
enough that stopping stops."""
_LEAST_CHUNK, _MOST_CHUNK = 16_384, 262_144
_TAKE = 1 << 20
_BUCKET = 0.05
"""Seconds of the lease's rate that may pass at once."""
_LEAST_BUCKET = 65_536
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_CONGESTION = getattr(socket, "TCP_CONGESTION", None)
PREFERRED = (b"bbr", b"cubic")
"""Congestion control in order of preference, alike on both ends so that results of all machines compare. On a queue of
2.5 ms sixteen connections of cubic leave 5 to 12 % of the line unused and those of bbr none (docs/decisions/015); bbr
needs to be among net.ipv4.tcp_allowed_congestion_control."""
# On TCP, MSG_TRUNC throws the bytes away inside the kernel instead of copying them (recv(2)).
_FLAGS = getattr(socket, "MSG_TRUNC", 0) if hasattr(socket, "TCP_INFO") else 0
_SCRAP = bytearray(_TAKE)
_FILL = os.urandom(_MOST_CHUNK)
"""Random: nothing on the way can compress it."""


_WITH_HEADERS = 1500 / 1448
"""Bytes at the IP layer for a byte of payload, near enough for an allowance."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: a reset instead of a farewell."""


class Allowance:
    """A token bucket at the lease's rate. ``now`` is seconds of a monotonic clock."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate / 8
        self._most = max(_LEAST_BUCKET, self._rate * _BUCKET)
        self._left = self._most
        self._at = now
        self.held = 0.0
        """Seconds in which nothing was left."""

    def left(self, now: float) -> float:
        """Bytes that may pass now; below 1 = none."""
        passed = now - self._at
        if self._left < 1:
            self.held += passed
        self._left = min(self._most, self._left + passed * self._rate)
        self._at = now
        return self._left

    @property
    def overdrawn(self) -> bool:
        """Whether nothing was left after what was spent last."""
        return self._left < 1

    def spend(self, size: float) -> None:
        """Counts bytes at the IP layer; more than is left delays what comes next."""
        self._left -= size


class Streams:
    """The connections of one test."""

    def __init__(self, sockets: list[socket.socket], rate: int) -> None:
        """``rate`` in bits per second is about what one may expect of them all; it sets how much waits unsent."""
        self.sockets = sockets
        share = rate / 8 / max(1, len(sockets)) * AT_HAND
        self.chunk = memoryview(_FILL)[: min(_MOST_CHUNK, max(_LEAST_CHUNK, int(share)))]
        self.payload = 0
        self.ended = 0
        """Streams that the other side closed."""
        self.segment = 0
        """Bytes of a full data segment at the IP layer; 0 where the kernel does not tell."""
        self.overhead = 0
        """Of these, headers."""
        for one in sockets:
            _prepare(one, 2 * len(self.chunk))

    def send(self, sock: socket.socket, allowance: Allowance) -> None:
        """Hands one chunk to the kernel if it takes any; raises ``OSError`` where the connection is gone."""
        try:
            count = sock.send(self.chunk)
        except BlockingIOError:
            return
        self.payload += count
        allowance.spend(count * _WITH_HEADERS)

    def take(self, sock: socket.socket, allowance: Allowance | None) -> None:
        """Takes what waits on one stream, all of it without an allowance; then it is not counted either."""
        while True:
            try:
                count = sock.recv_into(_SCRAP, _TAKE, _FLAGS)
            except BlockingIOError:
                return
            if not count:
                self.ended += 1
                return
            if allowance is not None:
                self.payload += count
                allowance.spend(count * _WITH_HEADERS)
                if allowance.overdrawn:
                    return
            if count < _TAKE // 16:
                return

    def read(self, begun: float, held: float, *, sender: bool) -> Reading:
        """The counters now, over all streams; raises ``OSError`` where a connection is gone."""
        infos = [tcp_info.of(one) for one in self.sockets]
        at = round((time.monotonic() - begun) * 1e6)
        known = [one for one in infos if one is not None]
        if len(known) < len(infos) or not infos:
            return Reading(at=at, payload=self.payload, held=round(held * 1e6))
        self._learn_segment(known, sender=sender)
        counts = tuple(one.delivered if sender else one.data_segs_in for one in known)
        return Reading(
            at=at,
            segments=sum(counts),
            payload=sum(one.bytes_acked if sender else one.bytes_received for one in known),
            sent=sum(one.data_segs_out for one in known) if sender else 0,
            bytes=sum(one.bytes_sent for one in known) if sender else 0,
            retransmitted=sum(one.retransmitted for one in known) if sender else 0,
            busy=sum(one.busy for one in known) if sender else 0,
            rwnd_limited=sum(one.rwnd_limited for one in known) if sender else 0,
            sndbuf_limited=sum(one.sndbuf_limited for one in known) if sender else 0,
            held=round(held * 1e6),
            streams=counts,
            rtts=tuple(one.rtt for one in known) if sender else (),
        )

    def _learn_segment(self, infos: list[TcpInfo], *, sender: bool) -> None:
        family = family_of(self.sockets[0])
        self.overhead = max(one.header(family) for one in infos)
        if sender:
            self.segment = max(one.snd_mss + one.header(family) for one in infos)
        else:  # a stream on which little came yet guesses too low
            self.segment = max(one.rcv_mss + one.header(family) for one in infos)

    def congestion(self) -> str:
        """The congestion control in use; empty where the system does not tell."""
        if _CONGESTION is None or not self.sockets:
            return ""
        return self.sockets[0].getsockopt(socket.IPPROTO_TCP, _CONGESTION, 16).rstrip(b"\0").decode("ascii", "replace")

    def abort(self) -> None:
        """Closes the streams at once; what waits unsent is thrown away."""
        for one in self.sockets:
            abort(one)


def family_of(sock: socket.socket) -> socket.AddressFamily:
    """The family of the packets: a socket of IPv6 may carry IPv4."""
    if sock.family == socket.AF_INET6 and not sock.getpeername()[0].lower().startswith("::ffff:"):
        return socket.AF_INET6
    return socket.AF_INET


def abort(sock: socket.socket) -> None:
    """Closes with a reset, so that the kernel keeps nothing for a peer that may be gone."""
    with contextlib.suppress(OSError):  # already reset by the other side
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    sock.close()


def _prepare(sock: socket.socket, unsent: int) -> None:
    sock.setblocking(False)
    if _NOTSENT_LOWAT is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, unsent)
    if _CONGESTION is not None:
        for one in PREFERRED:  # where the system has or allows none of them, its own choice stays, and is reported
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, _CONGESTION, one)
                break


class Meter:
    """How hard this machine and this thread work from its making on; ask it in the same thread."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._thread = time.thread_time()
        self._processors = psutil.cpu_times(percpu=True)

    def effort(self) -> Effort:
        """Shares since the beginning."""
        passed = max(1e-3, time.monotonic() - self._begun)
        thread = min(1.0, (time.thread_time() - self._thread) / passed)
        shares = busy_shares(self._processors, psutil.cpu_times(percpu=True))
        if not shares:
            return Effort(thread)
        return Effort(thread, max(shares), sum(shares) / len(shares))


def busy_shares(before: list[Any], after: list[Any]) -> list[float]:
    """How busy each processor was between two readings of ``psutil.cpu_times(percpu=True)``, 0 to 1."""
    found = []
    for old, new in zip(before, after, strict=False):
        # The guests' share is part of user and nice already (proc_stat(5)).
        total = sum(new) - sum(old) - sum(getattr(new, f, 0) - getattr(old, f, 0) for f in ("guest", "guest_nice"))
        idle = new.idle - old.idle + getattr(new, "iowait", 0.0) - getattr(old, "iowait", 0.0)
        if total > 0:
            found.append(min(1.0, max(0.0, 1 - idle / total)))
    return found

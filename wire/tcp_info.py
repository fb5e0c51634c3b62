"""What the kernel knows of a TCP connection: ``struct tcp_info`` of <linux/tcp.h>, by the length that it returns.

Segments are counted by the kernel as they arrive, those merged by GRO one by one, so the counts are the line's. An
application sees bytes only once they are in order: over half a second its counts err by a third (field: bandwidth §2).
"""

import socket
import struct
from typing import NamedTuple

LENGTH = 256
"""Bytes asked for; a kernel returns as many as it knows."""
_LAYOUT = struct.Struct("=8B24I4Q6I4Q2I")
"""Up to ``tcpi_delivered_ce``, which Linux has since 4.18."""
_BYTES_SENT = struct.Struct("=Q")
_TIMESTAMPS = 1
"""TCPI_OPT_TIMESTAMPS."""
TCP_HEADER = 20
TIMESTAMPS = 12
"""Bytes of the option in each segment, RFC 7323 section 3.2, with its two bytes of padding."""
IP_HEADER = {socket.AF_INET: 20, socket.AF_INET6: 40}


class TcpInfo(NamedTuple):
    """The fields that measuring needs. Times are microseconds; counts run from the connection's first packet."""

    timestamps: bool
    """Whether each segment carries the timestamps option."""
    snd_mss: int
    """Payload of a full segment that this side sends."""
    rcv_mss: int
    """Payload of a full segment as seen arriving; a guess until some came."""
    rtt: int
    """Smoothed round-trip time, RFC 6298."""
    min_rtt: int
    retransmitted: int
    """Segments."""
    bytes_acked: int
    bytes_received: int
    """Payload, in order."""
    data_segs_in: int
    data_segs_out: int
    busy: int
    """How long there was data to send or unacknowledged."""
    rwnd_limited: int
    """How long the receiver's window was what held the sender back."""
    sndbuf_limited: int
    delivered: int
    """Segments that the other side has acknowledged, SACK included."""
    bytes_sent: int
    """Payload sent, repeats included; 0 before Linux 4.19."""
    bare_segs_in: int
    """Segments without payload: acknowledgements."""
    bare_segs_out: int

    def header(self, family: int) -> int:
        """Bytes of a data segment before its payload, at the IP layer."""
        return IP_HEADER[socket.AddressFamily(family)] + TCP_HEADER + (TIMESTAMPS if self.timestamps else 0)


def parse(raw: bytes) -> TcpInfo | None:
    """``None`` where the kernel returned fewer fields than counting needs."""
    if len(raw) < _LAYOUT.size:
        return None
    found = _LAYOUT.unpack_from(raw)
    return TcpInfo(
        timestamps=bool(found[5] & _TIMESTAMPS),
        snd_mss=found[10],
        rcv_mss=found[11],
        rtt=found[23],
        min_rtt=found[39],
        retransmitted=found[31],
        bytes_acked=found[34],
        bytes_received=found[35],
        data_segs_in=found[40],
        data_segs_out=found[41],
        busy=found[43],
        rwnd_limited=found[44],
        sndbuf_limited=found[45],
        delivered=found[46],
        bytes_sent=_BYTES_SENT.unpack_from(raw, _LAYOUT.size)[0] if len(raw) >= _LAYOUT.size + 8 else 0,
        bare_segs_in=max(0, found[37] - found[40]),
        bare_segs_out=max(0, found[36] - found[41]),
    )


def of(sock: socket.socket) -> TcpInfo | None:
    """What the kernel knows of ``sock``; ``None`` on systems without it. Raises ``OSError`` for a closed socket."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    return parse(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LENGTH))

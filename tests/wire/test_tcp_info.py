"""The kernel's own record of a connection, read from its bytes."""

import socket
import struct
import threading

from hypothesis import given
from hypothesis import strategies as st

from wire import tcp_info
from wire.bulk import family_of


def raw(**fields: int) -> bytes:
    """A record of 280 bytes in which only the fields named are set, by their offsets in <linux/tcp.h>."""
    offsets = {
        "options": (5, "B"), "snd_mss": (16, "=I"), "rcv_mss": (20, "=I"), "rtt": (68, "=I"),
        "total_retrans": (100, "=I"), "bytes_acked": (120, "=Q"), "bytes_received": (128, "=Q"), "min_rtt": (148, "=I"),
        "segs_out": (136, "=I"), "segs_in": (140, "=I"),
        "data_segs_in": (152, "=I"), "data_segs_out": (156, "=I"), "busy_time": (168, "=Q"),
        "rwnd_limited": (176, "=Q"), "sndbuf_limited": (184, "=Q"), "delivered": (192, "=I"), "bytes_sent": (200, "=Q"),
    }  # fmt: skip
    made = bytearray(280)
    for name, value in fields.items():
        place, shape = offsets[name]
        struct.pack_into(shape, made, place, value)
    return bytes(made)


def test_each_field_is_where_the_header_file_says():
    found = tcp_info.parse(
        raw(
            options=1, snd_mss=2, rcv_mss=3, rtt=4, min_rtt=5, total_retrans=6, bytes_acked=7, bytes_received=8,
            data_segs_in=9, data_segs_out=10, busy_time=11, rwnd_limited=12, sndbuf_limited=13, delivered=14,
            bytes_sent=15, segs_in=25, segs_out=27,
        )
    )  # fmt: skip
    assert found is not None
    assert tuple(found) == (True, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)


def test_an_older_kernel_tells_less():
    whole = raw(delivered=7, bytes_sent=9)
    found = tcp_info.parse(whole[:200])
    assert found is not None
    assert (found.delivered, found.bytes_sent) == (7, 0)
    assert tcp_info.parse(whole[:199]) is None


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(data: bytes):
    assert (tcp_info.parse(data) is None) == (len(data) < 200)


def test_headers_by_family_and_timestamps():
    with_stamps, without = tcp_info.parse(raw(options=1)), tcp_info.parse(raw(options=6))
    assert with_stamps is not None
    assert without is not None
    assert with_stamps.header(socket.AF_INET) == 52
    assert with_stamps.header(socket.AF_INET6) == 72
    assert without.header(socket.AF_INET) == 40


def connected(family: int, host: str) -> tuple[socket.socket, socket.socket]:
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as listener:
        there = "127.0.0.1" if host == "::" else host
        ours = socket.create_connection((there, listener.getsockname()[1]))
        theirs, _ = listener.accept()
        return ours, theirs


def test_the_kernel_counts_what_an_application_sent():
    ours, theirs = connected(socket.AF_INET, "127.0.0.1")
    with ours, theirs:
        sender = threading.Thread(target=ours.sendall, args=(b"x" * 3_000_000,))
        sender.start()
        taken = 0
        while taken < 3_000_000:
            taken += len(theirs.recv(1 << 20))
        sender.join()
        sent, got = tcp_info.of(ours), tcp_info.of(theirs)
    assert sent is not None
    assert got is not None
    assert got.bytes_received == 3_000_000
    assert sent.bytes_sent - sent.retransmitted * sent.snd_mss <= 3_000_000 <= sent.bytes_sent
    assert got.data_segs_in == sent.data_segs_out
    assert sent.min_rtt > 0


def test_ipv4_inside_a_socket_of_ipv6_is_ipv4():
    ours, theirs = connected(socket.AF_INET6, "::")
    with ours, theirs:
        assert theirs.family == socket.AF_INET6
        assert family_of(theirs) == socket.AF_INET
        assert family_of(ours) == socket.AF_INET

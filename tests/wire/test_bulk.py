"""Moving test bytes: the allowance holds, streams are counted, processors are read."""

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.bulk import Allowance, Streams, abort, busy_shares


def test_an_allowance_is_a_bucket_of_50_ms():
    bucket = Allowance(80_000_000, now=100.0)
    assert bucket.left(100.0) == 500_000
    bucket.spend(500_000)
    assert bucket.left(100.0) == 0
    assert bucket.left(100.01) == pytest.approx(100_000)
    assert bucket.left(200.0) == 500_000


def test_what_was_taken_too_much_delays_what_comes():
    bucket = Allowance(80_000_000, now=0.0)
    bucket.spend(1_500_000)
    assert bucket.left(0.05) < 1
    assert bucket.left(0.15) == pytest.approx(500_000)
    assert bucket.held == pytest.approx(0.15)
    bucket.left(0.2)
    assert bucket.held == pytest.approx(0.15)


def test_a_slow_lease_still_moves_whole_chunks():
    assert Allowance(8_000, now=0.0).left(0.0) == 65_536


@given(st.integers(1_000_000, 10**9), st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 262_144)), max_size=200))
def test_never_more_than_the_rate_and_one_bucket(rate: int, steps: list[tuple[float, int]]):
    bucket, now, spent, last = Allowance(rate, 0.0), 0.0, 0, 0
    for wait, size in steps:
        now += wait
        if bucket.left(now) >= 1:
            bucket.spend(size)
            spent, last = spent + size, size
    assert spent - last <= rate / 8 * now + max(65_536, rate / 8 * 0.05) + 1


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def test_both_ends_count_the_same(pair: tuple[socket.socket, socket.socket]):
    sender, receiver = Streams([pair[0]], 10**9), Streams([pair[1]], 10**9)
    plenty = Allowance(10**12, 0.0)
    for _ in range(20):
        sender.send(pair[0], plenty)
        receiver.take(pair[1], plenty)
    pair[1].setblocking(True)
    pair[1].settimeout(5)
    while receiver.payload < sender.payload:
        receiver.payload += len(pair[1].recv(1 << 20))
    sent, got = sender.read(0.0, 0.25, sender=True), receiver.read(0.0, 0.0, sender=False)
    assert sender.payload == got.payload == sent.bytes > 0
    assert got.segments == sent.sent
    assert sent.held == 250_000
    assert got.rtts == ()
    assert len(sent.rtts) == len(sent.streams) == 1
    assert sender.overhead == 52
    assert sender.segment == 65_535
    assert sender.congestion() in ("cubic", "bbr", "reno")


def test_the_end_of_a_stream_is_seen(pair: tuple[socket.socket, socket.socket]):
    streams = Streams([pair[1]], 10**6)
    pair[0].shutdown(socket.SHUT_WR)
    pair[1].setblocking(True)
    assert pair[1].recv(1, socket.MSG_PEEK) == b""
    pair[1].setblocking(False)
    streams.take(pair[1], None)
    assert streams.ended == 1


def test_aborting_resets(pair: tuple[socket.socket, socket.socket]):
    abort(pair[0])
    abort(pair[0])
    with pytest.raises(ConnectionResetError):
        pair[1].recv(1)


class Times(NamedTuple):
    user: float
    system: float
    idle: float
    iowait: float
    guest: float = 0.0
    guest_nice: float = 0.0


def test_how_busy_processors_were():
    before = [Times(10, 5, 100, 3), Times(0, 0, 0, 0), Times(1, 1, 1, 1)]
    after = [Times(10.3, 5.2, 100.4, 3.1), Times(2, 0, 0, 0, guest=2), Times(1, 1, 1, 1)]
    assert busy_shares(before, after) == pytest.approx([0.5, 1.0])

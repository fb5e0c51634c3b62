"""One request and its answer over UDP, with retransmission: the shell around the sans-IO codecs of the probes."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from agent.addresses import Address

T = TypeVar("T")


class NoAnswer(Exception):
    """Nothing acceptable came in time; ``garbage`` says what was wrong with what did come, if anything did."""

    def __init__(self, sent: int, garbage: Exception | None) -> None:
        super().__init__(f"no answer to {sent} requests")
        self.sent = sent
        self.garbage = garbage


class Reply(NamedTuple, Generic[T]):
    """An accepted answer. ``took`` counts from the first request in nanoseconds; with ``sent`` > 1 it may belong to a
    later one (Karn), so it is a round-trip time only when ``sent`` is 1."""

    value: T
    took: int
    sent: int


async def exchange(
    address: Address,
    request: Callable[[int, tuple[str, int]], bytes],
    at: Sequence[float],
    until: float,
    accept: Callable[[bytes], T | None],
    malformed: type[Exception],
) -> Reply[T]:
    """Sends ``request(number, local address)`` at the times ``at`` (s from now) and waits until ``until``.

    ``accept`` returns the answer, ``None`` for a datagram that is not ours, or raises ``malformed``; then we go on
    listening, because anybody may send us garbage. Raises :class:`NoAnswer`, and ``OSError`` for what the network
    reports (ICMP "port unreachable" comes as ECONNREFUSED).
    """
    loop = asyncio.get_running_loop()
    garbage: Exception | None = None
    with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, address.place)  # a connected socket hears its peer alone, and ICMP errors
        local = sock.getsockname()[:2]
        zero = loop.time()
        started = time.perf_counter_ns()
        sent = 0
        for following in (*at[1:], until):
            await loop.sock_sendall(sock, request(sent, local))
            sent += 1
            try:
                async with asyncio.timeout_at(zero + min(following, until)):
                    while True:
                        data = await loop.sock_recv(sock, 65_535)
                        took = time.perf_counter_ns() - started
                        try:
                            value = accept(data)
                        except malformed as problem:
                            garbage = problem
                        else:
                            if value is not None:
                                return Reply(value, took, sent)
            except TimeoutError:
                if following >= until:
                    break
    raise NoAnswer(sent, garbage)


def doubling(first: float, most: int, cap: float = 1e9) -> list[float]:
    """Instants of ``most`` requests whose distance begins at ``first`` seconds and doubles up to ``cap``."""
    at, distance = [0.0], first
    for _ in range(most - 1):
        at.append(at[-1] + distance)
        distance = min(distance * 2, cap)
    return at

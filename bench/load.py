"""A load generator of its own process: keep-alive HTTP/1.1 connections that post prepared requests in a closed loop."""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass, field

STOP_GRACE = 30.0


@dataclass
class Loaded:
    """What came of it. Latencies in seconds, from the first byte written to the last byte read."""

    seconds: float
    done: int
    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def quantile(self, q: float) -> float:
        """By nearest rank."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


class _Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.waiter: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) >= length and self.waiter is not None:
            self.buffer = b""
            waiter, self.waiter = self.waiter, None
            waiter.set_result(head[9:12] + body[:length])

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(exc or ConnectionError("closed in the middle"))

    async def ask(self, request: bytes) -> bytes:
        self.waiter = asyncio.get_running_loop().create_future()
        assert self.transport is not None
        self.transport.write(request)
        return await self.waiter


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _drive(host: str, port: int, queues: list[list[bytes]], seconds: float, pace: float, wanted: bytes) -> Loaded:
    loop = asyncio.get_running_loop()
    connections = []
    for _ in queues:
        _, protocol = await loop.create_connection(_Connection, host, port)
        connections.append(protocol)
    result = Loaded(0, 0)
    begun = time.perf_counter()

    async def run(connection: _Connection, queue: list[bytes], offset: float) -> None:
        for number, one in enumerate(queue):
            due = begun + offset + number * pace
            wait = due - time.perf_counter()
            if pace and wait > 0:
                await asyncio.sleep(wait)
            started = due if pace else time.perf_counter()
            if time.perf_counter() - begun >= seconds:
                return
            answer = await connection.ask(one)
            result.latencies.append(time.perf_counter() - started)
            if answer[:1] != b"2" or wanted not in answer:
                result.failures.append(answer[:300].decode(errors="replace"))
                return
            result.done += 1

    count = len(queues)
    await asyncio.gather(
        *(
            run(one, queue, pace * place / count)
            for place, (one, queue) in enumerate(zip(connections, queues, strict=True))
        )
    )
    result.seconds = time.perf_counter() - begun
    for one in connections:
        assert one.transport is not None
        one.transport.close()
    return result


def _child(pipe, arguments) -> None:
    pipe.send(asyncio.run(_drive(*arguments)))
    pipe.close()


def drive(
    host: str, port: int, queues: list[list[bytes]], seconds: float, *, pace: float = 0.0, wanted: bytes = b""
) -> Loaded:
    """Posts each queue over a connection of its own, in a process of its own. ``pace`` = seconds between the due times
    of one connection's requests (latency counts from the due time); 0 = as fast as answers come. Every answer must be
    2xx and hold ``wanted``."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_child, args=(theirs, (host, port, queues, seconds, pace, wanted))
    )
    child.start()
    theirs.close()
    result: Loaded = ours.recv()
    child.join(STOP_GRACE)
    return result

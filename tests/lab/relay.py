"""A port of this machine's loopback that leads to a port of a namespace's loopback, so that a browser sees the board.

One thread goes into the namespace and stays there; the socket that listens was made outside.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
from pathlib import Path

CLONE_NEWNET = 0x40000000


class Relay:
    """Listens until closed. ``port`` 0 lets the system choose."""

    def __init__(self, space: str, inner: int, port: int = 0) -> None:
        self._space, self._inner = space, inner
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._problems: list[OSError] = []
        self._tasks: set[asyncio.Task[None]] = set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._live, args=(started,), name="relay", daemon=True)
        self._thread.start()
        started.wait(10)
        if self._problems:
            self.close()
            raise self._problems[0]

    def close(self) -> None:
        """Ends it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)
        self._listener.close()

    def _live(self, started: threading.Event) -> None:
        try:
            enter(self._space)
        except OSError as problem:
            self._problems.append(problem)
            return
        finally:
            started.set()
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._carry, sock=self._listener)
        async with server:
            await self._stop.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._inner)
            await asyncio.gather(_pour(reader, back), _pour(there, writer))
        writer.close()


def enter(space: str) -> None:
    """Moves this thread into a namespace, for good."""
    handle = os.open(Path("/run/netns") / space, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns {space}: {os.strerror(number)}")
    finally:
        os.close(handle)


async def _pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            into.write(data)
            await into.drain()
        if into.can_write_eof():
            into.write_eof()
            return
    into.close()

"""Foreign programs that measure: run without a shell, bounded in time and output, ended with whoever waits for them."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from wire.clock import SECOND
from wire.lease import Grant

LARGEST_OUTPUT = 8 * 1024 * 1024
"""Bytes; iperf3 writes some 300 for each stream and interval."""
ENDING = 2.0
"""Seconds from SIGTERM to SIGKILL."""


class ToolMissing(Exception):
    """The program is not installed; the message names the package."""


class ToolFailed(Exception):
    """The program did not end within its time, or said more than is read."""


class Said(NamedTuple):
    """What a program wrote, and how it ended."""

    code: int
    output: bytes
    complaint: str
    """The last line of its standard error, for people; cut to 300 characters."""


def over_at(grant: Grant) -> float:
    """When a lease granted just now is over, on ``time.monotonic``: a foreign program does not know of leases, and what
    follows may be another's test or quiet time."""
    return time.monotonic() + (grant.lease.expires - grant.lease.issued) / SECOND


async def said(
    words: Sequence[str], within: float, *, package: str, environment: Mapping[str, str] | None = None
) -> Said:
    """Runs a program to its end within ``within`` seconds; raises :class:`ToolMissing` or :class:`ToolFailed`.

    Cancelled, it ends the program first.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    except (FileNotFoundError, PermissionError) as missing:
        raise ToolMissing(f"{words[0]}: {missing.strerror}; install it: {package}") from missing
    pipes = (process.stdout, process.stderr)
    reading = [asyncio.create_task(_bounded(pipe, words[0])) for pipe in pipes]
    try:
        async with asyncio.timeout(within):
            output, complaints = await asyncio.gather(*reading)
            code = await process.wait()
    except TimeoutError as late:
        raise ToolFailed(f"{words[0]}: found no end after {within:g} s, expected one; it was stopped") from late
    finally:
        for one in reading:
            one.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await _ended(process)
    lines = complaints.decode("utf-8", "replace").strip().splitlines()
    return Said(code, output, lines[-1][:300] if lines else "")


async def _bounded(stream: asyncio.StreamReader | None, name: str) -> bytes:
    assert stream is not None  # noqa: S101 - both were asked for as pipes
    found = bytearray()
    while some := await stream.read(65536):
        found += some
        if len(found) > LARGEST_OUTPUT:
            raise ToolFailed(f"{name}: found more than {LARGEST_OUTPUT} bytes of output, expected fewer")
    return bytes(found)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Ends the program if it runs, and reads its pipes to their ends: what is left unread would keep them open."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(ENDING):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()

"""Runs the link watcher in a process of its own, for tests that need another network namespace.

python -m tests.support.watch SETTINGS_JSON LEARNED_JSON [SECONDS]: prints each sighting as a line of JSON at once,
until its input is closed or so many seconds are over, and then the processor seconds that it took in each.
"""

import asyncio
import resource
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.clock import Clock, SystemClock
from agent.directory import Directory, NotLearnedYet
from agent.probe import Sighting, Span, Target, load
from wire.reasons import Reason

SETTLED = 5.0
"""Seconds after which everything is imported and the first change told; the processor is watched from then on."""


class PlainSurroundings:
    """A place at which nothing is hindered; windows end on multiples of their length since the boot."""

    def __init__(self, clock: Clock, learned: Mapping[str, str] | None = None) -> None:
        self.clock = clock
        self.directory = Directory(learned)
        self.reason: Reason | None = None

    def address(self, text: str) -> str:
        try:
            return str(self.directory.resolve(text))
        except NotLearnedYet:
            return ""

    def hindrance(self, interface: str, gateway: str) -> Reason | None:
        return self.reason

    def until_grid(self, seconds: float, boottime: int) -> int:
        length = round(seconds * 1_000_000)
        return length - boottime % length


async def _watch(settings: dict[str, Any], learned: dict[str, str], seconds: float) -> None:
    info = await asyncio.to_thread(load, "link")
    link = info.make()
    around = PlainSurroundings(await asyncio.to_thread(SystemClock), learned)
    target = Target("link", "", msgspec.convert(settings, info.settings))

    async def follow() -> None:
        sighting: Sighting
        async for sighting in link.watch(target, Span(60.0, 60.0), around):
            around.directory.learn(sighting.finding.learned)
            print(msgspec.json.encode(sighting).decode(), flush=True)

    task = asyncio.create_task(follow())
    closed = asyncio.ensure_future(_closed())
    loop = asyncio.get_running_loop()
    await asyncio.wait({task, closed}, timeout=SETTLED, return_when=asyncio.FIRST_COMPLETED)
    before, begun = resource.getrusage(resource.RUSAGE_SELF), loop.time()
    await asyncio.wait({task, closed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    after, ended = resource.getrusage(resource.RUSAGE_SELF), loop.time()
    task.cancel()
    await asyncio.wait({task})
    link.close()
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(msgspec.json.encode({"processor": spent / (ended - begun)}).decode(), flush=True)
    if not task.cancelled():
        task.result()


async def _closed() -> None:
    """Returns when nobody holds the other end of the input."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def main() -> None:
    """Reads the arguments."""
    settings, learned, *seconds = sys.argv[1:]
    asyncio.run(
        _watch(msgspec.json.decode(settings), msgspec.json.decode(learned), float(seconds[0] if seconds else 3600))
    )


if __name__ == "__main__":
    main()

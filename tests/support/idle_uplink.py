"""What an idle uplink costs: ``python -m tests.support.idle_uplink [POSTS]`` prints CPU and memory, asserts nothing.

The collector is a process of its own. Time is simulated, so 720 heartbeats (an hour of them) take a second or two.
"""

import asyncio
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.clock import FakeClock
from tests.support.fake_collector import FakeCollector
from tests.support.uplink_world import World


async def serve() -> None:
    async with FakeCollector(FakeClock()) as collector:
        print(collector.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def measure(port: int, posts: int) -> None:
    clock = FakeClock()
    collector = FakeCollector(clock)
    collector.port = port
    with tempfile.TemporaryDirectory() as folder:
        async with World(Path(folder), clock, collector) as world:
            await clock.drive(60)
            before, counted = resource.getrusage(resource.RUSAGE_SELF), world.uplink.status.posts
            await clock.drive(posts * 5)
            after = resource.getrusage(resource.RUSAGE_SELF)
            made = world.uplink.status.posts - counted
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    print(
        f"{made} posts, {cpu:.3f} s CPU, {cpu / made * 1000:.2f} ms a post; one in 5 s: {cpu / made / 5:.4%} of a core"
    )
    print(f"peak memory of the process {after.ru_maxrss / 1024:.1f} MB (test helpers and aiohttp's server included)")


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
        return
    command = [sys.executable, "-m", "tests.support.idle_uplink", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        asyncio.run(measure(int(server.stdout.readline()), int(sys.argv[1]) if len(sys.argv) > 1 else 720))
        assert server.stdin is not None
        server.stdin.close()


if __name__ == "__main__":
    main()

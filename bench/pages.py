"""How long a person waits for the board and for a site's page: ``python -m bench.pages``.

A real collector on loopback with the example province: every site has an agent that delivered an hour of thirty series.
The limit is the one of the store's bench (50 ms at the 95th percentile); ``/healthz`` beside it is what an answer with
nothing in it costs here. What reading ninety days of history costs is measured by ``bench.store``.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import click

from tests.support.collecting import Agent, Collector, collecting
from tests.support.store import window
from wire.clock import MINUTE
from wire.reasons import Outcome, Reason

LIMIT = 50.0
SERIES, WINDOWS = 30, 60
PAGES = {"/healthz": "nothing", "/": "the board", "/fragments/board": "the board's refresh", "/sites/na-yung": "a site"}


async def deliver(agent: Agent) -> None:
    """An hour of thirty series, one of which fails."""
    now = agent.collector.now.boottime
    for minute in range(WINDOWS):
        end = now - (WINDOWS - 1 - minute) * MINUTE
        ones = [window(end, f"target-{number}") for number in range(1, SERIES)]
        ones.append(window(end, "target-0", outcome=Outcome.FAILED, reason=Reason.NO_REPLY))
        answer = await agent.post(agent.chain.seal(*ones))
        if answer.status != 200:
            raise RuntimeError(f"a post was answered with {answer.status}, expected 200: {answer.body[:200]!r}")


async def measured(collector: Collector, path: str, times: int) -> list[float]:
    """Milliseconds of each request, sorted."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        answer = await collector.ask("GET", path)
        found.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}, expected 200")
    return sorted(found)


async def run(times: int) -> None:
    """Fills a collector and asks it for its pages."""
    with tempfile.TemporaryDirectory() as folder:
        async with collecting(Path(folder)) as collector:
            sites = list(collector.services.inventory.sites)
            for site in sites:
                collector.now.forward(1)
                await deliver(await collector.agent(site))
            print(f"{len(sites)} sites, {SERIES} series each, an hour of windows; {times} requests a page\n")
            print("| page | p50 ms | p95 ms | limit |\n|---|---|---|---|")
            for path, name in PAGES.items():
                await measured(collector, path, 3)
                found = await measured(collector, path, times)
                print(f"| {name} | {found[len(found) // 2]:.1f} | {quantiles(found, n=20)[18]:.1f} | {LIMIT:.0f} |")


@click.command()
@click.option("--times", default=200, help="Requests a page.")
def main(times: int) -> None:
    """Prints the table."""
    asyncio.run(run(times))


if __name__ == "__main__":
    main()

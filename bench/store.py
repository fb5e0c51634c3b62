"""What the store takes and gives at a province's size: 21 sites, 30 observations a minute each, 90 days.

    python -m bench.store [--days 90] [--sites 21] [--folder DIR] [--seconds 10]

One day of mixed probes is generated and packed by the store's own packer; its columns are then repeated with shifted
times, day after day. Prints bytes an observation, what the board and a site's page wait for, and how long a post waits
at most while an expired day is deleted.
"""

import argparse
import asyncio
import gc
import os
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection

from bench.store_day import BOOT, SERIES_A_SITE, PackedHour, a_day, names, observe, shifted
from collector.store import Source, Store, query
from collector.store.packing import key_of
from collector.store.retention import Retention
from wire.batch import GENESIS, AgentClock, Sealed, StreamName, digest_of, new_stream_id, seal
from wire.clock import DAY, HOUR, MINUTE, SECOND, Anchor, Instant

MIDNIGHT: Instant = 1_795_000_000_000_000 // DAY * DAY
PER_BATCH = 6


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(text, file=sys.stderr, flush=True)


def quantile(values: list[float], q: float) -> float:
    """By nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def fill(store: Store, day: list[PackedHour], days: int, sites: int) -> None:
    """Writes the series and ``days`` copies of the day."""
    places = [(f"site-{site:02}", "main", "link") for site in range(sites)]
    series = [
        (number + 1, *places[number // SERIES_A_SITE], *names()[number % SERIES_A_SITE][:2], "", MIDNIGHT)
        for number in range(sites * SERIES_A_SITE)
    ]

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?)", series)

    await store.write(begin)
    for number in range(days):

        def add(connection: Connection, number: int = number) -> None:
            first = MIDNIGHT // HOUR + 24 * number
            hours: list[tuple[Any, ...]] = []
            rollups: list[tuple[Any, ...]] = []
            for one in day:
                key = key_of(one.series + 1, first + one.hour)
                hours.append((key, one.series + 1, one.windows, shifted(one.body, number, 1440 * SERIES_A_SITE)))
                rollups.append((key, one.series + 1, one.rollup))
            connection.exec_driver_sql("INSERT INTO hour (key, series, windows, body) VALUES (?, ?, ?, ?)", hours)
            connection.exec_driver_sql("INSERT INTO rollup (key, series, body) VALUES (?, ?, ?)", rollups)

        await store.write(add)
        if number % 10 == 9:
            say(f"  {number + 1} days written")


class Agent:
    """Posts what a site measures, batch by batch."""

    def __init__(self, site: int, now: Instant) -> None:
        self.source = Source(f"agent-{site:02}", f"site-{site:02}", "main", "link")
        self.wall = now - 5 * DAY
        self.rng = random.Random(site)
        self.stream, self.seq, self.prev = new_stream_id(), 0, GENESIS
        self.at = 0

    def batch(self, end: int) -> Sealed:
        """The next six observations, ending at a boottime."""
        found = []
        for _ in range(PER_BATCH):
            _, target, kind = names()[self.at % SERIES_A_SITE]
            found.append(observe(kind, target, end, self.wall, self.rng))
            self.at += 1
        self.seq += 1
        raw = seal(self.stream, StreamName.MONITOR, self.seq, self.prev, [*found])
        self.prev = digest_of(raw)
        return Sealed(self.prev, msgspec.Raw(raw))

    async def post(self, store: Store, end: int, batches: list[Sealed]) -> float:
        """Seconds until the receipt."""
        clock = AgentClock(BOOT, end, self.wall + end, Anchor(BOOT, end, self.wall + end, 9_000))
        began = time.perf_counter()
        taken = await store.take(self.source, self.wall + end, clock, batches)
        assert all(receipt.status == "stored" for receipt in taken.receipts), taken.receipts
        return time.perf_counter() - began


async def half_an_hour(store: Store, agents: list[Agent]) -> None:
    """The present hour, not packed yet, over the ordinary way in."""
    for minute in range(30):
        end = 5 * DAY + minute * MINUTE
        for agent in agents:
            await agent.post(store, end, [agent.batch(end - 30 * SECOND) for _ in range(SERIES_A_SITE // PER_BATCH)])


async def pages(store: Store, sites: int, now: Instant, times: int = 100) -> dict[str, list[float]]:
    """Seconds that the board's and a site's page wait for the store."""
    rng = random.Random(5)
    found: dict[str, list[float]] = defaultdict(list)

    def site_page(connection: Connection, site: str) -> int:
        """Newest windows, and of each series a chart: a day of ends, outcomes and one duration, and its roll-ups."""
        query.latest(connection, sites=[site])
        numbers = [one.number for one in query.series(connection, sites=[site])]
        charts = query.windows(connection, numbers, now - DAY, now)
        query.hours(connection, numbers, now - DAY, now)
        points = 0
        for chart in charts.values():
            points += len(chart.end) + len(chart.outcome)
            points += sum(len(column.means()) for column in list(chart.durations.values())[-1:])
        return points

    def board_page(connection: Connection, site: str) -> int:
        """As the board reads it: past hours from their roll-ups, single windows of the present hour."""
        query.latest(connection, sites=[site])
        numbers = [one.number for one in query.series(connection, sites=[site])]
        query.hours(connection, numbers, now - DAY, now)
        return sum(len(one) for one in query.windows(connection, numbers, now // HOUR * HOUR, now).values())

    def all_sites(connection: Connection, site: str) -> int:  # noqa: ARG001 - the pages have one shape
        return len(query.latest(connection))

    def busy(connection: Connection, page: Callable[[Connection, str], int], site: str) -> float:
        began = time.thread_time()
        page(connection, site)
        return time.thread_time() - began

    for _ in range(times):
        for name, page in (("board", all_sites), ("site", site_page), ("overview", board_page)):
            site = f"site-{rng.randrange(sites):02}"
            began = time.perf_counter()
            spent = await store.read(partial(busy, page=page, site=site))
            found[name].append(time.perf_counter() - began)
            found[f"{name} cpu"].append(spent)
    return found


async def posting(store: Store, agents: list[Agent], rate: float, until: asyncio.Event) -> list[float]:
    """Every agent posts six observations, together about ``rate`` observations a second; seconds each post waited."""
    waits: list[float] = []

    async def one(agent: Agent) -> None:
        end = 5 * DAY + 31 * MINUTE
        while not until.is_set():
            end += SECOND
            prepared = agent.batch(end)
            waits.append(await agent.post(store, end, [prepared]))
            await asyncio.sleep(PER_BATCH * len(agents) / rate)

    await asyncio.gather(*(one(agent) for agent in agents))
    return waits


async def measure(store: Store, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Everything, in order; rows of the table."""
    began = time.perf_counter()
    say("generating and packing one day …")
    day = list(a_day(options.sites, MIDNIGHT))
    observations = sum(one.windows for one in day)
    generated = time.perf_counter() - began
    packed = sum(len(one.body) for one in day) / observations
    rolled = sum(len(one.rollup) for one in day) / observations
    say(f"  {observations:,} observations in {generated:.0f} s: {packed:.1f} + {rolled:.1f} bytes each")
    began = time.perf_counter()
    await fill(store, day, options.days, options.sites)
    written = time.perf_counter() - began
    del day
    whole = await store.read(
        lambda c: (
            c.exec_driver_sql("PRAGMA page_count").scalar_one() * c.exec_driver_sql("PRAGMA page_size").scalar_one()
        )
    )
    total = observations * options.days
    now = MIDNIGHT + options.days * DAY
    agents = [Agent(site, now) for site in range(options.sites)]
    await half_an_hour(store, agents)
    rows, bodies = await store.read(lambda c: c.exec_driver_sql("SELECT count(*), sum(length(body)) FROM window").one())
    gc.collect()
    gc.freeze()  # as the daemon does once it has started
    say("reading pages …")
    waits = await pages(store, options.sites, now + 30 * MINUTE)
    say("posting without and with the deleting of a day …")
    quiet, busy, deleted = await stalls(store, agents, options)
    return [
        ("observations stored", f"{total:,}", f"{options.sites} sites, {SERIES_A_SITE} a minute, {options.days} days"),
        ("bytes an observation, whole file", f"{whole / total:.1f}", "≤ 100"),
        ("… packed columns / roll-ups alone", f"{packed:.1f} / {rolled:.1f}", ""),
        ("… the same as JSON rows (before packing)", f"{bodies / rows:.0f}", "body alone"),
        ("file", f"{whole / 1e9:.2f} GB", f"written in {written:.0f} s"),
        (
            "board: newest of every series, p50 / p95",
            _ms(waits["board"], 0.5, 0.95),
            f"≤ 50 ms; processor time {_ms(waits['board cpu'], 0.5, 0.95)}",
        ),
        (
            "site page: newest, day in roll-ups, present hour, p50 / p95",
            _ms(waits["overview"], 0.5, 0.95),
            f"≤ 50 ms; processor time {_ms(waits['overview cpu'], 0.5, 0.95)}",
        ),
        (
            "… and 24 h of single windows of all 30 series, p50 / p95",
            _ms(waits["site"], 0.5, 0.95),
            f"43,000 windows, more than any page asks; processor time {_ms(waits['site cpu'], 0.5, 0.95)}",
        ),
        ("post waits, nothing deleted, p50 / p99 / longest", _ms(quiet, 0.5, 0.99, 1.0), f"{len(quiet)} posts"),
        (f"post waits while {deleted:,} packed hours are deleted", _ms(busy, 0.5, 0.99, 1.0), "longest ≤ 100 ms"),
    ]


async def stalls(
    store: Store, agents: list[Agent], options: argparse.Namespace
) -> tuple[list[float], list[float], int]:
    """How long posts wait without and with an expired day being deleted beside them."""
    until = asyncio.Event()
    task = asyncio.create_task(posting(store, agents, options.rate, until))
    await asyncio.sleep(options.seconds)
    until.set()
    quiet = await task
    until = asyncio.Event()
    task = asyncio.create_task(posting(store, agents, options.rate, until))
    done = await store.maintain(MIDNIGHT + options.days * DAY + 40 * MINUTE, Retention(windows=options.days - 1))
    until.set()
    return quiet, await task, done.deleted


def _ms(values: list[float], *quantiles: float) -> str:
    return " / ".join(f"{quantile(values, q) * 1000:.1f}" for q in quantiles) + " ms"


async def run(options: argparse.Namespace) -> None:
    """Prints the table."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="phrom-bench-", dir=options.folder))
    try:
        store = await asyncio.to_thread(Store.open, folder / "phrom.db")
        table = await measure(store, options)
        await asyncio.to_thread(store.close)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)
    print(f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f} at the end\n")
    print("| store | measured | limit or remark |\n|---|---|---|")
    for row in table:
        print(f"| {' | '.join(row)} |")


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--sites", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long posts are watched before the deleting")
    parser.add_argument("--rate", type=float, default=1000.0, help="observations a second while the day is deleted")
    parser.add_argument("--folder", default=None, help="where to put the file (by default the temporary folder)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

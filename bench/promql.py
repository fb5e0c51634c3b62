"""PromQL on the collector's history by remote read, beside Prometheus on its own disk with the same samples.

Twenty links, one-minute windows of sixty echoes each. A stock Prometheus (Debian's) reads the collector; a second one
holds the same samples in blocks of its own. Asked first with nothing kept in the collector's memory, then again.

    python -m bench.promql [--days 10] [--links 20] [--rounds 3]
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median

from collector.store import Source
from tests.support.backfill import Backfilled, collector
from tests.support.prometheus import Served, config, prometheus
from wire.clock import DAY, MINUTE, SECOND
from wire.histogram import Histogram

METRIC = "phrom_rtt_mean_seconds"
Samples = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--links", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phrom-bench-") as folder:
        asyncio.run(measure(Path(folder), options.days, options.links, options.rounds))


async def measure(folder: Path, days: int, links: int, rounds: int) -> None:
    """Fills both sides, asks them and prints."""
    for name in ("collector", "reading", "holding"):
        (folder / name).mkdir()
    async with collector(folder / "collector") as made:
        samples = await fill(made, days, links)
        print("writing the peer's blocks …", file=sys.stderr)
        blocks(folder / "holding", samples)
        async with (
            prometheus(folder / "reading", config(made.url)) as reading,
            prometheus(folder / "holding", "global: {}\n") as holding,
        ):
            rows = [row async for row in asked(made, reading, holding, days, rounds)]
    number = sum(len(one) for one in samples.values())
    print(f"{links} links, {days} days of minutes, {number:,} samples; milliseconds, median of {rounds}\n")
    print("| query | collector, first | collector, again | Prometheus's own disk | ratio again : own |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))


async def fill(made: Backfilled, days: int, links: int) -> Samples:
    """Windows into the collector, packed as they would be; returns the samples they come to."""
    chance = random.Random(7)
    pool = [Histogram.of([round(18e6 * chance.lognormvariate(0, 0.2)) for _ in range(60)]) for _ in range(500)]
    samples: Samples = {}
    for link in range(links):
        print(f"link {link + 1} of {links} …", file=sys.stderr)
        source = Source(f"agent-{link}", f"site-{link}", "main", "link")
        ends = [made.now - 10 * SECOND - minute * MINUTE for minute in range(days * DAY // MINUTE - 1, -1, -1)]
        counts, values = {"sent": 60, "lost": 0}, {"jitter": 0.001234}
        found = [chance.choice(pool) for _ in ends]
        windows = [
            made.window(source, "icmp", "anchor-1", end, counts=counts, values=values, durations={"rtt": one})
            for end, one in zip(ends, found, strict=True)
        ]
        await made.take(source, windows)
        samples[source.site] = [(end / 1e6, (one.mean or 0) / 1e9) for end, one in zip(ends, found, strict=True)]
    await made.services.store.maintain(made.now)
    return samples


def blocks(folder: Path, samples: Samples) -> None:
    """The same samples as blocks of Prometheus's own."""

    def lines() -> Iterator[str]:
        yield f"# TYPE {METRIC} gauge\n"
        for site, found in samples.items():
            labels = f'link="main",probe="icmp",province="udon-thani",role="link",site="{site}",target="anchor-1"'
            for at, value in found:
                yield f"{METRIC}{{{labels}}} {value!r} {at:.3f}\n"
        yield "# EOF\n"

    text = folder / "samples.txt"
    with text.open("w") as out:
        out.writelines(lines())
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(folder / "data")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


async def asked(made: Backfilled, reading: Served, holding: Served, days: int, rounds: int) -> AsyncIterator[str]:
    """Each query's line of the table; both sides must give the same answer."""
    now = made.now / 1e6
    for label, expression, span in (
        (f"avg_over_time, {days} d, every link", f"avg_over_time({METRIC}[{days}d])", 0),
        (f"quantile_over_time(0.95), {days} d", f"quantile_over_time(0.95, {METRIC}[{days}d])", 0),
        ("24 h panel, 5 min steps", f"avg by (site) (avg_over_time({METRIC}[5m]))", 86_400),
    ):
        first, answer = await timed(reading, expression, now, span)
        again = [(await timed(reading, expression, now, span))[0] for _ in range(rounds)]
        await timed(holding, expression, now, span)
        own = [await timed(holding, expression, now, span) for _ in range(rounds)]
        assert answer == own[0][1], label
        there = median(took for took, _ in own)
        yield (
            f"| {label} | {first * 1000:.0f} | {median(again) * 1000:.0f} | {there * 1000:.0f} "
            f"| {median(again) / there:.1f} |"
        )


async def timed(served: Served, expression: str, now: float, span: float) -> tuple[float, list[tuple[str, str]]]:
    """Seconds, and (site, newest value to nine digits) of each row."""
    began = time.perf_counter()
    found = await (served.ranged(expression, now - span, now, 300) if span else served.instant(expression, now))
    took = time.perf_counter() - began
    newest = [(one["metric"]["site"], one["values"][-1][1] if span else one["value"][1]) for one in found]
    return took, sorted((site, f"{float(value):.9e}") for site, value in newest)


if __name__ == "__main__":
    main()

"""A real collector on loopback with windows that the test made: synthetic data, for tests alone."""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp.test_utils import TestServer

from collector.app import create_app
from collector.inventory import load
from collector.province import example
from collector.serve import opened
from collector.services import Services
from collector.settings import CollectorSettings
from collector.store import Source
from tests.support.store import Chain
from wire.batch import AgentClock
from wire.clock import MINUTE, SECOND, Anchor, Instant
from wire.histogram import Histogram
from wire.observation import Observation, Test, Window
from wire.reasons import Outcome, Reason

BOOT_AGE = 400 * 24 * 60 * MINUTE
"""How long the agents of these tests have been up: longer than any backfill."""
BATCH = 120
PROVINCE = "udon-thani"


def real_now() -> Instant:
    """UTC microseconds."""
    return time.time_ns() // 1000


@dataclass
class Backfilled:
    """A collector, where it listens, and how to put windows into it."""

    services: Services
    url: str
    now: Instant

    async def take(self, source: Source, windows: Sequence[Observation]) -> None:
        """Through the ledger, each two hours of windows as a batch at their end, as an agent would have sent them."""
        chain = Chain()
        for first in range(0, len(windows), BATCH):
            some = windows[first : first + BATCH]
            boottime = max(one.end for one in some)
            received = self.now - BOOT_AGE + boottime
            clock = AgentClock(boot_of(source), boottime, received, Anchor(boot_of(source), boottime, received, 1))
            taken = await self.services.store.take(source, received, clock, [chain.seal(*some)])
            assert [one.refusal for one in taken.receipts] == [None], taken.receipts
            self.services.picture.landed(taken.landed)
        self.services.picture.heard(source, self.services.now())

    def window(self, source: Source, probe: str, target: str, end: Instant, **found: object) -> Window:
        """A window that ended at a UTC instant."""
        ended = BOOT_AGE + end - self.now
        length = MINUTE
        return Window(
            boot=boot_of(source),
            start=ended - length,
            end=ended,
            wall_start=end - length,
            wall_end=end,
            probe=probe,
            target=target,
            **({"outcome": Outcome.OK} | found),  # type: ignore[arg-type]
        )


def boot_of(source: Source) -> str:
    """A boot id for a site's agent."""
    return f"boot-of-{source.site}"


@contextlib.asynccontextmanager
async def collector(folder: Path, now: Callable[[], Instant] = real_now) -> AsyncIterator[Backfilled]:
    """An empty collector with the example province, on a free port of loopback."""
    settings = CollectorSettings(data=str(folder), port=0)
    async with opened(settings, await asyncio.to_thread(load, example()), now=now) as services:
        server = TestServer(await asyncio.to_thread(create_app, services), host="127.0.0.1")
        await server.start_server()
        try:
            yield Backfilled(services, f"http://127.0.0.1:{server.port}", now())
        finally:
            await server.close()


SITES = ("na-yung", "ban-phue", "phen")


def synthetic_hours(made: Backfilled, source: Source, hours: int, seed: int) -> Iterator[Window]:
    """Minute windows of every kind of probe up to the present; the last of three sites has trouble."""
    chance = random.Random(seed)
    troubled = source.site == SITES[-1]
    last = made.now - 5 * SECOND
    for minute in range(hours * 60, -1, -1):
        end = last - minute * MINUTE
        for target, base in (("gateway", 1_000_000), ("edge", 6_000_000), ("anchor-1", 18_000_000)):
            yield _echoes(made, source, target, end, base, chance, lost=chance.randrange(5) if troubled else 0)
        yield from _services(made, source, end, chance, troubled=troubled and minute < 30)


def _echoes(
    made: Backfilled, source: Source, target: str, end: Instant, base: int, chance: random.Random, lost: int
) -> Window:
    came_back = [round(base * chance.lognormvariate(0, 0.2)) for _ in range(60 - lost)]
    return made.window(
        source,
        "icmp",
        target,
        end,
        counts={"sent": 60, "lost": lost},
        values={"jitter": base * 0.1 / 1e9},
        durations={"rtt": Histogram.of(came_back, lost)},
    )


def _services(
    made: Backfilled, source: Source, end: Instant, chance: random.Random, *, troubled: bool
) -> Iterator[Window]:
    def one(middle: int) -> Histogram:
        return Histogram.of([round(middle * math.exp(chance.gauss(0, 0.1)))])

    yield made.window(source, "dns", "resolver", end, durations={"lookup": one(9_000_000)})
    yield made.window(source, "tcp", "zoom.web", end, platform="zoom", durations={"connect": one(20_000_000)})
    yield made.window(
        source,
        "tls",
        "zoom.web",
        end,
        platform="zoom",
        durations={"handshake": one(40_000_000)},
        values={"certificate_expiry": 60 * 86400.0},
    )
    if troubled:
        yield made.window(
            source, "http", "zoom.web", end, platform="zoom", outcome=Outcome.FAILED, reason=Reason.HTTP_STATUS
        )
    else:
        yield made.window(source, "http", "zoom.web", end, platform="zoom", durations={"whole": one(200_000_000)})
    yield made.window(source, "ntp", "clock", end, values={"clock_offset": -0.004, "clock_error": 0.01})
    host = {"cpu": 0.2, "memory": 0.5, "disk": 0.3, "interface_speed": 1e9, "receive_rate": 2e6, "send_rate": 1e6}
    yield made.window(source, "host", "machine", end, values=host)


def synthetic_link(made: Backfilled, source: Source, hours: int, seed: int) -> Iterator[Observation]:
    """Minutes of the link's watcher and of STAMP, and a throughput and a call test each hour."""
    chance = random.Random(seed)
    last = made.now - 5 * SECOND
    for minute in range(hours * 60, -1, -1):
        end = last - minute * MINUTE
        down = minute == 30
        yield made.window(source, "link", "link", end, states={"link": 60.0} if down else {"up": 60.0})
        each = {"sent_up": 600, "sent_down": 600, "lost_up": chance.randrange(2), "lost_down": 0}
        delays = Histogram.of([round(1e6 * chance.expovariate(2)) for _ in range(20)])
        yield made.window(
            source,
            "stamp",
            "hall",
            end,
            counts=each,
            values={"mos": 4.3},
            durations={"rtt": delays, "delay_variation_up": delays, "delay_variation_down": delays},
        )
        used = {"utilisation_down": chance.random(), "utilisation_up": chance.random()}
        yield made.window(source, "utilisation", "link", end, values=used)
        if minute % 60 == 17:
            for direction, contract in (("down", 200e6), ("up", 80e6)):
                yield _test(made, source, end, direction, contract * chance.uniform(0.9, 1.0), contract, minute > 100)
                yield _call(made, source, end, direction)


def _test(
    made: Backfilled, source: Source, end: Instant, direction: str, rate: float, contract: float, valid: bool
) -> Test:
    ended = BOOT_AGE + end - made.now
    idle, loaded = Histogram.of([18_000_000, 19_000_000]), Histogram.of([40_000_000, 66_000_000])
    return Test(
        boot=boot_of(source),
        start=ended - SECOND,
        end=ended,
        wall_start=end - SECOND,
        wall_end=end,
        probe="throughput",
        target="hall",
        engine="tcp",
        direction=direction,
        outcome=Outcome.OK,
        valid=valid,
        counts={"test_bytes": round(rate / 8), "segments": 9000, "retransmitted": 40},
        values={"throughput": rate, "throughput_contract": rate, "contract": contract},
        durations={"rtt": idle, "rtt_loaded": loaded},
    )


def _call(made: Backfilled, source: Source, end: Instant, direction: str) -> Test:
    ended = BOOT_AGE + end - made.now
    return Test(
        boot=boot_of(source),
        start=ended - 10 * SECOND,
        end=ended,
        wall_start=end - 10 * SECOND,
        wall_end=end,
        probe="call",
        target="zoom",
        platform="zoom",
        engine="call",
        direction=direction,
        outcome=Outcome.OK,
        valid=True,
        counts={"sent": 3000, "lost": 2, "freezes": 0, "test_bytes": 3_000_000},
    )

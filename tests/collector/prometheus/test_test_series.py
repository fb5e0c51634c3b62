"""Throughput tests over remote read: each is one sample, told apart by engine, direction and validity."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from collector.store import Source
from tests.collector.prometheus.test_remote_read import ask, request, series
from tests.support.backfill import BOOT_AGE, Backfilled, boot_of, collector
from wire.clock import HOUR, SECOND
from wire.histogram import Histogram
from wire.observation import Test
from wire.reasons import Limit, Outcome, Reason

NA_YUNG = Source("agent-1", "na-yung", "fibre", "link")
PHEN = Source("agent-2", "phen", "fibre", "link")


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Backfilled]:
    async with collector(tmp_path) as found:
        yield found


def trial(made: Backfilled, source: Source, end: int, direction: str, rate: float, **more: Any) -> Test:
    ended = BOOT_AGE + end - made.now
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
        **{  # type: ignore[arg-type]
            "outcome": Outcome.OK,
            "valid": True,
            "values": {"throughput": rate, "contract": 200e6},
            "durations": {"rtt_loaded": Histogram.of([20_000_000, 60_000_000])},
            "counts": {"test_bytes": 24_000_000},
        }
        | more,
    )


async def of(made: Backfilled, metric: str, *more: tuple[int, str, str]) -> list[tuple[dict[str, str], list[Any]]]:
    status, body = await ask(made, request((0, "__name__", metric), *more))
    assert status == 200, body
    return series(body)


async def test_a_test_is_one_sample_at_its_end_with_engine_direction_and_validity(made: Backfilled) -> None:
    first, second = made.now - 2 * HOUR, made.now - HOUR
    limited = {"valid": False, "limits": (Limit.RESPONDER_CAPACITY,)}
    await made.take(
        NA_YUNG,
        [
            trial(made, NA_YUNG, first, "down", 199e6),
            trial(made, NA_YUNG, first + 2 * SECOND, "up", 79e6),
            trial(made, NA_YUNG, second, "down", 80e6, **limited),
        ],
    )
    found = await of(made, "phrom_throughput_bits_per_second")
    told = {(labels["direction"], labels["valid"]): samples for labels, samples in found}
    assert told == {
        ("down", "yes"): [(first // 1000, 199e6)],
        ("up", "yes"): [(first // 1000 + 2000, 79e6)],
        ("down", "no"): [(second // 1000, 80e6)],
    }
    labels = found[0][0]
    assert "platform" not in labels
    assert labels == {
        "__name__": "phrom_throughput_bits_per_second",
        "province": "udon-thani",
        "site": "na-yung",
        "link": "fibre",
        "role": "link",
        "probe": "throughput",
        "target": "hall",
        "engine": "tcp",
        "direction": labels["direction"],
        "valid": labels["valid"],
    }


async def test_matchers_choose_among_tests_as_among_windows(made: Backfilled) -> None:
    await made.take(NA_YUNG, [trial(made, NA_YUNG, made.now - HOUR, way, 1e6) for way in ("down", "up")])
    await made.take(PHEN, [trial(made, PHEN, made.now - HOUR, "down", 2e6)])
    metric = "phrom_throughput_bits_per_second"
    assert len(await of(made, metric)) == 3
    assert len(await of(made, metric, (0, "site", "phen"))) == 1
    assert len(await of(made, metric, (0, "direction", "down"))) == 2
    assert len(await of(made, metric, (2, "site", "na-.*"), (1, "direction", "up"))) == 1
    assert not await of(made, metric, (0, "valid", "no"))
    assert not await of(made, metric, (0, "probe", "icmp"))
    assert not await of(made, metric, (0, "province", "elsewhere"))


async def test_quantiles_counts_outcome_and_mean_of_a_test(made: Backfilled) -> None:
    end = made.now - HOUR
    bad = {"outcome": Outcome.FAILED, "reason": Reason.BROKEN_OFF, "valid": False}
    await made.take(NA_YUNG, [trial(made, NA_YUNG, end, "down", 1e6, **bad)])
    rtt = await of(made, "phrom_rtt_loaded_seconds", (0, "quantile", "1"))
    assert [samples for _, samples in rtt] == [[(end // 1000, pytest.approx(0.06, rel=0.01))]]
    assert len(await of(made, "phrom_rtt_loaded_seconds")) == 5
    assert [one[1] for one in await of(made, "phrom_rtt_loaded_mean_seconds")] == [
        [(end // 1000, pytest.approx(0.04, rel=0.01))]
    ]
    assert [one[1] for one in await of(made, "phrom_test_bytes")] == [[(end // 1000, 24e6)]]
    outcomes = {labels["outcome"]: samples[0][1] for labels, samples in await of(made, "phrom_outcome")}
    assert outcomes == {"ok": 0, "failed": 1, "skipped": 0, "error": 0}
    assert not await of(made, "phrom_test_bytes:1h")

"""/metrics: what promtool accepts, what is true now and nothing that is stale."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from collector.prometheus.metrics import current
from collector.store import Source
from tests.support.backfill import Backfilled, collector
from wire.clock import HOUR, MINUTE, SECOND
from wire.histogram import Histogram
from wire.observation import Change
from wire.reasons import Outcome, Reason

PHEN = Source("agent-1", "phen", "fibre", "link")


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Backfilled]:
    async with collector(tmp_path) as found:
        yield found


async def scraped(made: Backfilled, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{made.url}/metrics", headers=headers) as answer:
        return answer.status, await answer.text()


async def filled(made: Backfilled) -> None:
    ends = [made.now - 20 * SECOND - minute * MINUTE for minute in (2, 1, 0)]
    echoes = {"counts": {"sent": 60, "lost": 0}, "durations": {"rtt": Histogram.of([10**7])}}
    windows = [made.window(PHEN, "icmp", "edge", end, **echoes) for end in ends]
    windows.append(
        made.window(PHEN, "tls", "zoom.web", ends[-1], platform="zoom", values={"certificate_expiry": 864000.0})
    )
    windows.append(
        made.window(
            PHEN, "http", "zoom.web", ends[-1], platform="zoom", outcome=Outcome.FAILED, reason=Reason.TIMED_OUT
        )
    )
    windows.append(made.window(PHEN, "ntp", "clock", made.now - 5 * HOUR, values={"clock_offset": 3.0}))
    await made.take(PHEN, windows)


def values(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def promtool(text: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)


@pytest.mark.tool("promtool")
async def test_promtool_accepts_it(made: Backfilled) -> None:
    await filled(made)
    made.services.tally.took(0.003)
    status, text = await scraped(made)
    assert status == 200
    done = await asyncio.to_thread(promtool, text)

    assert (done.returncode, done.stderr) == (0, "")


async def test_present_holds_what_is_fresh_and_leaves_out_what_is_stale(made: Backfilled) -> None:
    await filled(made)
    text = (await scraped(made))[1]
    failing = values(text, "phrom_current_outcome")
    place = {"province": "udon-thani", "site": "phen", "link": "fibre", "role": "link"}
    http = tuple(
        sorted((place | {"probe": "http", "target": "zoom.web", "platform": "zoom", "outcome": "failed"}).items())
    )
    assert failing[http] == 1.0
    assert len(failing) == 4 * 3
    assert list(values(text, "phrom_current_certificate_expiry_seconds").values()) == [864000.0]
    assert values(text, "phrom_current_clock_offset_seconds") == {}, "five hours old"
    (heard,) = values(text, "phrom_current_heard_timestamp_seconds").items()
    assert heard[0] == tuple(sorted(place.items()))
    assert heard[1] == pytest.approx(made.now / 1e6, abs=60)
    states = values(text, "phrom_current_site_state")
    assert len(states) == len(made.services.inventory.sites)
    assert states[(("province", "udon-thani"), ("site", "phen"), ("state", "failing"))] == 1.0


async def test_health_counts_what_happened(made: Backfilled) -> None:
    tally = made.services.tally
    tally.batches["stored"] += 3
    tally.batch_refusals["conflict"] += 1
    tally.observations["window"] += 7
    tally.took(0.003)
    tally.took(9.0)
    await filled(made)
    text = (await scraped(made))[1]
    assert values(text, "phrom_collector_batches_total")[(("status", "stored"),)] == 3
    assert values(text, "phrom_collector_batches_total")[(("status", "deferred"),)] == 0
    assert values(text, "phrom_collector_batch_refusals_total") == {(("refusal", "conflict"),): 1.0}
    assert values(text, "phrom_collector_observations_total") == {(("kind", "window"),): 7.0}
    assert values(text, "phrom_collector_receipt_seconds_count")[()] == 2
    assert values(text, "phrom_collector_receipt_seconds_bucket")[(("le", "0.005"),)] == 1
    assert values(text, "phrom_collector_missing_batches")[()] == 0
    assert values(text, "phrom_collector_store_bytes")[()] > 10_000
    assert values(text, "phrom_current_agents")[(("province", "udon-thani"), ("state", "heard"))] == 1


async def test_no_history_is_scraped(made: Backfilled) -> None:
    await filled(made)
    names = {family.name for family in text_string_to_metric_families((await scraped(made))[1])}
    assert all(name.startswith(("phrom_collector_", "phrom_current_", "process_")) for name in names)


async def test_scraper_may_have_open_metrics(made: Backfilled) -> None:
    status, text = await scraped(made, Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert text.endswith("# EOF\n")


async def test_strangers_are_refused(made: Backfilled) -> None:
    assert (await scraped(made, Via="1.1 proxy"))[0] == 401


async def test_rules_read_only_the_present(made: Backfilled) -> None:
    """Three days later, nothing of what was fresh then is shown as now."""
    await filled(made)
    later = made.now + 72 * HOUR
    families: list[Metric] = list(current(made.services, later))
    shown = {family.name: family.samples for family in families}
    assert shown["phrom_current_outcome"] == []
    assert shown["phrom_current_certificate_expiry_seconds"] == []


async def test_agent_whose_link_left_the_inventory_spoils_nothing(made: Backfilled) -> None:
    gone = Source("agent-2", "phen", "given-up", "link")
    await made.take(gone, [made.window(gone, "icmp", "edge", made.now - 20 * SECOND)])
    status, text = await scraped(made)
    assert status == 200
    assert values(text, "phrom_current_agents")[(("province", "udon-thani"), ("state", "heard"))] == 1


async def test_a_watched_link_is_a_series_per_state_while_its_agent_is_heard(made: Backfilled) -> None:
    window = made.window(PHEN, "link", "link", made.now, states={"up": 60.0})
    times: dict[str, Any] = {"start": window.end - 10 * SECOND, "end": window.end - 7 * SECOND}
    times |= {"wall_start": 0, "wall_end": 0}
    change = Change(boot=window.boot, **times, probe="link", target="link", previous="up", current="provider")
    window = msgspec.structs.replace(window, states={"up": 50.0, "provider": 10.0})
    await made.take(PHEN, [change, window])
    found = values((await scraped(made))[1], "phrom_current_link_state")
    assert len(found) == 7
    assert {dict(labels)["state"] for labels, value in found.items() if value} == {"provider"}
    made.services.picture.heard(PHEN, made.services.now() - 13 * SECOND)
    assert values((await scraped(made))[1], "phrom_current_link_state") == {}, "silent: nothing is known of now"

"""The shipped Prometheus configuration against a collector with its own TLS and tokens, and Alertmanager behind it."""

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from sqlalchemy import Connection, insert

from collector.board import pages
from collector.credentials import add_machine, hash_of
from collector.inventory import load
from collector.province import example
from collector.serve import listening, opened
from collector.settings import CollectorSettings
from collector.store import Source
from collector.store.schema import agent, token
from tests.support.backfill import Backfilled, real_now
from tests.support.prometheus import Served, alertmanager, prometheus
from wire.clock import MINUTE, SECOND, Instant
from wire.histogram import Histogram

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = pages.routes
"""Imported here: Babel reads files when it is imported, which a running loop must not."""
PHEN = Source("agent-1", "phen", "fibre", "link")


def shipped(url: str, secret: Path, authority: Path, alerts: str) -> str:
    """deploy/prometheus/prometheus.yml with this test's addresses and files, scraping faster."""
    text = (DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8")
    address = url.removeprefix("https://")
    for here, there in (
        ("127.0.0.1:8480", address),
        ("127.0.0.1:9093", alerts.removeprefix("http://")),
        ("/run/secrets/prometheus_token", str(secret)),
        ("/run/secrets/collector_ca", str(authority)),
        ("rules/*.yml", str(DEPLOY / "prometheus/rules/*.yml")),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("scrape_timeout: 10s", "scrape_timeout: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ):
        assert here in text, here
        text = text.replace(here, there)
    settings = yaml.safe_load(text)
    settings["scrape_configs"] = [job for job in settings["scrape_configs"] if job["job_name"] == "phrom"]
    return str(yaml.safe_dump(settings))


def enrolled(now: Instant, connection: Connection) -> None:
    """An agent that may speak; the picture forgets whoever may not."""
    connection.execute(insert(agent).values(id=PHEN.agent, site=PHEN.site, link=PHEN.link, role=PHEN.role, created=now))
    held = hash_of("pha_of-this-test")
    connection.execute(insert(token).values(hash=held, kind="agent", agent=PHEN.agent, created=now))


def run_health_check(url: str, authority: Path) -> None:
    """The collector's own check in compose.yaml."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    _, _, flag, code = compose["services"]["collector"]["healthcheck"]["test"]
    here = code.replace("https://127.0.0.1:8480", url).replace("/var/lib/phrom/tls/ca.pem", str(authority))
    done = subprocess.run([sys.executable, flag, here], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def health_of_rules(head: Served) -> list[dict[str, Any]]:
    async with head.session.get(f"{head.url}/api/v1/rules") as answer:
        groups = (await answer.json())["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.tool("prometheus", "prometheus-alertmanager")
async def test_shipped_configuration_reads_scrapes_and_evaluates(tmp_path: Path) -> None:
    settings = CollectorSettings(data=str(tmp_path / "data"), port=0, tls="own")
    inventory = await asyncio.to_thread(load, example())
    await asyncio.to_thread((tmp_path / "data").mkdir)
    async with opened(settings, inventory, now=real_now) as services, listening(services) as url:
        made = Backfilled(services, url, real_now())
        await services.store.write(partial(enrolled, made.now))
        ends = [made.now - 10 * SECOND - minute * MINUTE for minute in range(30)]
        echoes = {"counts": {"sent": 60, "lost": 0}, "durations": {"rtt": Histogram.of([10**7])}}
        await made.take(PHEN, [made.window(PHEN, "icmp", "edge", end, **echoes) for end in reversed(ends)])
        secret_token = await services.store.write(
            lambda connection: add_machine(connection, made.now, "prometheus", ["scrape", "read"], who="a test")
        )
        await services.accounts.refresh()
        secret = tmp_path / "token"
        await asyncio.to_thread(secret.write_text, secret_token)
        authority = settings.tls_folder / "ca.pem"
        await asyncio.to_thread(run_health_check, url, authority)
        async with alertmanager(tmp_path, DEPLOY / "alertmanager/alertmanager.yml") as alerts:
            text = await asyncio.to_thread(shipped, url, secret, authority, alerts.url)
            async with prometheus(tmp_path, text) as head:
                await head.until('up{job="phrom"} == 1')
                await head.until('phrom_current_outcome{site="phen",outcome="ok"} == 1')
                (rtt,) = await head.instant('phrom_rtt_seconds{site="phen",quantile="0.5"}', made.now / 1e6)
                assert float(rtt["value"][1]) == 0.01
                await _evaluated(head)
        async with aiohttp.ClientSession() as stranger:
            for method, path in (("GET", "/metrics"), ("POST", "/api/v1/read")):
                async with stranger.request(method, url + path, ssl=False, headers={"Host": "phrom.example"}) as answer:
                    assert answer.status == 401


async def _evaluated(head: Served) -> None:
    """Every rule was evaluated, none failed and none is pending over a site that was never heard."""
    async with asyncio.timeout(30):
        while True:
            rules = await health_of_rules(head)
            if all(rule["health"] != "unknown" for rule in rules):
                break
            await asyncio.sleep(0.1)
    assert len(rules) == 7
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    assert {rule.get("state", "inactive") for rule in rules} == {"inactive"}, rules

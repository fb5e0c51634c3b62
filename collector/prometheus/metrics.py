"""``GET /metrics``: the collector's own health, and ``phrom_current_*`` from the picture. History is not served here.

Numbers that the picture holds stale are left out, so that what Prometheus scrapes is the present or nothing: an alert
that reads ``phrom_current_*`` cannot fire on data that came late.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from sqlalchemy import Connection

import collector
from collector.board.pages import picture_of
from collector.gate import SCRAPE, Route
from collector.link_history.shapes import State as LinkState
from collector.prometheus.mapping import LABELS, OUTCOMES
from collector.responder.metrics import families as responder
from collector.services import Services
from collector.tally import LATENCY_LIMITS, Tally
from wire.batch import BatchStatus
from wire.clock import SECOND, Instant
from wire.measures import MEASURES
from wire.settings import Problem

CURRENT_VALUES = ("certificate_expiry", "clock_offset", "clock_error")
"""Values that alerts need of the present; every other one is read as history."""


class Held(NamedTuple):
    """What the store says of itself."""

    missing: int
    dropped: int
    conflicts: int
    bytes: int


def routes(_services: Services) -> list[Route]:
    """The route of this module."""
    answers = {200: "text/plain", 401: Problem, 403: Problem}
    return [Route("GET", "/metrics", SCRAPE, get_metrics, "The collector's health and the present.", answers=answers)]


async def get_metrics(request: web.Request, services: Services) -> web.Response:
    """In the text or the OpenMetrics format, as the scraper prefers."""
    held = await services.store.read(_held)
    families = [
        *_health(services.tally, held, services),
        _single("rival_places", "Places that two live agents speak for.", len(await services.accounts.conflicts())),
        *current(services, services.now()),
    ]
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    body = await asyncio.to_thread(_written, encode, families)
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


class _Once:
    """Families made beforehand, as a registry wants them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _written(encode: Any, families: list[Metric]) -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Once(families))
    body: bytes = encode(registry)
    return body


def _held(connection: Connection) -> Held:
    row = connection.exec_driver_sql("SELECT total(highest - held - dropped), total(dropped) FROM stream").one()
    conflicts = connection.exec_driver_sql("SELECT count(*) FROM conflict").scalar_one()
    pages = connection.exec_driver_sql("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    return Held(int(row[0]), int(row[1]), int(conflicts), int(pages.scalar_one()))


def _counter(name: str, words: str, values: Mapping[Any, float], label: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"phrom_collector_{name}", words, labels=[label])
    for value, count in sorted(values.items()):
        family.add_metric([str(value)], count)
    return family


def _single(name: str, words: str, value: float, *, counter: bool = False) -> Metric:
    kind = CounterMetricFamily if counter else GaugeMetricFamily
    return kind(f"phrom_collector_{name}", words, value=value)


def _health(tally: Tally, held: Held, services: Services) -> Iterator[Metric]:
    info = GaugeMetricFamily("phrom_collector_info", "Release of the collector; always 1.", labels=["version"])
    info.add_metric([collector.__version__], 1)
    yield info
    yield _single("start_time_seconds", "When the collector started, in seconds since 1970.", services.started / SECOND)
    yield _single("posts", "Envelopes answered with a receipt.", tally.posts, counter=True)
    yield _single("received_bytes", "Bytes of those envelopes, decompressed.", tally.bytes, counter=True)
    batches = {status.value: tally.batches[status.value] for status in BatchStatus}
    yield _counter("batches", "Batches by the status of their receipt.", batches, "status")
    yield _counter("batch_refusals", "Batches refused, by reason.", tally.batch_refusals, "refusal")
    yield _counter("observations", "Observations stored, by kind.", tally.observations, "kind")
    yield _single("late_observations", "Observations that were old when they arrived.", tally.late, counter=True)
    unknown = "Observations that arrived without a clock anchor."
    yield _single("time_unknown_observations", unknown, tally.time_unknown, counter=True)
    newer = "Records of kinds that this release does not know."
    yield _single("not_understood_records", newer, tally.not_understood, counter=True)
    yield _counter("request_refusals", "Requests refused, by HTTP status.", tally.refusals, "status")
    yield _counter("joins", "Attempts to join, by result.", tally.joins, "result")
    yield _counter("leases", "Requests for a lease: granted by purpose, refused by reason.", tally.leases, "result")
    if services.beside is not None and services.beside.name:
        yield from responder(services.beside.name, services.beside.report)
    yield _counter("store_events", "What the store did.", services.store.counters, "event")
    yield _receipts(tally)
    yield _single("waiting_writes", "Writes that wait for the store.", services.store.waiting)
    yield _single("store_bytes", "Size of the store's file.", held.bytes)
    gaps = "Batches that streams lack and that no agent declared dropped: on their way, or lost."
    yield _single("missing_batches", gaps, held.missing)
    yield _single("dropped_batches", "Batches that agents declared dropped.", held.dropped)
    yield _single("conflicts", "Batches kept aside because their history contradicts what is held.", held.conflicts)


def _receipts(tally: Tally) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    seen = 0
    for limit, count in zip((*map(str, LATENCY_LIMITS), "+Inf"), tally.seconds, strict=True):
        seen += count
        buckets.append((limit, seen))
    words = "Time from the arrival of an envelope to its receipt, the commit to disk included."
    return HistogramMetricFamily(
        "phrom_collector_receipt_seconds", words, buckets=buckets, sum_value=tally.seconds_total
    )


def current(services: Services, now: Instant) -> Iterator[Metric]:
    """``phrom_current_*``: what is true now of each site, its agents and its targets. The state is the board's own."""
    picture, province = services.picture, services.inventory.province.id
    heard = _current("heard_timestamp_seconds", "When an agent was heard last.", LABELS[:4])
    state = _current("site_state", "1 for the state that a site is in.", ("province", "site", "state"))
    agents = _current("agents", "Agents, by whether they are heard.", ("province", "state"))
    outcome = _current("outcome", "1 for the outcome of the newest window, if it is fresh.", (*LABELS, "outcome"))
    links = _current("link_state", "1 for the state that a watched link is in, 0 for others.", (*LABELS[:4], "state"))
    values = {name: _current(f"{name}_{MEASURES[name].unit}", MEASURES[name].help, LABELS) for name in CURRENT_VALUES}
    counted = {"heard": 0, "silent": 0}
    for site in sorted({*services.inventory.sites, *picture.sites()}):
        seen = picture.site(site, now)
        state.add_metric([province, site, picture_of(services, site, now).state.value], 1)
        newest: dict[tuple[str, str], Instant] = {}
        for agent in seen.agents:
            counted["silent" if agent.silent(now) else "heard"] += 1
            place = (agent.source.link, agent.source.role)
            newest[place] = max(agent.heard, newest.get(place, 0))
        for (link, role), at in newest.items():
            heard.add_metric([province, site, link, role], at / SECOND)
        speaking = {(agent.source.link, agent.source.role) for agent in seen.agents if not agent.silent(now)}
        for one in seen.series:
            if one.stale(now):
                continue
            if one.link_state is not None and (one.key.link, one.key.role) in speaking:
                for word in LinkState:
                    links.add_metric([province, *one.key[:3], word.value], float(one.link_state is word))
            labels = [province, *one.key]
            for possible in OUTCOMES:
                outcome.add_metric([*labels, possible.value], float(one.window.outcome is possible))
            for name, family in values.items():
                if name in one.window.values:
                    family.add_metric(labels, one.window.values[name])
    for name, count in counted.items():
        agents.add_metric([province, name], count)
    yield from (heard, state, agents, links, outcome, *values.values())


def _current(name: str, words: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"phrom_current_{name}", words, labels=list(labels))

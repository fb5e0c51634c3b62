"""``/metrics`` of the agent: its own health and what its probes found last, for whoever scrapes this machine.

Everything is read when it is asked for; between scrapes a window costs two dictionary entries. prometheus-client is
imported at the first scrape.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from wire.histogram import Histogram
from wire.measures import MEASURES, QUANTILES
from wire.observation import Window
from wire.reasons import Outcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

LABELS = ["probe", "target", "platform"]


class Tally:
    """What happened, counted as it happens."""

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, Outcome]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.latest: dict[tuple[str, str, str], Window] = {}

    def window(self, window: Window, seconds: float) -> None:
        """A window was recorded that took so many seconds."""
        self.runs[window.probe, window.outcome] += 1
        self.seconds[window.probe] += seconds  # type: ignore[assignment]  # typeshed knows Counter of int only
        self.latest[window.probe, window.target, window.platform] = window

    def keep_only(self, names: set[tuple[str, str, str]]) -> None:
        """Forgets the last windows of what is not measured any more."""
        self.latest = {key: window for key, window in self.latest.items() if key in names}


class Gauge(NamedTuple):
    """One figure of the agent's health. ``kind`` is ``gauge`` or ``counter``."""

    name: str
    help: str
    kind: str
    value: float | None
    labels: dict[str, str] = {}


class Exposition:
    """Makes the text of ``/metrics`` from the tally and whatever ``health`` says at that moment."""

    def __init__(self, tally: Tally, health: Callable[[], list[Gauge]]) -> None:
        self._tally = tally
        self._health = health
        self._registry: CollectorRegistry | None = None

    def describe(self) -> list[Any]:
        """Nothing is known before it is collected (prometheus-client's custom collector)."""
        return []

    def collect(self) -> "Iterator[Metric]":
        """Called by prometheus-client at each scrape."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for one in self._health():
            if one.value is None:
                continue
            if one.name not in families:
                family = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
                families[one.name] = family(one.name, one.help, labels=list(one.labels))
            families[one.name].add_metric(list(one.labels.values()), one.value)
        yield from families.values()
        yield from self._runs()
        yield from self._current()

    def text(self) -> tuple[bytes, str]:
        """The body and its content type. Takes some milliseconds and imports a library: call it in a thread."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            ProcessCollector(registry=self._registry)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _runs(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily

        runs = CounterMetricFamily("phrom_agent_probe_runs", "Windows recorded.", labels=["probe", "outcome"])
        for (probe, outcome), count in sorted(dict(self._tally.runs).items()):
            runs.add_metric([probe, outcome], count)
        yield runs
        spent = CounterMetricFamily(
            "phrom_agent_probe_seconds", "Time that windows took, waiting included.", labels=["probe"]
        )
        for probe, seconds in sorted(dict(self._tally.seconds).items()):
            spent.add_metric([probe], seconds)
        yield spent

    def _current(self) -> "Iterator[Metric]":
        """The last window of every target, under the names of the measures."""
        from prometheus_client.core import GaugeMetricFamily

        up = GaugeMetricFamily(
            "phrom_outcome", "1 for the outcome of the last window of a target.", labels=[*LABELS, "outcome"]
        )
        families: dict[str, Metric] = {}
        for key, window in sorted(dict(self._tally.latest).items()):
            up.add_metric([*key, window.outcome], 1)
            for name, value in (*window.counts.items(), *window.values.items()):
                _family(families, name).add_metric(list(key), value)
            for name, histogram in window.durations.items():
                _add_summary(_summary(families, name), dict(zip(LABELS, key, strict=True)), histogram)
        yield up
        yield from families.values()


def _family(families: dict[str, Any], name: str) -> Any:
    if name not in families:
        from prometheus_client.core import GaugeMetricFamily

        measure = MEASURES[name]
        families[name] = GaugeMetricFamily(measure.metric, measure.help, labels=LABELS)
    return families[name]


def _summary(families: dict[str, Any], name: str) -> Any:
    if name not in families:
        from prometheus_client.core import Metric

        measure = MEASURES[name]
        families[name] = Metric(measure.metric, measure.help, "summary")
    return families[name]


def _add_summary(family: Any, labels: dict[str, str], histogram: Histogram) -> None:
    """A summary of the last window; a quantile that falls among the lost is +Inf."""
    for quantile in QUANTILES:
        found = histogram.quantile(quantile)
        if found is not None:
            family.add_sample(family.name, {**labels, "quantile": f"{quantile:g}"}, found / 1e9)
    family.add_sample(f"{family.name}_count", labels, histogram.count + histogram.lost)
    family.add_sample(f"{family.name}_sum", labels, histogram.total / 1e9)


async def serve(exposition: Exposition, host: str, port: int) -> tuple[Callable[[], Any], int]:
    """Serves ``GET /metrics`` until the returned function is called; also returns the port taken.

    Raises ``OSError`` when the address is in use.
    """
    server = await asyncio.start_server(_Handler(exposition), host, port, limit=8192)
    taken = int(server.sockets[0].getsockname()[1])

    async def close() -> None:
        server.close()  # whoever is still being answered is not waited for

    return close, taken


class _Handler:
    """HTTP/1.1 of one page, by hand: aiohttp's server half would cost 2.5 MB that nothing else uses yet."""

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked went away or does not speak HTTP: nothing of ours is wrong
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        method, _, rest = line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _response("404 Not Found", b"Only /metrics is here.\n", "text/plain; charset=utf-8")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"GET /metrics\n", "text/plain; charset=utf-8")
        body, kind = await asyncio.to_thread(self._exposition.text)
        return _response("200 OK", body, kind, head_only=method == b"HEAD")


def _response(status: str, body: bytes, kind: str, head_only: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if head_only else body)

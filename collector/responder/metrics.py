"""What a responder tells of itself to Prometheus; its own small ``/metrics`` where it runs alone."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from collector.responder.report import Report

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def families(name: str, report: Report | None) -> Iterator[Metric]:
    """The metrics of the responder ``name``; without a report it is not up."""
    up = GaugeMetricFamily("phrom_responder_up", "1 while the responder serves.", labels=["responder"])
    up.add_metric([name], 0.0 if report is None else 1.0)
    yield up
    if report is None:
        return
    sessions = GaugeMetricFamily(
        "phrom_responder_sessions", "Sessions open now, by purpose.", labels=["responder", "purpose"]
    )
    for purpose, number in sorted(report.sessions.items()):
        sessions.add_metric([name, purpose], number)
    yield sessions
    yield _counter("opened_sessions", "Sessions opened, by purpose.", "purpose", name, report.opened)
    yield _counter("denied_sessions", "Openings denied, by cause.", "cause", name, report.denied)
    yield _counter("sent_bytes", "Bytes sent to districts, by purpose.", "purpose", name, report.sent)
    yield _counter("received_bytes", "Bytes taken in from districts, by purpose.", "purpose", name, report.received)


def _counter(metric: str, words: str, label: str, name: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"phrom_responder_{metric}", words, labels=["responder", label])
    for value, count in sorted(values.items()):
        family.add_metric([name, value], count)
    return family


class _Once:
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


@contextlib.asynccontextmanager
async def serve_metrics(name: str, report: Callable[[], Report], port: int) -> AsyncIterator[int]:
    """``http://127.0.0.1:PORT/metrics``; yields the port. Raises ``OSError`` where it is taken."""

    async def answer(_: web.Request) -> web.Response:
        registry = CollectorRegistry()
        registry.register(_Once(list(families(name, report()))))
        return web.Response(body=exposition.generate_latest(registry), headers={"Content-Type": _TYPE})

    app = web.Application(client_max_size=0)
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()

"""``POST /api/v1/read``: Prometheus remote read 1.0 over the store, so that a stock Prometheus answers PromQL on it."""

from collections.abc import Iterable, Mapping, Sequence

from aiohttp import hdrs, web
from sqlalchemy import Connection

from collector.body import read_body
from collector.gate import READ, Route
from collector.problems import Refused
from collector.prometheus import protocol
from collector.prometheus.lines import Changes, Line, hour_lines, window_lines
from collector.prometheus.mapping import FAMILIES, Family, Kind
from collector.prometheus.matching import Kind as Match
from collector.prometheus.matching import Matcher, accepted
from collector.prometheus.protocol import CONTENT_TYPE, BadRequest, Query
from collector.services import Services
from collector.store import query as store
from collector.store.query import SeriesFound
from wire.clock import HOUR, Instant
from wire.observation import Change
from wire.settings import Problem

MOST_SERIES = 20_000
"""Prometheus series in one answer."""
MOST_SAMPLES = 4_000_000
"""Samples in one answer: 72 MB, ten days of some 280 one-minute series."""
SERIES_FUNC = "series"
"""The hint by which Prometheus asks for labels without samples (``/api/v1/series``)."""


class TooMuch(BadRequest):
    """The answer would be larger than is served."""


def routes(_services: Services) -> list[Route]:
    """The route of this module."""
    return [
        Route(
            "POST",
            "/api/v1/read",
            READ,
            post_read,
            "Prometheus remote read 1.0: history as samples.",
            asks=CONTENT_TYPE,
            answers={200: CONTENT_TYPE, **dict.fromkeys((400, 401, 403, 413, 415, 422), Problem)},
            largest=protocol.LARGEST_REQUEST,
        )
    ]


async def post_read(request: web.Request, services: Services) -> web.Response:
    """Decodes, reads on a read connection in a thread, and answers in one piece."""
    body = await _body(request)
    province, now = services.inventory.province.id, services.now()
    try:
        queries = protocol.decode(body)
        answer = await services.store.read(lambda connection: read(connection, queries, province, now))
    except TooMuch as problem:
        raise Refused(422, "Too much asked at once", str(problem)) from problem
    except BadRequest as problem:
        raise Refused(400, "Not a remote read request", str(problem)) from problem
    headers = {hdrs.CONTENT_TYPE: CONTENT_TYPE, hdrs.CONTENT_ENCODING: "snappy"}
    return web.Response(body=answer, headers=headers)


async def _body(request: web.Request) -> bytes:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "none").strip().lower()
    if encoding != "snappy" or request.content_type != CONTENT_TYPE:
        found = f"{request.content_type[:100]!r} with encoding {encoding[:40]!r}"
        raise Refused(415, "Content type not supported", f"found {found}, expected {CONTENT_TYPE} with encoding snappy")
    return await read_body(request, protocol.LARGEST_REQUEST, as_is="snappy")


def read(connection: Connection, queries: Sequence[Query], province: str, now: Instant) -> bytes:
    """The answer's body; raises :class:`TooMuch`. ``now`` in microseconds says how far staleness is known."""
    budget = _Budget()
    return protocol.encode([_Reader(connection, query, province, now, budget).series() for query in queries])


class _Budget:
    """What the answer still may hold."""

    def __init__(self) -> None:
        self.series = MOST_SERIES
        self.samples = MOST_SAMPLES

    def take(self, samples: int) -> None:
        self.series -= 1
        self.samples -= samples
        if self.series < 0:
            raise TooMuch(
                f"found more than {MOST_SERIES} series, expected fewer: name the metric, site, probe or target"
            )
        if self.samples < 0:
            raise TooMuch(
                f"found more than {MOST_SAMPLES} samples, expected fewer: ask for less time or use :1h metrics"
            )


class _Reader:
    """One query."""

    def __init__(self, connection: Connection, query: Query, province: str, now: Instant, budget: _Budget) -> None:
        self.connection = connection
        self.query = query
        self.province = province
        self.known_to = min(now // 1000, query.end)
        self.budget = budget

    def series(self) -> list[bytes]:
        """Every series of the answer, encoded."""
        families = [family for family in FAMILIES.values() if self._named(family)]
        if not families or self.query.start > self.query.end:
            return []
        windows = [family for family in families if not family.hourly]
        hourly = [family for family in families if family.hourly]
        found: list[bytes] = []
        for one in self._sources():
            if windows:
                found += self._of_windows(one, windows)
            if hourly:
                found += self._of_hours(one, hourly)
        return found

    def _named(self, family: Family) -> bool:
        return all(one.accepts(family.metric) for one in self.query.matchers if one.label == "__name__")

    def _sources(self) -> Iterable[SeriesFound]:
        """The store's series that the labels of their source do not rule out."""
        exact = {
            f"{one.label}s": [one.value]
            for one in self.query.matchers
            if one.kind is Match.EQUAL and one.label in _FIELDS
        }
        own = [one for one in self.query.matchers if one.label in _FIELDS or one.label == "province"]
        for found in store.series(self.connection, **exact):
            if accepted(own, {"province": self.province, **found.key._asdict()}):
                yield found

    def _of_windows(self, source: SeriesFound, families: Sequence[Family]) -> Iterable[bytes]:
        start, end = self.query.start * 1000, self.query.end * 1000 + 999
        columns = store.windows(self.connection, [source.number], start, end)[source.number]
        for family in families:
            changes = self._changes(source) if family.kind is Kind.STATE and columns.states else ()
            yield from self._packed(source, family, window_lines(family, columns, self.known_to, changes))

    def _of_hours(self, source: SeriesFound, families: Sequence[Family]) -> Iterable[bytes]:
        start, end = self.query.start * 1000 - HOUR, self.query.end * 1000 - HOUR + 1
        rollups = store.hours(self.connection, [source.number], start, end)[source.number]
        for family in families:
            yield from self._packed(source, family, hour_lines(family, rollups))

    def _changes(self, source: SeriesFound) -> Changes:
        start, end = self.query.start * 1000, self.query.end * 1000 + 999
        changes: list[tuple[int, str]] = []
        for landed in store.records(self.connection, "change", source.key.site, start, end):
            one, place = landed.observation, landed.source
            if not isinstance(one, Change) or landed.time is None:
                continue
            if (place.site, place.link, place.role, one.probe, one.target, one.platform) == source.key:
                began = landed.time.utc - (one.end - one.start)
                changes.append((began // 1000, one.current))
        return sorted(changes)

    def _packed(self, source: SeriesFound, family: Family, lines: Iterable[Line]) -> Iterable[bytes]:
        labels = {"__name__": family.metric, "province": self.province, **source.key._asdict()}
        for line in lines:
            if family.label:
                labels[family.label] = line.label_value
            if not accepted(self._rest(), labels):
                continue
            self.budget.take(len(line.times))
            bare = self.query.func == SERIES_FUNC
            samples = b"" if bare else protocol.pack_samples(line.times, line.values)
            yield protocol.pack_series(labels, samples)

    def _rest(self) -> list[Matcher]:
        return [one for one in self.query.matchers if one.label not in _FIELDS and one.label != "__name__"]


_FIELDS: Mapping[str, None] = dict.fromkeys(("site", "link", "role", "probe", "target", "platform"))

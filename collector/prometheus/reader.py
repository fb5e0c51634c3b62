"""Answers to remote read queries out of the store: which series, which hours, and what is kept of them in memory."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from sqlalchemy import Connection

from collector.prometheus import protocol
from collector.prometheus.lines import Changes, Line, Stretch, hour_lines, series_of, states_of, stitched, stretch
from collector.prometheus.mapping import FAMILIES, QUANTILE_LABELS, Family, Kind
from collector.prometheus.matching import Kind as Match
from collector.prometheus.matching import accepted
from collector.prometheus.protocol import BadRequest, Query
from collector.prometheus.test_series import LABELS as TEST_LABELS
from collector.prometheus.test_series import curves, lines_of
from collector.store import query as store
from collector.store.chart import Columns, append_piece, append_rows, into_order
from collector.store.packing import Piece, Row
from collector.store.query import SeriesFound
from wire.clock import HOUR, Instant
from wire.observation import Change

MOST_SERIES = 20_000
"""Prometheus series in one answer."""
MOST_SAMPLES = 4_000_000
"""Samples in one answer: 72 MB, ten days of some 280 one-minute series."""
MOST_KEPT = 96 * 1024 * 1024
"""Bytes of encoded hours that are kept for the next time a chart is drawn: the outcomes of a province's 630 series over
a day are 38 MB of them."""
SERIES_FUNC = "series"
"""The hint by which Prometheus asks for labels without samples (``/api/v1/series``)."""
_OVERHEAD = 400
"""Bytes that an entry costs besides what it holds, about."""
_FIELDS = ("site", "link", "role", "probe", "target", "platform")


class TooMuch(BadRequest):
    """The answer would be larger than is served."""


class Kept:
    """Encoded hours by the packed hour's own bytes: late data makes other bytes, so nothing here is ever out of date.

    Bounded by bytes, the least used go first. Used by several reading threads.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._size = 0
        self._entries: OrderedDict[tuple[str, frozenset[str] | None, bytes], Stretch] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that are kept, about."""
        return self._size

    def stretch(self, family: Family, wanted: frozenset[str] | None, packed: bytes) -> Stretch:
        """What a packed hour makes of a family; raises :class:`collector.store.packing.UnreadablePack`."""
        key = (family.metric, wanted, packed)
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found
        piece = Piece(packed)
        found = stretch([end // 1000 for end in piece.end], series_of(family, piece, wanted))
        with self._lock:
            if key not in self._entries:
                self._entries[key] = found
                self._size += _size(key, found)
            while self._size > self._most:
                self._size -= _size(*self._entries.popitem(last=False))
        return found


def _size(key: tuple[str, frozenset[str] | None, bytes], found: Stretch) -> int:
    runs = {id(run): len(run.samples) for run in found.runs.values()}
    return _OVERHEAD + len(key[2]) + sum(runs.values())


def read(connection: Connection, queries: Sequence[Query], province: str, now: Instant, kept: Kept) -> bytes:
    """The answer's body; raises :class:`TooMuch`. ``now`` in microseconds says how far silence is known."""
    budget = _Budget()
    return protocol.encode([_Answer(connection, query, province, now, kept, budget).series() for query in queries])


class _Budget:
    """What the answer still may hold."""

    def __init__(self) -> None:
        self.series = MOST_SERIES
        self.samples = MOST_SAMPLES

    def take(self, samples: int) -> None:
        self.series -= 1
        self.samples -= samples
        if self.series < 0:
            raise TooMuch(f"found more than {MOST_SERIES} series, expected fewer: name the metric, site or target")
        if self.samples < 0:
            raise TooMuch(
                f"found more than {MOST_SAMPLES} samples, expected fewer: ask for less time or for :1h metrics"
            )


class _Answer:
    """One query."""

    def __init__(
        self, connection: Connection, query: Query, province: str, now: Instant, kept: Kept, budget: _Budget
    ) -> None:
        self.connection = connection
        self.query = query
        self.province = province
        self.kept = kept
        self.budget = budget
        self.start, self.end = query.start * 1000, query.end * 1000 + 999
        self.known_to = min(now // 1000, query.end)
        self.rest = [one for one in query.matchers if one.label not in _FIELDS and one.label != "__name__"]

    def series(self) -> list[bytes]:
        """Every series of the answer, encoded."""
        families = [(family, self._wanted(family)) for family in FAMILIES.values() if self._named(family)]
        if not families or self.query.start > self.query.end:
            return []
        found: list[bytes] = []
        for source in self._sources():
            rows = store.rows_of(self.connection, source.number, self.start, self.end)
            packed = store.packed_hours(self.connection, source.number, self.start, self.end)
            for family, wanted in families:
                if family.hourly:
                    lines = self._of_hours(source, family)
                elif family.kind is Kind.STATE:
                    lines = self._of_states(source, packed, rows)
                else:
                    lines = stitched(self._stretches(family, wanted, packed, rows), self.known_to)
                labels = source.key._asdict()
                found += self._encoded(labels, family, lines)
        return found + self._of_tests(families)

    def _of_tests(self, families: Iterable[tuple[Family, frozenset[str] | None]]) -> list[bytes]:
        """Throughput and call tests; every one that ended in the span, whatever its series."""
        sparse = [(family, wanted) for family, wanted in families if family.measure or family.kind is Kind.OUTCOME]
        if not sparse or all(family.hourly for family, _ in sparse):
            return []
        exact = {one.label: one.value for one in self.query.matchers if one.kind is Match.EQUAL}
        found: list[bytes] = []
        tests = store.tests(self.connection, self.start, self.end, site=exact.get("site"), probe=exact.get("probe"))
        own = [one for one in self.query.matchers if one.label in (*_FIELDS, *TEST_LABELS, "province")]
        for curve in curves(tests):
            if accepted(own, {"province": self.province, **curve.labels}):
                for family, wanted in sparse:
                    found += self._encoded(curve.labels, family, lines_of(family, curve, wanted))
        return found

    def _named(self, family: Family) -> bool:
        return all(one.accepts(family.metric) for one in self.query.matchers if one.label == "__name__")

    def _wanted(self, family: Family) -> frozenset[str] | None:
        """Which quantiles are asked for: each costs a walk through every histogram. Other families are made whole."""
        asked = [one for one in self.query.matchers if one.label == family.label]
        if not asked or family.kind is not Kind.QUANTILE:
            return None
        return frozenset(value for value in QUANTILE_LABELS.values() if all(one.accepts(value) for one in asked))

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

    def _stretches(
        self, family: Family, wanted: frozenset[str] | None, packed: Sequence[tuple[int, bytes]], rows: Sequence[Row]
    ) -> Iterator[Stretch]:
        """Hour by hour: whole packed hours from memory, the others made anew from what lies within the query's span."""
        loose = {hour: list(some) for hour, some in groupby(rows, lambda row: row.end_utc // HOUR)}
        bodies = dict(packed)
        for hour in sorted(bodies.keys() | loose.keys()):
            inside = self.start <= hour * HOUR and (hour + 1) * HOUR - 1 <= self.end
            if inside and hour not in loose:
                yield self.kept.stretch(family, wanted, bodies[hour])
                continue
            columns = self._columns([bodies[hour]] if hour in bodies else [], loose.get(hour, []))
            if columns.end:
                yield stretch([end // 1000 for end in columns.end], series_of(family, columns, wanted))

    def _columns(self, packed: Iterable[bytes], rows: list[Row]) -> Columns:
        columns = Columns()
        for body in packed:
            append_piece(columns, Piece(body), self.start, self.end)
        if rows:
            append_rows(columns, rows)
        into_order(columns)
        return columns

    def _of_states(self, source: SeriesFound, packed: Sequence[tuple[int, bytes]], rows: list[Row]) -> list[Line]:
        columns = self._columns([body for _, body in packed], rows)
        if not columns.states:
            return []
        times, series = states_of(columns, self._changes(source))
        return stitched([stretch(times, series)], self.known_to)

    def _changes(self, source: SeriesFound) -> Changes:
        changes: list[tuple[int, str]] = []
        for landed in store.records(self.connection, "change", source.key.site, self.start, self.end):
            one, place = landed.observation, landed.source
            if not isinstance(one, Change) or landed.time is None:
                continue
            if (place.site, place.link, place.role, one.probe, one.target, one.platform) == source.key:
                began = landed.time.utc - (one.end - one.start)
                changes.append((began // 1000, one.current))
        return sorted(changes)

    def _of_hours(self, source: SeriesFound, family: Family) -> list[Line]:
        start, end = self.start - HOUR, self.query.end * 1000 - HOUR + 1
        return hour_lines(family, store.hours(self.connection, [source.number], start, end)[source.number])

    def _encoded(self, source: Mapping[str, str], family: Family, lines: Iterable[Line]) -> Iterator[bytes]:
        labels: dict[str, str] = {"__name__": family.metric, "province": self.province, **source}
        for line in lines:
            own: Mapping[str, str] = labels | {family.label: line.label_value} if family.label else labels
            if accepted(self.rest, own):
                self.budget.take(line.number)
                yield protocol.pack_series(own, b"" if self.query.func == SERIES_FUNC else line.samples)

"""Windows of one series as columns, put together from packed hours and rows: what charts and PromQL read."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import msgspec

from collector.store.packing import Piece, Row
from wire.clock import Instant
from wire.histogram import Histogram
from wire.reasons import Outcome, Reason


class Durations(Sequence["Histogram | None"]):
    """One duration of a series. Histograms are built when they are asked for; :meth:`means` builds none."""

    def __init__(self) -> None:
        self._parts: list[Callable[[], list[Histogram | None]]] = []
        self._means: list[Callable[[], list[float | None]]] = []
        self._count = 0
        self._built: list[Histogram | None] | None = None
        self._order: list[int] | None = None

    def add(
        self, count: int, build: Callable[[], list[Histogram | None]], means: Callable[[], list[float | None]]
    ) -> None:
        """Appends ``count`` rows."""
        self._parts.append(build)
        self._means.append(means)
        self._count += count

    def skip(self, count: int) -> None:
        """Appends ``count`` rows without this duration."""
        self.add(count, lambda: [None] * count, lambda: [None] * count)

    def reorder(self, order: list[int]) -> None:
        """The row that stands at ``order[i]`` comes at place ``i``."""
        self._order = order

    def means(self) -> list[float | None]:
        """Mean nanoseconds of each window; ``None`` where there is none."""
        found = [one for part in self._means for one in part()]
        return found if self._order is None else [found[place] for place in self._order]

    def _all(self) -> list[Histogram | None]:
        if self._built is None:
            found = [one for part in self._parts for one in part()]
            self._built = found if self._order is None else [found[place] for place in self._order]
        return self._built

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Histogram | None]:
        return iter(self._all())

    @overload
    def __getitem__(self, place: int) -> Histogram | None: ...
    @overload
    def __getitem__(self, place: slice) -> list[Histogram | None]: ...
    def __getitem__(self, place: int | slice) -> Histogram | list[Histogram | None] | None:
        return self._all()[place]

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, Durations) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Durations({self._all()!r})"


class Columns(msgspec.Struct, eq=False):
    """Windows of one series in the order of their ends, as columns of equal length."""

    start: list[Instant] = []
    end: list[Instant] = []
    error: list[int] = []
    outcome: list[Outcome] = []
    reason: list[Reason | None] = []
    counts: dict[str, list[int | None]] = {}
    values: dict[str, list[float | None]] = {}
    states: dict[str, list[float | None]] = {}
    durations: dict[str, Durations] = {}

    def __len__(self) -> int:
        return len(self.end)


def append_piece(found: Columns, piece: Piece, start: Instant, end: Instant) -> None:
    """Appends those windows of a packed hour that ended between ``start`` and ``end``, both included."""
    low, high = bisect_left(piece.end, start), bisect_right(piece.end, end)
    if low < high:
        _append(found, piece, low, high)


def _append(found: Columns, piece: Piece, low: int, high: int) -> None:
    before, count = len(found.end), high - low
    whole = count == piece.count
    found.start += piece.start if whole else piece.start[low:high]
    found.end += piece.end if whole else piece.end[low:high]
    found.error += piece.errors()[low:high]
    found.outcome += piece.outcomes()[low:high]
    found.reason += piece.reasons()[low:high]
    _extend(found.counts, piece.counts(), before, low, high)
    _extend(found.values, piece.values(), before, low, high)
    _extend(found.states, piece.states(), before, low, high)
    names = piece.duration_names
    for name in names:
        if name not in found.durations:
            found.durations[name] = Durations()
            found.durations[name].skip(before)
        found.durations[name].add(
            count,
            lambda name=name: piece.durations(name)[low:high],  # type: ignore[misc]
            lambda name=name: piece.means(name)[low:high],  # type: ignore[misc]
        )
    for name, column in found.durations.items():
        if name not in names:
            column.skip(count)


def _extend(columns: dict[str, list[Any]], more: dict[str, list[Any]], before: int, low: int, high: int) -> None:
    for name, column in more.items():
        if name not in columns:
            columns[name] = [None] * before
        columns[name] += column[low:high]
    for name, known in columns.items():
        if name not in more:
            known += [None] * (high - low)


def append_rows(found: Columns, rows: list[Row]) -> None:
    """Appends windows that are not packed yet."""
    before, count = len(found.end), len(rows)
    each = [row.window for row in rows]
    found.end += [row.end_utc for row in rows]
    found.start += [row.end_utc - (row.window.end - row.window.start) for row in rows]
    found.error += [row.error for row in rows]
    found.outcome += [one.outcome for one in each]
    found.reason += [one.reason for one in each]
    _extend(found.counts, _by_name([one.counts for one in each]), before, 0, count)
    _extend(found.values, _by_name([one.values for one in each]), before, 0, count)
    _extend(found.states, _by_name([one.states for one in each]), before, 0, count)
    more = _by_name([one.durations for one in each])
    for name, column in more.items():
        if name not in found.durations:
            found.durations[name] = Durations()
            found.durations[name].skip(before)
        found.durations[name].add(
            count,
            lambda column=column: column,  # type: ignore[misc]
            lambda column=column: _means(column),  # type: ignore[misc]
        )
    for name, known in found.durations.items():
        if name not in more:
            known.skip(count)


def _means(column: list[Histogram | None]) -> list[float | None]:
    return [None if one is None else one.mean for one in column]


def _by_name(dictionaries: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in dictionaries for name in one)
    return {name: [one.get(name) for one in dictionaries] for name in names}


def into_order(found: Columns) -> None:
    """Brings everything into the order of time: late rows may stand beside an hour that is packed already."""
    if all(before <= after for before, after in pairwise(found.end)):
        return
    order = sorted(range(len(found.end)), key=found.end.__getitem__)
    for name in ("start", "end", "error", "outcome", "reason"):
        column = getattr(found, name)
        setattr(found, name, [column[place] for place in order])
    groups: tuple[dict[str, list[Any]], ...] = (found.counts, found.values, found.states)
    for columns in groups:
        for name, column in columns.items():
            columns[name] = [column[place] for place in order]
    for durations in found.durations.values():
        durations.reorder(order)

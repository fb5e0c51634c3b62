"""Windows of one series as columns, put together from packed hours and rows: what charts and PromQL read.

Only the ends are unpacked at once; each other column when it is first asked for.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar, overload

from collector.store.packing import Piece, Row
from wire.clock import Instant
from wire.histogram import Histogram
from wire.reasons import Outcome, Reason

_T = TypeVar("_T")


class _Packed:
    """Some windows of a packed hour, in a row."""

    def __init__(self, piece: Piece, low: int, high: int) -> None:
        self._piece = piece
        self._low, self._high = low, high
        self.count = high - low

    def cut(self, column: list[_T]) -> list[_T]:
        """Those of a column of the whole hour."""
        return column if self.count == self._piece.count else column[self._low : self._high]

    def starts(self) -> list[int]:
        return self.cut(self._piece.start)

    def errors(self) -> list[int]:
        return self.cut(self._piece.errors())

    def outcomes(self) -> list[Outcome]:
        return self.cut(self._piece.outcomes())

    def reasons(self) -> list[Reason | None]:
        return self.cut(self._piece.reasons())

    def counts(self) -> dict[str, list[int | None]]:
        return {name: self.cut(column) for name, column in self._piece.counts().items()}

    def values(self) -> dict[str, list[float | None]]:
        return {name: self.cut(column) for name, column in self._piece.values().items()}

    def states(self) -> dict[str, list[float | None]]:
        return {name: self.cut(column) for name, column in self._piece.states().items()}

    def duration_names(self) -> list[str]:
        return self._piece.duration_names

    def durations(self, name: str) -> list[Histogram | None]:
        return self.cut(self._piece.durations(name))

    def means(self, name: str) -> list[float | None]:
        return self.cut(self._piece.means(name))


class _Rows:
    """Windows that are not packed yet."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self._windows = [row.window for row in rows]
        self.count = len(rows)

    def starts(self) -> list[int]:
        return [row.end_utc - (row.window.end - row.window.start) for row in self._rows]

    def errors(self) -> list[int]:
        return [row.error for row in self._rows]

    def outcomes(self) -> list[Outcome]:
        return [one.outcome for one in self._windows]

    def reasons(self) -> list[Reason | None]:
        return [one.reason for one in self._windows]

    def counts(self) -> dict[str, list[int | None]]:
        return _by_name([one.counts for one in self._windows])

    def values(self) -> dict[str, list[float | None]]:
        return _by_name([one.values for one in self._windows])

    def states(self) -> dict[str, list[float | None]]:
        return _by_name([one.states for one in self._windows])

    def duration_names(self) -> list[str]:
        return list(dict.fromkeys(name for one in self._windows for name in one.durations))

    def durations(self, name: str) -> list[Histogram | None]:
        return [one.durations.get(name) for one in self._windows]

    def means(self, name: str) -> list[float | None]:
        return [None if one is None else one.mean for one in self.durations(name)]


_Part = _Packed | _Rows


class _Parts:
    """The parts of a series and their order. Columns and their durations share it, so that neither holds the other:
    a cycle would keep a day of windows in memory until a full collection, which then makes some request wait."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.order: list[int] | None = None
        self.count = 0

    def flat(self, column_of: Callable[[_Part], list[_T]]) -> list[_T]:
        """One column of all parts, in the order of time."""
        found: list[_T] = []
        for part in self.parts:
            found += column_of(part)
        return found if self.order is None else [found[place] for place in self.order]


class Columns:
    """Windows of one series in the order of their ends, as columns of equal length. Append first, then read."""

    def __init__(self) -> None:
        self.end: list[Instant] = []
        self._parts = _Parts()

    def __len__(self) -> int:
        return len(self.end)

    def add(self, part: _Part, ends: list[Instant]) -> None:
        """Appends windows."""
        self._parts.parts.append(part)
        self._parts.count += part.count
        self.end += ends

    def sort(self) -> None:
        """Brings everything into the order of time."""
        order = self._parts.order = sorted(range(len(self.end)), key=self.end.__getitem__)
        self.end = [self.end[place] for place in order]

    def _named(self, columns_of: Callable[[_Part], dict[str, list[Any]]]) -> dict[str, list[Any]]:
        parts, order = self._parts.parts, self._parts.order
        each = [columns_of(part) for part in parts]
        names = dict.fromkeys(name for columns in each for name in columns)
        found: dict[str, list[Any]] = {}
        for name in names:
            whole: list[Any] = []
            for part, columns in zip(parts, each, strict=True):
                whole += columns.get(name) or [None] * part.count
            found[name] = whole if order is None else [whole[place] for place in order]
        return found

    @cached_property
    def start(self) -> list[Instant]:
        """UTC microseconds: the end less the length."""
        return self._parts.flat(lambda part: part.starts())

    @cached_property
    def error(self) -> list[int]:
        """Bound on the error of each end, microseconds."""
        return self._parts.flat(lambda part: part.errors())

    @cached_property
    def outcome(self) -> list[Outcome]:
        """Outcome of each window."""
        return self._parts.flat(lambda part: part.outcomes())

    @cached_property
    def reason(self) -> list[Reason | None]:
        """Reason of each window, or ``None``."""
        return self._parts.flat(lambda part: part.reasons())

    @cached_property
    def counts(self) -> dict[str, list[int | None]]:
        """Counts by name; ``None`` where a window has none."""
        return self._named(lambda part: part.counts())

    @cached_property
    def values(self) -> dict[str, list[float | None]]:
        """Values by name; ``None`` where a window has none."""
        return self._named(lambda part: part.values())

    @cached_property
    def states(self) -> dict[str, list[float | None]]:
        """Seconds per state by name; ``None`` where a window has none."""
        return self._named(lambda part: part.states())

    @cached_property
    def durations(self) -> dict[str, "Durations"]:
        """Durations by name."""
        names = dict.fromkeys(name for part in self._parts.parts for name in part.duration_names())
        return {name: Durations(self._parts, name) for name in names}


class Durations(Sequence["Histogram | None"]):
    """One duration of a series. Histograms are built when they are asked for; :meth:`means` builds none."""

    def __init__(self, parts: _Parts, name: str) -> None:
        self._parts = parts
        self._name = name

    def means(self) -> list[float | None]:
        """Mean nanoseconds of each window; ``None`` where there is none."""
        return self._parts.flat(lambda part: part.means(self._name))

    @cached_property
    def _all(self) -> list[Histogram | None]:
        return self._parts.flat(lambda part: part.durations(self._name))

    def __len__(self) -> int:
        return self._parts.count

    def __iter__(self) -> Iterator[Histogram | None]:
        return iter(self._all)

    @overload
    def __getitem__(self, place: int) -> Histogram | None: ...
    @overload
    def __getitem__(self, place: slice) -> list[Histogram | None]: ...
    def __getitem__(self, place: int | slice) -> Histogram | list[Histogram | None] | None:
        return self._all[place]

    def __eq__(self, other: object) -> bool:
        return self._all == (other._all if isinstance(other, Durations) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Durations({self._all!r})"


def append_piece(found: Columns, piece: Piece, start: Instant, end: Instant) -> None:
    """Appends those windows of a packed hour that ended between ``start`` and ``end``, both included."""
    low, high = bisect_left(piece.end, start), bisect_right(piece.end, end)
    if low < high:
        part = _Packed(piece, low, high)
        found.add(part, part.cut(piece.end))


def append_rows(found: Columns, rows: list[Row]) -> None:
    """Appends windows that are not packed yet."""
    if rows:
        found.add(_Rows(rows), [row.end_utc for row in rows])


def into_order(found: Columns) -> None:
    """Brings everything into the order of time: late rows may stand beside an hour that is packed already."""
    if any(before > after for before, after in pairwise(found.end)):
        found.sort()


def _by_name(dictionaries: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in dictionaries for name in one)
    return {name: [one.get(name) for one in dictionaries] for name in names}

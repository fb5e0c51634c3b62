"""Past hours in few bytes: the windows of one series and one hour as columns in one zstd frame.

Nothing is lost: ``unpack(pack(rows)) == rows``, every field of every window and of its row. The header stands outside
the frame and holds the first moments; within the frame all is relative to them.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import cramjam
import msgspec

from collector.store import columns
from collector.store.columns import Histograms, Ints
from wire.histogram import Histogram
from wire.observation import Window
from wire.reasons import Outcome, Reason

LEVEL = 9
"""zstd level; an hour of one series takes well under a millisecond."""
HEADER = struct.Struct("<BHqqqq")
"""Version, rows; of the first row: end (UTC), end (UTC) less end (boottime), wall clock less end (UTC), seq."""
VERSION = 1
SERIES_BITS = 20
"""``key = hour << 20 | series``: a million series."""


class UnreadablePack(ValueError):
    """A packed hour written by a newer release, or damaged."""


class Row(NamedTuple):
    """One window as the store keeps it. Times are microseconds; ``boot`` and ``stream`` are the store's numbers."""

    boot: int
    end_utc: int
    error: int
    received: int
    stream: int
    seq: int
    window: Window


def key_of(series: int, hour: int) -> int:
    """The key of tables ``hour`` and ``rollup``; ``hour`` counts from the epoch."""
    return hour << SERIES_BITS | series


class _Body(msgspec.Struct, array_like=True, gc=False):
    """The frame. Sections that a chart does not need stay undecoded as :class:`msgspec.Raw`."""

    probe: str
    target: str
    platform: str
    end: tuple[int, Ints]
    length: tuple[int, Ints]
    error: tuple[int, int, Ints]
    outcome: Ints
    reason: columns.Texts
    counts: dict[str, msgspec.Raw]
    values: dict[str, msgspec.Raw]
    durations: dict[str, msgspec.Raw]
    states: dict[str, msgspec.Raw]
    rest: msgspec.Raw


class _Rest(msgspec.Struct, array_like=True, gc=False):
    boots: list[tuple[int, str]]
    boot: Ints
    offset: tuple[int, Ints]
    wall: tuple[int, Ints]
    wall_start: Ints
    received: Ints
    stream: Ints
    seq: tuple[int, Ints]
    settings: columns.Texts
    vantage: columns.Texts
    order: columns.Texts
    facts: dict[str, columns.Texts]


_OUTCOMES = tuple(Outcome)
_OUTCOME_NUMBER = {outcome: number for number, outcome in enumerate(_OUTCOMES)}
_encode = msgspec.msgpack.Encoder().encode
_body = msgspec.msgpack.Decoder(_Body)
_rest = msgspec.msgpack.Decoder(_Rest)
_sparse = msgspec.msgpack.Decoder(columns.Sparse)
_floats: msgspec.msgpack.Decoder[columns.Floats] = msgspec.msgpack.Decoder(columns.Floats)
_histograms = msgspec.msgpack.Decoder(Histograms)


def pack(rows: Sequence[Row]) -> bytes:
    """The windows of one series, at least one, in the order given; all of one probe, target and platform."""
    first = rows[0]
    windows = [row.window for row in rows]
    ends = [row.end_utc for row in rows]
    lengths = [one.end - one.start for one in windows]
    errors = [row.error for row in rows]
    body = _Body(
        first.window.probe,
        first.window.target,
        first.window.platform,
        columns.steps(ends),
        (lengths[0], columns.ints([one - lengths[0] for one in lengths])),
        (errors[0], *columns.steps(errors)),
        columns.ints([_OUTCOME_NUMBER[one.outcome] for one in windows]),
        columns.texts([one.reason for one in windows]),
        {name: _raw(columns.sparse(found)) for name, found in _by_name([one.counts for one in windows])},
        {name: _raw(columns.floats(found)) for name, found in _by_name([one.values for one in windows])},
        {name: _raw(Histograms.of(found)) for name, found in _by_name([one.durations for one in windows])},
        {name: _raw(columns.floats(found)) for name, found in _by_name([one.states for one in windows])},
        _raw(_pack_rest(rows, windows)),
    )
    header = HEADER.pack(
        VERSION,
        len(rows),
        ends[0],
        ends[0] - first.window.end,
        first.window.wall_end - ends[0],
        first.seq,
    )
    return header + bytes(cramjam.zstd.compress(_encode(body), level=LEVEL))


def _pack_rest(rows: Sequence[Row], windows: Sequence[Window]) -> _Rest:
    boots = list(dict.fromkeys((row.boot, row.window.boot) for row in rows))
    place = {boot: number for number, boot in enumerate(boots)}
    wall = [row.window.wall_end - row.end_utc for row in rows]
    return _Rest(
        boots,
        columns.ints([place[(row.boot, row.window.boot)] for row in rows]),
        columns.steps([row.end_utc - row.window.end for row in rows]),
        columns.steps(wall),
        # the wall clock at the start less what its clock at the end and the length lead one to expect
        columns.ints([one.wall_start - one.wall_end + one.end - one.start for one in windows]),
        columns.ints([row.received - row.end_utc for row in rows]),
        columns.ints([row.stream for row in rows]),
        columns.steps([row.seq for row in rows]),
        columns.texts([one.settings for one in windows]),
        columns.texts([one.vantage for one in windows]),
        columns.texts([one.order for one in windows]),
        {name: columns.texts(found) for name, found in _by_name([one.facts for one in windows])},
    )


def _raw(column: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(column))


def _by_name(dictionaries: Sequence[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """A column for every name; ``None`` where a row does not have it."""
    names = dict.fromkeys(name for one in dictionaries for name in one)
    return [(name, [one.get(name) for one in dictionaries]) for name in names]


class Piece:
    """A packed hour opened for charts: times and outcomes at once, measures when they are asked for."""

    __slots__ = ("_body", "_header", "count", "end")

    def __init__(self, packed: bytes) -> None:
        """Raises :class:`UnreadablePack`."""
        self._header = HEADER.unpack_from(packed)
        version, self.count, first_end, _, _, _ = self._header
        if version != VERSION:
            raise UnreadablePack(
                f"packed hour: found version {version}, expected {VERSION}; written by a newer release"
            )
        self._body = body = _body.decode(bytes(cramjam.zstd.decompress(packed[HEADER.size :])))
        self.end: list[int] = columns.steps_back(first_end, *body.end, self.count)

    @property
    def start(self) -> list[int]:
        """Start of each window, UTC."""
        return [end - length for end, length in zip(self.end, self.lengths(), strict=True)]

    def lengths(self) -> list[int]:
        """Microseconds from start to end of each window."""
        first, column = self._body.length
        if isinstance(column, int):
            return [first + column] * self.count
        return [first + one for one in column]

    def errors(self) -> list[int]:
        """Bound on the error of each ``end``, microseconds."""
        first, usual, column = self._body.error
        return columns.steps_back(first, usual, column, self.count)

    def outcomes(self) -> list[Outcome]:
        """Outcome of each window."""
        column = self._body.outcome
        if isinstance(column, int):
            return [_OUTCOMES[column]] * self.count
        return [_OUTCOMES[one] for one in column]

    def reasons(self) -> list[Reason | None]:
        """Reason of each window."""
        words, codes = self._body.reason
        known = [None if word is None else Reason(word) for word in words]
        return [known[0]] * self.count if isinstance(codes, int) else [known[code] for code in codes]

    def counts(self) -> dict[str, list[int | None]]:
        """Counts by name."""
        return {name: columns.sparse_back(_sparse.decode(raw), self.count) for name, raw in self._body.counts.items()}

    def values(self) -> dict[str, list[float | None]]:
        """Values by name."""
        return {name: columns.floats_back(_floats.decode(raw), self.count) for name, raw in self._body.values.items()}

    def states(self) -> dict[str, list[float | None]]:
        """Seconds per state by name."""
        return {name: columns.floats_back(_floats.decode(raw), self.count) for name, raw in self._body.states.items()}

    @property
    def duration_names(self) -> list[str]:
        """Which durations there are."""
        return list(self._body.durations)

    def durations(self, name: str) -> list[Histogram | None]:
        """Histograms of one duration."""
        raw = self._body.durations.get(name)
        return [None] * self.count if raw is None else _histograms.decode(raw).back(self.count)

    def means(self, name: str) -> list[float | None]:
        """Mean nanoseconds of one duration, several times faster than through its histograms."""
        raw = self._body.durations.get(name)
        return [None] * self.count if raw is None else _histograms.decode(raw).means(self.count)

    def rows(self) -> list[Row]:
        """Everything, as it was packed."""
        _, count, _, offset, wall, seq = self._header
        body, rest = self._body, _rest.decode(self._body.rest)
        ends, lengths = self.end, self.lengths()
        offsets = columns.steps_back(offset, *rest.offset, count)
        walls = columns.steps_back(wall, *rest.wall, count)
        wall_starts = columns.ints_back(rest.wall_start, count)
        counts, values, states = (
            _by_row(self.counts(), count),
            _by_row(self.values(), count),
            _by_row(self.states(), count),
        )
        durations = _by_row({name: self.durations(name) for name in self.duration_names}, count)
        facts = _by_row({name: columns.texts_back(column, count) for name, column in rest.facts.items()}, count)
        outcomes, reasons = self.outcomes(), self.reasons()
        texts = [columns.texts_back(column, count) for column in (rest.settings, rest.vantage, rest.order)]
        boots = [rest.boots[place] for place in columns.ints_back(rest.boot, count)]
        errors, received = self.errors(), columns.ints_back(rest.received, count)
        streams, seqs = columns.ints_back(rest.stream, count), columns.steps_back(seq, *rest.seq, count)
        found: list[Row] = []
        for at in range(count):
            end_bt = ends[at] - offsets[at]
            wall_end = walls[at] + ends[at]
            window = Window(
                boot=boots[at][1],
                start=end_bt - lengths[at],
                end=end_bt,
                wall_start=wall_end - lengths[at] + wall_starts[at],
                wall_end=wall_end,
                settings=texts[0][at] or "",
                vantage=texts[1][at] or "",
                probe=body.probe,
                target=body.target,
                platform=body.platform,
                outcome=outcomes[at],
                reason=reasons[at],
                order=texts[2][at] or "",
                counts=counts[at],
                values=values[at],
                durations=durations[at],
                states=states[at],
                facts=facts[at],
            )
            found.append(
                Row(boots[at][0], ends[at], errors[at], ends[at] + received[at], streams[at], seqs[at], window)
            )
        return found


def unpack(packed: bytes) -> list[Row]:
    """Inverse of :func:`pack`; raises :class:`UnreadablePack`."""
    return Piece(packed).rows()


def _by_row(by_name: dict[str, Any], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, column in by_name.items():
        for row, value in enumerate(column):
            if value is not None:
                found[row][name] = value
    return found

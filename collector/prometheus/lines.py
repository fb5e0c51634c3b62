"""From the store's columns and roll-ups to Prometheus series. Pure: no store, no clock.

Windows become series hour by hour: a :class:`Stretch` is what one packed hour makes of a family, encoded as it goes
over the wire. It changes only when the packed hour does, so that it can be kept (:mod:`.reader`). :func:`stitched`
joins the hours and puts the stale markers between them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collector.prometheus.mapping import (
    OUTCOMES,
    QUANTILE_LABELS,
    STALE,
    Family,
    Kind,
    silence_of,
    states_at,
    with_stale_markers,
)
from collector.prometheus.protocol import pack_samples
from collector.store.chart import Columns
from collector.store.packing import Piece
from collector.store.rollups import Rollup
from wire.histogram import Histogram
from wire.measures import QUANTILES
from wire.reasons import Outcome

_NANO = 1e9
Series = Mapping[str, Sequence[float | None]]
"""By value of the family's label (empty if it has none): a value for each window, ``None`` where it delivered none."""
Changes = Sequence[tuple[int, str]]
"""(milliseconds, state entered), ascending."""


class Run(NamedTuple):
    """One series within a stretch."""

    opens: bool
    """Whether the first window has the value."""
    alive: bool
    """Whether it was alive after the last window."""
    number: int
    samples: bytes


class Stretch(NamedTuple):
    """Some windows of one source, such as those of an hour, as the series of one family. Times are milliseconds."""

    first: int
    last: int
    silence: int
    runs: Mapping[str, Run]


class Line(NamedTuple):
    """One Prometheus series without the labels of its source, encoded."""

    label_value: str
    number: int
    samples: bytes


def stretch(times: Sequence[int], series: Series) -> Stretch:
    """From windows that ended at ``times``, at least one, ascending."""
    silence = silence_of(times)
    alike: dict[tuple[float | None, ...], Run] = {}  # of four outcomes, two or three are all zeros
    runs: dict[str, Run] = {}
    for label_value, values in series.items():
        same = tuple(values)
        if same not in alike:
            at, found, alive = with_stale_markers(times, values, silence)
            alike[same] = Run(values[0] is not None, alive, len(at), pack_samples(at, found))
        if alike[same].number:
            runs[label_value] = alike[same]
    return Stretch(times[0], times[-1], silence, runs)


def stitched(stretches: Iterable[Stretch], now: int) -> list[Line]:
    """The stretches of one source in order of time as series; ``now`` (ms) is how far silence is known."""
    parts: dict[str, list[Run]] = {}
    alive: set[str] = set()
    before: Stretch | None = None
    for one in stretches:
        for label_value in alive.union(one.runs):
            runs = parts.setdefault(label_value, [])
            run = one.runs.get(label_value)
            if label_value in alive and before is not None:
                silent = before.silence and one.first - before.last > before.silence
                if silent or run is None or not run.opens:
                    runs.append(_marker(before.last + before.silence if silent else one.first))
                alive.discard(label_value)
            if run is not None:
                runs.append(run)
                if run.alive:
                    alive.add(label_value)
        before = one
    if before is not None and before.silence and before.last + before.silence <= now:
        for label_value in alive:
            parts[label_value].append(_marker(before.last + before.silence))
    return [
        Line(label_value, sum(run.number for run in runs), b"".join([run.samples for run in runs]))
        for label_value, runs in parts.items()
    ]


def _marker(time: int) -> Run:
    return Run(False, False, 1, pack_samples([time], [STALE]))


def series_of(family: Family, part: Columns | Piece, wanted: frozenset[str] | None = None) -> Series:
    """What some windows say of a family. ``wanted``: the values of its label that are asked for; ``None`` = all."""
    name = family.measure
    found: Series
    if family.kind is Kind.OUTCOME:
        outcomes = part.outcomes() if isinstance(part, Piece) else part.outcome
        return {one.value: _is(one, outcomes) for one in OUTCOMES if wanted is None or one.value in wanted}
    if family.kind in (Kind.MEAN, Kind.QUANTILE):
        return _durations(family, part, wanted)
    if family.kind is Kind.COUNT:
        found = part.counts() if isinstance(part, Piece) else part.counts
    elif family.kind is Kind.VALUE:
        found = part.values() if isinstance(part, Piece) else part.values
    else:
        return part.states() if isinstance(part, Piece) else part.states
    return {"": found[name]} if name in found else {}


def _is(wanted: Outcome, outcomes: Sequence[Outcome]) -> list[float | None]:
    return [1.0 if outcome is wanted else 0.0 for outcome in outcomes]


def _durations(family: Family, part: Columns | Piece, wanted: frozenset[str] | None) -> Series:
    name = family.measure
    if name not in (part.duration_names if isinstance(part, Piece) else part.durations):
        return {}
    if family.kind is Kind.MEAN:
        means = part.means(name) if isinstance(part, Piece) else part.durations[name].means()
        return {"": [None if mean is None else mean / _NANO for mean in means]}
    histograms = part.durations(name) if isinstance(part, Piece) else list(part.durations[name])
    labels = {q: label for q, label in QUANTILE_LABELS.items() if wanted is None or label in wanted}
    return {label: [seconds_at(one, q) for one in histograms] for q, label in labels.items()}


def seconds_at(histogram: Histogram | None, q: float) -> float | None:
    """A quantile in seconds; infinite among the lost, ``None`` where nothing at all came back."""
    if histogram is None or not histogram.buckets:
        return None
    found = histogram.quantile(q)
    return None if found is None else found / _NANO


def states_of(columns: Columns, changes: Changes) -> tuple[list[int], Series]:
    """Times and 0/1 series of the states that windows and changes tell of."""
    rows: list[Mapping[str, float] | None] = []
    for at in range(len(columns)):
        held = {name: column[at] for name, column in columns.states.items()}
        rows.append({name: seconds for name, seconds in held.items() if seconds is not None} or None)
    return states_at([end // 1000 for end in columns.end], rows, changes)


def hour_lines(family: Family, rollups: Iterable[Rollup]) -> list[Line]:
    """The series that roll-ups make of a family that ends in ``:1h``: a sample at each hour's end, no markers."""
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for rollup in rollups:
        for label_value, value in _of_hour(family, rollup):
            times, values = lines.setdefault(label_value, ([], []))
            times.append(rollup.end // 1000)
            values.append(value)
    return [Line(value, len(times), pack_samples(times, values)) for value, (times, values) in lines.items()]


def _of_hour(family: Family, rollup: Rollup) -> Iterable[tuple[str, float]]:
    name = family.measure
    if family.kind is Kind.OUTCOME:
        return [(one.value, rollup.outcomes.get(one, 0) / rollup.windows) for one in OUTCOMES]
    if family.kind is Kind.COUNT:
        return [("", rollup.counts[name])] if name in rollup.counts else []
    if family.kind is Kind.VALUE:
        return [("", rollup.values[name].mean)] if name in rollup.values else []
    if family.kind is Kind.STATE_SECONDS:
        return rollup.states.items()
    histogram = rollup.durations.get(name)
    if histogram is None or not histogram.buckets:
        return []
    if family.kind is Kind.MEAN:
        return [("", (histogram.mean or 0.0) / _NANO)]
    found = [(QUANTILE_LABELS[q], seconds_at(histogram, q)) for q in QUANTILES]
    return [(label, value) for label, value in found if value is not None]

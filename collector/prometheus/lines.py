"""From the store's columns and roll-ups to Prometheus series. Pure: no store, no clock."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collector.prometheus.mapping import OUTCOMES, QUANTILE_LABELS, Family, Kind, states_at, with_stale_markers
from collector.store.chart import Columns
from collector.store.rollups import Rollup
from wire.histogram import Histogram
from wire.measures import QUANTILES

_NANO = 1e9


class Line(NamedTuple):
    """One Prometheus series without the labels of its source: samples in time order, stale markers included."""

    label_value: str
    """Value of :attr:`collector.prometheus.mapping.Family.label`; empty if the family has none."""
    times: Sequence[int]
    """Milliseconds since the epoch."""
    values: Sequence[float]


Changes = Sequence[tuple[int, str]]
"""(milliseconds, state entered), ascending."""


def window_lines(family: Family, columns: Columns, now: int, changes: Changes = ()) -> list[Line]:
    """The series that windows make of a family; ``now`` (ms) is how far staleness is known."""
    if not columns.end:
        return []
    times = [end // 1000 for end in columns.end]
    if family.kind is Kind.STATE:
        times, series = states_at(times, _states(columns), changes) if columns.states else (times, {})
    else:
        series = _series(family, columns)
    lines = [Line(value, *with_stale_markers(times, found, now)) for value, found in series.items()]
    return [line for line in lines if line.times]


def _series(family: Family, columns: Columns) -> Mapping[str, Sequence[float | None]]:
    name = family.measure
    if family.kind is Kind.OUTCOME:
        return {one.value: [float(outcome is one) for outcome in columns.outcome] for one in OUTCOMES}
    if family.kind is Kind.COUNT:
        return {"": columns.counts[name]} if name in columns.counts else {}
    if family.kind is Kind.VALUE:
        return {"": columns.values[name]} if name in columns.values else {}
    if family.kind is Kind.STATE_SECONDS:
        return columns.states
    durations = columns.durations.get(name)
    if durations is None:
        return {}
    if family.kind is Kind.MEAN:
        return {"": [None if mean is None else mean / _NANO for mean in durations.means()]}
    histograms = list(durations)
    return {label: [seconds_at(one, q) for one in histograms] for q, label in QUANTILE_LABELS.items()}


def seconds_at(histogram: Histogram | None, q: float) -> float | None:
    """A quantile in seconds; infinite among the lost, ``None`` where nothing at all came back."""
    if histogram is None or not histogram.buckets:
        return None
    found = histogram.quantile(q)
    return None if found is None else found / _NANO


def _states(columns: Columns) -> list[Mapping[str, float] | None]:
    rows: list[Mapping[str, float] | None] = []
    for at in range(len(columns)):
        held = {name: column[at] for name, column in columns.states.items()}
        rows.append({name: seconds for name, seconds in held.items() if seconds is not None} or None)
    return rows


def hour_lines(family: Family, rollups: Iterable[Rollup]) -> list[Line]:
    """The series that roll-ups make of a family that ends in ``:1h``: a sample at each hour's end, no markers."""
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for rollup in rollups:
        for label_value, value in _of_hour(family, rollup):
            times, values = lines.setdefault(label_value, ([], []))
            times.append(rollup.end // 1000)
            values.append(value)
    return [Line(value, *line) for value, line in lines.items()]


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

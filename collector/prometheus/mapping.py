"""Which observation becomes which Prometheus series: one table, made from :mod:`wire.measures`.

A window is a sample at its end, in milliseconds. Its numbers are those of the window alone (gauges, no counters), so
that a window that arrives three days late changes nothing else: use ``sum_over_time``, never ``rate``. Labels are
``province, site, link, role, probe, target, platform`` and, by family, one of ``quantile``, ``outcome``, ``state``; an
empty label is left out, as Prometheus has it. Names that end in ``:1h`` are of the hourly roll-ups, at the hour's end.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from operator import sub
from typing import NamedTuple

from wire.measures import MEASURES, QUANTILES, Measure, Shape
from wire.reasons import Outcome

LABELS = ("province", "site", "link", "role", "probe", "target", "platform")
HOURLY = ":1h"
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""The NaN by which Prometheus knows that a series ends here (prometheus/model/value)."""
LONGEST_SILENCE_MS = 300_000
"""Prometheus itself forgets a series after five minutes (``query.lookback-delta``)."""
LATEST = 2**42 - 1
"""Milliseconds: the year 2109."""
SILENT_AFTER = 3
"""Cadences without a window after which a series is marked as ended."""


class Kind(StrEnum):
    """From what part of a window (or roll-up) a family is made."""

    COUNT = "count"
    VALUE = "value"
    QUANTILE = "quantile"
    MEAN = "mean"
    OUTCOME = "outcome"
    STATE = "state"
    STATE_SECONDS = "state seconds"


class Family(NamedTuple):
    """One metric name."""

    metric: str
    kind: Kind
    measure: str
    """Name in :data:`wire.measures.MEASURES`; empty for outcome and state."""
    label: str
    """The label beside :data:`LABELS` that its series differ in, or empty."""
    unit: str
    help: str
    hourly: bool = False


def _of(measure: Measure) -> Iterable[Family]:
    name, help_ = measure.metric, measure.help
    if measure.shape is not Shape.DURATION:
        kind = Kind.COUNT if measure.shape is Shape.COUNT else Kind.VALUE
        yield Family(name, kind, measure.name, "", measure.unit, help_)
        return
    beyond = " A lost one counts as beyond every limit: +Inf."
    yield Family(name, Kind.QUANTILE, measure.name, "quantile", measure.unit, help_ + beyond)
    mean = f"phrom_{measure.name}_mean_{measure.unit}"
    yield Family(mean, Kind.MEAN, measure.name, "", measure.unit, f"{help_} Mean of those that came back.")


def _families() -> Iterable[Family]:
    yield Family("phrom_outcome", Kind.OUTCOME, "", "outcome", "", "1 for the window's outcome, 0 for the other three.")
    yield Family(
        "phrom_state", Kind.STATE, "", "state", "", "1 for the state that a watched thing is in, 0 for others."
    )
    spent = "Seconds of the window that a watched thing spent in each state."
    yield Family("phrom_state_seconds", Kind.STATE_SECONDS, "", "state", "seconds", spent)
    for measure in MEASURES.values():
        yield from _of(measure)


_HOUR_HELP = {
    Kind.COUNT: "Sum over the hour.",
    Kind.VALUE: "Mean over the hour's windows.",
    Kind.QUANTILE: "Over the whole hour, merged from histograms and not averaged.",
    Kind.MEAN: "Over the whole hour.",
    Kind.OUTCOME: "Share of the hour's windows with this outcome.",
    Kind.STATE_SECONDS: "Sum over the hour.",
}


def _table() -> dict[str, Family]:
    table: dict[str, Family] = {}
    for family in _families():
        table[family.metric] = family
        if family.kind in _HOUR_HELP:
            name = family.metric + HOURLY
            text = f"{_HOUR_HELP[family.kind]} {family.help}"
            table[name] = family._replace(metric=name, help=text, hourly=True)
    return table


FAMILIES: dict[str, Family] = _table()
"""Every metric that remote read serves, by name."""
QUANTILE_LABELS: dict[float, str] = {q: f"{q:g}" for q in QUANTILES}
OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)


def cadence(times: Sequence[int]) -> int:
    """Milliseconds from one window to the next, as it mostly is; the longest silence where fewer than two tell."""
    gaps = sorted(_gaps(times))
    return gaps[len(gaps) // 2] if gaps else LONGEST_SILENCE_MS


def _gaps(times: Sequence[int]) -> list[int]:
    return list(map(sub, times[1:], times))


def silence_of(times: Sequence[int]) -> int:
    """Milliseconds after a window by which the next is so late that the series has ended; 0 where that is longer than
    the five minutes after which Prometheus forgets by itself."""
    silence = SILENT_AFTER * cadence(times)
    return silence if silence < LONGEST_SILENCE_MS else 0


def with_stale_markers(
    times: Sequence[int], values: Sequence[float | None], silence: int
) -> tuple[list[int], list[float], bool]:
    """Samples and stale markers of one series whose windows ended at ``times`` (ms, ascending), and whether it is alive
    after the last of them.

    ``None`` is a window that did not deliver the value: the first one after a value becomes a marker, the others are
    nothing. Where no window comes for longer than ``silence`` (:func:`silence_of`) a marker stands at that moment. Of
    two windows that end in the same millisecond the later one counts.
    """
    whole = [value for value in values if value is not None]
    gaps = _gaps(times)
    if len(whole) == len(times) and (not gaps or (min(gaps) > 0 and max(gaps) <= (silence or LATEST))):
        return list(times), whole, bool(times)
    out_times: list[int] = []
    out_values: list[float] = []
    alive = False
    last = 0
    for time, value in zip(times, values, strict=True):
        if alive and silence and time - last > silence:
            out_times.append(last + silence)
            out_values.append(STALE)
            alive = False
        last = time
        if value is None and not alive:
            continue
        if out_times and out_times[-1] == time:
            out_times.pop()
            out_values.pop()
        out_times.append(time)
        out_values.append(STALE if value is None else value)
        alive = value is not None
    return out_times, out_values, alive


def states_at(
    ends: Sequence[int], states: Sequence[Mapping[str, float] | None], changes: Sequence[tuple[int, str]]
) -> tuple[list[int], dict[str, list[float | None]]]:
    """One 0/1 series per state: at each window's end and at each change.

    ``changes`` are (ms, state entered), ascending. The state at a window's end is the one that the latest change
    entered; where no change is known, or where the window held none of that state from its beginning on (a later
    change was lost), it is the one that held longest in the window. A window without states (the watcher could not
    watch) says nothing, whatever the last change was.
    """
    events: list[tuple[int, int, str | None]] = [(time, 0, state) for time, state in changes]
    events += [
        (end, 1, max(held, key=held.__getitem__) if held else None) for end, held in zip(ends, states, strict=True)
    ]
    events.sort(key=lambda event: event[:2])
    names = sorted({state for _, state in changes} | {name for held in states for name in held or ()})
    begins = {end: end - 1000 * sum(held.values()) for end, held in zip(ends, states, strict=True) if held}
    seen = {end: held for end, held in zip(ends, states, strict=True) if held}
    current: str | None = None
    entered = 0
    times: list[int] = []
    found: dict[str, list[float | None]] = {name: [] for name in names}
    for time, is_window, state in events:
        if not is_window:
            current, entered = state, time
        elif current is None or (state is not None and not seen[time].get(current) and entered < begins[time]):
            current = state
        known = current if state is not None else None
        times.append(time)
        for name, series in found.items():
            series.append(None if known is None else float(name == known))
    return times, found


def reference() -> str:
    """The page ``docs/reference/metrics.md``, in Markdown."""
    lines = [
        "# Metrics",
        "",
        "Generated from `wire/measures.py` by `python -m docs.generate`. Do not edit.",
        "",
        "These are served as history by `POST /api/v1/read` (Prometheus remote read). Every series has the labels "
        + ", ".join(f"`{label}`" for label in LABELS)
        + "; an empty one is left out.",
        "A window is one sample at its end and holds that window's numbers alone: use `sum_over_time`, never `rate`.",
        "A stale marker stands where a target stops delivering a value: it fails, or is silent for three cadences.",
        "A throughput or call test is one sample at its end, with the further labels `engine`, `direction` (`down`,",
        "`up`) and `valid` (`yes`, `no`); tests are sparse, so ask with `last_over_time`.",
        f"Names ending in `{HOURLY}` are hourly roll-ups, stamped with the end of their hour and kept for years.",
        "",
        "| Metric | Label | Unit | Meaning |",
        "|---|---|---|---|",
    ]
    for family in FAMILIES.values():
        label = f"`{family.label}`" if family.label else ""
        lines.append(f"| `{family.metric}` | {label} | {family.unit} | {family.help} |")
    quantiles = ", ".join(f"`{label}`" for label in QUANTILE_LABELS.values())
    outcomes = ", ".join(f"`{outcome}`" for outcome in OUTCOMES)
    lines += ["", f"Values of `quantile`: {quantiles}. Values of `outcome`: {outcomes}.", ""]
    return "\n".join(lines)


def is_stale(value: float) -> bool:
    """Whether this is Prometheus's stale marker and not any other NaN."""
    return math.isnan(value) and struct.pack("<d", value) == struct.pack("<d", STALE)

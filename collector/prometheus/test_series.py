"""Throughput and call tests as Prometheus series: one sample at the end of each test, no stale markers.

Beside the labels of their source they have ``engine``, ``direction`` and ``valid``, so that a curve of evidence leaves
out what something else may have limited. Tests are sparse: queries use ``last_over_time``. Pure: no store, no clock.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from collector.prometheus.lines import Line, seconds_at
from collector.prometheus.mapping import OUTCOMES, QUANTILE_LABELS, Family, Kind
from collector.prometheus.protocol import pack_samples
from collector.store import Landed
from wire.observation import Test

LABELS = ("engine", "direction", "valid")
"""What a test's series have beside the labels of a window's."""
VALID = {True: "yes", False: "no"}
_NANO = 1e9


class Curve(NamedTuple):
    """The tests of one source, engine, direction and validity: one series of each family. ``labels`` without a name."""

    labels: Mapping[str, str]
    times: list[int]
    """Milliseconds, ascending; of two that end in the same one the later counts."""
    tests: list[Test]


def curves(landed: Iterable[Landed]) -> list[Curve]:
    """Tests in order of time as curves; those without a time are in none."""
    found: dict[tuple[str, ...], Curve] = {}
    for one in landed:
        test, source = one.observation, one.source
        if not isinstance(test, Test) or one.time is None:
            continue
        labels = {
            "site": source.site,
            "link": source.link,
            "role": source.role,
            "probe": test.probe,
            "target": test.target,
            "platform": test.platform,
            "engine": test.engine,
            "direction": test.direction,
            "valid": VALID[test.valid],
        }
        curve = found.setdefault(tuple(labels.values()), Curve(labels, [], []))
        time = one.time.utc // 1000
        if curve.times and curve.times[-1] == time:
            curve.times.pop()
            curve.tests.pop()
        curve.times.append(time)
        curve.tests.append(test)
    return list(found.values())


def lines_of(family: Family, curve: Curve, wanted: frozenset[str] | None = None) -> list[Line]:
    """What a curve's tests say of a family. ``wanted``: the values of its label that are asked for; ``None`` = all."""
    points: dict[str, tuple[list[int], list[float]]] = {}
    for time, test in zip(curve.times, curve.tests, strict=True):
        for label_value, value in _values(family, test, wanted):
            times, values = points.setdefault(label_value, ([], []))
            times.append(time)
            values.append(value)
    return [Line(value, len(times), pack_samples(times, values)) for value, (times, values) in points.items()]


def _values(family: Family, test: Test, wanted: frozenset[str] | None) -> Iterator[tuple[str, float]]:
    name = family.measure
    if family.hourly:
        return
    if family.kind is Kind.OUTCOME:
        yield from ((one.value, float(test.outcome is one)) for one in OUTCOMES)
    elif family.kind is Kind.COUNT and name in test.counts:
        yield "", float(test.counts[name])
    elif family.kind is Kind.VALUE and name in test.values:
        yield "", test.values[name]
    elif name in test.durations:
        histogram = test.durations[name]
        if family.kind is Kind.MEAN and histogram.mean is not None:
            yield "", histogram.mean / _NANO
        elif family.kind is Kind.QUANTILE:
            for q, label in QUANTILE_LABELS.items():
                seconds = seconds_at(histogram, q) if wanted is None or label in wanted else None
                if seconds is not None:
                    yield label, seconds

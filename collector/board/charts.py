"""Twenty-four hours of one series as an SVG that stands on its own: a band, a line and a strip of outcomes.

Pure: columns in, text out. The picture is drawn in its own style sheet so that it follows a dark desktop even inside
``<img>``. A gap in the data is a gap in the line; what failed is a mark as well as a colour.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from wire.clock import DAY, HOUR, Instant
from wire.reasons import Outcome

WIDTH, HEIGHT = 720, 132
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 38
STRIP = 9
POINTS = 288
"""How many points the line has at most: one for each five minutes of a day."""

_STYLE = """
text{font:12px Sarabun,sans-serif;fill:#44505c}
.grid{stroke:#d5dbe1;stroke-width:1}
.band{fill:#9cc3e6;opacity:.55}
.line{fill:none;stroke:#0b5cad;stroke-width:1.6}
.ok{fill:#2a7f62}.failed{fill:#c4361c}.error{fill:#7a4fa3}.skipped{fill:#9aa5b1}
.mark{fill:#c4361c}
@media (prefers-color-scheme:dark){text{fill:#b9c4cf}.grid{stroke:#3a444e}.band{fill:#2f5f8f}.line{stroke:#7db8f0}
.ok{fill:#4cc39a}.failed,.mark{fill:#ff7a5c}.error{fill:#c09be8}.skipped{fill:#6c7885}}
"""


class Point(NamedTuple):
    """One window: when it ended, how it went, its middle and its high value (any unit), ``None`` where it has none."""

    end: Instant
    outcome: Outcome
    middle: float | None
    high: float | None


class Bucket(NamedTuple):
    """A step of the chart: the worst outcome in it, the median of middles, the greatest high."""

    outcome: Outcome | None
    middle: float | None
    high: float | None


_WORST = (Outcome.FAILED, Outcome.ERROR, Outcome.SKIPPED, Outcome.OK)


def buckets(points: Sequence[Point], start: Instant, end: Instant, number: int = POINTS) -> list[Bucket]:
    """``number`` equal steps from ``start`` to ``end``; the worst outcome of a step is shown, so that a short fault is
    never averaged away."""
    width = (end - start) / number
    sorted_in: list[list[Point]] = [[] for _ in range(number)]
    for point in points:
        if start < point.end <= end:
            sorted_in[min(number - 1, int((point.end - start) / width))].append(point)
    found = []
    for inside in sorted_in:
        middles = sorted(one.middle for one in inside if one.middle is not None)
        highs = [one.high for one in inside if one.high is not None]
        outcomes = {one.outcome for one in inside}
        found.append(
            Bucket(
                next((outcome for outcome in _WORST if outcome in outcomes), None),
                middles[len(middles) // 2] if middles else None,
                max(highs, default=None),
            )
        )
    return found


def scale_top(highest: float) -> float:
    """The next of 1, 2, 5 times a power of ten at or above the highest value, and no less than a thousandth."""
    if highest <= 0:
        return 1.0
    highest = max(highest, 1e-3)
    power = 10.0 ** len(str(int(highest))) if highest >= 1 else 1.0
    while power > highest:
        power /= 10
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest * 0.999999)


def chart(points: Sequence[Point], start: Instant, title: str, unit: str, hour_label: Callable[[Instant], str]) -> str:
    """The SVG of the 24 hours from ``start``. ``unit`` stands beside the scale, ``title`` is read by screen readers."""
    end = start + DAY
    steps = buckets(points, start, end)
    top = scale_top(max((one.high or one.middle or 0.0 for one in steps), default=1.0))
    plot_height = HEIGHT - TOP - BOTTOM
    across = (WIDTH - LEFT - RIGHT) / len(steps)

    def x(step: float) -> float:
        return LEFT + step * across

    def y(value: float) -> float:
        return TOP + plot_height * (1 - min(value, top) / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
    ]
    if any(one.middle is not None for one in steps):
        parts.extend(_grid(top, unit, y))
    for run in _runs(steps):
        parts.append(_band(run, steps, x, y))
        parts.append(_line(run, steps, x, y))
    strip_top = TOP + plot_height + 5
    for first, length, outcome in _outcome_runs(steps):
        parts.append(
            f'<rect class="{outcome.value}" x="{x(first):.1f}" y="{strip_top}" '
            f'width="{max(across * length, 1.5):.1f}" height="{STRIP}"/>'
        )
        if outcome is Outcome.FAILED:
            middle = x(first + length / 2)
            parts.append(f'<path class="mark" d="M{middle:.1f} {strip_top - 9}l5 8h-10z"/>')
    parts.extend(_hours(start, hour_label, strip_top + STRIP))
    parts.append("</svg>")
    return "".join(parts)


def _grid(top: float, unit: str, y: Callable[[float], float]) -> list[str]:
    lines = []
    for value in (0.0, top / 2, top):
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        label = f"{value:g} {unit}" if value == top else f"{value:g}"
        lines.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    return lines


def _hours(start: Instant, hour_label: Callable[[Instant], str], base: float) -> list[str]:
    labels = []
    first = -(-start // (4 * HOUR)) * 4 * HOUR
    for step in range(7):
        moment = first + step * 4 * HOUR
        if start + HOUR // 2 <= moment <= start + DAY - HOUR // 2:
            place = LEFT + (moment - start) / DAY * (WIDTH - LEFT - RIGHT)
            labels.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{base}"/>')
            labels.append(
                f'<text x="{place:.1f}" y="{base + 14}" text-anchor="middle">{escape(hour_label(moment))}</text>'
            )
    return labels


def _runs(steps: Sequence[Bucket]) -> list[range]:
    """Stretches of steps with a value. One empty step is bridged: a five-minute cadence need not hit every step."""
    runs: list[range] = []
    for index, step in enumerate(steps):
        if step.middle is None:
            continue
        if runs and index - runs[-1].stop <= 1:
            runs[-1] = range(runs[-1].start, index + 1)
        else:
            runs.append(range(index, index + 1))
    return runs


def _outcome_runs(steps: Sequence[Bucket]) -> list[tuple[int, int, Outcome]]:
    runs: list[tuple[int, int, Outcome]] = []
    for index, step in enumerate(steps):
        if step.outcome is None:
            continue
        if runs and runs[-1][2] is step.outcome and runs[-1][0] + runs[-1][1] == index:
            first, length, outcome = runs[-1]
            runs[-1] = (first, length + 1, outcome)
        else:
            runs.append((index, 1, step.outcome))
    return runs


def _line(run: range, steps: Sequence[Bucket], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    places = [(x(index + 0.5), y(middle)) for index in run if (middle := steps[index].middle) is not None]
    if len(places) == 1:
        places.append((places[0][0] + 2, places[0][1]))
    return '<path class="line" d="M' + "L".join(f"{left:.1f} {up:.1f}" for left, up in places) + '"/>'


def _band(run: range, steps: Sequence[Bucket], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    with_band = [index for index in run if steps[index].high is not None and steps[index].middle is not None]
    if len(with_band) < 2:
        return ""
    upper = [f"{x(index + 0.5):.1f} {y(steps[index].high or 0):.1f}" for index in with_band]
    lower = [f"{x(index + 0.5):.1f} {y(steps[index].middle or 0):.1f}" for index in reversed(with_band)]
    return '<path class="band" d="M' + "L".join(upper + lower) + 'Z"/>'

"""A link's time as an SVG strip. Each class of time has a shape of its own beside its colour: up is a low solid bar,
down a high one with a mark above it, not measured a dotted line, silence hollow. Pure: intervals in, text out."""

from collections.abc import Callable, Sequence
from html import escape

from collector.link_history.shapes import Interval, Kind
from wire.clock import Instant

WIDTH, HEIGHT = 720, 58
LEFT, RIGHT = 8, 8
MIDDLE = 26
"""Where the strip's middle runs."""
LEAST = 1.6
"""How wide a fault is drawn at least: two seconds of a month must be seen."""

_STYLE = """
text{font:12px Sarabun,sans-serif;fill:#44505c}.grid{stroke:#d5dbe1}
.up{fill:#2a7f62}.down,.mark{fill:#c4361c}.unmeasured{stroke:#5a6570;stroke-width:3;stroke-dasharray:2 4;fill:none}
.silent{stroke:#6b3fa0;stroke-width:1.6;fill:none}
@media (prefers-color-scheme:dark){text{fill:#b9c4cf}.grid{stroke:#3a444e}.up{fill:#4cc39a}.down,.mark{fill:#ff7a5c}
.unmeasured{stroke:#a9b5c1}.silent{stroke:#c9a8f0}}
"""


def timeline(
    history: Sequence[Interval], start: Instant, end: Instant, title: str, ticks: Sequence[tuple[Instant, str]]
) -> str:
    """The strip of a span. ``title`` is what a screen reader says; ``ticks`` are moments and their labels."""
    width = WIDTH - LEFT - RIGHT

    def x(moment: Instant) -> float:
        return LEFT + width * (min(max(moment, start), end) - start) / max(1, end - start)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
    ]
    for moment, label in ticks:
        at = x(moment)
        anchor = "start" if at < LEFT + 20 else "end" if at > WIDTH - RIGHT - 20 else "middle"
        parts.append(f'<path class="grid" d="M{at:.1f} 10V40"/>')
        parts.append(f'<text x="{at:.1f}" y="54" text-anchor="{anchor}">{escape(label)}</text>')
    # what is rare and matters is drawn last, over its neighbours
    order = (Kind.UNMEASURED, Kind.UP, Kind.SILENT, Kind.DOWN)
    drawn = sorted(history, key=lambda one: order.index(one.kind))
    return "".join([*parts, *(_DRAWN[one.kind](x(one.start), x(one.end)) for one in drawn), "</svg>"])


def _up(low: float, high: float) -> str:
    return f'<rect class="up" x="{low:.2f}" y="{MIDDLE - 4}" width="{max(high - low, 0.2):.2f}" height="8"/>'


def _down(low: float, high: float) -> str:
    wide = max(high - low, LEAST)
    middle = low + wide / 2
    mark = f'<path class="mark" d="M{middle:.1f} 11l-4.5-8h9z"/>'
    return f'<rect class="down" x="{low:.2f}" y="{MIDDLE - 12}" width="{wide:.2f}" height="24"/>{mark}'


def _unmeasured(low: float, high: float) -> str:
    return f'<path class="unmeasured" d="M{low:.2f} {MIDDLE}H{max(high, low + 1):.2f}"/>'


def _silent(low: float, high: float) -> str:
    return f'<rect class="silent" x="{low:.2f}" y="{MIDDLE - 8}" width="{max(high - low, 1):.2f}" height="16" rx="3"/>'


_DRAWN: dict[Kind, Callable[[float, float], str]] = {
    Kind.UP: _up,
    Kind.DOWN: _down,
    Kind.UNMEASURED: _unmeasured,
    Kind.SILENT: _silent,
}

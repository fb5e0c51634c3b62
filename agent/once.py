"""``phrom-agent once``: the daemon's own path, once, with shorter windows, and what it found as text."""

import asyncio
import math
from collections.abc import Mapping, Sequence

from agent.clock import SystemClock, Timekeeper
from agent.directory import Directory, still_true
from agent.runner import Runner
from agent.whereabouts import Whereabouts
from wire.batch import StreamName
from wire.histogram import Histogram
from wire.measures import MEASURES
from wire.observation import Observation, Window
from wire.settings import AgentSettings

_UNITS = {"packets": "", "seconds": "s", "bytes": "B", "bits_per_second": "bit/s", "ratio": "", "celsius": "°C", "": ""}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Unspooled:
    """Takes records and keeps none: ``once`` prints what it measured."""

    async def record(self, stream: StreamName, *observations: Observation, urgent: bool = False) -> None:
        """Does nothing."""


async def once(
    settings: AgentSettings,
    names: Sequence[str],
    window: float | None,
    collector: Mapping[str, str],
    learned: Mapping[str, str],
) -> list[Window]:
    """Measures what is named (all of trickle class if nothing is) and returns the windows.

    ``collector`` and ``learned`` are addresses that settings may speak of; the latter only where they were learned.

    Raises :class:`agent.runner.UnknownAssignment`.
    """
    clock = await asyncio.to_thread(SystemClock)
    directory = Directory(collector)
    runner = Runner(clock, Timekeeper(clock), Unspooled(), directory)
    runner.apply(settings)
    whereabouts = Whereabouts(clock, Unspooled(), directory, runner.stand)
    whereabouts.apply(settings)
    vantage = await whereabouts.look()
    directory.learn(still_true(learned, vantage.id if vantage else ""))
    try:
        return await runner.measure_now(names, window)
    finally:
        await runner.close()


def lines(windows: Sequence[Window]) -> list[tuple[str, str, str]]:
    """Per window: what was measured, its outcome with the reason, and the figures in words."""
    return [(f"{one.probe}:{one.target}", _outcome(one), ", ".join(_figures(one))) for one in windows]


def _outcome(window: Window) -> str:
    return f"{window.outcome}: {window.reason}" if window.reason else str(window.outcome)


def _figures(window: Window) -> list[str]:
    found = [_duration(name, histogram) for name, histogram in window.durations.items() if histogram.count]
    found += [f"{name} {quantity(value, _unit(name))}" for name, value in window.values.items()]
    found += [f"{name} {quantity(count, _unit(name))}" for name, count in window.counts.items()]
    found += [f"{state} for {quantity(seconds, 's')}" for state, seconds in window.states.items()]
    found += [f"{name}: {fact}" for name, fact in window.facts.items()]
    return found


def _unit(name: str) -> str:
    measure = MEASURES.get(name)
    return _UNITS.get(measure.unit, measure.unit) if measure else ""


def _duration(name: str, histogram: Histogram) -> str:
    median, high = histogram.quantile(0.5), histogram.high
    if histogram.count == 1 or median is None or math.isinf(median):
        return f"{name} {quantity(high / 1e9, 's')}"
    return f"{name} {quantity(median / 1e9, 's')} (at most {quantity(high / 1e9, 's')})"


def quantity(value: float, unit: str) -> str:
    """A number with its unit as people write it: ``12.3 ms``, ``1 Gbit/s``, ``0.42``."""
    if unit == "s" and abs(value) < 1:
        return f"{value * 1000:.3g} ms" if abs(value) >= 1e-3 or value == 0 else f"{value * 1e6:.3g} µs"
    if unit == "s" and abs(value) >= 172_800:
        return f"{value / 86_400:.0f} days"
    if unit in ("B", "bit/s"):
        for size, prefix in _PREFIXES:
            if abs(value) >= size:
                return f"{value / size:.3g} {prefix}{unit}"
    text = f"{value:.4g}" if isinstance(value, float) and abs(value) < 10_000 else f"{value:.0f}"
    return f"{text} {unit}".rstrip()

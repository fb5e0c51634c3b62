"""Runs one measurement of a probe as the runner does, and checks what every finding must keep to."""

import asyncio
from typing import Any

import msgspec

from agent.probe import Finding, Span, Target, load, unknown_measures
from wire.measures import MEASURES
from wire.reasons import Outcome


async def measure(kind: str, /, *, probe: Any = None, limit: float | None = None, **settings: Any) -> Finding:
    """One measurement with the settings given; ``probe`` lends an instance (its caches), which is not closed."""
    info = await asyncio.to_thread(load, kind)  # importing reads files
    instance = info.make() if probe is None else probe
    target = Target("target", "", msgspec.convert(settings, info.settings))
    try:
        finding = await instance.measure(target, Span(0.0, limit or info.limit))
    finally:
        if probe is None and hasattr(instance, "close"):
            await instance.close()
    assert isinstance(finding, Finding)
    assert unknown_measures(finding, MEASURES) == []
    assert (finding.reason is None) == (finding.outcome is Outcome.OK)
    assert all(0 < len(key) <= 80 and len(value) <= 1000 for key, value in finding.facts.items())
    assert all(isinstance(value, int) and value >= 0 for value in finding.counts.values())
    if finding.outcome is Outcome.ERROR:
        assert finding.facts["remedy"]
    return finding


def milliseconds(finding: Finding, name: str) -> float:
    """The median of a duration of a finding, in milliseconds."""
    value = finding.durations[name].quantile(0.5)
    assert value is not None
    return value / 1e6

"""From what a probe found to what is recorded: nothing that the protocol or the table of measures does not know."""

import math
from collections.abc import Mapping, Sized

import msgspec

from agent.probe import Finding, Result, error
from wire.histogram import BadHistogram
from wire.measures import MEASURES, Measure, Shape
from wire.observation import MOST_ENTRIES
from wire.reasons import Outcome, Reason

LONGEST_FACT = 1000
LONGEST_NAME = 80


def checked(finding: Finding) -> Finding:
    """The finding if it may be recorded, otherwise ``error: probe_crashed`` that says what was wrong with it.

    Facts come from outside (a server's banner, a certificate's name): they are made valid text and cut to length.
    """
    mistake = mistake_in(finding) or next(filter(None, (mistake_in(_like(one)) for one in finding.results)), "")
    if mistake:
        return error(Reason.PROBE_CRASHED, facts={"detail": text(mistake)})
    if finding.facts:
        finding.facts = {name[:LONGEST_NAME]: text(fact) for name, fact in finding.facts.items()}
    for one in finding.results:
        one.facts = {name[:LONGEST_NAME]: text(fact) for name, fact in one.facts.items()}
    return finding


def _like(result: Result) -> Finding:
    """The parts of a test's result that the rules of a finding are about."""
    return Finding(
        outcome=result.outcome,
        reason=result.reason,
        counts=result.counts,
        values=result.values,
        durations=result.durations,
        facts=result.facts,
    )


def text(value: str, longest: int = LONGEST_FACT) -> str:
    """Valid Unicode of at most ``longest`` characters."""
    return value.encode("utf-8", "replace").decode("utf-8")[:longest]


def mistake_in(finding: Finding, measures: Mapping[str, Measure] = MEASURES) -> str:
    """What makes a finding unfit to be recorded, in words; empty if nothing does."""
    if (finding.reason is None) != (finding.outcome is Outcome.OK):
        return f"reason: found {finding.reason} with the outcome {finding.outcome}, expected one exactly when not ok"
    groups = (
        (finding.counts, Shape.COUNT),
        (finding.values, Shape.VALUE),
        (finding.durations, Shape.DURATION),
    )
    for group, shape in groups:
        for name in group:
            measure = measures.get(name)
            if measure is None or measure.shape is not shape:
                return f"{name}: found among the {shape}s, expected a {shape} of wire.measures"
    groups_and_more: tuple[Sized, ...] = (*(group for group, _ in groups), finding.states, finding.facts)
    most = max(len(group) for group in groups_and_more)
    if most > MOST_ENTRIES:
        return f"found {most} entries, expected at most {MOST_ENTRIES}"
    return _bad_number(finding)


def _bad_number(finding: Finding) -> str:
    for name, count in finding.counts.items():
        if not isinstance(count, int) or not 0 <= count <= 2**53:
            return f"{name}: found {count}, expected a whole number, 0 or more"
    for numbers in (finding.values, finding.states):
        for name, value in numbers.items():
            if not math.isfinite(value):
                return f"{name}: found {value}, expected a finite number"
    for name, histogram in finding.durations.items():
        try:
            histogram.check()
        except BadHistogram as wrong:
            return f"{name}: {wrong}"
    return ""


def decoded(settings: dict[str, object], kind: type[object]) -> object:
    """The probe's own settings from those of an assignment; text stands for numbers too, as in YAML.

    Raises ``msgspec.ValidationError``, whose message names the field.
    """
    return msgspec.convert(settings, kind, strict=False)


def changed_facts(watched: tuple[str, ...], before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Which of the watched facts differ between two good windows; one that is missing on either side does not."""
    return [name for name in watched if name in before and name in now and before[name] != now[name]]

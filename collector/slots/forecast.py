"""Whether a month's samples will suffice, said while there is still time to do something about it. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from collector.slots.book import Book
from collector.slots.held import Held, State
from collector.slots.planner import allowed, choose, preferred
from collector.slots.rules import DIRECTIONS, LENGTH, Far, Line, Rules, busy, in_busy_hours, provable
from collector.slots.spans import Span, shortened, total, within
from wire.clock import DAY, Instant
from wire.reasons import Limit

LATELY = 3 * DAY
FEW = 5
"""Tests or slots below which nothing is concluded from their share of good ones."""
LOST = 0.2
"""If fewer of the last days' slots were measured, no more is expected."""


class Why(StrEnum):
    """Why the samples will not suffice."""

    CONTRACT_UNKNOWN = "contract_unknown"
    NO_AGENT = "no_agent"
    NO_RESPONDER = "no_responder"
    RESPONDER = "responder"
    """The responder cannot send or take what the contract says: results are inconclusive."""
    NO_BUSY_HOURS = "no_busy_hours"
    """The equipment is off, or meetings are on, in the busy hours."""
    TOO_FEW_HOURS = "too_few_hours"
    BUDGET = "budget"
    INVALID = "invalid"
    """Too many tests were limited by something else than the link; ``detail`` names the most frequent."""
    NOT_MEASURED = "not_measured"
    """Slots come to nothing; ``detail`` is the most frequent reason."""
    TOO_LATE = "too_late"
    """The month is over, or what is left of it is too short."""


class Outlook(NamedTuple):
    """One direction of one link in one month."""

    direction: str
    tests: int
    """Tests made, whatever they were worth."""
    valid: int
    busy: int
    """Valid ones in the busy hours."""
    expected: int
    """Valid ones at the month's end."""
    expected_busy: int
    sufficient: bool
    why: tuple[tuple[Why, str], ...] = ()


def forecast(book: Book, line: Line, fars: Mapping[str, Far], rules: Rules, month: Span, now: Instant) -> list[Outlook]:
    """Both directions of a link in a month that has begun."""
    slots = book.of(line.place, month)
    return [_direction(book, line, fars, rules, month, now, slots, name) for name in DIRECTIONS]


def _direction(
    book: Book,
    line: Line,
    fars: Mapping[str, Far],
    rules: Rules,
    month: Span,
    now: Instant,
    slots: Sequence[Held],
    direction: str,
) -> Outlook:
    tests = [one for one in slots if direction in one.results and one.state is State.DONE]
    valid = [one for one in tests if one.results[direction].valid and one.at is not None]
    evening = sum(in_busy_hours(one.at or one.start, rules) for one in valid)
    why: list[tuple[Why, str]] = []
    more, more_busy = _to_come(book, line, fars, rules, month, now, slots, why)
    raw = len(valid) / len(tests) if tests else 1.0
    # the planner makes up for what was not valid by the same figure; a link that gives next to nothing is believed
    share = (len(valid) + 4) / (len(tests) + 4) if len(tests) < FEW or raw >= LOST * 2 else raw
    far = choose(line, fars)
    if far is not None and line.terms is not None and direction not in provable(line.terms, far):
        share = raw if len(tests) >= FEW else 0.0
        why.insert(0, (Why.RESPONDER, far.id))
    expected = len(valid) + int(share * more)
    expected_busy = evening + int(share * more_busy)
    enough = expected >= rules.samples and expected_busy >= rules.busy_samples
    if not enough and len(tests) >= FEW and raw < LOST * 2 and not any(one is Why.RESPONDER for one, _ in why):
        why.append(_of_limits(tests, direction))
    if not enough and not why:
        why.append((Why.TOO_LATE, ""))
    return Outlook(
        direction, len(tests), len(valid), evening, expected, expected_busy, enough, () if enough else tuple(why)
    )


def _of_limits(tests: Sequence[Held], direction: str) -> tuple[Why, str]:
    limits = Counter(limit for one in tests for limit in one.results[direction].limits)
    most = limits.most_common(1)[0][0] if limits else ""
    return (Why.RESPONDER, most) if most in RESPONDERS else (Why.INVALID, most)


RESPONDERS = frozenset({Limit.RESPONDER_CAPACITY, Limit.RESPONDER_CPU, Limit.RESPONDER_LINK_IN_USE})


def _to_come(
    book: Book,
    line: Line,
    fars: Mapping[str, Far],
    rules: Rules,
    month: Span,
    now: Instant,
    slots: Sequence[Held],
    why: list[tuple[Why, str]],
) -> tuple[float, float]:
    """Tests that can still be made, in all and in the busy hours; adds to ``why`` what keeps them few."""
    far = choose(line, fars)
    if now >= month.end:
        return 0.0, 0.0
    for missing, cause in (
        (line.terms is None, Why.CONTRACT_UNKNOWN),
        (not line.agent, Why.NO_AGENT),
        (far is None, Why.NO_RESPONDER),
    ):
        if missing:
            why.append((cause, ""))
            return 0.0, 0.0
    assert far is not None  # noqa: S101 - said above
    lately = [one for one in slots if one.ends > now - LATELY and one.ends <= now]
    if len(lately) >= FEW and sum(one.state is State.DONE for one in lately) < LOST * len(lately):
        reasons = Counter(one.reason or one.state.value for one in lately if one.state is not State.DONE)
        why.append((Why.NOT_MEASURED, reasons.most_common(1)[0][0]))
        return 0.0, 0.0
    need = book.need(line, fars, rules, max(now, month.start))
    starts = shortened(allowed(line, far, rules, Span(max(now, month.start), month.end)), LENGTH)
    room = preferred(line, starts, need.samples, rules)
    evening = within(room, busy(month, rules))
    most, most_busy = (total(some) / (2 * rules.least_gap) for some in (room, evening))
    cost = book.cost(line)
    afford = max(0, rules.budget - book.spent(line.site, month)) / cost if cost else need.samples
    if need.busy > most_busy:
        why.append((Why.NO_BUSY_HOURS, ""))
    if need.samples > most:
        why.append((Why.TOO_FEW_HOURS, ""))
    if need.samples > afford:
        why.append((Why.BUDGET, ""))
    return min(need.samples, most, afford), min(need.busy, most_busy, afford)

"""When links are filled to see what they deliver: random in time, and never where it could do harm. Pure.

Tests come as a Poisson process in the time that is allowed (exponential gaps, as NDT7 clients have, RFC 2330 section
11.1.1), so that no rhythm of the line or of its shaper can hide between them, and the mean rate is what is still wanted
over what is left of the month. What is *not* allowed is taken out before anything is drawn (DESIGN §6.4): quiet time of
the site and of the site where the responder stands, hours in which the equipment is off, what others have of the link,
and whatever the responder's capacity cannot bear.
"""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from collector.slots.held import Kind
from collector.slots.rules import (
    LEAD,
    LENGTH,
    MARGIN,
    Far,
    Line,
    Rules,
    busy,
    month_of,
    of_service,
    provable,
    reserved,
)
from collector.slots.spans import Span, joined, shortened, total, within, without
from wire.clock import DAY, HOUR, MINUTE, SECOND, Instant

SPARE_DAYS = 3 * DAY
"""The month's samples shall be complete so long before its end; what is missing then is made up for quickly."""
CATCH_UP = DAY
"""Within so long, as a mean, once the spare days have begun."""
RETEST_AFTER = (2 * MINUTE, 8 * MINUTE)
"""A bad result is retested at a random time within, outside quiet time."""
OVERDUE = 2 * HOUR
"""A link that was not tested for the longest gap is tested at a random time within."""
BACKOFF = 60 * SECOND
MOST_BACKOFF = 6
"""Doublings; after so many slots that came to nothing, the next is drawn like any other."""
JITTER = 0.05


class Reservation(NamedTuple):
    """What somebody has of a link and a responder, from ``start`` up to ``end``. Bits per second."""

    responder: str
    site: str
    link: str
    start: Instant
    end: Instant
    down: int
    up: int


class Need(NamedTuple):
    """What one link still wants of this month."""

    samples: float
    """Tests, in all."""
    busy: float
    """How many of them in the busy hours."""
    last: Instant | None = None
    """Start of the last test."""
    failed: Instant | None = None
    """End of the last slot, where it came to nothing."""
    attempt: int = 0
    """How many in a row came to nothing."""
    retest: str = ""
    """The slot whose bad result waits for a retest."""
    retest_since: Instant = 0
    tested_on: str = ""
    """The responder that the bad result was measured with."""
    affordable: bool = True
    """Whether the month's budget bears another test."""


class Planned(NamedTuple):
    """A slot that may be granted when its time comes."""

    site: str
    link: str
    responder: str
    start: Instant
    kind: Kind
    attempt: int
    of: str
    down: int
    up: int

    @property
    def reservation(self) -> Reservation:
        """What it takes."""
        return Reservation(self.responder, self.site, self.link, self.start, self.start + LENGTH, self.down, self.up)


def plan(
    lines: Sequence[tuple[Line, Need]],
    fars: Mapping[str, Far],
    taken: Iterable[Reservation],
    rules: Rules,
    now: Instant,
    rng: Random,
) -> list[Planned]:
    """A slot for each link that has none and may have one. ``taken`` is all that is granted, planned or in use."""
    held = list(taken)
    found = []
    order = list(lines)
    rng.shuffle(order)  # no site is served first for ever
    for line, need in order:
        one = plan_one(line, need, fars, held, rules, now, rng)
        if one is not None:
            found.append(one)
            held.append(one.reservation)
    return found


def plan_one(
    line: Line,
    need: Need,
    fars: Mapping[str, Far],
    taken: Sequence[Reservation],
    rules: Rules,
    now: Instant,
    rng: Random,
) -> Planned | None:
    """The next slot of one link; ``None`` where there can be none this month."""
    far = choose(line, fars, avoid=need.tested_on if need.retest else "")
    if far is None or line.terms is None or not need.affordable:
        return None
    month = month_of(now, rules.zone)
    rates = reserved(line.terms, far)
    earliest = max(now + LEAD, need.failed or 0)
    if need.retest:
        earliest = max(earliest, need.retest_since + rng.randint(*RETEST_AFTER), _backed_off(need, rng))
    else:
        earliest = max(earliest, _rested(need, rules))
    free = _free(line, far, taken, rates, rules, Span(earliest, month.end))
    if not rules.office_hours:
        free = _calm(line, free, rules)
    if not free:
        return None
    kind, attempt = Kind.RANDOM, 0
    if need.retest:
        kind, start = Kind.RETEST, free[0].start
    elif 0 < need.attempt <= MOST_BACKOFF and need.failed is not None:
        attempt = need.attempt
        after = _backed_off(need, rng)
        room = preferred(line, free, need.samples, rules)
        start = _first(room, after) or _first(free, after) or free[-1].start
    else:
        start = _drawn(line, free, need, rules, earliest, rng)
    return Planned(line.site, line.link, far.id, start, kind, attempt, need.retest, rates.down, rates.up)


def backoff(attempt: int) -> int:
    """Microseconds after the ``attempt``-th slot in a row that came to nothing: 60 s, doubled each time."""
    return BACKOFF << (min(attempt, MOST_BACKOFF) - 1)


def _backed_off(need: Need, rng: Random) -> Instant:
    if need.failed is None or not need.attempt:
        return 0
    return need.failed + round(backoff(need.attempt) * rng.uniform(1 - JITTER, 1 + JITTER))


def choose(line: Line, fars: Mapping[str, Far], avoid: str = "") -> Far | None:
    """The responder for the next test: one that can prove the contract in as many directions as any, another than
    ``avoid`` if there is one that proves as much, and of those the preferred one."""
    if line.terms is None:
        return None
    usable = [fars[name] for name in line.responders if name in fars]
    if not usable:
        return None
    terms = line.terms
    return min(usable, key=lambda far: (-len(provable(terms, far)), far.id == avoid, usable.index(far)))


def allowed(line: Line, far: Far, rules: Rules, span: Span) -> list[Span]:
    """When this link may be filled at all within ``span``: the equipment is on, and no meeting is near at either end
    of the path."""
    quiet = joined(Span(one.start - MARGIN, one.end + MARGIN) for one in (*line.quiet, *far.quiet))
    return without(of_service(span, line.service, rules.zone), quiet)


def crowded(far: Far, taken: Iterable[Reservation], rates: tuple[int, int]) -> list[Span]:
    """When a further test of these rates would be beyond the responder's capacity."""
    steps: list[tuple[Instant, int, int]] = []
    for one in taken:
        if one.responder == far.id:
            steps += [(one.start, one.down, one.up), (one.end, -one.down, -one.up)]
    found, down, up, since = [], 0, 0, None
    for at, more_down, more_up in sorted(steps):
        down, up = down + more_down, up + more_up
        full = down + rates[0] > far.down or up + rates[1] > far.up
        if full and since is None:
            since = at
        elif not full and since is not None:
            found.append((since, at))
            since = None
    return joined(found)


def _free(
    line: Line, far: Far, taken: Sequence[Reservation], rates: tuple[int, int], rules: Rules, span: Span
) -> list[Span]:
    """Starts at which a slot of this link hurts nobody."""
    starts = shortened(allowed(line, far, rules, span), LENGTH)
    mine = [Span(one.start, one.end) for one in taken if (one.site, one.link) == line.place]
    others = joined([*mine, *crowded(far, taken, rates)])
    return without(starts, joined(Span(one.start - LENGTH, one.end) for one in others))


def _rested(need: Need, rules: Rules) -> Instant:
    """A link is left alone between two tests; one that was not filled needs no rest but its backoff."""
    return need.last + rules.least_gap if need.last is not None else 0


def preferred(line: Line, free: Sequence[Span], samples: float, rules: Rules) -> list[Span]:
    """Without office hours, unless what is left would not suffice."""
    if not free or line.office is None:
        return list(free)
    calm = _calm(line, free, rules)
    enough = 2 * rules.least_gap * max(1.0, samples)
    return list(free) if rules.office_hours and total(calm) < enough else calm


def _calm(line: Line, free: Sequence[Span], rules: Rules) -> list[Span]:
    """Without office hours; those that are busy hours too are tested all the same."""
    if not free or line.office is None:
        return list(free)
    whole = Span(free[0].start, free[-1].end)
    return without(free, without(of_service(whole, line.office, rules.zone), busy(whole, rules)))


def _drawn(line: Line, free: Sequence[Span], need: Need, rules: Rules, earliest: Instant, rng: Random) -> Instant:
    room = preferred(line, free, need.samples, rules)
    evenings = busy(Span(free[0].start, free[-1].end), rules)
    in_busy, rest = within(room, evenings), without(room, evenings)
    deadline = max(free[-1].end - SPARE_DAYS, earliest + CATCH_UP)
    wanted_busy = need.busy if in_busy else 0.0
    wanted_rest = max(0.0, need.samples - wanted_busy)
    pieces = sorted(
        [(one, _rate(wanted_busy, in_busy, deadline)) for one in in_busy]
        + [(one, _rate(wanted_rest, rest, deadline)) for one in rest]
    )
    start = _arrival(pieces, rng.expovariate(1.0))
    last = need.last if need.last is not None else earliest
    limit = max(earliest + OVERDUE, last + rules.longest_gap)
    if start is None or start > limit:
        start = _by(room, limit, rng)
    return start


def _rate(wanted: float, room: Sequence[Span], deadline: Instant) -> float:
    """Tests a microsecond so that ``wanted`` are expected before the deadline."""
    before = sum(max(0, min(one.end, deadline) - one.start) for one in room)
    return wanted / (before or total(room)) if room else 0.0


def _arrival(pieces: Sequence[tuple[Span, float]], amount: float) -> Instant | None:
    """When a Poisson process of piecewise constant rate has gathered ``amount``."""
    for span, rate in pieces:
        here = span.length * rate
        if here > amount:
            return span.start + int(amount / rate)
        amount -= here
    return None


def _by(room: Sequence[Span], limit: Instant, rng: Random) -> Instant:
    """Any time up to ``limit``, or else soon after it: nobody shall know when."""
    before = [Span(one.start, min(one.end, limit)) for one in room if one.start < limit]
    if not before:
        return room[0].start + rng.randrange(min(room[0].length, 30 * MINUTE))
    at = rng.randrange(total(before))
    for span in before:
        if at < span.length:
            return span.start + at
        at -= span.length
    return before[-1].start


def _first(spans: Iterable[Span], after: Instant) -> Instant | None:
    return next((max(one.start, after) for one in spans if one.end > after), None)

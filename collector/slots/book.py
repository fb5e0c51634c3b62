"""All slots of this month and the last, and what follows from them: pure but for its own memory.

Every change returns the slots that changed, for whoever keeps them on disk. What is planned and not yet granted is
nobody's but the planner's, so it is not kept: after a restart it is drawn anew.
"""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import msgspec

from collector.slots.held import OPEN, RANK, Doubt, Half, Held, Kind, State
from collector.slots.planner import Need, Planned, Reservation, allowed, choose, crowded, plan
from collector.slots.rules import (
    DIRECTIONS,
    LEAD,
    LENGTH,
    TO_BEGIN,
    Far,
    Line,
    Rules,
    in_busy_hours,
    month_of,
    provable,
)
from collector.slots.spans import Span
from wire.clock import DAY, HOUR, MINUTE, Instant

KEPT = 40 * DAY
RETEST_WITHIN = 24 * HOUR
"""A bad result that could not be retested within it stays unconfirmed."""
UNHEARD = 2 * MINUTE
"""After the end of a slot, before it is called unanswered."""
MOST_MARGIN = 2.0
"""Samples that turn out invalid are made up for, up to twice the tests."""
LATER = 1.1
"""So many more than wanted are aimed at, for what is lost to troubles."""
COST_SECONDS = 1.0
"""At the contract's rate in each direction, before a link's own tests say what they cost."""


class Book:
    """The slots, the plans, and what light tests and calls have of responders just now."""

    def __init__(self, held: Iterable[Held] = ()) -> None:
        self.held: dict[str, Held] = {}
        self._places: dict[tuple[str, str], dict[str, Held]] = {}
        self._open: dict[str, Held] = {}
        for one in held:
            self.enter(one)
        self.planned: dict[tuple[str, str], Planned] = {}
        self._others: list[Reservation] = []

    # what is

    def of(self, place: tuple[str, str], span: Span) -> list[Held]:
        """The slots of a link that began in a span, oldest first."""
        found = [one for one in self._at(place) if span.start <= one.start < span.end]
        return sorted(found, key=lambda one: (one.start, one.id))

    def reservations(self, now: Instant) -> list[Reservation]:
        """All that is in use now or later."""
        self._others = [one for one in self._others if one.end > now]
        granted = [
            Reservation(one.responder, one.site, one.link, one.start, one.ends, one.down, one.up)
            for one in self._open.values()
            if one.ends > now
        ]
        return [*granted, *self._others, *(one.reservation for one in self.planned.values())]

    def spent(self, site: str, month: Span) -> int:
        """Bytes that tests cost a site in a month."""
        places = [place for place in self._places if place[0] == site]
        return sum(one.bytes for place in places for one in self.of(place, month))

    def _at(self, place: tuple[str, str]) -> Iterable[Held]:
        return self._places.get(place, {}).values()

    # planning

    def plan(
        self, lines: Iterable[Line], fars: Mapping[str, Far], rules: Rules, now: Instant, rng: Random
    ) -> list[Planned]:
        """Draws the next slot of every link that has none. Plans that new meetings or files forbid are dropped."""
        known = {line.place: line for line in lines}
        for place, one in list(self.planned.items()):
            line = known.get(place)
            good = line is not None and line.agent and self._still_good(line, one, fars, rules)
            if line is None or not good or not self._affordable(line, rules, now):
                del self.planned[place]
        open_places = {one.place for one in self._open.values()}
        free = [
            (line, self.need(line, fars, rules, now))
            for place, line in known.items()
            if line.agent and place not in self.planned and place not in open_places
        ]
        found = plan(free, fars, self.reservations(now), rules, now, rng) if free else []
        self.planned |= {(one.site, one.link): one for one in found}
        return found

    def _affordable(self, line: Line, rules: Rules, now: Instant) -> bool:
        """Whether the month's budget bears another test of the link."""
        return self.spent(line.site, month_of(now, rules.zone)) + self.cost(line) <= rules.budget

    def _still_good(self, line: Line, one: Planned, fars: Mapping[str, Far], rules: Rules) -> bool:
        far = fars.get(one.responder)
        if far is None or far.id not in line.responders or line.terms is None:
            return False
        whole = Span(one.start, one.start + LENGTH)
        return allowed(line, far, rules, whole) == [whole]

    def need(self, line: Line, fars: Mapping[str, Far], rules: Rules, now: Instant) -> Need:
        """What a link still wants of the month, and what its last slots were."""
        month = month_of(now, rules.zone)
        slots = self.of(line.place, Span(month.start - DAY, month.end))
        tested = [one for one in slots if one.state is State.DONE]
        here = [one for one in tested if one.start >= month.start]
        have, have_busy = self._have(line, fars, here, rules)
        margin = min(MOST_MARGIN, (len(here) + 4) / (have + 4)) * LATER
        failed, attempt = _came_to_nothing(slots)
        retest = _to_retest(slots, now)
        return Need(
            samples=max(0, rules.samples - have) * margin,
            busy=max(0, rules.busy_samples - have_busy) * margin,
            last=max((one.start for one in tested), default=None),
            failed=failed,
            attempt=attempt,
            retest=retest.id if retest else "",
            retest_since=(retest.at or retest.ends) if retest else 0,
            tested_on=retest.responder if retest else "",
            affordable=self._affordable(line, rules, now),
        )

    def _have(self, line: Line, fars: Mapping[str, Far], tests: list[Held], rules: Rules) -> tuple[int, int]:
        """Samples that count, of the direction that has fewest. A direction that no responder of this site can prove
        sets no pace: else its tests would go on in vain."""
        far = choose(line, fars)
        directions = provable(line.terms, far) if far and line.terms else ()

        def counts(one: Held, direction: str) -> bool:
            return direction in one.results and one.results[direction].valid and one.at is not None

        chosen = [[one for one in tests if counts(one, direction)] for direction in directions] or [tests]
        return (
            min(len(some) for some in chosen),
            min(sum(in_busy_hours(one.at or one.start, rules) for one in some) for some in chosen),
        )

    def cost(self, line: Line) -> int:
        """Bytes that the next test of a link will cost: what its last five did, or by its contract."""
        past = [one.bytes for one in self._at(line.place) if one.bytes]
        if past:
            return sum(past[-5:]) // len(past[-5:])
        if line.terms is None:
            return 0
        return round((line.terms.download + line.terms.upload) * COST_SECONDS / 8)

    # granting

    def due(self, now: Instant, lead: int = LEAD) -> list[Planned]:
        """The plans whose time has come, taken out. One that is overdue was slept through and is drawn anew."""
        found = [one for one in self.planned.values() if one.start - now <= lead]
        for one in found:
            del self.planned[(one.site, one.link)]
        return [one for one in found if one.start >= now]

    def grant(self, one: Planned, identity: str, agent: str, now: Instant) -> Held:
        """Enters a slot that is about to be ordered."""
        slot = Held(
            id=identity, site=one.site, link=one.link, agent=agent, responder=one.responder, kind=one.kind, made=now,
            start=one.start, latest=one.start + TO_BEGIN, ends=one.start + LENGTH, down=one.down, up=one.up,
            attempt=one.attempt, of=one.of,
        )  # fmt: skip
        return self.enter(slot)

    def enter(self, slot: Held) -> Held:
        """Enters a slot that came about otherwise (asked for now, or an agent's own), or its newer state."""
        self.held[slot.id] = slot
        self._places.setdefault(slot.place, {})[slot.id] = slot
        if slot.state in OPEN:
            self._open[slot.id] = slot
        else:
            self._open.pop(slot.id, None)
        return slot

    def free(
        self, far: Far, place: tuple[str, str], start: Instant, end: Instant, rates: tuple[int, int], but: str = ""
    ) -> tuple[bool, bool]:
        """Whether the link, and the responder's capacity, are free from ``start`` to ``end``, leaving out slot ``but``.
        What is only planned gives way."""
        one = self.held.get(but)
        taken = [
            held
            for held in self.reservations(start)
            if held.start < end
            and (one is None or (held.site, held.link, held.start) != (one.site, one.link, one.start))
            and not self._only_planned(held)
        ]
        crowd = crowded(far, taken, rates)
        link = not any((held.site, held.link) == place and held.end > start for held in taken)
        return link, not any(span.start < end and span.end > start for span in crowd)

    def _only_planned(self, one: Reservation) -> bool:
        later = self.planned.get((one.site, one.link))
        return later is not None and later.reservation == one

    def reserve(self, one: Reservation) -> None:
        """Holds link and capacity for a light test or a call; planned slots in its way are drawn anew."""
        self._others.append(one)
        self.give_way(one.site, one.link, one.responder, one.end)

    def give_way(self, site: str, link: str, responder: str, end: Instant) -> None:
        """Drops what is planned before ``end`` on that link or responder: it is drawn anew around what came up."""
        for place, later in list(self.planned.items()):
            if later.start < end and (place == (site, link) or later.responder == responder):
                del self.planned[place]

    def release(self, one: Reservation) -> None:
        """Gives back what :meth:`reserve` held; twice does nothing."""
        if one in self._others:
            self._others.remove(one)

    # what became of them

    def became(self, identity: str, state: State, reason: str = "", detail: str = "") -> list[Held]:
        """A slot got on. An earlier word than is held changes nothing."""
        slot = self.held.get(identity)
        if slot is None or RANK[state] <= RANK[slot.state]:
            return []
        return [self._put(slot, state=state, reason=reason, detail=detail[:300])]

    def tested(self, identity: str, direction: str, half: Half, at: Instant | None) -> list[Held]:
        """A direction's record landed, late or not; the same one twice changes nothing. Returns what changed: the slot,
        and the one that it retested."""
        slot = self.held.get(identity)
        if slot is None or direction not in DIRECTIONS:
            return []
        results = slot.results | {direction: half}
        measured = any(one.outcome == "ok" for one in results.values())
        worst = next((one for one in results.values() if one.outcome != "ok"), None)
        state = State.DONE if measured else State.SKIPPED if worst and worst.outcome == "skipped" else State.FAILED
        if RANK[state] < RANK[slot.state]:
            state = slot.state
        reason = worst.reason if worst else ""
        latest = at if slot.at is None or (at is not None and at > slot.at) else slot.at
        fresh = msgspec.structs.replace(slot, results=results, state=state, at=latest, reason=reason)
        if fresh == slot:
            return []
        before = self.held.get(slot.of)
        changed = [self._doubted(fresh, _doubts(fresh, before))]
        if before is not None and state is State.DONE:
            doubts = _verdict(before, fresh)
            if doubts != before.doubts:
                changed.append(self._doubted(before, doubts))
        return changed

    def _doubted(self, slot: Held, doubts: dict[str, Doubt]) -> Held:
        worst = next((one for one in GRAVE if one in doubts.values()), Doubt.NONE)
        return self._put(slot, doubts=doubts, doubt=worst)

    def unheard(self, now: Instant) -> list[Held]:
        """Ends slots whose time is long over."""
        over = [one for one in self._open.values() if now > one.ends + UNHEARD]
        return [self._put(one, state=State.UNANSWERED) for one in over]

    def forget(self, now: Instant) -> None:
        """Drops from memory what no month needs any more."""
        for one in [one for one in self.held.values() if one.start < now - KEPT]:
            del self.held[one.id]
            self._places[one.place].pop(one.id)
            self._open.pop(one.id, None)

    def _put(self, slot: Held, **news: Any) -> Held:
        return self.enter(msgspec.structs.replace(slot, **news))


def _came_to_nothing(slots: list[Held]) -> tuple[Instant | None, int]:
    """End of the last slot and how many came to nothing in a row; zero after one that was measured, and where the
    agent was away: it is waited for, not chased."""
    over = [one for one in slots if one.state not in OPEN and one.kind is not Kind.ASKED]
    if not over or over[-1].state is State.DONE:
        return None, 0
    last = over[-1]
    return last.ends, 0 if last.reason == AGENT_SILENT else last.attempt + 1


AGENT_SILENT = "agent_silent"
"""Reason of a slot that was skipped because its agent was not there to be asked."""


def _to_retest(slots: list[Held], now: Instant) -> Held | None:
    """The newest bad result that nobody has checked."""
    answered = {one.of for one in slots if one.of and one.state is State.DONE}
    tries: dict[str, int] = {}
    for one in slots:
        tries[one.of] = tries.get(one.of, 0) + 1
    for one in reversed(slots):
        fresh = one.kind is not Kind.RETEST and now - one.ends < RETEST_WITHIN
        if fresh and one.doubt is Doubt.UNCONFIRMED and one.id not in answered:
            return one if tries.get(one.id, 0) < MOST_RETESTS else None
    return None


MOST_RETESTS = 4
"""Slots given to one bad result, where they come to nothing."""


GRAVE = (Doubt.CONFIRMED, Doubt.UNCONFIRMED, Doubt.REFUTED)


def _doubts(slot: Held, before: Held | None) -> dict[str, Doubt]:
    """What a slot's own results are worth, each direction by itself. A retest is not retested: it agrees with what it
    checks, or stands alone."""
    found = {}
    for name, half in slot.results.items():
        if half.bad:
            agrees = before is not None and name in before.results and before.results[name].bad
            found[name] = Doubt.CONFIRMED if agrees else slot.doubt_of(name) or Doubt.UNCONFIRMED
    return found


def _verdict(before: Held, retest: Held) -> dict[str, Doubt]:
    """Only what the retest says of a direction that was bad counts for it, and only where it is valid itself."""
    found = dict(before.doubts)
    for name in before.doubts:
        half = retest.results.get(name)
        if half is not None and half.valid:
            found[name] = Doubt.CONFIRMED if half.bad else Doubt.REFUTED
    return found

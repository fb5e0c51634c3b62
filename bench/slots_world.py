"""The province of :mod:`bench.slots`: 21 links of 200/80, a month of meetings, and agents that come and go."""

import bisect
from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from collector.inventory.model import ServiceHours
from collector.slots.rules import Far, Line, Rules
from collector.slots.spans import Span, joined
from wire.clock import DAY, HOUR, MINUTE, Instant
from wire.meetings import MeetingTimes, QuietRules, quiet_time
from wire.settings import ContractTerms

MB = 1_000_000
START: Instant = 1_793_466_000_000_000
"""2026-11-01 00:00 in Bangkok, a Sunday."""
HALL = "hall"
SITES = (HALL, *(f"district-{number:02}" for number in range(1, 21)))
AWAY_AFTER, AWAY_FOR = 5 * DAY, 6 * HOUR
"""Means: an agent is cut off every five days for six hours."""
ALL_DAY = (11, 24)
"""Days of November with a meeting from 08:30 to 16:30 of all sites."""


def _meeting(day: int, opens: float, ends: float) -> MeetingTimes:
    midnight = START + (day - 1) * DAY
    doors, start, end = (midnight + round(hour * HOUR) for hour in (opens, opens + 0.5, ends))
    return MeetingTimes(f"m{day}", doors, start, end)


def _meetings() -> list[tuple[MeetingTimes, frozenset[str]]]:
    """Every working morning of all sites until 12:00, on Wednesdays of the hall and five districts until 18:30 too."""
    found = []
    for day in range(1, 31):
        weekday = (day - 1) % 7  # 0 = Sunday
        if day in ALL_DAY:
            found.append((_meeting(day, 8.0, 16.5), frozenset(SITES)))
        elif weekday not in (0, 6):
            found.append((_meeting(day, 8.5, 12.0), frozenset(SITES)))
        if weekday == 3:
            found.append((_meeting(day, 16.5, 18.5), frozenset(SITES[:6])))
    return found


MEETINGS = _meetings()


class World(NamedTuple):
    """What is planned in, and who is away when."""

    lines: tuple[Line, ...]
    fars: Mapping[str, Far]
    rules: Rules
    responder_site: str
    provable: tuple[bool, bool]
    away: Mapping[str, list[Span]]

    def alive(self, site: str, now: Instant) -> bool:
        """Whether the agent of a site can be asked."""
        spans = self.away[site]
        at = bisect.bisect_right(spans, now, key=lambda one: one.start) - 1
        return at < 0 or now >= spans[at].end


def _quiet(site: str) -> tuple[Span, ...]:
    spans = [quiet_time(times, QuietRules()) for times, sites in MEETINGS if site in sites]
    return tuple(joined((one.start, one.end) for one in spans))


def outside_responder() -> tuple[Far, str]:
    """At the provider's core."""
    return Far("core", 1_000 * MB, 1_000 * MB), ""


def hall_responder() -> tuple[Far, str]:
    """On the hall's own line: it takes in 200 and sends 80."""
    return Far(HALL, 80 * MB, 200 * MB, _quiet(HALL)), HALL


def world(responder: tuple[Far, str], rng: Random, days: int) -> World:
    """The province with one responder."""
    far, stands = responder
    terms = ContractTerms(download=200 * MB, upload=80 * MB)
    office = ServiceHours()
    lines = tuple(
        Line(site, "fibre", site, terms, () if site == stands else (far.id,), _quiet(site), None, office)
        for site in SITES
    )
    away = {}
    for site in SITES:
        spans, now = [], START
        while now < START + days * DAY:
            now += round(rng.expovariate(1 / AWAY_AFTER))
            length = round(rng.expovariate(1 / AWAY_FOR)) + 10 * MINUTE
            spans.append(Span(now, now + length))
            now += length
        away[site] = spans
    able = (far.down >= 1.1 * terms.download, far.up >= 1.1 * terms.upload)
    return World(lines, {far.id: far}, Rules(), stands, able, away)

"""What slots are given by: the rules of the inventory with their times in microseconds, months, and hours of days."""

import datetime as dt
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from collector.inventory.calendar import instant, microseconds
from collector.inventory.link_measuring import Slots
from collector.inventory.model import ServiceHours
from collector.inventory.parts import DAYS
from collector.slots.spans import Span, joined
from wire.clock import DAY, HOUR, MINUTE, SECOND, Instant
from wire.settings import ContractTerms

TO_BEGIN = 30 * SECOND
"""Within this time after a slot's start its test must begin."""
LENGTH = 60 * SECOND
"""What a slot takes of link and responder: the time to begin, and a test that began at its last moment."""
TEST = LENGTH - TO_BEGIN
LEAD = 75 * SECOND
"""A slot is granted so long before it begins; agents fetch their orders every 5 s (setting, at most 60 s)."""
MARGIN = 60 * SECOND
"""Kept clear before and after quiet time, for the error of clocks."""
HEADROOM = 1.1
"""A lease allows so much over the contract: providers shape a few per cent above it, and a contract that counts TCP
payload is 3.6 % more at the IP layer."""
BAD = 0.95
"""A valid sample below this share of the contract is retested before anyone hears of it: it is what a light check
proves, while a test errs by 1 % at most and 70 % (NBTC) is a verdict over a month, not one over a sample."""
DIRECTIONS = ("down", "up")
AT_IP = {"ip": 1.0, "ethernet": 1500 / 1518, "tcp": 1500 / 1448}
"""Rate at the IP layer for one at the contract's layer: full packets of 1500 bytes, 18 bytes of Ethernet around them
(IEEE 802.3 clause 3), 52 bytes of IPv4 and TCP headers with time stamps (RFC 7323) within."""


class Rules(NamedTuple):
    """``slots`` of the inventory."""

    samples: int = 60
    busy_samples: int = 30
    busy_from: dt.time = dt.time(17)
    busy_to: dt.time = dt.time(21)
    least_gap: int = 36 * MINUTE
    longest_gap: int = DAY
    budget: int = 10_000_000_000
    """Bytes of a site and month."""
    office_hours: bool = True
    zone: str = "Asia/Bangkok"


class Far(NamedTuple):
    """A responder. Bits per second at the IP layer."""

    id: str
    down: int
    """What it can send to districts in all."""
    up: int
    quiet: tuple[Span, ...] = ()
    """Quiet time of the site on whose line it stands, without margin."""


class Line(NamedTuple):
    """A link with what bounds its slots."""

    site: str
    link: str
    agent: str
    """Who measures it; empty = nobody yet."""
    terms: ContractTerms | None
    responders: tuple[str, ...] = ()
    """Ids, the preferred one first."""
    quiet: tuple[Span, ...] = ()
    service: ServiceHours | None = None
    """When the site's equipment is on; ``None`` = day and night."""
    office: ServiceHours | None = None
    """When people work there, who should not be disturbed."""

    @property
    def place(self) -> tuple[str, str]:
        """Site and link."""
        return (self.site, self.link)


class Wanted(NamedTuple):
    """Rates of a test, bits per second at the IP layer."""

    down: int
    up: int


def rules_of(slots: Slots, zone: str) -> Rules:
    """From the inventory."""
    return Rules(
        samples=slots.samples,
        busy_samples=slots.busy_samples,
        busy_from=slots.busy_from,
        busy_to=slots.busy_to,
        least_gap=microseconds(slots.least_gap),
        longest_gap=microseconds(slots.longest_gap),
        budget=round(slots.budget_gb * 1e9),
        office_hours=slots.office_hours,
        zone=zone,
    )


def month_of(now: Instant, zone: str) -> Span:
    """The month in which a moment lies, by local midnight."""
    day = dt.datetime.fromtimestamp(now / SECOND, ZoneInfo(zone)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None
    )
    following = (day + dt.timedelta(days=32)).replace(day=1)
    return Span(instant(day, zone), instant(following, zone))


def hours(span: Span, opens: dt.time, closes: dt.time, zone: str, days: tuple[str, ...] = DAYS) -> list[Span]:
    """The hours of each day that lie within ``span``; closing at or before opening means past midnight."""
    first = dt.datetime.fromtimestamp(span.start / SECOND, ZoneInfo(zone)).date() - dt.timedelta(days=1)
    found = []
    for number in range((span.end - span.start) // DAY + 3):
        day = first + dt.timedelta(days=number)
        if DAYS[day.weekday()] not in days:
            continue
        start = instant(dt.datetime.combine(day, opens), zone)
        end = instant(dt.datetime.combine(day, closes), zone)
        end += DAY if closes <= opens else 0
        found.append((max(start, span.start), min(end, span.end)))
    return joined(found)


def busy(span: Span, rules: Rules) -> list[Span]:
    """The busy hours within ``span``."""
    return hours(span, rules.busy_from, rules.busy_to, rules.zone)


@lru_cache(maxsize=32_768)
def in_busy_hours(at: Instant, rules: Rules) -> bool:
    """Whether a moment lies in the busy hours."""
    return any(one.start <= at < one.end for one in busy(Span(at - HOUR, at + HOUR), rules))


def of_service(span: Span, service: ServiceHours | None, zone: str) -> list[Span]:
    """When equipment is on, or people are in, within ``span``."""
    if service is None:
        return [span]
    return hours(span, service.opens, service.closes, zone, tuple(service.days))


def wanted(terms: ContractTerms) -> Wanted:
    """What a test of this contract may use."""
    return Wanted(round(terms.download * HEADROOM), round(terms.upload * HEADROOM))


def reserved(terms: ContractTerms, far: Far) -> Wanted:
    """What it takes of a responder: all of it where the test alone wants more, so that it runs alone."""
    need = wanted(terms)
    return Wanted(min(need.down, far.down), min(need.up, far.up))


def provable(terms: ContractTerms, far: Far) -> tuple[str, ...]:
    """The directions in which this responder can prove the contract: a rate that reached it needs no headroom."""
    factor = AT_IP[terms.layer]
    asked = (("down", far.down, terms.download), ("up", far.up, terms.upload))
    return tuple(name for name, has, agreed in asked if has >= agreed * factor)

"""``/api/v1/slots``: the month's sampling of every link, for machines."""

import datetime as dt
import re

import msgspec
from aiohttp import web

from collector.gate import READ, Route
from collector.inventory.calendar import instant
from collector.localtime import BUDDHIST_ERA, bangkok
from collector.problems import Refused
from collector.services import Services
from collector.slots import keeping
from collector.slots.book import Book
from collector.slots.forecast import Outlook, forecast
from collector.slots.held import Doubt, Held, Kind, State
from collector.slots.rules import BAD, month_of
from collector.slots.spans import Span
from wire.clock import SECOND, Instant
from wire.settings import Problem

_MONTH = re.compile(r"(\d{4})-(\d{2})")


class WhyOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the samples will not suffice."""

    why: str
    detail: str = ""


class DirectionOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """Samples of one direction of a link."""

    direction: str
    tests: int
    valid: int
    busy: int
    expected: int
    """Valid samples at the month's end."""
    expected_busy: int
    sufficient: bool
    why: list[WhyOf] = []


class ResultOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """One direction of a test. Rates are bits per second at the contract's layer."""

    outcome: str
    valid: bool
    rate: float
    contract: float
    reason: str = ""
    limits: list[str] = []
    bytes: int = 0
    doubt: Doubt = Doubt.NONE
    """Of a bad result: whether a second test agreed."""


class SlotOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """One slot. Times are UTC seconds."""

    id: str
    kind: Kind
    state: State
    responder: str
    start: float
    end: float
    measured: float | None = None
    reason: str = ""
    detail: str = ""
    retests: str = ""
    """The slot whose bad result it checks."""
    doubt: Doubt = Doubt.NONE
    results: dict[str, ResultOf] = {}


class LinkOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """One link."""

    site: str
    link: str
    bytes: int
    directions: list[DirectionOf]
    slots: list[SlotOf] = []
    """Only in the answer for one site."""


class SamplingRules(msgspec.Struct, frozen=True):
    """What was asked for: the section ``slots`` of the inventory, and below which share of the contract a result is
    retested."""

    samples: int
    busy_samples: int
    busy_from: str
    busy_to: str
    least_gap: float
    """Seconds."""
    longest_gap: float
    budget: int
    """Bytes of a site and month."""
    retest_below: float


class Sampling(msgspec.Struct, frozen=True):
    """Answer of ``/api/v1/slots``."""

    month: str
    start: float
    end: float
    """UTC seconds."""
    rules: SamplingRules
    links: list[LinkOf]


def routes(_services: Services) -> list[Route]:
    """The route of this module."""
    return [
        Route(
            "GET",
            "/api/v1/slots",
            READ,
            get_slots,
            "Throughput tests of a month: slots granted, samples so far and expected, and why they will not suffice.",
            answers={200: Sampling, 400: Problem, 401: Problem, 403: Problem, 404: Problem},
            query={
                "site": "one site alone, with its slots one by one",
                "month": "as 2026-11, or of the Buddhist era 2569-11; the present one if not given",
            },
        )
    ]


async def get_slots(request: web.Request, services: Services) -> web.StreamResponse:
    """Of all links, or of one site's with its slots."""
    now = services.now()
    here = services.slots.world(now)
    month = month_asked(request.query.get("month", ""), now, here.rules.zone)
    site = request.query.get("site", "")
    if site and site not in services.inventory.sites:
        known = ", ".join(services.inventory.sites)
        raise Refused(404, "No such site", f"site: found {site[:80]!r}, expected one of {known}", field="site")
    book = services.slots.book
    if month != month_of(now, here.rules.zone):
        rows = await services.store.read(lambda connection: keeping.month(connection, month.start, month.end, site))
        book = Book(rows)
    links = [
        LinkOf(
            line.site,
            line.link,
            sum(one.bytes for one in book.of(line.place, month)),
            [_direction(one) for one in forecast(book, line, here.fars, here.rules, month, now)],
            [_slot(one) for one in book.of(line.place, month)] if site else [],
        )
        for line in here.lines
        if site in ("", line.site)
    ]
    rules = here.rules
    told = SamplingRules(
        rules.samples, rules.busy_samples, f"{rules.busy_from:%H:%M}", f"{rules.busy_to:%H:%M}",
        rules.least_gap / SECOND, rules.longest_gap / SECOND, rules.budget, BAD,
    )  # fmt: skip
    name = f"{bangkok(month.start):%Y-%m}"
    found = Sampling(name, month.start / SECOND, month.end / SECOND, told, links)
    return web.Response(
        body=msgspec.json.encode(found), content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def month_asked(text: str, now: Instant, zone: str) -> Span:
    """The month that is asked for, which must have begun; raises :class:`Refused` 400."""
    present = month_of(now, zone)
    if not text:
        return present
    match = _MONTH.fullmatch(text)
    year, number = (int(match[1]), int(match[2])) if match else (0, 0)
    year -= BUDDHIST_ERA if year > 2400 else 0
    if not 2000 <= year <= 9000 or not 1 <= number <= 12:
        raise Refused(400, "No such month", f"month: found {text[:20]!r}, expected one such as 2026-11", field="month")
    second = dt.datetime.combine(dt.date(year, number, 2), dt.time())
    found = month_of(instant(second, zone), zone)
    if found.start > present.start:
        raise Refused(400, "No such month yet", f"month: found {text!r}, expected one that has begun", field="month")
    return found


def _direction(one: Outlook) -> DirectionOf:
    whys = [WhyOf(why.value, detail) for why, detail in one.why]
    return DirectionOf(
        one.direction, one.tests, one.valid, one.busy, one.expected, one.expected_busy, one.sufficient, whys
    )


def _slot(one: Held) -> SlotOf:
    return SlotOf(
        one.id, one.kind, one.state, one.responder, one.start / SECOND, one.ends / SECOND,
        one.at / SECOND if one.at is not None else None, one.reason, one.detail, one.of, one.doubt,
        {
            name: ResultOf(
                half.outcome, half.valid, half.rate, half.contract, half.reason, list(half.limits), half.bytes,
                one.doubt_of(name),
            )
            for name, half in one.results.items()
        },
    )  # fmt: skip

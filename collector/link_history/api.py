"""``/api/v1/outages`` and a link's history for machines. Times are UTC seconds, lengths seconds."""

import msgspec
from aiohttp import web

from collector.gate import READ, Route
from collector.link_history.domains import RULE
from collector.link_history.histories import Told, asked_of
from collector.link_history.reading import Link, links
from collector.link_history.shapes import Interval, Kind, Rules, Why
from collector.link_history.spans import span_of
from collector.problems import Refused
from collector.services import Services
from wire.clock import SECOND
from wire.settings import Problem


class RulesOf(msgspec.Struct, frozen=True):
    """What counts as an outage, and by which rule of the collector its domain was judged."""

    counts_from_seconds: float
    joins_below_seconds: float
    domain_rule: int


class OutageOf(msgspec.Struct, frozen=True):
    """One outage. Every one is listed; ``counted`` says whether it adds one to the number of outages."""

    site: str
    link: str
    start: float
    end: float
    """The last moment for which it is proven."""
    seconds: float
    error_seconds: float
    """Bound on the error of start and end."""
    domain: str
    """The collector's judgement."""
    agent_domain: str
    rule: int
    rule_reason: str
    together: int
    """Other links of the provider that fell together with it, of ``watched``."""
    watched: int
    counted: bool
    joins: bool
    """Whether it counts as one with the outage before it."""
    after: str
    """``up``: it was over then. ``unmeasured`` or ``silent``: nobody knows. ``lasting``: it goes on."""
    provisional: bool
    """Whether its end is the agent's newest word, which no window proves yet."""
    evidence: list[dict[str, str]] = []
    """What the agent saw at each change of state."""


class UnmeasuredOf(msgspec.Struct, frozen=True):
    """A time for which nothing is proven."""

    site: str
    link: str
    start: float
    end: float
    why: str


class Outages(msgspec.Struct, frozen=True):
    """Answer of ``/api/v1/outages``."""

    rules: RulesOf
    start: float
    end: float
    outages: list[OutageOf]
    unmeasured: list[UnmeasuredOf]


class IntervalOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stretch of a link's time."""

    start: float
    end: float
    kind: Kind
    state: str = ""
    """Where it was measured: the watcher's word."""
    why: str = ""
    """Where it was not."""
    provisional: bool = False
    error_seconds: float = 0.0
    evidence: dict[str, str] = {}


class History(msgspec.Struct, frozen=True):
    """Answer of ``/api/v1/sites/{site}/links/{link}/history``: intervals without gap or overlap."""

    site: str
    link: str
    rules: RulesOf
    start: float
    end: float
    seconds: dict[str, float]
    """Seconds of each class: they add up to the span."""
    intervals: list[IntervalOf]


def routes(_services: Services) -> list[Route]:
    """The routes of this module."""
    refusals = {400: Problem, 401: Problem, 403: Problem}
    span = {
        "from": "begin of the span, ISO 8601; 30 days before its end if not given. Without an offset: Thai time",
        "to": "end of the span, ISO 8601; now if not given",
    }
    places = {"site": "one site alone", "link": "one link alone; with site"}
    return [
        Route(
            "GET",
            "/api/v1/outages",
            READ,
            get_outages,
            "Outages of links, judged by what every site saw, and the times that nobody measured.",
            answers={200: Outages, 404: Problem, **refusals},
            query={**places, **span},
        ),
        Route(
            "GET",
            "/api/v1/sites/{site}/links/{link}/history",
            READ,
            get_history,
            "The history of one link, in every state and without a gap.",
            answers={200: History, 404: Problem, **refusals},
            query=span,
        ),
    ]


async def get_outages(request: web.Request, services: Services) -> web.StreamResponse:
    """Of all links, or of those asked for; a link that left the inventory keeps its outages."""
    now = services.now()
    start, end = span_of(request.query, now)
    asked = asked_of(services, now)
    site, link = request.query.get("site", ""), request.query.get("link", "")
    known = dict.fromkeys([*asked.providers, *await services.store.read(links)])
    listed = [one for one in known if site in ("", one.site) and link in ("", one.link)]
    if site and not any(one.site == site for one in known) and site not in services.inventory.sites:
        raise Refused(404, "No such site", f"found {site[:80]!r}, expected a site of the inventory", field="site")
    if link and not listed:
        words = f"found {link[:80]!r}, expected a link of the inventory or one that was watched"
        raise Refused(404, "No such link", words, field="link")
    histories, told = await services.store.read(
        lambda connection: services.histories.told(connection, listed, start, end, asked)
    )
    unmeasured = [
        UnmeasuredOf(one.site, one.link, part.start / SECOND, part.end / SECOND, _why(part))
        for one, history in histories.items()
        for part in history
        if part.kind in (Kind.UNMEASURED, Kind.SILENT)
    ]
    unmeasured.sort(key=lambda one: (one.start, one.site, one.link))
    answer = Outages(
        _rules(asked.rules), start / SECOND, min(end, now) / SECOND, [outage_of(one) for one in told], unmeasured
    )
    return _json(answer)


async def get_history(request: web.Request, services: Services) -> web.StreamResponse:
    """Of one link of the inventory, or one that was watched."""
    now = services.now()
    start, end = span_of(request.query, now)
    asked = asked_of(services, now)
    wanted = Link(request.match_info["site"], request.match_info["link"])
    if wanted not in asked.providers and wanted not in await services.store.read(links):
        raise Refused(
            404,
            "No such link",
            f"found {wanted.site[:80]!r} and {wanted.link[:80]!r}, expected a site and its link of the inventory",
            field="link",
        )
    history = await services.store.read(lambda connection: services.histories.of(connection, wanted, start, end, asked))
    seconds = {str(kind): 0.0 for kind in Kind}
    for one in history:
        seconds[one.kind] += one.seconds
    answer = History(
        wanted.site,
        wanted.link,
        _rules(asked.rules),
        start / SECOND,
        max(start, min(end, now)) / SECOND,
        {name: round(value, 6) for name, value in seconds.items()},
        [interval_of(one) for one in history],
    )
    return _json(answer)


def outage_of(one: Told) -> OutageOf:
    """An outage as the API has it."""
    outage, judged = one.outage, one.judged
    return OutageOf(
        site=one.link.site,
        link=one.link.link,
        start=outage.start / SECOND,
        end=outage.end / SECOND,
        seconds=round(outage.seconds, 6),
        error_seconds=outage.error / SECOND,
        domain=judged.domain,
        agent_domain=outage.state,
        rule=judged.rule,
        rule_reason=judged.reason,
        together=judged.together,
        watched=judged.watched,
        counted=outage.counted,
        joins=outage.joins,
        after=outage.after or "lasting",
        provisional=outage.pieces[-1].provisional,
        evidence=[dict(piece.turn.facts) for piece in outage.pieces if piece.turn is not None],
    )


def interval_of(one: Interval) -> IntervalOf:
    """An interval as the API has it."""
    measured = one.kind in (Kind.UP, Kind.DOWN)
    return IntervalOf(
        start=one.start / SECOND,
        end=one.end / SECOND,
        kind=one.kind,
        state=str(one.state) if measured else "",
        why="" if measured else _why(one),
        provisional=one.provisional,
        error_seconds=one.error / SECOND,
        evidence=dict(one.turn.facts) if one.turn is not None else {},
    )


def _why(one: Interval) -> str:
    return "silent" if one.silent else str(one.why or Why.UNDECIDED)


def _rules(rules: Rules) -> RulesOf:
    return RulesOf(rules.counts_from / SECOND, rules.joins_below / SECOND, RULE)


def _json(answer: Outages | History) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer), content_type="application/json", headers={"Cache-Control": "no-store"}
    )

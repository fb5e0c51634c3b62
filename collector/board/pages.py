"""The board's routes: the province, a site, a chart of a day, and the files they need."""

import asyncio
import math
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from collector.board.charts import Point, chart
from collector.board.link_pages import parts_of
from collector.board.render import language_of, page
from collector.board.standing import stands
from collector.board.views import Day, Words, board_rows, facts, fault_lines, groups, main_duration, rival_agents
from collector.gate import ANYONE, PERSON, Route
from collector.inventory import Inventory, Site, occurrences
from collector.inventory.files import contract_on
from collector.link_history.shapes import PROBE, TARGET
from collector.localtime import age_text, bangkok, clock_text, date_text
from collector.picture import Expected, Place, SitePicture, State
from collector.services import Services
from collector.slots.view import parts
from collector.store import Source, query
from collector.words import STATES
from wire.clock import DAY, Instant
from wire.histogram import Histogram, merge
from wire.reasons import Outcome
from wire.settings import AgentSettings, Role

_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}


def routes(_services: Services) -> list[Route]:
    """The routes of this module."""
    html = {200: "text/html"}
    return [
        Route("GET", "/", PERSON, get_province, "The board: every site, what fails and since when.", answers=html),
        Route("GET", "/fragments/board", PERSON, get_board, "The board's table, for its refresh.", answers=html),
        Route("GET", "/sites/{site}", PERSON, get_site, "One site with everything measured there.", answers=html),
        Route(
            "GET", "/fragments/sites/{site}", PERSON, get_site_now, "A site's tables, for their refresh.", answers=html
        ),
        Route(
            "GET",
            "/sites/{site}/day.svg",
            PERSON,
            get_day,
            "Twenty-four hours of one series as a picture.",
            answers={200: "image/svg+xml"},
            query={"probe": "the series' probe", "target": "its target", "platform": "its platform, if it has one"},
        ),
        Route(
            "GET",
            "/static/{name:[-a-z0-9./]+}",
            ANYONE,
            get_static,
            "Style, script and typeface.",
            answers={200: "*/*"},
        ),
    ]


"""Static files name no site and no person, so nobody is asked who they are."""


def words_for(inventory: Inventory, language: str) -> Words:
    """The words of a language with the province's names of its platforms."""
    return Words(language, {platform.id: platform.name for platform in inventory.platforms.values()})


def picture_of(services: Services, site: str, now: Instant) -> SitePicture:
    """A site as it is now, held against what its agents are told to measure."""
    seen = services.picture.site(site, now)
    if not seen.agents or site not in services.inventory.sites:
        return seen
    expected = {(agent.source.link, agent.source.role): _expected(services, agent.source, now) for agent in seen.agents}
    return services.picture.site(site, now, unwatched(services.inventory.sites[site], expected) | expected)


def unwatched(site: Site, expected: Iterable[Place]) -> dict[Place, tuple[Expected, ...]]:
    """The links that nobody watches at a site where another is: it is not well as long as nothing is known of them."""
    watching = {link for link, role in expected if role != Role.ROOM}
    unseen = [link.id for link in site.links if watching and link.id not in watching]
    return {(link, Role.LINK.value): (Expected(PROBE, TARGET, ""),) for link in unseen}


def _expected(services: Services, source: Source, now: Instant) -> tuple[Expected, ...]:
    body = services.settings_of(source, now).body
    return _assigned(body) if body else ()  # its place is no longer in the inventory: nothing is expected of it


@lru_cache(maxsize=1024)
def _assigned(body: bytes) -> tuple[Expected, ...]:
    assigned = msgspec.json.decode(body, type=AgentSettings).assignments
    return tuple(Expected(one.probe, one.target, one.platform) for one in assigned)


async def get_province(request: web.Request, services: Services) -> web.StreamResponse:
    """The whole page."""
    now, language = services.now(), await language_of(request)
    return page(request, "province.html", language, now, **_board(services, language, now))


async def get_board(request: web.Request, services: Services) -> web.StreamResponse:
    """What htmx puts in place every five seconds."""
    now, language = services.now(), await language_of(request)
    return page(request, "board.html", language, now, **_board(services, language, now))


def _board(services: Services, language: str, now: Instant) -> dict[str, Any]:
    inventory = services.inventory
    words = words_for(inventory, language)
    listed = [(site.name.text(language), picture_of(services, site.id, now)) for site in inventory.sites.values()]
    strays = [site for site in services.picture.sites() if site not in inventory.sites]
    listed.extend((site, picture_of(services, site, now)) for site in strays)
    rows, tally = board_rows(listed, words, now)
    return {
        "province": inventory.province.name.text(language),
        "rows": rows,
        "tally": tally,
        "meeting": _next_meeting(inventory, language, now),
    }


def _next_meeting(inventory: Inventory, language: str, now: Instant) -> dict[str, str] | None:
    coming = occurrences(inventory.meetings.values(), inventory.province.time_zone)
    first = next((one for one in coming if one.times.end > now), None)
    if first is None:
        return None
    start = first.times.start
    when = f"{date_text(start, language, weekday=True)} {clock_text(start, language)}"
    return {"title": first.meeting.title, "when": when}


async def get_site(request: web.Request, services: Services) -> web.StreamResponse:
    """The page of a site; one that is neither listed nor ever heard of is not found."""
    return await _site_page(request, services, "site.html")


async def get_site_now(request: web.Request, services: Services) -> web.StreamResponse:
    """What htmx puts in place every ten seconds."""
    return await _site_page(request, services, "site_now.html")


async def _site_page(request: web.Request, services: Services, template: str) -> web.StreamResponse:
    now, language = services.now(), await language_of(request)
    inventory = services.inventory
    site = request.match_info["site"]
    listed = inventory.sites.get(site)
    words = words_for(inventory, language)
    province = inventory.province.name.text(language)
    if listed is None and site not in services.picture.sites():
        heading, detail = words("No such page"), words("The address is wrong, or the site is not in the inventory.")
        return page(request, "message.html", language, now, 404, province=province, heading=heading, detail=detail)
    picture = picture_of(services, site, now)
    days = await services.store.read(lambda connection: _days(connection, site, now))
    charts = {
        one: str(request.rel_url.with_path(f"/sites/{site}/day.svg").with_query(_chart_query(one, language)))
        for one in (Expected(series.key.probe, series.key.target, series.key.platform) for series in picture.series)
    }
    links = await parts_of(services, site, words, now)
    shown = picture.failing if picture.state is not State.SILENT else ()
    places = stands(services.vantages.of(site), picture, words, now)
    return page(
        request,
        template,
        language,
        now,
        province=province,
        site=site,
        name=listed.name.text(language) if listed else site,
        state=picture.state,
        word=words(STATES[picture.state]),
        heard=age_text(now - picture.heard, language) if picture.heard is not None else "",
        wrong=fault_lines(shown, words, now),
        doubts=[words.doubt(*one) for one in picture.doubts] if picture.state is State.UNKNOWN else [],
        rivals=rival_agents(picture, now),
        facts=[*facts(picture, words, _about(listed, inventory, words, now), now), *places.facts],
        unconfirmed=places.unconfirmed,
        elsewhere=places.elsewhere,
        links=links,
        slots=parts(services.slots.book, services.slots.world(now), site, words, now),
        groups=groups(picture, days, charts, words, now),
    )


def _chart_query(one: Expected, language: str) -> dict[str, str]:
    asked = {"probe": one.probe, "target": one.target, "lang": language}
    return asked | ({"platform": one.platform} if one.platform else {})


def _about(site: Site | None, inventory: Inventory, words: Words, now: Instant) -> list[tuple[str, str]]:
    if site is None:
        return []
    found = []
    for link in site.links:
        found.append((words("Circuit"), f"{link.circuit} ({link.provider})"))
        contract = contract_on(link, bangkok(now).date())
        if contract is not None:
            speeds = {"down": contract.download_mbps, "up": contract.upload_mbps}
            found.append((words("Contract"), words("download %(down)g and upload %(up)g Mbps") % speeds))
    for name in site.contacts[:2]:
        contact = inventory.contacts[name]
        found.append((words("Contact"), " ".join((contact.name.text(words.language), contact.phone)).strip()))
    return found


def _days(connection: Connection, site: str, now: Instant) -> dict[Expected, Day]:
    """The day in figures: past hours from their roll-ups, what is not rolled up yet from single windows."""
    numbers = {one.number: one.key for one in query.series(connection, sites=[site])}
    found: dict[Expected, Day] = {}
    for number, hours in query.hours(connection, numbers, now - DAY, now).items():
        key = numbers[number]
        rest = query.windows(connection, [number], hours[-1].end + 1 if hours else now - DAY, now)[number]
        durations = [main_duration(key.probe, hour.durations) for hour in hours]
        durations += [main_duration(key.probe, _at(rest, place)) for place in range(len(rest))]
        found[Expected(key.probe, key.target, key.platform)] = Day(
            merge(one for one in durations if one is not None),
            sum(hour.windows for hour in hours) + len(rest),
            sum(hour.outcomes.get(Outcome.FAILED, 0) for hour in hours) + rest.outcome.count(Outcome.FAILED),
        )
    return found


def _at(columns: query.Columns, place: int) -> dict[str, Histogram]:
    return {name: one for name, column in columns.durations.items() if (one := column[place]) is not None}


async def get_day(request: web.Request, services: Services) -> web.StreamResponse:
    """The picture of one series' day, drawn from its single windows."""
    now, language = services.now(), await language_of(request)
    about = Expected(*(request.query.get(name, "") for name in ("probe", "target", "platform")))
    site = request.match_info["site"]
    points = await services.store.read(lambda connection: _points(connection, site, about, now))
    words = words_for(services.inventory, language)
    title = f"{words.target(*about)}, {words('Last 24 hours')}"
    text = await asyncio.to_thread(
        chart,
        points,
        now - DAY,
        title,
        "ms",
        lambda instant: bangkok(instant).strftime("%H.00" if language == "th" else "%H:00"),
    )
    return web.Response(text=text, content_type="image/svg+xml", headers={"Cache-Control": "private, max-age=20"})


def _points(connection: Connection, site: str, about: Expected, now: Instant) -> list[Point]:
    numbers = [
        one.number
        for one in query.series(
            connection, sites=[site], probes=[about.probe], targets=[about.target], platforms=[about.platform]
        )
    ]
    found: list[Point] = []
    for columns in query.windows(connection, numbers, now - DAY, now).values():
        for place, end in enumerate(columns.end):
            histogram = main_duration(about.probe, _at(columns, place))
            middle = high = None
            if histogram is not None and histogram.count:
                middle, high = histogram.quantile(0.5), histogram.quantile(0.95)
            found.append(Point(end, columns.outcome[place], _ms(middle), _ms(high)))
    return found


def _ms(nanoseconds: float | None) -> float | None:
    return nanoseconds / 1e6 if nanoseconds is not None and math.isfinite(nanoseconds) else None


async def get_static(request: web.Request, _services: Services) -> web.StreamResponse:
    """A file of the board's own; anything else is not found. Names are looked up, never joined to a path."""
    found = (await asyncio.to_thread(_static)).get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    body, kind = found
    return web.Response(body=body, content_type=kind, headers={"Cache-Control": "max-age=86400"})


@cache
def _static() -> dict[str, tuple[bytes, str]]:
    folder = resources.files("collector.board") / "static"
    files = {one.name: one for one in folder.iterdir() if one.is_file()}
    files |= {f"fonts/{one.name}": one for one in (folder / "fonts").iterdir()}
    return {name: (one.read_bytes(), _TYPES["." + name.rpartition(".")[2]]) for name, one in files.items()}

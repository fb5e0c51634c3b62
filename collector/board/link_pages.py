"""A link's history on the board: its part of a site's page, and a page for each month."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from markupsafe import Markup
from sqlalchemy import Connection

from collector.board.link_views import LinkView, link_view
from collector.board.render import language_of, page
from collector.board.timeline import timeline
from collector.board.views import Words
from collector.gate import PERSON, Route
from collector.link_history.derive import clipped
from collector.link_history.histories import Told, asked_of
from collector.link_history.reading import Link, links
from collector.link_history.shapes import Interval
from collector.localtime import BANGKOK, bangkok, date_text, month_text
from collector.services import Services
from wire.clock import DAY, HOUR, SECOND, Instant

SPAN = 30 * DAY
"""What a site's page looks back on."""
OLD_ENOUGH = 60 * SECOND
"""How old the other links' histories may be beside which a page judges outages; those of its own link are never old."""


@dataclass(frozen=True, slots=True)
class Part:
    """One link on its site's page."""

    link: str
    name: str
    view: LinkView
    strip: Markup


def routes(_services: Services) -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/sites/{site}/links/{link}",
            PERSON,
            get_month,
            "A month of one link: its state day by day, outages, and times that nobody measured.",
            answers={200: "text/html"},
            query={"month": "the month, such as 2026-11; the present one if not given"},
        )
    ]


async def parts_of(services: Services, site: str, words: Words, now: Instant) -> list[Part]:
    """The links of a site that were ever watched, over the last 30 days."""
    asked = asked_of(services, now)
    start = now - SPAN

    def read(connection: Connection) -> tuple[dict[Link, list[Interval]], list[Told]]:
        wanted = [one for one in links(connection) if one.site == site]
        return services.histories.told(connection, wanted, start, now, asked, OLD_ENOUGH)

    histories, told = await services.store.read(read)
    return [
        Part(
            link.link,
            f"{words('Link')} {link.link}" if len(histories) > 1 else words("Link"),
            link_view(link.link, history, [one for one in told if one.link == link], asked.rules, words, now),
            _day_strip(history, now - DAY, now, words, every=4),
        )
        for link, history in histories.items()
    ]


def _day_strip(history: list[Interval], start: Instant, end: Instant, words: Words, *, every: int) -> Markup:
    """24 hours, with a label every so many."""
    first = -(-start // HOUR) * HOUR
    ticks = [
        (moment, bangkok(moment).strftime("%H.00" if words.language == "th" else "%H:00"))
        for moment in range(first, end + 1, HOUR)
        if bangkok(moment).hour % every == 0
    ]
    title = f"{words('Link')}, {words('Last 24 hours')}"
    return Markup(timeline(clipped(history, start, end), start, end, title, ticks))  # noqa: S704 - drawn from numbers


async def get_month(request: web.Request, services: Services) -> web.StreamResponse:
    """One month of one link."""
    now, language = services.now(), await language_of(request)
    inventory = services.inventory
    words = Words(language, {platform.id: platform.name for platform in inventory.platforms.values()})
    province = inventory.province.name.text(language)
    link = Link(request.match_info["site"], request.match_info["link"])
    asked = asked_of(services, now)
    month = month_of(request.query.get("month", ""), now)
    known = link in asked.providers or link in await services.store.read(links)
    if month is None or not known:
        heading, detail = words("No such page"), words("The address is wrong, or the site is not in the inventory.")
        return page(request, "message.html", language, now, 404, province=province, heading=heading, detail=detail)
    start, end = _instant(month), _instant(_next(month))
    histories, told = await services.store.read(
        lambda connection: services.histories.told(connection, [link], start, end, asked, OLD_ENOUGH)
    )
    listed = inventory.sites.get(link.site)
    return page(
        request,
        "link.html",
        language,
        now,
        province=province,
        site=link.site,
        name=listed.name.text(language) if listed else link.site,
        month=month_text(start, language),
        view=link_view(link.link, histories[link], told, asked.rules, words, now),
        days=_days(histories[link], start, min(end, now), words),
        **_around(month, now),
    )


def _days(history: list[Interval], start: Instant, end: Instant, words: Words) -> list[tuple[str, Markup]]:
    """A strip for each day, the newest first."""
    found = []
    for low in range(start, end, DAY):
        ticks = [(low + hour * HOUR, f"{hour:02d}") for hour in (0, 6, 12, 18, 24)]
        label = date_text(low, words.language)
        strip = timeline(clipped(history, low, low + DAY), low, low + DAY, label, ticks)
        found.append((label, Markup(strip)))  # noqa: S704 - drawn from numbers
    return found[::-1]


def _around(month: dt.date, now: Instant) -> dict[str, Any]:
    earlier = (month - dt.timedelta(days=1)).replace(day=1)
    later = _next(month)
    return {
        "earlier": earlier.strftime("%Y-%m") if _instant(earlier) > 0 else "",
        "later": later.strftime("%Y-%m") if _instant(later) <= now else "",
    }


def month_of(text: str, now: Instant) -> dt.date | None:
    """``2026-11`` as its first day; empty is the present month; ``None`` where it is no month, or one to come."""
    if not text:
        return bangkok(now).date().replace(day=1)
    try:
        found = dt.datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007 - a month has no time
    except ValueError:
        return None
    return found if found.year >= 2000 and _instant(found) <= now else None


def _next(month: dt.date) -> dt.date:
    return (month + dt.timedelta(days=32)).replace(day=1)


def _instant(day: dt.date) -> Instant:
    return round(dt.datetime.combine(day, dt.time(), BANGKOK).timestamp() * SECOND)

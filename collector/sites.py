"""``/api/v1/sites``: the picture for machines, with the same words of state that the board shows."""

from typing import Any

import msgspec
from aiohttp import web

from collector.board.pages import picture_of
from collector.gate import READ, Route
from collector.inventory import Site
from collector.picture import Doubt, Expected, SeriesNow, SitePicture, State
from collector.problems import Refused
from collector.services import Services
from wire.clock import SECOND, Instant
from wire.reasons import Outcome, Reason
from wire.settings import Problem


class SeriesState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest result of one series. Times are UTC seconds."""

    probe: str
    target: str
    outcome: Outcome
    since: float
    end: float
    stale: bool
    platform: str = ""
    reason: Reason | None = None
    counts: dict[str, int] = {}
    values: dict[str, float] = {}
    median_seconds: dict[str, float] = {}
    """Median of each duration of the window, in seconds."""


class DoubtOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that keeps a site from being confirmed."""

    doubt: Doubt
    probe: str = ""
    target: str = ""
    platform: str = ""


class SiteState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One site now. It is the state of its measurements and no verdict for a meeting."""

    id: str
    name: dict[str, str]
    state: State
    heard: float | None
    """When an agent of the site posted last, UTC seconds; ``null`` = never."""
    failing: list[SeriesState] = []
    doubts: list[DoubtOf] = []
    series: list[SeriesState] = []
    """Only in the answer for one site."""


class SiteList(msgspec.Struct, frozen=True):
    """Answer of ``/api/v1/sites``."""

    province: str
    now: float
    """UTC seconds."""
    sites: list[SiteState]


def routes(_services: Services) -> list[Route]:
    """The routes of this module."""
    refusals: dict[int, Any] = {401: Problem, 403: Problem}
    return [
        Route("GET", "/api/v1/sites", READ, get_sites, "Every site, now.", answers={200: SiteList, **refusals}),
        Route(
            "GET",
            "/api/v1/sites/{site}",
            READ,
            get_site,
            "One site, now, with every series.",
            answers={200: SiteState, 404: Problem, **refusals},
        ),
    ]


async def get_sites(_request: web.Request, services: Services) -> web.StreamResponse:
    """All sites in the order of the inventory."""
    now = services.now()
    sites = [_state(one, picture_of(services, one.id, now), now) for one in services.inventory.sites.values()]
    return _json(SiteList(services.inventory.province.id, now / SECOND, sites))


async def get_site(request: web.Request, services: Services) -> web.StreamResponse:
    """One site of the inventory."""
    wanted = request.match_info["site"]
    site = services.inventory.sites.get(wanted)
    if site is None:
        raise Refused(404, "No such site", f"found {wanted[:80]!r}, expected a site of the inventory", field="site")
    now = services.now()
    picture = picture_of(services, site.id, now)
    full = msgspec.structs.replace(_state(site, picture, now), series=[_series(one, now) for one in picture.series])
    return _json(full)


def _state(site: Site, picture: SitePicture, now: Instant) -> SiteState:
    return SiteState(
        id=site.id,
        name={"th": site.name.th, "en": site.name.en},
        state=picture.state,
        heard=picture.heard / SECOND if picture.heard is not None else None,
        failing=[_series(one, now) for one in picture.failing],
        doubts=[_doubt(*one) for one in picture.doubts],
    )


def _doubt(doubt: Doubt, about: Expected) -> DoubtOf:
    return DoubtOf(doubt, about.probe, about.target, about.platform)


def _series(one: SeriesNow, now: Instant) -> SeriesState:
    window = one.window
    medians = {name: histogram.quantile(0.5) for name, histogram in window.durations.items() if histogram.count}
    return SeriesState(
        probe=one.key.probe,
        target=one.key.target,
        platform=one.key.platform,
        outcome=window.outcome,
        reason=window.reason,
        since=one.since / SECOND,
        end=one.end / SECOND,
        stale=one.stale(now),
        counts=window.counts,
        values=window.values,
        median_seconds={
            name: value / 1e9 for name, value in medians.items() if value is not None and value != float("inf")
        },
    )


def _json(answer: SiteList | SiteState) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer), content_type="application/json", headers={"Cache-Control": "no-store"}
    )

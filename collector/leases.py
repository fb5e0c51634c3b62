"""``POST /api/v1/leases``: an agent asks for the right to use a responder, just before it does."""

import asyncio
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from collector.body import read_json_body
from collector.gate import AGENT, PRINCIPAL, Route
from collector.lending import NotNow, judge, responder_for
from collector.limits import retry_after
from collector.problems import Refused
from collector.responder.keys import BadKey, ensure_key, key_file
from collector.services import Services
from collector.store import Source
from collector.vantages import standing
from wire.clock import Instant
from wire.lease import Grant, Lease, LeaseRequest, NoLease, Purpose, grant
from wire.settings import Problem

log = structlog.get_logger()

LARGEST = 4 * 1024
SOON = 30.0
"""Seconds after which a responder that does not run may run again."""
LOOK_AGAIN = 60.0
"""Seconds after which an agent that stands elsewhere may ask again."""


def routes(_services: Services) -> list[Route]:
    """The one route of this module."""
    refusals = dict.fromkeys((400, 401, 403, 409, 413, 415, 429, 503), Problem)
    return [
        Route(
            "POST",
            "/api/v1/leases",
            AGENT,
            post_leases,
            "Lend a responder to the agent that asks: a signed token and a key. 409 names in `field` why not now.",
            asks=LeaseRequest,
            answers={200: Grant, **refusals},
            largest=LARGEST,
        )
    ]


async def post_leases(request: web.Request, services: Services) -> web.Response:
    """Judges, signs and answers; the grant is in no log."""
    source = request[PRINCIPAL].source
    assert source is not None  # noqa: S101 - the gate admitted an agent
    body = await read_json_body(request, LARGEST)
    try:
        asked = msgspec.json.decode(body, type=LeaseRequest)
    except msgspec.DecodeError as error:
        raise Refused(400, "Not a request for a lease", str(error), field="body") from error
    try:
        lease = _judged(services, source, asked, services.now())
    except NotNow as no:
        services.tally.leases[no.why.value] += 1
        headers = retry_after(no.retry_after) if no.retry_after else None
        raise Refused(409, "No lease now", no.detail, field=no.why.value, headers=headers) from no
    try:
        secret = await asyncio.to_thread(ensure_key, key_file(Path(services.settings.data), lease.responder))
    except BadKey as bad:
        log.error("no leases for a responder", responder=lease.responder, cause=str(bad))  # noqa: TRY400
        raise Refused(503, "Leases cannot be signed", "the collector's log says why") from bad
    services.tally.leases[lease.purpose.value] += 1
    granted = msgspec.json.encode(grant(lease, secret))
    return web.Response(body=granted, content_type="application/json", headers={"Cache-Control": "no-store"})


def _judged(services: Services, source: Source, asked: LeaseRequest, now: Instant) -> Lease:
    _check_vantage(services, source, now)
    place = responder_for(services.inventory, source.site, asked.responder)
    if services.beside is not None and services.beside.silent(place.id):
        words = f"the responder {place.id} beside this collector does not run now; its log says why"
        raise NotNow(NoLease.NO_RESPONDER, words, SOON)
    if asked.purpose is Purpose.THROUGHPUT:
        return services.slots.judge(source, asked, now)
    lease = judge(services.inventory, source, asked, now)
    services.slots.reserve(lease, now)
    return lease


def _check_vantage(services: Services, source: Source, now: Instant) -> None:
    """What is measured from elsewhere says nothing of the link: no lease for it, where the collector can know."""
    confirmed = services.vantages.confirmed(source.site, source.link)
    if not confirmed:
        return
    here = standing(services.picture.site(source.site, now), now)
    stands = [identity for (link, identity), (agent, _) in here.items() if (link, agent) == (source.link, source.agent)]
    if stands and not set(stands) & set(confirmed):
        words = f"the agent stands at {stands[0]}, which is not confirmed for {source.site} {source.link or 'room'}"
        raise NotNow(NoLease.NOT_ON_THIS_LINK, words, LOOK_AGAIN)

"""``POST /api/v1/read``: Prometheus remote read 1.0 over the store, so that a stock Prometheus answers PromQL on it."""

import asyncio

from aiohttp import hdrs, web

from collector.body import read_body
from collector.gate import READ, Route
from collector.problems import Refused
from collector.prometheus import protocol
from collector.prometheus.protocol import CONTENT_TYPE, BadRequest
from collector.prometheus.reader import Kept, TooMuch, read
from collector.services import Services
from wire.settings import Problem

MOST_AT_ONCE = 2
"""Answers made at the same time: Grafana asks for a dozen at once, and the store's other readers are for pages."""


def routes(_services: Services) -> list[Route]:
    """The route of this module, with the memory that its answers share."""
    kept, turns = Kept(), asyncio.Semaphore(MOST_AT_ONCE)

    async def handler(request: web.Request, services: Services) -> web.StreamResponse:
        return await post_read(request, services, kept, turns)

    return [
        Route(
            "POST",
            "/api/v1/read",
            READ,
            handler,
            "Prometheus remote read 1.0: history as samples.",
            asks=CONTENT_TYPE,
            answers={200: CONTENT_TYPE, **dict.fromkeys((400, 401, 403, 413, 415, 422), Problem)},
            largest=protocol.LARGEST_REQUEST,
        )
    ]


async def post_read(request: web.Request, services: Services, kept: Kept, turns: asyncio.Semaphore) -> web.Response:
    """Decodes, reads on a read connection in a thread, and answers in one piece."""
    body = await _body(request)
    province, now = services.inventory.province.id, services.now()
    try:
        queries = protocol.decode(body)
        async with turns:
            answer = await services.store.read(lambda connection: read(connection, queries, province, now, kept))
    except TooMuch as problem:
        raise Refused(422, "Too much asked at once", str(problem)) from problem
    except BadRequest as problem:
        raise Refused(400, "Not a remote read request", str(problem)) from problem
    headers = {hdrs.CONTENT_TYPE: CONTENT_TYPE, hdrs.CONTENT_ENCODING: "snappy"}
    return web.Response(body=answer, headers=headers)


async def _body(request: web.Request) -> bytes:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "none").strip().lower()
    if encoding != "snappy" or request.content_type != CONTENT_TYPE:
        found = f"{request.content_type[:100]!r} with encoding {encoding[:40]!r}"
        raise Refused(415, "Content type not supported", f"found {found}, expected {CONTENT_TYPE} with encoding snappy")
    return await read_body(request, protocol.LARGEST_REQUEST, as_is="snappy")

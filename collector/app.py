"""The collector's aiohttp application: routes, the gate, and refusals as problem documents."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog
from aiohttp import web

from collector import api, ingest, leases, sites
from collector.board import link_pages, pages
from collector.gate import PRINCIPAL, Route, admit
from collector.link_history import api as link_history
from collector.problems import Refused, problem_response, wants_page
from collector.prometheus import metrics, remote_read
from collector.services import Services
from collector.slots import api as slots
from collector.store import CannotWrite
from wire.settings import Problem

log = structlog.get_logger()

SERVICES = web.AppKey("services", Services)
ROUTES = web.AppKey("routes", dict[web.AbstractRoute, Route])
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}


def create_app(services: Services, routes: Iterable[Route] | None = None) -> web.Application:
    """The application, its routes all of :func:`all_routes` unless a test gives others."""
    # aiohttp would read and unpack bodies itself; ours are read within the route's limit (collector.body).
    app = web.Application(middlewares=[_errors, _gate], client_max_size=0)
    app[SERVICES] = services
    table: dict[web.AbstractRoute, Route] = {}
    for route in all_routes(services) if routes is None else routes:
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        for method in methods:
            table[app.router.add_route(method, route.path, _bound(route, services))] = route
    app[ROUTES] = table
    app.on_response_prepare.append(_secure)
    return app


def all_routes(services: Services | None = None) -> list[Route]:
    """Every route of the product. A module with routes offers ``routes(services)`` and is named here."""
    modules = (ingest, api, leases, sites, slots, link_history, pages, link_pages, remote_read, metrics)
    return [route for module in modules for route in module.routes(services)]


def _bound(route: Route, services: Services) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await route.handler(request, services)

    return handle


@web.middleware
async def _gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    route = request.app[ROUTES].get(request.match_info.route)
    if route is not None:
        request[PRINCIPAL] = await admit(request, route.permission, request.app[SERVICES])
        if (request.content_length or 0) > route.largest:
            raise Refused(
                413, "Too large", f"found {request.content_length} bytes, expected at most {route.largest} bytes"
            )
        return await handler(request)
    if request.match_info.http_exception is not None:
        return await handler(request)  # no such path or method: aiohttp's own answer
    raise Refused(500, "Route without a permission", f"{request.path} declares none, so nobody may use it")


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        request.app[SERVICES].tally.refused(refused.problem.status)
        problem, headers = refused.problem, refused.headers
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        problem = Problem(title=answer.reason, status=answer.status, detail=f"{request.method} {request.path[:200]}")
        headers = {"Allow": answer.headers["Allow"]} if "Allow" in answer.headers else {}
    except CannotWrite as error:
        problem = Problem(title="Store takes nothing now", status=503, detail=f"{error}; try again later")
        headers = {"Retry-After": "10"}
    except ConnectionResetError:
        raise  # the client went away in the middle; aiohttp ends the connection
    except Exception as error:  # noqa: BLE001 - the last resort of every request: logged once, told to no stranger
        tell = partial(log.error, "request failed", method=request.method, path=request.path[:200], exc_info=error)
        await asyncio.to_thread(tell)  # a traceback reads source files
        problem = Problem(title="Collector failed", status=500, detail="the collector's log says why; try again later")
        headers = {}
    return problem_response(problem, headers, for_person=wants_page(request))


async def _secure(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "phrom"

"""The small routes of agents and operators: join, settings, token rotation, the CA, health, the OpenAPI document."""

from functools import lru_cache

import msgspec
from aiohttp import web

from collector.body import read_json_body
from collector.credentials import BadCode, split_code
from collector.gate import AGENT, ANYONE, PRINCIPAL, Route, client_of
from collector.ingest import check_protocol
from collector.openapi import document
from collector.problems import Refused
from collector.services import Services
from wire.settings import AgentSettings, JoinAnswer, JoinRequest, Problem, TokenAnswer

JOIN_LARGEST = 16 * 1024
_JSON = "application/json"
_FOR_AGENTS = {401: Problem, 403: Problem, 429: Problem}


def routes(_services: Services) -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "POST",
            "/api/v1/join",
            ANYONE,
            post_join,
            "Turn a join code into an agent with a token, shown this once.",
            asks=JoinRequest,
            answers={200: JoinAnswer, 400: Problem, 403: Problem, 413: Problem, 415: Problem, 429: Problem},
            largest=JOIN_LARGEST,
        ),
        Route(
            "GET",
            "/api/v1/settings",
            AGENT,
            get_settings,
            "The settings of the agent that asks; the ETag is their revision.",
            answers={200: AgentSettings, 304: None, 404: Problem, **_FOR_AGENTS},
        ),
        Route(
            "POST",
            "/api/v1/token",
            AGENT,
            post_token,
            "A second token for the agent that asks; the present one is valid until the new one is used first.",
            answers={200: TokenAnswer, **_FOR_AGENTS},
        ),
        Route(
            "GET",
            "/api/v1/ca",
            ANYONE,
            get_ca,
            "The certificate of the collector's own authority, to be checked against the pin of a join code.",
            answers={200: "application/x-pem-file", 404: Problem},
        ),
        Route("GET", "/healthz", ANYONE, get_healthz, "The process answers.", answers={200: "text/plain"}),
        Route(
            "GET",
            "/readyz",
            ANYONE,
            get_readyz,
            "The store can be read and written: data is taken.",
            answers={200: "text/plain", 503: Problem},
        ),
        Route(
            "GET",
            "/api/v1/openapi.json",
            ANYONE,
            get_openapi,
            "This document.",
            answers={200: _JSON},
        ),
    ]


async def post_join(request: web.Request, services: Services) -> web.Response:
    """Joins an agent."""
    body = await read_json_body(request, JOIN_LARGEST)
    try:
        asked = msgspec.json.decode(body, type=JoinRequest)
    except msgspec.DecodeError as error:
        raise Refused(400, "Not a join request", str(error), field="body") from error
    check_protocol(asked.protocol)
    _check_pin(asked.code, services)
    address = client_of(request, proxy_declared=services.settings.behind_tls_proxy)
    try:
        joined = await services.accounts.join(asked, address)
    except Refused:
        services.tally.joins["refused"] += 1
        raise
    services.tally.joins["conflict" if joined.conflicts else "superseded" if joined.superseded else "joined"] += 1
    for retired in joined.superseded:
        services.picture.forget(joined.site, retired)
    answer = JoinAnswer(
        agent=joined.agent,
        token=joined.token,
        province=services.inventory.province.id,
        site=joined.site,
        link=joined.link,
        role=joined.role,
    )
    return _json(answer)


def _check_pin(code: str, services: Services) -> None:
    """A code of another collector is told apart, as far as its pin shows it."""
    try:
        pin = split_code(code)[1]
    except BadCode:
        return  # told, and counted against the address, where the code is looked up
    if pin and (services.authority is None or pin != services.authority.pin):
        raise Refused(
            403, "Code of another collector", "the code's part behind the dot is not this collector's key", field="code"
        )


async def get_settings(request: web.Request, services: Services) -> web.Response:
    """The agent's settings, or 304 where it has them."""
    source = request[PRINCIPAL].source
    assert source is not None  # noqa: S101 - the gate admitted an agent
    settings = services.settings_of(source, services.now())
    if settings.missing:
        raise Refused(404, "Place not in the inventory", f"{settings.missing}; put it back, or retire the agent")
    headers = {"ETag": f'"{settings.revision}"', "Cache-Control": "no-cache"}
    known = {tag.strip().removeprefix("W/").strip('"') for tag in request.headers.get("If-None-Match", "").split(",")}
    if settings.revision in known:
        return web.Response(status=304, headers=headers)
    return web.Response(body=settings.body, content_type=_JSON, headers=headers)


async def post_token(request: web.Request, services: Services) -> web.Response:
    """Rotates the agent's token."""
    return _json(TokenAnswer(token=await services.accounts.rotate(request[PRINCIPAL])))


async def get_ca(_request: web.Request, services: Services) -> web.Response:
    """The own CA as PEM."""
    if services.authority is None:
        raise Refused(404, "No own authority", "this collector's certificate comes from elsewhere, or it has none")
    return web.Response(body=services.authority.pem, content_type="application/x-pem-file")


async def get_healthz(_request: web.Request, _services: Services) -> web.Response:
    """The event loop turns."""
    return web.Response(text="ok\n")


async def get_readyz(_request: web.Request, services: Services) -> web.Response:
    """The store answers on both of its sides."""
    why = await services.not_ready()
    if why:
        raise Refused(503, "Not ready", why, headers={"Retry-After": "5"})
    return web.Response(text="ready\n")


async def get_openapi(request: web.Request, _services: Services) -> web.Response:
    """The OpenAPI document of the routes that this application has."""
    from collector.app import ROUTES  # here, because the application imports this module

    return web.Response(body=_described(tuple(dict.fromkeys(request.app[ROUTES].values()))), content_type=_JSON)


@lru_cache(maxsize=1)
def _described(routes: tuple[Route, ...]) -> bytes:
    return msgspec.json.encode(document(routes))


def _json(value: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type=_JSON, headers={"Cache-Control": "no-store"})

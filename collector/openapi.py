"""The OpenAPI 3.1 document, generated from the route table and the types that routes name."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from collector.gate import Permission, Route
from collector.problems import CONTENT_TYPE as PROBLEM_TYPE
from wire.settings import Problem

_REFERENCE = "#/components/schemas/{name}"
_PLACEHOLDER = re.compile(r"{([^}:]+)(:[^}]*)?}")
_TITLES = {
    200: "The answer.",
    202: "Taken.",
    204: "Done.",
    302: "Elsewhere.",
    303: "Elsewhere.",
    304: "Not modified.",
    400: "The request is wrong; field and detail say where.",
    401: "The token is missing or not valid.",
    403: "Not allowed.",
    404: "Not found.",
    406: "Not acceptable.",
    413: "Too large.",
    415: "The content type or encoding is not supported.",
    426: "The protocol is not spoken here.",
    429: "Too many requests; Retry-After says when to come again.",
    503: "Not ready.",
}


def one_line(schema: Any) -> Any:
    """A schema with each description on one line: Python 3.13 takes the indentation off docstrings, 3.11 does not."""
    if isinstance(schema, dict):
        return {
            key: " ".join(value.split()) if key == "description" and isinstance(value, str) else one_line(value)
            for key, value in schema.items()
        }
    return [one_line(value) for value in schema] if isinstance(schema, list) else schema


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document of those routes, in a stable order."""
    listed = sorted(routes, key=lambda route: (route.path, route.method))
    types = [one for route in listed for one in [route.asks, *route.answers.values()] if _is_type(one)]
    schemas, components = msgspec.json.schema_components(dict.fromkeys([*types, Problem]), ref_template=_REFERENCE)
    by_type = dict(zip(dict.fromkeys([*types, Problem]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        path = _PLACEHOLDER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Phrom collector",
            "version": "1",
            "description": "What agents, machines and people may ask of a collector. A refusal is a problem document "
            "(RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {name: one_line(schema) for name, schema in sorted(components.items())},
            "securitySchemes": {
                "agent": {"type": "http", "scheme": "bearer", "description": "an agent's token, from joining"},
                "machine": {"type": "http", "scheme": "bearer", "description": "phrom-collector token add NAME"},
            },
        },
    }


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": "-".join([route.method.lower(), *re.findall(r"[a-z0-9]+", _PLACEHOLDER.sub(r"\1", route.path))]),
        "security": _security(route.permission),
        "x-permission": route.permission.name,
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name, _ in _PLACEHOLDER.findall(route.path)
    ] + [
        {"name": name, "in": "query", "description": words, "schema": {"type": "string"}}
        for name, words in route.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.asks is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.asks, schemas)}
    operation["responses"] = {
        str(status): _answer(status, answer, schemas) for status, answer in sorted(route.answers.items())
    } or {"200": {"description": _TITLES[200]}}
    return operation


def _answer(status: int, answer: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"description": _TITLES.get(status, "The answer.")}
    if answer is not None:
        made["content"] = _content(answer, schemas)
    return made


def _content(kind: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    if isinstance(kind, str):
        return {kind: {}}
    return {PROBLEM_TYPE if kind is Problem else "application/json": {"schema": schemas[kind]}}


def _is_type(kind: Any) -> bool:
    return kind is not None and not isinstance(kind, str)


def _security(permission: Permission) -> list[dict[str, list[str]]]:
    """Alternatives, each sufficient; an empty one means that nothing is asked (or: a person at the machine itself)."""
    found: list[dict[str, list[str]]] = []
    if permission.agent:
        found.append({"agent": []})
    if permission.scope is not None:
        found.append({"machine": [permission.scope.value]})
    if permission.person or permission.anyone:
        found.append({})
    return found


def text() -> str:
    """The document of the product's own routes as it is kept in ``docs/reference/openapi.json``."""
    from collector.app import all_routes  # here, because the application's modules import this one

    return msgspec.json.format(msgspec.json.encode(document(all_routes()), order="sorted"), indent=1).decode() + "\n"

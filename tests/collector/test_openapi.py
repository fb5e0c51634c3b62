"""The OpenAPI document: every route is in it, and it holds together."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from collector.app import all_routes
from collector.openapi import document, text
from tests.support.collecting import collecting

COMMITTED = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def test_the_committed_document_is_what_the_code_makes() -> None:
    assert COMMITTED.read_text("utf-8") == text(), "run python -m docs.generate"


async def test_the_collector_serves_it(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        answer = await collector.ask("GET", "/api/v1/openapi.json")
        assert answer.json == msgspec.json.decode(text())


def test_every_route_is_described_with_its_permission() -> None:
    paths = document(all_routes())["paths"]
    for route in all_routes():
        entry = paths[re.sub(r"{([^}:]+)[^}]*}", r"{\1}", route.path)][route.method.lower()]
        assert entry["summary"].endswith(".")
        assert entry["x-permission"] == route.permission.name
        assert len(entry["responses"]) >= 1
    operations = [one["operationId"] for entry in paths.values() for one in entry.values()]
    assert len(operations) == len(set(operations)) == len(all_routes())


def test_schemas_are_schemas_and_no_reference_dangles() -> None:
    found = document(all_routes())
    schemas = found["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in references(found):
        name = reference.removeprefix("#/components/schemas/")
        assert name in schemas, reference


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for inner in value.values() for one in references(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in references(inner)]
    return []

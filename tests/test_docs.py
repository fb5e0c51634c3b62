"""The reference pages are what the code makes."""

import json
from pathlib import Path

import jsonschema
import pytest

from docs import generate
from docs.drawings import drawings


@pytest.mark.parametrize("name", list(generate.PAGES))
def test_a_reference_page_is_what_the_code_makes(name):
    held = (generate.FOLDER / name).read_text(encoding="utf-8")
    assert held == generate.PAGES[name](), f"docs/reference/{name} is stale: run {generate.REGENERATE}"


def test_the_readme_lists_the_probes_as_they_are():
    held = generate.README.read_text(encoding="utf-8")
    assert held == generate.readme(), f"README.md is stale: run {generate.REGENERATE}"
    assert generate.PROBES_BEGIN in held and generate.PROBES_END in held


def test_no_page_is_left_behind():
    assert {path.name for path in generate.FOLDER.iterdir()} == set(generate.PAGES)


def test_the_schema_is_one_and_holds_for_the_golden_batches():
    schema = json.loads(generate.wire_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    golden = sorted((Path(__file__).parent / "wire" / "golden").glob("*/*.json"))
    assert golden
    for path in golden:
        message = json.loads(path.read_text(encoding="utf-8"))
        definition = generate.definition_of(path.stem)
        jsonschema.validate(message, {**schema, "anyOf": [{"$ref": f"#/$defs/{definition}"}]})
        for observation in message.get("observations", []):
            jsonschema.validate(observation, {**schema, "anyOf": [{"$ref": "#/$defs/Observation"}]})


def test_the_drawings_are_what_the_code_draws():
    for path, text in drawings().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make docs"

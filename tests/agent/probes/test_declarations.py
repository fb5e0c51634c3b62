"""Every probe says in its file all that the table of probes, the schedule and the metrics need to know of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import agent.probes
from agent.probe import Right, known, load
from agent.probes import stun
from agent.probes.dns import inquiry
from agent.probes.http import captive
from wire.measures import MEASURES, Shape
from wire.meetings import Load
from wire.observation import NAME_PATTERN

FOLDER = Path(agent.probes.__file__ or "").parent
SHAPES = {"counts": Shape.COUNT, "values": Shape.VALUE, "durations": Shape.DURATION}
FIRST_ISSUE = {"icmp", "edge", "gateway", "host", "ntp", "dns", "tcp", "tls", "http", "stun", "sip"}


def test_the_probes_of_the_first_issue_are_there():
    assert set(known()) >= FIRST_ISSUE


@pytest.mark.parametrize("name", known())
def test_a_probe_declares_everything(name: str):
    info = load(name)
    assert info.name == name
    assert re.fullmatch(NAME_PATTERN, name)
    assert info.summary.endswith(".")
    assert len(info.summary) <= 120
    assert info.costs
    assert isinstance(info.load, Load)
    assert isinstance(info.needs, Right)
    assert info.every >= 1
    assert 0 <= info.window <= info.every
    assert 1 <= info.limit <= 60
    assert callable(getattr(info.make(), "watch" if info.watcher else "measure", None))


@pytest.mark.parametrize("name", known())
def test_a_probe_s_settings_are_closed_frozen_and_explained(name: str):
    settings = load(name).settings
    assert issubclass(settings, msgspec.Struct)
    assert settings.__struct_config__.forbid_unknown_fields
    assert settings.__struct_config__.frozen
    schema = msgspec.json.schema(settings)["$defs"][settings.__name__]
    unexplained = [field for field, what in schema["properties"].items() if not what.get("description")]
    assert unexplained == []


@pytest.mark.parametrize("name", sorted(FIRST_ISSUE - {"icmp", "edge", "gateway", "host", "ntp"}))
def test_a_probe_of_third_parties_is_slow_by_default(name: str):
    assert load(name).every >= 60


@pytest.mark.parametrize("language", ["en", "th"])
def test_the_security_officer_s_page_names_every_host_that_a_probe_asks_by_itself(language: str):
    page = (FOLDER.parents[1] / f"docs/guide/{language}/what-is-collected.md").read_text(encoding="utf-8")
    asked = [control.partition(":")[0] for control in stun.CONTROLS]
    asked += [control.url.split("/")[2] for control in captive.CONTROLS]
    assert [host for host in [*asked, inquiry.HIJACK_ZONE] if f"`{host}`" not in page] == []


def sources(name: str) -> list[Path]:
    """The files of a probe."""
    folder = FOLDER / name
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [FOLDER / f"{name}.py"]


@pytest.mark.parametrize("name", known())
def test_a_probe_names_only_measures_that_the_table_has(name: str):
    found = [(file.name, *one) for file in sources(name) for one in measures_in(ast.parse(file.read_text()))]
    unknown = [one for one in found if one[2] not in MEASURES or MEASURES[one[2]].shape is not SHAPES[one[1]]]
    assert unknown == []


def test_the_search_for_measures_finds_each_way_of_writing_them():
    text = (
        'ok(counts={"a": 1}); durations["b"] = h; found["values"]["c"] = 1; found = {"durations": {"d": h}}; x["e"] = 1'
    )
    assert sorted(measures_in(ast.parse(text))) == [
        ("counts", "a"),
        ("durations", "b"),
        ("durations", "d"),
        ("values", "c"),
    ]


def measures_in(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Group and name of every measure that a source writes as a literal."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(group), value=ast.Dict() as literal) if group in SHAPES:
                yield from ((group, key) for key in texts(literal.keys))
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value in SHAPES and isinstance(value, ast.Dict):
                        yield from ((str(key.value), inner) for inner in texts(value.keys))
            case ast.Subscript(
                value=ast.Name(id=group) | ast.Attribute(attr=group), slice=ast.Constant(value=str(key))
            ):
                if group in SHAPES:
                    yield group, key
            case ast.Subscript(
                value=ast.Subscript(slice=ast.Constant(value=str(group))), slice=ast.Constant(value=str(key))
            ) if group in SHAPES:
                yield group, key


def texts(keys: list[ast.expr | None]) -> list[str]:
    """The literal texts among a dict's keys."""
    return [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]

"""Dashboards: as generated, by the rules of Grafana's dashboard-linter, each query answered by a real Prometheus."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from collector.prometheus.mapping import FAMILIES
from collector.store import Source
from dashboards import HERE, generated
from dashboards.parts import BLUE, GREY, LINK_CODES, ORANGE, OUTCOME_CODES, SKY, VERMILLION
from tests.support.backfill import SITES, collector, real_now, synthetic_hours, synthetic_link
from tests.support.prometheus import Served, config, prometheus
from wire.clock import HOUR

BOARDS = {path.name: json.loads(text) for path, text in generated().items()}
LINK_STATES = ("up", "lan", "link", "provider", "link_or_provider", "collector", "unknown")
CURRENT = {"phrom_current_heard_timestamp_seconds"}
UNITS = {"short", "percentunit", "s", "bps", "decbytes"}
THAI = re.compile(r"[\u0e00-\u0e7f]")
MACROS = {"$__rate_interval": "5m", "$__range": "6h", "$__interval": "1m"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board: dict[str, Any]) -> list[dict[str, Any]]:
    return list(board["templating"]["list"])


def expressions(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def substituted(expression: str, **chosen: str) -> str:
    for name, value in MACROS.items():
        expression = expression.replace(name, value)
    for name, value in chosen.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, expression
    return expression


ALL = [(name, title, expression) for name, board in BOARDS.items() for title, expression in expressions(board)]
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in panels(board)]
each_panel = pytest.mark.parametrize(("name", "panel"), PANELS, ids=[f"{n}-{p['id']}" for n, p in PANELS])
each_query = pytest.mark.parametrize(("name", "title", "expression"), ALL)


def test_committed_files_are_as_generated() -> None:
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make docs"
    assert {path.name for path in HERE.glob("*.json")} == set(BOARDS)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_model_is_classic_and_the_uid_stays(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] == 42
    assert board["uid"] in ("phrom-province", "phrom-site", "phrom-link")
    assert board["editable"] is False
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_template_datasource_rule(board: dict[str, Any]) -> None:
    source = variables(board)[0]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_template_on_time_change_reload_rule(board: dict[str, Any]) -> None:
    """And values come by a query: over remote read, Prometheus does not serve label values."""
    for variable in variables(board)[1:]:
        assert variable["refresh"] == 2
        assert variable["datasource"]["uid"] == "${datasource}"
        assert variable["query"]["query"].startswith("query_result(group by")
        assert THAI.search(variable["label"])


@each_panel
def test_panel_datasource_rule(name: str, panel: dict[str, Any]) -> None:
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@each_panel
def test_panel_title_description_rule(name: str, panel: dict[str, Any]) -> None:
    for text in (panel["title"], panel["description"]):
        thai, _, english = text.partition(" · ")
        assert THAI.search(thai)
        assert re.search(r"[A-Za-z]{3}", english)


@each_panel
def test_panel_units_rule(name: str, panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@each_panel
def test_panel_says_where_there_is_no_data(name: str, panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["noValue"]


@each_panel
def test_colours_are_safe_for_colour_blind_eyes(name: str, panel: dict[str, Any]) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert {step["color"] for step in steps} <= {BLUE, SKY, ORANGE, VERMILLION, GREY}
    assert steps[0]["value"] is None


def test_every_outcome_and_link_state_has_shape_word_and_colour() -> None:
    histories = [(name, panel) for name, panel in PANELS if panel["type"] == "status-history"]
    assert len(histories) == len(BOARDS)
    for name, panel in histories:
        (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
        shown = [(option["text"], option["color"]) for option in mapping["options"].values()]
        codes = LINK_CODES if name == "link.json" else OUTCOME_CODES
        assert shown == [(text, color) for _, _, text, color in codes]
        assert len({text[0] for text, _ in shown}) == len(shown)
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert [step["color"] for step in steps] == [color for _, _, _, color in codes]


def test_link_states_are_those_of_the_watcher() -> None:
    assert [code for _, code, _, _ in LINK_CODES] == list(range(len(LINK_CODES)))
    assert {state for state, _, _, _ in LINK_CODES} == set(LINK_STATES)


@each_query
def test_target_promql_rule(name: str, title: str, expression: str) -> None:
    """Strict PromQL, and no metric that we do not serve."""
    plain = substituted(expression, site="phen", link=".*", target=".*")
    promql_parser.parse(plain)
    names = set(re.findall(r"\bphrom_[a-z_]+(?::1h)?", plain))
    assert names
    assert names <= FAMILIES.keys() | CURRENT


@each_query
def test_target_rate_interval_rule(name: str, title: str, expression: str) -> None:
    """Windows over the chart's step use $__rate_interval; a fixed one is for what is sparse, through last_over_time."""
    for function, window in re.findall(r"(\w+_over_time)\([^\[\]]*\[([^\]]+)\]", expression):
        assert window == "$__rate_interval" or function == "last_over_time", (function, window)
    assert not re.search(r"\b(rate|irate|increase)\(", expression), "samples are gauges of their window"


@pytest.mark.tool("prometheus")
async def test_every_query_is_answered_by_prometheus_over_remote_read(tmp_path: Path) -> None:
    async with collector(tmp_path) as made:
        for number, site in enumerate(SITES):
            source = Source(f"agent-{number}", site, "main", "link")
            await made.take(source, list(synthetic_hours(made, source, 7, number)))
            await made.take(source, list(synthetic_link(made, source, 7, number)))
        await made.services.store.maintain(made.now)
        async with prometheus(tmp_path, config(made.url, scrape=True)) as head:
            await head.until("phrom_current_heard_timestamp_seconds")
            for name, board in BOARDS.items():
                await _answers(head, board, made.now / 1e6, name)


async def _answers(head: Served, board: dict[str, Any], now: float, name: str) -> None:
    chosen = {"site": "phen", "link": ".*", "target": ".*"}
    for variable in variables(board)[1:]:
        asked = variable["query"]["query"].removeprefix("query_result(").removesuffix(")")
        found = await head.instant(substituted(asked, **chosen), now)
        pattern = re.compile(variable["regex"].strip("/"))
        shown = {pattern.search(_as_grafana_shows(one)) for one in found}
        assert shown and None not in shown, (name, variable["name"], found)
    for panel in panels(board):
        for target in panel["targets"]:
            expression = substituted(target["expr"], **chosen)
            if target.get("instant"):
                at = real_now() / 1e6 if "phrom_current" in expression else now
                rows = await head.instant(expression, at)
            else:
                rows = await head.ranged(expression, now - 6 * HOUR / 1e6, now, 60)
            assert rows, (name, panel["title"], expression)


def _as_grafana_shows(one: dict[str, Any]) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in one["metric"].items() if name != "__name__")
    return f"{one['metric'].get('__name__', '')}{{{labels}}} {one['value'][1]} {one['value'][0]}"

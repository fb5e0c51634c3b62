"""Which calls an agent holds, with whom and how large."""

from pathlib import Path

import msgspec
import pytest

from agent.probe import load
from agent.schedule import plan
from collector.inventory import Inventory
from collector.inventory import load as read
from collector.inventory.assignments import agent_settings
from collector.inventory.link_assignments import CALL_RATES, call_assignments
from wire.settings import Assignment

EXAMPLE = Path(__file__).parents[3] / "collector" / "inventory" / "example"


@pytest.fixture(scope="module")
def example() -> Inventory:
    return read(EXAMPLE)


def calls(inventory: Inventory, role: str = "link") -> dict[str, Assignment]:
    found = agent_settings(inventory, "na-yung", "fibre" if role != "room" else "", role, 0).assignments
    return {one.target: one for one in found if one.probe == "call"}


def test_a_call_for_each_platform_whose_needs_are_known(example):
    found = calls(example)
    known = {one.id for one in example.platforms.values() if one.capacity}
    assert set(found) == known == {"zoom", "webex"}
    zoom = found["zoom"]
    assert zoom.name == "call:zoom"
    assert zoom.platform == "zoom"
    assert (zoom.settings["download"], zoom.settings["upload"]) == (1_800_000, 2_600_000)
    assert zoom.settings["source"] == example.platforms["zoom"].capacity.source
    assert (zoom.settings["host"], zoom.settings["port"], zoom.settings["responder"]) == ("@collector", 8481, "hall")


def test_a_room_s_call_is_no_evidence_and_a_link_s_is(example):
    assert all(one.evidence for one in calls(example).values())
    assert calls(example, "room")
    assert not any(one.evidence for one in calls(example, "room").values())


def test_without_a_responder_there_is_no_call(example):
    assert calls(msgspec.structs.replace(example, responders={})) == {}


def test_the_probe_understands_its_settings(example):
    settings = load("call").settings
    for one in calls(example).values():
        assert msgspec.convert(one.settings, settings).seconds == 10.0


def test_a_rate_that_nobody_knows_is_the_probe_s_own_and_one_too_large_is_capped(example):
    zoom = example.platforms["zoom"]
    capacity = msgspec.structs.replace(zoom.capacity, download_mbps=None, upload_mbps=50.0)
    changed = msgspec.structs.replace(example, platforms={"zoom": msgspec.structs.replace(zoom, capacity=capacity)})
    (one,) = call_assignments(changed, "na-yung", evidence=True)
    assert "download" not in one.settings
    assert one.settings["upload"] == CALL_RATES[1]


def test_calls_cost_a_site_less_than_300_megabytes_a_day_and_are_spread_over_the_hour(example):
    found = calls(example)
    day = sum(
        86_400 / (one.every or 1) * (one.settings["download"] + one.settings["upload"]) * 10 / 8
        for one in found.values()
    )
    assert day < 300e6
    phases = {plan(f"udon-thani/{site}", "call", "zoom", 3600.0, 0.0).phase // 60_000_000 for site in example.sites}
    assert len(phases) > len(example.sites) / 2

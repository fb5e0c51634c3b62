"""The link's watcher over a real line in network namespaces: it is cut, and the changes are to the second."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.path import Lab, Line, command

pytestmark = [pytest.mark.root, pytest.mark.tool("gcc")]

ANCHORS = [{"id": f"anchor-{number}", "address": f"192.88.99.{number}"} for number in (1, 2)]
SETTINGS = {"anchors": ANCHORS, "responders": [{"id": "hall", "host": "192.88.99.3"}], "collector": "192.88.99.3"}


class Road:
    """A box behind a router, the access line, the edge, and a host with the anchors; or the box on the router."""

    def __init__(self, lab: Lab, line: Line, box: str, router: str, core: str) -> None:
        self.lab, self.line, self.box, self.router, self.core = lab, line, box, router, core


@pytest.fixture
def road() -> Iterator[Road]:
    with Lab() as lab:
        box, router, edge, core = (lab.space(name) for name in ("box", "router", "edge", "core"))
        lab.cable(box, ["192.168.7.2/24"], router, ["192.168.7.1/24"])
        with lab.line(edge, "10.10.7.1", router, "10.10.7.2", 0.005) as line:
            lab.cable(edge, ["10.20.7.2/24"], core, ["10.20.7.1/24"])
            for space in (router, edge):
                lab.forwarding(space)
            for space, net, gateway in (
                (box, "default", "192.168.7.1"),
                (router, "default", "10.10.7.1"),
                (edge, "192.88.99.0/24", "10.20.7.1"),
                (edge, "192.168.7.0/24", "10.10.7.2"),
                (core, "default", "10.20.7.2"),
            ):
                lab.inside(space, "ip", "route", "add", net, "via", gateway)
            for number in (1, 2, 3):
                lab.inside(core, "ip", "address", "add", f"192.88.99.{number}/32", "dev", "lo")
            yield Road(lab, line, box, router, core)


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watching:
    """A watch in a namespace; reads what it says line by line."""

    def __init__(self, space: str, learned: dict[str, str]) -> None:
        words = [sys.executable, "-m", "tests.support.watch", json.dumps(SETTINGS), json.dumps(learned)]
        self.process = subprocess.Popen(
            command(space, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def change(self, state: str) -> dict[str, Any]:
        """Waits for the next change, which must be to that state."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found: dict[str, Any] = json.loads(line)
            if found.get("previous"):
                assert found["current"] == state, found
                return {**found["finding"], "start": found["start"] / 1e6, "heard": boottime()}
        raise AssertionError("the watch ended")

    def end(self) -> None:
        """Stops it; it has nothing more to tell than its last window."""
        said, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        assert not [one for one in map(json.loads, said.splitlines()) if one.get("previous")]


def test_a_cut_is_told_within_four_seconds_and_dated_within_one(road: Road) -> None:
    """From behind the router and from the router itself at once. The limits leave a second for a busy machine."""
    behind, on_router = Watching(road.box, {"edge": "10.10.7.1"}), Watching(road.router, {})
    both = (behind, on_router)
    ours = "edge, anchor-1, anchor-2, responder:hall"
    assert behind.change("up")["facts"]["answered"] == f"gateway, {ours}"
    first = on_router.change("up")
    assert (first["facts"]["answered"], first["learned"]) == (ours, {"beyond": "1"})

    road.line.cut()
    cut = boottime()
    for one, answered, trace in ((behind, "gateway", "1 gateway, 2 silent"), (on_router, None, "1 silent")):
        down = one.change("link")
        assert abs(down["start"] - cut) <= 1.5
        assert 2.5 <= down["heard"] - cut <= 5.5
        assert down["facts"].get("answered") == answered
        assert down["facts"]["silent"] == ours
        assert down["facts"]["trace"] == trace
    road.line.heal()
    healed = boottime()
    for one in both:
        assert abs(one.change("up")["start"] - healed) <= 1.5

    road.lab.inside(road.core, "ip", "route", "del", "default")
    assert behind.change("provider")["facts"]["trace"] == "1 gateway, 2 edge, 3 silent"
    assert on_router.change("provider")["facts"]["trace"] == "1 edge, 2 silent"
    for one in both:
        one.end()

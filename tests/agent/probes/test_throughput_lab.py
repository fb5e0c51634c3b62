"""Trouble on lines with a known rate: a right figure, or a limit and no verdict, and never a hang (issue 3)."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.probe import Result
from tests.lab.path import Lab, Line, command
from tests.support.throughput_ends import Measured
from wire.reasons import Limit, Outcome, Reason

pytestmark = [pytest.mark.root, pytest.mark.tool("gcc")]
HERE, THERE = "10.92.0.1", "10.92.0.2"
HERE6, THERE6 = "fd00:92::1", "fd00:92::2"
ENDS = [sys.executable, "-m", "tests.support.throughput_ends"]
ROOT = Path(__file__).parents[3]
MBPS = 1e6


class World:
    """A district and a hall with a line between them: 200 down, 80 up, 20 ms, queues of 50 ms."""

    def __init__(self, lab: Lab, line: Line, district: str, hall: str) -> None:
        self.lab, self.line, self.district, self.hall = lab, line, district, hall
        self.agent = subprocess.Popen(
            command(district, *ENDS, "agent"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.ports: dict[str, str] = {}
        self.responders: dict[str, subprocess.Popen[str]] = {}

    def respond(self, host: str = THERE) -> str:
        """Starts a responder; returns its port."""
        process = subprocess.Popen(
            command(self.hall, *ENDS, "respond", host),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self.responders[host] = process
        assert process.stdout is not None
        self.ports[host] = process.stdout.readline().split()[1]
        return self.ports[host]

    def start(self, *words: str, host: str = THERE) -> None:
        """Starts a test."""
        port = self.ports.get(host) or self.respond(host)
        assert self.agent.stdin is not None
        rates = ("--down", "300e6", "--up", "120e6")
        self.agent.stdin.write(" ".join((host, port, *rates, *words)) + "\n")
        self.agent.stdin.flush()

    def ended(self) -> dict[str, Result]:
        """Its results by direction."""
        assert self.agent.stdout is not None
        found = msgspec.json.decode(self.agent.stdout.readline(), type=Measured)
        return {one.direction: one for one in found.results}

    def measure(self, *words: str, host: str = THERE) -> dict[str, Result]:
        """A whole test."""
        self.start(*words, host=host)
        return self.ended()

    def close(self) -> None:
        """Ends both ends."""
        for one in (self.agent, *self.responders.values()):
            one.communicate(timeout=10)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        district, hall = lab.space("district"), lab.space("hall")
        with lab.line(district, [HERE, HERE6], hall, [THERE, THERE6], 0.010) as line:
            made = World(lab, line, district, hall)
            yield made
            made.close()


@pytest.fixture(autouse=True)
def usual(world: World) -> None:
    """The line as it is when nothing is wrong."""
    world.line.heal()
    shape(world)


def shape(world: World, **changes: Any) -> None:
    plain = {"delay": 0.010, "loss": 0.0, "queue": 0.0}
    world.line.set("back", **{"rate": 200 * MBPS} | plain | changes)
    world.line.set("forward", **{"rate": 80 * MBPS} | plain | changes)


def rate(result: Result) -> float:
    assert result.outcome is Outcome.OK, result
    return result.values["throughput"] / MBPS


def near(result: Result, wanted: float, within: float = 0.03) -> bool:
    """Within 3 %: tests share the machine; bench/throughput_accuracy shows what the method can do."""
    return abs(rate(result) - wanted) <= within * wanted


def test_asymmetric(world: World):
    found = world.measure()
    down, up = found["down"], found["up"]
    assert near(down, 200), down.facts
    assert near(up, 80), up.facts
    assert down.counts["test_bytes"] + up.counts["test_bytes"] < 60e6
    for one in found.values():
        median = one.durations["rtt"].quantile(0.5)
        assert median is not None
        assert 0.019e9 < median < 0.030e9
        loaded = one.durations["rtt_loaded"].quantile(0.95)
        assert loaded is not None
        assert 0.040e9 < loaded < 0.2e9


def test_ipv6_only_and_an_mtu_of_1400(world: World):
    for space in (world.district, world.hall):
        world.lab.inside(space, "ip", "link", "set", world.line.left, "mtu", "1400")
    try:
        found = world.measure("--directions", "down", host=THERE6)
    finally:
        for space in (world.district, world.hall):
            world.lab.inside(space, "ip", "link", "set", world.line.left, "mtu", "1500")
    assert near(found["down"], 200), found["down"].facts
    assert found["down"].facts["family"] == "ipv6"
    assert 1380 < float(found["down"].facts["segment"]) <= 1400


@pytest.mark.parametrize(("queue", "direction", "wanted"), [(64_000, "down", 200), (2_000_000, "up", 80)])
def test_a_small_and_a_large_queue(world: World, queue: int, direction: str, wanted: float):
    shape(world, queue=queue)
    found = world.measure("--directions", direction)[direction]
    assert near(found, wanted), found.facts


def test_five_percent_of_loss_is_the_link_s_own(world: World):
    shape(world, loss=0.05)
    found = world.measure("--directions", "up")["up"]
    if found.outcome is Outcome.OK:
        assert found.counts["retransmitted"] > 0.02 * found.counts["segments"]
        assert rate(found) <= 80.8
    else:  # or so bad that not even sixteen connections come up
        assert found.reason is Reason.BROKEN_OFF


def test_100_mbps(world: World):
    shape(world, rate=97.5 * MBPS)
    assert near(world.measure("--directions", "down")["down"], 97.5)


def test_a_responder_that_is_gone_in_the_middle(world: World):
    port = world.ports.get(THERE) or world.respond(THERE)
    world.start()
    wait_for_bytes(world, port)
    responder = world.responders.pop(THERE)
    responder.kill()
    responder.communicate()
    del world.ports[THERE]
    found = world.ended()
    assert found["down"].outcome is Outcome.FAILED
    assert found["down"].reason is Reason.BROKEN_OFF
    assert Limit.CUT_SHORT in found["down"].limits


def wait_for_bytes(world: World, port: str, least: int = 3_000_000) -> None:
    """Until the line has carried that much more to the district."""
    begun = world.line.stats()["back"].bytes
    ends = time.monotonic() + 10
    while world.line.stats()["back"].bytes < begun + least:
        assert time.monotonic() < ends, f"nothing comes from port {port}"
        time.sleep(0.01)


def test_a_line_that_drops_to_nothing_in_the_middle(world: World):
    world.start()
    wait_for_bytes(world, world.ports[THERE])
    world.line.cut()
    found = world.ended()
    assert found["down"].reason is Reason.BROKEN_OFF
    assert "throughput" not in found["down"].values
    assert found["up"].outcome is Outcome.SKIPPED


def test_two_busy_processors(world: World):
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        found = world.measure("--directions", "down")["down"]
    finally:
        for one in hogs:
            one.kill()
            one.wait()
    assert Limit.CPU_BUSY in found.limits
    assert rate(found) <= 204


def test_a_download_beside_it_takes_its_share_and_is_seen_by_the_interface(world: World):
    """The other PC's download through the same line: 50 Mbps of UDP."""
    receiver = subprocess.Popen(
        command(world.district, sys.executable, "-c", _SINK, HERE), stdout=subprocess.PIPE, text=True
    )
    assert receiver.stdout is not None
    receiver.stdout.readline()
    sender = subprocess.Popen(command(world.hall, sys.executable, "-c", _SOURCE, HERE, "50e6"))
    try:
        found = world.measure("--directions", "down")["down"]
    finally:
        for one in (sender, receiver):
            one.kill()
            one.communicate()
    others = found.values["cross_traffic"] / MBPS
    assert others > 20, found.facts  # the test pushes some of it aside
    assert 190 < rate(found) + others < 206


_SINK = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 9999))
print("ready", flush=True)
while True:
    sock.recv(2000)
"""
_SOURCE = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 9999))
rate, begun, sent = float(sys.argv[2]), time.monotonic(), 0
while True:
    while sent < rate / 8 * (time.monotonic() - begun):
        try:
            sock.send(bytes(1472))
        except OSError:
            pass
        sent += 1500
    time.sleep(0.002)
"""

"""Light and call tests on lines in trouble: they prove, stop by themselves, or say that the path broke off."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from agent.probe import Result
from tests.lab.path import Lab, Line, command
from wire.reasons import Outcome, Reason

pytestmark = [pytest.mark.root, pytest.mark.tool("ip", "gcc")]

HERE, THERE, THERE6 = "10.93.0.1", "10.93.0.2", "fd00:93::2"
MBPS = 1_000_000
DOWN, UP = 40 * MBPS, 16 * MBPS
"""Small, so that a busy machine keeps up; what is tested does not depend on it."""
ENDS = (sys.executable, "-m", "tests.support.udp_ends")
DELAY = 0.010
QUEUE = 0.05
STRAIGHT: dict[str, Any] = {"delay": DELAY, "rate": UP, "queue": round(UP / 8 * QUEUE), "loss": 0.0}
BACK = STRAIGHT | {"rate": DOWN, "queue": round(DOWN / 8 * QUEUE)}


class Place(NamedTuple):
    """The line between a district (left) and the hall (right), and the responder's port on it."""

    line: Line
    district: str
    hall: str
    port: int
    """Of a responder that stands there all the time."""

    def start(
        self, test: str, port: int, host: str = THERE, contract: tuple[int, int] = (DOWN, UP), seconds: float = 1.5
    ) -> "subprocess.Popen[str]":
        words = (test, host, str(port), str(contract[0]), str(contract[1]), str(seconds))
        return subprocess.Popen(command(self.district, *ENDS, *words), stdout=subprocess.PIPE, text=True)

    def run(
        self, test: str, host: str = THERE, contract: tuple[int, int] = (DOWN, UP), seconds: float = 1.0
    ) -> list[Result]:
        return said(self.start(test, self.port, host, contract, seconds))

    def mtu(self, size: int) -> None:
        """A hop in the middle that is narrower would answer by ICMP; this one's own ends know."""
        for space, device in ((self.district, self.line.left), (self.hall, self.line.right)):
            subprocess.run(["ip", "-n", space, "link", "set", device, "mtu", str(size)], check=True)

    def until_carried(self, direction: str, packets: int) -> None:
        """Waits until the line has carried so many more packets in a direction."""
        before = self.line.stats()[direction].packets
        ends = time.monotonic() + 20
        while self.line.stats()[direction].packets < before + packets and time.monotonic() < ends:
            time.sleep(0.002)


class Responder:
    """A responder process in the hall."""

    def __init__(self, space: str) -> None:
        words = command(space, *ENDS, "respond", "::")
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def __enter__(self) -> "Responder":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=20)


def said(process: "subprocess.Popen[str]") -> list[Result]:
    words, _ = process.communicate(timeout=60)
    return msgspec.json.decode(words, type=list[Result])


@pytest.fixture(scope="module")
def wired() -> Iterator[Place]:
    with Lab() as lab:
        district, hall = lab.space("district"), lab.space("hall")
        line = lab.line(district, [HERE, "fd00:93::1"], hall, [THERE, THERE6], back=BACK, **STRAIGHT)
        with line as running, Responder(hall) as responder:
            yield Place(running, district, hall, responder.port)


@pytest.fixture
def place(wired: Place) -> Place:
    wired.line.heal()
    wired.line.set("forward", **STRAIGHT)
    wired.line.set("back", **BACK)
    wired.mtu(1500)
    return wired


def outcomes(found: list[Result]) -> list[tuple[Outcome, Reason | None]]:
    return [(one.outcome, one.reason) for one in found]


def test_an_asymmetric_line_that_keeps_its_contract_is_proven_without_a_queue(place: Place):
    down, up = place.run("light")
    for one, rate in ((down, DOWN), (up, UP)):
        assert one.outcome is Outcome.OK, one
        assert 0.5 * rate < one.values["at_least"] <= 0.95 * rate
        assert one.facts["packet_bytes"] == "1400"
        assert float(one.facts["delay_rise_ms"]) < 20
    assert place.line.stats()["back"].dropped == 0


def test_a_line_of_half_the_contract_is_never_a_failure(place: Place):
    found = place.run("light", contract=(2 * DOWN, 2 * UP))
    assert {one.outcome for one in found} == {Outcome.SKIPPED}
    assert {one.reason for one in found} <= {Reason.DELAY_ROSE, Reason.LOSS_SEEN}
    for one in found:
        assert one.values["at_least"] == 0
        assert float(one.facts["rate_until_then_bits_per_second"]) > 0


def test_five_percent_of_loss_stops_the_check(place: Place):
    place.line.set(loss=0.05)
    down, up = place.run("light")
    assert (down.outcome, down.reason) == (Outcome.SKIPPED, Reason.LOSS_SEEN)
    assert up.outcome is Outcome.SKIPPED
    assert down.counts["lost"] > 0
    assert down.counts["test_bytes"] < 0.5 * DOWN / 8 * 0.49, "it stopped long before its end"


def test_a_short_queue_is_passed_or_the_check_stops(place: Place):
    place.line.set(queue=16_000)
    for one in place.run("light"):
        assert one.outcome in (Outcome.OK, Outcome.SKIPPED)
        assert one.reason in (None, Reason.LOSS_SEEN, Reason.DELAY_ROSE)
        assert (one.values["at_least"] > 0) == (one.outcome is Outcome.OK)


@pytest.mark.parametrize(("mtu", "size"), [(1400, "1400"), (1300, "1280")])
def test_packets_are_as_large_as_the_path_carries(place: Place, mtu: int, size: str):
    place.mtu(mtu)
    found = place.run("light")
    assert outcomes(found) == [(Outcome.OK, None)] * 2
    assert {one.facts["packet_bytes"] for one in found} == {size}


def test_a_path_of_ipv6_alone_serves_both_tests(place: Place):
    subprocess.run(["ip", "-n", place.district, "address", "del", f"{HERE}/24", "dev", place.line.left], check=True)
    try:
        found = [*place.run("light", THERE6), *place.run("call", THERE6, (MBPS, MBPS))]
    finally:
        words = ["ip", "-n", place.district, "address", "add", f"{HERE}/24", "dev", place.line.left]
        subprocess.run(words, check=True)
    assert outcomes(found) == [(Outcome.OK, None)] * 4
    assert {one.facts["family"] for one in found} == {"ipv6"}


BREAKS: dict[str, Callable[[Place, Responder], None]] = {
    "the link is cut": lambda place, _: place.line.cut(),
    "the responder is gone": lambda _, responder: responder.process.kill(),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_light_check_that_breaks_off_says_so_within_seconds(place: Place, what: str):
    with Responder(place.hall) as responder:
        process = place.start("light", responder.port)
        place.until_carried("back", 100)
        BREAKS[what](place, responder)
        began = time.monotonic()
        down, up = said(process)
    assert (down.outcome, down.reason) == (Outcome.FAILED, Reason.BROKEN_OFF)
    assert (up.outcome, up.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)
    assert down.counts["sent"] >= 50
    assert time.monotonic() - began < 15


def test_a_call_that_breaks_off_says_so(place: Place):
    process = place.start("call", place.port, contract=(MBPS, MBPS))
    place.until_carried("back", 60)
    place.line.cut()
    down, up = said(process)
    assert outcomes([down, up]) == [(Outcome.FAILED, Reason.BROKEN_OFF)] * 2
    assert down.counts["sent"] > 30
    assert "lost" not in up.counts, "nobody knows what arrived there"


def test_the_loss_of_a_call_is_that_of_the_line(place: Place):
    place.line.set("back", loss=0.05)
    before = place.line.stats()["back"].lost
    down, up = place.run("call", contract=(2 * MBPS, 2 * MBPS))
    lost = place.line.stats()["back"].lost - before
    assert outcomes([down, up]) == [(Outcome.OK, None)] * 2
    assert 0 < down.counts["lost"] <= lost
    assert lost - down.counts["lost"] < 10, "the rest were words, not packets of the stream"
    assert up.counts["lost"] == 0
    assert down.counts["loss_bursts"] <= down.counts["lost"]

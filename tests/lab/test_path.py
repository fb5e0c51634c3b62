"""The emulated line is what it says: its delay by fping, its rate by the time a burst takes."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.path import Lab, LabFailed, command, held_of, run

pytestmark = pytest.mark.root
LEFT, RIGHT = "10.79.0.1", "10.79.0.2"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def fping(space: str, *words: str) -> list[float]:
    done = subprocess.run(
        command(space, "fping", "-q", "-t", "1000", *words, RIGHT),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [float(word) for word in done.stderr.partition(" : ")[2].split() if word != "-"]


@pytest.mark.tool("ip", "gcc", "fping")
@pytest.mark.parametrize("delay", [0.0, 0.010, 0.050])
def test_a_packet_is_held_as_long_as_wanted(lab: Lab, delay: float) -> None:
    left, right = lab.space(f"left{delay}"), lab.space(f"right{delay}")
    with lab.line(left, LEFT, right, RIGHT, delay) as line:
        times = sorted(fping(left, "-C", "40", "-p", "20"))
    assert len(times) == 40
    assert times[0] >= 2000 * delay - 0.05
    assert times[20] == pytest.approx(2000 * delay, abs=0.5)
    assert set(line.held) == {"forward", "back"}
    for held in line.held.values():
        assert held.packets >= 40
        assert held.dropped == 0
        assert held.over_p50 < 100


@pytest.mark.tool("ip", "gcc", "fping")
def test_a_bottleneck_paces_queues_and_drops(lab: Lab) -> None:
    """Twenty packets of 1028 bytes at once into 1 Mbit/s: 8.2 ms each; a queue of 10 kB holds nine or ten of them."""
    left, right = lab.space("narrow"), lab.space("far")
    with lab.line(left, LEFT, right, RIGHT, 0.0, rate=1_000_000, queue=10_000) as line:
        lab.inside(left, "ping", "-c", "1", RIGHT)
        said = subprocess.run(
            command(left, "ping", "-q", "-c", "20", "-l", "20", "-s", "1000", "-W", "1", RIGHT),
            capture_output=True, text=True, timeout=60, check=False,
        ).stdout  # fmt: skip
    received = re.search(r"(\d+) received", said)
    worst = re.search(r"= [\d.]+/[\d.]+/([\d.]+)/", said)
    assert received, said
    assert worst, said
    assert 9 <= int(received[1]) <= 11
    assert float(worst[1]) == pytest.approx((int(received[1]) + 1) * 8.224, rel=0.1), "the last waited for all, twice"
    assert line.held["forward"].dropped == 20 - int(received[1])


@pytest.mark.tool("ip", "gcc")
def test_a_lab_leaves_nothing_behind() -> None:
    with Lab() as lab:
        space = lab.space("brief")
        assert space in run("ip", "netns", "list")
    assert space not in run("ip", "netns", "list")


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(LabFailed, match=r"^ip netns exec no-such-space true: exit 255: .*no-such-space"):
        run(*command("no-such-space", "true"))


def test_reads_what_the_emulator_says() -> None:
    held = held_of("forward packets=1200 dropped=3 over_p50=8.1 over_p99=31.5 over_max=90.2")
    assert held == (1200, 3, 8.1, 31.5, 90.2)
    assert held_of("back packets=0 dropped=0") == (0, 0, 0.0, 0.0, 0.0)

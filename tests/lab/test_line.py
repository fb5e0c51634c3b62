"""The line's own truth: rate, queue, burst, loss and delay as set, also while it runs, against iperf3 and ping."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab.path import Counted, Lab, LabFailed, Line, Shape, command, counted_of, with_prefix, words_of

root = pytest.mark.root
LEFT, RIGHT = "10.78.0.1", "10.78.0.2"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def pair(lab: Lab) -> tuple[str, str]:
    return lab.space("left"), lab.space("right")


@pytest.fixture(scope="module")
def line(lab: Lab, pair: tuple[str, str]) -> Iterator[Line]:
    """A line of 200 down (forward) and 80 up, 10 ms each way, with an IPv6 network beside the other."""
    left, right = pair
    addresses = ([LEFT, "fd00:78::1"], [RIGHT, "fd00:78::2"])
    with lab.line(left, addresses[0], right, addresses[1], 0.010, 200e6, back={"rate": 80e6}) as made:
        yield made


@pytest.fixture(autouse=True)
def _as_made(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test gets the line as it was made."""
    if "line" not in request.fixturenames:
        yield
        return
    line: Line = request.getfixturevalue("line")
    before = dict(line.shapes)
    yield
    for direction, shape in before.items():
        line.set(direction, **shape._asdict())
    line.heal()


def iperf(pair: tuple[str, str], *words: str) -> float:
    """Bits per second of payload that arrived at the receiver; the client is on the right."""
    server = subprocess.Popen(
        command(pair[0], "iperf3", "-s", "-1", "--forceflush"), stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert server.stdout is not None
    try:
        while "listening" not in server.stdout.readline():
            pass
        done = subprocess.run(
            command(pair[1], "iperf3", "-c", LEFT, "-J", "-t", "1", "-O", "1", *words),
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        found = json.loads(done.stdout)
        assert "error" not in found, found["error"]
        return float(found["end"]["sum_received"]["bits_per_second"])
    finally:
        server.kill()
        server.communicate()


def fills(pair: tuple[str, str], rate: float, packet: float, payload: float, *words: str) -> bool:
    """Whether iperf3 comes to within a percent of the rate, counted in whole packets; a busy machine may need another
    attempt."""
    return any(abs(iperf(pair, *words) * packet / payload / rate - 1) <= 0.01 for _ in range(5))


def echoes(space: str, address: str, count: int, spacing: float = 0.01) -> tuple[int, float]:
    """How many of ``count`` were answered, and the least time in milliseconds (of fping)."""
    done = subprocess.run(
        command(space, "fping", "-q", "-C", str(count), "-p", str(round(spacing * 1000)), "-t", "500", address),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    times = sorted(float(word) for word in done.stderr.partition(" : ")[2].split() if word != "-")
    return len(times), times[0] if times else 0.0


@root
@pytest.mark.tool("ip", "gcc", "iperf3")
@pytest.mark.parametrize(("direction", "rate"), [("forward", 200e6), ("back", 80e6)])
def test_tcp_fills_the_line_to_within_a_percent(line: Line, pair: tuple[str, str], direction: str, rate: float) -> None:
    """By iperf3's payload and the 52 bytes of headers of its 1448; eight ways, as one would need longer."""
    words = ["-R"] if direction == "forward" else []
    before = line.stats()[direction].bytes
    assert fills(pair, rate, 1500, 1448, "-P", "8", *words)
    assert line.stats()[direction].bytes - before > rate / 8


@root
@pytest.mark.tool("ip", "gcc", "iperf3")
def test_udp_beyond_the_rate_is_cut_to_it(line: Line, pair: tuple[str, str]) -> None:
    line.set("back", rate=20e6)
    before = line.stats()["back"]
    assert fills(pair, 20e6, 1428, 1400, "-u", "-b", "30M", "-l", "1400")
    assert line.stats()["back"].dropped > before.dropped


@root
@pytest.mark.tool("ip", "gcc", "fping")
def test_delay_changes_while_it_runs(line: Line, pair: tuple[str, str]) -> None:
    """Also by IPv6; a delay is that of its own direction alone."""
    assert echoes(pair[1], LEFT, 20)[1] == pytest.approx(20.0, abs=0.3)
    line.set("forward", delay=0.035)
    assert echoes(pair[1], "fd00:78::1", 20)[1] == pytest.approx(45.0, abs=0.3)


@root
@pytest.mark.tool("ip", "gcc", "fping")
def test_loss_is_counted_exactly(line: Line, pair: tuple[str, str]) -> None:
    echoes(pair[1], LEFT, 1)
    line.command("seed 7")
    line.set("back", loss=0.3)
    before = line.stats()
    answered, _ = echoes(pair[1], LEFT, 120)
    after = line.stats()
    assert 120 - answered == after["back"].lost - before["back"].lost
    assert 11 <= 120 - answered <= 61, "36, within five standard deviations"
    assert after["forward"].lost == before["forward"].lost


@root
@pytest.mark.tool("ip", "gcc", "fping")
def test_a_cut_is_of_its_direction_and_loses_what_was_under_way(line: Line, pair: tuple[str, str]) -> None:
    line.cut("forward")
    before = line.stats()
    assert echoes(pair[1], LEFT, 3)[0] == 0
    after = line.stats()
    assert after["back"].packets - before["back"].packets >= 3, "the requests came through"
    assert after["forward"].cut - before["forward"].cut >= 3, "the answers did not"
    line.heal("forward")
    assert echoes(pair[1], LEFT, 3)[0] == 3
    line.set("both", delay=0.5)
    lost = line.stats()["back"].cut
    with socket_in(pair[1]) as sender:
        sender.sendto(b"x", (LEFT, 9))
        until(lambda: line.stats()["back"].waiting == 1)
        line.cut()
        assert line.stats()["back"].cut == lost + 1


@root
@pytest.mark.tool("ip", "gcc", "fping")
def test_every_packet_is_accounted_for(line: Line, pair: tuple[str, str]) -> None:
    line.set("back", loss=0.1, rate=1e6, queue=5000)
    subprocess.run(
        command(pair[1], "ping", "-q", "-c", "60", "-l", "60", "-s", "1000", "-W", "1", LEFT),
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    one = line.stats()["back"]
    assert one.taken == one.packets + one.dropped + one.lost + one.cut + one.waiting
    assert one.dropped > 0
    assert one.lost > 0


@root
@pytest.mark.tool("ip", "gcc")
@pytest.mark.parametrize(("overhead", "passed"), [(0, 10), (1028, 5)])
def test_a_bucket_lets_a_burst_pass_and_paces_the_rest(
    line: Line, pair: tuple[str, str], overhead: int, passed: int
) -> None:
    """Twenty packets of 1028 bytes into 1 kbit/s (8 s each) with a bucket of ten; of five when each counts double."""
    line.set("back", rate=1e3, queue=40_000, burst=10 * 1028, overhead=overhead, delay=0)
    before = line.stats()["back"].packets
    with socket_in(pair[1]) as sender:
        for _ in range(20):
            sender.sendto(bytes(1000), (LEFT, 9))
        until(lambda: line.stats()["back"].waiting == 20 - passed)
    assert line.stats()["back"].packets - before == passed


@root
@pytest.mark.tool("ip", "gcc", "fping")
def test_jitter_delays_more_and_at_random(line: Line, pair: tuple[str, str]) -> None:
    line.set("both", delay=0.002)
    line.set("back", jitter=0.030)
    done = subprocess.run(
        command(pair[1], "fping", "-q", "-C", "40", "-p", "10", "-t", "500", LEFT),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    times = sorted(float(word) for word in done.stderr.partition(" : ")[2].split())
    assert 4.0 <= times[0] < 20
    assert 24 < times[-1] < 34 + 5, "of 40 uniform delays the longest is over 20 of 30 ms, but for one chance in 10^7"


@root
@pytest.mark.tool("ip", "gcc")
def test_what_waits_leaves_at_the_new_rate(line: Line, pair: tuple[str, str]) -> None:
    """A queue of eight seconds at 10 kbit/s is gone at once when the rate is raised."""
    line.set("back", rate=10_000, queue=20_000, delay=0)
    with socket_in(pair[1]) as sender:
        for _ in range(10):
            sender.sendto(bytes(1000), (LEFT, 9))
        until(lambda: line.stats()["back"].waiting >= 9)
        line.set("back", rate=100e6)
        until(lambda: line.stats()["back"].waiting == 0)


@root
@pytest.mark.tool("ip", "gcc")
def test_refuses_what_it_does_not_know(line: Line) -> None:
    with pytest.raises(LabFailed, match=r"^the emulator refused 'set back speed=1': error unknown setting$"):
        line.command("set back speed=1")
    with pytest.raises(LabFailed, match=r"error expected a number that is not negative$"):
        line.command("set back rate=-1")
    with pytest.raises(LabFailed, match=r"error unknown command or direction$"):
        line.command("cut sideways")
    with pytest.raises(LabFailed, match=r"error unknown command$"):
        line.command("mend back")


@root
@pytest.mark.tool("ip", "gcc")
def test_an_emulator_ends_with_whoever_started_it(lab: Lab) -> None:
    """Its standard input is closed when that process dies."""
    with lab.line(lab.space("one"), "10.77.0.1", lab.space("two"), "10.77.0.2", mtu=1400) as line:
        process = line._process
        assert process.stdin is not None
        assert "mtu 1400" in lab.inside(lab._spaces[-1], "ip", "link", "show", line.right)
        process.stdin.close()
        assert process.wait(5) == 0
        with pytest.raises(LabFailed, match=r"^the emulator is gone \(exit 0\): stats$"):
            line.command("stats")


def test_reads_and_writes_the_emulators_words() -> None:
    said = "back taken=9 packets=3 bytes=4500 dropped=2 lost=1 cut=1 waiting=2"
    assert counted_of(said) == Counted(9, 3, 4500, 2, 1, 1, 2)
    assert words_of(Shape(0.01, 80e6)) == (
        "rate=80000000 queue=500000 burst=0 overhead=0 delay=10000.000 jitter=0.000 loss=0.000000000"
    )
    assert [with_prefix(one) for one in ("10.0.0.1", "fd00::1", "10.0.0.1/30")] == [
        "10.0.0.1/24", "fd00::1/64", "10.0.0.1/30",
    ]  # fmt: skip


def until(what: object, within: float = 5.0) -> None:
    """Looks until it is so."""
    assert callable(what)
    ends = time.monotonic() + within
    while not what():
        assert time.monotonic() < ends, "it did not come to be so"


def socket_in(space: str) -> socket.socket:
    """A UDP socket inside a namespace."""
    import threading

    from tests.lab.relay import enter

    made: list[socket.socket] = []

    def make() -> None:
        enter(space)
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]

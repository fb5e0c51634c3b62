"""Claim: no light check and nothing that is allowed in quiet time harms a meeting; what fills a link does.

A line of 200/80 Mbit/s, RTT 20 ms, with a queue of 50 ms each way, between two network namespaces. Over it a call of
2.5 Mbit/s each way of its own code (not the product's probe), stamped by the kernel; beside the call, one after the
other, each engine. What counts is how much longer the call's packets took than in the quiet seconds before. Needs root,
gcc and iperf3; speedtest-cli is asked of a server on the line that speaks its protocol.

    .venv/bin/python -m bench.meeting_harm [--only light --only iperf3] [--queue-ms 50] [--runs 3]
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tests.lab.path import Lab, command

DISTRICT, HALL = "10.92.0.1", "10.92.0.2"
DOWN, UP = 200_000_000, 80_000_000
DELAY = 0.010
CALL_RATE = 2_500_000
QUIET = 2.0
"""Seconds of the call alone before each engine."""
CALL_PORT, TCP_PORT, UDP_PORT, STAMP_PORT, SPEEDTEST_PORT = 7000, 8481, 8481, 8862, 8080
NOTICED = 30.0
"""Milliseconds above the quiet delay that a meeting notices."""
SLICE = 20_000_000
LIMITS = {"light": 5.0, "trickle": 1.0, "call": 5.0}
"""Milliseconds that the 99th percentile may rise."""
LOADS = ("trickle", "call", "light", "tcp", "iperf3", "speedtest")
SECONDS = {"trickle": 10.0}
_WORDS = {
    "trickle": "icmp and STAMP, all day",
    "call": "call test, 10 s",
    "light": "light check, 0.95 x contract",
    "tcp": "tcp, 16 connections",
    "iperf3": "iperf3 -P 8, 10 s each way",
    "speedtest": "speedtest-cli",
}


class Heard(msgspec.Struct):
    """What one end of the call received: number, sent and delay, nanoseconds by the machine's one clock."""

    packets: list[tuple[int, int, int]]


class Ran(msgspec.Struct):
    """What a load says of itself: CLOCK_REALTIME, nanoseconds."""

    start: int
    end: int
    said: str = ""


class Harm(NamedTuple):
    """One direction of the call beside one load."""

    p99: float
    """Milliseconds by which the 99th percentile of its delay rose."""
    most: float
    """The longest delay above the quiet median, milliseconds."""
    noticed: float
    """Seconds in which packets came 30 ms late or more."""
    lost: int


# ---- inside the namespaces


def call(here: str, there: str, stop_at: float) -> Heard:
    """One end of the call: sends and receives until the time is over."""
    import socket

    from wire.call_stream import timetable
    from wire.udp_socket import StreamSocket
    from wire.udp_tests import DATA, Data, encode

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((here, CALL_PORT))
    sock.connect((there, CALL_PORT))
    stream = StreamSocket(sock)
    items = timetable(CALL_RATE, 1200, 28, stop_at - time.time())
    heard: list[tuple[int, int, int]] = []
    begun, sent = time.monotonic_ns(), 0
    while time.time() < stop_at + 0.3:
        now = time.monotonic_ns()
        while sent < len(items) and begun + items[sent].at <= now:
            with contextlib.suppress(ConnectionRefusedError):  # the other end is not there yet
                stream.send(encode(Data(b"meeting.", sent, time.time_ns(), 0), items[sent].size - 28))
            sent += 1
        with contextlib.suppress(ConnectionRefusedError):
            for one in stream.receive():
                packet = Data(*DATA.unpack_from(one.raw)[2:])
                heard.append((packet.number, packet.sent, one.at - packet.sent))
        following = items[sent].at + begun if sent < len(items) else now + 5_000_000
        time.sleep(max(0.0, min(5_000_000, following - time.monotonic_ns()) / 1e9))
    return Heard(heard)


async def respond() -> None:
    """The responder and the server that speedtest-cli asks, until stdin ends."""
    from collector.responder import stamp, tcp, udp
    from collector.responder.admission import Admission, Capacity
    from tests.support.fake_speedtest import fake_speedtest
    from tests.support.lending import SECRET
    from tests.support.udp_ends import now

    admission = Admission("hall", SECRET, Capacity(10**9, 10**9), now() - 1_000_000)
    servers: list[Any] = [
        await tcp.serve(HALL, TCP_PORT, admission, now),
        await udp.serve(HALL, UDP_PORT, admission, now),
        await stamp.serve(HALL, STAMP_PORT, admission, now),
    ]
    async with fake_speedtest(HALL, SPEEDTEST_PORT, seconds=10, threads=8, per_url=4, chunks=10):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    for one in servers:
        await one.close()


async def load(name: str) -> Ran:
    """Runs one load inside the district."""
    start = time.time_ns()
    said = await _LOADS[name]()
    return Ran(start, time.time_ns(), said)


async def _engine(name: str) -> str:
    import importlib

    from agent.probes.throughput.engine import Terms
    from tests.support.udp_ends import Lender
    from wire.settings import ContractTerms, ResponderAt

    place = ResponderAt(id="hall", host=HALL, tcp_port=TCP_PORT, udp_port=UDP_PORT)
    lender = Lender(down=2 * DOWN, up=2 * UP, seconds=10.0)
    engine = importlib.import_module(f"agent.probes.throughput.{name}").ENGINE
    results = await engine.run(Terms(place, ContractTerms(download=DOWN, upload=UP), lender))
    rates = [one.values.get("at_least", one.values.get("throughput", 0.0)) / 1e6 for one in results]
    megabytes = sum(one.counts.get("test_bytes", 0) for one in results) / 1e6
    words = ", ".join(f"{one.outcome}{f' {one.reason}' if one.reason else ''}" for one in results)
    return f"{'/'.join(f'{rate:.1f}' for rate in rates)} Mbit/s, {megabytes:.1f} MB, {words}"


async def _probe(name: str, seconds: float, **settings: Any) -> str:
    from agent.probe import Span, Target
    from agent.probe import load as probe
    from tests.support.udp_ends import Lender

    info = await asyncio.to_thread(probe, name)
    made = info.make()
    lender = Lender(down=5_000_000, up=5_000_000, seconds=30.0)
    target = Target("hall", "", msgspec.convert(settings, info.settings), lender)
    found = await made.measure(target, Span(seconds, seconds + 40))
    return f"{name} {found.outcome}{f' {found.reason}' if found.reason else ''}"


async def _trickle() -> str:
    seconds = SECONDS["trickle"]
    echoes = [_probe("icmp", seconds, host=HALL) for _ in range(5)]
    said = await asyncio.gather(_probe("stamp", seconds, host=HALL, responder="hall"), *echoes)
    return ", ".join(dict.fromkeys(said))


async def _command(*words: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment
    )
    said, _ = await process.communicate()
    return "" if process.returncode == 0 else said.decode(errors="replace")[-200:]


async def _iperf3() -> str:
    both = ("iperf3", "-c", HALL, "-P", "8", "-t", "10")
    return await _command(*both, "-R") or await _command(*both) or "done"


async def _speedtest() -> str:
    proxy = f"http://{HALL}:{SPEEDTEST_PORT}"
    words = [sys.executable, "-W", "ignore", "-m", "speedtest", "--json"]
    return await _command(*words, http_proxy=proxy, HTTP_PROXY=proxy, no_proxy="", NO_PROXY="") or "done"


_LOADS = {
    "trickle": _trickle,
    "call": lambda: _probe("call", 0.0, host=HALL, port=UDP_PORT),
    "light": lambda: _engine("light"),
    "tcp": lambda: _engine("tcp"),
    "iperf3": _iperf3,
    "speedtest": _speedtest,
}
LONGEST = {"trickle": 12.0, "call": 13.0, "light": 4.0, "tcp": 8.0, "iperf3": 25.0, "speedtest": 45.0}
"""Seconds that the call lasts beside each, at most."""


# ---- outside


def harm(heard: Heard, ran: Ran) -> Harm:
    """Pure: the packets sent while the load ran, against those of the quiet time before."""
    quiet = sorted(delay for _, at, delay in heard.packets if at < ran.start)
    beside = [one for one in heard.packets if ran.start <= one[1] <= ran.end]
    delays = sorted(delay for _, _, delay in beside)
    usual = statistics.median(quiet)
    slices = {at // SLICE for _, at, delay in beside if delay > usual + NOTICED * 1e6}
    numbers = {number for number, _, _ in beside}
    return Harm(
        p99=(at_99(delays) - at_99(quiet)) / 1e6,
        most=(delays[-1] - usual) / 1e6,
        noticed=len(slices) * SLICE / 1e9,
        lost=max(numbers) - min(numbers) + 1 - len(numbers),
    )


def at_99(ordered: list[int]) -> int:
    """The 99th percentile by nearest rank."""
    return ordered[max(0, -(-99 * len(ordered) // 100) - 1)]


def inside(space: str, *words: str, urgent: bool = False, **more: Any) -> "subprocess.Popen[str]":
    """Starts a part of this bench inside a namespace."""
    first = ["chrt", "-f", "20"] if urgent else []
    line = command(space, *first, sys.executable, "-m", "bench.meeting_harm", *words)
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **more)


def beside(district: str, hall: str, name: str) -> tuple[Harm, Harm, Ran]:
    """The call alone, then with one load beside it: harm down, harm up."""
    stop_at = f"{time.time() + 1.5 + QUIET + LONGEST[name]:.3f}"
    ends = [
        inside(district, "--call", DISTRICT, HALL, stop_at, urgent=True),
        inside(hall, "--call", HALL, DISTRICT, stop_at, urgent=True),
    ]
    time.sleep(1.5 + QUIET)
    said, _ = inside(district, "--load", name).communicate(timeout=120)
    down, up = (msgspec.json.decode(one.communicate(timeout=120)[0], type=Heard) for one in ends)
    ran = msgspec.json.decode(said, type=Ran)
    return harm(down, ran), harm(up, ran), ran


@contextlib.contextmanager
def servers(hall: str) -> Iterator[None]:
    """What stands in the hall."""
    ours = inside(hall, "--respond", stdin=subprocess.PIPE)
    iperf3 = subprocess.Popen(
        command(hall, "iperf3", "-s", "-B", HALL), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert ours.stdout is not None
        assert ours.stdout.readline() == "ready\n"
        yield
    finally:
        iperf3.terminate()
        iperf3.wait(10)
        ours.communicate(timeout=20)


def compare(district: str, hall: str, names: list[str], runs: int) -> bool:
    """Every load, the worst of its runs; says whether the claim holds."""
    print("| beside the call | | p99 rise, ms | limit | most, ms | above +30 ms, s | lost | took, s | said |")
    print("|---|---|---|---|---|---|---|---|---|")
    good = True
    for name in names:
        found = [beside(district, hall, name) for _ in range(runs)]
        for index, direction in enumerate(("down", "up")):
            each: list[Harm] = [one[index] for one in found]  # type: ignore[misc]
            worst = Harm(*(max(values) for values in zip(*each, strict=True)))
            limit = LIMITS.get(name)
            good = good and (limit is None or worst.p99 <= limit)
            ran = found[-1][2]
            figures = f"{worst.p99:.2f} | {limit or ''} | {worst.most:.1f} | {worst.noticed:.2f} | {worst.lost}"
            took = (ran.end - ran.start) / 1e9
            print(f"| {_WORDS[name]} | {direction} | {figures} | {took:.1f} | {ran.said} |", flush=True)
    return good


def main() -> int:
    """Builds the line, runs all loads, prints; 1 when the claim does not hold."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", action="append", choices=LOADS, help="this load alone; may be given again")
    words.add_argument("--queue-ms", type=float, default=50.0, help="queue of the line, each way")
    words.add_argument("--runs", type=int, default=3, help="of each load; the worst is shown")
    words.add_argument("--call", nargs=3, help=argparse.SUPPRESS)
    words.add_argument("--load", choices=LOADS, help=argparse.SUPPRESS)
    words.add_argument("--respond", action="store_true", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.call:
        here, there, stop_at = given.call
        print(msgspec.json.encode(call(here, there, float(stop_at))).decode())
        return 0
    if given.load:
        print(msgspec.json.encode(asyncio.run(load(given.load))).decode())
        return 0
    if given.respond:
        asyncio.run(respond())
        return 0
    if os.geteuid() != 0:
        print("meeting_harm: needs root, for network namespaces", file=sys.stderr)
        return 2
    queue = given.queue_ms / 1000
    with Lab() as lab:
        district, hall = lab.space("district"), lab.space("hall")
        back = {"rate": DOWN, "queue": round(DOWN / 8 * queue)}
        line = lab.line(district, DISTRICT, hall, HALL, DELAY, UP, round(UP / 8 * queue), back=back)
        with line, servers(hall):
            rates = f"{DOWN / 1e6:.0f}/{UP / 1e6:.0f} Mbit/s"
            print(f"Line: {rates}, RTT {2 * DELAY * 1000:.0f} ms, queue {given.queue_ms:g} ms;")
            print(f"call of {CALL_RATE / 1e6} Mbit/s each way; worst of {given.runs} runs.\n")
            good = compare(district, hall, given.only or list(LOADS), given.runs)
    print("\nThe claim holds." if good else "\nTHE CLAIM DOES NOT HOLD.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

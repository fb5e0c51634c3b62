"""Claim: the throughput test is right within 1 % both ways in a tenth of the bytes and time of what others need.

A line of known rate between two network namespaces (the lab's emulator; the truth is its rate at the IP layer), our
probe's engine ``tcp`` on the one side and a real responder on the other, on 200/80 Mbps with a round trip of 20 ms and
on the other lines of the field page (bandwidth §2): a queue of 5 ms and one of 2.5, a round trip of 5 ms, 0.05 % loss,
and 940/940. Then iperf3 -P 8 for 10 s and speedtest-cli on the same 200/80, against their own ceiling: the TCP payload
is 96.5 % of the truth. Needs root, gcc and iperf3; speedtest-cli asks a server on the line that speaks its protocol.

    .venv/bin/python -m bench.throughput_accuracy [--runs 20] [--lines 200/80 940/940 …] [--no-peers]
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tests.lab.path import Lab, Line, command
from tests.support.throughput_ends import Measured
from wire.reasons import Outcome

HERE, THERE = "10.93.0.1", "10.93.0.2"
IPERF3_PORT, SPEEDTEST_PORT = 5201, 8080
PAYLOAD = 1448 / 1500
"""Payload in a full packet of 1500 bytes with time stamps: what others can measure at best."""
MBPS = 1e6


class Case(NamedTuple):
    """A line: Mbps at the IP layer, milliseconds, and the aim in percent."""

    name: str
    down: float
    up: float
    rtt: float = 20.0
    queue: float = 50.0
    loss: float = 0.0
    aim: float = 1.0
    most_bytes: float = 40e6
    most_seconds: float = 3.0


CASES = [
    Case("200/80", 200, 80),
    Case("queue 5 ms", 200, 80, queue=5),
    Case("queue 2.5 ms", 200, 80, queue=2.5),
    Case("RTT 5 ms", 200, 80, rtt=5),
    Case("loss 0.05 %", 200, 80, loss=0.0005),
    Case("940/940", 940, 940, aim=2.0, most_bytes=300e6),
]


class Peer(NamedTuple):
    """What another tool made of the same line: payload in bits per second, bytes, seconds, processor seconds."""

    name: str
    down: float
    up: float
    size: float
    seconds: float
    cpu: float


# ---- ours


def runs_of(lab: Lab, case: Case, runs: int, port: str, here: str) -> list[Measured]:
    """The engine, so many times in one process, as in an agent."""
    words = [
        sys.executable, "-m", "tests.support.throughput_ends", "measure", THERE, port, "--runs", str(runs),
        "--down", str(case.down * 1.5 * MBPS), "--up", str(case.up * 1.5 * MBPS),
        "--contract-down", str(case.down * MBPS), "--contract-up", str(case.up * MBPS),
    ]  # fmt: skip
    said = lab.inside(here, *words, within=runs * 15.0 + 30)
    return [msgspec.json.decode(line, type=Measured) for line in said.splitlines() if line.startswith("{")]


def shaped(line: Line, case: Case) -> None:
    """Gives the line a case's shape."""
    more = {"delay": case.rtt / 2000, "loss": case.loss}
    line.set("forward", rate=case.up * MBPS, queue=case.up * MBPS / 8e3 * case.queue, **more)
    line.set("back", rate=case.down * MBPS, queue=case.down * MBPS / 8e3 * case.queue, **more)


def errors_of(found: list[Measured], direction: str, truth: float) -> list[float]:
    """Percent, one of each run; a run that brought nothing is 100 % wrong."""
    errors = []
    for one in found:
        (result,) = [each for each in one.results if each.direction == direction]
        good = result.outcome is Outcome.OK
        errors.append((result.values["throughput"] / truth - 1) * 100 if good else -100.0)
    return errors


def worst(errors: list[float]) -> float:
    """The error farthest from 0, with its sign."""
    return max(errors, key=abs)


def row(case: Case, found: list[Measured]) -> tuple[str, bool]:
    """A line of the table, and whether the aims hold."""
    down = errors_of(found, "down", case.down * MBPS)
    up = errors_of(found, "up", case.up * MBPS)
    sizes = [sum(result.counts.get("test_bytes", 0) for result in one.results) for one in found]
    seconds, cpu = [one.seconds for one in found], [one.cpu for one in found]
    each = [result.values.get("test_duration", 0.0) for one in found for result in one.results]
    good = max(map(abs, down + up)) <= case.aim and max(sizes) <= case.most_bytes and max(seconds) <= case.most_seconds
    words = (
        f"| {case.name} | {len(found)} | {worst(down):+.2f} | {worst(up):+.2f} | ±{case.aim:.0f} "
        f"| {statistics.median(down):+.2f}/{statistics.median(up):+.2f} "
        f"| {statistics.median(sizes) / 1e6:.1f} (most {max(sizes) / 1e6:.1f}) "
        f"| {statistics.median(seconds):.2f} (most {max(seconds):.2f}) | {statistics.median(each):.2f} "
        f"| {statistics.median(cpu):.3f} (most {max(cpu):.3f}) |"
    )
    return words, good


# ---- the others


def used_by(process: subprocess.Popen[Any]) -> tuple[bytes, float]:
    """A process's output and the processor seconds that it used."""
    assert process.stdout is not None
    said = process.stdout.read()
    _, process.returncode, used = os.wait4(process.pid, 0)
    return said, used.ru_utime + used.ru_stime


def iperf3(here: str) -> Peer:
    """Eight connections, ten seconds, each way."""
    found: dict[str, tuple[float, float, float]] = {}
    begun = time.monotonic()
    for way, more in (("down", ["-R"]), ("up", [])):
        words = command(here, "iperf3", "-c", THERE, "-p", str(IPERF3_PORT), "-P", "8", "-t", "10", "-J", *more)
        said, cpu = used_by(subprocess.Popen(words, stdout=subprocess.PIPE))
        end = json.loads(said)["end"]["sum_received"]
        found[way] = (end["bits_per_second"], end["bytes"] / PAYLOAD, cpu)
    seconds = time.monotonic() - begun
    return Peer(
        "iperf3 -P 8, 10 s", found["down"][0], found["up"][0], found["down"][1] + found["up"][1], seconds,
        found["down"][2] + found["up"][2],
    )  # fmt: skip


def speedtest(here: str) -> Peer:
    """speedtest-cli, which reaches the server as its proxy."""
    proxy = f"http://{THERE}:{SPEEDTEST_PORT}"
    environment = {**os.environ, "http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}
    begun = time.monotonic()
    words = command(here, sys.executable, "-W", "ignore", "-m", "speedtest", "--json")
    said, cpu = used_by(subprocess.Popen(words, stdout=subprocess.PIPE, env=environment))
    found = json.loads(said)
    size = (found["bytes_received"] + found["bytes_sent"]) / PAYLOAD
    return Peer("speedtest-cli 2.1.3", found["download"], found["upload"], size, time.monotonic() - begun, cpu)


def peers(here: str, case: Case, ours: list[Measured]) -> None:
    """Prints the others beside ours, each against what it can measure at best."""
    print(f"\n**Others on the same line ({case.name}, RTT {case.rtt:.0f} ms)**\n")
    print("| | down/up, Mbps | error, % | MB | seconds | processor-s | bytes and time, of ours |")
    print("|---|---|---|---|---|---|---|")
    size = statistics.median(sum(one.counts.get("test_bytes", 0) for one in run.results) for run in ours)
    seconds = statistics.median(run.seconds for run in ours)
    cpu = statistics.median(run.cpu for run in ours)
    rates = [statistics.median(run.results[n].values.get("throughput", 0.0) for run in ours) for n in (0, 1)]
    wrong = [(rate / (truth * MBPS) - 1) * 100 for rate, truth in zip(rates, (case.down, case.up), strict=True)]
    print(
        f"| phrom, tcp (IP layer) | {rates[0] / MBPS:.1f}/{rates[1] / MBPS:.1f} | {wrong[0]:+.1f}/{wrong[1]:+.1f} "
        f"| {size / 1e6:.0f} | {seconds:.1f} | {cpu:.2f} | 1 |"
    )
    for one in (iperf3(here), speedtest(here)):
        down, up = (rate / (truth * MBPS * PAYLOAD) - 1 for rate, truth in ((one.down, case.down), (one.up, case.up)))
        print(
            f"| {one.name} (payload) | {one.down / MBPS:.1f}/{one.up / MBPS:.1f} | {down * 100:+.1f}/{up * 100:+.1f} "
            f"| {one.size / 1e6:.0f} | {one.seconds:.1f} | {one.cpu:.2f} "
            f"| {one.size / size:.0f} x, {one.seconds / seconds:.0f} x |"
        )


async def serve_speedtest() -> None:
    """Inside the hall: the server that speedtest-cli asks, until stdin ends."""
    from tests.support.fake_speedtest import fake_speedtest

    async with fake_speedtest(THERE, SPEEDTEST_PORT, seconds=10, threads=8, per_url=4, chunks=10):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


@contextlib.contextmanager
def servers(there: str, others: bool) -> Iterator[str]:
    """What stands in the hall; gives our responder's port."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> str:
        process = subprocess.Popen(
            command(there, sys.executable, "-m", *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return process.stdout.readline()

    other: subprocess.Popen[bytes] | None = None
    try:
        port = start("tests.support.throughput_ends", "respond", THERE).split()[1]
        if others:
            assert start("bench.throughput_accuracy", "--serve-speedtest") == "ready\n"
            other = subprocess.Popen(command(there, "iperf3", "-s", "-B", THERE), stdout=subprocess.DEVNULL)
        yield port
    finally:
        if other is not None:
            other.terminate()
            other.wait()
        for one in started:
            one.communicate(timeout=10)


def main() -> int:
    """Builds the line, measures, prints; 1 when the claim does not hold."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=20, help="runs on each line")
    words.add_argument("--lines", nargs="*", default=[one.name for one in CASES], help="names of lines")
    words.add_argument("--no-peers", action="store_true")
    words.add_argument("--serve-speedtest", action="store_true", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.serve_speedtest:
        asyncio.run(serve_speedtest())
        return 0
    if os.geteuid() != 0:
        print("throughput_accuracy: needs root, for network namespaces", file=sys.stderr)
        return 2
    cases = [one for one in CASES if one.name in given.lines]
    with Lab() as lab:
        here, there = lab.space("here"), lab.space("there")
        with lab.line(here, HERE, there, THERE) as line, servers(there, not given.no_peers) as port:
            print("Truth: the emulator's rate at the IP layer. Errors in percent of it, the worst of all runs.\n")
            print("| line | runs | worst down | worst up | aim | median | MB both | s both | s each | processor-s |")
            print("|---|---|---|---|---|---|---|---|---|---|")
            good = True
            first: list[Measured] = []
            for case in cases:
                shaped(line, case)
                found = runs_of(lab, case, given.runs, port, here)
                text, holds = row(case, found)
                print(text, flush=True)
                good = good and holds
                first = first or found
            if not given.no_peers:
                shaped(line, cases[0])
                peers(here, cases[0], first)
    print("\nThe claim holds." if good else "\nTHE CLAIM DOES NOT HOLD.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

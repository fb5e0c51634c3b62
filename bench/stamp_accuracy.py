"""Claim: STAMP counts loss each way exactly, and its delay and jitter are within 0.2 ms of the path's own.

A path with a known delay, jitter and loss each way between two network namespaces: the stamp probe at one end, the
responder's reflector, in a process of its own, at the other; beside them a collector whose ingest is loaded, on the
same cores. First delay and jitter, with fping on the same path at the same time; then loss, against what the emulator
says that it dropped. Both ends read one machine's clock, so they are told that it is right. Needs root, gcc and fping.

    .venv/bin/python -m bench.stamp_accuracy [--seconds 60] [--ingest 2000]
"""

import argparse
import asyncio
import contextlib
import gzip
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.probe import Finding, Span, Target
from agent.probes.stamp import Stamp, StampSettings
from bench.rtt_accuracy import fping_times
from tests.lab.path import Counted, Lab, Line, command
from wire.histogram import Histogram, merge

HERE, THERE = "10.93.0.1", "10.93.0.2"
PORT = 8862
UP, DOWN = {"delay": 0.008, "jitter": 0.002}, {"delay": 0.012, "jitter": 0.004}
"""Seconds; jitter is uniform from 0 to this. "up" is from here to there."""
LOSS_UP, LOSS_DOWN = 0.03, 0.01
LIMIT = 0.2
"""Milliseconds."""
WINDOW = 10.0
FPING_EVERY = 0.1


class Measured(msgspec.Struct):
    """The windows of one command, together."""

    counts: dict[str, int]
    durations: dict[str, Histogram]
    jitter: float
    cpu: float
    """Percent of a core."""
    facts: list[str]


# ---- inside the namespaces


async def reflect() -> None:
    """The reflector, until stdin ends."""
    from collector.responder.admission import Admission, Capacity
    from collector.responder.stamp import serve
    from tests.support.lending import SECRET
    from wire.kernel_clock import ClockState

    def now() -> int:
        return time.time_ns() // 1000

    server = await serve(THERE, PORT, Admission("hall", SECRET, Capacity(10**9, 10**9), now()), now)
    server.look = lambda: ClockState(True, 0)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


async def measure() -> None:
    """The probe: for each line of stdin that many seconds of windows, and a line of JSON."""
    from tests.support.stamp_lender import Lender
    from wire.kernel_clock import ClockState

    probe = Stamp(lambda: ClockState(True, 0))
    target = Target("hall", "", StampSettings(responder="hall", host=THERE, port=PORT), Lender())
    while line := await asyncio.to_thread(sys.stdin.readline):
        found = await _windows(probe, target, float(line))
        print(msgspec.json.encode(found).decode(), flush=True)
    probe.close()


async def _windows(probe: Stamp, target: Target, seconds: float) -> Measured:
    cpu, begun = time.process_time(), time.monotonic()
    tasks: list[asyncio.Task[Finding]] = []
    count = max(1, round(seconds / WINDOW))
    for number in range(count):
        await asyncio.sleep(begun + number * seconds / count - time.monotonic())
        length = seconds / count
        tasks.append(asyncio.create_task(probe.measure(target, Span(length, length + 10))))
    found = await asyncio.gather(*tasks)
    took = (time.process_time() - cpu) / (time.monotonic() - begun) * 100
    names = {name for one in found for name in one.counts}
    durations = {name for one in found for name in one.durations}
    return Measured(
        counts={name: sum(one.counts.get(name, 0) for one in found) for name in names},
        durations={name: merge(one.durations[name] for one in found if name in one.durations) for name in durations},
        jitter=statistics.mean(one.values.get("jitter", 0.0) for one in found),
        cpu=took,
        facts=sorted({f"{name} {value}" for one in found for name, value in one.facts.items()}),
    )


# ---- the load beside it


def load(seconds: float, rate: float) -> None:
    """A collector that takes in ``rate`` observations a second for so long; prints how fast it answered."""
    from bench.district import LENGTH, PARTS, PER_BATCH, Agent
    from bench.ingest import STORED, _collector, free_port, register, running
    from bench.load import drive, request

    number = 32
    batches = int(rate * seconds / PER_BATCH / number) + 1
    start = time.time_ns() // 1000 - (batches // PARTS + 2) * LENGTH
    agents = [Agent(one, start) for one in range(number)]
    queues = []
    for one in agents:
        headers = {**one.headers, "Content-Encoding": "gzip"}
        bodies = [gzip.compress(one.next()[0], compresslevel=1, mtime=0) for _ in range(batches)]
        queues.append([request("/api/v1/observations", body, headers) for body in bodies])
    with tempfile.TemporaryDirectory(prefix="phrom-bench-") as folder:
        asyncio.run(register(Path(folder) / "phrom.db", agents))
        port = free_port()
        with running(_collector(Path(folder), port), port, "/readyz"):
            beats = [[request("/api/v1/observations", one.heartbeat(), one.headers)] for one in agents]
            drive("127.0.0.1", port, beats, 30.0, wanted=b'"received"')
            print("ready", flush=True)
            loaded = drive("127.0.0.1", port, queues, seconds, pace=number * PER_BATCH / rate, wanted=STORED)
    if loaded.failures:
        raise SystemExit(loaded.failures[0])
    print(f"{loaded.done * PER_BATCH / loaded.seconds:,.0f} observations a second taken in", flush=True)


# ---- outside


@contextlib.contextmanager
def started(*words: str, ready: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A process of this bench, ended by the end of its stdin."""
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if ready and process.stdout.readline() != "ready\n":
            raise SystemExit(f"{' '.join(words[-3:])} did not start")
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(process: subprocess.Popen[str], seconds: float) -> Measured:
    """So many seconds of the probe."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=Measured)


def mean(found: Measured, name: str) -> float:
    """Milliseconds."""
    value = found.durations[name].mean
    assert value is not None
    return value / 1e6


def row(name: str, said: float, truth: float, peer: str = "") -> bool:
    """One row of the first table; whether it is within the limit."""
    print(f"| {name} | {said:.3f} | {truth:.3f} | {said - truth:+.3f} | {peer} | ±{LIMIT} |")
    return abs(said - truth) <= LIMIT


def delays(here: str, probe: subprocess.Popen[str], seconds: float) -> bool:
    """Delay and jitter beside fping; whether the claim holds."""
    count = round(seconds / FPING_EVERY)
    words = ["chrt", "-f", "20", "fping", "-q", "-C", str(count), "-p", str(round(FPING_EVERY * 1000)), THERE]
    peer = subprocess.Popen(command(here, *words), stderr=subprocess.PIPE, text=True)
    found = ask(probe, seconds)
    times = fping_times(peer.communicate(timeout=60)[1])
    up, down = (1000 * (way["delay"] + way["jitter"] / 2) for way in (UP, DOWN))
    theirs = statistics.mean(abs(after - before) for before, after in itertools.pairwise(times))
    print("\n**Delay and jitter, ms**\n")
    print("| | stamp probe | emulator | difference | fping | limit |\n|---|---|---|---|---|---|")
    good = [
        row("RTT, mean", mean(found, "rtt"), up + down, f"{statistics.mean(times):.2f}"),
        row("delay up, mean", mean(found, "delay_up"), up),
        row("delay down, mean", mean(found, "delay_down"), down),
        row("jitter of the worse way", found.jitter * 1000, 1000 * DOWN["jitter"] / 3, f"{theirs:.2f} (round trip)"),
        row("delay variation up, mean", mean(found, "delay_variation_up"), 1000 * UP["jitter"] / 2),
        row("delay variation down, mean", mean(found, "delay_variation_down"), 1000 * DOWN["jitter"] / 2),
    ]
    sent, lost = found.counts["sent"], found.counts["lost"]
    print(f"\n{sent} packets, {lost} lost; {found.cpu:.2f} % of a core. {' '.join(found.facts)}")
    return all(good) and not lost


def losses(line: Line, probe: subprocess.Popen[str], seconds: float) -> bool:
    """Loss each way against the emulator's counters; whether it is exact."""
    line.set("forward", loss=LOSS_UP)
    line.set("back", loss=LOSS_DOWN)
    before = line.stats()
    first = ask(probe, seconds)
    line.set("both", loss=0)
    rest = ask(probe, 1.0)  # its answers tell on which way the very last ones were lost
    after = line.stats()
    ours = {name: first.counts[name] + rest.counts[name] for name in first.counts}
    up, down = (_since(before[way], after[way]) for way in ("forward", "back"))
    print("\n**Loss, packets**\n\n| | stamp probe | emulator | difference |\n|---|---|---|---|")
    rows = [
        ("sent up", ours["sent_up"], up.taken), ("lost up", ours["lost_up"], up.lost),
        ("sent down", ours["sent_down"], down.taken), ("lost down", ours["lost_down"], down.lost),
        ("lost, there and back", ours["lost"], up.lost + down.lost),
    ]  # fmt: skip
    for name, said, truth in rows:
        print(f"| {name} | {said} | {truth} | {said - truth:+d} |")
    return all(said == truth for _, said, truth in rows)


def _since(before: Counted, after: Counted) -> Counted:
    return Counted(*(late - early for early, late in zip(before, after, strict=True)))


def main() -> int:
    """Builds the path, loads, measures, prints; 1 when the claim does not hold."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=60.0, help="length of each of the two phases")
    words.add_argument("--ingest", type=float, default=2000.0, help="observations a second beside it; 0 = none")
    words.add_argument("--inside", choices=["reflect", "measure", "load"], help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.inside == "load":
        load(given.seconds, given.ingest)
        return 0
    if given.inside:
        asyncio.run(reflect() if given.inside == "reflect" else measure())
        return 0
    if os.geteuid() != 0:
        print("stamp_accuracy: needs root, for network namespaces", file=sys.stderr)
        return 2
    ours = [sys.executable, "-m", "bench.stamp_accuracy"]
    long = 2 * given.seconds + 15
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        here, there = lab.space("here"), lab.space("there")
        for space in (here, there):  # whose router solicitations the emulator would count
            lab.inside(
                space, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"
            )
        line = stack.enter_context(
            lab.line(here, HERE, there, THERE, back=DOWN, delay=UP["delay"], jitter=UP["jitter"])
        )
        stack.enter_context(started(*command(there, *ours, "--inside", "reflect")))
        probe = stack.enter_context(started(*command(here, *ours, "--inside", "measure"), ready=False))
        ask(probe, 1.0)  # opens the session
        if given.ingest:
            beside = ["--inside", "load", "--seconds", str(long), "--ingest", str(given.ingest)]
            loading = stack.enter_context(started(*ours, *beside))
        good = delays(here, probe, given.seconds)
        good = losses(line, probe, given.seconds) and good
        if given.ingest:
            assert loading.stdout is not None
            print(f"\nBeside it: {loading.stdout.readline().strip()}.")
    print("\nThe claim holds." if good else "\nTHE CLAIM DOES NOT HOLD.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

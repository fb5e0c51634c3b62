"""Claim: the icmp probe's times are as good as fping's, also while the agent does other work, and its loss is exact.

A path of 20 ms between two network namespaces; on it, at the same time, the icmp probe in continuous windows and
fping. First with the agent quiet, then while the same process opens TCP connections, fetches pages and blocks its event
loop for 20 ms ten times a second. A rule of nftables drops every 20th echo of the agent alone and counts: the loss that
the probe reports must equal that counter. Needs root, fping, nft and gcc.

    .venv/bin/python -m bench.rtt_accuracy [--seconds 100]
"""

import argparse
import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import msgspec

from agent.probe import Finding, Span, Target, load
from agent.probes.icmp import IcmpSettings
from tests.lab.path import Held, Lab, Line, command, run
from wire.histogram import Histogram, merge

HERE, THERE = "10.90.0.1", "10.90.0.2"
DELAY = 0.010
INTERVAL = 0.05
WINDOW = 5.0
SIZE = 57
"""One byte more than fping's: by its length nft knows the agent's echo."""
DROP_EVERY = 20
WARM_UP = 1.0

RULES = f"""
table ip bench {{
  chain arriving {{
    type filter hook prerouting priority 0;
    icmp type echo-request ip length {SIZE + 28} counter name "agent"
    icmp type echo-request ip length {SIZE + 28} numgen inc mod {DROP_EVERY} 0 counter name "dropped" drop
  }}
  counter agent {{}}
  counter dropped {{}}
}}
"""


class Ours(msgspec.Struct):
    """What the agent's process measured."""

    sent: int
    lost: int
    others: dict[str, int]
    """Findings of the other probes, by name and outcome."""
    rtt: Histogram
    jitter: float


async def measure(seconds: float, busy: bool) -> Ours:
    """Runs inside the namespace: continuous windows, and the other work beside them."""
    probe = load("icmp").make()
    settings = IcmpSettings(host=THERE, interval=INTERVAL, size=SIZE)
    await probe.measure(Target("warm-up", "", IcmpSettings(host=THERE, interval=0.1)), Span(WARM_UP, 9))
    others: dict[str, int] = {}
    work = [asyncio.create_task(one) for one in (_tcp(others), _http(others), _block())] if busy else []
    await asyncio.sleep(WARM_UP)  # what the other probes import at their first run
    begun = time.monotonic()
    windows: list[asyncio.Task[Finding]] = []
    for number in range(max(1, round(seconds / WINDOW))):
        await asyncio.sleep(begun + number * WINDOW - time.monotonic())
        windows.append(asyncio.create_task(probe.measure(Target("there", "", settings), Span(WINDOW, WINDOW + 10))))
    findings = await asyncio.gather(*windows)
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    return Ours(
        sent=sum(one.counts["sent"] for one in findings),
        lost=sum(one.counts["lost"] for one in findings),
        others=others,
        rtt=merge(one.durations["rtt"] for one in findings),
        jitter=statistics.mean(one.values["jitter"] for one in findings),
    )


async def cost(seconds: float) -> float:
    """Runs inside the namespace: ten targets at an echo a second each; percent of a core."""
    probe = load("icmp").make()
    settings = IcmpSettings(host=THERE)
    targets = [Target(f"there-{number}", "", settings) for number in range(10)]

    async def one(number: int) -> None:
        await asyncio.sleep(number * 0.0973)  # as the schedule spreads them
        await probe.measure(targets[number], Span(seconds, seconds + 9))

    await probe.measure(targets[0], Span(WARM_UP, 9))
    cpu = time.process_time()
    await asyncio.gather(*map(one, range(len(targets))))
    return (time.process_time() - cpu) / seconds * 100


async def _repeat(name: str, settings: dict[str, object], every: float, others: dict[str, int]) -> None:
    info = load(name)
    probe = info.make()
    target = Target("there", "", msgspec.convert(settings, info.settings))
    try:
        while True:
            found = await probe.measure(target, Span(0, 5))
            key = f"{name} {found.outcome}"
            others[key] = others.get(key, 0) + 1
            await asyncio.sleep(every)
    finally:
        if hasattr(probe, "close"):
            await probe.close()


async def _tcp(others: dict[str, int]) -> None:
    await _repeat("tcp", {"host": THERE, "port": 8080}, 0.05, others)


async def _http(others: dict[str, int]) -> None:
    await _repeat("http", {"url": f"http://{THERE}:8080/"}, 0.1, others)


async def _block() -> None:
    """What a probe must not do, and what a handshake or a large answer does all the same: keeps the loop for itself."""
    while True:
        ends = time.monotonic() + 0.020
        while time.monotonic() < ends:
            pass
        await asyncio.sleep(0.080)


def fping(space: str, seconds: float) -> subprocess.Popen[str]:
    """Starts fping for as long as the probe measures."""
    count = round((max(1, round(seconds / WINDOW)) * WINDOW) / INTERVAL)
    # At real-time priority, so that its figures are the path's and not those of a busy machine.
    words = [
        "chrt",
        "-f",
        "20",
        "fping",
        "-q",
        "-C",
        str(count),
        "-p",
        str(round(INTERVAL * 1000)),
        "-t",
        "2000",
        THERE,
    ]
    return subprocess.Popen(command(space, *words), stderr=subprocess.PIPE, text=True)


def fping_times(said: str) -> list[float]:
    """Milliseconds, as fping prints them (three digits, so tenths of a millisecond at 20 ms)."""
    return [float(word) for word in said.partition(" : ")[2].split() if word != "-"]


def counter(lab: Lab, space: str, name: str) -> int:
    """Packets that a counter of nftables has seen."""
    said = lab.inside(space, "nft", "list", "counter", "ip", "bench", name)
    match = re.search(r"packets (\d+)", said)
    assert match, said
    return int(match[1])


def footprint(here: str, seconds: float) -> None:
    """Prints what ten echoes a second cost, beside fping doing the same at the same time."""
    words = [sys.executable, "-m", "bench.rtt_accuracy", "--inside", "--cost", "--seconds", str(seconds)]
    agent = subprocess.Popen(command(here, *words), stdout=subprocess.PIPE, text=True)
    peer = subprocess.Popen(
        command(here, "fping", "-q", "-c", str(round(seconds)), "-p", "1000", *[THERE] * 10),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    said, _ = agent.communicate(timeout=seconds + 60)
    _, peer.returncode, used = os.wait4(peer.pid, 0)
    ours, theirs = float(said), (used.ru_utime + used.ru_stime) / seconds * 100
    print("\n**ten targets, an echo a second each**\n")
    print("| | icmp probe | fping | ratio | aim |\n|---|---|---|---|---|")
    print(f"| processor, % of a core | {ours:.2f} | {theirs:.2f} | {ours / theirs:.1f} | 0.3 |")


def phase(lab: Lab, here: str, there: str, seconds: float, busy: bool) -> tuple[Ours, list[float], int, int]:
    """The probe and fping side by side; returns what each measured, and the counters' increase."""
    before = counter(lab, there, "agent"), counter(lab, there, "dropped")
    words = [sys.executable, "-m", "bench.rtt_accuracy", "--inside", "--seconds", str(seconds)]
    agent = subprocess.Popen(command(here, *words, *(["--busy"] if busy else [])), stdout=subprocess.PIPE, text=True)
    time.sleep(2 * WARM_UP)
    peer = fping(here, seconds)
    said, _ = agent.communicate(timeout=seconds + 60)
    _, times = peer.communicate(timeout=60)
    ours = msgspec.json.decode(said, type=Ours)
    after = counter(lab, there, "agent"), counter(lab, there, "dropped")
    return ours, fping_times(times), after[0] - before[0], after[1] - before[1]


def of(times: list[float], q: float) -> float:
    """Nearest-rank quantile."""
    ordered = sorted(times)
    return ordered[max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1)]


def ours_of(ours: Ours, q: float) -> float:
    """Quantile in milliseconds among the echoes that came back."""
    value = msgspec.structs.replace(ours.rtt, lost=0).quantile(q)
    assert value is not None
    return value / 1e6


def table(name: str, ours: Ours, peer: list[float], seen: int, dropped: int) -> bool:
    """Prints one phase; says whether the claim holds."""
    good = True
    print(f"\n**{name}**\n")
    print("| | icmp probe | fping | difference | limit |\n|---|---|---|---|---|")
    for label, q, limit in (("median", 0.5, 0.1), ("p99", 0.99, 1.0)):
        mine, theirs = ours_of(ours, q), of(peer, q)
        good = good and abs(mine - theirs) <= limit
        print(f"| RTT {label}, ms | {mine:.3f} | {theirs:.2f} | {mine - theirs:+.3f} | ±{limit} |")
    print(f"| RTT least, ms | {ours.rtt.low / 1e6:.3f} | {min(peer):.2f} | {ours.rtt.low / 1e6 - min(peer):+.3f} | |")
    print(f"| RTT most, ms | {ours.rtt.high / 1e6:.3f} | {max(peer):.2f} | {ours.rtt.high / 1e6 - max(peer):+.3f} | |")
    good = good and ours.lost == dropped and ours.sent == seen
    print(f"| echoes | {ours.sent} (nft saw {seen}) | {len(peer)} | {ours.sent - seen:+d} | 0 |")
    print(f"| lost | {ours.lost} (nft dropped {dropped}) | | {ours.lost - dropped:+d} | 0 |")
    print(f"| jitter, ms | {ours.jitter * 1000:.3f} | | | |")
    if ours.others:
        print("\nBeside it: " + ", ".join(f"{count} x {what}" for what, count in sorted(ours.others.items())))
    return good


def main() -> int:
    """Builds the path, measures, prints; 1 when the claim does not hold."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=100.0, help="length of the whole (three phases)")
    words.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    words.add_argument("--busy", action="store_true", help=argparse.SUPPRESS)
    words.add_argument("--cost", action="store_true", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.cost:
        print(asyncio.run(cost(given.seconds)))
        return 0
    if given.inside:
        print(msgspec.json.encode(asyncio.run(measure(given.seconds, given.busy))).decode())
        return 0
    if os.geteuid() != 0:
        print("rtt_accuracy: needs root, for network namespaces and nftables", file=sys.stderr)
        return 2
    with Lab() as lab:
        here, there = lab.space("here"), lab.space("there")
        subprocess.run(command(there, "nft", "-f", "-"), input=RULES, text=True, check=True)
        with lab.line(here, HERE, there, THERE, DELAY) as line:
            good = compare(lab, line, here, there, given.seconds * 0.4)
    for direction, held in line.held.items():
        print(_truth(direction, held))
    print("\nThe claim holds." if good else "\nTHE CLAIM DOES NOT HOLD.")
    return 0 if good else 1


def compare(lab: Lab, line: Line, here: str, there: str, seconds: float) -> bool:
    """Both phases."""
    folder = tempfile.mkdtemp(prefix="phrom-bench-")
    server = subprocess.Popen(
        command(there, sys.executable, "-m", "http.server", "8080", "--bind", THERE, "--directory", folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        run(*command(here, "fping", "-q", "-c", "5", "-p", "100", THERE))
        print(f"Path: {2 * DELAY * 1000:.0f} ms ({line.left}); an echo every {INTERVAL * 1000:.0f} ms from each tool.")
        print("fping prints three digits, so tenths of a millisecond here; the probe's buckets are 0.54 % wide.")
        quiet = table("agent quiet", *phase(lab, here, there, seconds, busy=False))
        busy = table("agent busy with other probes", *phase(lab, here, there, seconds, busy=True))
        footprint(here, max(5.0, seconds / 2))
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(folder)
    return quiet and busy


def _truth(direction: str, held: Held) -> str:
    return (
        f"\nEmulator, {direction}: {held.packets} packets held {DELAY * 1000:.0f} ms "
        f"+ {held.over_p50:.1f} µs (median), {held.over_p99:.1f} µs (p99), {held.over_max:.1f} µs (most)."
    )


if __name__ == "__main__":
    sys.exit(main())

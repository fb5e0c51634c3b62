"""How much a collector takes in, and what that costs beside a Prometheus that takes the equivalent samples.

Real HTTP on loopback. Agents post batches of 6 observations (gzip, as they do); the receipt is sent after the commit
(SQLite in WAL with ``synchronous=FULL``). In the same run and from the same generator, Debian's Prometheus takes by
remote write 1.0 the samples that the collector would serve of those observations by remote read. A value is one such
sample. The CPU of each is that of its process alone, from proc(5); the generator shares the machine's cores with it.

    python -m bench.ingest [--seconds 10] [--agents 64] [--rounds 2]
"""

import argparse
import asyncio
import gzip
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from sqlalchemy import Connection

from bench.district import LENGTH, PARTS, PER_BATCH, Agent, remote_write
from bench.load import Loaded, drive, request
from collector.credentials import hash_of
from collector.store import Store
from collector.store.schema import agent as agent_table
from collector.store.schema import token as token_table
from wire.clock import HOUR

TICKS = os.sysconf("SC_CLK_TCK")
STORED = b'"status":"stored"'
PACED = 5000.0
"""Observations a second of the paced round: the claim."""


def cpu_of(pid: int) -> float:
    """CPU seconds of a process, user and system (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_of(pid: int) -> float:
    """Resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Round:
    """One round of load on one side."""

    loaded: Loaded
    cpu: float
    rss: float

    def per_million(self, samples: float) -> float:
        """CPU seconds for a million values, where a batch holds ``samples``."""
        return self.cpu / (self.loaded.done * samples) * 1e6


@dataclass
class Side:
    """One of the two: its process and the requests prepared for it, a queue a connection."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    queues: list[list[bytes]]
    wanted: bytes = b""
    taken: int = 0
    rounds: dict[str, list[Round]] = field(default_factory=dict)

    def run(self, kind: str, batches: int, seconds: float, pace: float = 0.0) -> None:
        """One round with the next ``batches`` of each queue."""
        part = [queue[self.taken : self.taken + batches] for queue in self.queues]
        self.taken += batches
        before = cpu_of(self.process.pid)
        loaded = drive("127.0.0.1", self.port, part, seconds, pace=pace, wanted=self.wanted)
        if loaded.failures:
            raise SystemExit(f"{self.name}: {loaded.failures[0]}")
        cpu = cpu_of(self.process.pid) - before
        self.rounds.setdefault(kind, []).append(Round(loaded, cpu, rss_of(self.process.pid)))

    def row(self, kind: str, samples: float) -> str:
        """The medians of the rounds as a row of the table."""
        rounds = self.rounds[kind]
        rate = median(one.loaded.done / one.loaded.seconds for one in rounds)
        p50, p99 = (median(one.loaded.quantile(q) for one in rounds) * 1000 for q in (0.5, 0.99))
        figures = [f"{rate * PER_BATCH:,.0f}", f"{rate * samples:,.0f}", f"{p50:.1f}", f"{p99:.1f}"]
        figures += [f"{self.cost(kind, samples):.2f}", f"{max(one.rss for one in rounds):.0f}"]
        return " | ".join([f"| {kind}, {self.name}", *figures]) + " |"

    def cost(self, kind: str, samples: float) -> float:
        """Median CPU seconds for a million values."""
        return median(one.per_million(samples) for one in self.rounds[kind])


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, ready: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, ready to be asked; ended in order."""
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + 60
        while not _answers(port, ready):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command[0]} did not become ready")
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _answers(port: int, path: str) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status == 200
    except OSError:
        return False


async def register(store_file: Path, agents: list[Agent]) -> None:
    """Puts agents with their tokens into a new store."""
    store = await asyncio.to_thread(Store.open, store_file)
    now = time.time_ns() // 1000

    def write(connection: Connection) -> None:
        for one in agents:
            connection.execute(
                agent_table.insert().values(id=one.id, site=one.site, link=one.id, role="link", created=now)
            )
            values = {"hash": hash_of(one.token), "kind": "agent", "agent": one.id, "created": now, "used": now}
            connection.execute(token_table.insert().values(values))

    await store.write(write)
    await asyncio.to_thread(store.close)


def prepare(agents: list[Agent], batches: int) -> tuple[list[list[bytes]], list[list[bytes]], float]:
    """Requests for both, made of the same observations, and the samples of a batch."""
    ours, theirs, samples = [], [], 0
    remote = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
              "X-Prometheus-Remote-Write-Version": "0.1.0"}  # fmt: skip
    for one in agents:
        queue, peer = [], []
        headers = {**one.headers, "Content-Encoding": "gzip"}
        for _ in range(batches):
            body, windows, end = one.next()
            queue.append(request("/api/v1/observations", gzip.compress(body, compresslevel=6, mtime=0), headers))
            written, number = remote_write(one, windows, end)
            peer.append(request("/api/v1/write", written, remote))
            samples += number
        ours.append(queue)
        theirs.append(peer)
    return ours, theirs, samples / (batches * len(agents))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Prepares, runs the rounds in turn and prints the table."""
    most = int(options.most * options.seconds / PER_BATCH / options.agents)
    paced = int(PACED * options.seconds / PER_BATCH / options.agents)
    batches = most * options.rounds + paced
    start = time.time_ns() // 1000 - (batches // PARTS + 2) * LENGTH  # the last one ends before now
    agents = [Agent(number, start) for number in range(options.agents)]
    print(f"preparing {batches * options.agents:,} batches …", file=sys.stderr)
    ours, theirs, samples = prepare(agents, batches)
    asyncio.run(register(folder / "phrom.db", agents))
    ports = free_port(), free_port()
    with (
        running(_collector(folder, ports[0]), ports[0], "/readyz") as collector,
        running(_prometheus(folder, ports[1]), ports[1], "/-/ready") as prometheus,
    ):
        beats = [[request("/api/v1/observations", one.heartbeat(), one.headers)] for one in agents]
        drive("127.0.0.1", ports[0], beats, 30.0, wanted=b'"received"')
        sides = [
            Side("Phrom", collector, ports[0], ours, STORED),
            Side("Prometheus", prometheus, ports[1], theirs),
        ]
        for _ in range(options.rounds):
            for side in sides:
                side.run("as fast as it goes", most, options.seconds)
        for side in sides:
            side.run(f"{PACED:,.0f} a second", paced, options.seconds, options.agents * PER_BATCH / PACED)
        report(options, sides, samples)
    values = samples / PER_BATCH
    cpu, windows = asyncio.run(pack(folder / "phrom.db"))
    print(f"| packing the hour and its roll-ups, once it is past | | | | | {cpu / (windows * values) * 1e6:.2f} | |")


async def pack(store_file: Path) -> tuple[float, int]:
    """CPU seconds of packing everything that was taken, as the collector does once an hour is past; and windows."""
    store = await asyncio.to_thread(Store.open, store_file)
    later = time.time_ns() // 1000 + 3 * HOUR
    before = time.process_time()
    done = await store.maintain(later)
    cpu = time.process_time() - before
    await asyncio.to_thread(store.close)
    return cpu, max(1, done.windows)


def report(options: argparse.Namespace, sides: list[Side], samples: float) -> None:
    """Prints the table."""
    print(
        f"{options.agents} connections, batches of {PER_BATCH} observations = {samples:.0f} samples; "
        f"{os.cpu_count()} cores, the load generator included\n"
    )
    print("| | observations/s | samples/s | p50 ms | p99 ms | CPU-s per million values | RSS MB |")
    print("|---|---|---|---|---|---|---|")
    for kind in sides[0].rounds:
        for side in sides:
            print(side.row(kind, samples))
        ratio = sides[0].cost(kind, samples) / sides[1].cost(kind, samples)
        print(f"| {kind}: CPU, Phrom ÷ Prometheus | | | | | **{ratio:.2f}** | |")
    for side in sides:
        for one in side.rounds["as fast as it goes"]:
            if one.loaded.seconds < options.seconds * 0.9:
                ran = f"{side.name}: the prepared batches ran out after {one.loaded.seconds:.1f} s; raise --most"
                print(ran, file=sys.stderr)


def _collector(folder: Path, port: int) -> list[str]:
    config = folder / "collector.yaml"
    limits = "limits:\n  requests_per_second: 10000\n  series_per_agent: 10000\n"
    config.write_text(f"data: {folder}\nport: {port}\nlog: json\nlog_level: warning\n{limits}")
    return [sys.executable, "-m", "collector.cli", "serve", "--config", str(config)]


def _prometheus(folder: Path, port: int) -> list[str]:
    config = folder / "prometheus.yml"
    config.write_text("global: {}\n")
    return [
        shutil.which("prometheus") or "/usr/bin/prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--log.level=error",
    ]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=2, help="rounds as fast as it goes, in turn")
    parser.add_argument("--agents", type=int, default=64, help="connections, each an agent of its own")
    parser.add_argument("--most", type=float, default=28_000.0, help="observations a second to prepare for")
    with tempfile.TemporaryDirectory(prefix="phrom-bench-") as folder:
        measure(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()

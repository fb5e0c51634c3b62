"""How much a collector takes in, and what that costs beside a Prometheus that takes the equivalent samples.

Real HTTP on loopback. Agents post batches of 6 observations (gzip, as they do), and a receipt is sent after the commit.
Debian's Prometheus takes, in the same run, what remote read would serve of those observations, by remote write 1.0. The
CPU of each is that of its process alone, from /proc.

    python -m bench.ingest [--seconds 20] [--agents 64] [--rounds 2]
"""

import argparse
import asyncio
import gzip
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cramjam
import msgspec

from bench.load import Loaded, drive, request
from collector import credentials
from collector.prometheus.mapping import OUTCOMES, QUANTILE_LABELS
from collector.store import Store
from collector.store.schema import agent as agent_table
from collector.store.schema import token as token_table
from wire.batch import GENESIS, AgentClock, Envelope, Sealed, StreamName, digest_of, new_stream_id, seal
from wire.clock import DAY, MINUTE, SECOND, Anchor
from wire.histogram import Histogram
from wire.measures import MEASURES
from wire.observation import Window
from wire.reasons import Outcome
from wire.version import PROTOCOL

SITES = 21
TARGETS = 30
PER_BATCH = 6
CPU_TICK = os.sysconf("SC_CLK_TCK")


class Agent:
    """One agent's stream of batches, each ready to be posted."""

    def __init__(self, number: int, random_: random.Random, start: int) -> None:
        self.number = number
        self.site = f"bench-{number % SITES + 1}"
        self.role = "link"
        self.id = f"bench-agent-{number}"
        self.token = credentials.new_token("agent")
        self.random = random_
        self.stream = new_stream_id()
        self.seq = 0
        self.prev = GENESIS
        self.boot = f"boot-{number}"
        self.start = start
        self.epoch = start - 30 * DAY
        self.bodies = [_observed(random_, place) for place in range(TARGETS)]

    def next(self) -> tuple[bytes, list[Window], int]:
        """The next envelope's JSON, its observations and their end in UTC microseconds."""
        cycle, part = divmod(self.seq, TARGETS // PER_BATCH)
        end = self.start + cycle * MINUTE + part * 10 * SECOND
        boottime = end - self.epoch
        windows = []
        for place in range(part * PER_BATCH, (part + 1) * PER_BATCH):
            windows.append(
                Window(
                    boot=self.boot,
                    start=boottime - MINUTE,
                    end=boottime,
                    wall_start=end - MINUTE,
                    wall_end=end,
                    settings="0123456789abcdef",
                    vantage="0a1b2c3d",
                    **self.bodies[place],
                )
            )
        self.seq += 1
        raw = seal(self.stream, StreamName.MONITOR, self.seq, self.prev, windows)
        self.prev = digest_of(raw)
        return self._envelope([Sealed(self.prev, msgspec.Raw(raw))]), windows, end

    def heartbeat(self) -> bytes:
        """An envelope without batches; its anchor is of now, so that the collector learns this boot's time."""
        return self._envelope([])

    def _envelope(self, batches: list[Sealed]) -> bytes:
        now = time.time_ns() // 1000
        clock = AgentClock(self.boot, now - self.epoch, now, Anchor(self.boot, now - self.epoch, now, 5_000))
        envelope = Envelope(protocol=PROTOCOL, agent_version="bench", clock=clock, batches=batches)
        return msgspec.json.encode(envelope)

    @property
    def headers(self) -> dict[str, str]:
        """Without those of the body's encoding."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}


def _observed(random_: random.Random, place: int) -> dict[str, object]:
    """What one target's windows hold: half of them echoes, the others services, as in a district."""
    kind = ("icmp", "http", "icmp", "tcp", "icmp", "dns")[place % 6]
    base = random_.uniform(2e6, 40e6)

    def durations(count: int) -> Histogram:
        return Histogram.of([int(base * random_.lognormvariate(0, 0.15)) for _ in range(count)])

    found: dict[str, object] = {"probe": kind, "target": f"{kind}-{place}", "outcome": Outcome.OK}
    if kind == "icmp":
        found["counts"] = {"sent": 60, "lost": 0, "duplicates": 0, "reordered": 0, "late": 0}
        found["values"] = {"jitter": 0.00123}
        found["durations"] = {"rtt": durations(60)}
    elif kind == "http":
        found["counts"] = {"status": 200, "redirects": 0}
        found["values"] = {"certificate_expiry": 5_000_000.0}
        found["durations"] = {name: durations(1) for name in ("lookup", "connect", "handshake", "first_byte", "whole")}
    elif kind == "tcp":
        found["durations"] = {"connect": durations(1)}
    else:
        found["counts"] = {"answers": 2}
        found["durations"] = {"lookup": durations(1)}
    return found


def samples_of(agent: Agent, window: Window) -> list[tuple[tuple[tuple[str, str], ...], float]]:
    """Labels and value of every sample that remote read would serve of a window (``collector.prometheus.mapping``)."""
    common = (("probe", window.probe), ("province", "bench"), ("role", agent.role), ("site", agent.site),
              ("link", agent.id), ("target", window.target))  # fmt: skip
    found = []

    def add(name: str, value: float, *extra: tuple[str, str]) -> None:
        found.append((tuple(sorted((("__name__", name), *common, *extra))), value))

    for outcome in OUTCOMES:
        add("phrom_outcome", float(window.outcome is outcome), ("outcome", outcome.value))
    for name, number in {**window.counts, **window.values}.items():
        add(MEASURES[name].metric, float(number))
    for name, histogram in window.durations.items():
        for q, label in QUANTILE_LABELS.items():
            add(MEASURES[name].metric, (histogram.quantile(q) or 0.0) / 1e9, ("quantile", label))
        add(f"phrom_{name}_mean_seconds", (histogram.mean or 0.0) / 1e9)
    return found


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


_labels: dict[tuple[tuple[str, str], ...], bytes] = {}


def remote_write(agent: Agent, windows: list[Window], end: int) -> tuple[bytes, int]:
    """A remote write 1.0 body (protobuf ``prometheus.WriteRequest``, snappy) and its number of samples."""
    import struct

    parts = []
    samples = [one for window in windows for one in samples_of(agent, window)]
    for labels, value in samples:
        head = _labels.get(labels)
        if head is None:
            head = _labels[labels] = b"".join(
                _field(1, _field(1, name.encode()) + _field(2, text.encode())) for name, text in labels
            )
        sample = b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(end // 1000)
        parts.append(_field(1, head + _field(2, sample)))
    return bytes(cramjam.snappy.compress_raw(b"".join(parts))), len(samples)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu(pid: int) -> float:
    """CPU seconds of a process, user and system (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CPU_TICK


def _rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _wait_for(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    import urllib.error
    import urllib.request

    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise SystemExit(f"{process.args!r} did not become ready")


async def _register(folder: Path, agents: list[Agent]) -> None:
    store = await asyncio.to_thread(Store.open, folder / "phrom.db")
    now = time.time_ns() // 1000

    def write(connection) -> None:
        for one in agents:
            connection.execute(
                agent_table.insert().values(id=one.id, site=one.site, link=one.id, role=one.role, created=now)
            )
            connection.execute(
                token_table.insert().values(
                    hash=credentials.hash_of(one.token), kind="agent", agent=one.id, created=now, used=now
                )
            )

    await store.write(write)
    await asyncio.to_thread(store.close)


class Side:
    """One of the two: its process and the figures of its rounds."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.rounds: list[tuple[Loaded, float, int]] = []

    def run(
        self, queues: list[list[bytes]], values: list[list[int]], seconds: float, pace: float, wanted: bytes
    ) -> None:
        """One round; what each done request carried counts as taken."""
        before = _cpu(self.process.pid)
        loaded = drive("127.0.0.1", self.port, queues, seconds, pace=pace, wanted=wanted)
        cpu = _cpu(self.process.pid) - before
        if loaded.failures:
            raise SystemExit(f"{self.name}: {loaded.failures[0]}")
        carried = sum(sum(one) for one in values)
        each = carried / max(1, sum(len(one) for one in values))
        self.rounds.append((loaded, cpu, int(loaded.done * each)))

    def stop(self) -> None:
        """Ends the process in order."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def _collector(folder: Path, port: int) -> subprocess.Popen[bytes]:
    config = folder / "collector.yaml"
    config.write_text(
        f"data: {folder}\nport: {port}\nlog: json\nlimits:\n  requests_per_second: 10000\n  series_per_agent: 10000\n"
    )
    command = os.environ.get("BENCH_COLLECTOR", f"{Path(sys.executable).parent / 'phrom-collector'}").split()
    return subprocess.Popen([*command, "serve", "--config", str(config)])


def _prometheus(folder: Path, port: int) -> subprocess.Popen[bytes]:
    (folder / "prometheus.yml").write_text("global: {}\n")
    return subprocess.Popen(
        [
            shutil.which("prometheus") or "/usr/bin/prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--log.level=error",
        ]
    )


def _prepare(agents: list[Agent], batches: int, ports: tuple[int, int]):
    """Requests for both, agent by agent, made of the same observations."""
    ours, theirs, observations, samples = [], [], [], []
    for one in agents:
        queue, peer, counts, numbers = [], [], [], []
        headers = {**one.headers, "Content-Encoding": "gzip"}
        for _ in range(batches):
            body, windows, end = one.next()
            packed = gzip.compress(body, compresslevel=6, mtime=0)
            queue.append(request("/api/v1/observations", f"127.0.0.1:{ports[0]}", packed, headers))
            written, number = remote_write(one, windows, end)
            peer.append(
                request(
                    "/api/v1/write",
                    f"127.0.0.1:{ports[1]}",
                    written,
                    {
                        "Content-Type": "application/x-protobuf",
                        "Content-Encoding": "snappy",
                        "X-Prometheus-Remote-Write-Version": "0.1.0",
                    },
                )
            )
            counts.append(len(windows))
            numbers.append(number)
        ours.append(queue)
        theirs.append(peer)
        observations.append(counts)
        samples.append(numbers)
    return ours, theirs, observations, samples


def _row(name: str, side: Side, samples_each: float, observations_each: float) -> tuple[str, float]:
    rate = median(loaded.done * observations_each / loaded.seconds for loaded, _, _ in side.rounds)
    p50 = median(loaded.quantile(0.5) for loaded, _, _ in side.rounds) * 1000
    p99 = median(loaded.quantile(0.99) for loaded, _, _ in side.rounds) * 1000
    cost = median(cpu / (loaded.done * samples_each) * 1e6 for loaded, cpu, _ in side.rounds)
    text = f"| {name} | {rate:,.0f} | {rate / observations_each * samples_each:,.0f} | {p50:.1f} | {p99:.1f} | {cost:.2f} |"
    return f"{text} {_rss(side.process.pid):.0f} |", cost


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--most", type=float, default=9000.0, help="observations a second to prepare for")
    parser.add_argument("--paced", type=float, default=5000.0, help="observations a second of the paced round")
    options = parser.parse_args()
    start = time.time_ns() // 1000 - 60 * SECOND
    agents = [Agent(number, random.Random(number), start) for number in range(options.agents)]  # same figures each run
    need = options.most * options.seconds * options.rounds + options.paced * options.seconds
    # A batch ends at most some minutes ahead of now: the collector refuses what lies in the future. Old minutes then.
    per_agent = int(need / PER_BATCH / options.agents) + 1
    for one in agents:
        one.start = start - per_agent // (TARGETS // PER_BATCH) * MINUTE
    with tempfile.TemporaryDirectory(prefix="phrom-bench-") as folder:
        root = Path(folder)
        (root / "c").mkdir()
        (root / "p").mkdir()
        ports = (_free_port(), _free_port())
        asyncio.run(_register(root / "c", agents))
        print(f"preparing {per_agent * options.agents:,} batches …", file=sys.stderr)
        ours, theirs, observations, samples = _prepare(agents, per_agent, ports)
        collector = Side("phrom", _collector(root / "c", ports[0]), ports[0])
        prometheus = Side("prometheus", _prometheus(root / "p", ports[1]), ports[1])
        try:
            _wait_for(ports[0], "/readyz", collector.process)
            _wait_for(ports[1], "/-/ready", prometheus.process)
            beats = [[request("/api/v1/observations", "localhost", one.heartbeat(), one.headers)] for one in agents]
            drive("127.0.0.1", ports[0], beats, 30.0, wanted=b'"received"')
            _rounds(options, collector, prometheus, ours, theirs, observations, samples)
        finally:
            collector.stop()
            prometheus.stop()


def _rounds(options, collector, prometheus, ours, theirs, observations, samples) -> None:
    each = sum(map(sum, samples)) / sum(map(len, samples))
    pace = options.agents * PER_BATCH / options.paced
    stored = b'"status":"stored"'
    taken = {"phrom": [0] * options.agents, "prometheus": [0] * options.agents}

    def next_part(side: Side, queues: list[list[bytes]], number: int) -> list[list[bytes]]:
        begun = taken[side.name]
        part = [queue[at : at + number] for queue, at in zip(queues, begun, strict=True)]
        taken[side.name] = [at + number for at in begun]
        return part

    share = int(options.most * options.seconds / PER_BATCH / options.agents)
    for _ in range(options.rounds):
        collector.run(next_part(collector, ours, share), observations, options.seconds, 0.0, stored)
        prometheus.run(next_part(prometheus, theirs, share), samples, options.seconds, 0.0, b"")
    ran_dry = any(len(one[0].latencies) >= share * options.agents for one in collector.rounds)
    saturated = [_row("phrom", collector, each, PER_BATCH), _row("prometheus", prometheus, each, PER_BATCH)]
    collector.rounds, prometheus.rounds = [], []
    share = int(options.paced * options.seconds / PER_BATCH / options.agents)
    collector.run(next_part(collector, ours, share), observations, options.seconds, pace, stored)
    prometheus.run(next_part(prometheus, theirs, share), samples, options.seconds, pace, b"")
    paced = [_row("phrom", collector, each, PER_BATCH), _row("prometheus", prometheus, each, PER_BATCH)]
    print(f"{options.agents} connections, batches of {PER_BATCH} observations, {each:.0f} samples a batch; 2 cores with "
          f"the load generator: {os.cpu_count()} here\n")  # fmt: skip
    print("| | observations/s | samples/s | p50 ms | p99 ms | CPU-s per million values | RSS MB |")
    print("|---|---|---|---|---|---|---|")
    for kind, rows in (("as fast as it goes", saturated), (f"paced at {options.paced:,.0f}/s", paced)):
        for text, _ in rows:
            print(text.replace("| ", f"| {kind}, ", 1))
        print(f"| {kind}: CPU, phrom / prometheus | | | | | {rows[0][1] / rows[1][1]:.2f} | |")
    if ran_dry:
        print("\nThe prepared batches ran out before the time: raise --most.")


if __name__ == "__main__":
    main()

"""What an agent costs its machine, beside Debian's blackbox exporter with Prometheus doing the same set.

20 targets on loopback: 10 echoed once a second, 5 TCP and 5 HTTP every 10 s. The agent is the real ``phrom-agent run``
with its spool, and an uplink to a collector that acknowledges; the peers probe every 10 s. Servers run in a process of
their own, which is not counted. Run as root or with the right to ping: ``python -m bench.agent_footprint``.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.footprint_world import HTTP, ICMP, TCP, TOKEN

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")
TARGET_RSS, DREAM_RSS, TARGET_CPU = 60.0, 45.0, 1.0
BLACKBOX = """modules:
  icmp: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4}}
  tcp: {prober: tcp, timeout: 5s}
  http: {prober: http, timeout: 5s}
"""


class Sample(NamedTuple):
    """Memory of one process in MB (10^6 bytes), and the CPU seconds it has used."""

    rss: float
    pss: float
    cpu: float


class Cost(NamedTuple):
    """What a process cost over the measured span."""

    rss: list[float]
    pss: list[float]
    cpu: float
    """Per cent of one core."""


def sample(pid: int) -> Sample:
    """Reads /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICK
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    }
    return Sample(memory["Rss"], memory["Pss"], cpu)


@contextmanager
def process(command: list[str], log: Path, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block."""
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **extra})
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_for(told: Path) -> dict[str, int]:
    """The ports of the servers."""
    until = time.monotonic() + 20
    while not told.exists():
        if time.monotonic() > until:
            raise SystemExit("the servers did not start")
        time.sleep(0.05)
    return dict(json.loads(told.read_text()))


def agent(stack: ExitStack, folder: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    """A joined agent."""
    state = folder / "agent"
    state.mkdir(mode=0o700)
    identity = {"url": f"http://127.0.0.1:{ports['collector']}", "agent": "bench", "token": TOKEN}
    (state / "identity.json").write_text(json.dumps({**identity, "province": "bench", "site": "bench"}))
    command = shutil.which("phrom-agent", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not command:
        raise SystemExit("phrom-agent is not installed beside this Python")
    environment = {"STATE_DIRECTORY": str(state), "PHROM_AGENT_CONFIG": ""}  # as systemd runs it, without a file
    return stack.enter_context(process([command, "run"], folder / "agent.log", **environment))


def peers(stack: ExitStack, folder: Path, ports: dict[str, int]) -> list[subprocess.Popen[bytes]]:
    """The blackbox exporter, and a Prometheus that scrapes it."""
    blackbox, prometheus = shutil.which("prometheus-blackbox-exporter"), shutil.which("prometheus")
    if not blackbox or not prometheus:
        print("peers not installed: the agent alone is measured (make tools)", file=sys.stderr)
        return []
    (folder / "blackbox.yml").write_text(BLACKBOX)
    sets = {
        "icmp": ICMP,
        "tcp": [f"{host}:{ports['tcp']}" for host in TCP],
        "http": [f"http://{host}:{ports['http']}/" for host in HTTP],
    }
    jobs = [
        {
            "job_name": module,
            "metrics_path": "/probe",
            "params": {"module": [module]},
            "static_configs": [{"targets": targets}],
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"source_labels": ["__param_target"], "target_label": "instance"},
                {"target_label": "__address__", "replacement": "127.0.0.1:19115"},
            ],
        }
        for module, targets in sets.items()
    ]
    settings = {"global": {"scrape_interval": "10s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
    return [
        stack.enter_context(
            process(
                [blackbox, f"--config.file={folder}/blackbox.yml", "--web.listen-address=127.0.0.1:19115"],
                folder / "blackbox.log",
            )
        ),
        stack.enter_context(
            process(
                [
                    prometheus,
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/tsdb",
                    "--web.listen-address=127.0.0.1:19190",
                ],
                folder / "prometheus.log",
            )
        ),
    ]


def watch(children: list[subprocess.Popen[bytes]], warm_up: float, seconds: float) -> list[Cost]:
    """Samples every 5 s after the warm-up; CPU over the whole of it."""
    time.sleep(warm_up)
    first = [sample(child.pid) for child in children]
    begun = time.monotonic()
    samples = [first]
    while time.monotonic() - begun < seconds:
        time.sleep(min(5.0, seconds))
        if any(child.poll() is not None for child in children):
            raise SystemExit("a measured process ended; see its log")
        samples.append([sample(child.pid) for child in children])
    took = time.monotonic() - begun
    return [
        Cost(
            [row[at].rss for row in samples],
            [row[at].pss for row in samples],
            (samples[-1][at].cpu - first[at].cpu) / took * 100,
        )
        for at in range(len(children))
    ]


def spread(values: list[float]) -> str:
    """Minimum, median and maximum."""
    return "/".join(f"{value:.1f}" for value in (min(values), statistics.median(values), max(values)))


def report(costs: list[Cost], counts: dict[str, int], seconds: float) -> list[str]:
    """The table and the ratios."""
    names = ["**phrom-agent**", "blackbox exporter", "Prometheus scraping it"]
    lines = [
        f"20 targets, {seconds:.0f} s after warm-up, {os.cpu_count()} cores; MB as min/median/max",
        "",
        "| process | RSS | PSS | CPU, % of one core |",
        "|---|---|---|---|",
        *(
            f"| {name} | {spread(cost.rss)} | {spread(cost.pss)} | {cost.cpu:.2f} |"
            for name, cost in zip(names, costs, strict=False)
        ),
    ]
    own = costs[0]
    median = statistics.median(own.rss)
    if len(costs) == 3:
        rss, pss = (sum(statistics.median(getattr(cost, kind)) for cost in costs[1:]) for kind in ("rss", "pss"))
        cpu = costs[1].cpu + costs[2].cpu
        own_pss = statistics.median(own.pss)
        lines += [
            f"| both peers | {rss:.1f} | {pss:.1f} | {cpu:.2f} |",
            f"| **agent / peers** | {median / rss:.2f} | {own_pss / pss:.2f} | {own.cpu / cpu:.2f} |",
        ]
    lines += [
        "",
        "Delivered: {observations} observations in {batches} batches by {posts} posts, {bytes} B.".format(**counts),
        "The peers echo a tenth as often, and have neither loss, jitter, spool nor chain.",
        f"RSS {median:.1f} MB, {TARGET_RSS:.0f} allowed, {DREAM_RSS:.0f} the dream.",
        f"CPU {own.cpu:.2f} %, {TARGET_CPU:.0f} % allowed.",
    ]
    return lines


def main() -> int:
    """Exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--warm-up", type=float, default=30.0)
    parser.add_argument("--without-peers", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phrom-footprint-") as name, ExitStack() as stack:
        folder = Path(name)
        told = folder / "ports.json"
        servers = [sys.executable, "-m", "bench.footprint_world", str(told)]
        stack.enter_context(process(servers, folder / "servers.log"))
        ports = wait_for(told)
        children = [agent(stack, folder, ports)]
        if not given.without_peers:
            children += peers(stack, folder, ports)
        costs = watch(children, given.warm_up, given.seconds)
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['collector']}/counts") as answer:
            counts = json.load(answer)
    print("\n".join(report(costs, counts, given.seconds)))
    fine = statistics.median(costs[0].rss) <= TARGET_RSS and costs[0].cpu <= TARGET_CPU
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

"""What each library of the agent costs in memory and time, in the order in which a running agent imports them.

Every row is a fresh process that imports all rows up to it; the figure is what that row adds. Run it with the Python of
a base install (``pip install phrom``): a development install has rich, which structlog imports if it can.
"""

import argparse
import statistics
import subprocess
import sys

ROWS = [
    ("asyncio", "the event loop, with ssl, sockets and threads"),
    ("msgspec", "records, settings, JSON (with typing_extensions on Python 3.11)"),
    ("wire.batch, wire.settings, agent.probe", "our own protocol"),
    ("aiohttp", "delivery and the http probe (the client half alone)"),
    ("structlog, wire.logs", "logs"),
    ("click", "the command line"),
    ("sqlite3", "the spool"),
    ("agent.daemon", "our own parts"),
    ("agent.probes.icmp, agent.probes.tcp, agent.probes.http", "probes without libraries of their own"),
    ("psutil", "host, at its first window"),
    ("dns.message", "dns, at its first window"),
    ("yaml", "only where a settings or join file exists"),
    ("prometheus_client", "only at the first scrape of /metrics"),
    ("cryptography.x509", "only to explain a certificate that failed, and to join"),
]
CODE = """
import importlib, sys, time
from agent.memory import be_thrifty
be_thrifty()
def memory():
    with open("/proc/self/smaps_rollup") as file:
        return {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in file.readlines()[1:]}
rows = sys.argv[1:]
for row in rows[:-1]:
    for name in row.split(", "):
        importlib.import_module(name)
before, begun = memory(), time.perf_counter()
for name in rows[-1].split(", "):
    importlib.import_module(name)
took, after = time.perf_counter() - begun, memory()
print(after["Rss"] - before["Rss"], after["Rss"], after["Anonymous"] - before["Anonymous"], took * 1000)
"""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(f"Python {sys.version.split()[0]}, median of {rounds}; MB of 10^6 bytes\n")
    print("| imported | RSS | of it private | sum RSS | ms | for |\n|---|---|---|---|---|---|")
    names = [name for name, _ in ROWS]
    for number, (name, purpose) in enumerate(ROWS, 1):
        found = [
            [float(text) for text in subprocess.check_output([sys.executable, "-c", CODE, *names[:number]]).split()]
            for _ in range(rounds)
        ]
        added, whole, private, took = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"| {name} | {added:.1f} | {private:.1f} | {whole:.1f} | {took:.0f} | {purpose} |")


if __name__ == "__main__":
    main()

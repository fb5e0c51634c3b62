"""Processor time of one measurement of each probe, beside Debian's blackbox exporter doing the same.

``python -m bench.probe_cost`` starts servers on loopback in a process of their own, measures each in turn, and prints a
table. The exporter's figure includes answering the scrape that asks for the measurement, as it always does in service.
"""

import argparse
import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil

from agent import trust
from agent.probe import Span, Target, load

EXPORTER = "prometheus-blackbox-exporter"
NAME = "meet.example.com"
MODULES = """\
modules:
  tcp: {prober: tcp, timeout: 5s, tcp: {preferred_ip_protocol: ip4}}
  tls: {prober: tcp, timeout: 5s, tcp: {preferred_ip_protocol: ip4, tls: true, tls_config: {ca_file: "%(ca)s"}}}
  http: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}
  https: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4, tls_config: {ca_file: "%(ca)s"}}}
  dns: {prober: dns, timeout: 5s, dns: {preferred_ip_protocol: ip4, query_name: meet.example.com, query_type: A}}
"""


async def serve(folder: Path) -> None:
    """The servers; writes their ports to standard output and serves until ended."""
    from tests.agent.probes.test_sip import answer
    from tests.agent.probes.test_stun import honest
    from tests.support.certificates import authority, leaf, server_context
    from tests.support.datagramserver import datagram_server
    from tests.support.dnsserver import dns_server, zone
    from tests.support.webserver import page, web_server

    root = authority()
    middle = authority("Bench Intermediate", root)
    (folder / "ca.pem").write_bytes(root.pem)
    context = server_context(folder, leaf(middle, "localhost"), middle)
    pages = {"/": page("x" * 2000)}
    async with (
        web_server(pages) as http,
        web_server(pages, context) as https,
        dns_server(zone("A", "8.8.8.8")) as dns,
        datagram_server(honest) as stun,
        datagram_server(lambda data, _peer: [answer(data)]) as sip,
    ):
        ports = {"http": http.port, "https": https.port, "dns": dns.port, "stun": stun.port, "sip": sip.port}
        print(json.dumps(ports), flush=True)
        await asyncio.Event().wait()


def jobs(ports: dict[str, int]) -> list[tuple[str, str, dict[str, Any], str]]:
    """Label, probe, its settings, and the exporter's query."""
    http, https, dns = ports["http"], ports["https"], ports["dns"]
    return [
        ("tcp, address", "tcp", {"host": "127.0.0.1", "port": http}, f"module=tcp&target=127.0.0.1:{http}"),
        ("tcp, name", "tcp", {"host": "localhost", "port": http}, f"module=tcp&target=localhost:{http}"),
        ("dns", "dns", {"name": NAME, "server": f"127.0.0.1:{dns}"}, f"module=dns&target=127.0.0.1:{dns}"),
        ("tls", "tls", {"host": "localhost", "port": https}, f"module=tls&target=localhost:{https}"),
        ("http", "http", {"url": f"http://localhost:{http}/"}, f"module=http&target=http://localhost:{http}/"),
        ("https", "http", {"url": f"https://localhost:{https}/"}, f"module=https&target=https://localhost:{https}/"),
        ("stun", "stun", {"host": "127.0.0.1", "port": ports["stun"]}, ""),
        ("sip", "sip", {"host": "127.0.0.1", "port": ports["sip"]}, ""),
    ]


async def ours(name: str, settings: dict[str, Any], contexts: trust.Contexts, count: int) -> float:
    """Milliseconds of processor time per measurement."""
    info = load(name)
    probe: Any = info.make(contexts) if name in ("tls", "http") else info.make()  # type: ignore[call-arg]
    target, span = Target("bench", "", msgspec.convert(settings, info.settings)), Span(0.0, info.limit)
    for _ in range(10):
        found = await probe.measure(target, span)
        assert found.outcome == "ok", found
    before = time.process_time()
    for _ in range(count):
        await probe.measure(target, span)
    spent = time.process_time() - before
    if hasattr(probe, "close"):
        await probe.close()
    return spent / count * 1000


async def theirs(exporter: psutil.Process, base: str, query: str, count: int) -> float:
    """The exporter's milliseconds per measurement, by the kernel's account of its process."""
    async with aiohttp.ClientSession() as session:

        async def ask() -> None:
            async with session.get(f"{base}/probe?{query}") as response:
                assert "probe_success 1" in await response.text(), query

        for _ in range(10):
            await ask()
        before = sum(exporter.cpu_times()[:2])
        for _ in range(count):
            await ask()
        return (sum(exporter.cpu_times()[:2]) - before) / count * 1000


def start_exporter(folder: Path) -> tuple[subprocess.Popen[bytes], int] | None:
    """Debian's exporter on a free port, or ``None`` where it is not installed."""
    if not shutil.which(EXPORTER):
        return None
    (folder / "blackbox.yml").write_text(MODULES % {"ca": folder / "ca.pem"})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [f"--config.file={folder / 'blackbox.yml'}", f"--web.listen-address=127.0.0.1:{port}"]
    return subprocess.Popen([EXPORTER, *options], stderr=subprocess.DEVNULL), port


async def compare(
    folder: Path, ports: dict[str, int], peer: tuple[subprocess.Popen[bytes], int] | None, count: int
) -> None:
    """Runs every job on both sides and prints the table."""

    def context() -> ssl.SSLContext:
        made = trust.TimedContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(folder / "ca.pem")
        return made

    contexts = trust.Contexts(context)
    if peer:
        await _listening(peer[1])
    print(f"| probe | Phrom, CPU ms | {EXPORTER}, CPU ms | ratio |\n|---|---|---|---|")
    for label, name, settings, query in jobs(ports):
        own = await ours(name, settings, contexts, count)
        other = 0.0
        if peer and query:
            other = await theirs(psutil.Process(peer[0].pid), f"http://127.0.0.1:{peer[1]}", query, count)
        shown = f"{other:.2f} | {own / other:.2f}" if other else "cannot | "
        print(f"| {label} | {own:.2f} | {shown} |", flush=True)


async def _listening(port: int) -> None:
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise TimeoutError(f"{EXPORTER} does not listen on port {port}")


def main() -> None:
    """Reads the options and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=int, default=500, help="of each kind (500)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "bench.probe_cost", "--serve", name]
        world = subprocess.Popen(command, stdout=subprocess.PIPE)
        peer = None
        try:
            assert world.stdout is not None
            ports = json.loads(world.stdout.readline())
            peer = start_exporter(Path(name))
            asyncio.run(compare(Path(name), ports, peer, options.measurements))
        finally:
            for process in [world, *([peer[0]] if peer else [])]:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()

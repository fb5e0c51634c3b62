"""A real collector and a real agent as processes, on ports that the kernel chose, in folders of the test's own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil

COLLECTOR, AGENT = (str(Path(sys.executable).parent / name) for name in ("phrom-collector", "phrom-agent"))
PATIENCE = 30.0
"""Seconds until something that should happen at once has failed."""

INVENTORY = """\
province:
  id: test-province
  name: {th: จังหวัดทดสอบ, en: Test Province}
sites:
  - id: here
    name: {th: ที่นี่, en: Here}
    links:
      - id: fibre
        circuit: TEST-1
        provider: TEST
        contracts: [{from: 2026-01-01, download_mbps: 200, upload_mbps: 80}]
"""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Chain:
    """Starts, kills and asks the two."""

    def __init__(self, folder: Path, assignments: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.data = folder / "collector"
        self.state = folder / "agent"
        (folder / "inventory").mkdir()
        (folder / "inventory" / "province.yaml").write_text(INVENTORY, "utf-8")
        self._settings = folder / "collector.yaml"
        self._settings.write_text(f"port: {self.port}\ndata: {self.data}\ninventory: {folder / 'inventory'}\n", "utf-8")
        self._own = folder / "agent.yaml"
        self._own.write_text(f"state: {self.state}\nlisten: ''\njoin_files: []\n{assignments}", "utf-8")
        self.collector: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    @property
    def store(self) -> Path:
        """The collector's database."""
        return self.data / "phrom.db"

    def log(self, name: str) -> IO[bytes]:
        """The log of one of the two, appended to."""
        return (self.folder / f"{name}.log").open("ab")

    def start_collector(self, *under: str) -> None:
        """Until it says that it is ready; ``under`` a tracer, if one is given."""
        command = [*under, COLLECTOR, "serve", "--config", str(self._settings)]
        with self.log("collector") as log:
            self.collector = subprocess.Popen(command, stderr=log, stdout=log)
        wait_for(lambda: self._answers("/readyz"), "the collector is ready", self.folder / "collector.log")

    def _answers(self, path: str) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as one:
                one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in one.recv(64)
        except OSError:
            return False

    @property
    def url(self) -> str:
        """Where the collector serves."""
        return f"http://127.0.0.1:{self.port}"

    def code(self) -> str:
        """A join code for the site."""
        enrol = [COLLECTOR, "enrol", "here", "--json", "--config", str(self._settings)]
        found: str = json.loads(subprocess.run(enrol, check=True, capture_output=True).stdout)["code"]
        return found

    def join(self) -> None:
        """Enrols the agent for the site."""
        command = [AGENT, "-c", str(self._own), "join", self.url, self.code()]
        subprocess.run(command, check=True, capture_output=True)

    def start_agent(self) -> None:
        """Starts it; what it does then is seen in its spool and at the collector."""
        with self.log("agent") as log:
            self.agent = subprocess.Popen([AGENT, "-c", str(self._own), "run"], stderr=log, stdout=log)

    def kill(self, process: subprocess.Popen[bytes] | None) -> None:
        """SIGKILL: no chance to say good-bye."""
        if process is not None and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)

    def end(self) -> None:
        """Ends both cleanly, the agent first."""
        for process in (self.agent, self.collector):
            if process is not None and process.poll() is None:
                traced = psutil.Process(process.pid).children()  # a tracer passes no signal on
                (traced[0] if traced and process is self.collector else process).terminate()
                process.wait(PATIENCE)


def wait_for(happened: Callable[[], bool], what: str, log: Path) -> None:
    """Polls a process of its own, which has no event to await."""
    until = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > until:
            raise AssertionError(f"not within {PATIENCE:.0f} s: {what}\n{log.read_text('utf-8', 'replace')[-4000:]}")
        time.sleep(0.05)

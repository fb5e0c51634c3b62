"""Phrom itself in a lab's province: a real collector with its responder, and a real agent at every site.

The collector stands at the provider's core, with TLS of its own; agents join by real codes. Every process dies with the
one that started it.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from collector import enrolment
from collector.province import example
from collector.settings import load
from tests.lab.path import LabFailed, command
from tests.lab.province import ANCHORS, COLLECTOR, Province
from tests.lab.relay import Relay

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
"""Of this tree: what runs in the lab is its code, also where the environment was installed from another."""
PEOPLE_PORT = 8490
STARTS_WITHIN = 30.0
ENDS_WITHIN = 15.0

_NO_SLOTS = "slots: {samples: 0, busy_samples: 0, without_collector: no}\n"
_MANY_SLOTS = "slots: {samples: 1000, busy_samples: 0, least_gap: 5 min, budget_gb: 1000}\n"
"""So that somebody who watches the lab sees throughput within minutes and not within a day."""


class Installation:
    """A collector and agents in a province. A context manager's innards: call :meth:`close` at the end."""

    def __init__(self, province: Province, folder: Path, *, port: int = 0, slots: bool = True) -> None:
        self.province = province
        self.folder = folder
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.collector: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        write_inventory(folder / "inventory", slots=slots)
        self._config = folder / "collector.yaml"
        self._config.write_text(yaml.safe_dump(_collector(folder), sort_keys=False), "utf-8")
        self._relay = Relay(province.collector, PEOPLE_PORT, port)

    @property
    def url(self) -> str:
        """The board, from a browser on this machine."""
        return f"http://127.0.0.1:{self._relay.port}"

    def close(self) -> None:
        """Ends the agents, then the collector, each in order."""
        _end(list(self.agents.values()))
        self.agents.clear()
        if self.collector is not None:
            _end([self.collector])
        self._relay.close()

    # the collector

    def start_collector(self) -> None:
        """Starts it and waits until it answers."""
        words = [str(BIN / "phrom-collector"), "serve", "--config", str(self._config)]
        self.collector = self._start(self.province.collector, words, "collector")
        ends = time.monotonic() + STARTS_WITHIN
        while not self.answers():
            if self.collector.poll() is not None or time.monotonic() > ends:
                raise LabFailed(f"the collector did not start: {self._tail('collector')}")
            time.sleep(0.1)

    def kill_collector(self) -> None:
        """Ends it without a word, its responder with it."""
        assert self.collector is not None
        self.collector.kill()
        self.collector.wait()

    def answers(self) -> bool:
        """Whether the collector says that it is ready."""
        try:
            self.get("/readyz")
        except OSError:
            return False
        return True

    def get(self, path: str, timeout: float = 60.0) -> bytes:
        """What the collector answers a person at it; raises ``OSError``."""
        with urllib.request.urlopen(self.url + path, timeout=timeout) as answer:  # noqa: S310 - our own relay
            return bytes(answer.read())

    def read(self, path: str) -> Any:
        """JSON of the collector."""
        return json.loads(self.get(path))

    # agents

    def join(self, sites: Sequence[str]) -> None:
        """Enrols sites; their agents join when they are started."""
        settings = load(self._config)
        for site in sites:
            folder = self.folder / "agents" / site
            folder.mkdir(parents=True, exist_ok=True)
            made = asyncio.run(enrolment.enrol(settings, site, "link", ""))
            enrolment.write_join_file(folder / "phrom-join.yaml", made)
            own = {
                "state": str(folder / "state"),
                "listen": "127.0.0.1:9848",
                "join_files": [str(folder / "phrom-join.yaml")],
                "log_format": "console",
            }
            (folder / "agent.yaml").write_text(yaml.safe_dump(own), "utf-8")

    def start_agent(self, site: str, before: Sequence[str] = (), program: Sequence[str] = ()) -> None:
        """Starts a site's agent in its box. ``before`` is put before the command, ``program`` in the place of it."""
        config = str(self.folder / "agents" / site / "agent.yaml")
        words = [*before, *(program or [str(BIN / "phrom-agent")]), "--config", config, "run"]
        trust = {"SSL_CERT_FILE": str(self.province.authority)}
        self.agents[site] = self._start(self.province.sites[site].box, words, f"agent-{site}", trust)

    def kill_agent(self, site: str) -> None:
        """Ends it without a word, as a loss of power does."""
        process = self.agents.pop(site)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop_agent(self, site: str) -> None:
        """Ends it in order."""
        _end([self.agents.pop(site)])

    def _start(
        self, space: str, words: Sequence[str], name: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command(space, *words)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}, cwd=ROOT,
            )  # fmt: skip

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        return "\n".join(self._log(name).read_text("utf-8", "replace").splitlines()[-12:])


def _collector(folder: Path) -> dict[str, Any]:
    return {
        "bind": COLLECTOR,
        "public_url": f"https://{COLLECTOR}:8480",
        "tls": "own",
        "people_port": PEOPLE_PORT,
        "data": str(folder / "collector"),
        "inventory": str(folder / "inventory"),
        "responder": {"bind": COLLECTOR},
    }


def write_inventory(folder: Path, *, slots: bool = True) -> None:
    """The example province with the lab's anchors, and a responder at the provider's core instead of one in the hall.

    Platforms keep their names: the lab's name server knows them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(example().glob("*.yaml")):
        words = file.read_text("utf-8")
        for found, address in zip(("1.1.1.1", "8.8.8.8", "9.9.9.9"), ANCHORS, strict=True):
            words = words.replace(f"address: {found},", f"address: {address},")
        words = re.sub(
            r"(?m)^  - \{id: hall, site: hall, sends_mbps.*\}$",
            "  - {id: core, sends_mbps: 1000, takes_mbps: 1000}",
            words,
        )
        (folder / file.name).write_text(words, "utf-8")
    (folder / "lab.yaml").write_text(_MANY_SLOTS if slots else _NO_SLOTS, "utf-8")


def sites_of(count: int) -> list[str]:
    """The first sites of the example, the hall last."""
    found = re.findall(r"(?m)^  - id: ([a-z-]+)\n    name: \{th: [^}]*\}\n    kind: district$", _example())
    return [*found[:count], "hall"]


def _example() -> str:
    return (example() / "province.yaml").read_text("utf-8")


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for one in processes:
        if one.poll() is None:
            one.terminate()
    ends = time.monotonic() + ENDS_WITHIN
    for one in processes:
        try:
            one.wait(max(0.1, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def wait_for(what: Callable[[], bool], within: float, every: float = 0.25) -> bool:
    """Looks until it is so; whether it came to be so in time."""
    ends = time.monotonic() + within
    while not what():
        if time.monotonic() > ends:
            return False
        time.sleep(every)
    return True

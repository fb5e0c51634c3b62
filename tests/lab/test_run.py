"""``make lab`` from outside: the board is there, what is broken shows on it, and Ctrl-C leaves nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.province import load_province
from collector.settings import load
from tests.lab.installed import sites_of, wait_for, write_inventory
from tests.lab.path import run

SITE = "mueang-udon-thani"
WITHIN = 60.0


class Running:
    """A lab of one district and the hall."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "PHROM_LAB": str(folder / "control")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.run", "up", "--districts", "1", "--port", "0", "--data", str(folder)],
            stdout=subprocess.PIPE, text=True, env=self.environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = ""
        while "Ctrl-C takes everything down" not in self.said:
            line = self.process.stdout.readline()
            assert line, f"the lab ended: {self.said}"
            self.said += line
        found = re.search(r"http://127\.0\.0\.1:\d+", self.said)
        assert found, self.said
        self.url = found[0]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.lab.run", *words],
            capture_output=True, text=True, timeout=30, env=self.environment, check=False,
        )  # fmt: skip

    def read(self, path: str) -> dict[str, list[dict[str, object]]]:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310
            return json.load(answer)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("lab"))
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(30)
    assert running.process.stdout is not None
    running.process.stdout.close()


@pytest.mark.root
@pytest.mark.tool("ip", "gcc", "nft")
@pytest.mark.timeout(180)
def test_a_lab_is_measured_broken_mended_and_gone(lab: Running) -> None:
    def heard() -> set[object]:
        return {one["id"] for one in lab.read("/api/v1/sites")["sites"] if one.get("heard")}

    assert wait_for(lambda: heard() == {SITE, "hall"}, WITHIN), "both agents deliver"
    with urllib.request.urlopen(lab.url + "/", timeout=30) as page:  # noqa: S310
        assert "เมืองอุดรธานี" in page.read().decode()
    assert json.loads(lab.ask("break", "access", SITE).stdout)[0]["site"] == SITE
    assert json.loads(lab.ask("break", "agent", "hall").stdout)[1]["name"] == "agent"
    wrong = lab.ask("break", "lightning")
    assert wrong.returncode == 1
    assert "expected one of access, lan" in wrong.stderr
    second = lab.ask("up")
    assert second.returncode == 1
    assert "another lab answers" in second.stderr
    assert [one["name"] for one in json.loads(lab.ask("heal").stdout)] == ["agent", "access"]
    assert [bool(one["ended"]) for one in json.loads(lab.ask("status").stdout)] == [True, True]
    mine = f"phrom-{lab.process.pid}-"
    assert mine in run("ip", "netns", "list")
    lab.process.send_signal(signal.SIGINT)
    assert lab.process.wait(40) == 0
    assert mine not in run("ip", "netns", "list")
    assert not list(Path("/etc/netns").glob(f"{mine}*"))
    alone = lab.ask("heal")
    assert alone.returncode == 1
    assert alone.stderr.startswith("no lab answers at ")


def test_the_inventory_is_the_examples_with_the_labs_addresses(tmp_path: Path) -> None:
    write_inventory(tmp_path / "inventory", slots=False)
    words = (tmp_path / "inventory" / "province.yaml").read_text("utf-8")
    assert "1.1.1.1" not in words
    assert "address: 192.88.99.3," in words
    assert "{id: core, sends_mbps: 1000, takes_mbps: 1000}" in words
    assert "id: hall, site: hall" not in words
    settings = tmp_path / "collector.yaml"
    settings.write_text("inventory: inventory\n", "utf-8")
    assert len(load_province(load(settings)).sites) == 21


def test_the_sites_are_the_examples() -> None:
    assert len(sites_of(20)) == 21
    assert sites_of(2) == ["mueang-udon-thani", "kut-chap", "hall"]

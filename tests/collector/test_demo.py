"""The demo as a person starts it: live data of this machine, honest districts, an end that leaves nothing behind."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.demo import prepare, run
from collector.serve import CannotStart
from tests.support.prometheus import free_port

WITHIN = 60.0
"""Seconds in which the board must show live data."""


@contextmanager
def demo(folder: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "collector.cli", "demo", "--port", str(port), "--data", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"file/inventory: Not a directory; expected a folder that can be written"):
        await run(tmp_path / "file", 0)


def sites(port: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/sites", timeout=5) as answer:
            return {one["id"]: one for one in json.load(answer)["sites"]}
    except OSError:
        return {}


def live(port: int) -> bool:
    found = sites(port).get("this-machine")
    return found is not None and found["state"] not in ("no_agent", "silent") and found["heard"] is not None


def agents_of(folder: Path) -> list[int]:
    """Processes that run with the demo's agent settings."""
    needle = str(folder / "agent.yaml").encode()
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                if needle in (place / "cmdline").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
    return found


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, f"not within {WITHIN:g} s: {what}"
        time.sleep(0.2)


def test_the_demo_shows_this_machine_and_ends_without_a_trace(tmp_path: Path) -> None:
    folder, port = tmp_path / "demo-data", free_port()
    with demo(folder, port) as process:
        until(lambda: live(port), "live data of this machine")
        shown = sites(port)
        assert {one["state"] for name, one in shown.items() if name != "this-machine"} == {"no_agent"}
        assert len(shown) == 22
        assert len(agents_of(folder)) == 1
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=40)
    assert (process.returncode, out) == (0, "")
    assert f"http://127.0.0.1:{port}/" in err
    assert "What to try next" in err
    assert "Traceback" not in err
    assert agents_of(folder) == []
    # a second run goes on with the same agent: it neither joins again nor begins anew
    with demo(folder, port) as process:
        until(lambda: live(port), "live data after a restart")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
    assert process.returncode == 0
    assert not (folder / "phrom-join.yaml").exists()


def test_a_taken_port_is_told_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with demo(tmp_path / "demo-data", port) as process:
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"port 127.0.0.1:{port} is taken by another program")
    assert err.endswith(f"phrom-collector demo --port {port + 1}\n")
    assert agents_of(tmp_path / "demo-data") == []


def test_what_a_person_changed_in_the_demos_inventory_stays(tmp_path: Path) -> None:
    prepare(tmp_path, 8480)
    site = tmp_path / "inventory" / "this-machine.yaml"
    site.write_text(site.read_text("utf-8").replace("This machine", "My machine"), "utf-8")
    settings = prepare(tmp_path, 8481)
    assert "My machine" in site.read_text("utf-8")
    assert settings.port == 8481

"""``make lab``: a province that really measures itself, on this machine, until Ctrl-C.

    python -m tests.lab.run up [--districts 20] [--port 8490] [--data FOLDER]
    python -m tests.lab.run break FAULT [SITE] [rate=20e6 loss=0.1 delay=0.2 …]
    python -m tests.lab.run heal [FAULT] [SITE]      everything, or one fault, or all of a site ("-" = any)
    python -m tests.lab.run status                   what is broken, and what was, as JSON

It needs root, for network namespaces.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tests.lab.faults import Fault
from tests.lab.path import LabFailed
from tests.lab.province import SITE_FAULTS, WIDE_FAULTS, NoSuchFault, Province

if TYPE_CHECKING:
    from tests.lab.installed import Installation

CONTROL = Path(os.environ.get("PHROM_LAB", "/run/phrom-lab.sock"))
"""Where a running lab is talked to; ``PHROM_LAB`` names another place for a second one."""
TRUTH = "truth.json"


class Stopped(Exception):
    """Somebody asked the lab to end."""


def main() -> int:
    """The command; 1 failed, 2 wrong usage."""
    words = argparse.ArgumentParser(prog="tests.lab.run", description="A province in network namespaces.")
    commands = words.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up")
    up.add_argument("--districts", type=int, default=20)
    up.add_argument("--port", type=int, default=8490, help="of the board, on this machine's loopback")
    up.add_argument("--data", type=Path, help="keep everything here; otherwise it is removed at the end")
    for name in ("break", "heal"):
        one = commands.add_parser(name)
        one.add_argument("fault", nargs="?", default="-")
        one.add_argument("site", nargs="?", default="-")
        one.add_argument("how", nargs="*")
    commands.add_parser("status")
    given = words.parse_args()
    if os.geteuid() != 0:
        print("the lab needs root, for network namespaces: sudo make lab", file=sys.stderr)
        return 2
    if given.command == "up":
        return _up(given.districts, given.port, given.data)
    asked = {key: value for key, value in vars(given).items() if value not in ("-", [], None)}
    return _ask(asked)


def _ask(asked: dict[str, Any]) -> int:
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(CONTROL))
        except OSError as problem:
            print(f"no lab answers at {CONTROL} ({problem.strerror}); start one with: make lab", file=sys.stderr)
            return 1
        line.sendall(json.dumps(asked).encode() + b"\n")
        answer = json.loads(line.makefile().readline() or '{"problem": "the lab ended"}')
    print(
        answer.get("problem") or json.dumps(answer["said"], indent=2), file=sys.stderr if "problem" in answer else None
    )
    return 1 if "problem" in answer else 0


@contextlib.contextmanager
def until_told() -> Iterator[None]:
    """SIGINT and SIGTERM end the block by :class:`Stopped`, once; what cleans up after it is left in peace."""
    told = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise Stopped(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def control() -> Iterator[socket.socket]:
    """The socket that ``break`` and ``heal`` talk to; raises :class:`LabFailed` if another lab has it."""
    with socket.socket(socket.AF_UNIX) as other:
        if CONTROL.exists() and other.connect_ex(str(CONTROL)) == 0:
            raise LabFailed(f"another lab answers at {CONTROL}: end that one first")
    CONTROL.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(CONTROL))
        CONTROL.chmod(0o600)
        listener.listen()
        try:
            yield listener
        finally:
            CONTROL.unlink(missing_ok=True)


def _up(districts: int, port: int, data: Path | None) -> int:
    from tests.lab.installed import sites_of  # with the collector, which break and heal need not wait for

    folder = (data or Path(tempfile.mkdtemp(prefix="phrom-lab-data-"))).resolve()
    try:
        with until_told(), control() as listener:
            try:
                with Province(sites_of(districts)) as province:
                    _live(province, folder, port, listener)
            except Stopped as stopped:
                print(f"\n{stopped}: everything is taken down", file=sys.stderr)
    except (LabFailed, OSError, subprocess.SubprocessError) as problem:
        print(f"the lab failed: {problem}", file=sys.stderr)
        return 1
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _live(province: Province, folder: Path, port: int, listener: socket.socket) -> None:
    from tests.lab.installed import Installation

    installed = Installation(province, folder, port=port)
    try:
        print(
            f"{len(province.sites)} sites behind lines of 200/80 stand; starting collector and agents …",
            file=sys.stderr,
        )
        installed.start_collector()
        installed.join(list(province.sites))
        for site in province.sites:
            installed.start_agent(site)
        print(_welcome(installed.url, folder), flush=True)
        while True:
            line, _ = listener.accept()
            with line:
                line.settimeout(5.0)
                with contextlib.suppress(OSError):
                    line.sendall(json.dumps(_do(province, installed, line)).encode() + b"\n")
            (folder / TRUTH).write_text(json.dumps([one._asdict() for one in province.truth.faults]), "utf-8")
    finally:
        installed.close()


def _do(province: Province, installed: "Installation", line: socket.socket) -> dict[str, Any]:
    """One request; ``agent`` is a fault that this knows beside the province's: killed, and started again."""
    try:
        asked = json.loads(line.makefile().readline())
        fault, site = asked.get("fault", ""), asked.get("site", "")
        if asked["command"] == "status":
            return {"said": [one._asdict() for one in province.truth.faults]}
        if asked["command"] == "heal":
            return {"said": [one._asdict() for one in _heal(province, installed, fault, site)]}
        if fault == "agent" and site in installed.agents:
            since = province.truth.now()
            installed.kill_agent(site)
            province.truth.begin("agent", site, since)
        else:
            how = {key: float(value) for key, _, value in (word.partition("=") for word in asked.get("how", []))}
            province.cut(fault, site, **how)
        return {"said": [one._asdict() for one in province.truth.broken()]}
    except (NoSuchFault, LabFailed, ValueError, KeyError, TypeError, subprocess.SubprocessError) as problem:
        return {"problem": str(problem)}


def _heal(province: Province, installed: "Installation", fault: str, site: str) -> list[Fault]:
    back = []
    for one in province.truth.broken():
        if one.name == "agent" and fault in ("", "agent") and site in ("", one.site):
            installed.start_agent(one.site)
            back.append(province.truth.end("agent", one.site))
    return back + province.heal(fault, site)


def _welcome(url: str, folder: Path) -> str:
    return f"""
The board: {url}/

Break something (in another terminal), watch the board, and mend it again:
  make lab-break SITE=na-yung FAULT=access      of a site: {", ".join((*SITE_FAULTS, "edge", "agent"))}
  make lab-break FAULT=core                     of the province: {", ".join(WIDE_FAULTS)}
  make lab-heal [SITE=na-yung] [FAULT=access]
  make lab-status                               what was broken when, as the lab knows it

Logs and data: {folder}
Ctrl-C takes everything down."""


if __name__ == "__main__":
    sys.exit(main())

"""Runs one probe once in a process of its own, for tests that need another network namespace or another user.

python -m tests.support.measure PROBE SETTINGS_JSON SECONDS [--as-nobody]
"""

import asyncio
import concurrent.futures.thread  # loaded at first use otherwise, as the codec is, when nobody may not read it
import encodings.ascii
import os
import subprocess
import sys
from typing import Any

import msgspec

from agent.probe import Finding, ProbeInfo, Span, Target, load
from tests.lab.path import command

NOBODY = 65534
LOADED = (concurrent.futures.thread, encodings.ascii)


def measured(space: str, probe: str, settings: dict[str, Any], seconds: float = 0.0, nobody: bool = False) -> Finding:
    """What the probe finds inside a namespace, as root or as nobody."""
    words = [sys.executable, "-m", "tests.support.measure", probe, msgspec.json.encode(settings).decode(), str(seconds)]
    done = subprocess.run(
        command(space, *words, *(["--as-nobody"] if nobody else [])),
        capture_output=True,
        text=True,
        timeout=seconds + 40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Finding)


async def _measure(info: ProbeInfo, settings: dict[str, Any], seconds: float) -> Finding:
    probe = info.make()
    try:
        target = Target("there", "", msgspec.convert(settings, info.settings))
        finding: Finding = await probe.measure(target, Span(seconds, seconds + info.limit))
        return finding
    finally:
        if hasattr(probe, "close"):
            probe.close()


def main() -> None:
    """Prints the finding as JSON."""
    name, settings, seconds, *rest = sys.argv[1:]
    info = load(name)
    if "--as-nobody" in rest:  # after the import: nobody may not be able to read the code
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    finding = asyncio.run(_measure(info, msgspec.json.decode(settings), float(seconds)))
    print(msgspec.json.encode(finding).decode())


if __name__ == "__main__":
    main()

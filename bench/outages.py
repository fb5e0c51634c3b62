"""Claim: every outage of a district's link is known to the second, with whose fault it was, and none is invented.

A province in network namespaces (tests/lab): districts and the hall behind lines of 200/80, real agents, a real
collector. A hundred cuts of 1 s to 10 min: access lines, office networks, the provider's edges and core, agents killed,
the collector killed, and boxes that reboot with a wrong date while their line is cut. What the collector then says
(``GET /api/v1/outages`` and the links' histories) is compared with what the lab knows it broke, beside what pinging
every router each minute would have found. Needs root and gcc; about an hour.

    .venv/bin/python -m bench.outages [--cuts 100] [--minutes 58] [--districts 20] [--keep FILE] [--again FILE]
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bench.outage_plan import STORM, Cut, Kind, plan
from bench.outage_score import Broken, Off, Score, Stretch, Told, score, table, verdicts
from tests.lab.faults import Fault
from tests.lab.installed import Installation, sites_of, wait_for
from tests.lab.path import LabFailed
from tests.lab.province import Province
from tests.lab.run import Stopped, until_told

SETTLE = 75.0
"""Seconds before the first cut: agents join, learn the provider's edge, and their first windows arrive."""
DRAIN = 75.0
"""Seconds after the last: a watcher's window lasts a minute, and proves the last end."""
WRONG_DATE = -4 * 365 * 86_400
"""Seconds by which a rebooted box is wrong: without a battery a clock begins years ago."""
FAULT_OF = {Kind.CUT_AND_KILL: "access", Kind.STORM: "access"}
MICRO = 1e6


class Result(msgspec.Struct):
    """What was broken and what was said; everything that the figures are made from."""

    cuts: dict[str, int]
    broken: list[Broken]
    off: list[Off]
    told: list[Told]
    history: list[Stretch]
    span: tuple[float, float]
    failed: list[str] = []
    """Steps that did not work: the lab's own trouble."""


class Hour:
    """Carries a plan out and keeps the truth."""

    def __init__(self, province: Province, installed: Installation) -> None:
        self._province, self._installed = province, installed
        self.broken: list[Broken] = []
        self.off: list[Off] = []
        self.failed: list[str] = []
        self._off_since: dict[str, float] = {}

    def carry_out(self, cuts: list[Cut]) -> None:
        """Every step at its time; returns after the last. A step that fails is noted, and the others go on."""
        begun = time.monotonic()
        steps = sorted(((at, what, do) for cut in cuts for at, what, do in self._steps(cut)), key=lambda one: one[0])
        for at, what, do in steps:
            time.sleep(max(0.0, begun + at - time.monotonic()))
            late = time.monotonic() - begun - at
            _say(f"{at / 60:5.1f} min  {what}" + (f"  ({late:.1f} s late)" if late > 1 else ""))
            try:
                do()
            except (LabFailed, OSError, KeyError, subprocess.SubprocessError) as problem:
                self.failed.append(f"{what}: {problem}")
                _say(f"           FAILED: {problem}")

    def _steps(self, cut: Cut) -> list[tuple[float, str, Callable[[], None]]]:
        site, ends, what = cut.site, cut.at + cut.length, f"{cut.kind} {cut.site} {cut.length:.1f} s"
        kill = lambda: self._kill(site)  # noqa: E731 - three names for what is done later
        back = lambda: self._start(site)  # noqa: E731
        if cut.kind is Kind.AGENT:
            return [(cut.at, what, kill), (ends, f"{site}: agent again", back)]
        if cut.kind is Kind.COLLECTOR:
            return [
                (cut.at, what, self._installed.kill_collector),
                (ends, "collector again", self._installed.start_collector),
            ]
        fault = FAULT_OF.get(cut.kind, cut.kind.value)
        found: list[tuple[float, str, Callable[[], None]]] = [
            (cut.at, what, lambda: self._province.cut(fault, site)),
            (ends, f"{cut.kind} {site} mended", lambda: self._mend(cut, fault)),
        ]
        if cut.kind is Kind.CUT_AND_KILL:
            found.append((cut.at + cut.length / 3, f"{site}: agent killed", kill))
            found.append((cut.at + 2 * cut.length / 3, f"{site}: agent again", back))
        if cut.kind is Kind.STORM:
            found.append((cut.at + STORM[0], f"{site}: box loses power", kill))
            found.append((cut.at + STORM[1], f"{site}: box boots", lambda: self._boot(site)))
        return found

    def _mend(self, cut: Cut, fault: str) -> None:
        for one in self._province.heal(fault, cut.site):
            self.broken += [Broken(site, cut.kind, *_times(one)) for site in cut.sites]

    def _kill(self, site: str) -> None:
        self._off_since[site] = self._province.truth.now() / MICRO
        self._installed.kill_agent(site)

    def _start(self, site: str, **how: Any) -> None:
        self._installed.start_agent(site, **how)
        self.off.append(Off(site, self._off_since.pop(site), self._province.truth.now() / MICRO))

    def _boot(self, site: str) -> None:
        """The box comes back with a new boot id, clocks that begin anew, and a date that is years wrong."""
        boot = self._installed.folder / "agents" / site / "boot_id"
        boot.write_text(f"{uuid.uuid4()}\n", "ascii")
        # From a time namespace, as a child is given it: the clocks that count from the boot begin at half a minute.
        back = 30 - int(time.clock_gettime(time.CLOCK_BOOTTIME))
        shell = (
            f"mount --bind {boot} /proc/sys/kernel/random/boot_id && "
            f'exec unshare --time --boottime {back} --monotonic {back} "$@"'
        )
        program = [sys.executable, "-m", "bench.wrong_date", str(WRONG_DATE)]
        self._start(site, before=["sh", "-c", shell, "sh"], program=program)


def _times(fault: Fault) -> tuple[float, float]:
    assert fault.ended is not None
    return (fault.begun + fault.width / 2) / MICRO, fault.ended / MICRO


def measure(cuts: int, minutes: float, districts: int, seed: int, folder: Path) -> Result:
    """The hour; raises :class:`LabFailed`, :class:`Stopped`."""
    begun = time.monotonic()
    with Province(sites_of(districts), pcs=False) as province:
        installed = Installation(province, folder, slots=False)
        try:
            installed.start_collector()
            installed.join(list(province.sites))
            for site in province.sites:
                installed.start_agent(site)
            _say(f"{len(province.sites)} agents started; the board is at {installed.url}/")
            time.sleep(SETTLE)
            _all_watch(installed, list(province.sites))
            seconds = minutes * 60 - (time.monotonic() - begun) - DRAIN - 20.0
            hour = Hour(province, installed)
            planned = plan({one.name: one.edge for one in province.sites.values()}, cuts, seconds, seed)
            since = province.truth.now() / MICRO
            hour.carry_out(planned)
            until = province.truth.now() / MICRO
            _say(f"the last cut is mended; {DRAIN:.0f} s for what is still under way")
            time.sleep(DRAIN)
            told, history = _asked(installed, list(province.sites), since, until)
        finally:
            installed.close()
    counted = Counter(one.kind.value for one in planned)
    return Result(dict(counted), hour.broken, hour.off, told, history, (since, until), hour.failed)


def _all_watch(installed: Installation, sites: list[str]) -> None:
    """Raises :class:`LabFailed` where a link is not watched before anything is broken."""

    def watched() -> bool:
        now = time.time()
        _, history = _asked(installed, sites, now - 15, now)
        seen = {one.site for one in history if one.kind == "up"}
        return len(seen) == len(sites)

    if not wait_for(watched, 90.0, 3.0):
        raise LabFailed("not every agent watches its link; see the logs with --data")


def _asked(installed: Installation, sites: list[str], since: float, until: float) -> tuple[list[Told], list[Stretch]]:
    span = f"from={_iso(since - 30)}&to={_iso(until + 30)}"
    said = installed.read(f"/api/v1/outages?{span}")
    told = [
        Told(one["site"], one["start"], one["end"], one["domain"], one["agent_domain"], one["counted"])
        for one in said["outages"]
        if one["site"] in sites
    ]
    history = []
    for site in sites:
        found = installed.read(f"/api/v1/sites/{site}/links/fibre/history?{span}")
        history += [Stretch(site, one["start"], one["end"], one["kind"]) for one in found["intervals"]]
    return told, history


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def show(result: Result) -> bool:
    """Prints the table and the claims; whether all hold."""
    found = score(result.broken, result.off, result.told, result.history, result.span)
    print(f"\n{sum(result.cuts.values())} cuts in {(result.span[1] - result.span[0]) / 60:.0f} minutes.\n")
    print(table(found, result.broken, {Kind(name): count for name, count in result.cuts.items()}))
    print(
        f"\nAgents were not running {len(result.off)} times; of the time in which they were, {found.blind:.2%} is not"
        " measured (what was not on disk yet when they were killed, and their first seconds).\n"
    )
    claims = verdicts(found)
    for words, good in claims:
        print(f"- {'holds' if good else 'DOES NOT HOLD'}: {words}")
    _details(found)
    for words in result.failed:
        print(f"- the lab's own trouble: {words}")
    good = all(one for _, one in claims) and not result.failed
    print("\nThe claim holds." if good else "\nTHE CLAIM DOES NOT HOLD.")
    return good


def _details(found: Score) -> None:
    """What is not as it should be, to stderr."""
    for one in found.found:
        errors = [error for error in (one.start_error, one.end_error) if error is not None]
        if not one.found or not one.right or any(abs(error) > 2 for error in errors):
            _say(f"look at: {one.part} {one.told} {errors}")
    for told in found.invented:
        _say(f"invented: {told}")
    for gap, claimed in found.off:
        if claimed > 1:
            _say(f"claimed {claimed:.1f} s measured: {gap}")


def _say(words: str) -> None:
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {words}", file=sys.stderr, flush=True)


def main() -> int:
    """Builds, breaks, compares, prints; 1 when the claim does not hold."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--cuts", type=int, default=100)
    words.add_argument("--minutes", type=float, default=58.0, help="of the whole")
    words.add_argument("--districts", type=int, default=20)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--data", type=Path, help="keep stores and logs in this folder")
    words.add_argument("--keep", type=Path, help="write what the figures are made from to this file")
    words.add_argument("--again", type=Path, help="compare anew what --keep wrote")
    given = words.parse_args()
    if given.again:
        return 0 if show(msgspec.json.decode(given.again.read_bytes(), type=Result)) else 1
    if os.geteuid() != 0:
        print("outages: needs root, for network namespaces", file=sys.stderr)
        return 2
    folder = (given.data or Path(tempfile.mkdtemp(prefix="phrom-outages-"))).resolve()
    try:
        with until_told():
            result = measure(given.cuts, given.minutes, given.districts, given.seed, folder)
    except Stopped as stopped:
        print(f"{stopped}: everything is taken down", file=sys.stderr)
        return 1
    except (LabFailed, OSError, ValueError, json.JSONDecodeError) as problem:
        print(f"outages: {problem}", file=sys.stderr)
        return 1
    finally:
        if given.data is None:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
    if given.keep:
        given.keep.write_bytes(msgspec.json.encode(result))
    return 0 if show(result) else 1


if __name__ == "__main__":
    sys.exit(main())

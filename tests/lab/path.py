"""Network namespaces for tests and benchmarks, and lines between them with a known delay and rate.

Everything here needs root. A :class:`Lab` removes what it made when it is closed; its namespaces are named after this
process, so that several labs stand beside each other.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

EMULATOR = Path(__file__).with_name("emulator.c")


class Held(NamedTuple):
    """What the emulator says of one direction. Microseconds beyond the wanted delay."""

    packets: int
    dropped: int
    over_p50: float
    over_p99: float
    over_max: float


class LabFailed(RuntimeError):
    """A command that builds the lab failed; its words are in the message."""


def run(*words: str, within: float = 30.0) -> str:
    """A command's standard output; raises :class:`LabFailed` with what it said if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        raise LabFailed(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Lab:
    """A handful of namespaces. A context manager."""

    _made = 0

    def __init__(self) -> None:
        Lab._made += 1
        self._prefix = f"phrom-{os.getpid()}-{Lab._made}-"
        self._spaces: list[str] = []
        self._folder = Path(tempfile.mkdtemp(prefix="phrom-lab-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes the namespaces, and with them their devices."""
        for space in self._spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
        self._spaces.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def space(self, name: str) -> str:
        """A new namespace with its loopback up; returns the name by which the system knows it."""
        full = self._prefix + name
        run("ip", "netns", "add", full)
        self._spaces.append(full)
        self.inside(full, "ip", "link", "set", "lo", "up")
        # Addresses must be usable at once, without waiting for duplicate address detection (RFC 4862).
        self.inside(full, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        return full

    def inside(self, space: str, *words: str, within: float = 30.0) -> str:
        """Runs a command inside a namespace."""
        return run(*command(space, *words), within=within)

    def cable(self, left: str, left_address: Sequence[str], right: str, right_address: Sequence[str]) -> None:
        """A veth pair between two namespaces, with addresses such as ``10.0.1.1/24`` or ``fd00:1::1/64``."""
        number = len(list(self._folder.iterdir()))
        (self._folder / f"cable{number}").touch()
        a, b = f"c{number}a", f"c{number}b"
        run("ip", "-n", left, "link", "add", a, "type", "veth", "peer", "name", b, "netns", right)
        for space, device, addresses in ((left, a, left_address), (right, b, right_address)):
            for address in addresses:
                run("ip", "-n", space, "address", "add", address, "dev", device)
            run("ip", "-n", space, "link", "set", device, "up")

    def forwarding(self, space: str) -> None:
        """Makes a namespace a router that is not sparing with its errors."""
        self.inside(
            space, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0",
        )  # fmt: skip

    @contextlib.contextmanager
    def line(
        self, left: str, left_address: str, right: str, right_address: str, delay: float, rate: int = 0, queue: int = 0
    ) -> Iterator["Line"]:
        """A line of ``delay`` seconds each way between two namespaces, with ``/24`` addresses of one network.

        ``rate`` in bits per second with a ``queue`` in bytes; 0 = no bottleneck.
        """
        line = Line(self._binary(), left, right, delay, rate, queue)
        try:
            for space, device, address in ((left, line.left, left_address), (right, line.right, right_address)):
                run("ip", "-n", space, "address", "add", f"{address}/24", "dev", device)
                run("ip", "-n", space, "link", "set", device, "up", "txqueuelen", "1000")
            yield line
        finally:
            line.close()

    def _binary(self) -> Path:
        binary = self._folder / "emulator"
        if not binary.exists():
            run("gcc", "-O2", "-Wall", "-Werror", "-o", str(binary), str(EMULATOR))
        return binary


class Line:
    """A running emulator."""

    def __init__(self, binary: Path, left: str, right: str, delay: float, rate: int, queue: int) -> None:
        self.left = self.right = "line0"
        words = [str(binary), left, self.left, right, self.right, str(round(delay * 1e6)), str(rate), str(queue)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.held: dict[str, Held] = {}
        """By direction, ``forward`` (left to right) and ``back``; there once the line is closed."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise LabFailed(f"the emulator did not start: {self._process.communicate()[1].strip()}")

    def close(self) -> None:
        """Ends the emulator and reads what it says of itself."""
        if self._process.poll() is None:
            self._process.terminate()
        words, _ = self._process.communicate(timeout=10)
        self.held = {line.split()[0]: held_of(line) for line in words.splitlines() if " packets=" in line}


def held_of(line: str) -> Held:
    """Reads one of the emulator's last lines."""
    found = dict(re.findall(r"(\w+)=([\d.]+)", line))
    over = [float(found.get(name, "0")) for name in ("over_p50", "over_p99", "over_max")]
    return Held(int(found["packets"]), int(found["dropped"]), *over)


def command(space: str, *words: str) -> list[str]:
    """The words that run a command inside a namespace."""
    return ["ip", "netns", "exec", space, *words]


def has_netem() -> bool:
    """Whether this kernel delays packets itself."""
    with Lab() as lab:
        space = lab.space("netem")
        try:
            lab.inside(space, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
        except LabFailed:
            return False
        return True

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
import threading
from collections.abc import Iterator, Mapping, Sequence
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


class Counted(NamedTuple):
    """What one direction has carried so far: ``taken`` is the sum of the other counts of packets."""

    taken: int
    packets: int
    """Delivered, and their IP bytes in ``bytes``."""
    bytes: int
    dropped: int
    """By the full queue."""
    lost: int
    """At random."""
    cut: int
    """While the line was cut, or under way when it was."""
    waiting: int


class Shape(NamedTuple):
    """What one direction does to packets, in this order: random loss, a bottleneck, a delay."""

    delay: float = 0.0
    """Seconds."""
    rate: float = 0
    """Bits per second at the IP layer; 0 = no bottleneck."""
    queue: float = 0
    """Bytes that may wait before the bottleneck; 0 = 50 ms' worth."""
    burst: float = 0
    """Bytes of a token bucket that pass at once after a pause."""
    loss: float = 0
    """Ratio of packets lost at random."""
    jitter: float = 0
    """Seconds of further delay at most, uniform and in order."""
    overhead: float = 0
    """Bytes that a packet costs beyond its IP length (14 = Ethernet), where the contract counts another layer."""


DIRECTIONS = ("forward", "back")


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
        self._lines: dict[str, int] = {}
        self._cables = 0
        self._folder = Path(tempfile.mkdtemp(prefix="phrom-lab-"))

    @property
    def folder(self) -> Path:
        """A folder that goes with the lab."""
        return self._folder

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

    def cable(
        self, left: str, left_address: Sequence[str], right: str, right_address: Sequence[str]
    ) -> tuple[str, str]:
        """A veth pair between two namespaces, with addresses such as ``10.0.1.1/24`` or ``fd00:1::1/64``; returns the
        names of its two ends."""
        number, self._cables = self._cables, self._cables + 1
        a, b = f"c{number}a", f"c{number}b"
        run("ip", "-n", left, "link", "add", a, "type", "veth", "peer", "name", b, "netns", right)
        for space, device, addresses in ((left, a, left_address), (right, b, right_address)):
            for address in addresses:
                run("ip", "-n", space, "address", "add", address, "dev", device)
            run("ip", "-n", space, "link", "set", device, "up")
        return a, b

    def forwarding(self, space: str) -> None:
        """Makes a namespace a router that is not sparing with its errors."""
        self.inside(
            space, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0",
        )  # fmt: skip

    @contextlib.contextmanager
    def line(
        self,
        left: str,
        left_address: str | Sequence[str],
        right: str,
        right_address: str | Sequence[str],
        delay: float = 0.0,
        rate: float = 0,
        queue: int = 0,
        *,
        back: Mapping[str, float] | None = None,
        mtu: int = 1500,
        seed: int = 1,
        **shape: float,
    ) -> Iterator["Line"]:
        """A line between two namespaces, shaped each way as :class:`Shape` says.

        Addresses without a prefix length get ``/24``, of IPv6 ``/64``. ``back`` holds what is different from right to
        left; ``Line.set`` changes the shape while it runs.
        """
        forward = Shape(delay=delay, rate=rate, queue=queue)._replace(**shape)
        shapes = {"forward": forward, "back": forward._replace(**(back or {}))}
        line = Line(self._binary(), (left, self._device(left)), (right, self._device(right)), shapes, seed)
        try:
            for space, device, addresses in ((left, line.left, left_address), (right, line.right, right_address)):
                for address in [addresses] if isinstance(addresses, str) else addresses:
                    run("ip", "-n", space, "address", "add", with_prefix(address), "dev", device)
                run("ip", "-n", space, "link", "set", device, "up", "mtu", str(mtu), "txqueuelen", "5000")
            yield line
        finally:
            line.close()

    def _device(self, space: str) -> str:
        self._lines[space] = number = self._lines.get(space, -1) + 1
        return f"line{number}"

    def _binary(self) -> Path:
        binary = self._folder / "emulator"
        if not binary.exists():
            run("gcc", "-O2", "-Wall", "-Werror", "-o", str(binary), str(EMULATOR))
        return binary


class Line:
    """A running emulator. ``forward`` is left to right."""

    def __init__(
        self, binary: Path, left: tuple[str, str], right: tuple[str, str], shapes: dict[str, Shape], seed: int = 1
    ) -> None:
        self.left, self.right = left[1], right[1]
        """Names of the two devices in their namespaces."""
        self.shapes = shapes
        """By direction, as they are now."""
        self.held: dict[str, Held] = {}
        """By direction; there once the line is closed."""
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [str(binary), *left, *right],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise LabFailed(f"the emulator did not start: {self._process.communicate()[1].strip()}")
        self.command(f"seed {seed}")
        for direction, shape in shapes.items():
            self.command(f"set {direction} {words_of(shape)}")

    def set(self, direction: str = "both", **shape: float) -> None:
        """Changes fields of :class:`Shape` while packets flow; what waits in the queue leaves it at the new rate."""
        for one in DIRECTIONS if direction == "both" else (direction,):
            self.shapes[one] = self.shapes[one]._replace(**shape)
            self.command(f"set {one} {words_of(self.shapes[one])}")

    def cut(self, direction: str = "both") -> None:
        """From now on nothing comes through, and what was under way is gone. The devices stay up."""
        self.command(f"cut {direction}")

    def heal(self, direction: str = "both") -> None:
        """Ends a cut."""
        self.command(f"heal {direction}")

    def stats(self) -> dict[str, Counted]:
        """What each direction has carried so far, exactly."""
        return {line.split()[0]: counted_of(line) for line in self.command("stats")}

    def command(self, words: str) -> list[str]:
        """One command of the emulator (see ``emulator.c``), and the lines it answered before ``ok``."""
        process, said = self._process, list[str]()
        assert process.stdin is not None
        assert process.stdout is not None
        with self._turn:
            try:
                process.stdin.write(words + "\n")
                process.stdin.flush()
            except (OSError, ValueError) as problem:
                raise LabFailed(f"the emulator is gone (exit {process.poll()}): {words}") from problem
            while (line := process.stdout.readline().strip()) != "ok":
                if not line or line.startswith("error "):
                    raise LabFailed(f"the emulator refused {words!r}: {line or 'it is gone'}")
                said.append(line)
        return said

    def close(self) -> None:
        """Ends the emulator and reads what it says of itself."""
        if self._process.poll() is None:
            self._process.terminate()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.stdin = None
        words, _ = self._process.communicate(timeout=10)
        self.held = {
            line.split()[0]: held_of(line) for line in words.splitlines() if " over_" in line or " packets=" in line
        }


def with_prefix(address: str) -> str:
    """The address with a prefix length."""
    if "/" in address:
        return address
    return f"{address}/64" if ":" in address else f"{address}/24"


def words_of(shape: Shape) -> str:
    """A shape as the emulator's ``set`` wants it; a bottleneck without a queue gets one of 50 ms."""
    queue = shape.queue or (max(3000.0, shape.rate * 0.050 / 8) if shape.rate else 0)
    return (
        f"rate={shape.rate:.0f} queue={queue:.0f} burst={shape.burst:.0f} overhead={shape.overhead:.0f} "
        f"delay={shape.delay * 1e6:.3f} jitter={shape.jitter * 1e6:.3f} loss={shape.loss:.9f}"
    )


def counted_of(line: str) -> Counted:
    """Reads a line of the emulator's ``stats``."""
    return Counted(**{name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)})


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

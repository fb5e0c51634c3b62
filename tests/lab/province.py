"""A province in network namespaces: districts and a hall behind lines of 200/80, a provider, and the world beyond it.

    box ─┐
         ├─ switch ── router ══ access line ══ edge-1 ──┐
    pc ──┘                                              ├── core ── internet (anchors, platforms), dns, collector
         …          router ══ access line ══ edge-2 ──┘

The access lines are emulators (:mod:`tests.lab.path`), all else is veth. Every site has addresses of its own behind the
router's NAT. Needs root. What runs in it (collector, agents) is :mod:`tests.lab.installed`'s business.
"""

import contextlib
import ipaddress
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.lab.faults import Fault, Filters, Rules, Truth, device, port
from tests.lab.path import Lab, LabFailed, Line, Shape, command, run

# Of 192.88.99.0/24, which belonged to relays of 6to4 and since RFC 7526 to nobody: a probe takes them for public ones.
ANCHORS = ("192.88.99.1", "192.88.99.2", "192.88.99.3")
PLATFORMS: Mapping[str, str] = {
    "zoom.us": "192.88.99.11",
    "dla-th.webex.com": "192.88.99.12",
    "conference.dla.go.th": "192.88.99.13",
    "stun.l.google.com": "192.88.99.14",
    "meet-jit-si-turnrelay.jitsi.net": "192.88.99.15",
}
"""Names of the example inventory, as the lab's name server knows them."""
DNS = "10.31.0.2"
COLLECTOR = "10.32.0.2"
RESOLV = Path("/etc/netns")
ROOT = Path(__file__).resolve().parents[2]

DOWN = Shape(delay=0.010, rate=200e6, queue=200e6 * 0.050 / 8)
UP = Shape(delay=0.010, rate=80e6, queue=80e6 * 0.050 / 8)

SITE_FAULTS = ("access", "lan", "cable", "dns", "udp", "platform", "slow", "lossy", "delay")
WIDE_FAULTS = ("core", "internet", "collector", "responder", "all-dns", "all-platform")
"""``edge`` is of the edge that a site hangs on, and of all its other sites too. Of a fault of the core nothing beyond
the edges answers any more; of ``internet`` the collector still does."""


NAT = """\
table ip nat {
  chain out {
    type nat hook postrouting priority srcnat;
    oifname "%s" masquerade
  }
}
"""


class NoSuchFault(ValueError):
    """The words for a fault or a site are not known; the message lists what is."""


class Place(NamedTuple):
    """A site: its namespaces, devices and line. ``box`` is where its agent runs."""

    name: str
    box: str
    pc: str
    router: str
    switch: str
    edge: int
    to_router: str
    to_box: str
    """Ports of the switch."""
    line: Line
    """Forward is down."""


class Province:
    """The namespaces, their lines, and what can break in them. A context manager."""

    def __init__(
        self,
        sites: Sequence[str],
        *,
        per_edge: int = 5,
        down: Shape = DOWN,
        up: Shape = UP,
        on_router: Collection[str] = (),
        pcs: bool = True,
    ) -> None:
        self.truth = Truth()
        self.sites: dict[str, Place] = {}
        self.edges: list[str] = []
        self._names, self._per_edge, self._shapes = list(sites), per_edge, {"forward": down, "back": up}
        self._on_router, self._pcs = on_router, pcs
        self._stack = contextlib.ExitStack()
        self._uplinks: list[str] = []
        self._mends: dict[tuple[str, str], Callable[[], None]] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.lab = stack.enter_context(Lab())
            self._filters = Filters(self.lab)
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes everything."""
        self._stack.close()

    # building

    def _build(self, stack: contextlib.ExitStack) -> None:
        lab = self.lab
        self.core = self._router("core")
        self.internet = self._host(stack, "internet", "10.30.0", [*ANCHORS, *PLATFORMS.values()])
        self.dns = self._host(stack, "dns", "10.31.0", [])
        self.collector = self._host(stack, "collector", "10.32.0", [])
        run("ip", "-n", self.core, "route", "add", "192.88.99.0/24", "via", "10.30.0.2")
        for number in range(-(-len(self._names) // self._per_edge)):
            edge = self._router(f"edge{number + 1}")
            to_core, _ = lab.cable(edge, [f"10.20.{number}.2/24"], self.core, [f"10.20.{number}.1/24"])
            run("ip", "-n", edge, "route", "add", "default", "via", f"10.20.{number}.1")
            self.edges.append(edge)
            self._uplinks.append(to_core)
        for number, name in enumerate(self._names):
            self.sites[name] = self._site(stack, number, name)
        stack.callback(_end, self._serve())

    def _router(self, name: str) -> str:
        space = self.lab.space(name)
        self.lab.forwarding(space)
        return space

    def _host(self, stack: contextlib.ExitStack, name: str, net: str, addresses: Sequence[str]) -> str:
        space = self.lab.space(name)
        self.lab.cable(self.core, [f"{net}.1/24"], space, [f"{net}.2/24"])
        run("ip", "-n", space, "route", "add", "default", "via", f"{net}.1")
        for address in addresses:
            run("ip", "-n", space, "address", "add", f"{address}/32", "dev", "lo")
        self._resolver(stack, space)
        return space

    def _resolver(self, stack: contextlib.ExitStack, space: str) -> None:
        """``ip netns exec`` lays the files of this folder over those of /etc."""
        folder = RESOLV / space
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "resolv.conf").write_text(f"nameserver {DNS}\noptions timeout:2 attempts:2\n", "ascii")

    def _site(self, stack: contextlib.ExitStack, number: int, name: str) -> Place:
        lab, edge, net, wan = self.lab, number // self._per_edge, f"192.168.{number + 10}", f"10.10.{number}"
        router, switch = self._router(f"{name}-router"), lab.space(f"{name}-switch")
        run("ip", "-n", switch, "link", "add", "lan", "type", "bridge", "forward_delay", "0")
        run("ip", "-n", switch, "link", "set", "lan", "up")
        _, to_router = lab.cable(router, [f"{net}.1/24"], switch, [])
        hosts: dict[str, tuple[str, str]] = {}
        for host, last in (("box", 2), ("pc", 3)) if self._pcs else (("box", 2),):
            space = router if host == "box" and name in self._on_router else lab.space(f"{name}-{host}")
            if space != router:
                _, socket = lab.cable(space, [f"{net}.{last}/24"], switch, [])
                run("ip", "-n", space, "route", "add", "default", "via", f"{net}.1")
                hosts[host] = space, socket
            else:
                hosts[host] = space, ""
            self._resolver(stack, space)
        for socket in [to_router, *(socket for _, socket in hosts.values() if socket)]:
            run("ip", "-n", switch, "link", "set", socket, "master", "lan")
        line = stack.enter_context(
            lab.line(self.edges[edge], f"{wan}.1", router, f"{wan}.2", back=self._shapes["back"]._asdict(),
                     seed=number + 1, **self._shapes["forward"]._asdict())
        )  # fmt: skip
        run("ip", "-n", router, "route", "add", "default", "via", f"{wan}.1")
        run("ip", "-n", self.core, "route", "add", f"{wan}.0/24", "via", f"10.20.{edge}.2")
        _nft(router, NAT % line.right)
        box, to_box = hosts["box"]
        return Place(name, box, hosts.get("pc", ("", ""))[0], router, switch, edge, to_router, to_box, line)

    def _serve(self) -> list[subprocess.Popen[bytes]]:
        """Starts what answers beyond the provider: a name server, platforms and a STUN server."""
        folder = self.lab.folder
        words = [sys.executable, "-m", "tests.lab.internet", str(folder)]
        started = [
            subprocess.Popen(command(space, *words, what), start_new_session=True, stdout=subprocess.PIPE, cwd=ROOT)
            for space, what in ((self.dns, "dns"), (self.internet, "platforms"))
        ]
        for one in started:
            assert one.stdout is not None
            if one.stdout.readline() != b"ready\n":
                _end(started)
                raise LabFailed("tests.lab.internet did not start; what it said is above")
        return started

    @property
    def authority(self) -> Path:
        """The certificate authority that signed the platforms' certificates; for SSL_CERT_FILE."""
        return self.lab.folder / "platforms-ca.pem"

    # breaking

    def cut(self, fault: str, site: str = "", **how: float) -> None:
        """Breaks something, of one site or of the province; raises :class:`NoSuchFault`. Twice is once."""
        if (fault, site) in self._mends:
            return
        since = self.truth.now()
        mend = self._break(fault, site, how)
        self._mends[(fault, site)] = mend
        self.truth.begin(fault, site, since)

    def heal(self, fault: str = "", site: str = "") -> list[Fault]:
        """Mends what was broken: one fault, all of a site, or all; returns what it was."""
        mended = []
        for one in self.truth.broken():
            if (one.name, one.site) not in self._mends or fault not in ("", one.name) or site not in ("", one.site):
                continue
            self._mends.pop((one.name, one.site))()
            mended.append(self.truth.end(one.name, one.site))
        return mended

    def _break(self, fault: str, site: str, how: Mapping[str, float]) -> Callable[[], None]:
        if fault in WIDE_FAULTS and not site:
            return self._filter(*self._wide(fault), fault)
        place = self.sites.get(site)
        if place is None or fault not in (*SITE_FAULTS, "edge"):
            raise NoSuchFault(
                f"found the fault {fault!r} at the site {site!r}, expected one of {', '.join((*SITE_FAULTS, 'edge'))} "
                f"with a site ({', '.join(self.sites)}), or without one {', '.join(WIDE_FAULTS)}"
            )
        if fault == "access":
            place.line.cut()
            return place.line.heal
        if fault in ("lan", "cable"):
            return self._unplug(place, place.to_router if fault == "lan" else place.to_box)
        if fault in ("slow", "lossy", "delay"):
            return _reshape(place.line, fault, how)
        if fault == "edge":
            return self._filter(self.edges[place.edge], device(self._uplinks[place.edge]), f"edge {site}")
        rules = {
            "dns": port("meta l4proto { tcp, udp } th dport 53"),
            "udp": port("udp dport != 53"),
            "platform": port(f"ip daddr {PLATFORMS['zoom.us']}"),
        }
        return self._filter(place.router, rules[fault], fault)

    def _wide(self, fault: str) -> tuple[str, Rules]:
        if fault in ("core", "internet", "collector"):
            return {"core": self.core, "internet": self.internet, "collector": self.collector}[fault], device("c*")
        if fault == "responder":
            return self.collector, port("meta l4proto { tcp, udp } th dport { 8481, 8862 }")
        if fault == "all-dns":
            return self.dns, port("meta l4proto { tcp, udp } th dport 53")
        return self.internet, port(f"ip daddr {PLATFORMS['zoom.us']}")

    def _filter(self, space: str, rules: Rules, name: str) -> Callable[[], None]:
        self._filters.put(space, name, rules)
        return lambda: self._filters.put(space, name, None)

    def _unplug(self, place: Place, socket: str) -> Callable[[], None]:
        if not socket:
            raise NoSuchFault(f"the agent of {place.name} runs on the router itself: it has no cable to pull")
        run("ip", "-n", place.switch, "link", "set", socket, "down")

        def plug() -> None:
            run("ip", "-n", place.switch, "link", "set", socket, "up")

        return plug

    def affected(self, fault: Fault) -> list[str]:
        """The sites that a fault is felt at."""
        if not fault.site:
            return list(self.sites)
        if fault.name == "edge":
            return [one.name for one in self.sites.values() if one.edge == self.sites[fault.site].edge]
        return [fault.site]

    def reachable(self, site: str, address: str) -> bool:
        """Whether an address answers one echo from the site's box."""
        ipaddress.ip_address(address)
        words = command(self.sites[site].box, "ping", "-n", "-c", "1", "-W", "1", address)
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _reshape(line: Line, fault: str, how: Mapping[str, float]) -> Callable[[], None]:
    before = dict(line.shapes)
    if fault == "slow":
        for direction, shape in before.items():
            line.set(direction, **{"rate": shape.rate / 10, "queue": shape.queue / 10, **how})
    else:
        line.set("both", **({"loss": 0.05, **how} if fault == "lossy" else {"delay": 0.150, **how}))

    def mend() -> None:
        for direction, shape in before.items():
            line.set(direction, **shape._asdict())

    return mend


def _nft(space: str, words: str) -> None:
    subprocess.run(command(space, "nft", "-f", "-"), input=words, text=True, check=True, capture_output=True)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for one in processes:
        one.terminate()
    for one in processes:
        try:
            one.wait(5)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
        if one.stdout is not None:
            one.stdout.close()

"""What can break in a province: packet filters per namespace, changed as a whole, and a log of what was broken when."""

import threading
import time
from typing import NamedTuple

from tests.lab.path import Lab, run

TABLE = """\
table inet lab {
  chain faults_in {
  }
  chain faults_out {
  }
  chain arriving {
    type filter hook prerouting priority raw
    jump faults_in
  }
  chain leaving {
    type filter hook postrouting priority 300
    jump faults_out
  }
}
"""


class Rules(NamedTuple):
    """Rules of nftables for packets that arrive in a namespace and that leave it."""

    arriving: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()


class Fault(NamedTuple):
    """Something that was broken. Times are UTC microseconds: what began between ``begun`` and ``begun + width`` was
    over at ``ended`` (``None``: still broken)."""

    name: str
    site: str
    """Empty: not of one site."""
    begun: int
    width: int = 0
    ended: int | None = None


def device(name: str) -> Rules:
    """Nothing comes or goes by a device; it stays up."""
    return Rules((f'iifname "{name}" drop',), (f'oifname "{name}" drop',))


def port(words: str) -> Rules:
    """Packets of a kind are lost, whoever sent them: ``udp dport 53``."""
    return Rules((f"{words} drop",), (f"{words} drop",))


class Filters:
    """The packet filters of all namespaces. Faults of one namespace hold beside each other."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._held: dict[str, dict[str, Rules]] = {}
        self._turn = threading.Lock()

    def put(self, space: str, name: str, rules: Rules | None) -> None:
        """Breaks (rules) or mends (``None``) one thing in a namespace, at once and as a whole."""
        with self._turn:
            words = ""
            if space not in self._held:
                words, self._held[space] = TABLE, {}
            held = self._held[space]
            held.pop(name, None)
            if rules is not None:
                held[name] = rules
            words += "flush chain inet lab faults_in\nflush chain inet lab faults_out\n"
            for one in held.values():
                words += "".join(f"add rule inet lab faults_in {rule}\n" for rule in one.arriving)
                words += "".join(f"add rule inet lab faults_out {rule}\n" for rule in one.leaving)
            file = self._lab.folder / "rules.nft"
            file.write_text(words, "utf-8")
            run("ip", "netns", "exec", space, "nft", "-f", str(file))


class Truth:
    """What was broken when. Times come from the monotonic clock, tied to UTC once: a step of the wall clock does not
    touch them."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()
        self._faults: list[Fault] = []
        self._turn = threading.Lock()

    def now(self) -> int:
        """UTC in microseconds."""
        return (time.monotonic_ns() + self._offset) // 1000

    def begin(self, name: str, site: str, since: int) -> None:
        """Notes that something was broken between ``since`` and now."""
        with self._turn:
            self._faults.append(Fault(name, site, since, self.now() - since))

    def end(self, name: str, site: str) -> Fault:
        """Notes that it is whole again; raises ``KeyError`` if it was not broken."""
        now = self.now()
        with self._turn:
            for place, one in enumerate(self._faults):
                if (one.name, one.site, one.ended) == (name, site, None):
                    self._faults[place] = ended = one._replace(ended=now)
                    return ended
        raise KeyError(f"{name} of {site or 'the province'} is not broken")

    @property
    def faults(self) -> list[Fault]:
        """All of them so far, in the order they began."""
        with self._turn:
            return list(self._faults)

    def broken(self) -> list[Fault]:
        """What is broken now."""
        return [one for one in self.faults if one.ended is None]

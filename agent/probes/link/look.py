"""One second's echoes: who is asked, how, and who answered. The only file here that touches sockets, by the pinger."""

import errno
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from agent.probes.icmp import Place
from agent.probes.icmp.codec import TIME_EXCEEDED, Origin
from agent.probes.icmp.pinger import Pinger, Received
from agent.probes.icmp.sockets import NoPermission
from agent.probes.link.classify import Asked, Kind
from wire.reasons import Reason

SIZE = 32
"""Bytes of payload: an echo is 60 bytes at the IP layer (IPv4)."""
WHOLE = frozenset({64, 128, 255})
"""Hop limits with which hosts begin: an answer that still has one crossed no router."""
_OURS = {
    errno.EPERM: Reason.NO_PERMISSION,
    errno.EACCES: Reason.NO_PERMISSION,
    errno.EAGAIN: Reason.NO_RESOURCES,
    errno.ENOBUFS: Reason.NO_RESOURCES,
    errno.ENOMEM: Reason.NO_RESOURCES,
    errno.EMFILE: Reason.NO_RESOURCES,
    errno.ENFILE: Reason.NO_RESOURCES,
    errno.EAFNOSUPPORT: Reason.NOT_SUPPORTED,
}
"""Errors of sending that are this machine's own; any other means that there is no way to the target."""


class Aim(NamedTuple):
    """Somebody to ask: by an echo, or (``ttl``) by an echo to ``place`` that runs out of hops at them."""

    role: str
    kind: Kind
    place: Place
    ttl: int | None = None


class Look:
    """What is asked in the second that begins at ``start`` (CLOCK_BOOTTIME, microseconds), and what comes back."""

    def __init__(self, pinger: Pinger, start: int, aims: Iterable[Aim], tell: Callable[[Aim, bool, int], None]) -> None:
        """``tell`` is called when an answer comes: whose, whether it crossed no router, and after how many
        nanoseconds."""
        self.start = start
        self.aims = tuple(aims)
        self.trouble = ""
        self._pinger = pinger
        self._tell = tell
        self.heard: dict[str, bool] = {}
        """Who was heard in this second, whenever they were asked, and whether from near."""
        self._answered: set[str] = set()
        self._unsent: dict[str, Reason] = {}
        self._addresses = {str(one.place.address[0]): one for one in self.aims if one.ttl is None}

    def ask(self) -> None:
        """Sends an echo to everybody who has not answered yet."""
        for one in self.aims:
            if one.role not in self._answered:
                self._send(one)

    def wanting(self, proven: frozenset[str]) -> bool:
        """Whether to ask once more: no anchor has answered, or none of ours (of those ``proven`` to answer)."""
        anchors = {one.role for one in self.aims if one.kind is Kind.ANCHOR}
        ours = {one.role for one in self.aims if one.kind is Kind.OURS and one.role in proven}
        return any(group and not group & self._answered for group in (anchors, ours)) or not (anchors or ours)

    def asked(self) -> tuple[Asked, ...]:
        """Who was asked, and who was heard in this second. A role that is asked no more (an address that was learned
        anew) is not told of."""
        return tuple(
            Asked(
                one.role,
                one.kind,
                one.role in self.heard,
                self.heard.get(one.role, False),
                self._unsent.get(one.role),
            )
            for one in self.aims
        )

    def _send(self, aim: Aim) -> None:
        self._unsent.pop(aim.role, None)
        try:
            self._pinger.send(aim.place.family, aim.place.address, SIZE, partial(self._hear, aim), aim.ttl)
        except NoPermission as refusal:
            self._unsent[aim.role], self.trouble = Reason.NO_PERMISSION, str(refusal)
        except OSError as problem:
            own = _OURS.get(problem.errno or 0)
            if own is not None:
                self._unsent[aim.role], self.trouble = own, problem.strerror or str(problem)

    def _hear(self, aim: Aim, received: Received) -> None:
        error = received.error
        if error is None:
            if aim.ttl is None:
                self._answer(aim, near=received.ttl in WHOLE, rtt=received.rtt)
            return
        told = error.origin in (Origin.ICMP, Origin.ICMP6)
        if told and aim.ttl is not None and error.type == TIME_EXCEEDED[aim.place.family]:
            self._answer(aim, near=False, rtt=received.rtt)
        elif told and (other := self._addresses.get(received.source)) is not None and other is not aim:
            self._answer(other, near=False, rtt=received.rtt)  # whoever reports an error is there

    def _answer(self, aim: Aim, *, near: bool, rtt: int) -> None:
        self._answered.add(aim.role)
        self._tell(aim, near, rtt)

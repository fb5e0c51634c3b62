"""What the router counted on its way out: so that other machines' traffic beside a test is seen (DESIGN §6.5).

Two readings and what the test itself cost give the cross traffic. Routers refresh their counters every few seconds, so
the second reading waits until the counters have moved by at least what the test cost.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from agent import snmp
from agent.addresses import resolve
from agent.datagrams import NoAnswer, doubling, exchange
from agent.neterrors import Unresolved
from agent.snmp import BadSnmp, Oid, SnmpError

PORT = 161
PATIENCE = 2.0
"""Seconds that a router may take for an answer, with two repetitions."""
REFRESH = 12.0
"""Seconds within which a router refreshes its counters; most do every 1 to 10 s."""
LOOK_AGAIN = 0.5
MOST_INTERFACES = 200

IF_NAME: Oid = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1)
IF_IN: Oid = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 6)
IF_OUT: Oid = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 10)
"""ifName, ifHCInOctets and ifHCOutOctets of the IF-MIB (RFC 2863): 64 bits, so a busy minute does not wrap."""


class CountersUnavailable(Exception):
    """The router's counters cannot be read; the message says what was asked and what came."""


class Counters(NamedTuple):
    """One reading of the interface towards the provider, in bytes; ``at`` is CLOCK_MONOTONIC in seconds."""

    received: int
    sent: int
    at: float
    wraps: int = 2**64
    """Where the counters begin anew."""


class RouterCounters(Protocol):
    """Where readings come from."""

    async def read(self) -> Counters:
        """Reads now; raises :class:`CountersUnavailable`."""


class Lasted(NamedTuple):
    """Seconds of the test in each direction; 0 = not known."""

    down: float = 0.0
    up: float = 0.0


class Cross(NamedTuple):
    """The most that other traffic may have been beside the test, bits per second at the router's layer."""

    down: float
    up: float


def cross_traffic(
    before: Counters,
    after: Counters,
    received: int,
    sent: int,
    lasted: Lasted = Lasted(),  # noqa: B008 - immutable
) -> Cross | None:
    """What the others moved while a test received and sent these bytes; ``None`` where the counters went backwards (the
    router restarted) or have not moved by as much as the test alone (not refreshed yet).

    The readings lie seconds apart and the test lasted one: all that the others moved in between may have been moved
    beside it, so it is that time, where it is known, over which their bytes are spread."""
    seconds = after.at - before.at
    down, up = _moved(before.received, after.received, before.wraps), _moved(before.sent, after.sent, before.wraps)
    if seconds <= 0 or down < received or up < sent:
        return None
    down_for, up_for = (min(one, seconds) if one > 0 else seconds for one in lasted)
    return Cross((down - received) * 8 / down_for, (up - sent) * 8 / up_for)


def _moved(before: int, after: int, wraps: int) -> int:
    """How far a counter went. One of 64 bits that goes back was reset; one of 32 bits has come round, once."""
    return after - before if after >= before or wraps > 2**32 else after - before + wraps


async def settled(
    counters: RouterCounters,
    before: Counters,
    received: int,
    sent: int,
    *,
    within: float = REFRESH,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Counters:
    """The second reading, once the counters hold the test; raises :class:`CountersUnavailable` if they never do.

    Where others moved bytes too, counters of before the test's end may have moved by what it cost: the reading that
    counts is one of a later refresh, or of counters that stood still for as long as a refresh may take.
    """
    ends = time.monotonic() + within
    first: Counters | None = None
    while True:
        after = await counters.read()
        if cross_traffic(before, after, received, sent) is not None:
            if first is not None and (after.received, after.sent) != (first.received, first.sent):
                return after
            first = first or after
        over = time.monotonic() >= ends
        if over and first is not None:
            return after
        if over:
            raise CountersUnavailable(
                f"found counters that did not take in the test's {received} and {sent} bytes within {within:g} s"
            )
        await pause(LOOK_AGAIN)


class SnmpCounters:
    """A router's counters over SNMP 2c. ``interface`` is the name of its port towards the provider (ifName)."""

    def __init__(self, host: str, community: str, interface: str, port: int = PORT) -> None:
        self._host, self._port = host, port
        self._community = community
        self._interface = interface
        self._index: int | None = None

    async def read(self) -> Counters:
        """As :class:`RouterCounters` says. The interface is looked for at first and again when it is gone."""
        if self._index is None:
            self._index = await self._find()
        names = [(*IF_IN, self._index), (*IF_OUT, self._index)]
        answer = await self._ask(names)
        at = time.monotonic()
        values = dict(answer.values)
        received, sent = (values.get(name) for name in names)
        if not isinstance(received, int) or not isinstance(sent, int):
            self._index = None
            raise CountersUnavailable(
                f"{self._host}: found no 64-bit counters for {self._interface}, expected ifHCInOctets"
            )
        return Counters(received, sent, at)

    async def _find(self) -> int:
        name, seen = IF_NAME, []
        for _ in range(MOST_INTERFACES):
            ((name, value),) = (await self._ask([name], following=True)).values[:1] or [((), None)]
            if name[: len(IF_NAME)] != IF_NAME or not isinstance(value, bytes):
                break
            word = value.decode("utf-8", "replace")
            if word == self._interface:
                return name[-1]
            seen.append(word)
        raise CountersUnavailable(
            f"{self._host}: found no interface {self._interface!r}, expected one of {', '.join(seen) or 'none at all'}"
        )

    async def _ask(self, names: list[Oid], *, following: bool = False) -> snmp.Answer:
        request = secrets.randbelow(2**31)
        message = snmp.get(self._community, request, names, following=following)

        def accept(data: bytes) -> snmp.Answer | None:
            answer = snmp.read(data)
            return answer if answer.request == request else None

        try:
            found = await resolve(self._host, self._port, PATIENCE, socket.SOCK_DGRAM)
            address = found.addresses[0]
            reply = await exchange(address, lambda *_: message, doubling(0.5, 3), PATIENCE, accept, BadSnmp)
        except NoAnswer as silent:
            raise CountersUnavailable(
                f"{self._host}: found no SNMP answer, expected one; check that the router allows this machine to"
                " ask, and the community"
            ) from silent
        except (SnmpError, Unresolved, OSError) as trouble:
            raise CountersUnavailable(f"{self._host}: {trouble}") from trouble
        return reply.value

"""Where the path stops: one trace by echoes whose hop limit runs out, in roles and public addresses only."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from agent.addresses import is_public
from agent.probes.icmp import Place
from agent.probes.icmp.codec import TIME_EXCEEDED, Origin
from agent.probes.icmp.pinger import Pinger, Received

LONGEST = 10
"""Hops: beyond them the path is the provider's affair either way."""
ROUNDS = (0.0, 0.45)
"""Seconds after the start at which hops that have not answered are asked."""
PATIENCE = 1.6
"""Seconds for all of it: done before the third second of silence is over, when the change is told."""


class Hop(NamedTuple):
    """Who answered at one distance; ``address`` is empty for silence."""

    ttl: int
    address: str = ""
    end: bool = False


async def trace(pinger: Pinger, place: Place) -> list[Hop]:
    """The hops towards a place, within :data:`PATIENCE` seconds. What cannot be sent is silence."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    found: dict[int, Hop] = {}

    def hear(ttl: int, received: Received) -> None:
        error = received.error
        if error is None:
            found.setdefault(ttl, Hop(ttl, received.source, end=True))
        elif error.origin in (Origin.ICMP, Origin.ICMP6) and error.type == TIME_EXCEEDED[place.family]:
            found.setdefault(ttl, Hop(ttl, received.source))

    for at in ROUNDS:
        await asyncio.sleep(max(0.0, begun + at - loop.time()))
        for ttl in range(1, LONGEST + 1):
            if ttl not in found:
                try:
                    pinger.send(place.family, place.address, 32, partial(hear, ttl), ttl)
                except OSError:
                    break
    await asyncio.sleep(max(0.0, begun + PATIENCE - loop.time()))
    return [found.get(ttl, Hop(ttl)) for ttl in range(1, LONGEST + 1)]


def in_words(hops: Iterable[Hop], roles: Mapping[str, str]) -> str:
    """``1 gateway, 2 edge, 3 203.0.113.7, 4 silent``: up to the first silence after the last answer. ``roles`` names
    addresses; a private address without a role is ``router``."""
    words: list[str] = []
    last = 0
    for hop in hops:
        if not hop.address:
            words.append(f"{hop.ttl} silent")
            continue
        role = roles.get(hop.address, "")
        if hop.end:
            role = role or "destination"
        shown = [role] if role else []
        if is_public(hop.address):
            shown.append(f"({hop.address})" if role else hop.address)
        words.append(f"{hop.ttl} {' '.join(shown) or 'router'}")
        last = len(words)
        if hop.end:
            return ", ".join(words)
    return ", ".join(words[: last + 1])

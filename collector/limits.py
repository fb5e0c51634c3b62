"""Rate limits: a token bucket per key, of bounded memory."""

import math
from collections import OrderedDict
from collections.abc import Hashable
from ipaddress import IPv4Address, ip_address, ip_network

MOST_KEYS = 10_000


class Buckets:
    """``burst`` at once and ``rate`` a second for each key. The least recently used key is forgotten first."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._held: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, now: float, amount: float = 1.0) -> float:
        """Takes ``amount`` at ``now`` (seconds); 0 when allowed, otherwise the seconds to wait. A clock that was set
        back takes nothing away."""
        level, since = self._held.pop(key, (self.burst, now))
        level = min(self.burst, level + max(0.0, now - since) * self.rate)
        allowed = level >= amount
        self._held[key] = (level - amount if allowed else level, now)
        if len(self._held) > MOST_KEYS:
            self._held.popitem(last=False)
        return 0.0 if allowed else (amount - level) / self.rate

    def give_back(self, key: Hashable, amount: float = 1.0) -> None:
        """Undoes a take that turned out to be harmless."""
        if key in self._held:
            level, since = self._held[key]
            self._held[key] = (min(self.burst, level + amount), since)


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that one subscriber of IPv6 has to himself."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    if found.ipv4_mapped is not None:  # a socket of IPv6 that takes IPv4 too
        return str(found.ipv4_mapped)
    return str(ip_network((found, 64), strict=False))


def retry_after(seconds: float) -> dict[str, str]:
    """The header that tells a client when to come again, in whole seconds."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}

"""Leases that an agent keeps for the time when the collector cannot be asked (docs/decisions/018-slots.md).

One is good for one test within three days. It is given only for a responder that stands at no site: an agent does not
know the meetings of other sites, so it could not keep their quiet time. That its own site's are kept is the agent's to
see to, and that the responder's capacity is kept, the responder's.
"""

from collector.inventory import Inventory
from collector.lending import NotNow
from collector.slots.asking import lease_for
from collector.slots.places import World
from collector.store import Source
from wire.clock import DAY, HOUR, SECOND, Instant
from wire.lease import Lease, LeaseRequest, NoLease, new_id
from wire.settings import Role

LIVES = 3 * DAY
AGAIN = 20 * HOUR
"""An agent renews them daily."""
MOST = 2
"""Leases of one agent within :data:`AGAIN`."""


class Standby:
    """Remembers who was given one of late; forgetting it at a restart does no harm."""

    def __init__(self) -> None:
        self._given: dict[str, list[Instant]] = {}

    def judge(self, inventory: Inventory, here: World, source: Source, request: LeaseRequest, now: Instant) -> Lease:
        """The lease; raises :class:`collector.lending.NotNow`."""
        line = here.line(source.site, source.link)
        if not inventory.slots.without_collector or line is None or source.role == Role.ROOM:
            raise NotNow(NoLease.NO_SLOT, "this site makes no tests without its collector")
        if line.terms is None:
            raise NotNow(NoLease.CONTRACT_UNKNOWN, f"{line.site} {line.link}: the inventory has no contract in force")
        fitting = [name for name in line.responders if inventory.responders[name].site is None]
        chosen = next((name for name in fitting if request.responder in ("", name)), None)
        if chosen is None:
            words = "no responder of this site stands away from every site, where quiet time is not to be known"
            raise NotNow(NoLease.NO_RESPONDER, words)
        self._given = {name: some for name, some in self._given.items() if some[-1] > now - AGAIN}
        of_late = [at for at in self._given.get(source.agent, []) if at > now - AGAIN]
        if len(of_late) >= MOST:
            wait = (of_late[0] + AGAIN - now) / SECOND
            raise NotNow(NoLease.NO_SLOT, f"{MOST} standby leases were given of late", wait)
        self._given[source.agent] = [*of_late, now]
        return lease_for(new_id(), source, here.fars[chosen], line.terms, now, now + LIVES)

"""What every handler of the collector may use."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from collector.accounts import Accounts
from collector.handout import Handout, Settings
from collector.inventory import Inventory
from collector.link_history.histories import Histories
from collector.orders import Orders
from collector.picture import Picture
from collector.settings import CollectorSettings
from collector.slots.service import Slots
from collector.store import CannotWrite, Source, Store
from collector.store.dialect import touch
from collector.tally import Tally
from collector.vantages import Vantages
from wire.clock import Instant

if TYPE_CHECKING:
    from collector.responder.beside import Beside
    from collector.tls import Authority

READY_WITHIN = 5.0
"""Seconds in which the store must answer to count as ready."""


@dataclass
class Services:
    """One collector's parts. ``inventory`` is replaced as a whole when its files change; read it anew each time."""

    settings: CollectorSettings
    store: Store
    accounts: Accounts
    orders: Orders
    picture: Picture
    inventory: Inventory
    now: Callable[[], Instant]
    """UTC microseconds."""
    started: Instant = 0
    authority: "Authority | None" = None
    """The collector's own CA, if it has one."""
    beside: "Beside | None" = None
    """The responder that was started beside this collector."""
    tally: Tally = field(default_factory=Tally)
    """Counts of what ingest did, for ``/metrics``."""
    handout: Handout = field(default_factory=Handout)
    """The agents' settings, derived from the inventory."""
    histories: Histories = field(default_factory=Histories)
    """The history of each link, derived from what its agents watched."""
    stopping: bool = False
    vantages: Vantages = field(init=False)
    """Where agents stood, and what of it IT confirmed."""

    slots: Slots = field(init=False)
    """Who may fill a link, and when."""

    def __post_init__(self) -> None:
        self.vantages = Vantages(self.store)
        self.slots = Slots(self)

    def settings_of(self, source: Source, now: Instant) -> Settings:
        """What an agent of that place is told to run."""
        return self.handout.of(self.inventory, source, now, self.vantages.confirmed(source.site, source.link))

    async def not_ready(self) -> str:
        """Why data cannot be taken now; empty when it can: both sides of the store answer, and it is not stopping."""
        if self.stopping:
            return "the collector is stopping"
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self.store.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
                await self.store.write(touch)
        except TimeoutError:
            return f"the store did not answer within {READY_WITHIN:.0f} s"
        except (CannotWrite, DBAPIError) as error:
            return f"the store does not answer: {error}"
        return ""

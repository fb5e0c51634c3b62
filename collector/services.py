"""What every handler of the collector may use."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from collector.accounts import Accounts
from collector.inventory import Inventory
from collector.orders import Orders
from collector.picture import Picture
from collector.settings import CollectorSettings
from collector.store import Store
from collector.tally import Tally
from wire.clock import Instant

if TYPE_CHECKING:
    from collector.tls import Authority


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
    tally: Tally = field(default_factory=Tally)
    """Counts of what ingest did, for ``/metrics``."""

"""The settings that each agent fetches, derived from the inventory and kept until something could have changed them."""

from dataclasses import dataclass

import msgspec

from collector.inventory import Inventory, agent_settings
from collector.inventory.assignments import NoSuchPlace
from collector.store import Source
from wire.clock import SECOND, Instant

KEPT = 20 * SECOND
"""How long derived settings are used before they are derived anew: a meeting may have come into view."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One agent's settings as they go out."""

    revision: str
    body: bytes
    missing: str = ""
    """Why there are none: the inventory no longer has the agent's place. What it measures is stored all the same."""


class Handout:
    """Derives settings once per place, not once per post."""

    def __init__(self) -> None:
        self._inventory: Inventory | None = None
        self._held: dict[tuple[str, str, str], tuple[Instant, tuple[str, ...], Settings]] = {}

    def of(self, inventory: Inventory, source: Source, now: Instant, vantages: tuple[str, ...] = ()) -> Settings:
        """The settings of an agent of that site, link and role; ``vantages`` are those confirmed for its link."""
        if inventory is not self._inventory:
            self._held.clear()
            self._inventory = inventory
        place = (source.site, source.link, source.role)
        held = self._held.get(place)
        if held is not None and 0 <= now - held[0] < KEPT and held[1] == vantages:
            return held[2]
        try:
            derived = agent_settings(inventory, source.site, source.link, source.role, now, vantages)
        except NoSuchPlace as error:
            made = Settings("", b"", str(error))
        else:
            made = Settings(derived.revision, msgspec.json.encode(derived))
        self._held[place] = (now, vantages, made)
        return made

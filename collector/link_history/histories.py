"""The histories of a province's links, as the collector has them now: read, derived, judged and remembered."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection

from collector.inventory import Inventory
from collector.link_history.derive import derive
from collector.link_history.domains import Judged, judge
from collector.link_history.outages import Outage, outages
from collector.link_history.reading import Hours, Link, links, read
from collector.link_history.shapes import Interval, Rules
from wire.clock import SECOND, Instant

if TYPE_CHECKING:
    from collector.services import Services


class Told(NamedTuple):
    """An outage with the collector's judgement."""

    link: Link
    outage: Outage
    judged: Judged


class Asked(NamedTuple):
    """What is needed beside the store."""

    heard: Mapping[str, Instant]
    confirmed: Mapping[Link, tuple[str, ...]]
    providers: Mapping[Link, str]
    rules: Rules
    now: Instant


class Histories:
    """Derives histories; lives as long as the collector."""

    def __init__(self) -> None:
        self._hours = Hours()

    def of(self, connection: Connection, link: Link, start: Instant, end: Instant, asked: Asked) -> list[Interval]:
        """One link's history from ``start`` to ``end``."""
        confirmed = asked.confirmed.get(link, ())
        records = read(connection, self._hours, link, start, min(end, asked.now), asked.heard, confirmed)
        return derive(records, start, end, asked.now)

    def told(
        self, connection: Connection, wanted: list[Link], start: Instant, end: Instant, asked: Asked
    ) -> tuple[dict[Link, list[Interval]], list[Told]]:
        """Histories of some links, and their outages judged beside the other links of the same provider."""
        found = {link: self.of(connection, link, start, end, asked) for link in wanted}
        fallen = {link: outages(history, asked.rules) for link, history in found.items()}
        told: list[Told] = []
        seen = dict(found)
        for link, some in fallen.items():
            peers = self._peers(connection, link, asked) if some else []
            for peer in peers:
                if peer not in seen:
                    seen[peer] = self.of(connection, peer, start, end, asked)
            others = {f"{peer.site}/{peer.link}": seen[peer] for peer in peers}
            told += [Told(link, one, judge(one, others)) for one in some]
        return found, sorted(told, key=lambda one: (one.outage.start, one.link))

    def _peers(self, connection: Connection, link: Link, asked: Asked) -> list[Link]:
        provider = asked.providers.get(link, "")
        return [one for one in links(connection) if one != link and asked.providers.get(one, "") == provider]


def rules_of(inventory: Inventory) -> Rules:
    """The inventory's rules in microseconds."""
    found = inventory.link_history
    return Rules(round(found.counts_from.total_seconds() * SECOND), round(found.joins_below.total_seconds() * SECOND))


def asked_of(services: "Services", now: Instant) -> Asked:
    """What the rest of the collector knows now, taken on the event loop."""
    inventory = services.inventory
    providers = {Link(site.id, link.id): link.provider for site in inventory.sites.values() for link in site.links}
    heard = {agent: word.at for agent, word in services.accounts.heard.items()}
    confirmed = {Link(*place): ids for place, ids in services.vantages.confirmed_places().items()}
    return Asked(heard, confirmed, providers, rules_of(inventory), now)

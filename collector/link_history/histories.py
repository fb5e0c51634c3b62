"""The histories of a province's links, as the collector has them now: read, derived, judged and remembered."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection

from collector.inventory import Inventory
from collector.link_history.days import SETTLED, day_marks, holds, keep, marks, packed_hours
from collector.link_history.derive import clipped, derive
from collector.link_history.domains import Judged, judge
from collector.link_history.outages import Outage, outages
from collector.link_history.reading import BEFORE, Hours, Link, links, read, series_of
from collector.link_history.shapes import Interval, Rules, Run
from collector.store import Store
from wire.clock import DAY, SECOND, Instant

if TYPE_CHECKING:
    from collector.services import Services


LOOK_BACK = 92
"""Days whose hours may still change: windows are kept for about so long."""


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


class _Beside(NamedTuple):
    """A history as it was when it was derived last."""

    made: Instant
    start: Instant
    end: Instant
    history: list[Interval]


class Histories:
    """Derives histories; lives as long as the collector."""

    def __init__(self) -> None:
        self._hours = Hours()
        self._beside: dict[Link, _Beside] = {}

    def of(self, connection: Connection, link: Link, start: Instant, end: Instant, asked: Asked) -> list[Interval]:
        """One link's history from ``start`` to ``end``."""
        confirmed = asked.confirmed.get(link, ())
        records = read(connection, self._hours, link, start, min(end, asked.now), asked.heard, confirmed)
        return derive(records, start, end, asked.now)

    def told(
        self, connection: Connection, wanted: list[Link], start: Instant, end: Instant, asked: Asked, age: int = 0
    ) -> tuple[dict[Link, list[Interval]], list[Told]]:
        """Histories of some links, and their outages judged beside the other links of the same provider. What these
        were in may be ``age`` microseconds old: a page that is asked for every ten seconds needs no more. An outage
        that the span's beginning cuts is judged by how it began."""
        wide = start - BEFORE
        seen = {link: self.of(connection, link, wide, end, asked) for link in wanted}
        found = {link: clipped(history, start, end) for link, history in seen.items()}
        told: list[Told] = []
        for link, history in found.items():
            some = outages(history, asked.rules)
            peers = self._peers(connection, link, asked) if some else []
            for peer in peers:
                if peer not in seen:
                    seen[peer] = self._other(connection, peer, wide, end, asked, age)
            others = {f"{peer.site}/{peer.link}": seen[peer] for peer in peers}
            whole = outages(seen[link], asked.rules) if some else []
            told += [Told(link, one, judge(_whole(one, whole), others)) for one in some]
        return found, sorted(told, key=lambda one: (one.outage.start, one.link))

    async def keep(self, store: Store, now: Instant) -> int:
        """Keeps the past days of every link whose hours changed since; returns how many days it made. Its SQL runs in
        the store's threads, a link at a time."""
        made = 0
        for link in await store.read(links):
            days = await store.read(partial(_changed_days, self._hours, link, now))
            if days:
                await store.write(partial(keep, site=link.site, link=link.link, made=now, days=days))
                made += len(days)
        return made

    def _other(
        self, connection: Connection, link: Link, start: Instant, end: Instant, asked: Asked, age: int
    ) -> list[Interval]:
        held = self._beside.get(link)
        if held is None or not held.made <= asked.now <= held.made + age or held.start > start or held.end < end - age:
            history = self.of(connection, link, start, end, asked)
            held = self._beside[link] = _Beside(asked.now, start, end, history)
        return held.history

    def _peers(self, connection: Connection, link: Link, asked: Asked) -> list[Link]:
        provider = asked.providers.get(link, "")
        return [one for one in links(connection) if one != link and asked.providers.get(one, "") == provider]


def _whole(one: Outage, some: list[Outage]) -> Outage:
    """The outage that a part of it was cut from."""
    return next((other for other in some if other.start <= one.start < other.end), one)


def _changed_days(hours: Hours, link: Link, now: Instant, connection: Connection) -> list[tuple[int, str, list[Run]]]:
    """The past days of a link whose mark is not that of its packed hours any more."""
    last = (now - SETTLED) // DAY - 1
    first = max(0, last - LOOK_BACK)
    series = series_of(connection, link)
    kept = marks(connection, link.site, link.link, first, last)
    found = []
    for day, mark in sorted(day_marks(connection, series, first * DAY, last * DAY).items()):
        if day not in kept or not holds(kept[day], mark):
            packed = packed_hours(connection, series, day * DAY, day * DAY)
            found.append((day, mark, hours.runs(connection, packed)))
    return found


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

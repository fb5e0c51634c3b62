"""From the inventory to what the planner knows: links, responders, and when neither may be filled. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from collector.inventory import Inventory
from collector.inventory.calendar import microseconds, occurrences
from collector.inventory.link_assignments import MBPS, responders_of, terms_of
from collector.slots.rules import Far, Line, Rules, rules_of
from collector.slots.spans import Span, joined
from wire.clock import Instant
from wire.meetings import QuietRules, quiet_time


class World(NamedTuple):
    """What slots are planned in."""

    rules: Rules
    lines: tuple[Line, ...]
    fars: dict[str, Far]

    def line(self, site: str, link: str) -> Line | None:
        """A link by its place. An agent of a room has no link: it fills its site's first one all the same."""
        here = [one for one in self.lines if one.site == site]
        return next((one for one in here if one.link == link), here[0] if here and not link else None)


def world(inventory: Inventory, agents: Mapping[tuple[str, str], str], now: Instant) -> World:
    """``agents`` says which agent measures a link (site, link)."""
    rules = rules_of(inventory.slots, inventory.province.time_zone)
    quiet = quiet_times(inventory)
    lines = [
        Line(
            site=site.id,
            link=link.id,
            agent=agents.get((site.id, link.id), ""),
            terms=terms_of(inventory, site.id, link.id, now),
            responders=tuple(one.id for one in responders_of(inventory, site.id)),
            quiet=tuple(quiet.get(site.id, ())),
            service=site.service_hours,
            office=site.service_hours or inventory.province.service_hours,
        )
        for site in inventory.sites.values()
        for link in site.links
    ]
    fars = {
        one.id: Far(
            one.id,
            round(one.sends_mbps * MBPS),
            round(one.takes_mbps * MBPS),
            tuple(quiet.get(one.site, ())) if one.site else (),
        )
        for one in inventory.responders.values()
    }
    return World(rules, tuple(lines), fars)


def quiet_times(inventory: Inventory) -> dict[str, list[Span]]:
    """Quiet time of every site, of all its meetings, without margin."""
    rules = QuietRules(microseconds(inventory.quiet.before_doors), microseconds(inventory.quiet.after_end))
    found: dict[str, list[tuple[int, int]]] = {}
    for one in occurrences(inventory.meetings.values(), inventory.province.time_zone):
        span = quiet_time(one.times, rules)
        for site in inventory.sites_of(one.meeting):
            found.setdefault(site, []).append((span.start, span.end))
    return {site: joined(spans) for site, spans in found.items()}

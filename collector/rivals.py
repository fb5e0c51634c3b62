"""Two live agents that hold the same place: a conflict that is shown until one of them is retired or falls silent."""

from collections.abc import Iterable
from typing import NamedTuple

from collector.store import Source
from wire.clock import MINUTE, Instant
from wire.settings import Role

SILENT = 5 * MINUTE
"""An agent unheard of for so long is not live any more; a newcomer then supersedes it (DESIGN §6.6)."""


class Rivals(NamedTuple):
    """Agents that are live at the same time and speak for the same link or room."""

    site: str
    link: str
    """The link; empty for the room."""
    agents: tuple[str, ...]


def rivals(agents: Iterable[tuple[Source, Instant]], now: Instant) -> list[Rivals]:
    """Who speaks for the same place, from agents that were not retired and when each was last heard."""
    places: dict[tuple[str, str, bool], set[str]] = {}
    for source, heard in agents:
        if now - heard >= SILENT:
            continue
        if source.role != Role.ROOM:
            places.setdefault((source.site, source.link, False), set()).add(source.agent)
        if source.role != Role.LINK:
            places.setdefault((source.site, "", True), set()).add(source.agent)
    found = [Rivals(site, link, tuple(sorted(ids))) for (site, link, _), ids in places.items() if len(ids) > 1]
    return list(dict.fromkeys(found))

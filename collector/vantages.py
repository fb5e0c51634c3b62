"""Where agents were seen to stand, and which of these places IT confirmed as standing on the site's link.

A vantage is learned from the change that an agent records when it comes to stand somewhere. It is never confirmed by
itself: as long as a person confirmed none, nothing is held back. Once one is confirmed, its link's agents measure from
confirmed vantages only and skip everything else as ``not_on_this_link`` (DESIGN §2).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, and_, delete, func, insert, select, update

from collector.credentials import note
from collector.picture import SitePicture
from collector.store import CannotWrite, Landed, Store
from collector.store.schema import audit
from collector.store.schema import vantage as table
from wire.clock import HOUR, Instant
from wire.observation import Change, Observation

PROBE = "vantage"
IDENTITY = re.compile(r"[0-9a-f]{4,64}")
"""What is taken for a vantage's id. People copy it into commands, so nothing else is; ``none`` is having no route."""
FACTS = ("medium", "interface", "gateway_hash", "speed_bits_per_second", "duplex")
"""What is kept of a change's facts; an address of the site's own network is not among them."""
LONGEST_FACT = 80
TOLD_EVERY = HOUR
"""How old ``seen_last`` may be while an agent stands there; written oftener it would tell no more."""
MOST = 50
"""Unconfirmed vantages kept of one link; beyond it, those unseen longest go. A notebook may stand anywhere."""
MOST_WAITING = 1000
"""Vantages held in memory while the disk takes nothing."""
ROOM = "-"
"""How a command names the place of an agent without a link: the room."""


class NoSuchVantage(LookupError):
    """No such vantage is known at the site; the message lists what is."""


@dataclass(frozen=True, slots=True)
class Vantage:
    """One place where an agent of a site stood. ``link`` is empty for the room."""

    site: str
    link: str
    id: str
    facts: dict[str, str]
    address: str
    agent: str
    seen_first: Instant
    seen_last: Instant
    confirmed: Instant | None = None
    who: str = ""

    @property
    def medium(self) -> str:
        """``cable``, ``wifi``, ``mobile``, ``other``, or empty where the agent did not say."""
        return self.facts.get("medium", "")


def tells_vantage(observation: Observation) -> bool:
    """Whether this is the change that says where an agent stands now."""
    return (
        isinstance(observation, Change)
        and observation.probe == PROBE
        and IDENTITY.fullmatch(observation.current) is not None
    )


def vantage_of(one: Landed, address: str) -> Vantage:
    """What a landed change (:func:`tells_vantage`) says. Late data does not say from which address it was seen, for the
    agent may stand elsewhere by now."""
    change = one.observation
    assert isinstance(change, Change)  # noqa: S101 - the caller asked tells_vantage
    at = one.time.utc if one.time is not None else one.received
    facts = {name: change.facts[name][:LONGEST_FACT] for name in FACTS if name in change.facts}
    source = one.source
    return Vantage(source.site, source.link, change.current, facts, "" if one.late else address, source.agent, at, at)


def standing(picture: SitePicture, now: Instant) -> dict[tuple[str, str], tuple[str, Instant]]:
    """Where the live agents of a site stand now, as their newest windows say: (link, id) -> agent, last seen."""
    live = {(one.source.link, one.source.role): one.source.agent for one in picture.agents if not one.silent(now)}
    newest: dict[tuple[str, str], tuple[Instant, str]] = {}
    for one in picture.series:
        place = (one.key.link, one.key.role)
        if place in live and not one.stale(now) and IDENTITY.fullmatch(one.window.vantage):
            newest[place] = max(newest.get(place, (0, "")), (one.end, one.window.vantage))
    return {(place[0], identity): (live[place], end) for place, (end, identity) in newest.items()}


def learn(connection: Connection, found: Iterable[Vantage]) -> None:
    """Adds vantages, or says of known ones when they were seen; what was confirmed stays as it is."""
    places = set()
    for one in found:
        places.add((one.site, one.link))
        here = and_(table.c.site == one.site, table.c.link == one.link, table.c.id == one.id)
        held = connection.execute(select(table).where(here)).one_or_none()
        facts = msgspec.json.encode(one.facts).decode()
        if held is None:
            values = {"facts": facts, "address": one.address, "agent": one.agent}
            seen = {"seen_first": one.seen_first, "seen_last": one.seen_last}
            connection.execute(insert(table).values(site=one.site, link=one.link, id=one.id, **values, **seen))
            continue
        news: dict[str, object] = {"seen_first": min(held.seen_first, one.seen_first)}
        if one.seen_last >= held.seen_last:
            news |= {"agent": one.agent, "seen_last": one.seen_last}
            news |= {"facts": facts} if one.facts else {}
            news |= {"address": one.address} if one.address else {}
        connection.execute(update(table).where(here).values(news))
    for site, link in places:
        unsure = and_(table.c.site == site, table.c.link == link, table.c.confirmed.is_(None))
        kept = select(table.c.id).where(unsure).order_by(table.c.seen_last.desc(), table.c.id).limit(MOST)
        connection.execute(delete(table).where(unsure, table.c.id.not_in(kept)))


def known(connection: Connection, site: str = "") -> list[Vantage]:
    """All vantages, or those of one site: by site and link, the confirmed first, then the one seen last."""
    wanted = select(table).order_by(
        table.c.site, table.c.link, table.c.confirmed.is_(None), table.c.seen_last.desc(), table.c.id
    )
    if site:
        wanted = wanted.where(table.c.site == site)
    return [
        Vantage(
            row.site,
            row.link,
            row.id,
            msgspec.json.decode(row.facts, type=dict[str, str]),
            row.address,
            row.agent,
            row.seen_first,
            row.seen_last,
            row.confirmed,
            row.who or "",
        )
        for row in connection.execute(wanted)
    ]


def _one(connection: Connection, site: str, identity: str, link: str | None) -> Vantage:
    """The vantage that a person named; raises :class:`NoSuchVantage`."""
    here = known(connection, site)
    found = [one for one in here if one.id == identity and link in (None, one.link)]
    if not found:
        there = ", ".join(f"{one.id} ({one.link or ROOM})" for one in here)
        place = site if link is None else f"{site} ({link or ROOM})"
        raise NoSuchVantage(
            f"vantage: found {identity!r}, expected one known at {place}: "
            + (there or "none yet; one is learned when an agent of the site reports")
        )
    if len(found) > 1:
        links = ", ".join(one.link or ROOM for one in found)
        raise NoSuchVantage(
            f"vantage: {identity} is known at several places of {site}, say which one with --link: {links}"
        )
    return found[0]


def confirm(connection: Connection, at: Instant, site: str, identity: str, link: str | None, *, who: str) -> Vantage:
    """IT says that this vantage stands on the link. Raises :class:`NoSuchVantage`."""
    one = _one(connection, site, identity, link)
    connection.execute(
        update(table)
        .where(table.c.site == site, table.c.link == one.link, table.c.id == identity, table.c.confirmed.is_(None))
        .values(confirmed=at, who=who[:200])
    )
    note(connection, at, who, "vantage confirmed", f"site {site} link {one.link or ROOM} vantage {identity}")
    return one


def forget(connection: Connection, at: Instant, site: str, identity: str, link: str | None, *, who: str) -> Vantage:
    """Takes a vantage out, and its confirmation with it. Raises :class:`NoSuchVantage`."""
    one = _one(connection, site, identity, link)
    connection.execute(delete(table).where(table.c.site == site, table.c.link == one.link, table.c.id == identity))
    was = "confirmed" if one.confirmed is not None else "unconfirmed"
    note(connection, at, who, "vantage forgotten", f"site {site} link {one.link or ROOM} vantage {identity}, {was}")
    return one


class Vantages:
    """The table in memory. Lives on the event loop; SQL runs in the store's threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamp: int | None = None
        self._sites: dict[str, tuple[Vantage, ...]] = {}
        self._confirmed: dict[tuple[str, str], tuple[str, ...]] = {}
        self._waiting: list[Vantage] = []

    def of(self, site: str) -> tuple[Vantage, ...]:
        """What is known of a site, in the order of :func:`known`."""
        return self._sites.get(site, ())

    def confirmed(self, site: str, link: str) -> tuple[str, ...]:
        """Identities of the vantages confirmed as standing on a link."""
        return self._confirmed.get((site, link), ())

    def confirmed_places(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """The same for every (site, link) where any is confirmed."""
        return self._confirmed

    async def landed(self, landed: Iterable[Landed], address: str) -> None:
        """Learns from what was committed just now; changes of vantage are rare. A disk that takes nothing is tried
        again by :meth:`refresh`."""
        found = [vantage_of(one, address) for one in landed if tells_vantage(one.observation)]
        if found:
            self._waiting = (self._waiting + found)[-MOST_WAITING:]
            await self._write()

    async def seen(self, pictures: Iterable[SitePicture], now: Instant) -> None:
        """Notes where live agents stand, about once an hour: a place that was forgotten, or whose change was lost with
        a spool, is learned again while an agent stands there."""
        found = []
        for picture in pictures:
            held = {(one.link, one.id): one.seen_last for one in self.of(picture.site)}
            for (link, identity), (agent, end) in standing(picture, now).items():
                if end - held.get((link, identity), 0) >= TOLD_EVERY:
                    found.append(Vantage(picture.site, link, identity, {}, "", agent, end, end))
        if found:
            self._waiting += found
            await self._write()

    async def _write(self) -> None:
        found, self._waiting = self._waiting, []
        try:
            await self._store.write(lambda connection: learn(connection, found))
        except CannotWrite:
            self._waiting = (found + self._waiting)[-MOST_WAITING:]
            return
        await self._read()

    async def refresh(self) -> None:
        """Takes up what a command changed; :func:`collector.serve` calls it every second. Each such change left a row
        in the audit, so that one figure tells."""
        if self._waiting:
            await self._write()
        stamp = await self._store.read(_stamp)
        if stamp != self._stamp:
            await self._read()

    async def _read(self) -> None:
        stamp, found = await self._store.read(lambda connection: (_stamp(connection), known(connection)))
        sites: dict[str, list[Vantage]] = {}
        confirmed: dict[tuple[str, str], list[str]] = {}
        for one in found:
            sites.setdefault(one.site, []).append(one)
            if one.confirmed is not None:
                confirmed.setdefault((one.site, one.link), []).append(one.id)
        self._stamp = stamp
        self._sites = {site: tuple(some) for site, some in sites.items()}
        self._confirmed = {place: tuple(sorted(ids)) for place, ids in confirmed.items()}


def _stamp(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(audit.c.id), 0))).scalar_one())

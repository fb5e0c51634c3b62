"""Slots as the collector runs them: plans become orders, leases are judged, results are entered and kept.

A slot is on the disk before its order is, and its id is that of its order and of its lease: whatever stops in between,
nothing is granted twice. What could not be written is written later; what a collector that stopped did not enter, it
reads from the records of the store.
"""

from collections.abc import Iterable
from random import Random, SystemRandom
from typing import TYPE_CHECKING

import msgspec
import structlog

from collector.lending import NotNow, check_quiet, responder_for
from collector.picture import AgentNow
from collector.slots import keeping
from collector.slots.asking import NOBODY, entered, judge_asked, judge_slot
from collector.slots.book import AGENT_SILENT, Book
from collector.slots.held import Held, State
from collector.slots.places import World, world
from collector.slots.planner import Planned, Reservation
from collector.slots.rules import MARGIN
from collector.slots.standby import Standby
from collector.store import CannotWrite, Landed, Source
from collector.vantages import standing
from wire.clock import MINUTE, SECOND, Instant
from wire.lease import Lease, LeaseRequest, NoLease, Purpose, new_id
from wire.meetings import Load
from wire.observation import Note, Test
from wire.orders import OrderAnswer, OrderKind, OrderStatus, Slot
from wire.reasons import Event, Reason
from wire.settings import Role

if TYPE_CHECKING:
    from collector.services import Services

log = structlog.get_logger()

WORLD_FOR = MINUTE
"""The world is looked at anew after it: meetings and agents come and go."""
RECOUNT_EVERY = 60 * MINUTE
NOTES = {
    Event.SLOT_TAKEN: State.TAKEN,
    Event.SLOT_DEFERRED: State.DEFERRED,
    Event.SLOT_SKIPPED: State.SKIPPED,
    Event.SLOT_FAILED: State.FAILED,
}
ANSWERS = {
    OrderStatus.EXPIRED: Reason.ORDER_EXPIRED.value,
    OrderStatus.REFUSED: "refused",
    OrderStatus.FAILED: "failed",
    OrderStatus.UNKNOWN: Reason.NOT_SUPPORTED.value,
}


class Slots:
    """Lives on the event loop; SQL runs in the store's threads."""

    def __init__(self, services: "Services", rng: Random | None = None) -> None:
        self._services = services
        self._rng = rng or SystemRandom()
        self.book = Book()
        self._unsaved: dict[str, Held] = {}
        self._world: World | None = None
        self._seen: tuple[object, Instant] = (None, 0)
        self._recounted: Instant = 0
        self._lent: dict[str, Reservation] = {}
        self._standby = Standby()

    async def load(self) -> None:
        """Takes up what was granted when the collector stopped."""
        now = self._services.now()
        self.book = Book(await self._services.store.read(lambda connection: keeping.load(connection, now)))
        await self._recount(now)

    def world(self, now: Instant) -> World:
        """Links, responders and quiet times, as the inventory has them now."""
        services = self._services
        made_of, made = self._seen
        if self._world is None or made_of is not services.inventory or not 0 <= now - made < WORLD_FOR:
            agents = {}
            for site in services.inventory.sites.values():
                for link in site.links:
                    agent = self._agent(site.id, link.id, now)
                    agents[(site.id, link.id)] = agent.source.agent if agent else ""
            self._world = world(services.inventory, agents, now)
            self._seen = (services.inventory, now)
        return self._world

    # the chore

    async def tick(self) -> None:
        """Plans, grants what is due, and ends what is over; every few seconds."""
        now = self._services.now()
        here = self.world(now)
        if now - self._recounted >= RECOUNT_EVERY:
            await self._recount(now)
            self.book.forget(now)
        self._changed(self.book.unheard(now))
        self.book.plan(here.lines, here.fars, here.rules, now, self._rng)
        for one in self.book.due(now):
            await self._grant(one, now)
        await self._save()

    async def _grant(self, one: Planned, now: Instant) -> None:
        agent = self._agent(one.site, one.link, now)
        why = self._not_to_be_asked(one, agent, now)
        slot = self.book.grant(one, new_id(), agent.source.agent if agent else "", now)
        if why:
            self._changed(self.book.became(slot.id, State.SKIPPED, *why))
            return
        self._changed([slot])
        await self._save()
        if slot.id in self._unsaved:  # no order for what is not on the disk
            self._changed(self.book.became(slot.id, State.SKIPPED, "store", "the store took nothing"))
            return
        arguments = msgspec.to_builtins(Slot(slot=slot.id, responder=slot.responder, retest=bool(slot.of)))
        after, expires = (slot.start - now) / SECOND, (slot.latest - now) / SECOND
        await self._services.orders.give(
            slot.agent, OrderKind.SLOT, arguments, after=after, expires=expires, identity=slot.id
        )
        log.info("slot granted", slot=slot.id, site=slot.site, link=slot.link, responder=slot.responder)

    def _not_to_be_asked(self, one: Planned, agent: AgentNow | None, now: Instant) -> tuple[str, str] | None:
        if agent is None or agent.silent(now):
            return AGENT_SILENT, ""
        if not self._on_link(agent, now):
            return Reason.NOT_ON_THIS_LINK.value, ""
        try:
            place = responder_for(self._services.inventory, one.site, one.responder)
            end = one.reservation.end + MARGIN
            check_quiet(self._services.inventory, one.site, place, Load.FULL, one.start, end)
        except NotNow as no:
            return no.why.value, no.detail
        return None

    def _agent(self, site: str, link: str, now: Instant) -> AgentNow | None:
        """The agent that measures a link: the live one, else whoever was heard last."""
        fitting = [
            one
            for one in self._services.picture.site(site, now).agents
            if one.source.link == link and one.source.role in (Role.LINK, Role.BOTH)
        ]
        return max(fitting, key=lambda one: one.heard, default=None)

    def _on_link(self, agent: AgentNow, now: Instant) -> bool:
        source = agent.source
        confirmed = self._services.vantages.confirmed(source.site, source.link)
        here = standing(self._services.picture.site(source.site, now), now)
        stands = {
            identity for (link, identity), (name, _) in here.items() if (link, name) == (source.link, source.agent)
        }
        return not confirmed or not stands or bool(stands & set(confirmed))

    # leases

    def judge(self, source: Source, request: LeaseRequest, now: Instant) -> Lease:
        """The lease for a throughput test: in its slot, for somebody who asks for one now, or to be kept for the time
        when nobody can be asked. Raises :class:`collector.lending.NotNow`."""
        here, inventory = self.world(now), self._services.inventory
        if request.slot == NOBODY:
            return self._standby.judge(inventory, here, source, request, now)
        if request.slot:
            lease, changed = judge_slot(self.book, inventory, here, source, request, now)
        else:
            lease, changed = judge_asked(self.book, inventory, here, source, request, now)
        self._changed(changed)
        return lease

    def reserve(self, lease: Lease, now: Instant) -> None:
        """Holds the link and the responder's capacity for a light test or a call until it must be over. Raises
        :class:`collector.lending.NotNow` where another has them."""
        if lease.purpose not in (Purpose.LIGHT, Purpose.CALL):
            return
        here = self.world(now)
        far, line = here.fars.get(lease.responder), here.line(lease.site, lease.link)
        end = lease.expires
        link = line.link if line else lease.link
        if far is not None:
            place = (lease.site, link)
            free, room = self.book.free(far, place, now, end, (min(lease.down, far.down), min(lease.up, far.up)))
            if not free:
                raise NotNow(NoLease.LINK_IN_USE, "another test has this link now", (end - now) / SECOND)
            if not room:
                raise NotNow(NoLease.RESPONDER_BUSY, "the responder's capacity is in use", (end - now) / SECOND)
        held = Reservation(lease.responder, lease.site, link, now, end, lease.down, lease.up)
        self._lent = {name: one for name, one in self._lent.items() if one.end > now}
        self._lent[lease.id] = held
        self.book.reserve(held)

    def release(self, lease: Lease) -> None:
        """Gives back what :meth:`reserve` held; twice does nothing."""
        held = self._lent.pop(lease.id, None)
        if held is not None:
            self.book.release(held)

    # what became of them

    async def landed(self, landed: Iterable[Landed]) -> None:
        """Enters what was committed just now, late or not."""
        for one in landed:
            self._enter(one)
        await self._save()

    async def answered(self, source: Source, answers: Iterable[OrderAnswer]) -> None:
        """Enters how agents answered their orders. That an order is done says nothing: its records do."""
        for one in answers:
            slot = self.book.held.get(one.id)
            if slot is not None and slot.agent == source.agent and one.status in ANSWERS:
                self._changed(self.book.became(one.id, State.FAILED, ANSWERS[one.status], one.detail))
        await self._save()

    def _enter(self, one: Landed) -> None:
        record = one.observation
        if isinstance(record, Test) and record.probe == "throughput":
            self._changed(entered(self.book, self.world(one.received), one))
        elif isinstance(record, Note) and record.event in NOTES:
            slot = self.book.held.get(record.order)
            if slot is not None and slot.agent == one.source.agent:
                reason = record.reason.value if record.reason else ""
                self._changed(self.book.became(slot.id, NOTES[record.event], reason, record.facts.get("detail", "")))

    # keeping

    async def _recount(self, now: Instant) -> None:
        self._recounted = now
        for one in await self._services.store.read(lambda connection: keeping.records(connection, now)):
            self._enter(one)
        await self._save()

    def _changed(self, slots: Iterable[Held]) -> None:
        self._unsaved |= {one.id: one for one in slots}

    async def _save(self) -> None:
        found, self._unsaved = self._unsaved, {}
        if not found:
            return
        try:
            await self._services.store.write(lambda connection: keeping.save(connection, found.values()))
        except CannotWrite as full:
            self._unsaved = found | self._unsaved
            log.warning("slots not kept yet", slots=len(found), cause=str(full))

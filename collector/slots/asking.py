"""Judging who asks for a throughput test, and entering the tests that land. Pure but for the book."""

from collector.inventory import Inventory
from collector.lending import NotNow, check_quiet, responder_for
from collector.slots.book import Book
from collector.slots.held import OPEN, Held, Kind, State, half_of
from collector.slots.places import World
from collector.slots.rules import LENGTH, TO_BEGIN, Far, Line, Wanted, month_of, reserved, wanted
from collector.store import Landed, Source
from wire.clock import SECOND, Instant
from wire.lease import Lease, LeaseRequest, NoLease, Purpose, new_id
from wire.meetings import Load
from wire.observation import Test
from wire.settings import ContractTerms

NOBODY = "standby"
"""``slot`` of a request for a lease to be kept for the time when the collector cannot be asked."""
OWN = "own-"
"""How the order ids of an agent's own tests begin."""
EARLY = 5 * SECOND
"""An agent's idea of when its slot begins may be off by as much."""
SECONDS = 6.0
"""Longest time of one direction: a test is stable after 1 s on a good line; one that loses 5 % takes longer."""


def judge_slot(
    book: Book, inventory: Inventory, here: World, source: Source, request: LeaseRequest, now: Instant
) -> tuple[Lease, list[Held]]:
    """The lease of a granted slot, and what changed in the book; raises :class:`NotNow`. The lease's id is the slot's,
    so a second one for the same slot is a replay at the responder."""
    slot = book.held.get(request.slot)
    if slot is None or slot.agent != source.agent or slot.site != source.site or slot.state not in OPEN:
        raise NotNow(NoLease.NO_SLOT, f"slot: found {request.slot!r}, expected one that this agent was granted")
    if request.responder not in ("", slot.responder):
        raise NotNow(NoLease.NO_SLOT, f"responder: found {request.responder!r}, expected {slot.responder!r}")
    if now < slot.start - EARLY:
        wait = (slot.start - now) / SECOND
        raise NotNow(NoLease.NO_SLOT, f"the slot {slot.id} begins in {wait:.0f} s", wait)
    if now > slot.latest + EARLY:
        raise NotNow(NoLease.NO_SLOT, f"the slot {slot.id} had to begin {(now - slot.latest) / SECOND:.0f} s ago")
    line, far = _place(here, source, slot.responder)
    terms = _terms(line)
    check_quiet(inventory, source.site, responder_for(inventory, source.site, far.id), Load.FULL, now, slot.ends)
    _check_free(book, line, far, now, slot.ends, (slot.down, slot.up), but=slot.id)
    changed = book.became(slot.id, State.TAKEN)
    return lease_for(slot.id, source, far, terms, now, slot.ends), changed


def judge_asked(
    book: Book, inventory: Inventory, here: World, source: Source, request: LeaseRequest, now: Instant
) -> tuple[Lease, list[Held]]:
    """The lease for a test that somebody asks for now; it becomes a slot of its own. A site that has no link in the
    inventory has no contract to claim against: it may use all that the responder has. Raises :class:`NotNow`."""
    place = responder_for(inventory, source.site, request.responder)
    listed = inventory.sites.get(source.site)
    if listed is not None and not listed.links and place.id in here.fars:
        line, far, terms = Line(source.site, source.link, source.agent, None), here.fars[place.id], None
    else:
        line, far = _place(here, source, place.id)
        terms = _terms(line)
    if book.spent(line.site, month_of(now, here.rules.zone)) + book.cost(line) > here.rules.budget:
        raise NotNow(NoLease.BUDGET_SPENT, f"{line.site}: the month's {here.rules.budget / 1e9:g} GB are used up")
    end = now + LENGTH
    check_quiet(inventory, source.site, place, Load.FULL, now, end)
    rates = reserved(terms, far) if terms is not None else Wanted(far.down, far.up)
    _check_free(book, line, far, now, end, rates)
    slot = Held(
        id=new_id(), site=line.site, link=line.link, agent=source.agent, responder=far.id, kind=Kind.ASKED,
        state=State.TAKEN, made=now, start=now, latest=now + TO_BEGIN, ends=end, down=rates.down, up=rates.up,
    )  # fmt: skip
    book.enter(slot)
    book.give_way(slot.site, slot.link, slot.responder, end)
    return lease_for(slot.id, source, far, terms, now, end), [slot]


def entered(book: Book, here: World, one: Landed) -> list[Held]:
    """What a test that landed changes. One without a slot's order is that which was asked for at the time, or the
    agent's own."""
    test = one.observation
    assert isinstance(test, Test)  # noqa: S101 - the caller asked
    at = one.time.utc if one.time is not None else None
    slot = book.held.get(test.order)
    if slot is None and test.order.startswith(OWN):
        slot = book.enter(_own(here, one, test, at))
    elif slot is None and not test.order and at is not None:
        slot = _asked_at(book, one.source, at)
    if slot is None or slot.agent != one.source.agent:
        return []
    return book.tested(slot.id, test.direction, half_of(test), at) or ([slot] if slot.kind is Kind.OWN else [])


def _own(here: World, one: Landed, test: Test, at: Instant | None) -> Held:
    line = here.line(one.source.site, one.source.link)
    start = (at if at is not None else one.received) - (test.end - test.start)
    return Held(
        id=test.order, site=one.source.site, link=line.link if line else one.source.link, agent=one.source.agent,
        responder=test.target, kind=Kind.OWN, state=State.UNANSWERED, made=one.received, start=start, latest=start,
        ends=start + LENGTH,
    )  # fmt: skip


def _asked_at(book: Book, source: Source, at: Instant) -> Held | None:
    fitting = [
        slot
        for slot in book.held.values()
        if slot.kind is Kind.ASKED and slot.agent == source.agent and slot.start <= at <= slot.ends + EARLY
    ]
    return max(fitting, key=lambda slot: slot.start, default=None)


def lease_for(
    identity: str, source: Source, far: Far, terms: ContractTerms | None, now: Instant, expires: Instant
) -> Lease:
    """A lease for one test of that contract, or where there is none to claim against, of what the responder has. It
    allows what the line may deliver, whatever the responder has: what it has is the responder's to cap, and to say so.
    """
    rates = wanted(terms) if terms is not None else Wanted(far.down, far.up)
    return Lease(
        id=identity, purpose=Purpose.THROUGHPUT, responder=far.id, site=source.site, link=source.link, issued=now,
        expires=expires, down=rates.down, up=rates.up, seconds=SECONDS,
    )  # fmt: skip


def _place(here: World, source: Source, responder: str) -> tuple[Line, Far]:
    line, far = here.line(source.site, source.link), here.fars.get(responder)
    if line is None:
        raise NotNow(NoLease.CONTRACT_UNKNOWN, f"{source.site} {source.link or '(no link)'}: not in the inventory")
    if far is None:
        raise NotNow(NoLease.NO_RESPONDER, f"responder: found {responder!r}, which the inventory does not have")
    return line, far


def _terms(line: Line) -> ContractTerms:
    if line.terms is None:
        raise NotNow(NoLease.CONTRACT_UNKNOWN, f"{line.site} {line.link}: the inventory has no contract in force")
    return line.terms


def _check_free(
    book: Book, line: Line, far: Far, now: Instant, end: Instant, rates: tuple[int, int], but: str = ""
) -> None:
    link, room = book.free(far, line.place, now, end, rates, but)
    wait = (end - now) / SECOND
    if not link:
        raise NotNow(NoLease.LINK_IN_USE, f"{line.site} {line.link}: another test has this link now", wait)
    if not room:
        raise NotNow(NoLease.RESPONDER_BUSY, f"the responder {far.id} is in use to its capacity", wait)

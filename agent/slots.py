"""Throughput tests in slots: the order ``slot`` carried out, and the sparse tests of an agent left alone.

The agent judges by its own rules first (time, quiet time, vantage, an idle line), then asks for the lease, where the
collector judges again. Whatever comes of it is a note in the evidence, with the slot's id.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Protocol

import msgspec
import structlog

from agent.clock import Clock
from agent.idle import Busy, Calm, Passed, in_use, passed, queueing
from agent.measuring import Records
from agent.notes import note
from agent.standby import STANDBY, KeptLeases
from agent.vantage import Vantage
from wire.batch import StreamName
from wire.clock import HOUR, MINUTE, SECOND, Corrected
from wire.meetings import Load, may_run
from wire.observation import Window
from wire.orders import Order, OrderAnswer, OrderStatus, Slot
from wire.reasons import Event, Outcome, Reason
from wire.settings import AgentSettings, Assignment, Role, ServiceHours

LISTEN = 2.0
"""Seconds for which the line is listened to before it is filled."""
TAKES = 40 * SECOND
"""From the look at the clock to the end of a test at the latest: it counts like an error of the clock."""
LOOK_EVERY = 600.0
"""Seconds between looks whether the agent is alone, and whether its kept leases are good."""
OWN = "own-"
"""How the order ids of an agent's own tests begin; the collector knows them by it."""
LEAST_SHARE, MOST_SHARE = 0.25, 2.0
"""An own test comes after an exponential time, within these shares of its mean."""
BANGKOK = 7 * HOUR
"""UTC+7 without daylight saving: service hours are local."""
DEFERS = frozenset({Reason.LINK_IN_USE, Reason.LINK_DOWN, Reason.RESPONDER_BUSY, Reason.NO_LEASE, Reason.TIME_UNKNOWN})
"""What passes by itself: the slot is deferred. Anything else that keeps a test from being made skips it."""
log = structlog.get_logger(__name__)


class Filler(Protocol):
    """What is needed of :class:`agent.runner.Runner`."""

    vantage: Vantage | None

    @property
    def settings(self) -> AgentSettings:
        """What the agent is told."""

    @property
    def on_link(self) -> bool:
        """Whether it stands on its link."""

    async def measure_now(self, names: Sequence[str], window: float | None = None, order: str = "") -> list[Window]:
        """Runs assignments once."""

    async def fill(self, assignment: Assignment, order: str) -> Window | None:
        """Runs one test of load class full."""


class Times(Protocol):
    """What is needed of :class:`agent.clock.Timekeeper`."""

    def utc(self, boottime: int | None = None) -> Corrected | None:
        """Corrected UTC, or ``None`` while unknown."""


class SlotTests:
    """Fills the link when it may. One at a time on this machine."""

    def __init__(
        self,
        clock: Clock,
        times: Times,
        runner: Filler,
        records: Records,
        leases: KeptLeases,
        *,
        heard: Callable[[], int | None],
        counters: Callable[[str, int], Passed] = passed,
        rng: Random | None = None,
    ) -> None:
        self._clock = clock
        self._times = times
        self._runner = runner
        self._records = records
        self._leases = leases
        self._heard = heard
        self._counters = counters
        self._rng = rng or SystemRandom()
        self._lock = asyncio.Lock()
        self._due: int | None = None
        self._begun = clock.boottime()
        self.calm = Calm()
        """Is to be shown every window that is recorded."""

    # orders

    async def carry(self, order: Order) -> OrderAnswer:
        """Carries out a ``slot`` order whose time has come; the answer's detail says what came of it."""
        try:
            slot = msgspec.convert(order.arguments, Slot)
        except msgspec.ValidationError as wrong:
            return OrderAnswer(order.id, OrderStatus.REFUSED, f"slot: {wrong}"[:500])
        if slot.responder not in {one.id for one in self._runner.settings.responders}:
            await self._tell(Event.SLOT_SKIPPED, order.id, Reason.NO_RESPONDER, slot.responder)
            return OrderAnswer(order.id, OrderStatus.REFUSED, f"responder: found {slot.responder!r}, which is unknown")
        return OrderAnswer(order.id, OrderStatus.DONE, await self._try(slot, order.id))

    async def _try(self, slot: Slot, order: str) -> str:
        if self._lock.locked():
            return await self._tell(Event.SLOT_DEFERRED, order, Reason.LINK_IN_USE, "another test runs on this machine")
        async with self._lock:
            busy = self._unfit() or await self._in_use(order)
            if busy is not None:
                event = Event.SLOT_DEFERRED if busy.reason in DEFERS else Event.SLOT_SKIPPED
                return await self._tell(event, order, busy.reason, busy.detail)
            window = await self._runner.fill(self._assignment(slot), order)
            return await self._told(window, order)

    async def _told(self, window: Window | None, order: str) -> str:
        if window is None:
            return await self._tell(Event.SLOT_FAILED, order, Reason.STOPPING)
        detail = window.facts.get("detail", "")
        if window.outcome is Outcome.OK:
            return await self._tell(Event.SLOT_TAKEN, order)
        if window.outcome is Outcome.SKIPPED:
            event = Event.SLOT_DEFERRED if window.reason in DEFERS else Event.SLOT_SKIPPED
            return await self._tell(event, order, window.reason, detail)
        return await self._tell(Event.SLOT_FAILED, order, window.reason, detail)

    def _unfit(self) -> Busy | None:
        """Why this machine may fill nothing now, by its own rules."""
        now, settings = self._times.utc(), self._runner.settings
        if now is None:
            return Busy(Reason.TIME_UNKNOWN, "no clock of the collector was heard since this machine started")
        if not may_run(Load.FULL, now.utc, now.error + TAKES, settings.meetings, settings.quiet, slot=True):
            return Busy(Reason.QUIET_TIME, "")
        if not self._runner.on_link:
            return Busy(Reason.NOT_ON_THIS_LINK, "")
        return None

    async def _in_use(self, order: str) -> Busy | None:
        """Listens before it speaks."""
        settings = self._runner.settings
        names = [one.name for one in settings.assignments if one.probe == "icmp" and _tells(one.target)]
        interface = self._runner.vantage.interface if self._runner.vantage else ""
        before = await asyncio.to_thread(self._counters, interface, self._clock.boottime())
        least = self.calm.least()
        if names:
            windows = await self._runner.measure_now(names, LISTEN, order)
        else:
            windows = []
            await self._clock.sleep(LISTEN)
        after = await asyncio.to_thread(self._counters, interface, self._clock.boottime())
        return in_use(before, after, settings.contract) or queueing(windows, least)

    def _assignment(self, slot: Slot) -> Assignment:
        settings = self._runner.settings
        responder = next(one for one in settings.responders if one.id == slot.responder)
        given = {
            "responder": msgspec.to_builtins(responder),
            "contract": msgspec.to_builtins(settings.contract),
            "engine": slot.engine,
            "directions": list(slot.directions),
            "slot": slot.slot,
            "role": settings.role.value,
            "on_link": self._runner.on_link,
            "interface": self._runner.vantage.interface if self._runner.vantage else "",
            "time_known": self._times.utc() is not None,
        }
        return Assignment(probe="throughput", target=slot.responder, evidence=True, settings=given)

    async def _tell(self, event: Event, order: str, reason: Reason | None = None, detail: str = "") -> str:
        facts = {"detail": detail} if detail else {}
        one = note(self._clock, event, reason=reason, order=order, facts=facts)
        await self._records.record(StreamName.EVIDENCE, one, urgent=True)
        words = event.value.removeprefix("slot_") + (f": {reason}" if reason else "")
        return f"{words}: {detail}"[:500] if detail else words

    # alone

    async def run(self) -> None:
        """Keeps standby leases while the collector is there, and tests sparsely by them while it is not."""
        while True:
            await self._clock.sleep(LOOK_EVERY * self._rng.uniform(0.9, 1.1))
            await self.look()

    async def look(self) -> None:
        """One look; ``run`` looks every few minutes."""
        settings, now = self._runner.settings, self._times.utc()
        own = settings.own_schedule
        if own is None or settings.role is Role.ROOM or settings.contract is None or now is None:
            self._due = None
            return
        heard = self._heard()
        alone = self._clock.boottime() - (self._begun if heard is None else heard)
        if alone < own.after * SECOND:
            self._due = None
            if alone < 2 * MINUTE:
                await self._leases.renew(now.utc)
            return
        if self._due is None:
            self._due = self._clock.boottime() + self._pause(own.every)
        open_now = is_open(now.utc, own.hours)
        if self._clock.boottime() < self._due or not open_now:
            return
        responder = await self._leases.next_responder(now.utc)
        known = {one.id for one in settings.responders}
        if responder in known:
            order = OWN + secrets.token_hex(8)
            log.info("own test", order=order, came=await self._try(Slot(STANDBY, responder), order))
        self._due = self._clock.boottime() + self._pause(own.every)

    def _pause(self, every: float) -> int:
        """Microseconds until the next own test: exponential, clamped."""
        drawn = self._rng.expovariate(1.0)
        return round(min(max(drawn, LEAST_SHARE), MOST_SHARE) * every * SECOND)


def is_open(utc: int, hours: Sequence[ServiceHours]) -> bool:
    """Whether the site's equipment is on at a moment; a site that names no hours is on always."""
    if not hours:
        return True
    days, rest = divmod(utc + BANGKOK, 24 * HOUR)
    day, minute = (days + 3) % 7, rest // MINUTE  # the epoch was a Thursday
    return any(one.day == day and one.opens <= minute < one.closes for one in hours)


def _tells(target: str) -> bool:
    return target == "edge" or target.startswith("anchor")

"""Leases kept for the time when the collector cannot be asked (docs/decisions/018-slots.md).

Each is good for one test within three days. They lie in the state folder as ``standby.json`` (0600), are never logged,
and one is taken out, on disk, before it is used: a crash loses it rather than using it twice.
"""

import asyncio
import contextlib
from pathlib import Path

import msgspec
import structlog

from agent.probe import LeaseRefused, Leases
from agent.state import replace_file
from wire.clock import DAY, HOUR, MINUTE, Instant
from wire.lease import Grant, Purpose
from wire.reasons import Reason

STANDBY = "standby"
"""``slot`` of a request for such a lease, and of a test that is made with one."""
FILE = "standby.json"
MOST = 2
OLD = 2 * DAY
"""One with less left is renewed."""
ASK_AGAIN = 12 * HOUR
"""After a refusal."""
log = structlog.get_logger(__name__)


class KeptLeases:
    """:class:`agent.probe.Leases` that serves what is marked :data:`STANDBY` from the folder, and asks for the rest."""

    def __init__(self, inner: Leases, folder: Path) -> None:
        self._inner = inner
        self._file = folder / FILE
        self._not_before: Instant = 0
        self._now: Instant = 0
        self._lock = asyncio.Lock()

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        """As :class:`agent.probe.Leases` says."""
        if slot != STANDBY:
            return await self._inner.borrow(purpose, responder, slot=slot, profile=profile)
        async with self._lock:
            held = await asyncio.to_thread(self._good, self._now)
            found = next((one for one in held if one.lease.responder == responder), None)
            if found is None:
                raise LeaseRefused(
                    Reason.NO_LEASE, "no standby lease is left; the collector gives them while it is there"
                )
            await asyncio.to_thread(self._keep, [one for one in held if one is not found])
        return found

    async def next_responder(self, now: Instant) -> str:
        """Whom the kept lease that expires first is for; empty without any."""
        self._now = now
        held = await asyncio.to_thread(self._good, now)
        return min(held, key=lambda one: one.lease.expires).lease.responder if held else ""

    async def renew(self, now: Instant) -> None:
        """Asks for what is missing or old, at most twice a day; a collector that says no is asked again later."""
        self._now = now
        if now < self._not_before:
            return
        async with self._lock:
            held = await asyncio.to_thread(self._good, now)
            fresh = [one for one in held if one.lease.expires - now > OLD]
            if len(fresh) >= MOST:
                return
            self._not_before = now + ASK_AGAIN
            try:
                while len(fresh) < MOST:
                    fresh.append(await self._inner.borrow(Purpose.THROUGHPUT, slot=STANDBY))
            except LeaseRefused as no:
                log.debug("no standby lease", reason=str(no.reason))
                if no.reason is Reason.NO_LEASE:  # not asked at all: the connection failed
                    self._not_before = now + 10 * MINUTE
            kept = sorted({one.lease.id: one for one in [*fresh, *held]}.values(), key=lambda one: -one.lease.expires)
            with contextlib.suppress(LeaseRefused):  # logged; the next renewal tries again
                await asyncio.to_thread(self._keep, kept[:MOST])

    def _good(self, now: Instant) -> list[Grant]:
        try:
            held = msgspec.json.decode(self._file.read_bytes(), type=list[Grant])
        except (OSError, msgspec.DecodeError):
            return []
        return [one for one in held if one.lease.expires > now + MINUTE]

    def _keep(self, held: list[Grant]) -> None:
        try:
            replace_file(self._file, msgspec.json.encode(held))
        except OSError as trouble:
            log.warning("standby leases not kept", cause=str(trouble.strerror))
            raise LeaseRefused(Reason.NO_LEASE, "the state folder cannot be written") from trouble

"""Who may use a responder, when and how much: the rules by which leases are given. Pure; ``now`` is an argument.

A lease is judged by the load of what it is for (DESIGN §2, §6.4): STAMP is a trickle and always allowed, a call is
allowed until the doors open, a light check outside quiet time or in a rehearsal. Call and light load the line on which
the responder stands as well, so the meetings of that site count too. A ``throughput`` test is granted by slots alone.
"""

from typing import NamedTuple

import msgspec

from collector.inventory import Inventory
from collector.inventory.assignments import meetings_of
from collector.inventory.calendar import microseconds
from collector.inventory.link_assignments import MBPS, responders_of, terms_of
from collector.inventory.link_measuring import ResponderPlace
from collector.store import Source
from wire.clock import SECOND, Instant
from wire.lease import Lease, LeaseRequest, NoLease, Purpose, new_id, session_seconds
from wire.meetings import Load, MeetingTimes, QuietRules, may_run, quiet_time

LOADS = {
    Purpose.STAMP: Load.TRICKLE,
    Purpose.CALL: Load.CALL,
    Purpose.LIGHT: Load.LIGHT,
    Purpose.THROUGHPUT: Load.FULL,
}
TO_OPEN = 10 * SECOND
"""Microseconds beyond its longest session that a test has from the grant to be done: link and capacity are held until
then, so that nobody who dawdles meets another's test."""
STAMP_RATE = 50_000
"""Bits per second each way: the most that a trickle may cost (DESIGN §2)."""
STAMP_SECONDS = 86_400.0
"""A STAMP lease lives a day: a collector that is away for hours takes no evidence of the link away with it."""
CALL_RATE = 5 * MBPS
"""Bits per second each way where the platform's profile does not say: the HD call of ``field/bandwidth.md`` §6 (4/4)
with a quarter of headroom for headers."""
CALL_HEADROOM = 1.5
"""A profile's seat is payload on average; RTP bursts at key frames."""
CALL_SECONDS = 20.0
LIGHT_SHARE = 0.95
LIGHT_HEADROOM = 1.1
"""Over 0.95 x contract: a contract that counts TCP payload is 3.6 % more at the IP layer, and pacing is not exact."""
LIGHT_SECONDS = 2.0


class NotNow(Exception):
    """No lease; ``why`` is the code that the agent is told, ``retry_after`` seconds, 0 where it is not known."""

    def __init__(self, why: NoLease, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail
        self.retry_after = retry_after


class Rates(NamedTuple):
    """Bits per second at the IP layer, from the district's point of view."""

    down: int
    up: int


def responder_for(inventory: Inventory, site: str, wanted: str = "") -> ResponderPlace:
    """The responder that a site shall use: the one it asks for, or the preferred one. Raises :class:`NotNow`."""
    fitting = responders_of(inventory, site)
    found = next((one for one in fitting if wanted in ("", one.id)), None)
    if found is None:
        known = ", ".join(one.id for one in fitting) or "none: the inventory has no responder for this site"
        raise NotNow(NoLease.NO_RESPONDER, f"responder: found {wanted or 'no name'!r}, expected one of {known}")
    return found


def judge(inventory: Inventory, source: Source, request: LeaseRequest, now: Instant) -> Lease:
    """The lease for STAMP, a call or a light check; raises :class:`NotNow`."""
    place = responder_for(inventory, source.site, request.responder)
    seconds = _seconds(request.purpose)
    rates = _rates(inventory, source, request, place, now)
    found = Lease(
        id=new_id(),
        purpose=request.purpose,
        responder=place.id,
        site=source.site,
        link=source.link,
        issued=now,
        expires=now + 1,
        down=rates.down,
        up=rates.up,
        seconds=seconds,
    )
    slack = 0 if request.purpose is Purpose.STAMP else TO_OPEN
    found = msgspec.structs.replace(found, expires=now + round(session_seconds(found) * SECOND) + slack)
    check_quiet(inventory, source.site, place, LOADS[request.purpose], now, found.expires)
    return found


def check_quiet(
    inventory: Inventory,
    site: str,
    place: ResponderPlace,
    load: Load,
    now: Instant,
    until: Instant,
    *,
    slot: bool = True,
) -> None:
    """Raises :class:`NotNow` unless a load is allowed from ``now`` to ``until`` at the site and where the responder
    stands. The time that a test may take counts against it like the uncertainty of a clock."""
    rules = QuietRules(microseconds(inventory.quiet.before_doors), microseconds(inventory.quiet.after_end))
    for where in dict.fromkeys([site, place.site or site]):
        meetings = meetings_of(inventory, where, now)
        if not may_run(load, now, until - now, meetings, rules, slot=slot):
            whose = "this site" if where == site else f"{where}, where the responder {place.id} stands"
            after = _quiet_for(meetings, rules, now, until - now)
            raise NotNow(NoLease.QUIET_TIME, f"quiet time of {whose}: {load} is not allowed now", after)


def _quiet_for(meetings: list[MeetingTimes], rules: QuietRules, now: Instant, error: int) -> float:
    """Seconds until the last of the quiet times that hold now is over."""
    spans = [quiet_time(one, rules) for one in meetings]
    ends = [span.end for span in spans if span.start - error <= now < span.end + error]
    return max(0.0, (max(ends, default=now) + error - now) / SECOND)


def _seconds(purpose: Purpose) -> float:
    return {Purpose.STAMP: STAMP_SECONDS, Purpose.CALL: CALL_SECONDS, Purpose.LIGHT: LIGHT_SECONDS}[purpose]


def _rates(inventory: Inventory, source: Source, request: LeaseRequest, place: ResponderPlace, now: Instant) -> Rates:
    if request.purpose is Purpose.STAMP:
        return Rates(STAMP_RATE, STAMP_RATE)
    most = Rates(round(place.sends_mbps * MBPS), round(place.takes_mbps * MBPS))
    wanted = call_rates(inventory, request.profile)
    if request.purpose is Purpose.LIGHT:
        wanted = light_rates(inventory, source, now)
    return Rates(min(wanted.down, most.down), min(wanted.up, most.up))


def call_rates(inventory: Inventory, profile: str) -> Rates:
    """What one seat of a platform needs, with headroom; :data:`CALL_RATE` where its profile does not say."""
    platform = inventory.platforms.get(profile)
    seat = platform.capacity if platform else None
    down, up = (seat.download_mbps, seat.upload_mbps) if seat else (None, None)
    return Rates(*(round(one * MBPS * CALL_HEADROOM) if one else CALL_RATE for one in (down, up)))


def light_rates(inventory: Inventory, source: Source, now: Instant) -> Rates:
    """0.95 x contract and the headroom; raises :class:`NotNow` where no contract is in force."""
    terms = terms_of(inventory, source.site, source.link, now)
    if terms is None:
        words = f"{source.site} {source.link or '(no link)'}: the inventory has no contract in force to pace by"
        raise NotNow(NoLease.CONTRACT_UNKNOWN, words)
    share = LIGHT_SHARE * LIGHT_HEADROOM
    return Rates(round(terms.download * share), round(terms.upload * share))

"""What an agent is told of its link: its contract, the responders it may use, and what watches it all day."""

import datetime as dt
from zoneinfo import ZoneInfo

from collector.inventory.calendar import microseconds
from collector.inventory.files import Inventory, contract_on
from collector.inventory.link_measuring import ResponderPlace
from collector.inventory.model import ServiceHours as Hours
from collector.inventory.model import Site
from collector.inventory.parts import DAYS
from collector.inventory.platforms import Capacity
from wire.clock import SECOND, Instant
from wire.settings import Assignment, ContractTerms, OwnSchedule, ResponderAt, ServiceHours

MBPS = 1_000_000


def responders_of(inventory: Inventory, site: str) -> list[ResponderPlace]:
    """The responders that a site may use, the preferred one first: those that name it, then those for all. One that
    stands at the site itself says nothing of the site's line: it stands before it."""
    fitting = [
        one for one in inventory.responders.values() if (not one.sites or site in one.sites) and one.site != site
    ]
    return sorted(fitting, key=lambda one: not one.sites)


def responder_at(place: ResponderPlace) -> ResponderAt:
    """A responder as an agent needs it."""
    return ResponderAt(
        id=place.id,
        host=place.host or "@collector",
        tcp_port=place.tcp_port,
        udp_port=place.udp_port,
        stamp_port=place.stamp_port,
        shared=place.site is not None,
        capacity_down=round(place.sends_mbps * MBPS),
        capacity_up=round(place.takes_mbps * MBPS),
    )


def terms_of(inventory: Inventory, site: str, link: str, now: Instant) -> ContractTerms | None:
    """The contract of a link that holds at ``now``; ``None`` without a link or a contract in force."""
    found = inventory.link(site, link)
    day = dt.datetime.fromtimestamp(now / SECOND, ZoneInfo(inventory.province.time_zone)).date()
    contract = contract_on(found, day) if found else None
    if contract is None:
        return None
    return ContractTerms(
        download=round(contract.download_mbps * MBPS),
        upload=round(contract.upload_mbps * MBPS),
        layer=contract.layer,
        up_to=contract.up_to,
    )


def own_schedule(inventory: Inventory, site: Site) -> OwnSchedule | None:
    """What the agent may do without its collector."""
    if not inventory.slots.without_collector or not inventory.responders:
        return None
    return OwnSchedule(bytes_a_month=round(inventory.slots.budget_gb * 1e9), hours=service_hours(site.service_hours))


def service_hours(hours: Hours | None) -> tuple[ServiceHours, ...]:
    """The hours in which a site's equipment is on, where it says so; a site that says nothing is on day and night."""
    if hours is None:
        return ()
    opens, closes = (round(microseconds(_since_midnight(one)) / (60 * SECOND)) for one in (hours.opens, hours.closes))
    return tuple(ServiceHours(DAYS.index(day), opens, closes) for day in hours.days)


def _since_midnight(time: dt.time) -> dt.timedelta:
    return dt.timedelta(hours=time.hour, minutes=time.minute)


def _utilisation(terms: ContractTerms | None) -> Assignment:
    shares = {"download": terms.download, "upload": terms.upload} if terms else {}
    return Assignment(probe="utilisation", target="link", settings=shares)


def link_assignments(
    inventory: Inventory, site: str, *, evidence: bool, terms: ContractTerms | None = None
) -> list[Assignment]:
    """What watches the link all day, for an agent that stands at it (``evidence``), and the calls of the meetings."""
    calls = call_assignments(inventory, site, evidence=evidence)
    if not evidence:
        return calls
    watched = {
        "anchors": [{"id": one.id, "address": one.address} for one in inventory.anchors],
        "responders": [{"id": one.id, "host": one.host or "@collector"} for one in responders_of(inventory, site)],
    }
    link = Assignment(probe="link", target="link", evidence=True, settings=watched)
    return [link, _utilisation(terms), *stamp_assignments(inventory, site), *calls]


def stamp_assignments(inventory: Inventory, site: str) -> list[Assignment]:
    """Small packets to the preferred responder all day; none where there is no responder."""
    return [
        Assignment(
            probe="stamp",
            target=one.id,
            evidence=True,
            settings={"responder": one.id, "host": one.host or "@collector", "port": one.stamp_port},
        )
        for one in responders_of(inventory, site)[:1]
    ]


CALL_EVERY = 3600.0
"""Seconds. A call of 10 s an hour is 7 MB or less: 165 MB a day and platform. Sites are spread over the hour, so that
of 21 sites and two platforms seldom more than one is calling."""
CALL_RATES = (64_000, 20_000_000)
"""Bits per second that a call test can imitate."""


def call_assignments(inventory: Inventory, site: str, *, evidence: bool) -> list[Assignment]:
    """A call to the preferred responder for each platform whose needs are known; none where there is no responder."""
    responders = responders_of(inventory, site)
    if not responders:
        return []
    place = responders[0]
    return [
        Assignment(
            probe="call",
            target=platform.id,
            platform=platform.id,
            every=CALL_EVERY,
            evidence=evidence,
            settings={
                "host": place.host or "@collector",
                "port": place.udp_port,
                "responder": place.id,
                "source": platform.capacity.source,
                **_seat(platform.capacity),
            },
        )
        for platform in inventory.platforms.values()
        if platform.capacity is not None
    ]


def _seat(capacity: Capacity) -> dict[str, int]:
    """Bits per second of one seat, where they are known; the probe has its own figures for the rest."""
    rates = {"download": capacity.download_mbps, "upload": capacity.upload_mbps}
    least, most = CALL_RATES
    return {name: min(max(round(rate * MBPS), least), most) for name, rate in rates.items() if rate is not None}

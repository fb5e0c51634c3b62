"""From the inventory to what one agent measures: pure, so the same files give the same revision everywhere."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

import msgspec

from collector.inventory.calendar import microseconds, near, occurrences
from collector.inventory.files import Inventory
from collector.inventory.link_assignments import link_assignments, own_schedule, responder_at, responders_of, terms_of
from collector.inventory.model import Cadence, UdpCheck
from collector.inventory.platforms import Endpoint, Platform
from wire.clock import Instant
from wire.meetings import MeetingTimes, QuietRules
from wire.reasons import Reason
from wire.settings import AgentSettings, Assignment, Role, revision_of

ASK = {"organiser": Reason.ASK_THE_ORGANISER, "provider": Reason.ASK_THE_PROVIDER}
LONGEST_WINDOW = 3600.0
"""Seconds that one window may last (wire.settings)."""
CERTIFICATES = dt.timedelta(minutes=5)
"""How often a certificate is looked at, where its endpoint does not say: it changes seldom and costs a handshake."""


class NoSuchPlace(LookupError):
    """The inventory has no such site or link; the message lists what it has."""


def agent_settings(
    inventory: Inventory,
    site: str,
    link: str,
    role: Role | str,
    now: Instant,
    vantages: Iterable[str] = (),
) -> AgentSettings:
    """The settings of an agent of that site, link and role; raises :class:`NoSuchPlace`.

    ``vantages`` are those confirmed as standing on the link. The collector's own address is the agent's to know:
    ``@collector`` and ``@collector_port`` stand for it.
    """
    place = inventory.sites.get(site)
    if place is None:
        raise NoSuchPlace(f"site: found {site!r}, expected one of {', '.join(inventory.sites)}")
    if link and inventory.link(site, link) is None:
        links = ", ".join(one.id for one in place.links) or "none: the site has no link"
        raise NoSuchPlace(f"link: found {link!r}, expected one of {links}")
    role = Role(role)
    terms = terms_of(inventory, site, link, now)
    assignments = [
        *own_targets(inventory, evidence=bool(link) and role is not Role.ROOM),
        *link_assignments(inventory, site, evidence=bool(link) and role is not Role.ROOM, terms=terms),
        *(one for platform in inventory.platforms.values() for one in of_platform(platform, inventory.cadence)),
    ]
    bare = AgentSettings(
        province=inventory.province.id,
        site=site,
        site_name={"th": place.name.th, "en": place.name.text("en")},
        link=link,
        role=role,
        assignments=assignments,
        post_every=inventory.cadence.post.total_seconds(),
        meetings=meetings_of(inventory, site, now),
        quiet=QuietRules(microseconds(inventory.quiet.before_doors), microseconds(inventory.quiet.after_end)),
        vantages=sorted(vantages),
        responders=[responder_at(one) for one in responders_of(inventory, site)],
        contract=terms,
        own_schedule=own_schedule(inventory, place) if link else None,
    )
    return msgspec.structs.replace(bare, revision=revision_of(bare))


def own_targets(inventory: Inventory, *, evidence: bool) -> list[Assignment]:
    """What is the site's, the provider's or the province's own: gateway, edge, anchors, collector, resolver, clock,
    machine. ``evidence``: the link's own targets go into the evidence stream; an agent of the room gives none."""
    cadence = inventory.cadence

    def echo(target: str, host: str, interval: float) -> Assignment:
        window = cadence.own_window.total_seconds()
        settings = {"host": host, "interval": interval}
        return Assignment(
            probe="icmp", target=target, every=window, window=window, evidence=evidence, settings=settings
        )

    own = cadence.own_echo.total_seconds()
    found = [Assignment(probe="gateway", target="gateway", evidence=evidence), echo("gateway", "@gateway", own)]
    if inventory.anchors:  # the edge is what answers on the way to one of them
        trace = {"destination": inventory.anchors[0].address}
        found += [
            Assignment(probe="edge", target="edge", evidence=evidence, settings=trace),
            echo("edge", "@edge", own),
        ]
    found += [echo(one.id, one.address, one.echo.total_seconds() if one.echo else own) for one in inventory.anchors]
    found += [
        echo("collector", "@collector", own),
        Assignment(
            probe="tcp", target="collector", every=60.0, settings={"host": "@collector", "port": "@collector_port"}
        ),
        Assignment(probe="dns", target="resolver", settings={"name": inventory.names.resolve}),
        Assignment(probe="host", target="machine"),
        *(
            Assignment(probe="stun", target=one.id, every=cadence.platforms.total_seconds(), settings=_stun(one))
            for one in inventory.udp_checks
        ),
    ]
    if inventory.time_server:
        found.append(Assignment(probe="ntp", target="clock", settings={"host": inventory.time_server}))
    return found


def of_platform(platform: Platform, cadence: Cadence) -> list[Assignment]:
    """A platform's endpoints, and what is not known of it as skipped assignments with whom to ask."""
    found = [_endpoint(platform.id, one, cadence) for one in platform.endpoints]
    found += [
        Assignment(
            probe=one.probe,
            target=f"{platform.id}.{one.id}",
            platform=platform.id,
            every=cadence.platforms.total_seconds(),
            skip=ASK[one.ask].value,
        )
        for one in platform.missing
    ]
    return found


def _endpoint(platform: str, endpoint: Endpoint, cadence: Cadence) -> Assignment:
    slowest = max(cadence.platforms, CERTIFICATES) if endpoint.probe == "tls" else cadence.platforms
    every = (endpoint.every or slowest).total_seconds()
    return Assignment(
        probe=endpoint.probe,
        target=f"{platform}.{endpoint.id}",
        platform=platform,
        every=every,
        window=min(every, LONGEST_WINDOW) if endpoint.probe == "icmp" else None,
        settings=_settings(endpoint, cadence),
    )


def _settings(endpoint: Endpoint, cadence: Cadence) -> dict[str, Any]:
    """The settings of the probe (agent/probes), only what was said; the probe knows its own defaults."""
    port = {} if endpoint.port is None else {"port": endpoint.port}
    match endpoint.probe:
        case "http":
            return {"url": endpoint.url, **({"hosts": list(endpoint.redirects)} if endpoint.redirects else {})}
        case "dns":
            return {"name": endpoint.host}
        case "icmp":
            return {"host": endpoint.host, "interval": cadence.third_party_echo.total_seconds()}
        case "sip":
            return {"host": endpoint.host, **port, "transport": endpoint.transport}
        case "stun":
            return {**_stun(endpoint), "must_answer": endpoint.must_answer}
    return {"host": endpoint.host, **port}


def _stun(server: Endpoint | UdpCheck) -> dict[str, Any]:
    port = {} if server.port is None else {"port": server.port}
    controls = {"controls": list(server.controls)} if server.controls else {}
    return {"host": server.host, **port, **controls}


def meetings_of(inventory: Inventory, site: str, now: Instant) -> list[MeetingTimes]:
    """The meetings that a site takes part in, from yesterday to a month ahead."""
    mine = [one for one in inventory.meetings.values() if site in inventory.sites_of(one)]
    return [one.times for one in near(occurrences(mine, inventory.province.time_zone), now)]

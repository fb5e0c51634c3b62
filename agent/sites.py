"""Which hosts belong together: a redirect within a site is usual, one out of it is worth a look."""

import ipaddress

SECOND_LEVELS = frozenset({"ac", "co", "com", "edu", "go", "gov", "gob", "in", "mi", "mil", "net", "ne", "or", "org"})
"""Labels under which countries register names (``go.th``, ``co.uk``); a heuristic that spares us the whole public
suffix list (300 kB). A mistake makes two neighbours under an unlisted suffix look like one site, never the reverse."""


def site_of(host: str) -> str:
    """The registrable part of a host name: ``dla.go.th`` of ``conference.dla.go.th``; an IP address is its own site."""
    name = host.rstrip(".").casefold()
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        labels = name.split(".")
        keep = 3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in SECOND_LEVELS else 2
        return ".".join(labels[-keep:])
    return name


def same_site(host: str, other: str) -> bool:
    """Whether two hosts are of one site."""
    return site_of(host) == site_of(other)


def expected(host: str, start: str, allowed: list[str]) -> bool:
    """Whether a redirect from ``start`` may lead to ``host``: same site, or a host or parent named in ``allowed``."""
    name = host.rstrip(".").casefold()
    if same_site(name, start):
        return True
    return any(name == one or name.endswith("." + one) for one in (entry.casefold().strip(".") for entry in allowed))

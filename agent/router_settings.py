"""Where the traffic of the whole link can be counted, as the machine's own settings say (``router``)."""

from typing import Annotated, Literal

import msgspec

from agent.router_counters import RouterCounters, SnmpCounters


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How other machines' traffic is seen beside a throughput test."""

    counters: Annotated[
        Literal["upnp", "snmp", "this-machine", "none"],
        msgspec.Meta(
            description="upnp and snmp ask the router; this-machine = the agent is the router itself, so that every "
            "packet of the link passes it; none = other traffic stays unseen, and a test below contract proves nothing"
        ),
    ] = "upnp"
    host: Annotated[
        str, msgspec.Meta(description="The router's address; empty = the gateway", examples=["192.168.1.1"])
    ] = ""
    interface: Annotated[
        str, msgspec.Meta(description="For snmp: its port towards the provider, by ifName", examples=["ppp0"])
    ] = ""
    community: Annotated[
        str, msgspec.Meta(description="For snmp: the community that may read", examples=["(as set on the router)"])
    ] = ""


def mistakes_of(router: RouterSettings) -> list[tuple[str, str, str]]:
    """What is wrong beyond the shape of single values: key, found, expected."""
    if router.counters != "snmp":
        return []
    return [
        (f"router.{name}", "nothing", what)
        for name, what in (
            ("interface", "the name of the router's port towards the provider, such as ppp0"),
            ("community", "the community that may read the router's counters"),
        )
        if not getattr(router, name)
    ]


def counters_of(router: RouterSettings, gateway: str) -> RouterCounters | None:
    """What is asked; ``None`` where nobody can be. ``gateway`` is its address, empty while unknown."""
    host = router.host or gateway
    if not host or router.counters in ("none", "this-machine"):
        return None
    if router.counters == "snmp":
        return SnmpCounters(host, router.community, router.interface)
    from agent.igd import IgdCounters  # with aiohttp, which a machine without a test need not load for this

    return IgdCounters(host)

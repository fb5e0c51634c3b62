"""How links are measured: responders, slots for throughput tests, and what counts as an outage."""

import datetime as dt
from typing import Annotated

from msgspec import Meta

from collector.inventory.parts import Host, Id, Mbps, Part


class ResponderPlace(Part, frozen=True, kw_only=True):
    """A far end of our own for throughput, call and STAMP tests."""

    id: Annotated[Id, Meta(description="Its name; leases are made out to it", examples=["hall"])]
    host: Annotated[
        Host,
        Meta(
            description="Name or address under which districts reach it; nothing = that of the collector",
            examples=["phrom.udonthani.example"],
        ),
    ] = ""
    tcp_port: Annotated[int, Meta(ge=1, le=65535, description="Port of the throughput test", examples=[8481])] = 8481
    udp_port: Annotated[int, Meta(ge=1, le=65535, description="Port of light and call tests", examples=[8481])] = 8481
    stamp_port: Annotated[int, Meta(ge=1, le=65535, description="Port of STAMP", examples=[8862])] = 8862
    sends_mbps: Annotated[
        Mbps,
        Meta(description="What it can send to districts in all, at the IP layer: their download", examples=[1000]),
    ]
    takes_mbps: Annotated[
        Mbps, Meta(description="What it can take in from districts in all: their upload", examples=[1000])
    ]
    site: Annotated[
        Id | None,
        Meta(
            description="Site on whose line it stands: it keeps that site's quiet time too; nothing = at no site",
            examples=["hall"],
        ),
    ] = None
    sites: Annotated[
        list[Id], Meta(description="Sites that use it; nothing = all. The first responder of a site is preferred")
    ] = []


class Slots(Part, frozen=True, kw_only=True):
    """When links are filled to see what they deliver (load class full)."""

    samples: Annotated[
        int,
        Meta(ge=0, le=2000, description="Valid samples wanted of each direction and link in a month", examples=[60]),
    ] = 60
    busy_samples: Annotated[
        int, Meta(ge=0, le=2000, description="How many of them in the busy hours", examples=[30])
    ] = 30
    busy_from: Annotated[dt.time, Meta(description="Busy hours begin (NBTC 2565: 17:00)", examples=["17:00"])] = (
        dt.time(17)
    )
    busy_to: Annotated[dt.time, Meta(description="Busy hours end (NBTC 2565: 21:00)", examples=["21:00"])] = dt.time(21)
    least_gap: Annotated[
        dt.timedelta,
        Meta(
            description="Least time between two tests of a link",
            examples=["36 min"],
            extra={"ge": dt.timedelta(minutes=5), "le": dt.timedelta(hours=24)},
        ),
    ] = dt.timedelta(minutes=36)
    longest_gap: Annotated[
        dt.timedelta,
        Meta(
            description="Longest time between two tests of a link that is wanted",
            examples=["24 h"],
            extra={"ge": dt.timedelta(hours=1), "le": dt.timedelta(days=31)},
        ),
    ] = dt.timedelta(hours=24)
    budget_gb: Annotated[
        float,
        Meta(
            gt=0,
            le=100_000,
            description="Most gigabytes that tests may cost a site in a month; at 200/80 a test costs about 0.035",
            examples=[10],
        ),
    ] = 10.0
    office_hours: Annotated[
        bool,
        Meta(
            description="Whether tests may run in office hours where the other hours would not suffice; "
            "a site with service_hours of its own is tested within them alone",
            examples=["no"],
        ),
    ] = True
    without_collector: Annotated[
        bool,
        Meta(
            description="Whether an agent that cannot reach the collector for hours tests sparsely by itself, "
            "against responders that stand at no site"
        ),
    ] = True


class LinkHistory(Part, frozen=True, kw_only=True):
    """What counts as an outage."""

    counts_from: Annotated[
        dt.timedelta,
        Meta(
            description="An outage counts from this length; shorter ones are recorded",
            examples=["5 s"],
            extra={"ge": dt.timedelta(seconds=1), "le": dt.timedelta(minutes=10)},
        ),
    ] = dt.timedelta(seconds=5)
    joins_below: Annotated[
        dt.timedelta,
        Meta(
            description="A gap shorter than this makes one outage of two, in the count only and never in down time",
            examples=["10 s"],
            extra={"ge": dt.timedelta(0), "le": dt.timedelta(minutes=10)},
        ),
    ] = dt.timedelta(seconds=10)

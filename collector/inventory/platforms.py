"""Conference systems as the files describe them: what can be measured, what is not known, what a seat needs."""

import datetime as dt
from typing import Annotated, Literal

from msgspec import Meta

from collector.inventory.parts import Host, Mbps, Part, ShortId


class Endpoint(Part, frozen=True, kw_only=True):
    """Something of a platform that can be measured from outside, by one probe."""

    id: Annotated[ShortId, Meta(description="Unique within its platform", examples=["web"])]
    probe: Annotated[
        Literal["dns", "tcp", "tls", "http", "stun", "sip", "icmp"],
        Meta(description="Which probe measures it", examples=["http"]),
    ]
    host: Annotated[Host, Meta(description="Name or address (not for http)", examples=["zoom.us"])] = ""
    port: Annotated[int | None, Meta(ge=1, le=65535, description="Port, where not the usual", examples=[443])] = None
    url: Annotated[
        str, Meta(max_length=500, description="Address of the page, for http", examples=["https://zoom.us/join"])
    ] = ""
    redirects: Annotated[
        list[str],
        Meta(
            description="Hosts (with their subdomains) that the page may redirect to, for http", examples=[["zoom.us"]]
        ),
    ] = []
    transport: Annotated[Literal["udp", "tcp"], Meta(description="Transport, for sip")] = "udp"
    controls: Annotated[
        list[str],
        Meta(
            description="For stun: independent servers (host:port); UDP is called blocked only if they are silent too",
            examples=[["stun.l.google.com:19302"]],
        ),
    ] = []
    must_answer: Annotated[
        bool, Meta(description="For stun: silence of this host is a failure even where the controls answer")
    ] = False
    every: Annotated[
        dt.timedelta | None,
        Meta(
            description="From one check to the next, 60 s or more",
            examples=["60 s"],
            extra={"ge": dt.timedelta(seconds=60), "le": dt.timedelta(hours=24)},
        ),
    ] = None
    source: Annotated[str, Meta(min_length=1, max_length=300, description="Where this is documented")]


class Missing(Part, frozen=True, kw_only=True):
    """What is not known of a platform: it is shown as unknown, with whom to ask."""

    id: Annotated[ShortId, Meta(description="Unique within its platform", examples=["media"])]
    probe: Annotated[
        Literal["dns", "tcp", "tls", "http", "stun", "sip", "icmp"],
        Meta(description="Which probe would measure it", examples=["stun"]),
    ] = "tcp"
    ask: Annotated[Literal["organiser", "provider"], Meta(description="Who knows it", examples=["provider"])]
    what: Annotated[str, Meta(min_length=1, max_length=300, description="What is not known")]


class Limits(Part, frozen=True, kw_only=True):
    """Limits of a platform, for one colour."""

    rtt_ms: Annotated[float | None, Meta(gt=0, le=60_000, description="Round-trip time in ms", examples=[150])] = None
    jitter_ms: Annotated[float | None, Meta(gt=0, le=60_000, description="Jitter in ms", examples=[30])] = None
    loss_percent: Annotated[float | None, Meta(ge=0, le=100, description="Lost packets", examples=[1])] = None


class Thresholds(Part, frozen=True, kw_only=True):
    """What the platform needs of the path."""

    good: Annotated[Limits, Meta(description="Up to here nothing is noticed")]
    bad: Annotated[Limits, Meta(description="Beyond this a meeting suffers")] = Limits()
    source: Annotated[str, Meta(min_length=1, max_length=300, description="Where the figures come from")]


class Capacity(Part, frozen=True, kw_only=True):
    """What one seat in a meeting needs at most, and how many seats there are."""

    download_mbps: Annotated[Mbps | None, Meta(description="Down, in Mbit/s", examples=["1.8"])] = None
    upload_mbps: Annotated[Mbps | None, Meta(description="Up, in Mbit/s", examples=["2.6"])] = None
    people: Annotated[int | None, Meta(ge=2, le=1_000_000, description="Largest meeting", examples=[300])] = None
    source: Annotated[str, Meta(min_length=1, max_length=300, description="Where the figures come from")]


class Platform(Part, frozen=True, kw_only=True):
    """A conference system, as far as it is known."""

    id: Annotated[ShortId, Meta(description="Label of its measurements", examples=["zoom"])]
    name: Annotated[str, Meta(min_length=1, max_length=80, description="As people call it", examples=["Zoom"])]
    endpoints: Annotated[list[Endpoint], Meta(max_length=40, description="What can be measured")] = []
    missing: Annotated[list[Missing], Meta(max_length=40, description="What is not known, and who knows it")] = []
    untested: Annotated[
        list[str], Meta(description="What cannot be tested from outside, in words; shown beside every result")
    ] = []
    thresholds: Annotated[Thresholds | None, Meta(description="What it needs of the path")] = None
    capacity: Annotated[Capacity | None, Meta(description="What a seat needs")] = None

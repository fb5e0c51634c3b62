"""The inventory's files, typed (DESIGN §4): what a province has, as its IT writes it down in YAML.

Each ``*.yaml`` file of the folder is a :class:`Sheet` and may hold any of its sections, so a province fits into one
file or into many. The descriptions below are the reference and the words of every mistake.
"""

import datetime as dt
from typing import Annotated, Literal

from msgspec import Meta

from collector.inventory.link_measuring import LinkHistory, ResponderPlace, Slots
from collector.inventory.parts import DAYS, Day, Host, Id, Mbps, Name, Part
from collector.inventory.platforms import Platform


class Contact(Part, frozen=True, kw_only=True):
    """Somebody to ring."""

    id: Annotated[Id, Meta(description="By which sites and links refer to it", examples=["it-province"])]
    name: Annotated[Name, Meta(description="The person or the desk")]
    phone: Annotated[
        str, Meta(max_length=40, description="As it is dialled; a leading zero stays", examples=["042-000-000"])
    ] = ""
    email: Annotated[str, Meta(max_length=200, description="E-mail address", examples=["it@province.example"])] = ""
    note: Annotated[str, Meta(max_length=500, description="When to ring, what to have at hand")] = ""


class Contract(Part, frozen=True, kw_only=True, rename={"from_day": "from", "to_day": "to"}):
    """What was agreed with the provider, from one day on."""

    from_day: Annotated[dt.date, Meta(description="First day it holds", examples=["2018-04-01"])]
    to_day: Annotated[
        dt.date | None,
        Meta(description="Last day it holds; nothing = until the next contract", examples=["2026-09-30"]),
    ] = None
    download_mbps: Annotated[Mbps, Meta(description="Agreed download speed in Mbit/s", examples=[200])]
    upload_mbps: Annotated[Mbps, Meta(description="Agreed upload speed in Mbit/s", examples=[80])]
    up_to: Annotated[
        bool, Meta(description="The speeds are maxima of the package (สูงสุด), not promises", examples=["yes"])
    ] = False
    layer: Annotated[
        Literal["ethernet", "ip", "tcp"], Meta(description="At which layer the agreed speed counts", examples=["ip"])
    ] = "ip"
    fee_baht: Annotated[
        float | None, Meta(ge=0, le=100_000_000, description="Fee a month in baht without VAT", examples=[1250])
    ] = None
    availability_percent: Annotated[
        float | None,
        Meta(gt=0, le=100, description="Agreed availability a month; none = no target agreed", examples=["99.5"]),
    ] = None


class Link(Part, frozen=True, kw_only=True):
    """One access circuit of a site."""

    id: Annotated[Id, Meta(description="Unique within its site", examples=["fibre"])]
    circuit: Annotated[
        str, Meta(min_length=1, max_length=80, description="Circuit number, as on the bill", examples=["EXAMPLE-0001"])
    ]
    provider: Annotated[str, Meta(min_length=1, max_length=80, description="Who supplies it", examples=["NT"])]
    contracts: Annotated[list[Contract], Meta(min_length=1, description="Dated contracts, oldest first")]
    contact: Annotated[Id | None, Meta(description="Whom to tell of a fault (id of a contact)")] = None


class Device(Part, frozen=True, kw_only=True):
    """Something a room must have for a meeting."""

    kind: Annotated[
        Literal["computer", "camera", "microphone", "speaker", "display", "projector", "router", "ups", "other"],
        Meta(description="What it is", examples=["camera"]),
    ]
    count: Annotated[int, Meta(ge=1, le=100, description="How many", examples=[1])] = 1
    required: Annotated[bool, Meta(description="Whether a meeting cannot do without it")] = True
    note: Annotated[str, Meta(max_length=500, description="Make, where it is kept")] = ""


class Room(Part, frozen=True, kw_only=True):
    """A meeting room."""

    id: Annotated[Id, Meta(description="Unique within its site", examples=["main"])]
    name: Annotated[Name, Meta(description="As people call it")]
    devices: Annotated[list[Device], Meta(description="What must be there")] = []


class ServiceHours(Part, frozen=True, kw_only=True, rename={"opens": "from", "closes": "to"}):
    """When an office is open and its equipment switched on."""

    days: Annotated[
        tuple[Day, ...], Meta(min_length=1, description="Weekdays", examples=[["mon", "tue", "wed", "thu", "fri"]])
    ] = DAYS[:5]
    opens: Annotated[dt.time, Meta(description="Opening time", examples=["08:30"])] = dt.time(8, 30)
    closes: Annotated[dt.time, Meta(description="Closing time", examples=["16:30"])] = dt.time(16, 30)


class PlanB(Part, frozen=True, kw_only=True):
    """One way to take part when the room or its link fails, in the order to try them."""

    kind: Annotated[
        Literal["hotspot", "other-office", "telephone", "other"], Meta(description="What it is", examples=["hotspot"])
    ]
    what: Annotated[
        str, Meta(min_length=1, max_length=500, description="What to do, in Thai", examples=["ใช้สัญญาณโทรศัพท์มือถือ"])
    ]
    contact: Annotated[Id | None, Meta(description="Whom to ring for it (id of a contact)")] = None


class Site(Part, frozen=True, kw_only=True):
    """A place with a meeting room and one or more links."""

    id: Annotated[Id, Meta(description="Unique in the province; results are filed under it", examples=["na-yung"])]
    name: Annotated[Name, Meta(description="As people call it")]
    kind: Annotated[Literal["hall", "district", "local", "other"], Meta(description="What it is")] = "district"
    required: Annotated[bool, Meta(description="Whether meetings wait for it")] = True
    links: Annotated[list[Link], Meta(description="Its circuits")] = []
    rooms: Annotated[list[Room], Meta(description="Its meeting rooms")] = []
    contacts: Annotated[list[Id], Meta(description="Whom to ring (ids of contacts), first things first")] = []
    plan_b: Annotated[list[PlanB], Meta(description="What to do when the link fails")] = []
    service_hours: Annotated[
        ServiceHours | None, Meta(description="When it is open, where other than the province's offices")
    ] = None


class Province(Part, frozen=True, kw_only=True):
    """Who we are."""

    id: Annotated[Id, Meta(description="Label of every measurement of the province", examples=["udon-thani"])]
    name: Annotated[Name, Meta(description="As people call it")]
    time_zone: Annotated[Literal["Asia/Bangkok"], Meta(description="Zone of every time in these files")] = (
        "Asia/Bangkok"
    )
    contacts: Annotated[list[Id], Meta(description="Whom sites ring for help (ids of contacts)")] = []
    service_hours: Annotated[ServiceHours, Meta(description="When offices are open")] = ServiceHours()


class AnchorHost(Part, frozen=True, kw_only=True):
    """An address beyond the provider that is expected to answer always."""

    id: Annotated[Id, Meta(description="Name of the target", examples=["anchor-1"])]
    address: Annotated[str, Meta(description="An IP address: a name would test the resolver too", examples=["9.9.9.9"])]
    note: Annotated[str, Meta(max_length=200, description="Whose it is")] = ""
    echo: Annotated[
        dt.timedelta | None,
        Meta(
            description="From one echo to the next; nothing = as to the link's other own targets",
            examples=["5 s"],
            extra={"ge": dt.timedelta(milliseconds=200), "le": dt.timedelta(seconds=60)},
        ),
    ] = None


class Names(Part, frozen=True, kw_only=True):
    """How the name server in use is checked."""

    resolve: Annotated[Host, Meta(min_length=1, description="A name that always exists")] = "a.root-servers.net"


class UdpCheck(Part, frozen=True, kw_only=True):
    """A public STUN server (RFC 8489) that shows whether UDP, which every conference prefers, comes through at all."""

    id: Annotated[Id, Meta(description="Name of the target", examples=["udp"])]
    host: Annotated[Host, Meta(min_length=1, description="Its name", examples=["stun.l.google.com"])]
    port: Annotated[int, Meta(ge=1, le=65535, description="Its port", examples=[19302])] = 3478
    controls: Annotated[
        list[str],
        Meta(
            description="Independent servers (host:port); UDP is called blocked only if they are silent too",
            examples=[["meet-jit-si-turnrelay.jitsi.net:443"]],
        ),
    ] = []


class Cadence(Part, frozen=True, kw_only=True):
    """How often things are measured."""

    own_window: Annotated[
        dt.timedelta,
        Meta(
            description="Length of a window of the link's own targets (gateway, edge, anchors, collector)",
            examples=["60 s"],
            extra={"ge": dt.timedelta(seconds=10), "le": dt.timedelta(minutes=10)},
        ),
    ] = dt.timedelta(seconds=60)
    own_echo: Annotated[
        dt.timedelta,
        Meta(
            description="From one echo to the next to the link's own targets",
            examples=["1 s"],
            extra={"ge": dt.timedelta(milliseconds=200), "le": dt.timedelta(seconds=60)},
        ),
    ] = dt.timedelta(seconds=1)
    platforms: Annotated[
        dt.timedelta,
        Meta(
            description="From one check of a platform's endpoint to the next; others own them, so 60 s or more",
            examples=["60 s"],
            extra={"ge": dt.timedelta(seconds=60), "le": dt.timedelta(hours=24)},
        ),
    ] = dt.timedelta(seconds=60)
    third_party_echo: Annotated[
        dt.timedelta,
        Meta(
            description="From one echo to the next to a host of others; 5 s or more",
            examples=["5 s"],
            extra={"ge": dt.timedelta(seconds=5), "le": dt.timedelta(seconds=60)},
        ),
    ] = dt.timedelta(seconds=5)
    post: Annotated[
        dt.timedelta,
        Meta(
            description="From one post of an agent to the next",
            examples=["5 s"],
            extra={"ge": dt.timedelta(seconds=1), "le": dt.timedelta(seconds=60)},
        ),
    ] = dt.timedelta(seconds=5)


class Quiet(Part, frozen=True, kw_only=True):
    """Quiet time around a meeting: nothing that could disturb it is measured."""

    before_doors: Annotated[
        dt.timedelta,
        Meta(
            description="Begins so long before the doors open",
            examples=["60 min"],
            extra={"le": dt.timedelta(hours=24)},
        ),
    ] = dt.timedelta(minutes=60)
    after_end: Annotated[
        dt.timedelta,
        Meta(description="Lasts so long after the end", examples=["15 min"], extra={"le": dt.timedelta(hours=24)}),
    ] = dt.timedelta(minutes=15)


class Rehearsal(Part, frozen=True, kw_only=True):
    """A declared test window."""

    start: Annotated[dt.datetime, Meta(description="Begins", examples=["2026-11-24 13:00"])]
    end: Annotated[
        dt.datetime | None,
        Meta(description="Ends; nothing = open, taken as three hours after its start", examples=["2026-11-24 15:00"]),
    ] = None


class Meeting(Part, frozen=True, kw_only=True):
    """A video conference, in times of the province's zone."""

    id: Annotated[Id, Meta(description="Unique in the province", examples=["governor-2026-12"])]
    title: Annotated[
        str, Meta(min_length=1, max_length=300, description="As in the letter", examples=["ประชุมกรมการจังหวัด"])
    ]
    platform: Annotated[Id | None, Meta(description="Id of the platform; nothing = not decided yet")] = None
    sites: Annotated[list[Id] | Literal["all"], Meta(description="Ids of the sites that take part, or all")] = "all"
    doors: Annotated[dt.datetime | None, Meta(description="When the room opens; nothing = at the start")] = None
    start: Annotated[dt.datetime, Meta(description="When it starts", examples=["2026-12-01 09:00"])]
    end: Annotated[
        dt.datetime | None, Meta(description="When it ends; nothing = open end, taken as three hours after the start")
    ] = None
    rehearsals: Annotated[list[Rehearsal], Meta(description="Declared test windows")] = []
    repeat: Annotated[
        list[dt.date],
        Meta(max_length=400, description="Further days with the same times of day", examples=[["2026-12-02"]]),
    ] = []
    cancelled: Annotated[bool, Meta(description="Kept for the record, but it does not take place")] = False


class Sheet(Part, frozen=True, kw_only=True):
    """One file of the inventory. ``province`` stands in exactly one of them; lists of several files are joined."""

    province: Annotated[Province | None, Meta(description="Who we are; in one file only")] = None
    contacts: Annotated[list[Contact], Meta(description="Whom to ring")] = []
    sites: Annotated[list[Site], Meta(description="The places")] = []
    platforms: Annotated[list[Platform], Meta(description="The conference systems")] = []
    meetings: Annotated[list[Meeting], Meta(description="The calendar, until there is a better one")] = []
    anchors: Annotated[list[AnchorHost], Meta(description="Addresses that tell a dead link from a dead host")] = []
    udp_checks: Annotated[list[UdpCheck], Meta(description="Whether UDP comes through at all")] = []
    names: Annotated[Names | None, Meta(description="How the name server is checked; in one file only")] = None
    time_server: Annotated[Host, Meta(description="Whose clock agents compare theirs with; nothing = none")] = ""
    responders: Annotated[
        list[ResponderPlace], Meta(description="Far ends of our own for throughput, call and STAMP tests")
    ] = []
    slots: Annotated[Slots | None, Meta(description="When links are filled to be measured; in one file only")] = None
    link_history: Annotated[LinkHistory | None, Meta(description="What counts as an outage; in one file only")] = None
    cadence: Annotated[Cadence | None, Meta(description="How often things are measured; in one file only")] = None
    quiet: Annotated[Quiet | None, Meta(description="Quiet time around meetings; in one file only")] = None

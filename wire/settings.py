"""What an agent fetches from its collector: who it is, what to measure, when to keep quiet."""

import hashlib
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from wire.meetings import MeetingTimes, QuietRules

SITE_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class Role(StrEnum):
    """What an agent is at its site (DESIGN §2)."""

    LINK = "link"
    ROOM = "room"
    BOTH = "both"


class Assignment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One probe on one target. ``settings`` are the probe's own; in them a text such as ``@gateway`` stands for an
    address that only the agent knows (``gateway``, ``edge``, ``resolver``, ``collector``)."""

    probe: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    target: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    """Name of the target within its site, by role and never by private address: ``gateway``, ``anchor-1``,
    ``zoom.web``."""
    platform: str = ""
    every: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    """Seconds from one start to the next; ``None`` = the probe's own cadence."""
    window: Annotated[float, msgspec.Meta(gt=0, le=3_600)] | None = None
    """Seconds one measurement lasts; ``None`` = the probe's own."""
    evidence: bool = False
    """Goes into the evidence stream: RTT windows of the link's own targets, never third parties."""
    skip: str = ""
    """A reason code (``ask_the_organiser``): nothing is measured, the reason is recorded at each due time."""
    settings: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """How orders and people name it."""
        return f"{self.probe}:{self.target}"


class ResponderAt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A responder that this site may use, the preferred one first."""

    id: str
    host: str
    """Name or address; ``@collector`` for one beside the collector."""
    tcp_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8481
    udp_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8481
    stamp_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8862
    shared: bool = False
    """It stands on a site's own line, which others of that site use too, unseen by it."""
    capacity_down: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Bits per second that it can send to one district; 0 = not declared."""
    capacity_up: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Bits per second that it can take in from one district."""


class ContractTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The contract of the link in force, as far as measuring needs it: bits per second at ``layer``."""

    download: Annotated[int, msgspec.Meta(ge=1)]
    upload: Annotated[int, msgspec.Meta(ge=1)]
    layer: str = "ip"
    """``ethernet``, ``ip`` or ``tcp``: at which layer the agreed speed counts."""
    up_to: bool = False


class ServiceHours(msgspec.Struct, frozen=True, omit_defaults=True):
    """One weekday's hours in local time: ``day`` 0 = Monday; minutes after midnight."""

    day: Annotated[int, msgspec.Meta(ge=0, le=6)]
    opens: Annotated[int, msgspec.Meta(ge=0, le=1440)]
    closes: Annotated[int, msgspec.Meta(ge=0, le=1440)]


class OwnSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent may do by itself when the collector has not been heard for long (``slots`` of the inventory)."""

    every: Annotated[float, msgspec.Meta(ge=3600, le=604_800)] = 43_200.0
    """Seconds between its own tests, on average."""
    after: Annotated[float, msgspec.Meta(ge=600, le=604_800)] = 21_600.0
    """Seconds without the collector after which it begins."""
    bytes_a_month: Annotated[int, msgspec.Meta(ge=0)] = 20_000_000_000
    hours: tuple[ServiceHours, ...] = ()
    """When the site's equipment is switched on; empty = always."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer of ``GET /api/v1/settings``."""

    revision: str = ""
    """:func:`revision_of` the rest; observations name it."""
    province: str = ""
    site: str = ""
    site_name: dict[str, str] = {}
    """By language, ``th`` and ``en``."""
    link: str = ""
    role: Role = Role.BOTH
    assignments: list[Assignment] = []
    post_every: Annotated[float, msgspec.Meta(ge=1, le=60)] = 5.0
    meetings: list[MeetingTimes] = []
    quiet: QuietRules = QuietRules()
    vantages: list[str] = []
    """Identities of the vantages that stand on this site's link, confirmed by IT; empty = none learned yet."""
    responders: list[ResponderAt] = []
    contract: ContractTerms | None = None
    own_schedule: OwnSchedule | None = None
    """``None`` = no tests without the collector."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """How many one-shot probes may run at once; few, because probes beside each other falsify each other's times."""


def revision_of(settings: AgentSettings) -> str:
    """First 16 hex digits of the SHA-256 over the settings' canonical JSON without the revision itself."""
    bare = msgspec.structs.replace(settings, revision="")
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:16]


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Body of ``POST /api/v1/join``."""

    protocol: str
    code: Annotated[str, msgspec.Meta(max_length=200)]
    machine: Annotated[str, msgspec.Meta(max_length=80)] = ""
    """A name for people: the host name."""
    vantage: dict[str, str] = {}


class JoinAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a join yields. The token is shown this once and stored hashed."""

    agent: str
    token: str
    province: str
    site: str
    link: str = ""
    role: Role = Role.BOTH


class TokenAnswer(msgspec.Struct, frozen=True):
    """Answer of ``POST /api/v1/token`` (asked with the present token, without a body): a second token. The present one
    stays valid until the new one is used first."""

    token: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A refusal as a problem document (RFC 9457); ``field`` names what was wrong."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"
    field: str = ""

"""What a responder is told: who it is, where it listens, what it may spend. A file of its own where it runs alone
(``phrom-collector responder FILE``); beside a collector, ``serve`` tells it (:mod:`collector.responder.beside`)."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from collector.responder.admission import Capacity
from wire.settings import SITE_PATTERN
from wire.yaml_nodes import read_text
from wire.yaml_settings import Document, Mistake, SettingsError, open_document

PLACES = (Path("responder.yaml"), Path("/etc/phrom/responder.yaml"))
"""Where the command looks when no file is named."""
MBPS = 1_000_000
_Port = Annotated[int, Meta(ge=0, le=65535)]
_Mbps = Annotated[float, Meta(gt=0, le=1_000_000, extra={"expected": "a number of megabits per second"})]


class ResponderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A responder on a machine of its own."""

    id: Annotated[
        str,
        Meta(
            pattern=SITE_PATTERN,
            extra={"expected": "its id in the inventory, in lower case, digits and hyphens"},
            description="its id in the inventory of the collector; leases are made out to it",
            examples=["core"],
        ),
    ]
    bind: Annotated[
        str, Meta(description="the address to listen on, which districts must reach", examples=["0.0.0.0"])
    ] = "127.0.0.1"
    tcp_port: Annotated[_Port, Meta(description="the port of the throughput test", examples=[8481])] = 8481
    udp_port: Annotated[_Port, Meta(description="the port of light and call tests", examples=[8481])] = 8481
    stamp_port: Annotated[_Port, Meta(description="the port of STAMP", examples=[8862])] = 8862
    sends_mbps: Annotated[_Mbps, Meta(description="what it may send to all districts at once", examples=[1000])]
    takes_mbps: Annotated[_Mbps, Meta(description="what it may take in from all districts at once", examples=[1000])]
    key_file: Annotated[
        str,
        Meta(
            min_length=1,
            description="the secret it shares with the collector: a copy of responders/ID.key in its data folder",
            examples=["/etc/phrom/core.key"],
        ),
    ]
    sessions: Annotated[int, Meta(ge=1, le=100_000, description="sessions open at once", examples=[500])] = 500
    of_one_source: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="sessions open at once from one address; a province behind one NAT is one address",
            examples=[64],
        ),
    ] = 64
    metrics_port: Annotated[
        _Port, Meta(description="a port on 127.0.0.1 for its /metrics; 0 = none", examples=[9849])
    ] = 0
    log: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="form of the log; auto = console on a terminal, JSON elsewhere", examples=["auto"]),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level that is logged", examples=["info"])
    ] = "info"

    def capacity(self) -> Capacity:
        """What it may spend at once."""
        down, up = round(self.sends_mbps * MBPS), round(self.takes_mbps * MBPS)
        return Capacity(down=down, up=up, sessions=self.sessions, of_one_source=self.of_one_source)


def load(given: Path | None) -> ResponderSettings:
    """Reads and checks the settings of a responder alone; raises :class:`SettingsError` with every mistake."""
    path = given or next((place for place in PLACES if place.is_file()), None)
    if path is None:
        places = " or ".join(map(str, PLACES))
        raise SettingsError([Mistake("responder", 0, "", "no settings file", f"its name, or one at {places}")])
    document = open_document(read_text(path), str(path), ResponderSettings)
    mistakes = check(document)
    if mistakes:
        raise SettingsError(mistakes)
    found = document.value
    return msgspec.structs.replace(found, key_file=str((path.parent / found.key_file).resolve()))


def check(document: "Document[ResponderSettings]") -> list[Mistake]:
    """What does not fit together."""
    settings, found = document.value, []
    try:
        ipaddress.ip_address(settings.bind)
    except ValueError:
        words = "an IP address of this machine, such as 127.0.0.1 or 0.0.0.0"
        found.append(document.mistake("bind", f'"{settings.bind}"', words))
    if settings.udp_port and settings.udp_port == settings.stamp_port:
        words = f"a port other than {settings.udp_port} (udp_port), because both are UDP"
        found.append(document.mistake("stamp_port", f'"{settings.stamp_port}"', words))
    return found

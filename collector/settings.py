"""The collector's own settings, ``collector.yaml``; every mistake is told at once (:mod:`wire.yaml_settings`)."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from collector.gate import is_loopback
from wire.yaml_nodes import read_text
from wire.yaml_settings import Document, Mistake, SettingsError, open_document

DEFAULT_PORT = 8480
_Say = Callable[[str, str, str], None]
PLACES = (Path("collector.yaml"), Path("/etc/phrom/collector.yaml"))
"""Where commands look when no file is named; without any of them the defaults hold."""


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long things are kept."""

    windows_days: Annotated[
        int, Meta(ge=2, le=3660, description="days that single windows are kept", examples=[90])
    ] = 90
    rollups_days: Annotated[
        int, Meta(ge=30, le=36600, description="days that hourly roll-ups are kept", examples=[3660])
    ] = 3660
    evidence_days: Annotated[
        int, Meta(ge=30, le=36600, description="days that evidence is kept with its exact bytes", examples=[1830])
    ] = 1830


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one agent or stranger may ask for."""

    requests_per_second: Annotated[
        float, Meta(gt=0, le=10_000, description="requests a second with one token", examples=[30])
    ] = 30.0
    join_attempts_per_minute: Annotated[
        float, Meta(gt=0, le=600, description="attempts to join from one address in a minute", examples=[6])
    ] = 6.0
    series_per_agent: Annotated[
        int, Meta(ge=10, le=100_000, description="different targets that one agent may report", examples=[2000])
    ] = 2000


class Beside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The responder beside the collector: who it is, its ports and its capacity stand in the inventory."""

    start: Annotated[
        bool,
        Meta(
            description="whether serve starts the responder that stands in the inventory without a host",
            examples=["yes"],
        ),
    ] = True
    bind: Annotated[
        str,
        Meta(description="the address that it listens on; empty = that of the collector", examples=["0.0.0.0"]),
    ] = ""
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


class CollectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``collector.yaml``."""

    bind: Annotated[
        str, Meta(description="the address to listen on; anything but loopback needs TLS", examples=["127.0.0.1"])
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="the TCP port to listen on", examples=[8480])] = DEFAULT_PORT
    public_url: Annotated[
        str,
        Meta(description="the address that agents use", examples=["https://phrom.udonthani.example:8480"]),
    ] = ""
    tls: Annotated[
        Literal["none", "own", "files"],
        Meta(
            description="own = a certificate authority of the collector's own, pinned by each join code; "
            "files = certificate and key given below; none = plain HTTP, on loopback or behind a TLS proxy",
            examples=["own"],
        ),
    ] = "none"
    certificate: Annotated[
        str, Meta(description="PEM file with the certificate chain, for tls: files", examples=["/etc/phrom/server.pem"])
    ] = ""
    key: Annotated[
        str, Meta(description="PEM file with the private key, for tls: files", examples=["/etc/phrom/server.key"])
    ] = ""
    names: Annotated[
        list[str],
        Meta(description="further names or addresses for the own certificate", examples=[["10.10.0.5"]]),
    ] = []
    behind_tls_proxy: Annotated[
        bool,
        Meta(
            description="yes if every request comes through a proxy that ends TLS; people's pages are then refused",
            examples=["no"],
        ),
    ] = False
    people_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="a second port, on 127.0.0.1 alone and in plain HTTP, to which people's pages are then "
            "confined; needed where a proxy or a relay makes strangers look like this machine. 0 = none",
            examples=[8482],
        ),
    ] = 0
    data: Annotated[
        str, Meta(min_length=1, description="folder of the store and the keys", examples=["/var/lib/phrom"])
    ] = "/var/lib/phrom"
    inventory: Annotated[
        str,
        Meta(description="folder of the province's YAML files; empty = the example province", examples=["/etc/phrom"]),
    ] = ""
    retention: Retention = Retention()
    limits: Limits = Limits()
    responder: Beside = Beside()
    log: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="form of the log; auto = console on a terminal, JSON elsewhere", examples=["auto"]),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level that is logged", examples=["info"])
    ] = "info"

    @property
    def scheme(self) -> str:
        """``https`` where the collector itself speaks TLS."""
        return "http" if self.tls == "none" else "https"

    @property
    def url(self) -> str:
        """The address for agents: ``public_url``, or where it listens."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = self.bind if not is_any(self.bind) else "127.0.0.1"
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def store_file(self) -> Path:
        """The SQLite file."""
        return Path(self.data) / "phrom.db"

    @property
    def tls_folder(self) -> Path:
        """Where the own CA keeps its files."""
        return Path(self.data) / "tls"


def is_any(address: str) -> bool:
    """Whether the address means every interface."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return address == ""


def find(given: Path | None) -> Path | None:
    """The settings file to use: the one given, or the first of :data:`PLACES` that exists."""
    return given or next((place for place in PLACES if place.is_file()), None)


def load(given: Path | None, *, data: str | None = None) -> CollectorSettings:
    """Reads and checks the settings; raises :class:`SettingsError` with every mistake. ``data`` outranks the file's."""
    path = find(given)
    if path is None:
        document = Document(CollectorSettings(), "defaults", {})
    else:
        document = open_document(read_text(path), str(path), CollectorSettings)
        document = document._replace(value=_resolved(document.value, path.parent))
    settings = document.value
    if data:
        settings = msgspec.structs.replace(settings, data=str(Path(data).resolve()))
    mistakes = check(settings, document)
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def _resolved(settings: CollectorSettings, folder: Path) -> CollectorSettings:
    """Paths in the file are meant from the file's own folder."""

    def absolute(text: str) -> str:
        return str((folder / text).resolve()) if text else ""

    return msgspec.structs.replace(
        settings,
        data=absolute(settings.data),
        inventory=absolute(settings.inventory),
        certificate=absolute(settings.certificate),
        key=absolute(settings.key),
    )


def check(settings: CollectorSettings, document: "Document[CollectorSettings]") -> list[Mistake]:
    """What does not fit together, the rule on bind above all (DESIGN §6.6)."""
    found: list[Mistake] = []

    def mistake(key: str, value: str, expected: str) -> None:
        found.append(document.mistake(key, f'"{value}"', expected))

    address = _address(settings.bind)
    if address is None:
        mistake("bind", settings.bind, "an IP address of this machine, such as 127.0.0.1 or 0.0.0.0")
    elif not is_loopback(settings.bind) and settings.tls == "none" and not settings.behind_tls_proxy:
        mistake(
            "bind",
            settings.bind,
            "127.0.0.1, or with another address TLS: set tls: own (or tls: files with certificate and key), "
            "or behind_tls_proxy: yes if a proxy ends TLS. Tokens would cross the network in clear otherwise",
        )
    if settings.responder.bind and _address(settings.responder.bind) is None:
        mistake(
            "responder.bind",
            settings.responder.bind,
            "an IP address of this machine, such as 0.0.0.0, or nothing for that of the collector",
        )
    if settings.tls == "files":
        for key in ("certificate", "key"):
            value = getattr(settings, key)
            if not value or not Path(value).is_file():
                mistake(key, value, "an existing PEM file, because tls is files")
    if settings.public_url:
        _check_url(settings, mistake)
    return found


def _check_url(settings: CollectorSettings, mistake: _Say) -> None:
    parts = urlsplit(settings.public_url)
    host = parts.hostname or ""
    local = host == "localhost" or is_loopback(host)
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query:
        mistake("public_url", settings.public_url, "a scheme and host, such as https://phrom.udonthani.example:8480")
    elif parts.scheme == "http" and not local:
        mistake("public_url", settings.public_url, "https, because agents send their tokens to it")
    elif parts.scheme == "https" and settings.tls == "none" and not settings.behind_tls_proxy:
        mistake("public_url", settings.public_url, "tls: own or files, or behind_tls_proxy: yes, to go with https")
    elif not local and is_loopback(settings.bind) and not settings.behind_tls_proxy:
        mistake(
            "public_url",
            settings.public_url,
            "bind: 0.0.0.0 with TLS, or behind_tls_proxy: yes; a collector on loopback is reached by nobody else",
        )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

"""The agent's own settings: one small YAML file, and none at all is fine.

What to measure comes from the collector; here stands only what the machine must know by itself.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from agent.router_settings import RouterSettings
from agent.router_settings import mistakes_of as mistakes_of_router
from wire.observation import NAME_PATTERN
from wire.settings import AgentSettings, Assignment, revision_of

DEFAULT_FILE = Path("/etc/phrom/agent.yaml")
"""Read when neither ``--config`` nor ``PHROM_AGENT_CONFIG`` names another; it need not exist."""
DEFAULT_STATE = Path("/var/lib/phrom-agent")
"""State of a service; a person who is not root has ``$XDG_STATE_HOME/phrom-agent``."""
JOIN_FILES = ("/boot/firmware/phrom-join.yaml", "/boot/phrom-join.yaml", "/var/lib/phrom-agent/phrom-join.yaml")
"""The last is where the service moves one from the card: it may not write to the card itself (deploy/systemd)."""
METRICS_PORT = 9848

_PLAIN = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "yes or no", "array": "a list"}
_SECRET_KEYS = frozenset({"token", "code", "password", "secret", "authorization", "community", "pin"})
_MIB = 1024 * 1024


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may wait on disk for a collector that does not answer."""

    size: Annotated[
        int,
        msgspec.Meta(
            ge=8 * _MIB,
            description="Most that undelivered records may take on disk",
            examples=["256 MiB"],
            extra={"as": "bytes", "expected": "a size of at least 8 MiB"},
        ),
    ] = 256 * _MIB
    age: Annotated[
        float,
        msgspec.Meta(
            ge=86_400,
            description="After this much running time undelivered records are dropped",
            examples=["30 days"],
            extra={"as": "seconds", "expected": "a duration of at least 1 day"},
        ),
    ] = 30 * 86_400.0


_LENGTH = {"as": "seconds", "expected": "a duration with its unit"}


class OwnAssignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A probe of this machine's own."""

    probe: Annotated[str, msgspec.Meta(min_length=1, max_length=40, description="Name of the probe", examples=["tcp"])]
    target: Annotated[
        str,
        msgspec.Meta(
            pattern=NAME_PATTERN,
            description="Name of the target: small letters, digits and . _ : / -",
            examples=["printer"],
            extra={"expected": "a name of small letters, digits and . _ : / -"},
        ),
    ]
    every: Annotated[
        float | None,
        msgspec.Meta(description="From one start to the next; else the probe's own", examples=["60 s"], extra=_LENGTH),
    ] = None
    window: Annotated[
        float | None,
        msgspec.Meta(
            description="How long one measurement lasts; else the probe's own", examples=["10 s"], extra=_LENGTH
        ),
    ] = None
    settings: Annotated[
        dict[str, Any], msgspec.Meta(description="The probe's own settings", examples=["{host: 192.0.2.7}"])
    ] = {}

    @property
    def assignment(self) -> Assignment:
        """As it is run."""
        return Assignment(
            probe=self.probe, target=self.target, every=self.every, window=self.window, settings=self.settings
        )


class OwnSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    collector: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(https?://.+)?$",
            description="Address of the collector; joining sets it, so it is seldom written here",
            examples=["https://phrom.example.go.th:8480"],
            extra={"expected": "an address beginning with https://"},
        ),
    ] = ""
    state: Annotated[
        str,
        msgspec.Meta(
            description="Folder for the spool, the token and what was learned", examples=["/var/lib/phrom-agent"]
        ),
    ] = ""
    listen: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^((127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost|\[::1\]):\d{1,5})?$",
            description="Loopback address and port of /metrics; empty turns it off",
            examples=["127.0.0.1:9848"],
            extra={"expected": "an address of this machine itself with a port"},
        ),
    ] = f"127.0.0.1:{METRICS_PORT}"
    log_format: Annotated[
        Literal["auto", "console", "json"], msgspec.Meta(description="auto: for people on a terminal, JSON elsewhere")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], msgspec.Meta(description="The least that is logged")
    ] = "info"
    ntp: Annotated[
        str,
        msgspec.Meta(description="A time server to compare this machine's clock with", examples=["time.example.go.th"]),
    ] = ""
    join_files: Annotated[
        list[str],
        msgspec.Meta(
            description="Where a prepared join file may be plugged in; looked for at start",
            examples=["/boot/firmware/phrom-join.yaml"],
        ),
    ] = msgspec.field(default_factory=lambda: list(JOIN_FILES))
    spool: Annotated[SpoolSettings, msgspec.Meta(description="How much may wait on disk")] = SpoolSettings()
    router: Annotated[RouterSettings, msgspec.Meta(description="How the whole link's traffic is counted")] = (
        RouterSettings()
    )
    assignments: Annotated[
        list[OwnAssignment], msgspec.Meta(description="Probes of this machine's own, beside those fetched")
    ] = []

    @property
    def state_dir(self) -> Path:
        """The state folder."""
        return Path(self.state).expanduser() if self.state else default_state()

    @property
    def listen_at(self) -> tuple[str, int] | None:
        """Host and port of /metrics, or ``None`` when it is turned off."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def default_state() -> Path:
    """Where state lives when no setting says so."""
    given = os.environ.get("STATE_DIRECTORY", "")  # systemd.exec(5)
    if given:
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return DEFAULT_STATE
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "phrom-agent"


def find(given: str | None) -> Path | None:
    """The settings file to read: as given, else the default if it exists, else none."""
    if given:
        return Path(given)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def read_own(path: Path | None) -> OwnSettings:
    """Reads the file; no file gives the defaults. Raises :class:`wire.yaml_settings.SettingsError` with every
    mistake, those included that only the probes can tell."""
    if path is None:
        return OwnSettings()
    from wire import yaml_settings
    from wire.yaml_nodes import read_text  # YAML costs memory that an agent without a file need not pay

    document = yaml_settings.open_document(read_text(path), str(path), OwnSettings)
    mistakes = [document.mistake(*one) for one in mistakes_in(document.value)]
    if mistakes:
        raise yaml_settings.SettingsError(mistakes)
    return document.value


def starting_assignments(own: OwnSettings) -> list[Assignment]:
    """What an agent measures that has fetched nothing yet: what is near it, and itself."""
    found = [
        Assignment(probe="gateway", target="gateway", evidence=True),
        Assignment(probe="icmp", target="gateway", evidence=True, settings={"host": "@gateway"}),
        Assignment(probe="dns", target="resolver", settings={"name": _name_to_resolve(own)}),
        Assignment(probe="host", target="machine"),
    ]
    if own.ntp:
        found.append(Assignment(probe="ntp", target="clock", settings={"host": own.ntp}))
    return found


def effective(own: OwnSettings, fetched: AgentSettings | None, province: str = "", site: str = "") -> AgentSettings:
    """What is run: what was fetched, or the starting assignments, and this machine's own beside them. ``province`` and
    ``site`` are known from joining, before anything was fetched.

    An own assignment replaces the fetched one of the same name. The revision stays that of what was fetched, so that
    the collector sees that it is followed; without any it is that of what is run.
    """
    base = fetched or AgentSettings(province=province, site=site, assignments=starting_assignments(own))
    if own.assignments:
        added = [one.assignment for one in own.assignments]
        names = {one.name for one in added}
        kept = [one for one in base.assignments if one.name not in names]
        base = msgspec.structs.replace(base, assignments=kept + added)
    return base if base.revision else msgspec.structs.replace(base, revision=revision_of(base))


def _name_to_resolve(own: OwnSettings) -> str:
    """The collector's own name: the one name that this machine surely needs. Without one, the root's name servers."""
    from urllib.parse import urlsplit

    host = urlsplit(own.collector).hostname or ""
    is_name = any(letter.isalpha() for letter in host) and ":" not in host
    return host if is_name and host != "localhost" else "a.root-servers.net"


def mistakes_in(own: OwnSettings) -> list[tuple[str, str, str]]:
    """What is wrong beyond the shape of single values: key, found, expected."""
    found = []
    names: set[str] = set()
    if own.listen_at and own.listen_at[1] > 65_535:
        found.append(("listen", f'"{own.listen}"', "a port of 1 to 65535"))
    found += mistakes_of_router(own.router)
    for number, one in enumerate(own.assignments):
        where = f"assignments[{number}]"
        found += _mistakes_of_probe(one, where)
        if one.assignment.name in names:
            found.append((f"{where}.target", f'"{one.target}"', f"one {one.probe} assignment of that name"))
        names.add(one.assignment.name)
    return found


def _mistakes_of_probe(one: OwnAssignment, where: str) -> list[tuple[str, str, str]]:
    from agent.directory import references
    from agent.findings import decoded
    from agent.probe import known, load

    if one.probe not in known():
        return [(f"{where}.probe", f'"{one.probe}"', f"one of {', '.join(known())}")]
    kind = load(one.probe).settings
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    found = [
        (f"{where}.settings.{key}", "a key that the probe does not have", f"one of {', '.join(fields)}")
        for key in one.settings
        if key not in fields
    ]
    missing = [name for name, field in fields.items() if field.required and name not in one.settings]
    found += [(f"{where}.settings", "none", f"{name}, which the probe needs") for name in missing]
    if found:
        return found
    try:
        decoded(_without_references(one.settings, references(one.settings)), kind)
    except msgspec.ValidationError as wrong:
        reason, _, place = str(wrong).partition(" - at `$")
        place = place.rstrip("`")
        value = one.settings.get(re.split(r"[.\[]", place.lstrip("."))[0])
        kind_wanted = re.match(r"Expected `(\w+)", reason)
        expected = _PLAIN.get(kind_wanted[1], "") if kind_wanted and ", got" in reason else ""
        return [(f"{where}.settings{place}", f'"{value}"', expected or reason[:1].lower() + reason[1:])]
    return []


def _without_references(settings: dict[str, Any], names: set[str]) -> Any:
    """The settings with an address in the place of each ``@name``, to see whether the rest is right."""
    from agent.directory import Directory

    return Directory(dict.fromkeys(names, "192.0.2.1")).resolve(settings)


def shown(own: OwnSettings, running: AgentSettings) -> dict[str, Any]:
    """Both settings as plain values for people, secrets masked."""
    plain = {"own": msgspec.to_builtins(own), "running": msgspec.to_builtins(running)}
    plain["own"]["state"] = str(own.state_dir)
    return {key: _masked(value) for key, value in plain.items()}


def _masked(value: Any, key: str = "") -> Any:
    from wire.logs import MASK, masked

    if isinstance(value, dict):
        return {name: _masked(one, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [_masked(one) for one in value]
    if not isinstance(value, str):
        return value
    return MASK if value and key.lower() in _SECRET_KEYS else masked(value)


def vantage_facts() -> dict[str, str]:
    """Where this machine stands, for the collector to learn at joining; the site's salt is not known before."""
    from agent.vantage import look, salt_of

    found = look(salt_of("", ""))
    return {name: fact for name, fact in found.facts.items() if name != "gateway_hash"} if found else {}

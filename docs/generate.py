"""Makes ``docs/reference`` and the README's table of probes: ``python -m docs.generate``; ``--check`` only compares.

Each page is one small function named in :data:`PAGES`; a new page is a function and a line there.
"""

import enum
import json
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from agent.probe import ProbeInfo
from wire.yaml_scalars import in_words
from wire.yaml_words import LIMITS, type_words, unwrapped

FOLDER = Path(__file__).parent / "reference"
README = Path(__file__).parents[1] / "README.md"
PROBES_BEGIN, PROBES_END = "<!-- probes -->", "<!-- end of probes -->"
REGENERATE = "python -m docs.generate"
WIDTH = 100
"""Columns of the commands' help, whatever terminal this runs in."""


def wire_schema() -> str:
    """JSON Schema (2020-12) of everything agent and collector say to each other."""
    from collector.openapi import one_line
    from wire.batch import Batch, Envelope, Receipt
    from wire.observation import Observation
    from wire.settings import AgentSettings, JoinAnswer, JoinRequest, Problem, TokenAnswer
    from wire.version import PROTOCOL

    bodies = [Envelope, Batch, Observation, Receipt, AgentSettings, JoinRequest, JoinAnswer, TokenAnswer, Problem]
    references, found = msgspec.json.schema_components(bodies, ref_template="#/$defs/{name}")
    definitions = {name: one_line(one) for name, one in found.items()}
    definitions["Observation"] = one_line(references[bodies.index(Observation)])
    names = ["Envelope", "Batch", "Observation", "Receipt", "AgentSettings", "JoinRequest", "JoinAnswer"]
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:phrom:wire:{PROTOCOL}",
        "title": f"Phrom wire protocol {PROTOCOL}",
        "$comment": f"Generated from wire/ by {REGENERATE}. A reader ignores fields that it does not know.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in [*names, "TokenAnswer", "Problem"]],
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def definition_of(name: str) -> str:
    """The definition in the schema for a golden file of this name."""
    kinds = {"envelope": "Envelope", "receipt": "Receipt", "settings": "AgentSettings"}
    return next((kind for begin, kind in kinds.items() if name.startswith(begin)), "Batch")


def agent_settings() -> str:
    """The agent's own file."""
    from agent.settings import OwnSettings

    text = "The file is `/etc/phrom/agent.yaml` or the one that `--config` names; none at all is fine."
    return settings_page("Settings of the agent", text, "agent/settings.py", OwnSettings)


def collector_settings() -> str:
    """The collector's own file."""
    from collector.settings import CollectorSettings

    text = "The file is `collector.yaml` or the one that `--config` names; without one the defaults hold."
    return settings_page("Settings of the collector", text, "collector/settings.py", CollectorSettings)


def responder_settings() -> str:
    """The file of a responder alone."""
    from collector.responder.settings import ResponderSettings

    text = (
        "The file of a responder alone, on a machine of its own: `/etc/phrom/responder.yaml`, or the one that "
        "`phrom-collector responder FILE` names. The responder beside a collector needs none: it is told what stands "
        "in the inventory and under `responder` in the [collector's settings](settings-collector.md)."
    )
    return settings_page("Settings of a responder", text, "collector/responder/settings.py", ResponderSettings)


def inventory() -> str:
    """The province's files."""
    from collector.inventory import Sheet

    text = (
        "The folder that `inventory` in `collector.yaml` names. Every `*.yaml` file in it may hold any of these "
        "sections, so a province fits into one file or into many; `province` stands in exactly one. The example, "
        "`collector/inventory/example`, is a good one to copy. `phrom-collector check` finds every mistake at once."
    )
    return settings_page("The inventory", text, "collector/inventory/", Sheet)


_WRITING = """\
A value is read as what its key declares, never by its look: a telephone number keeps its zero, 13:00 stays a time and
`no` a word where a word is meant. Dates are written 2026-11-21, in years of the common era (a Buddhist year is refused
with the year that was probably meant); times 13:00; durations 5 s, 10 min, 2 h; sizes 500 MB; truths yes, no, true,
false; nothing at all `none`. Thai digits are digits. Anchors, aliases, tags and a second document are refused, and so
is a key that is not listed here.
"""


def settings_page(title: str, text: str, source: str, kind: type[msgspec.Struct]) -> str:
    """A page of one file's keys, with a section for each group of keys within."""
    lines = [f"# {title}", "", _generated(source), "", text, "", _WRITING]
    for name, struct in _groups(kind):
        if name:
            lines += [f"## {name}", ""]
        if doc := _doc(struct):
            lines += [doc, ""]
        lines += ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
        lines += [_row(struct, field) for field in msgspec.structs.fields(struct)]
        lines.append("")
    return "\n".join(lines)


def _groups(kind: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """The struct itself, then every struct below it, under the key by which a file first reaches it."""
    found: dict[type[msgspec.Struct], str] = {kind: ""}
    waiting = [kind]
    while waiting:
        struct = waiting.pop(0)
        yield found[struct], struct
        hints = typing.get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            for inner in _structs_in(hints[field.name]):
                if inner not in found:
                    found[inner] = f"{found[struct]}.{field.encode_name}".lstrip(".")
                    waiting.append(inner)


def _structs_in(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in typing.get_args(kind):
        yield from _structs_in(inner)


def _row(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> str:
    kind, meta = unwrapped(typing.get_type_hints(struct, include_extras=True)[field.name], {})
    within = next(_structs_in(kind), None)
    if within is None:
        words = _cell(_value_words(kind, meta))
    else:
        words = "list of groups, see below" if typing.get_origin(kind) in (list, tuple) else "group, see below"
    default = "**required**" if field.required else _default(field)
    meaning = _sentence(meta.get("description", "")) or (_doc(within) if within else "")
    example = next((f"`{_plain(one)}`" for one in meta.get("examples") or []), default)
    if example not in (default, words):
        meaning += f" For example {example}."
    return f"| `{field.encode_name}` | {words} | {default} | {_cell(meaning)} |"


def _value_words(kind: Any, meta: dict[str, Any]) -> str:
    """The words of a mistake, without ``expected`` where the limits say more."""
    words = str(meta.get("expected") or type_words(kind, meta))
    limits = [LIMITS[name][1].format(in_words(meta[name])) for name in LIMITS if name in meta]
    return words + (f", {' and '.join(limits)}" if meta.get("expected") and limits else "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None:
        return "none"
    if isinstance(value, msgspec.Struct):
        return "its own defaults"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """A value as a file would say it."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(one) for one in value) + "]"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(one)}" for key, one in value.items()) + "}"
    if value == "":
        return '""'
    return f"{value:g}" if isinstance(value, float) else in_words(value)


def _sentence(text: str) -> str:
    begins_with_value = text.partition(" ")[2].startswith("= ")  # "own = …" explains a value and keeps its case
    text = text if begins_with_value else text[:1].upper() + text[1:]
    return text.rstrip(".") + "." if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _doc(struct: type) -> str:
    """The docstring as Markdown; one that the struct only inherits says nothing of it."""
    text = struct.__dict__.get("__doc__") or ""
    return " ".join(text.replace("``", "`").split())


def _generated(source: str) -> str:
    return f"Generated from `{source}` by `{REGENERATE}`. Do not edit."


def probes() -> str:
    """The table of probes, and each one's settings."""
    from agent.probe import known, load

    infos = [load(name) for name in known()]
    lines = [
        "# Probes",
        "",
        _generated("agent/probes/"),
        "",
        "A probe measures one thing on one target; one that watches looks all the time and tells of every change at",
        "once. Every figure is what the probe's file states; the inventory may set another cadence. Load classes:",
        "`trickle` runs always, `call` until a meeting's doors open, `light` and `full` outside quiet time.",
        "",
        "| Probe | Measures | Every | Window | Load | Costs | Needs |",
        "|---|---|---|---|---|---|---|",
    ]
    for info in infos:
        window = f"{info.window:g} s" if info.window else "as long as it takes"
        cells = [f"[`{info.name}`](#{info.name})", info.summary, _cadence(info), window, info.load.value]
        lines.append("| " + " | ".join(_cell(one) for one in [*cells, info.costs, info.needs.value]) + " |")
    for info in infos:
        lines += ["", f"## {info.name}", "", info.summary, ""]
        fields = msgspec.structs.fields(info.settings)
        if not fields:
            lines.append("It has no settings.")
            continue
        lines += ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
        lines += [_row(info.settings, field) for field in fields]
        for title, group in list(_groups(info.settings))[1:]:
            lines += ["", f"### {info.name}: {title}", "", _doc(group), "", "| Setting | Value | Default | Meaning |"]
            lines += ["|---|---|---|---|", *(_row(group, field) for field in msgspec.structs.fields(group))]
    return "\n".join(lines) + "\n"


def _cadence(info: ProbeInfo) -> str:
    """How often it measures, in words."""
    return "watches" if info.watcher else f"{info.every:g} s"


def readme() -> str:
    """The README with its table of probes as they are now; the rest of it stays as written."""
    from agent.probe import Right, known, load

    lines = ["| Probe | Measures | Every | Needs | Costs |", "|---|---|---|---|---|"]
    for info in map(load, known()):
        needs = "ICMP socket" if info.needs is Right.ICMP_SOCKET else "nothing"
        cells = [f"`{info.name}`", info.summary.rstrip("."), _cadence(info), needs, info.costs]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    before, mark, rest = _held(README).partition(PROBES_BEGIN)
    _, end, after = rest.partition(PROBES_END)
    return f"{before}{mark}\n" + "\n".join(lines) + f"\n{end}{after}"


def metrics() -> str:
    """The Prometheus series."""
    from collector.prometheus.mapping import reference

    return reference()


def commands() -> str:
    """The help of both commands and all that is below them."""
    from agent.commands import main as agent
    from collector.cli import main as collector

    lines = ["# Commands", "", _generated("agent/commands.py` and `collector/cli.py"), ""]
    for name, command in (("phrom-agent", agent), ("phrom-collector", collector)):
        for path, one in _below(name, command):
            widths = {"terminal_width": WIDTH, "max_content_width": WIDTH}
            context = click.Context(one, info_name=path, **{**command.context_settings, **widths})
            lines += [f"## {path}", "", "```text", one.get_help(context).rstrip(), "```", ""]
    return "\n".join(lines)


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, one in sorted(command.commands.items()):
            if not one.hidden:
                yield from _below(f"{path} {name}", one)


def http() -> str:
    """What the collector answers over HTTP, as OpenAPI 3.1."""
    from collector.openapi import text

    return text()


def routes() -> str:
    """Every route of the collector with who may use it."""
    lines = [
        "# HTTP",
        "",
        _generated("collector/app.py"),
        "",
        "Permissions: `anyone`; `agent` is an agent's token; `scrape` and `read` are scopes of a machine's token, and",
        "open to people too; `person` is a direct peer on loopback until people can sign in. Agents and machines send",
        "`Authorization: Bearer …`. A refusal is a problem document (RFC 9457).",
        "All of it with its bodies: [openapi.json](openapi.json).",
        "",
        "| Method | Path | Permission | Meaning |",
        "|---|---|---|---|",
    ]
    for route in sorted(_routes(), key=lambda one: (one.path, one.method)):
        cells = (route.method, f"`{route.path}`", f"`{route.permission.name}`", _cell(route.summary))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _routes() -> list[Any]:
    from collector.app import all_routes

    return all_routes(typing.cast(Any, None))  # routes are declared without services; handlers are given them


PAGES: dict[str, Callable[[], str]] = {
    "wire.schema.json": wire_schema,
    "settings-agent.md": agent_settings,
    "settings-collector.md": collector_settings,
    "settings-responder.md": responder_settings,
    "inventory.md": inventory,
    "probes.md": probes,
    "metrics.md": metrics,
    "commands.md": commands,
    "http.md": routes,
    "openapi.json": http,
}


def differing() -> list[str]:
    """Pages whose file is not what the code makes now, and files that no page makes."""
    stale = [f"docs/reference/{name}" for name, make in PAGES.items() if _held(FOLDER / name) != make()]
    stale += ["README.md"] if _held(README) != readme() else []
    return stale + sorted(str(path) for path in FOLDER.glob("*") if path.name not in PAGES)


def _held(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


@click.command()
@click.option("--check", is_flag=True, help="Only compare; end with code 1 if a page is not what the code makes.")
def main(check: bool) -> None:
    """Makes docs/reference from the code."""
    if check:
        wrong = differing()
        for name in wrong:
            click.echo(f"{name}: not what the code makes; run {REGENERATE}", err=True)
        sys.exit(1 if wrong else 0)
    FOLDER.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The command ``phrom-agent``. Data go to stdout, progress and logs to stderr.

Exit codes: 0 fine, 1 failed, 2 wrong usage or settings, 3 done but not healthy.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from agent import __version__

UNHEALTHY = 3

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": None})
@click.version_option(__version__, prog_name="phrom-agent")
@click.option(
    "-c",
    "--config",
    envvar="PHROM_AGENT_CONFIG",
    metavar="FILE",
    help="Settings file (default: /etc/phrom/agent.yaml, which need not exist).",
)
@click.pass_context
def main(context: click.Context, config: str | None) -> None:
    """Phrom's agent: measures whether this site is ready to meet, and delivers what it saw.

    Exit codes: 0 fine, 1 failed, 2 wrong usage or settings, 3 done but not healthy.
    """
    context.obj = config


def _own(config: str | None) -> Any:
    """The machine's own settings, or an end with code 2 that says every mistake."""
    from agent.settings import find, read_own

    path = find(config)
    try:
        own = read_own(path)
    except OSError as trouble:
        _wrong(f"{path}: {trouble.strerror}; give another file with --config")
    except Exception as mistakes:
        if type(mistakes).__name__ != "SettingsError":
            raise
        _wrong(str(mistakes))
    return own


def _wrong(words: str) -> NoReturn:
    click.echo(words, err=True)
    sys.exit(2)


def _logs(own: Any, level: str | None = None) -> None:
    from wire import logs

    logs.set_up(own.log_format, level or own.log_level)


def _colour() -> bool | None:
    """``None`` lets click decide by the terminal; ``NO_COLOR`` (no-color.org) turns it off."""
    return False if os.environ.get("NO_COLOR") else None


@main.command()
@click.pass_obj
def run(config: str | None) -> None:
    """Run the daemon until it is told to stop (SIGTERM or Ctrl-C)."""
    own = _own(config)
    _logs(own)
    from agent.daemon import serve

    sys.exit(asyncio.run(serve(own)))


@main.command()
@click.argument("probes", nargs=-1, metavar="[PROBE …]")
@click.option("--window", type=click.FloatRange(1, 600), metavar="SECONDS", help="Length of a window (default 5).")
@_json
@click.pass_obj
def once(config: str | None, probes: tuple[str, ...], window: float | None, as_json: bool) -> None:
    """Run probes once and print what they found.

    PROBE is the name of a probe (icmp) or of one assignment (icmp:gateway); without any, all small probes run. The way
    is the daemon's own, with shorter windows. Exits with 3 if anything failed.
    """
    own = _own(config)
    _logs(own, "error")
    from agent.once import lines
    from agent.once import once as measure
    from agent.runner import UnknownAssignment
    from agent.settings import effective
    from wire.reasons import Outcome

    settings = effective(own, _fetched(own))
    try:
        windows = asyncio.run(measure(settings, probes, window))
    except UnknownAssignment as unknown:
        _wrong(str(unknown))
    if as_json:
        _print_json(windows)
    else:
        colours = {"ok": "green", "failed": "red", "error": "magenta", "skipped": "yellow"}
        width = max((len(name) for name, _, _ in lines(windows)), default=0)
        for name, outcome, figures in lines(windows):
            word = click.style(outcome, fg=colours[outcome.partition(":")[0]])
            click.echo(f"{name.ljust(width)}  {word}  {figures}".rstrip(), color=_colour())
    sys.exit(UNHEALTHY if any(one.outcome in (Outcome.FAILED, Outcome.ERROR) for one in windows) else 0)


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.pass_obj
def check(config: str | None, file: Path | None) -> None:
    """Check a settings file: every mistake at once, with line, key, what was found and what was expected."""
    from agent.settings import find, mistakes_in

    path = find(str(file) if file else config)
    own = _own(str(path) if path else None)
    mistakes = mistakes_in(own)
    if mistakes:
        _wrong("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    click.echo(f"{path}: fine" if path else "no settings file: the defaults are fine")


@main.command("show-config")
@_json
@click.pass_obj
def show_config(config: str | None, as_json: bool) -> None:
    """Print the settings in force, secrets masked: the machine's own, and what was fetched from the collector."""
    own = _own(config)
    from agent.settings import effective, shown

    found = shown(own, effective(own, _fetched(own)))
    if as_json:
        _print_json(found)
        return
    import yaml

    click.echo(yaml.safe_dump(found, allow_unicode=True, sort_keys=False), nl=False)


def _fetched(own: Any) -> Any:
    """The last good copy of what was fetched, or ``None``."""
    return None


def _print_json(found: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())

"""The commands of ``phrom-agent``. Data go to stdout, progress and logs to stderr.

Exit codes: 0 fine, 1 failed, 2 wrong usage or settings, 3 done but not healthy.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

from agent import __version__
from agent.cli import own_settings, wrong
from agent.cli import run as run_daemon

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
    sys.exit(run_daemon(config))


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
    own = own_settings(config)
    _logs(own, "error")
    from agent.once import lines
    from agent.once import once as measure
    from agent.runner import UnknownAssignment
    from wire.reasons import Outcome

    settings = _running(own)
    try:
        windows = asyncio.run(measure(settings, probes, window, *_addresses(own)))
    except UnknownAssignment as unknown:
        wrong(str(unknown))
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
@_json
@click.pass_obj
def check(config: str | None, file: Path | None, as_json: bool) -> None:
    """Check a settings file: every mistake at once, with line, key, what was found and what was expected."""
    from agent.settings import find

    path = find(str(file) if file else config)
    own_settings(str(path) if path else None)
    if as_json:
        _print_json({"settings": "fine", "file": str(path) if path else None})
        return
    click.echo(f"{path}: fine" if path else "no settings file: the defaults are fine")


@main.command("show-config")
@_json
@click.pass_obj
def show_config(config: str | None, as_json: bool) -> None:
    """Print the settings in force, secrets masked: the machine's own, and what was fetched from the collector."""
    own = own_settings(config)
    from agent.settings import shown

    found = shown(own, _running(own))
    if as_json:
        _print_json(found)
        return
    import yaml

    click.echo(yaml.safe_dump(found, allow_unicode=True, sort_keys=False), nl=False)


@main.command()
@click.argument("url")
@click.argument("code")
@click.option("--name", default="", help="What people call this machine (default: its host name).")
@_json
@click.pass_obj
def join(config: str | None, url: str, code: str, name: str, as_json: bool) -> None:
    """Enrol this machine at the collector URL with the CODE that `phrom-collector enrol` printed."""
    own = own_settings(config)
    _logs(own, "error")
    from agent.clock import SystemClock
    from agent.connection import UnsafeAddress
    from agent.join import BadCode, JoinFailed
    from agent.join import join as enrol
    from agent.settings import vantage_facts
    from agent.state import State, StateUnusable

    state = State(own.state_dir)
    try:
        state.prepare()
        who = asyncio.run(enrol(url, code, SystemClock(), machine=name, vantage=vantage_facts()))
        state.keep_identity(who)
    except (BadCode, UnsafeAddress) as mistake:
        wrong(str(mistake))
    except (JoinFailed, StateUnusable) as failure:
        click.echo(str(failure), err=True)
        sys.exit(1)
    if as_json:
        _print_json(
            {"collector": who.url, "province": who.province, "site": who.site, "link": who.link, "role": who.role}
        )
        return
    place = f"site {who.site}" + (f", link {who.link}" if who.link else "")
    click.echo(f"joined {who.url} as {place}, role {who.role}")


@main.command()
@click.option(
    "--engine",
    type=click.Choice(["tcp", "light", "iperf3", "speedtest"]),
    default="tcp",
    help='tcp = the contract\'s measure; light = only "at least"; the others are cross-checks and no evidence.',
)
@click.option("--direction", type=click.Choice(["both", "down", "up"]), default="both", help="Which way to test.")
@click.option("--responder", default="", metavar="ID", help="The far end (default: the one preferred for this site).")
@click.option("--server", default="", metavar="HOST", help="For iperf3: somebody else's server.")
@click.option("--lang", type=click.Choice(["th", "en"]), help="Language of the words (default: by LANG).")
@_json
@click.pass_obj
def speedtest(
    config: str | None, engine: str, direction: str, responder: str, server: str, lang: str | None, as_json: bool
) -> None:
    """Test the link's throughput now, against its contract, and say what limited it.

    The collector must grant it: not around a meeting, and not while another test runs. The result is shown and not
    kept. Exits with 3 when it is below contract or inconclusive, with 1 when nothing was measured.
    """
    own = own_settings(config)
    _logs(own, "error")
    from agent import speedtest_show

    language = lang or _language()
    settings, who = _running(own), _identity(own)
    bar = speedtest_show.Bar(language, shown=not as_json and sys.stderr.isatty())
    try:
        finding = asyncio.run(
            speedtest_show.measured(own, settings, who, (engine, direction, responder, server), bar.update)
        )
    except LookupError as mistake:
        wrong(str(mistake))
    finally:
        bar.close()
    if as_json:
        _print_json(finding.results or finding)
    else:
        for line in speedtest_show.lines(finding, settings.contract, language):
            click.echo(line)
    sys.exit(speedtest_show.exit_code(finding))


@main.command()
@click.option("--lang", type=click.Choice(["th", "en"]), help="Language of the words (default: by LANG).")
@_json
@click.pass_obj
def doctor(config: str | None, lang: str | None, as_json: bool) -> None:
    """Can this machine do its work? Says what to mend. Exits with 3 when something must be mended."""
    own = own_settings(config)
    _logs(own, "error")
    from agent.doctor import examine, healthy
    from agent.doctor_words import say

    language = lang or _language()
    checks = asyncio.run(examine(own))
    fine = healthy(checks)
    if as_json:
        found = [{"check": one.name, "state": one.state, "words": one.text(language), **one.values} for one in checks]
        _print_json({"healthy": fine, "checks": found})
        sys.exit(0 if fine else UNHEALTHY)
    signs = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "bad": ("✗", "red"), "unknown": ("?", "blue")}
    for one in checks:
        sign, colour = signs[one.state]
        head = click.style(f"{sign} {say(one.name, language)} · {say(one.state, language)}", fg=colour)
        click.echo(f"{head}: {one.text(language)}", color=_colour())
    bad = ", ".join(say(one.name, language) for one in checks if one.state == "bad")
    click.echo("\n" + say("healthy" if fine else "unhealthy", language, {"checks": bad}))
    sys.exit(0 if fine else UNHEALTHY)


def _language() -> str:
    """Thai where the environment speaks Thai (locale(7)), else English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return "th" if os.environ[name].startswith("th") else "en"
    return "en"


def _running(own: Any) -> Any:
    """What the daemon runs: the last good copy of what was fetched with this machine's own, or what it starts with."""
    from agent.settings import effective
    from agent.state import State, StateDamaged, StateUnusable

    state = State(own.state_dir)
    try:
        who = state.identity()
        return effective(own, state.settings(), who.province if who else "", who.site if who else "")
    except (StateDamaged, StateUnusable) as trouble:
        click.echo(f"{trouble}; going on without it", err=True)
        return effective(own, None)


def _identity(own: Any) -> Any:
    """Who this machine joined as, or ``None``."""
    from agent.state import State, StateDamaged, StateUnusable

    try:
        return State(own.state_dir).identity()
    except (StateDamaged, StateUnusable):  # told by _running already
        return None


def _addresses(own: Any) -> tuple[dict[str, str], dict[str, str]]:
    """What settings may speak of: the collector's address, and what the daemon learned."""
    from agent.directory import of_collector
    from agent.state import State, StateDamaged, StateUnusable

    state = State(own.state_dir)
    try:
        who = state.identity()
        return of_collector(own.collector or (who.url if who else "")), state.learned()
    except (StateDamaged, StateUnusable):  # told by _running already
        return of_collector(own.collector), {}


def _print_json(found: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())

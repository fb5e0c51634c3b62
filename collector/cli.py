"""``phrom-collector``: data to stdout, progress and logs to stderr.

Exit codes: 0 fine, 1 failed, 2 wrong usage or settings, 3 done but not healthy.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from collector.settings import CollectorSettings, load
from wire.logs import set_up
from wire.yaml_settings import SettingsError

FAILED, WRONG, UNHEALTHY = 1, 2, 3
NOT_INSTALLED = (
    "the library {0} is missing: an agent's installation does not carry the collector; "
    "install it with: pip install --require-hashes -r requirements/collector.txt"
)


class Words(Exception):
    """Ends a command with words for the person and an exit code."""

    def __init__(self, words: str, code: int = FAILED) -> None:
        super().__init__(words)
        self.code = code


def told(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turns the product's own errors into plain words on stderr and the right exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            from collector.errors import expected  # here: it imports everything that can fail
        except ModuleNotFoundError as missing:
            click.echo(NOT_INSTALLED.format(missing.name), err=True)
            sys.exit(FAILED)
        try:
            return command(*args, **kwargs)
        except SettingsError as error:
            click.echo(str(error), err=True)
            sys.exit(WRONG)
        except Words as error:
            click.echo(str(error), err=True)
            sys.exit(error.code)
        except expected() as error:
            click.echo(str(error), err=True)
            sys.exit(FAILED)

    return run


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--config`` and hands the settings on."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="settings file; otherwise ./collector.yaml, /etc/phrom/collector.yaml or the defaults",
    )
    @click.option("--data", help="folder of the store, instead of the settings' own")
    @wraps(command)
    def run(*args: Any, config: Path | None, data: str | None, **kwargs: Any) -> Any:
        return command(*args, settings=load(config, data=data), **kwargs)

    return told(run)


as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


def show(data: Any, words: str, as_json: bool) -> None:
    """Prints data for a program or for a person."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=2) if as_json else words)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="phrom", prog_name="phrom-collector")
def main() -> None:
    """Phrom's collector: takes what agents measured and shows a province whether it is ready to meet."""


@main.command()
@with_settings
def serve(settings: CollectorSettings) -> None:
    """Run the collector until SIGTERM or Ctrl-C."""
    from collector.serve import serve as run

    set_up(settings.log, settings.log_level)
    asyncio.run(run(settings))


@main.command()
@click.option("--port", default=8480, show_default=True, help="port of the collector; 0 = a free one")
@click.option("--data", default="demo-data", show_default=True, help="folder for everything the demo keeps")
@told
def demo(port: int, data: str) -> None:
    """Run a collector and a real agent on this machine, beside the example province."""
    from collector.demo import run

    set_up("auto", "info")
    asyncio.run(run(Path(data), port))


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="the same as FILE")
@click.option("--beside", is_flag=True, hidden=True, help="as serve starts it: settings come from stdin")
def responder(file: Path | None, config: Path | None, beside: bool) -> None:
    """Run the responder alone, for instance at the provider's core, with the settings of FILE."""
    from collector.responder import process
    from collector.responder.settings import load as load_responder

    if beside:
        sys.exit(asyncio.run(process.run_beside()))
    try:
        settings = load_responder(file or config)
        set_up(settings.log, settings.log_level)
        asyncio.run(process.run_alone(settings))
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(WRONG)
    except process.CannotServe as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--data", help="folder of the store, instead of the settings' own")
@as_json
@told
def check(file: Path | None, data: str | None, as_json: bool) -> None:
    """Check settings and inventory; every mistake at once, with file, line, key, found and expected."""
    from collector.province import folder_of, load_province

    settings = load(file, data=data)
    inventory = load_province(settings)
    found = {
        "settings": "fine",
        "inventory": str(folder_of(settings)),
        "hash": inventory.hash,
        "province": inventory.province.id,
        "sites": len(inventory.sites),
    }
    show(found, f"fine: {found['sites']} sites of {found['province']} in {found['inventory']}", as_json)


@main.command()
@with_settings
@as_json
def doctor(settings: CollectorSettings, as_json: bool) -> None:
    """Can this machine do the collector's work: folder, disk, inventory, TLS, clock, port."""
    from collector.doctor import examine

    findings = asyncio.run(examine(settings))
    lines = [f"{'ok  ' if one.ok else 'FAIL'} {one.what}: {one.words}" for one in findings]
    show([one._asdict() for one in findings], "\n".join(lines), as_json)
    if not all(one.ok for one in findings):
        sys.exit(UNHEALTHY)


@main.command()
@click.argument("site")
@click.option("--role", type=click.Choice(["link", "room", "both"]), default="link", show_default=True)
@click.option("--link", default="", help="the link, where the site has several")
@click.option("--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="write a join file for a stick")
@click.option("--revoke", is_flag=True, help="revoke the site's open codes of that role instead")
@with_settings
@as_json
def enrol(
    settings: CollectorSettings, site: str, role: str, link: str, file: Path | None, revoke: bool, as_json: bool
) -> None:
    """Print the command by which an agent joins as SITE, with a new code."""
    from collector import enrolment

    if revoke:
        number = asyncio.run(enrolment.revoke(settings, site, role))
        show(
            {"site": site, "role": role, "revoked": number}, f"{number} open codes of {site} ({role}) revoked", as_json
        )
        return
    made = asyncio.run(enrolment.enrol(settings, site, role, link))
    if file is not None:
        enrolment.write_join_file(file, made)
    show(made.as_data(), enrolment.words(made, file), as_json)


@main.group()
def token() -> None:
    """Tokens for machines, such as a Prometheus that reads the collector."""


@token.command("add")
@click.argument("name")
@click.option("--scope", default="scrape,read", show_default=True, help="what it may do: scrape, read")
@with_settings
@as_json
def token_add(settings: CollectorSettings, name: str, scope: str, as_json: bool) -> None:
    """Make a token for the machine NAME and print it, this once."""
    from collector import enrolment

    scopes = [one.strip() for one in scope.split(",") if one.strip()]
    made = asyncio.run(enrolment.add_token(settings, name, scopes))
    click.echo("keep this token now: it is shown this once and stored only hashed", err=True)
    show({"name": name, "scopes": scopes, "token": made}, made, as_json)


@token.command("revoke")
@click.argument("name")
@click.option("--keep-newest", is_flag=True, help="revoke only the older one, at the end of a rotation")
@with_settings
@as_json
def token_revoke(settings: CollectorSettings, name: str, keep_newest: bool, as_json: bool) -> None:
    """Revoke the tokens of the machine NAME."""
    from collector import enrolment

    number = asyncio.run(enrolment.revoke_token(settings, name, keep_newest=keep_newest))
    if not number:
        raise Words(f"{name}: no valid token of that name to revoke (phrom-collector token list shows all)")
    show({"name": name, "revoked": number}, f"{name}: {number} revoked", as_json)


@token.command("list")
@with_settings
@as_json
def token_list(settings: CollectorSettings, as_json: bool) -> None:
    """List machines and agents with valid tokens; the tokens themselves are not kept."""
    from collector import enrolment

    rows = asyncio.run(enrolment.tokens(settings))
    lines = [f"{one['kind']:8}{one['name']:20}{one['detail']}" for one in rows]
    show(rows, "\n".join(lines) or "none", as_json)


@main.group()
def agent() -> None:
    """The agents that joined."""


@agent.command("list")
@with_settings
@as_json
def agent_list(settings: CollectorSettings, as_json: bool) -> None:
    """List the agents: place, machine, last word; an agent in conflict with another is marked with !."""
    from collector import enrolment

    rows = asyncio.run(enrolment.agents(settings))
    lines = [
        f"{'!' if one['conflict'] else ' '} {one['agent']}  {one['site']} {one['link'] or '-'} {one['role']}  "
        f"{one['machine']}  {'heard ' + one['heard'] if one['heard'] else 'never heard'}  {one['version']}".rstrip()
        for one in rows
    ]
    show(rows, "\n".join(lines) or "none", as_json)


@agent.command("retire")
@click.argument("identity")
@with_settings
@as_json
def agent_retire(settings: CollectorSettings, identity: str, as_json: bool) -> None:
    """End the agent IDENTITY: its tokens are revoked, its history stays."""
    from collector import enrolment

    if not asyncio.run(enrolment.retire(settings, identity)):
        raise Words(f"{identity}: no such agent, or it is retired already (phrom-collector token list shows all)")
    show({"agent": identity, "retired": True}, f"{identity}: retired", as_json)


@main.group()
def vantage() -> None:
    """Where agents stand, and which of these places are on the site's link."""


of_link = click.option("--link", help="the link, where the site has several; - for the room")


@vantage.command("list")
@click.argument("site", default="")
@with_settings
@as_json
def vantage_list(settings: CollectorSettings, site: str, as_json: bool) -> None:
    """List where the agents of SITE (or of all) stood; a confirmed place is marked with *."""
    from collector import enrolment

    rows = asyncio.run(enrolment.vantage_list(settings, site))
    lines = [
        f"{'*' if one['confirmed'] else ' '} {one['site']} {one['link'] or '-'} {one['vantage']}  "
        f"{one['facts'].get('medium', '?')} {one['facts'].get('interface', '')}  seen {one['seen_last']}  "
        f"{'confirmed ' + one['confirmed'] if one['confirmed'] else 'not confirmed'}"
        for one in rows
    ]
    show(rows, "\n".join(lines) or "none", as_json)


@vantage.command("confirm")
@click.argument("site")
@click.argument("identity", metavar="ID")
@of_link
@with_settings
@as_json
def vantage_confirm(settings: CollectorSettings, site: str, identity: str, link: str | None, as_json: bool) -> None:
    """Confirm that the vantage ID stands on the link of SITE; agents that stand elsewhere then measure nothing."""
    from collector import enrolment

    one = asyncio.run(enrolment.confirm_vantage(settings, site, identity, link))
    place = f"{site} ({one['link'] or '-'})"
    words = f"{identity}: confirmed for {place}; from anywhere that is not confirmed nothing is measured there now"
    show(one | {"confirmed": True}, words, as_json)


@vantage.command("forget")
@click.argument("site")
@click.argument("identity", metavar="ID")
@of_link
@with_settings
@as_json
def vantage_forget(settings: CollectorSettings, site: str, identity: str, link: str | None, as_json: bool) -> None:
    """Forget the vantage ID of SITE and that it was confirmed."""
    from collector import enrolment

    one = asyncio.run(enrolment.forget_vantage(settings, site, identity, link))
    words = f"{identity}: forgotten for {site} ({one['link'] or '-'})"
    show({"site": site, "link": one["link"], "vantage": identity, "forgotten": True}, words, as_json)


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@with_settings
@as_json
def backup(settings: CollectorSettings, file: Path, as_json: bool) -> None:
    """Write store, keys and inventory into FILE while the collector runs."""
    from collector.saving import back_up

    size = back_up(settings, file)
    click.echo("the file holds the CA's private key: keep it as you keep keys", err=True)
    show({"file": str(file), "bytes": size}, f"{file}: {size} bytes", as_json)


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@with_settings
@as_json
def restore(settings: CollectorSettings, file: Path, as_json: bool) -> None:
    """Restore FILE into an empty data folder."""
    from collector.saving import restore_from

    restore_from(settings, file)
    show({"data": settings.data}, f"{settings.data}: restored; start the collector with phrom-collector serve", as_json)


if __name__ == "__main__":
    main()

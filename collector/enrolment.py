"""What the commands do to tokens, codes and agents: straight in the store, beside a running collector."""

import asyncio
import getpass
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from sqlalchemy import Connection, select

from collector import credentials, vantages
from collector.inventory import Site
from collector.province import load_province
from collector.rivals import rivals
from collector.serve import now_utc
from collector.settings import CollectorSettings
from collector.store import Source, Store
from collector.store.schema import agent, token
from collector.tls import Authority, utc_now
from wire.clock import SECOND, Instant
from wire.settings import Role

_T = TypeVar("_T")


class NoSuchSite(Exception):
    """The inventory has no such site or link; the message lists what it has."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new join code and where it is used."""

    url: str
    code: str
    site: str
    link: str
    role: Role

    @property
    def command(self) -> str:
        """What to type on the new machine."""
        return f"phrom-agent join {self.url} {self.code}"

    def as_data(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "site": self.site,
            "link": self.link,
            "role": self.role.value,
            "url": self.url,
            "code": self.code,
            "reusable": self.role is Role.ROOM,
            "command": self.command,
        }


def words(made: Enrolled, file: Path | None) -> str:
    """For a person: the command alone on its line, so that it can be copied."""
    use = "reusable until revoked (--revoke)" if made.role is Role.ROOM else "to be used once, within 30 days"
    lines = [made.command, "", f"{made.site}, role {made.role}: {use}"]
    if file is not None:
        lines.append(f"{file}: written; put it on the card or stick as phrom-join.yaml")
    return "\n".join(lines)


def write_join_file(file: Path, made: Enrolled) -> None:
    """The file that a box finds on its card or stick and joins by; readable by its owner alone."""
    content = yaml.safe_dump({"url": made.url, "code": made.code}, sort_keys=False)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"# Phrom: this machine joins {made.site} ({made.role}) by this file, then deletes it.\n{content}")


async def enrol(settings: CollectorSettings, site: str, role: str, link: str) -> Enrolled:
    """A new code; raises :class:`NoSuchSite`."""
    place = await asyncio.to_thread(_place, settings, site, Role(role), link)
    secret = await _write(settings, lambda c, at: credentials.enrol(c, at, site, place, Role(role), who=_who()))
    pin = ""
    if settings.tls == "own":
        authority = await asyncio.to_thread(Authority.open, settings.tls_folder, utc_now())
        pin = f".{authority.pin}"
    return Enrolled(settings.url, secret + pin, site, place, Role(role))


def _place(settings: CollectorSettings, site: str, role: Role, link: str) -> str:
    """The link that an agent of this role stands for; empty for a room's."""
    sites = _check_site(settings, site)
    links = [one.id for one in sites[site].links]
    if link and link not in links:
        raise NoSuchSite(f"link: found {link!r}, expected one of {', '.join(links) or 'none: the site has no link'}")
    if role is Role.ROOM or link:
        return link
    if len(links) > 1:
        raise NoSuchSite(f"link: {site} has several, say which one with --link: {', '.join(links)}")
    return links[0] if links else ""


async def revoke(settings: CollectorSettings, site: str, role: str) -> int:
    """Revokes a site's open codes of one role."""
    return await _write(settings, lambda c, at: credentials.revoke_codes(c, at, site, Role(role), who=_who()))


async def add_token(settings: CollectorSettings, name: str, scopes: list[str]) -> str:
    """A machine's new token; raises :class:`collector.credentials.BadToken`."""
    return await _write(settings, lambda c, at: credentials.add_machine(c, at, name, scopes, who=_who()))


async def revoke_token(settings: CollectorSettings, name: str, *, keep_newest: bool) -> int:
    """Revokes a machine's tokens; how many."""
    return await _write(
        settings, lambda c, at: credentials.revoke_machine(c, at, name, who=_who(), keep_newest=keep_newest)
    )


async def retire(settings: CollectorSettings, identity: str) -> bool:
    """Retires an agent by hand."""
    return await _write(settings, lambda c, at: credentials.retire(c, at, identity, "by hand", who=_who()))


async def agents(settings: CollectorSettings) -> list[dict[str, Any]]:
    """Agents that were not retired, as they were written down last; a running collector does so every 15 s."""

    def read(connection: Connection, at: Instant) -> list[dict[str, Any]]:
        rows = list(connection.execute(select(agent).where(agent.c.retired.is_(None)).order_by(agent.c.site)))
        sources = [(Source(row.id, row.site, row.link, row.role), row.heard or 0) for row in rows]
        colliding = {name for one in rivals(sources, at) for name in one.agents}
        return [
            {
                "agent": row.id,
                "site": row.site,
                "link": row.link,
                "role": row.role,
                "machine": row.machine,
                "heard": _iso(row.heard) if row.heard else None,
                "version": row.version or "",
                "conflict": row.id in colliding,
            }
            for row in rows
        ]

    return await _write(settings, read)


def _iso(instant: Instant) -> str:
    return datetime.fromtimestamp(instant // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def tokens(settings: CollectorSettings) -> list[dict[str, Any]]:
    """Who holds a valid token."""

    def read(connection: Connection, _at: Instant) -> list[dict[str, Any]]:
        joined = select(token, agent.c.site, agent.c.link, agent.c.role, agent.c.machine).select_from(
            token.outerjoin(agent, token.c.agent == agent.c.id)
        )
        found = []
        for row in connection.execute(joined.where(token.c.revoked.is_(None)).order_by(token.c.created)):
            machine = row.kind == "machine"
            detail = row.scopes if machine else f"{row.site} {row.link or '-'} {row.role} {row.machine}".strip()
            found.append({"kind": row.kind, "name": row.name if machine else row.agent, "detail": detail})
        return found

    return await _write(settings, read)


async def vantage_list(settings: CollectorSettings, site: str) -> list[dict[str, Any]]:
    """Where agents of a site (or of all) stood; raises :class:`NoSuchSite`."""
    found = await _write(settings, lambda c, _at: vantages.known(c, site))
    if site and not found:
        await asyncio.to_thread(_check_site, settings, site)
    return [_vantage_data(one) for one in found]


async def confirm_vantage(settings: CollectorSettings, site: str, identity: str, link: str | None) -> dict[str, Any]:
    """Confirms where an agent stands; raises :class:`NoSuchSite`, :class:`collector.vantages.NoSuchVantage`."""
    return await _on_vantage(settings, vantages.confirm, site, identity, link)


async def forget_vantage(settings: CollectorSettings, site: str, identity: str, link: str | None) -> dict[str, Any]:
    """Takes a vantage out; raises :class:`NoSuchSite`, :class:`collector.vantages.NoSuchVantage`."""
    return await _on_vantage(settings, vantages.forget, site, identity, link)


async def _on_vantage(
    settings: CollectorSettings, change: Callable[..., vantages.Vantage], site: str, identity: str, link: str | None
) -> dict[str, Any]:
    place = "" if link == vantages.ROOM else link
    try:
        one = await _write(settings, lambda c, at: change(c, at, site, identity, place, who=_who()))
    except vantages.NoSuchVantage:
        await asyncio.to_thread(_check_site, settings, site)  # the site's name may be what is wrong
        raise
    return _vantage_data(one)


def _check_site(settings: CollectorSettings, site: str) -> Mapping[str, Site]:
    """The inventory's sites, of which this is one; raises :class:`NoSuchSite`."""
    sites = load_province(settings).sites
    if site not in sites:
        raise NoSuchSite(f"site: found {site!r}, expected one of {', '.join(sites)}")
    return sites


def _vantage_data(one: vantages.Vantage) -> dict[str, Any]:
    return {
        "site": one.site,
        "link": one.link,
        "vantage": one.id,
        "facts": one.facts,
        "address": one.address,
        "agent": one.agent,
        "seen_first": _iso(one.seen_first),
        "seen_last": _iso(one.seen_last),
        "confirmed": _iso(one.confirmed) if one.confirmed is not None else None,
        "who": one.who,
    }


async def _write(settings: CollectorSettings, function: Callable[[Connection, Instant], _T]) -> _T:
    store = await asyncio.to_thread(_opened, settings)
    at = now_utc()
    try:
        return await store.write(lambda connection: function(connection, at))
    finally:
        await asyncio.to_thread(store.close)


def _opened(settings: CollectorSettings) -> Store:
    Path(settings.data).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Store.open(settings.store_file)


def _who() -> str:
    try:
        return f"command by {getpass.getuser()}"
    except (KeyError, OSError):
        return f"command by uid {os.getuid()}"

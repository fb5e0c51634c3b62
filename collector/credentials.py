"""Tokens, join codes and agents in the store: functions of one open connection, each within its caller's transaction.

No secret is kept: a token or code is looked up by its SHA-256, which is enough for 80 random bits and more.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from collector.rivals import SILENT
from collector.store.schema import agent, audit, join_code, token
from wire.clock import DAY, Instant
from wire.settings import Role

LINK_CODE_LIFE = 30 * DAY
"""A link code that nobody used expires; a room code is valid until it is revoked."""
SCOPES = ("scrape", "read")


class BadCode(Exception):
    """A join code that opens nothing; the message says why and what to do."""


class BadToken(Exception):
    """A token that cannot be made or revoked as asked."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of a join."""

    agent: str
    token: str
    site: str
    link: str
    role: Role
    superseded: tuple[str, ...] = ()
    """Silent agents of the same place that were retired."""
    conflicts: tuple[str, ...] = ()
    """Live agents of the same place: two of them now speak for it."""


def hash_of(secret: str) -> bytes:
    """SHA-256 of a token or of a code's secret part."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()  # a header may hold any bytes


def new_token(kind: str) -> str:
    """``pha_`` (agent) or ``phm_`` (machine) and 43 characters of 256 random bits."""
    return {"agent": "pha_", "machine": "phm_"}[kind] + secrets.token_urlsafe(32)


def new_code_secret() -> str:
    """80 random bits as 16 base32 characters in groups of 4."""
    text = base64.b32encode(secrets.token_bytes(10)).decode()
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def split_code(code: str) -> tuple[str, str]:
    """A code as typed by people into its secret (canonical) and its pin (perhaps empty); raises :class:`BadCode`."""
    secret, _, pin = code.strip().upper().replace(" ", "").partition(".")
    bare = secret.replace("-", "")
    if len(bare) != 16 or not set(bare) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):
        raise BadCode("the code is not complete: expected 16 letters and digits such as ABCD-EFGH-IJKL-MNOP")
    return "-".join(bare[at : at + 4] for at in range(0, 16, 4)), pin


def note(connection: Connection, at: Instant, who: str, what: str, detail: str = "") -> None:
    """One line of the audit."""
    connection.execute(insert(audit).values(at=at, who=who[:200], what=what[:80], detail=detail[:2000]))


def enrol(
    connection: Connection, at: Instant, site: str, link: str, role: Role, *, who: str, life: int | None = None
) -> str:
    """A new join code's secret. A link code (or both) is used once; a room code is reusable until revoked."""
    reusable = role is Role.ROOM
    secret = new_code_secret()
    life = life if life is not None or reusable else LINK_CODE_LIFE
    connection.execute(
        insert(join_code).values(
            hash=hash_of(secret),
            site=site,
            link=link,
            role=role.value,
            reusable=reusable,
            created=at,
            expires=None if life is None else at + life,
        )
    )
    note(connection, at, who, "code made", f"site {site} link {link or '-'} role {role}")
    return secret


def revoke_codes(connection: Connection, at: Instant, site: str, role: Role | None, *, who: str) -> int:
    """Revokes a site's open codes (of one role); how many there were."""
    still_open = or_(join_code.c.used.is_(None), join_code.c.reusable)
    wanted = and_(join_code.c.site == site, join_code.c.revoked.is_(None), still_open)
    if role is not None:
        wanted = and_(wanted, join_code.c.role == role.value)
    number = connection.execute(update(join_code).where(wanted).values(revoked=at)).rowcount
    if number:
        note(connection, at, who, "codes revoked", f"site {site} role {role or 'any'}: {number}")
    return number


def _open_code(connection: Connection, secret: str, at: Instant) -> Row[Any]:
    row = connection.execute(select(join_code).where(join_code.c.hash == hash_of(secret))).one_or_none()
    if row is None:
        raise BadCode("the code is unknown: check it letter by letter, or make a new one with phrom-collector enrol")
    if row.revoked is not None:
        raise BadCode("the code was revoked; make a new one with phrom-collector enrol")
    if row.used is not None and not row.reusable:
        raise BadCode("the code was used already, and a link code is used once; make a new one: phrom-collector enrol")
    if row.expires is not None and row.expires <= at:
        raise BadCode("the code has expired; make a new one with phrom-collector enrol")
    return row


def join(
    connection: Connection, at: Instant, code: str, *, machine: str, address: str, heard: dict[str, Instant]
) -> Joined:
    """Turns a code into an agent with a token; raises :class:`BadCode`.

    ``heard`` tells when each agent last spoke, fresher than the table. An agent that holds the same place and was
    silent for :data:`collector.rivals.SILENT` is retired and its tokens are revoked; a live one stays, and the two are
    a conflict.
    """
    row = _open_code(connection, split_code(code)[0], at)
    role = Role(row.role)
    superseded: list[str] = []
    conflicts: list[str] = []
    for other in holders(connection, row.site, row.link, role):
        last = max(heard.get(other.id, 0), other.heard or 0, other.created)
        (superseded if at - last >= SILENT else conflicts).append(other.id)
    identity = secrets.token_hex(8)
    made = new_token("agent")
    connection.execute(
        insert(agent).values(
            id=identity, site=row.site, link=row.link, role=role.value, machine=machine, created=at, address=address
        )
    )
    connection.execute(insert(token).values(hash=hash_of(made), kind="agent", agent=identity, created=at))
    connection.execute(update(join_code).where(join_code.c.hash == row.hash).values(used=at))
    for other_id in superseded:
        retire(connection, at, other_id, f"superseded by {identity}", who=f"agent {identity}")
    note(connection, at, address, "joined", f"agent {identity} machine {machine} site {row.site} role {role}")
    if conflicts:
        note(connection, at, address, "conflict", f"agent {identity} beside live {', '.join(conflicts)} at {row.site}")
    return Joined(identity, made, row.site, row.link, role, tuple(superseded), tuple(conflicts))


def holders(connection: Connection, site: str, link: str, role: Role) -> list[Row[Any]]:
    """Agents, not retired, that hold a place: the same site and link, and a role that covers the same ground."""
    wanted = and_(agent.c.site == site, agent.c.retired.is_(None))
    if role is Role.ROOM:
        wanted = and_(wanted, or_(agent.c.role == Role.ROOM.value, agent.c.role == Role.BOTH.value))
    elif role is Role.LINK:
        wanted = and_(wanted, agent.c.link == link, agent.c.role.in_([Role.LINK.value, Role.BOTH.value]))
    else:
        wanted = and_(wanted, or_(agent.c.link == link, agent.c.role == Role.ROOM.value))
    return list(connection.execute(select(agent).where(wanted).order_by(agent.c.created)))


def retire(connection: Connection, at: Instant, identity: str, why: str, *, who: str) -> bool:
    """Ends an agent and revokes its tokens; ``False`` if there is none such that is not retired already."""
    number = connection.execute(
        update(agent).where(agent.c.id == identity, agent.c.retired.is_(None)).values(retired=at, retired_why=why)
    ).rowcount
    if number:
        connection.execute(update(token).where(token.c.agent == identity, token.c.revoked.is_(None)).values(revoked=at))
        note(connection, at, who, "agent retired", f"{identity}: {why}")
    return bool(number)


def rotate(connection: Connection, at: Instant, identity: str, present: bytes) -> str:
    """A second token for an agent; the present one stays valid until the new one is used first.

    Asking again before that replaces the unused one: never more than two are valid.
    """
    connection.execute(
        update(token)
        .where(token.c.agent == identity, token.c.hash != present, token.c.revoked.is_(None))
        .values(revoked=at)
    )
    made = new_token("agent")
    connection.execute(insert(token).values(hash=hash_of(made), kind="agent", agent=identity, created=at))
    note(connection, at, f"agent {identity}", "token rotated")
    return made


def first_use(connection: Connection, at: Instant, identity: str, used: bytes) -> None:
    """The new token was used: it arrived, so the others end."""
    connection.execute(update(token).where(token.c.hash == used).values(used=at))
    connection.execute(
        update(token)
        .where(token.c.agent == identity, token.c.hash != used, token.c.revoked.is_(None))
        .values(revoked=at)
    )


def add_machine(connection: Connection, at: Instant, name: str, scopes: list[str], *, who: str) -> str:
    """A token for a machine such as a Prometheus. Two of one name may be valid, so that they can be rotated."""
    unknown = [one for one in scopes if one not in SCOPES]
    if unknown or not scopes:
        raise BadToken(f"scope: found {', '.join(unknown) or 'none'}, expected one or more of {', '.join(SCOPES)}")
    wanted = and_(token.c.kind == "machine", token.c.name == name, token.c.revoked.is_(None))
    if len(connection.execute(select(token.c.hash).where(wanted)).all()) >= 2:
        raise BadToken(f"{name}: two tokens are valid already; revoke the older: phrom-collector token revoke {name}")
    made = new_token("machine")
    connection.execute(
        insert(token).values(
            hash=hash_of(made), kind="machine", name=name, scopes=",".join(sorted(set(scopes))), created=at
        )
    )
    note(connection, at, who, "token made", f"machine {name} scopes {','.join(sorted(set(scopes)))}")
    return made


def revoke_machine(connection: Connection, at: Instant, name: str, *, who: str, keep_newest: bool = False) -> int:
    """Revokes a machine's tokens (all but the newest, if asked); how many."""
    wanted = and_(token.c.kind == "machine", token.c.name == name, token.c.revoked.is_(None))
    found = [row.hash for row in connection.execute(select(token.c.hash).where(wanted).order_by(token.c.created))]
    doomed = found[:-1] if keep_newest else found
    for one in doomed:
        connection.execute(update(token).where(token.c.hash == one).values(revoked=at))
    if doomed:
        note(connection, at, who, "token revoked", f"machine {name}: {len(doomed)}")
    return len(doomed)

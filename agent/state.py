"""The agent's state folder: what must outlive a restart, besides the spool.

======================  ==============================================================================================
``identity.json``       who the agent is: collector's address, own CA, token, site, link, role (from joining)
``settings.json``       the last good settings that were fetched
``learned.json``        addresses and vantages that the agent learned by itself
``join-files.json``     digests of join files that were used, for cards that cannot be written
``standby.json``        leases for own tests while the collector is away (:mod:`agent.standby`)
``alive``               until when the agent was alive (:mod:`agent.alive`); changed in place, never synced
``spool.db``            the spool (:mod:`agent.spool`), with its log beside it
``spool.db.damaged-N``  spools that were set aside
======================  ==============================================================================================

The folder is 0700, every file 0600; a file is replaced whole and synced, never changed in place. All of this reads and
writes files: call it in a thread once the loop serves anyone.
"""

import os
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from wire.settings import AgentSettings, JoinAnswer, Role

_T = TypeVar("_T")
_MOST_USED = 20


class StateUnusable(Exception):
    """The state folder cannot be made, read or written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path}: {error.strerror or error}; expected a folder that the agent's user can read and write "
            "(setting 'state', or StateDirectory= of the systemd unit)"
        )


class StateDamaged(Exception):
    """A file of the state folder is not what was written there."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What joining yields. Its ``repr`` holds the token: never log one."""

    url: str
    agent: str
    token: Annotated[str, msgspec.Meta(min_length=1)]
    province: str
    site: str
    link: str = ""
    role: Role = Role.BOTH
    ca: str = ""
    """PEM of the collector's own CA; empty = the system's roots."""

    @classmethod
    def of(cls, url: str, ca: str, answer: JoinAnswer) -> "Identity":
        """From a join's answer."""
        return cls(
            url=url,
            agent=answer.agent,
            token=answer.token,
            province=answer.province,
            site=answer.site,
            link=answer.link,
            role=answer.role,
            ca=ca,
        )


class State:
    """One state folder. Methods raise :class:`StateUnusable`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool.db"
        self._identity = folder / "identity.json"
        self._settings = folder / "settings.json"
        self._learned = folder / "learned.json"
        self._used = folder / "join-files.json"

    def prepare(self) -> None:
        """Makes the folder."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnusable(self.folder, error) from error

    def identity(self) -> Identity | None:
        """Who this agent is; ``None`` before it has joined. Raises :class:`StateDamaged`."""
        try:
            return _read(self._identity, Identity)
        except msgspec.DecodeError as error:
            raise StateDamaged(
                f"{self._identity}: {error}, expected what joining wrote; join again: phrom-agent join URL CODE"
            ) from error

    def keep_identity(self, identity: Identity) -> None:
        """On disk when this returns."""
        self._write(self._identity, identity)

    def keep_token(self, token: str) -> None:
        """A rotated token, in place of the present one."""
        present = self.identity()
        if present is None:
            raise StateDamaged(f"{self._identity}: not found, expected the identity whose token is rotated")
        self.keep_identity(msgspec.structs.replace(present, token=token))

    def settings(self) -> AgentSettings | None:
        """The last good settings; ``None`` if there are none, or none that can be read: they are fetched anew."""
        return _readable(self._settings, AgentSettings)

    def keep_settings(self, settings: AgentSettings) -> None:
        """Keeps settings that were found good."""
        self._write(self._settings, settings)

    def learned(self) -> dict[str, str]:
        """What the agent learned by itself; empty if nothing can be read."""
        return _readable(self._learned, dict[str, str]) or {}

    def keep_learned(self, learned: dict[str, str]) -> None:
        """Keeps what was learned."""
        self._write(self._learned, learned)

    def used_join_files(self) -> list[str]:
        """Digests of join files that were used."""
        return _readable(self._used, list[str]) or []

    def keep_used_join_file(self, digest: str) -> None:
        """Remembers a used join file."""
        self._write(self._used, [*self.used_join_files(), digest][-_MOST_USED:])

    def _write(self, path: Path, value: object) -> None:
        self.prepare()
        try:
            replace_file(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        except OSError as error:
            raise StateUnusable(path, error) from error


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replaces a file as a whole: after a crash or power cut it is the old or the new one. Raises ``OSError``."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateUnusable(path, error) from error
    return msgspec.json.decode(content, type=kind)


def _readable(path: Path, kind: type[_T]) -> _T | None:
    try:
        return _read(path, kind)
    except msgspec.DecodeError:
        return None

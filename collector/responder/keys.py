"""The secret that a collector and one responder share: a file of 32 random bytes that only its owner reads.

``serve`` makes ``<data>/responders/<id>.key``; a responder on another machine gets a copy of that file, by hand.
"""

import os
import secrets
import stat
from pathlib import Path

from wire.lease import SECRET_BYTES

FOLDER = "responders"
_MODE = 0o600


class BadKey(Exception):
    """The key file does not serve; the message says why and what to do. It never holds the key."""


def key_file(data: Path, responder: str) -> Path:
    """Where a collector keeps the secret of a responder."""
    return data / FOLDER / f"{responder}.key"


def read_key(file: Path) -> bytes:
    """The secret; raises :class:`BadKey`."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            found = stream.read(SECRET_BYTES + 1)
    except FileNotFoundError as error:
        raise BadKey(
            f"{file}: not found; copy the file of that name from the folder {FOLDER} of the collector's data folder"
        ) from error
    except OSError as error:
        raise BadKey(f"{file}: {error.strerror}; expected a file that this user can read") from error
    if not stat.S_ISREG(mode):
        raise BadKey(f"{file}: not a regular file; expected the {SECRET_BYTES} bytes that the collector made")
    if mode & 0o077:
        raise BadKey(f"{file}: others may read it (mode {mode & 0o777:04o}); chmod 600 {file}")
    if len(found) != SECRET_BYTES:
        words = f"more than {SECRET_BYTES}" if len(found) > SECRET_BYTES else str(len(found))
        raise BadKey(f"{file}: found {words} bytes, expected exactly {SECRET_BYTES}; copy it from the collector again")
    return found


def ensure_key(file: Path) -> bytes:
    """The secret, made at the first call: whole or not at all, whoever else makes it at the same time. Raises
    :class:`BadKey`."""
    if not file.exists():
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(file)
        except OSError as error:
            raise BadKey(f"{file}: not made: {error.strerror}; expected a folder that can be written") from error
    return read_key(file)


def _make(file: Path) -> None:
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(SECRET_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(part, file)  # unlike a rename, it never replaces a key that another process just made
        except FileExistsError:
            return
        _sync(file.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

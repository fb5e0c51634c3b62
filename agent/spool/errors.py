"""Why the spool cannot keep records at the moment, each cause with what to do about it."""

import errno
import os
import sqlite3
from pathlib import Path

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,  # a table is missing
    sqlite3.SQLITE_CONSTRAINT,  # a number was given twice
    sqlite3.SQLITE_MISMATCH,
}
_LEAST_FREE = 256 * 1024
"""Below this many free bytes an I/O error is taken for a full disk: SQLite reports some of them as such."""


class SpoolUnavailable(Exception):
    """Records cannot be kept now. The agent goes on measuring, counts what is lost and declares it later."""

    code = "failing"
    """For facts, metrics and the page."""


class SpoolFull(SpoolUnavailable):
    """The disk under the spool is full."""

    code = "full"


class SpoolReadOnly(SpoolUnavailable):
    """The spool's folder or file cannot be written."""

    code = "read-only"


class SpoolFailing(SpoolUnavailable):
    """The disk answers with errors."""


class SpoolInUse(SpoolUnavailable):
    """Another process holds the spool."""

    code = "in use"


class SpoolDamaged(Exception):
    """The file is not a spool or its pages contradict each other: it is set aside."""


def cause_of(error: sqlite3.Error | OSError, path: Path) -> Exception:
    """The error class that names the cause of a failed operation on the spool at ``path``."""
    if isinstance(error, OSError):
        if error.errno in _NO_SPACE:
            return _full(path, error)
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR):
            return _read_only(path, error)
        return _failing(path, error)
    if not hasattr(error, "sqlite_errorcode"):
        return error  # Python's sqlite3 was used wrongly: a mistake of ours, and no fault of the file
    code = error.sqlite_errorcode & 0xFF
    if code in _DAMAGE:
        return SpoolDamaged(f"{path}: {error}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return SpoolInUse(f"{path}: in use by another process, expected one agent per state folder; stop the other one")
    if code == sqlite3.SQLITE_FULL or (code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(path)):
        return _full(path, error)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _read_only(path, error)
    if code == sqlite3.SQLITE_IOERR and not os.access(path.parent, os.W_OK):
        return _read_only(path, error)
    return _failing(path, error)


def _full(path: Path, error: Exception) -> SpoolFull:
    return SpoolFull(f"{path}: the disk is full ({error}); free space on it or lower the spool's limit")


def _read_only(path: Path, error: Exception) -> SpoolReadOnly:
    return SpoolReadOnly(f"{path}: cannot be written ({error}); make its folder writable for the agent's user")


def _failing(path: Path, error: Exception) -> SpoolFailing:
    return SpoolFailing(f"{path}: the disk answers with an error ({error}); check or replace the disk or card")


def _is_full(path: Path) -> bool:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _LEAST_FREE

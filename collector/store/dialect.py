"""Everything that is SQLite and not SQL: connecting, pragmas, transactions, upserts, what an error means.

PostgreSQL comes later; it then gets the same functions here and nothing else of the store changes.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError

BUSY_MILLISECONDS = 10_000
"""How long a connection waits for another process's lock (a backup or restore by hand) before it gives up."""
PAGE_CACHE_KIB = 65_536


class CannotWrite(Exception):
    """The database file takes no writes now: disk full, read-only or failing. Nothing was stored; try again later."""


class Damaged(CannotWrite):
    """The database file is damaged. Nothing was stored, so agents keep what they have; no later try will succeed."""


class CannotOpen(Exception):
    """The store's file cannot be used by this release; the message says why and what to do."""


RESTORE = "stop the collector, restore a backup (phrom-collector restore) and keep the damaged file aside"
"""What to do about a damaged file."""


def connect(path: Path, *, read_only: bool, pool_size: int = 1) -> Engine:
    """An engine on one file. The writer begins every transaction IMMEDIATE; readers hold a snapshot and cannot write.

    Durability: WAL with ``synchronous=FULL``, so COMMIT returns after the WAL reached the disk (sqlite.org/wal.html).
    """
    if not read_only:
        own(path)
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={
            "check_same_thread": False,
            "isolation_level": None,  # the driver begins nothing by itself: the event below does
            "timeout": BUSY_MILLISECONDS / 1000,
            "cached_statements": 256,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _record: Any) -> None:
        raw.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
        raw.execute("PRAGMA temp_store=MEMORY")
        raw.execute("PRAGMA mmap_size=1073741824")
        if read_only:
            raw.execute("PRAGMA query_only=ON")
            return
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def own(path: Path) -> None:
    """Makes a missing file one that only its owner reads; SQLite gives the log beside it the same rights. Where that
    cannot be, opening it says why."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def touch(connection: Connection) -> None:
    """Writes a page that says what it said before: the commit of a transaction that changed nothing never meets the
    disk, and would succeed on a full one."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")


def rows_changed(connection: Connection) -> int:
    """Rows that this connection inserted, changed or deleted since it was opened; only ever growing."""
    return int(getattr(connection.connection.dbapi_connection, "total_changes", 0))


def insert_new(table: str, columns: tuple[str, ...]) -> str:
    """SQL that inserts rows and leaves those alone whose key exists."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names are ours


def insert_over(table: str, columns: tuple[str, ...]) -> str:
    """SQL that inserts rows and replaces those whose key exists."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names are ours


def cannot_write(problem: BaseException) -> CannotWrite | None:
    """What a database error means: :class:`CannotWrite` if it may pass by itself, :class:`Damaged` if only a backup
    helps, ``None`` if it is our mistake."""
    original = problem.orig if isinstance(problem, DBAPIError) else problem
    code = getattr(original, "sqlite_errorcode", None)
    if code is None:
        return None
    primary = code & 0xFF  # the low byte of an extended result code, sqlite.org/rescode.html
    words = f"{original} ({getattr(original, 'sqlite_errorname', code)})"
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return Damaged(f"{words}; it does not heal by itself: {RESTORE}")
    if primary in {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }:
        return CannotWrite(words)
    return None

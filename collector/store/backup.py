"""Backup while the collector runs, and restore into an empty store.

A backup is one consistent snapshot: SQLite's online backup reads it inside one read transaction, so that writes beside
it neither show in it nor make it begin anew.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from collector.store import dialect
from wire.clock import Instant

PAGES_A_STEP = 256
_EMPTY = ("stream", "agent", "token", "inventory", "window", "record")
"""A store with rows in none of these holds nothing that a restore would destroy."""


class BackupFailed(Exception):
    """The backup could not be written."""


class NotABackup(Exception):
    """The file given to restore is not a whole store of this product."""


class StoreNotEmpty(Exception):
    """Restore would overwrite something."""


def back_up(store: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Copies a store that may be in use to ``target``, which appears only when it is whole and on the disk.

    Returns its bytes. ``progress`` is told pages left and pages in all. Blocks. Raises :class:`BackupFailed`.
    """
    if not store.is_file():
        raise BackupFailed(f"{store}: found no store there, expected the collector's database file")
    if target.exists():
        raise BackupFailed(f"{target}: exists already; give a new name, a backup never overwrites another")
    partial = target.with_name(target.name + ".partial")
    try:
        with closing(sqlite3.connect(store, isolation_level=None)) as source:
            source.execute("PRAGMA query_only=ON")
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # takes the snapshot
            partial.unlink(missing_ok=True)
            dialect.own(partial)
            with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
                source.backup(
                    copy,
                    pages=PAGES_A_STEP,
                    sleep=0.001,
                    progress=None if progress is None else lambda _status, left, total: progress(left, total),
                )
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
            source.execute("ROLLBACK")
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as problem:
        partial.unlink(missing_ok=True)
        raise BackupFailed(f"{target}: could not write the backup: {problem}") from problem
    return target.stat().st_size


def restore(backup: Path, store: Path, now: Instant, who: str = "restore") -> Instant | None:
    """Puts a backup in the place of an empty or missing store; no collector may run on it. Blocks.

    Returns the arrival of the newest batch in it: what agents delivered later and have deleted since shows as gaps of
    their streams (``query.gaps``), and a row ``restored`` in table ``audit`` says why. Raises :class:`NotABackup` or
    :class:`StoreNotEmpty`.
    """
    _refuse_unless_empty(store)
    _check_whole(backup)
    partial = store.with_name(store.name + ".restoring")
    partial.unlink(missing_ok=True)
    store.parent.mkdir(parents=True, exist_ok=True)
    dialect.own(partial)
    newest: Instant | None
    with (
        closing(sqlite3.connect(f"file:{backup}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(partial, isolation_level=None)) as copy,
    ):
        source.backup(copy)
        newest = copy.execute("SELECT max(received) FROM batch").fetchone()[0]
        copy.execute(
            "INSERT INTO audit (at, who, what, detail) VALUES (?, ?, 'restored', ?)",
            (now, who, f"from {backup.name}; newest batch received {newest if newest is not None else 'never'}"),
        )
    _sync(partial)
    for suffix in ("-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    partial.rename(store)
    _sync(store.parent)
    return newest


def _refuse_unless_empty(store: Path) -> None:
    if not store.exists() or store.stat().st_size == 0:
        return
    engine = dialect.connect(store, read_only=True)
    try:
        with engine.connect() as connection:
            for table in _EMPTY:
                exists = connection.exec_driver_sql("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).first()
                if exists and connection.exec_driver_sql(f"SELECT 1 FROM {table} LIMIT 1").first():  # noqa: S608
                    raise StoreNotEmpty(
                        f"{store}: found rows in table {table}, expected an empty store; move the file away first"
                    )
    finally:
        engine.dispose()


def _check_whole(backup: Path) -> None:
    if not backup.is_file():
        raise NotABackup(f"{backup}: found no file there, expected a backup made by phrom-collector backup")
    try:
        with closing(sqlite3.connect(f"file:{backup}?mode=ro", uri=True)) as source:
            found = source.execute("PRAGMA quick_check(1)").fetchone()[0]
            tables = {row[0] for row in source.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except sqlite3.Error as problem:
        raise NotABackup(
            f"{backup}: found no readable database ({problem}), expected a backup of a collector"
        ) from None
    if found != "ok":
        raise NotABackup(f"{backup}: found damage ({found}), expected a whole backup")
    missing = {"alembic_version", "stream", "batch", "window", "hour"} - tables
    if missing:
        raise NotABackup(f"{backup}: found no tables {', '.join(sorted(missing))}, expected a backup of a collector")


def _sync(path: Path) -> None:
    """Flushes a file or directory to the disk, fsync(2)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Backup while the collector runs, and restore into an empty data folder: one file holds store, keys and inventory.

The store is copied by SQLite's backup interface from one snapshot, so that posts go on meanwhile. What
was acknowledged after a backup is gone from the agents' spools; after a restore the chains show what is missing.
"""

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec

from collector.province import folder_of
from collector.responder.keys import FOLDER as RESPONDERS
from collector.serve import lone
from collector.settings import CollectorSettings
from collector.store.backup import BackupFailed, NotABackup, StoreNotEmpty
from collector.store.backup import back_up as copy_store
from collector.store.backup import restore as restore_store

FORMAT = 1
STORE = "phrom.db"
KEPT_INVENTORY = "inventory-from-backup"
_MANIFEST = "manifest.json"
_SECRET = 0o600


class BadBackup(Exception):
    """A backup that cannot be made, read or restored; the message says why and what to do."""


class _Manifest(msgspec.Struct):
    format: int
    release: str
    made: float
    files: dict[str, str]
    """Name in the archive -> SHA-256."""


def back_up(settings: CollectorSettings, file: Path) -> int:
    """Writes the archive, whole or not at all; its size in bytes. Raises :class:`BadBackup`."""
    if not settings.store_file.exists():
        raise BadBackup(f"{settings.store_file}: not found; is data: (or --data) that of the collector?")
    part = file.with_name(file.name + ".part")
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=settings.data) as folder:
            snapshot = Path(folder) / STORE
            copy_store(settings.store_file, snapshot)
            _pack(settings, snapshot, part)
        part.replace(file)
    except (OSError, BackupFailed) as error:
        part.unlink(missing_ok=True)
        raise BadBackup(f"{file}: not written: {error}") from error
    return file.stat().st_size


def _pack(settings: CollectorSettings, snapshot: Path, part: Path) -> None:
    files = dict(_files(settings, snapshot))
    manifest = _Manifest(
        FORMAT, version("phrom"), time.time(), {name: _digest(path) for name, path in sorted(files.items())}
    )
    content = msgspec.json.format(msgspec.json.encode(manifest))
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _SECRET)
    with os.fdopen(handle, "wb") as stream:
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
            head = tarfile.TarInfo(_MANIFEST)
            head.size = len(content)
            archive.addfile(head, io.BytesIO(content))
            for name, path in sorted(files.items()):
                archive.add(path, name, recursive=False, filter=_anonymous)
        stream.flush()
        os.fsync(stream.fileno())


def _files(settings: CollectorSettings, snapshot: Path) -> Iterator[tuple[str, Path]]:
    yield STORE, snapshot
    if settings.tls_folder.is_dir():
        for path in sorted(settings.tls_folder.iterdir()):
            if path.suffix in (".pem", ".key"):
                yield f"tls/{path.name}", path
    for path in sorted(
        (Path(settings.data) / RESPONDERS).glob("*.key")
    ):  # else every responder elsewhere needs a new one
        yield f"{RESPONDERS}/{path.name}", path
    for path in sorted(folder_of(settings).glob("*.y*ml")):
        yield f"inventory/{path.name}", path


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = _SECRET
    return info


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def restore_from(settings: CollectorSettings, file: Path) -> list[str]:
    """Unpacks an archive into the empty data folder, checked before anything is put in place; the names restored."""
    folder = Path(settings.data)
    with lone(folder):
        if settings.store_file.exists() or settings.tls_folder.exists():
            raise BadBackup(f"{folder}: not empty; restore goes into an empty data folder: move the old one away first")
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=folder) as scratch:
            names = _unpack(file, Path(scratch))
            try:
                restore_store(Path(scratch) / STORE, settings.store_file, time.time_ns() // 1000)
            except (NotABackup, StoreNotEmpty) as error:
                raise BadBackup(f"{file}: {error}") from error
            for name in names:
                if name == STORE:
                    continue
                target = folder / name.replace("inventory/", f"{KEPT_INVENTORY}/")
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.move(Path(scratch) / name, target)
    return names


def _unpack(file: Path, folder: Path) -> list[str]:
    """Only what the manifest names, each with its digest; no path of an archive is ever believed."""
    try:
        with tarfile.open(file, "r:gz") as archive:
            first = archive.next()
            stream = archive.extractfile(first) if first is not None and first.name == _MANIFEST else None
            if stream is None:
                raise BadBackup(f"{file}: not a backup of a Phrom collector: it does not begin with {_MANIFEST}")
            manifest = msgspec.json.decode(stream.read(1024 * 1024), type=_Manifest)
            if manifest.format != FORMAT:
                raise BadBackup(f"{file}: found format {manifest.format}, expected {FORMAT}; use a newer release")
            found = [_take(archive, one, manifest, folder, file) for one in archive if one.name != _MANIFEST]
    except (tarfile.TarError, EOFError, OSError, msgspec.DecodeError) as error:
        raise BadBackup(f"{file}: cannot be read ({error}); the file is damaged or cut short") from error
    missing = manifest.files.keys() - set(found)
    if missing:
        raise BadBackup(f"{file}: lacks {', '.join(sorted(missing))}; the file is damaged or cut short")
    return found


def _take(archive: tarfile.TarFile, one: tarfile.TarInfo, manifest: _Manifest, folder: Path, file: Path) -> str:
    place, _, name = one.name.rpartition("/")
    known = one.name in manifest.files and place in ("", "tls", RESPONDERS, "inventory") and name not in ("", ".", "..")
    stream = archive.extractfile(one) if known and one.isreg() else None
    if stream is None:
        raise BadBackup(f"{file}: holds {one.name!r}, which no backup holds")
    target = folder / one.name
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET), "wb") as out:
        shutil.copyfileobj(stream, out)
        out.flush()
        os.fsync(out.fileno())
    if _digest(target) != manifest.files[one.name]:
        raise BadBackup(f"{file}: {one.name} is not as it was written: its SHA-256 differs; the file is damaged")
    return one.name

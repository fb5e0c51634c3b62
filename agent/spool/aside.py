"""Setting a damaged spool file aside, so that a new one can begin and the old one can still be looked at."""

import re
from pathlib import Path

MOST_ASIDE = 3
"""Damaged files kept; a dying card makes many, and the disk is needed for what is measured now."""
_NUMBERED = re.compile(r"\.damaged-(\d+)$")


def set_aside(path: Path) -> Path:
    """Renames the spool and its log to ``NAME.damaged-N`` and returns that name. Raises ``OSError``."""
    kept = sorted(
        (int(found[1]), one) for one in path.parent.iterdir() if (found := _NUMBERED.search(one.name)) is not None
    )
    number = kept[-1][0] + 1 if kept else 1
    for _, old in kept[: max(0, len(kept) - MOST_ASIDE + 1)]:
        _remove(old)
    new = path.with_name(f"{path.name}.damaged-{number}")
    path.rename(new)
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.rename(new.with_name(new.name + suffix))
    return new


def _remove(old: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        old.with_name(old.name + suffix).unlink(missing_ok=True)

"""A hint whether a spool still runs on the machine that made it: a cloned card carries the same files elsewhere."""

import hashlib
from pathlib import Path

HINTS = (
    "etc/machine-id",
    "sys/firmware/devicetree/base/serial-number",
    "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/board_serial",
)


def machine_hint(root: Path = Path("/")) -> str:
    """16 hex digits of a hash over what identifies this machine to this user; empty if nothing does. A clone that
    still looks the same is found by the collector, which sees two batches under one number."""
    found = []
    for hint in HINTS:
        try:
            found.append((root / hint).read_bytes().strip(b"\0\n "))
        except OSError:
            found.append(b"")
    if not any(found):
        return ""
    return hashlib.sha256(b"phrom spool\0" + b"\0".join(found)).hexdigest()[:16]

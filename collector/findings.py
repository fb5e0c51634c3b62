"""What a doctor's check found."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One check: what was looked at, whether it will do, and what was found and what to do."""

    what: str
    ok: bool
    words: str

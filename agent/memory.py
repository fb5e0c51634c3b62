"""Keeps the agent small: it runs for months on the cheapest box of a district (docs/decisions/004)."""

import sys
from functools import cache
from typing import Any

_M_ARENA_MAX = -8
"""Of <malloc.h> (mallopt(3))."""


def be_thrifty() -> None:
    """Call first, before logs and threads.

    glibc gives each thread a heap of its own, 5 MB with the agent's threads, which wait for disk and DNS and need
    none. structlog imports rich wherever it is installed, another 5 MB, for tracebacks that the agent prints plainly.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_ARENA_MAX, 1)
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how an import is forbidden


def give_back() -> None:
    """Returns what start-up freed to the system; takes some milliseconds."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _libc() -> Any:
    """glibc, or ``None`` where another C library runs us or none may be called."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
    except (ImportError, OSError):  # a Python without libffi: nothing but a few megabytes is lost
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None

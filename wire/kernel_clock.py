"""What the kernel says of its own clock: whether something keeps it right, and how far it may be off (adjtimex(2))."""

import ctypes
import os
from typing import NamedTuple

from wire.stamp import ErrorEstimate, error_estimate

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """The first fields of ``struct timex`` <linux/timex.h>; the rest, which only the kernel writes, is room."""

    _fields_ = (
        ("modes", ctypes.c_int),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


class ClockState(NamedTuple):
    """The kernel's word. Without a time daemon it is never ``synchronised``, however right the clock may be."""

    synchronised: bool
    error: int
    """Nanoseconds that it may be off UTC at most, as the time daemon states and the kernel lets grow by 500 ppm."""

    def estimate(self) -> ErrorEstimate:
        """As STAMP packets carry it."""
        return error_estimate(self.error, synchronised=self.synchronised)


UNKNOWN = ClockState(False, 16_000_000_000)
"""Where the kernel does not say: its own figure for a clock that nobody keeps."""


def clock_state() -> ClockState:
    """The state now; reads only, so it needs no right. :data:`UNKNOWN` where a sandbox forbids even that."""
    timex = _Timex()
    found = _adjtimex(ctypes.byref(timex))
    if found < 0:
        return UNKNOWN
    kept = found != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return ClockState(kept, max(0, timex.maxerror) * 1000)


def _adjtimex(timex: object) -> int:
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return -os.EX_OSERR
    return int(call(timex))

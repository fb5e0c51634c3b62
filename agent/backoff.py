"""How long to wait after a failure. Pure: the dice are passed in."""

import random
from email.utils import parsedate_to_datetime

FIRST = 1.0
"""Seconds before the second attempt, on average three quarters of it."""
CAP = 60.0
"""Longest wait in seconds while a collector is unreachable."""
LONGEST_ASKED = 600.0
"""Seconds beyond which a ``Retry-After`` is not believed."""


class Backoff:
    """Exponential with jitter: each wait lies between half of the step and the step, and the step doubles up to
    :data:`CAP`. The jitter keeps 900 agents from coming back in the same second when a collector returns."""

    def __init__(self, dice: random.Random | None = None) -> None:
        self._dice = dice or random.Random()  # noqa: S311 - spreading, not secrecy
        self._failures = 0

    def failed(self) -> float:
        """Seconds to wait after another failure."""
        step: float = min(CAP, FIRST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return step * self._dice.uniform(0.5, 1.0)

    def worked(self) -> None:
        """Begins anew."""
        self._failures = 0

    def spread(self, seconds: float) -> float:
        """``seconds`` and up to a quarter more."""
        return seconds * self._dice.uniform(1.0, 1.25)


def retry_after(value: str, date: str = "") -> float | None:
    """Seconds that a ``Retry-After`` asks for (RFC 9110 §10.2.3), at most :data:`LONGEST_ASKED`; ``None`` where it says
    nothing readable. A date counts from the answer's own ``Date``: this machine's clock is not trusted."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(LONGEST_ASKED, float(value[:6]))
    try:
        seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(LONGEST_ASKED, max(0.0, seconds))

"""The span of time that a request asks about. Pure."""

import datetime as dt
import re
from collections.abc import Mapping

from collector.localtime import BANGKOK
from collector.problems import Refused
from wire.clock import DAY, SECOND, Instant

USUAL = 30 * DAY
LONGEST = 400 * DAY
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)$")
EXPECTED = "expected a date and time by ISO 8601, such as 2026-11-21T02:00:00Z or 2026-11-21T09:00+07:00"


def span_of(query: Mapping[str, str], now: Instant) -> tuple[Instant, Instant]:
    """``from`` and ``to`` of a request; without them the last 30 days. Raises :class:`Refused` 400."""
    end = moment("to", query["to"]) if query.get("to") else now
    start = moment("from", query["from"]) if query.get("from") else end - USUAL
    if start >= end:
        raise Refused(400, "Empty span", "found a from that is not before to, expected an earlier one", field="from")
    if end - start > LONGEST:
        days = (end - start) / DAY
        raise Refused(
            400,
            "Span too long",
            f"found {days:.0f} days, expected at most {LONGEST // DAY}; ask in parts",
            field="from",
        )
    return start, end


def moment(name: str, text: str) -> Instant:
    """UTC of a date and time; one without an offset is Thailand's. Raises :class:`Refused` 400."""
    try:
        # a plus that was not escaped comes as a blank
        found = dt.datetime.fromisoformat(_LOST_PLUS.sub(r"+\1", text.strip()))
        aware = found if found.tzinfo is not None else found.replace(tzinfo=BANGKOK)
        seconds = aware.timestamp()
    except (ValueError, OverflowError):
        raise Refused(400, "Not a time", f"found {text[:60]!r}, {EXPECTED}", field=name) from None
    if not 0 <= seconds < 2**33:
        raise Refused(400, "Not a time", f"found {text[:60]!r}, {EXPECTED}", field=name)
    return round(seconds * SECOND)

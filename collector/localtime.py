"""Time as people in Thailand read it: Asia/Bangkok, Buddhist years, Thai month names.

Babel's ``th`` locale knows the names but not the Buddhist calendar, so the year is added here and nowhere else.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import get_day_names, get_month_names

from wire.clock import SECOND, Instant

BANGKOK = ZoneInfo("Asia/Bangkok")
BUDDHIST_ERA = 543
"""Buddhist era minus common era, for every date since 1941 (พระราชบัญญัติปีประดิทิน พุทธศักราช 2483)."""

_MONTHS = {language: dict(get_month_names("abbreviated", locale=language)) for language in ("th", "en")}
_DAYS = {language: dict(get_day_names("wide", locale=language)) for language in ("th", "en")}
"""Taken at import: Babel looks at its files each time, which would stop the event loop."""


def bangkok(instant: Instant) -> datetime:
    """The moment on the clocks of Thailand (UTC+7, no daylight saving)."""
    return datetime.fromtimestamp(instant / SECOND, BANGKOK)


def date_text(instant: Instant, language: str, *, weekday: bool = False) -> str:
    """``21 พ.ย. 2569``; in English ``21 Nov 2026``; with the weekday in front if asked."""
    moment = bangkok(instant)
    month = _MONTHS[language][moment.month]
    year = moment.year + (BUDDHIST_ERA if language == "th" else 0)
    text = f"{moment.day} {month} {year}"
    if not weekday:
        return text
    day = _DAYS[language][moment.weekday()]
    return f"{day}ที่ {text}" if language == "th" else f"{day} {text}"


def month_text(instant: Instant, language: str) -> str:
    """The month of a moment: ``พ.ย. 2569``; in English ``Nov 2026``."""
    return date_text(instant, language).partition(" ")[2]


def clock_text(instant: Instant, language: str, *, seconds: bool = False) -> str:
    """``09.41 น.``, the official Thai way of writing a time of day; in English ``09:41``.

    The space before น. does not break, so that no line begins with it.
    """
    moment = bangkok(instant)
    if language == "th":
        return moment.strftime("%H.%M.%S" if seconds else "%H.%M") + "\N{NO-BREAK SPACE}น."
    return moment.strftime("%H:%M:%S" if seconds else "%H:%M")


def since_text(instant: Instant, now: Instant, language: str) -> str:
    """A moment in the past: the time alone if it was today, else with its date."""
    time = clock_text(instant, language)
    if bangkok(instant).date() == bangkok(now).date():
        return time
    return f"{date_text(instant, language)} {time}"


def age_text(age: int, language: str) -> str:
    """How long ago, from an age in microseconds, in the largest unit that tells enough."""
    seconds = max(0, age) // SECOND
    for size, thai, english in ((86_400, "วัน", "d"), (3_600, "ชั่วโมง", "h"), (60, "นาที", "min")):
        if seconds >= size:
            return f"{seconds // size} {thai}ที่แล้ว" if language == "th" else f"{seconds // size} {english} ago"
    return f"{seconds} วินาทีที่แล้ว" if language == "th" else f"{seconds} s ago"

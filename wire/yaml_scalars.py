"""What the text of a scalar means once its declared type is known: numbers, times, durations, sizes.

YAML 1.1 would read ``0812345678`` as an octal number, ``13:00`` as 780 and ``no`` (Norway) as false. Here a scalar is
text until the type of its key converts it, so none of that can happen. Thai digits are digits.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

_THAI_DIGITS = str.maketrans("๐๑๒๓๔๕๖๗๘๙", "0123456789")
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})")
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([a-zA-Z]+)")
_DURATION_UNITS = {
    "ms": 0.001, "s": 1, "min": 60, "h": 3600,
    "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
_SIZE_UNITS = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_BUDDHIST_FROM = 2400
"""A year from here on can only be a Buddhist one (2400 BE is 1857)."""
_BUDDHIST_ERA = 543

Seconds = Annotated[float, Meta(extra={"as": "seconds"})]
"""A duration written ``5 s`` or ``10 min``, kept as a float of seconds."""
ByteSize = Annotated[int, Meta(extra={"as": "bytes"})]
"""A size written ``500 MB``, kept as a whole number of bytes."""


class NotThis(ValueError):
    """The text does not mean what its key declares; the message, if any, is a better ``expected``."""


class Scalar(NamedTuple):
    """How one type reads its text."""

    convert: Callable[[str], Any]
    """Raises :class:`NotThis`."""
    expected: str
    """In plain words, with its article."""
    example: str


def whole(text: str) -> int:
    """A decimal whole number, without leading zeros, separators or exponent."""
    text = text.translate(_THAI_DIGITS)
    if not _WHOLE.fullmatch(text):
        raise NotThis
    return int(text)


def number(text: str) -> float:
    """A decimal number, never an exponent, NaN or infinity."""
    text = text.translate(_THAI_DIGITS)
    if not _DECIMAL.fullmatch(text):
        raise NotThis
    return float(text)


def truth(text: str) -> bool:
    """``true``, ``yes``, ``false`` or ``no``; ``on`` and ``off`` are not among them."""
    try:
        return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
    except KeyError:
        raise NotThis from None


def date(text: str) -> dt.date:
    """ISO date of the common era. A Buddhist year is refused with the year that was probably meant: letters contain
    slips of both kinds, so a date is never corrected in silence."""
    found = _DATE.fullmatch(text.translate(_THAI_DIGITS))
    if not found:
        raise NotThis
    year, month, day = (int(one) for one in found.groups())
    if year >= _BUDDHIST_FROM:
        common = f"{year - _BUDDHIST_ERA:04}-{month:02}-{day:02}"
        raise NotThis(f"a date with the year of the common era; {year} is a Buddhist year, did you mean {common}?")
    if not 1900 <= year < 2200:
        raise NotThis("a date between 1900-01-01 and 2199-12-31, such as 2026-11-21")
    try:
        return dt.date(year, month, day)
    except ValueError:
        raise NotThis("a date that exists in the calendar, such as 2026-11-21") from None


def time(text: str) -> dt.time:
    """``HH:MM`` on the 24-hour clock."""
    found = _TIME.fullmatch(text.translate(_THAI_DIGITS))
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise NotThis
    return dt.time(int(found[1]), int(found[2]))


def moment(text: str) -> dt.datetime:
    """``YYYY-MM-DD HH:MM``, on the clock of the place that the settings are about (no zone)."""
    day, gap, clock = text.partition(" " if " " in text else "T")
    if not gap:
        raise NotThis
    on = date(day)
    return dt.datetime.combine(on, time(clock.strip()))


def duration(text: str) -> dt.timedelta:
    """``5 s``, ``10 min``, ``2 h``, ``1 h 30 min``, ``250 ms``, ``3 days``."""
    return dt.timedelta(seconds=seconds(text))


def seconds(text: str) -> float:
    """A duration as seconds; always with its unit, 0 to ten years."""
    text = text.translate(_THAI_DIGITS).strip()
    whole_length, position = 0.0, 0
    while part := _PART.match(text, position):
        if part[2] not in _DURATION_UNITS:
            raise NotThis
        whole_length += float(part[1]) * _DURATION_UNITS[part[2]]
        position = part.end() + (text[part.end() : part.end() + 1] == " ")
    if not text or position < len(text) or whole_length > 3650 * 86_400:
        raise NotThis
    return whole_length


def size(text: str) -> int:
    """``500 MB`` (powers of ten), ``64 MiB`` (powers of two), as bytes, up to an exabyte."""
    part = _PART.fullmatch(text.translate(_THAI_DIGITS).strip())
    if not part or part[2] not in _SIZE_UNITS:
        raise NotThis
    found = round(float(part[1]) * _SIZE_UNITS[part[2]])
    if found > 10**18:
        raise NotThis
    return found


def in_words(value: Any) -> str:
    """A value as a file would say it, for limits in messages and defaults in the reference."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.timedelta):
        if value < dt.timedelta(seconds=1):
            return f"{value / dt.timedelta(milliseconds=1):g} ms"
        units = (("h", dt.timedelta(hours=1)), ("min", dt.timedelta(minutes=1)), ("s", dt.timedelta(seconds=1)))
        return next(
            (f"{value // size} {unit}" for unit, size in units if not value % size), f"{value.total_seconds():g} s"
        )
    return f"{value:%H:%M}" if isinstance(value, dt.time) else str(value)


SCALARS: dict[Any, Scalar] = {
    str: Scalar(str, "a text", ""),
    int: Scalar(whole, "a whole number", ""),
    float: Scalar(number, "a number", ""),
    bool: Scalar(truth, "yes or no", ""),
    dt.date: Scalar(date, "a date", "2026-11-21"),
    dt.time: Scalar(time, "a time of day", "13:00"),
    dt.datetime: Scalar(moment, "a date and time", "2026-11-21 09:00"),
    dt.timedelta: Scalar(duration, "a duration", "10 min"),
    "seconds": Scalar(seconds, "a duration", "10 min"),
    "bytes": Scalar(size, "a size with its unit", "500 MB"),
}
"""Converters by declared type, or by the name in ``Meta(extra={"as": …})``. Others may add theirs."""

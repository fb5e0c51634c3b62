"""Times as people read them; the truth is the calendar of Thailand."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.localtime import BUDDHIST_ERA, age_text, bangkok, clock_text, date_text, since_text
from wire.clock import DAY, HOUR, MINUTE, SECOND


def at(year: int, month: int, day: int, hour: int, minute: int) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * SECOND


NINE = at(2026, 11, 21, 2, 0)
"""09:00 in Bangkok, Saturday 21 November 2569."""


def test_thai_dates_are_buddhist_and_abbreviated_as_in_letters():
    assert date_text(NINE, "th") == "21 พ.ย. 2569"
    assert date_text(NINE, "th", weekday=True) == "วันเสาร์ที่ 21 พ.ย. 2569"
    assert clock_text(NINE, "th") == "09.00\u00a0น."
    assert clock_text(NINE, "th", seconds=True) == "09.00.00\u00a0น."


def test_english_dates_are_of_the_common_era():
    assert date_text(NINE, "en") == "21 Nov 2026"
    assert date_text(NINE, "en", weekday=True) == "Saturday 21 Nov 2026"
    assert clock_text(NINE, "en") == "09:00"


def test_the_day_turns_at_seventeen_utc():
    assert date_text(at(2026, 12, 31, 16, 59), "th") == "31 ธ.ค. 2569"
    assert date_text(at(2026, 12, 31, 17, 0), "th") == "1 ม.ค. 2570"


def test_a_moment_of_another_day_carries_its_date():
    assert since_text(NINE - HOUR, NINE, "th") == "08.00\u00a0น."
    assert since_text(NINE - DAY, NINE, "th") == "20 พ.ย. 2569 09.00\u00a0น."


@pytest.mark.parametrize(
    ("age", "thai", "english"),
    [
        (-SECOND, "0 วินาทีที่แล้ว", "0 s ago"),
        (4 * SECOND, "4 วินาทีที่แล้ว", "4 s ago"),
        (MINUTE, "1 นาทีที่แล้ว", "1 min ago"),
        (3 * HOUR + 59 * MINUTE, "3 ชั่วโมงที่แล้ว", "3 h ago"),
        (2 * DAY, "2 วันที่แล้ว", "2 d ago"),
    ],
)
def test_ages_use_the_largest_unit_that_fits(age, thai, english):
    assert age_text(age, "th") == thai
    assert age_text(age, "en") == english


@given(st.integers(min_value=-(2**31), max_value=2**32))
def test_the_buddhist_year_is_543_ahead_of_the_common_one(seconds):
    moment = bangkok(seconds * SECOND)
    assert moment.utcoffset() is not None
    assert date_text(seconds * SECOND, "th").rpartition(" ")[2] == str(moment.year + BUDDHIST_ERA)

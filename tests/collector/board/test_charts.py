"""The chart: nothing short is averaged away, a gap stays a gap, and it is well-formed XML."""

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from collector.board.charts import LEFT, POINTS, RIGHT, WIDTH, Point, buckets, chart, scale_top
from wire.clock import DAY, HOUR, MINUTE
from wire.reasons import Outcome

START = 1_763_690_000_000_000
SVG = "{http://www.w3.org/2000/svg}"


def points(*, fail_at: int | None = None, hole: range = range(0)) -> list[Point]:
    made = []
    for minute in range(1, 24 * 60 + 1):
        if minute in hole:
            continue
        failed = minute == fail_at
        made.append(
            Point(
                START + minute * MINUTE,
                Outcome.FAILED if failed else Outcome.OK,
                None if failed else 20.0 + minute % 7,
                None if failed else 31.0,
            )
        )
    return made


def drawn(some: list[Point]) -> ET.Element:
    return ET.fromstring(chart(some, START, "RTT <gateway> & co", "ms", lambda _: "09"))


def test_one_failed_minute_of_a_day_is_seen():
    svg = drawn(points(fail_at=700))
    failed = [one for one in svg.iter(f"{SVG}rect") if one.get("class") == "failed"]
    assert len(failed) == 1
    place = LEFT + (700 / 1440) * (WIDTH - LEFT - RIGHT)
    assert abs(float(failed[0].get("x", "0")) - place) < 3
    assert [one.get("class") for one in svg.iter(f"{SVG}path")].count("mark") == 1, "colour is not the only sign"


def test_a_hole_in_the_data_breaks_the_line_and_leaves_the_strip_empty():
    svg = drawn(points(hole=range(300, 420)))
    assert [one.get("class") for one in svg.iter(f"{SVG}path")].count("line") == 2
    strips = [one for one in svg.iter(f"{SVG}rect") if one.get("class") == "ok"]
    assert len(strips) == 2
    covered = sum(float(one.get("width", "0")) for one in strips)
    assert abs(covered / (WIDTH - LEFT - RIGHT) - 22 / 24) < 0.01


def test_without_any_data_there_are_the_hours_and_nothing_else():
    svg = drawn([])
    assert not list(svg.iter(f"{SVG}rect"))
    assert not list(svg.iter(f"{SVG}path"))
    assert {one.text for one in svg.iter(f"{SVG}text")} == {"09"}, "no scale where there is nothing to read on it"


def test_the_worst_outcome_of_a_step_wins_and_highs_are_not_averaged():
    some = [Point(START + 1, Outcome.OK, 1.0, 9.0), Point(START + 2, Outcome.FAILED, None, None)]
    first = buckets(some, START, START + DAY)[0]
    assert first == (Outcome.FAILED, 1.0, 9.0)


def test_what_lies_outside_the_day_is_not_drawn():
    some = [Point(START - HOUR, Outcome.FAILED, None, None), Point(START + DAY + 1, Outcome.FAILED, None, None)]
    assert all(one.outcome is None for one in buckets(some, START, START + DAY))


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=DAY + HOUR),
            st.sampled_from(Outcome),
            st.none() | st.floats(min_value=0, max_value=1e7),
        ),
        max_size=60,
    )
)
def test_any_data_make_well_formed_xml_within_the_frame(found):
    svg = drawn([Point(START + offset, outcome, value, value) for offset, outcome, value in found])
    for one in svg.iter(f"{SVG}rect"):
        assert LEFT - 0.1 <= float(one.get("x", "0")) <= WIDTH - RIGHT
    assert len(buckets([], START, START + DAY)) == POINTS


@given(st.floats(min_value=1e-3, max_value=1e9))
def test_the_scale_holds_the_highest_value_and_is_round(highest):
    top = scale_top(highest)
    assert highest * 0.999 <= top <= highest * 10.01
    digits = f"{top:e}"[0]
    assert digits in "125"

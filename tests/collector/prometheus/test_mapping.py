"""Windows become series: the table, staleness, states, and that hours joined are as one."""

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.prometheus.lines import hour_lines, seconds_at, series_of, stitched, stretch
from collector.prometheus.mapping import (
    FAMILIES,
    OUTCOMES,
    STALE,
    cadence,
    is_stale,
    reference,
    silence_of,
    states_at,
    with_stale_markers,
)
from collector.prometheus.protocol import pack_samples
from collector.store.chart import Columns, append_rows
from collector.store.packing import Piece, Row, pack
from collector.store.rollups import roll_up
from tests.support.store import window
from wire.clock import HOUR, MINUTE
from wire.histogram import Histogram
from wire.measures import MEASURES, Shape
from wire.observation import Window
from wire.reasons import Outcome, Reason

FAILED: dict[str, Any] = {
    "outcome": Outcome.FAILED,
    "reason": Reason.NO_REPLY,
    "counts": {"sent": 60, "lost": 60},
    "values": {},
}


def shown(times: list[int], values: list[float]) -> list[tuple[int, float | str]]:
    return [(time, "stale" if is_stale(value) else value) for time, value in zip(times, values, strict=True)]


def rows(windows: list[Window]) -> list[Row]:
    return [Row(1, one.end, 0, one.end, 1, number, one) for number, one in enumerate(windows, 1)]


def packed(windows: list[Window]) -> Piece:
    return Piece(pack(rows(windows)))


def test_every_measure_has_its_families() -> None:
    for measure in MEASURES.values():
        assert measure.metric in FAMILIES
        assert f"{measure.metric}:1h" in FAMILIES
        if measure.shape is Shape.DURATION:
            assert FAMILIES[measure.metric].label == "quantile"
            assert f"phrom_{measure.name}_mean_seconds" in FAMILIES


def test_no_two_measures_share_a_name() -> None:
    names = [measure.metric for measure in MEASURES.values()]
    names += [f"phrom_{one.name}_mean_seconds" for one in MEASURES.values() if one.shape is Shape.DURATION]
    assert len(names) == len(set(names))


def test_reference_page_is_as_generated() -> None:
    page = Path(__file__).parents[3] / "docs/reference/metrics.md"
    assert page.read_text(encoding="utf-8") == reference(), "run make docs"


def test_stale_where_a_target_fails_and_again_a_value_where_it_returns() -> None:
    times, values, alive = with_stale_markers([0, 60, 120, 180], [1.0, None, None, 4.0], 0)
    assert shown(times, values) == [(0, 1.0), (60, "stale"), (180, 4.0)]
    assert alive


def test_stale_three_cadences_after_the_last_window() -> None:
    times = [0, 60_000, 120_000, 600_000]
    assert silence_of(times) == 180_000
    found = with_stale_markers(times, [1.0, 2.0, 3.0, 4.0], silence_of(times))
    assert shown(*found[:2]) == [(0, 1.0), (60_000, 2.0), (120_000, 3.0), (300_000, "stale"), (600_000, 4.0)]


def test_slow_series_need_no_marker() -> None:
    times = [0, 3_600_000, 7_200_000]
    assert cadence(times) == 3_600_000
    assert silence_of(times) == 0
    assert len(with_stale_markers(times, [1.0, 2.0, 3.0], 0)[0]) == 3


def test_series_that_ended_is_marked_only_when_silence_is_known() -> None:
    one = stretch([0, 60_000, 120_000], {"": [1.0, 2.0, 3.0]})
    assert stitched([one], now=299_999)[0].number == 3
    assert stitched([one], now=300_000)[0].samples == pack_samples(
        [0, 60_000, 120_000, 300_000], [1.0, 2.0, 3.0, STALE]
    )


def test_series_that_the_next_hour_lacks_is_marked_where_that_hour_begins() -> None:
    first = stretch([0, 60_000], {"up": [1.0, 1.0]})
    second = stretch([120_000, 180_000], {"down": [1.0, 1.0]})
    lines = {line.label_value: line.samples for line in stitched([first, second], now=0)}
    assert lines["up"] == pack_samples([0, 60_000, 120_000], [1.0, 1.0, STALE])
    assert lines["down"] == pack_samples([120_000, 180_000], [1.0, 1.0])


@given(st.lists(st.tuples(st.integers(1, 500), st.none() | st.floats(0, 10)), min_size=3, max_size=60), st.data())
def test_hours_joined_are_as_one(steps: list[tuple[int, float | None]], data: st.DataObject) -> None:
    times, at = [], 0
    for step, _ in steps:
        at += step * 1000
        times.append(at)
    values = [value for _, value in steps]
    cut = data.draw(st.integers(1, len(steps) - 1))
    silence = 180_000
    whole = with_stale_markers(times, values, silence)
    parts = [
        stretch(times[:cut], {"": values[:cut]})._replace(silence=silence),
        stretch(times[cut:], {"": values[cut:]})._replace(silence=silence),
    ]
    for place, some in ((0, slice(None, cut)), (1, slice(cut, None))):
        found = with_stale_markers(times[some], values[some], silence)
        runs = {
            label: run._replace(samples=pack_samples(*found[:2]), number=len(found[0]))
            for label, run in parts[place].runs.items()
        }
        parts[place] = parts[place]._replace(runs=runs)
    lines = stitched(parts, now=0)
    assert (lines[0].samples if lines else b"") == pack_samples(*whole[:2])


def test_failed_window_has_outcome_and_counts_but_no_time() -> None:
    piece = packed([window(HOUR), window(HOUR + MINUTE, durations={"rtt": Histogram(lost=60)}, **FAILED)])
    assert series_of(FAMILIES["phrom_lost_packets"], piece) == {"": [0, 60]}
    assert series_of(FAMILIES["phrom_outcome"], piece, frozenset({"failed"})) == {"failed": [0.0, 1.0]}
    rtt = series_of(FAMILIES["phrom_rtt_seconds"], piece)
    assert rtt["0.5"] == [pytest.approx(0.021, rel=0.003), None]
    assert series_of(FAMILIES["phrom_rtt_mean_seconds"], piece)[""][1] is None


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.ERROR])
def test_window_that_did_not_measure_has_its_outcome_alone(outcome: Outcome) -> None:
    piece = packed([window(HOUR, outcome=outcome, counts={}, values={}, durations={})])
    for family in FAMILIES.values():
        found = series_of(family, piece) if not family.hourly else {}
        assert bool(found) == (family.metric == "phrom_outcome"), family.metric
    assert series_of(FAMILIES["phrom_outcome"], piece) == {one.value: [float(one is outcome)] for one in OUTCOMES}


def test_quantile_among_the_lost_is_infinite() -> None:
    some_lost = Histogram.of([1_000_000] * 9, lost=1)
    assert seconds_at(some_lost, 0.5) == 0.001
    assert seconds_at(some_lost, 0.95) == math.inf


def test_packed_hour_and_columns_say_the_same() -> None:
    windows = [window(HOUR + minute * MINUTE) for minute in range(5)]
    columns = Columns()
    append_rows(columns, rows(windows))
    piece = packed(windows)
    for metric in ("phrom_outcome", "phrom_sent_packets", "phrom_jitter_seconds", "phrom_rtt_seconds"):
        assert series_of(FAMILIES[metric], piece) == series_of(FAMILIES[metric], columns)


def test_hour_has_merged_quantiles_sums_means_and_shares() -> None:
    windows = [
        window(MINUTE, durations={"rtt": Histogram.of([10_000_000])}),
        window(2 * MINUTE, **(FAILED | {"durations": {}})),
    ]
    hour = [roll_up(0, ((one, 0) for one in windows))]

    def only(metric: str) -> dict[str, bytes]:
        return {line.label_value: line.samples for line in hour_lines(FAMILIES[metric], hour)}

    at = HOUR // 1000
    assert only("phrom_lost_packets:1h") == {"": pack_samples([at], [60])}
    assert only("phrom_rtt_seconds:1h")["0.95"] == pack_samples([at], [0.01])
    assert only("phrom_outcome:1h")["ok"] == pack_samples([at], [0.5])
    assert only("phrom_jitter_seconds:1h") == {"": pack_samples([at], [0.000123])}


def test_states_hold_from_a_change_on_and_say_nothing_while_nobody_watched() -> None:
    changes = [(90, "down")]
    times, series = states_at([60, 120, 180], [{"up": 60.0}, {"up": 30.0, "down": 30.0}, None], changes)
    assert times == [60, 90, 120, 180]
    assert series == {"up": [1.0, 0.0, 0.0, None], "down": [0.0, 1.0, 1.0, None]}


def test_a_window_that_held_nothing_of_the_last_change_tells_that_a_later_one_was_lost() -> None:
    minutes = [60_000, 120_000, 180_000, 240_000]
    spent = [{"up": 60.0}, {"up": 60.0}, {"link": 60.0}, {"link": 30.0, "up": 30.0}]
    _, series = states_at(minutes, spent, [(30_000, "up")])
    assert series["link"] == [0.0, 0.0, 0.0, 1.0, 1.0]  # at the change, then at each window's end
    assert series["up"] == [1.0, 1.0, 1.0, 0.0, 0.0]
    _, series = states_at([60_000], [{"up": 60.0}], [(1_000, "up"), (59_000, "link")])
    assert series["link"] == [0.0, 1.0, 1.0], "a change is known three seconds after it began"


@pytest.mark.tool("promtool")
def test_promtool_accepts_every_name() -> None:
    """But for bits: a line is bought, sold and argued about in bits per second."""
    lines = []
    for family in FAMILIES.values():
        if not family.hourly:  # a colon marks what is derived, as roll-ups are; the linter wants none of it scraped
            label = f'{{{family.label}="1"}}' if family.label else ""
            kind = "summary" if family.label == "quantile" else "gauge"
            lines += [f"# HELP {family.metric} {family.help}", f"# TYPE {family.metric} {kind}"]
            lines.append(f"{family.metric}{label} 1")
    text = "\n".join(lines) + "\n"
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    complaints = [line for line in done.stderr.splitlines() if 'instead of "bits"' not in line]
    assert not complaints
    in_bits = [one for one in FAMILIES.values() if one.unit == "bits_per_second" and not one.hourly]
    assert len(done.stderr.splitlines()) == len(in_bits)

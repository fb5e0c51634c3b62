"""How ``once`` writes what it found."""

import pytest

from agent.once import lines, quantity
from wire.histogram import Histogram
from wire.observation import Window
from wire.reasons import Outcome, Reason


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"),
        (0.0, "s", "0 ms"),
        (0.000118, "s", "118 µs"),
        (-0.00514, "s", "-5.14 ms"),
        (2.5, "s", "2.5 s"),
        (-3600.0, "s", "-3600 s"),
        (90 * 86_400.0, "s", "90 days"),
        (1_000_000_000, "bit/s", "1 Gbit/s"),
        (1_860, "B", "1.86 kB"),
        (12, "B", "12 B"),
        (0.42, "", "0.42"),
        (60, "", "60"),
        (61.3, "°C", "61.3 °C"),
    ],
)
def test_quantities(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_a_line_says_what_whether_and_how_much() -> None:
    window = Window(
        boot="b",
        start=0,
        end=1,
        wall_start=0,
        wall_end=1,
        probe="icmp",
        target="gateway",
        outcome=Outcome.FAILED,
        reason=Reason.NO_REPLY,
        counts={"sent": 5, "lost": 5},
        durations={"rtt": Histogram(lost=5)},
        facts={"detail": "nothing came back"},
    )
    assert lines([window]) == [("icmp:gateway", "failed: no_reply", "sent 5, lost 5, detail: nothing came back")]
    answered = Window(
        boot="b",
        start=0,
        end=1,
        wall_start=0,
        wall_end=1,
        probe="tcp",
        target="a",
        outcome=Outcome.OK,
        durations={"connect": Histogram.of([2_000_000]), "rtt": Histogram.of([1_000_000, 2_000_000, 9_000_000])},
    )
    assert lines([answered]) == [("tcp:a", "ok", "connect 2 ms, rtt 2 ms (at most 9 ms)")]


def test_a_watcher_s_line_says_which_states_and_for_how_long() -> None:
    window = Window(
        boot="b",
        start=0,
        end=1,
        wall_start=0,
        wall_end=1,
        probe="link",
        target="link",
        outcome=Outcome.OK,
        counts={"attempts": 7},
        states={"up": 5.0, "link": 2.0},
        facts={"silent": "edge 2"},
    )
    assert lines([window]) == [("link:link", "ok", "attempts 7, up for 5 s, link for 2 s, silent: edge 2")]

"""The comparison of bench/outages: what is found, missed, invented, late, of the wrong domain, or claimed unseen."""

import pytest

from bench.outage_plan import Kind
from bench.outage_score import (
    STARTING,
    Broken,
    Off,
    Score,
    Stretch,
    Told,
    parts_of,
    poll,
    quantile,
    score,
    table,
    verdicts,
)

SPAN = (0.0, 1000.0)
CUT = Broken("a", Kind.ACCESS, 100.0, 160.0)


def told(start: float, end: float, domain: str = "link", site: str = "a") -> Told:
    return Told(site, start, end, domain, domain, True)


def history(*stretches: tuple[float, float, str], site: str = "a") -> list[Stretch]:
    return [Stretch(site, *one) for one in stretches]


GOOD = history((0, 100.4, "up"), (100.4, 160.3, "down"), (160.3, 1000, "up"))


def compared(*what: Told, broken: tuple[Broken, ...] = (CUT,), off: tuple[Off, ...] = ()) -> Score:
    return score(broken, off, what, GOOD, SPAN)


def wrong(found: Score) -> list[str]:
    """The claims that do not hold, by their first words."""
    return [words.partition(":")[0] for words, good in verdicts(found) if not good]


def test_what_is_as_it_was_holds() -> None:
    found = compared(told(100.4, 160.3))
    assert wrong(found) == []
    assert found.found[0].start_error == pytest.approx(0.4)
    assert found.found[0].end_error == pytest.approx(0.3)
    assert found.blind == 0
    assert "| access | 1 | 1 | 1 | 0 | 0.40 / 0.40 | 0.30 / 0.30 | 1 of 1 |" in table(found, [CUT], {Kind.ACCESS: 1})


@pytest.mark.parametrize(
    ("said", "claim"),
    [
        ([], "every outage of 5 s or more found while an agent ran"),
        ([told(100, 160)._replace(counted=False)], "every outage of 5 s or more found while an agent ran"),
        ([told(103, 160)], "start within 2 s"),
        ([told(97.9, 160)], "start within 2 s"),
        ([told(100, 157)], "end within 2 s"),
        ([told(100, 160), told(300, 301)], "none invented"),
        ([told(100, 160), told(100, 160, site="b")], "none invented"),
        ([told(100, 160, "provider")], "domain right in at least 95 %"),
    ],
)
def test_what_is_not_is_told(said: list[Told], claim: str) -> None:
    assert claim in wrong(compared(*said))


def test_an_outage_in_pieces_is_judged_by_its_longest() -> None:
    found = compared(told(100, 105, "provider"), told(105, 160))
    assert wrong(found) == []
    assert wrong(compared(told(100, 140, "provider"), told(140, 160))) == ["domain right in at least 95 %"]


def test_short_ones_need_not_be_found_but_are_not_invented() -> None:
    brief = Broken("a", Kind.ACCESS, 300, 304.9)
    assert wrong(compared(told(100, 160), broken=(CUT, brief))) == []
    assert wrong(compared(told(100, 160), told(300, 304), broken=(CUT, brief))) == []


def test_an_outage_is_cut_by_the_times_without_an_agent() -> None:
    """What the agent's own end and start make of it has no edge to be compared."""
    before, after = parts_of([CUT], [Off("a", 110, 120), Off("b", 100, 160)])
    assert (before.start, before.end, before.whole_start, before.whole_end) == (100, 110, True, False)
    assert (after.start, after.end, after.whole_start, after.whole_end) == (120 + STARTING, 160, False, True)
    assert parts_of([CUT], [Off("a", 90, 170)]) == []
    assert parts_of([CUT], [Off("a", 104, 170)]) == []


def test_one_of_hardly_five_seconds_need_not_count_but_be_listed() -> None:
    claim = "every outage of 5 s or more found while an agent ran"
    brief = Broken("a", Kind.ACCESS, 300, 305.9)
    listed = told(301, 305.9)._replace(counted=False)
    assert claim not in wrong(compared(told(100, 160), listed, broken=(CUT, brief)))
    assert claim in wrong(compared(told(100, 160), broken=(CUT, brief)))


def test_a_part_whose_end_the_agents_own_end_made_need_not_count() -> None:
    brief = told(100, 103)._replace(counted=False)
    off = (Off("a", 120, 190),)
    found = score([CUT], off, [brief], history((0, 100, "up"), (100, 103, "down"), (103, 200, "unmeasured")), SPAN)
    assert wrong(found) == []


def test_a_time_without_an_agent_must_not_be_claimed() -> None:
    off = (Off("a", 500, 520),)
    assert wrong(compared(told(100, 160), off=off)) == ["times without an agent shown as unmeasured"]
    seen = history((0, 100, "up"), (100, 160, "down"), (160, 499, "up"), (499, 526, "unmeasured"), (526, 1000, "up"))
    found = score([CUT], off, [told(100, 160)], seen, SPAN)
    assert wrong(found) == []
    assert found.blind == pytest.approx(1 / (1000 - 28))


def test_an_outage_must_not_look_like_time_that_was_up() -> None:
    found = score([CUT], (), [told(100, 160)], history((0, 1000, "up")), SPAN)
    assert wrong(found) == ["no time shown as up that was not"]
    assert found.wrongly_up == 56


def test_what_polling_would_have_found() -> None:
    """Once a minute finds what lasts a minute, a fifth of what lasts a fifth, and nothing inside an office."""
    long, office = Broken("a", Kind.EDGE, 100, 300), Broken("a", Kind.LAN, 400, 600)
    brief = [Broken(f"s{number}", Kind.ACCESS, 100, 112) for number in range(500)]
    found = poll([long, office, *brief], 60.0)
    assert found.wanted == 502
    assert 1 + 60 <= found.found <= 1 + 140
    assert max(found.start_errors) <= 60
    assert poll([long], 20.0).found == 1
    assert poll([office], 20.0).found == 0


def test_quantiles_are_of_sizes() -> None:
    assert quantile([None, -3.0, 1.0, 2.0], 1.0) == 3.0
    assert quantile([], 0.95) is None
    assert quantile([float(n) for n in range(1, 101)], 0.95) == 95.0

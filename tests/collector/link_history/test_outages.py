"""Which times down are outages, which of them count, and whose fault they were."""

import pytest

from collector.link_history.derive import derive
from collector.link_history.domains import RULE, Judged, judge
from collector.link_history.outages import Outage, outages
from collector.link_history.shapes import Interval, Kind, Rules, State, Why
from tests.support.store import EPOCH
from tests.support.watching import Box, Script, records
from wire.clock import HOUR, SECOND


def history(*parts: tuple[float, str]) -> list[Interval]:
    """Intervals one after the other: (seconds, state or why)."""
    found: list[Interval] = []
    at = EPOCH
    for seconds, word in parts:
        end = at + round(seconds * SECOND)
        if word == "silent":
            found.append(Interval(at, end, silent=True))
        elif word in State.__members__.values():
            found.append(Interval(at, end, State(word)))
        else:
            found.append(Interval(at, end, why=Why(word)))
        at = end
    return found


def counts(*parts: tuple[float, str]) -> list[tuple[float, bool, bool]]:
    """Of each outage its seconds, whether it counts, and whether it joins the one before."""
    return [(one.seconds, one.counted, one.joins) for one in outages(history(*parts), Rules())]


def test_an_outage_counts_from_five_seconds() -> None:
    assert counts((60, "up"), (5, "link"), (60, "up")) == [(5, True, False)]
    assert counts((60, "up"), (4.4, "link"), (60, "up")) == [(4.4, False, False)]


def test_five_looks_count_as_five_seconds_however_the_timer_lay() -> None:
    assert counts((60, "up"), (4.9995, "link"), (60, "up")) == [(4.9995, True, False)]
    assert counts((60, "up"), (4.5, "link"), (60, "up")) == [(4.5, True, False)]
    assert counts((60, "up"), (4.499999, "link"), (60, "up")) == [(4.499999, False, False)]


def test_a_gap_below_ten_seconds_joins_two_for_the_count_and_never_for_down_time() -> None:
    assert counts((20, "link"), (9.999999, "up"), (30, "link")) == [(20, True, False), (30, False, True)]
    assert counts((20, "link"), (10, "up"), (30, "link")) == [(20, True, False), (30, True, False)]


def test_flaps_that_are_short_each_count_once_together() -> None:
    assert counts((3, "link"), (5, "up"), (3, "link"), (50, "up")) == [(3, True, False), (3, False, True)]
    assert counts((2, "link"), (5, "up"), (2, "link"), (50, "up")) == [(2, False, False), (2, False, True)]


def test_what_nobody_measured_within_joins_too() -> None:
    assert counts((20, "link"), (5, "agent_crashed"), (20, "link")) == [(20, True, False), (20, False, True)]


def test_a_fault_of_the_sites_own_is_another_outage_than_one_beyond() -> None:
    assert counts((20, "lan"), (20, "link"), (60, "up")) == [(20, True, False), (20, True, False)]
    assert [one.state for one in outages(history((20, "lan"), (20, "link")), Rules())] == [State.LAN, State.LINK]


def test_its_state_is_that_of_most_of_its_time() -> None:
    (one,) = outages(history((6, "link"), (20, "provider"), (6, "link_or_provider")), Rules())
    assert (one.state, one.seconds) == (State.PROVIDER, 32)
    (one,) = outages(history((6, "link_or_provider"), (6, "link")), Rules())
    assert one.state is State.LINK_OR_PROVIDER


@pytest.mark.parametrize(
    ("after", "kind"),
    [((9, "up"), Kind.UP), ((9, "silent"), Kind.SILENT), ((9, "power_lost"), Kind.UNMEASURED), (None, None)],
)
def test_how_it_ended_is_told(after: tuple[float, str] | None, kind: Kind | None) -> None:
    parts = [(9.0, "up"), (9.0, "link"), *([after] if after else [])]
    (one,) = outages(history(*parts), Rules())
    assert (one.before, one.after) == (Kind.UP, kind)


def test_the_rules_are_those_of_the_inventory() -> None:
    found = outages(history((8, "link"), (15, "up"), (8, "link")), Rules(10 * SECOND, 20 * SECOND))
    assert [(one.counted, one.joins) for one in found] == [(True, False), (False, True)]


def test_200_flaps_in_an_hour() -> None:
    """Eighteen seconds each: six down, twelve up; all are counted, and down time is what it was."""
    script: Script = [step for place in range(200) for step in ((place * 18.0, "up"), (place * 18.0 + 12, "link"))]
    box = Box()
    box.run(0, 3600, script)
    found = outages(derive(records([box]), EPOCH, EPOCH + HOUR, EPOCH + HOUR), Rules())
    assert len(found) == 200
    assert sum(one.counted for one in found) == 200
    assert sum(one.seconds for one in found) == pytest.approx(1200)


UP, DOWN, LATER, OWN = "up", "down", "later", "own"


def other(kind: str, at: float = 100) -> list[Interval]:
    """Another link's history around second 100."""
    return {
        UP: history((300, "up")),
        DOWN: history((at, "up"), (100, "link"), (100, "up")),
        LATER: history((130, "up"), (100, "link"), (100, "up")),
        OWN: history((100, "up"), (100, "lan"), (100, "up")),
        "long down": history((20, "up"), (200, "link"), (100, "up")),
        "silent": history((50, "up"), (300, "silent")),
        "seen farther": history((20, "up"), (80, "link"), (100, "provider"), (100, "up")),
        "found down": history((100, "agent_crashed"), (100, "link"), (100, "up")),
    }[kind]


TABLE: list[tuple[str, list[str], str, str]] = [
    # the agent's word; the provider's other links; the collector's word; why
    ("link", [], "link", "as_the_agent_says"),
    ("link", [UP, UP, UP], "link", "as_the_agent_says"),
    ("link", [DOWN], "link", "as_the_agent_says"),
    ("link", [DOWN, DOWN], "provider", "fell_together"),
    ("link", [DOWN, DOWN, UP, UP], "provider", "fell_together"),
    ("link", [DOWN, DOWN, UP, UP, UP], "link", "as_the_agent_says"),
    ("link", [DOWN, DOWN, UP, UP, "silent"], "provider", "fell_together"),
    ("link", [LATER, LATER, LATER], "link", "as_the_agent_says"),
    ("link", ["long down", "long down", "long down"], "link", "as_the_agent_says"),
    ("link", [OWN, OWN, OWN], "link", "as_the_agent_says"),
    ("link", ["seen farther", "seen farther"], "link", "as_the_agent_says"),
    ("link", ["found down", "found down", "found down"], "link", "as_the_agent_says"),
    ("link_or_provider", [], "link_or_provider", "as_the_agent_says"),
    ("link_or_provider", [UP], "link", "others_were_up"),
    ("link_or_provider", ["silent"], "link_or_provider", "as_the_agent_says"),
    ("link_or_provider", [DOWN, UP], "link_or_provider", "as_the_agent_says"),
    ("link_or_provider", [DOWN, DOWN], "provider", "fell_together"),
    ("link_or_provider", ["long down", "long down"], "link_or_provider", "as_the_agent_says"),  # neither was up
    ("link_or_provider", ["found down", "found down", UP], "link_or_provider", "as_the_agent_says"),
    ("link_or_provider", ["long down", UP, UP], "link", "others_were_up"),
    ("provider", [UP, UP], "provider", "as_the_agent_says"),
    ("provider", [DOWN, DOWN], "provider", "fell_together"),
    ("lan", [DOWN, DOWN, DOWN], "lan", "own_network"),
    ("lan", [UP], "lan", "own_network"),
]


@pytest.mark.parametrize(("said", "others", "domain", "reason"), TABLE)
def test_the_table_of_rule_1(said: str, others: list[str], domain: str, reason: str) -> None:
    one = Outage((Interval(EPOCH + 100 * SECOND, EPOCH + 200 * SECOND, State(said)),), Kind.UP, Kind.UP)
    found = judge(one, {str(number): other(kind) for number, kind in enumerate(others)})
    assert (found.domain, found.reason, found.rule) == (State(domain), reason, RULE)


def test_only_those_that_were_up_are_called_so() -> None:
    one = Outage((Interval(EPOCH + 100 * SECOND, EPOCH + 200 * SECOND, State.LINK_OR_PROVIDER),), Kind.UP, Kind.UP)
    three = {"a": other(UP), "b": other(UP), "c": other("long down")}
    assert judge(one, three) == Judged(State.LINK, RULE, "others_were_up", 0, 2)


def test_a_beginning_that_nobody_saw_is_compared_with_those_who_fell_together_before() -> None:
    """The agent started in the middle of an outage: the others fell long before it could see its own."""
    parts = (Interval(EPOCH + 100 * SECOND, EPOCH + 200 * SECOND, State.LINK),)
    one = Outage(parts, Kind.UNMEASURED, Kind.UP)
    down, fresh, found_down = other("long down"), other(DOWN, 101), other("found down")
    assert judge(one, {"a": down, "b": down}) == Judged(State.PROVIDER, RULE, "fell_together", 2, 2)
    assert judge(one, {"a": fresh, "b": fresh}).reason == "as_the_agent_says"
    assert judge(one, {"a": found_down, "b": found_down}).reason == "as_the_agent_says"
    assert judge(one, {"a": down, "b": down, "c": other(UP), "d": other(UP), "e": other(UP)}).domain is State.LINK
    apart = history((40, "up"), (5, "link"), (100, "provider"), (60, "up"))
    assert judge(one, {"a": down, "b": apart}).reason == "as_the_agent_says", "they did not fall with each other"
    again = history((18, "up"), (5, "link"), (100, "provider"), (60, "up"))
    assert judge(one, {"a": down, "b": again}).together == 2
    over = history((20, "up"), (30, "link"), (100, "up"))
    assert judge(one, {"a": down, "b": over}).together == 1


def test_together_means_within_ten_seconds_and_both_errors() -> None:
    one = Outage((Interval(EPOCH + 100 * SECOND, EPOCH + 200 * SECOND, State.LINK),), Kind.UP, Kind.UP)
    near = {"a": other(DOWN, 110), "b": other(DOWN, 90)}
    assert judge(one, near).reason == "fell_together"
    apart = {"a": other(DOWN, 110.1), "b": other(DOWN, 89.9)}
    assert judge(one, apart).reason == "as_the_agent_says"
    vague = {name: [part._replace(error=SECOND) for part in parts] for name, parts in apart.items()}
    assert judge(one, vague) == Judged(State.PROVIDER, RULE, "fell_together", 2, 2)

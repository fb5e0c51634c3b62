"""The hour of bench/outages: what it holds, and that faults of one site never meet."""

from itertools import combinations

import pytest

from bench.outage_plan import APART, LONGEST, SHARES, Kind, counts, plan

EDGES = {f"site{number}": number // 5 for number in range(21)}


def test_a_hundred_are_a_hundred() -> None:
    assert counts(100) == dict(SHARES)
    assert sum(counts(37).values()) == 37
    assert min(counts(12).values()) == 1
    with pytest.raises(ValueError, match=r"^cuts: found 8, expected at least 9, one of each kind$"):
        counts(8)


def test_the_hour_is_full_and_its_faults_are_apart() -> None:
    cuts = plan(EDGES, 100, 53 * 60, seed=1)
    assert len(cuts) == 100
    assert cuts == sorted(cuts, key=lambda one: one.at)
    assert cuts == plan(EDGES, 100, 53 * 60, seed=1)
    assert cuts != plan(EDGES, 100, 53 * 60, seed=2)
    access = [one.length for one in cuts if one.kind is Kind.ACCESS]
    assert min(access) == pytest.approx(1.0)
    assert max(access) == pytest.approx(LONGEST)
    assert all(one.at >= 0 and one.at + one.length <= 53 * 60 for one in cuts)
    for left, right in combinations([one for one in cuts if one.kind is not Kind.COLLECTOR], 2):
        if set(left.sites) & set(right.sites):
            assert left.at + left.length + APART < right.at, (left, right)
    assert len({one.site for one in cuts}) > 15, "spread over the districts"


def test_who_feels_a_cut() -> None:
    found = {one.kind: one for one in plan(EDGES, 100, 53 * 60, seed=3)}
    assert found[Kind.CORE].sites == tuple(EDGES)
    edge = found[Kind.EDGE]
    assert edge.sites == tuple(site for site, number in EDGES.items() if number == EDGES[edge.site])
    assert found[Kind.LAN].sites == (found[Kind.LAN].site,)
    assert found[Kind.COLLECTOR].site == ""


def test_too_little_room_is_said() -> None:
    with pytest.raises(ValueError, match=r"^found no room for .*: fewer cuts, more minutes or more districts"):
        plan({"one": 0}, 60, 120, seed=1)

"""Beside which links an outage is judged, and how old what is known of these may be."""

import pytest

from collector.link_history import histories
from collector.link_history.histories import Asked, Histories
from collector.link_history.reading import Link
from collector.link_history.shapes import Interval, Rules, State
from tests.support.store import EPOCH
from wire.clock import MINUTE, SECOND

OWN, NEAR, NEXT, FAR = (Link(name, "fibre") for name in ("own", "near", "next", "far"))
CUT = [
    Interval(EPOCH, EPOCH + MINUTE, State.UP),
    Interval(EPOCH + MINUTE, EPOCH + 2 * MINUTE, State.LINK),
    Interval(EPOCH + 2 * MINUTE, EPOCH + 9 * MINUTE, State.UP),
]
CLEAN = [Interval(EPOCH, EPOCH + 9 * MINUTE, State.UP)]


class Known(Histories):
    """Histories that are given, and how often each was asked for."""

    def __init__(self, given: dict[Link, list[Interval]]) -> None:
        super().__init__()
        self.given = given
        self.asked: list[Link] = []

    def of(self, _connection: object, link: Link, *_: object) -> list[Interval]:
        self.asked.append(link)
        return self.given[link]


def judged(known: Known, now: int = EPOCH + 9 * MINUTE, age: int = 0) -> list[tuple[str, int]]:
    """The domains of the own link's outages, and beside how many others they were judged."""
    providers = dict.fromkeys((OWN, NEAR, NEXT), "NT") | {FAR: "another"}
    asked = Asked({}, {}, providers, Rules(), now)
    _, told = known.told(None, [OWN], EPOCH, EPOCH + 9 * MINUTE, asked, age)  # type: ignore[arg-type]
    return [(one.judged.domain, one.judged.watched) for one in told]


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "links", lambda _: [OWN, NEAR, NEXT, FAR])


def test_only_links_of_the_same_provider_are_beside_it() -> None:
    assert judged(Known({OWN: CUT, NEAR: CUT, NEXT: CUT, FAR: CLEAN})) == [("provider", 2)]
    assert judged(Known({OWN: CUT, NEAR: CUT, NEXT: CLEAN, FAR: CUT})) == [("link", 2)]


def test_without_an_outage_no_other_link_is_looked_at() -> None:
    known = Known({OWN: CLEAN, NEAR: CUT, NEXT: CUT, FAR: CUT})
    assert judged(known) == []
    assert known.asked == [OWN]


def test_the_others_are_derived_anew_unless_they_may_be_old() -> None:
    known = Known({OWN: CUT, NEAR: CLEAN, NEXT: CLEAN, FAR: CLEAN})
    now = EPOCH + 9 * MINUTE
    assert judged(known, now) == [("link", 2)]
    known.given |= {NEAR: CUT, NEXT: CUT}
    assert judged(known, now + 30 * SECOND, age=MINUTE) == [("link", 2)]
    assert judged(known, now + 61 * SECOND, age=MINUTE) == [("provider", 2)]
    known.given |= {NEAR: CLEAN}
    assert judged(known, now + 62 * SECOND) == [("link", 2)]


def test_a_border_of_the_span_within_an_outage_changes_nothing_of_its_domain() -> None:
    """At midnight between two months everything is down: that did not begin then, and no other link was up."""
    known = Known({OWN: CUT, NEAR: CUT, NEXT: CUT, FAR: CLEAN})
    border = EPOCH + 90 * SECOND
    asked = Asked({}, {}, dict.fromkeys((OWN, NEAR, NEXT), "NT") | {FAR: "another"}, Rules(), EPOCH + 9 * MINUTE)
    found, (one,) = known.told(None, [OWN], border, EPOCH + 9 * MINUTE, asked)  # type: ignore[arg-type]
    assert (found[OWN][0].start, found[OWN][-1].end) == (border, EPOCH + 9 * MINUTE)
    assert (one.outage.start, one.outage.end) == (border, EPOCH + 2 * MINUTE)
    assert (one.judged.domain, one.judged.together) == (State.PROVIDER, 2)

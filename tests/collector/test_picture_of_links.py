"""The picture of a watched link: it follows changes at once, and never back to what was before."""

import asyncio
from typing import Any

import pytest

from collector.picture import Doubt, Picture, State
from collector.store import Store
from collector.store.shapes import Landed, Source
from tests.support.store import BOOT, EPOCH, Chain, clock, window
from wire.batch import StreamName
from wire.clock import SECOND, Corrected
from wire.observation import Change, Window

BOX = Source("a-1", "na-yung", "fibre", "link")


def link_change(at: float, previous: str, current: str, known: float | None = None) -> Change:
    """A change of the link at a second of the boot, known three seconds later."""
    end = round((known if known is not None else at + 3) * SECOND)
    times: dict[str, Any] = {"start": round(at * SECOND), "end": end, "wall_start": 0, "wall_end": 0}
    return Change(boot=BOOT, **times, probe="link", target="link", previous=previous, current=current, facts={"a": "b"})


def link_window(end: int, **states: float) -> Window:
    """A minute of the link."""
    return window(end * SECOND, "link", probe="link", durations={}, values={}, counts={}, states=states)


def as_landed(*observations: Change | Window, received: int | None = None) -> list[Landed]:
    """Committed a second after the last of them."""
    found = []
    for one in observations:
        at = EPOCH + one.end
        found.append(Landed(BOX, one, Corrected(at, 1000), received or at + SECOND, late=False))
    return found


def link_at(picture: Picture, second: float) -> tuple[State, str | None, float]:
    """The state of the site and of its link, and since when, at a second at which its agent is heard."""
    now = EPOCH + round(second * SECOND)
    picture.heard(BOX, now)
    found = picture.site("na-yung", now)
    (one,) = [series for series in found.series if series.key.probe == "link"]
    return found.state, one.link_state, (one.since - EPOCH) / SECOND


def test_a_link_that_goes_down_is_failing_at_once_and_well_again_at_once():
    picture = Picture()
    picture.landed(as_landed(link_change(1, "unknown", "up"), link_window(60, up=59.0, unknown=1.0)))
    assert link_at(picture, 61) == (State.OK, "up", 1)
    picture.landed(as_landed(link_change(70, "up", "provider")))
    assert link_at(picture, 74) == (State.FAILING, "provider", 70)
    picture.landed(as_landed(link_change(80, "provider", "up")))
    assert link_at(picture, 84) == (State.OK, "up", 80)
    picture.landed(as_landed(link_window(120, up=50.0, provider=10.0)))
    assert link_at(picture, 125) == (State.OK, "up", 80)


def test_a_late_change_of_a_link_never_overrides_what_is_newer():
    picture = Picture()
    picture.landed(as_landed(link_change(100, "link", "up")))
    picture.landed(as_landed(link_change(40, "up", "link"), received=EPOCH + 110 * SECOND))
    assert link_at(picture, 111) == (State.OK, "up", 100)
    picture.landed(as_landed(link_window(60, up=40.0, link=20.0), received=EPOCH + 112 * SECOND))
    assert link_at(picture, 113) == (State.OK, "up", 100)


def test_a_window_of_one_state_tells_what_a_lost_change_would_have():
    picture = Picture()
    picture.landed(as_landed(link_change(1, "unknown", "up"), link_window(60, up=60.0)))
    picture.landed(as_landed(link_window(120, link=60.0)))
    assert link_at(picture, 125) == (State.FAILING, "link", 60)


def test_a_window_that_says_nothing_of_the_known_state_is_doubt():
    picture = Picture()
    picture.landed(as_landed(link_change(1, "unknown", "up"), link_window(60, up=60.0)))
    picture.landed(as_landed(link_window(120, link=30.0, lan=30.0)))
    assert link_at(picture, 125)[:2] == (State.UNKNOWN, "unknown")


@pytest.mark.parametrize("made", [lambda: link_change(70, "up", "unknown"), lambda: link_window(120, unknown=60.0)])
def test_a_link_whose_state_could_not_be_told_is_never_green(made):
    picture = Picture()
    picture.landed(as_landed(link_change(1, "unknown", "up"), link_window(60, up=60.0)))
    picture.landed(as_landed(made()))
    assert link_at(picture, 122)[:2] == (State.UNKNOWN, "unknown")
    (doubt, _), *_ = picture.site("na-yung", EPOCH + 122 * SECOND).doubts
    assert doubt is Doubt.LINK_UNDECIDED


def test_a_link_that_is_not_watched_any_more_is_stale_whatever_its_last_word():
    picture = Picture()
    picture.landed(as_landed(link_window(60, up=60.0), link_window(120, up=60.0), link_change(130, "up", "link")))
    assert link_at(picture, 200)[0] is State.FAILING
    state = link_at(picture, 300)
    assert state[0] is State.UNKNOWN


def test_a_silent_site_is_silent_whatever_its_link_said():
    picture = Picture()
    picture.heard(BOX, EPOCH + 60 * SECOND)
    picture.landed(as_landed(link_window(60, up=60.0), link_change(61, "up", "link")))
    assert picture.site("na-yung", EPOCH + 71 * SECOND).state is State.FAILING
    assert picture.site("na-yung", EPOCH + 73 * SECOND).state is State.SILENT


def test_changes_between_windows_do_not_hurry_the_cadence():
    picture = Picture()
    some = [link_window(60 * number, up=60.0) for number in range(1, 4)]
    picture.landed(as_landed(*some, link_change(239, "up", "link"), link_window(240, up=59.0, link=1.0)))
    assert link_at(picture, 240 + 140)[0] is State.FAILING  # twice a minute and grace


def test_since_survives_windows_hours_after_the_change():
    picture = Picture()
    picture.landed(as_landed(link_change(1, "unknown", "up"), *(link_window(60 * n, up=60.0) for n in range(1, 200))))
    assert link_at(picture, 199 * 60 + 5)[2] == 1


async def test_a_link_is_rebuilt_with_its_newest_change(tmp_path):
    store = await asyncio.to_thread(Store.open, tmp_path / "phrom.db")
    try:
        chain = Chain(StreamName.EVIDENCE)
        some: list[Change | Window] = [
            link_change(1, "unknown", "up"),
            *(link_window(60 * n, up=60.0) for n in range(1, 6)),
        ]
        some += [link_change(310, "up", "link"), link_window(360, up=10.0, link=50.0)]
        await store.take(BOX, EPOCH + 361 * SECOND, clock(361 * SECOND), [chain.seal(*some)])
        picture = Picture()
        await picture.rebuild(store)
        assert link_at(picture, 365) == (State.FAILING, "link", 310)
        await store.take(BOX, EPOCH + 375 * SECOND, clock(375 * SECOND), [chain.seal(link_change(370, "link", "up"))])
        picture = Picture()
        await picture.rebuild(store)
        assert link_at(picture, 376) == (State.OK, "up", 370)
        (one,) = picture.site("na-yung", EPOCH + 376 * SECOND).series
        assert one.facts == {"a": "b"}
    finally:
        await asyncio.to_thread(store.close)

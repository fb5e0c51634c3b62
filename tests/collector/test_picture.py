"""The picture: green only on fresh evidence, silence neither up nor down, late data never now."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.board.pages import unwatched
from collector.inventory.model import Link, Site
from collector.inventory.parts import Name
from collector.picture import FIRST_GAP, GRACE, SILENT_AFTER, Doubt, Expected, Picture, State
from collector.store.shapes import Landed, Source
from wire.clock import MINUTE, SECOND, Corrected
from wire.observation import Window
from wire.reasons import Outcome, Reason

NOW = 1_763_690_000 * SECOND
BOX = Source("a-1", "na-yung", "na-yung-1", "link")
GATEWAY = Expected("icmp", "gateway", "")
LINK = Link(id="na-yung-1", circuit="EXAMPLE-1", provider="NT", contact="desk", contracts=[])
ZOOM = Expected("http", "zoom.web", "zoom")


def window(about: Expected = GATEWAY, outcome: Outcome = Outcome.OK, reason: Reason | None = None) -> Window:
    return Window(
        boot="b", start=0, end=MINUTE, wall_start=0, wall_end=MINUTE, probe=about.probe, target=about.target,
        platform=about.platform, outcome=outcome, reason=reason,
    )  # fmt: skip


def landed(end: int, one: Window, *, timed: bool = True, received: int = NOW) -> Landed:
    return Landed(BOX, one, Corrected(end, 1000) if timed else None, received, False)


def seen(*ones: Landed, heard: int | None = NOW, time_known: bool = True) -> Picture:
    picture = Picture()
    if heard is not None:
        picture.heard(BOX, heard, time_known=time_known)
    picture.landed(ones)
    return picture


def test_a_site_without_an_agent_is_said_to_have_none():
    assert Picture().site("na-yung", NOW).state is State.NO_AGENT


def test_fresh_answers_of_everything_expected_are_normal():
    picture = seen(landed(NOW, window()), landed(NOW, window(ZOOM)))
    assert picture.site("na-yung", NOW, [GATEWAY, ZOOM]).state is State.OK


def test_an_agent_that_measured_nothing_yet_is_unknown():
    assert seen().site("na-yung", NOW).state is State.UNKNOWN


def test_what_is_expected_and_was_never_seen_keeps_it_from_green():
    found = seen(landed(NOW, window())).site("na-yung", NOW, [GATEWAY, ZOOM])
    assert found.state is State.UNKNOWN
    assert found.doubts == ((Doubt.NOT_MEASURED_YET, ZOOM),)


def test_a_fault_is_shown_with_its_beginning():
    picture = seen(
        landed(NOW - 3 * MINUTE, window()),
        landed(NOW - 2 * MINUTE, window(GATEWAY, Outcome.FAILED, Reason.NO_REPLY)),
        landed(NOW - MINUTE, window(GATEWAY, Outcome.FAILED, Reason.NO_REPLY)),
    )
    found = picture.site("na-yung", NOW)
    assert found.state is State.FAILING
    assert found.failing[0].since == NOW - 3 * MINUTE, "the first failed window began when the last good one ended"


def test_a_fault_that_nobody_confirms_any_more_is_not_shown_as_one():
    picture = seen(landed(NOW - 20 * MINUTE, window(GATEWAY, Outcome.FAILED, Reason.NO_REPLY)))
    assert picture.site("na-yung", NOW).state is State.UNKNOWN


@pytest.mark.parametrize(("quiet", "state"), [(SILENT_AFTER, State.OK), (SILENT_AFTER + 1, State.SILENT)])
def test_silence_begins_after_two_missed_posts(quiet, state):
    picture = seen(landed(NOW, window()), heard=NOW - quiet)
    assert picture.site("na-yung", NOW).state is state


def test_a_silent_site_with_a_known_fault_is_silent_and_not_failing():
    picture = seen(landed(NOW, window(GATEWAY, Outcome.FAILED, Reason.NO_REPLY)), heard=NOW - 2 * SILENT_AFTER)
    assert picture.site("na-yung", NOW).state is State.SILENT


def test_late_data_never_replaces_what_is_newer():
    picture = seen(
        landed(NOW, window()),
        landed(NOW - 60 * MINUTE, window(GATEWAY, Outcome.FAILED, Reason.NO_REPLY)),
    )
    found = picture.site("na-yung", NOW)
    assert found.state is State.OK
    assert found.series[0].end == NOW


def test_data_without_a_time_are_neither_fresh_nor_shown():
    picture = seen(landed(NOW, window(), timed=False))
    assert picture.site("na-yung", NOW).state is State.UNKNOWN


def test_an_agent_without_a_known_time_cannot_be_green():
    picture = seen(landed(NOW, window()), time_known=False)
    found = picture.site("na-yung", NOW)
    assert (found.state, found.doubts[0][0]) == (State.UNKNOWN, Doubt.TIME_UNKNOWN)


def test_the_agents_own_trouble_is_unknown_and_never_a_fault():
    picture = seen(landed(NOW, window(GATEWAY, Outcome.ERROR, Reason.NO_PERMISSION)), landed(NOW, window(ZOOM)))
    found = picture.site("na-yung", NOW)
    assert (found.state, found.doubts) == (State.UNKNOWN, ((Doubt.AGENT_CANNOT_MEASURE, GATEWAY),))


def test_another_network_than_the_link_is_unknown():
    picture = seen(landed(NOW, window(GATEWAY, Outcome.SKIPPED, Reason.NOT_ON_THIS_LINK)), landed(NOW, window(ZOOM)))
    assert picture.site("na-yung", NOW).doubts == ((Doubt.WRONG_VANTAGE, GATEWAY),)


def test_what_was_skipped_on_purpose_is_told_and_does_not_hide_that_the_rest_answers():
    tot = Expected("tcp", "tot.web", "tot")
    picture = seen(landed(NOW, window()), landed(NOW, window(tot, Outcome.SKIPPED, Reason.ASK_THE_PROVIDER)))
    found = picture.site("na-yung", NOW)
    assert found.state is State.OK
    assert [one.key.target for one in found.partial] == ["tot.web"]


def test_nothing_but_skipped_series_is_no_reason_for_green():
    picture = seen(landed(NOW, window(ZOOM, Outcome.SKIPPED, Reason.ASK_THE_PROVIDER)))
    assert picture.site("na-yung", NOW).state is State.UNKNOWN


def test_series_that_the_settings_no_longer_assign_are_not_shown():
    picture = seen(landed(NOW, window()), landed(NOW - 60 * MINUTE, window(ZOOM)))
    found = picture.site("na-yung", NOW, [GATEWAY])
    assert found.state is State.OK
    assert len(found.series) == 1


def test_windows_that_an_order_asked_for_tell_no_cadence():
    picture = seen(landed(NOW - 2 * MINUTE, window()), landed(NOW - MINUTE, window()))
    asked = msgspec.structs.replace(window(), order="o-1")
    picture.landed([landed(NOW - 5 * SECOND, asked, received=NOW), landed(NOW, window())])
    later = NOW + 2 * MINUTE  # two cadences after it and not yet stale, however near the ordered one was
    picture.heard(BOX, later)
    assert picture.site("na-yung", later, [GATEWAY]).state is State.OK


def test_a_call_test_is_known_to_run_once_an_hour_from_its_first_result_on():
    call = Expected("call", "zoom", "zoom")
    picture = seen(landed(NOW - 50 * MINUTE, window(call)), landed(NOW, window()))
    assert picture.site("na-yung", NOW, [GATEWAY, call]).state is State.OK
    later = NOW + 71 * MINUTE  # two hours after it, and nobody called again
    picture.heard(BOX, later)
    picture.landed([landed(later, window(), received=later)])
    assert picture.site("na-yung", later, [GATEWAY, call]).doubts == ((Doubt.STALE, call),)


def test_a_slow_cadence_is_learned_before_a_series_is_called_stale():
    picture = seen(landed(NOW - 10 * MINUTE, window()), landed(NOW, window()))
    series = picture.site("na-yung", NOW).series[0]
    assert series.gap == 10 * MINUTE
    assert not series.stale(NOW + 20 * MINUTE)
    assert series.stale(NOW + 20 * MINUTE + GRACE + 1)


def test_a_pause_is_no_cadence():
    ends = [NOW - 60 * MINUTE, NOW - 59 * MINUTE, NOW]
    series = seen(*(landed(end, window()) for end in ends)).site("na-yung", NOW).series[0]
    assert series.stale(NOW + 3 * MINUTE), "an agent that paused for an hour once has an hour's cadence"


def test_a_cadence_that_became_slower_is_learned_when_it_comes_twice():
    ends = [NOW - 21 * MINUTE, NOW - 20 * MINUTE, NOW - 10 * MINUTE, NOW]
    assert seen(*(landed(end, window()) for end in ends)).site("na-yung", NOW).series[0].gap == 10 * MINUTE


def test_a_clock_of_ours_that_was_set_back_makes_nothing_fresh_for_ever():
    picture = seen(landed(NOW, window()))
    back = NOW - 60 * MINUTE
    picture.heard(BOX, back)
    assert picture.site("na-yung", back).state is State.UNKNOWN, "an hour-old window is believed for an hour"
    picture.landed([landed(back, window(GATEWAY, Outcome.FAILED, Reason.NO_REPLY), received=back)])
    assert picture.site("na-yung", back).state is State.FAILING
    assert picture.site("na-yung", back + SILENT_AFTER + 1).state is State.SILENT


@pytest.mark.parametrize(("off", "error"), [(30 * MINUTE, 1000), (0, 31 * SECOND)])
def test_a_time_in_the_future_or_hardly_known_shows_nothing_of_now(off, error):
    one = Landed(BOX, window(), Corrected(NOW + off, error), NOW, False)
    assert seen(one).site("na-yung", NOW).state is State.UNKNOWN


def test_a_machine_that_measures_only_itself_is_no_reason_for_green():
    host = Expected("host", "machine", "")
    skipped = landed(NOW, window(ZOOM, Outcome.SKIPPED, Reason.ASK_THE_PROVIDER))
    assert seen(landed(NOW, window(host)), skipped).site("na-yung", NOW, [host, ZOOM]).state is State.UNKNOWN


def test_each_agent_must_have_measured_what_is_expected():
    picture = seen(landed(NOW, window()))
    picture.heard(Source("a-2", "na-yung", "", "room"), NOW)
    found = picture.site("na-yung", NOW, [GATEWAY])
    assert (found.state, found.doubts) == (State.UNKNOWN, ((Doubt.NOT_MEASURED_YET, GATEWAY),))


def test_of_each_place_is_expected_what_its_own_agents_are_told():
    """A notebook in the room watches no link, and does not keep its site from green while it is open."""
    watched, room = Expected("stamp", "hall", ""), Source("a-2", "na-yung", "", "room")
    picture = seen(landed(NOW, window()), landed(NOW, window(watched)))
    picture.heard(room, NOW)
    picture.landed([landed(NOW, window())._replace(source=room)])
    told = {(BOX.link, "link"): [GATEWAY, watched], ("", "room"): [GATEWAY]}
    assert picture.site("na-yung", NOW, told).state is State.OK
    told = {(BOX.link, "link"): [GATEWAY, watched, ZOOM], ("", "room"): [GATEWAY, ZOOM]}
    found = picture.site("na-yung", NOW, told)
    assert (found.state, found.doubts) == (State.UNKNOWN, ((Doubt.NOT_MEASURED_YET, ZOOM),))


def test_a_link_that_nobody_watches_keeps_its_site_from_green():
    site = Site(id="na-yung", name=Name(th="นายูง"), links=[LINK, msgspec.structs.replace(LINK, id="second")])
    watched = Expected("link", "link", "")
    assert unwatched(site, [("", "room")]) == {}, "nobody watches any of them yet"
    assert unwatched(site, [(LINK.id, "both"), ("second", "link")]) == {}
    told = unwatched(site, [(LINK.id, "link")]) | {(LINK.id, "link"): (GATEWAY,)}
    assert told[("second", "link")] == (watched,)
    found = seen(landed(NOW, window())).site("na-yung", NOW, told)
    assert (found.state, found.doubts) == (State.UNKNOWN, ((Doubt.NOT_MEASURED_YET, watched),))


def test_what_a_retired_agent_of_another_link_measured_is_past():
    picture = seen(landed(NOW, window()))
    other = Source("a-2", "na-yung", "second", "link")
    picture.heard(other, NOW - 60 * MINUTE)
    picture.landed([landed(NOW - 60 * MINUTE, window())._replace(source=other)])
    assert picture.site("na-yung", NOW, [GATEWAY]).state is State.UNKNOWN
    picture.forget("na-yung", "a-2")
    assert picture.site("na-yung", NOW, [GATEWAY]).state is State.OK


def test_a_retired_agent_is_forgotten():
    picture = seen(landed(NOW, window()))
    picture.forget("na-yung", "a-1")
    assert picture.site("na-yung", NOW).state is State.NO_AGENT


@given(
    st.permutations(range(6)),
    st.lists(st.sampled_from([Outcome.OK, Outcome.FAILED, Outcome.ERROR]), min_size=6, max_size=6),
)
def test_whatever_the_order_of_arrival_the_newest_window_is_what_is_shown(order, outcomes):
    ones = [landed(NOW - (5 - place) * MINUTE, window(GATEWAY, outcome)) for place, outcome in enumerate(outcomes)]
    found = seen(*(ones[place] for place in order)).site("na-yung", NOW)
    assert found.series[0].end == NOW
    assert found.series[0].window.outcome is outcomes[-1]


@given(st.integers(min_value=0, max_value=60), st.integers(min_value=0, max_value=60))
def test_green_always_has_an_agent_heard_and_a_fresh_answer(heard_ago, measured_ago):
    picture = seen(landed(NOW - measured_ago * 10 * SECOND, window()), heard=NOW - heard_ago * SECOND)
    if picture.site("na-yung", NOW).state is State.OK:
        assert heard_ago * SECOND <= SILENT_AFTER
        assert measured_ago * 10 * SECOND <= 2 * FIRST_GAP + GRACE


@pytest.mark.parametrize(("lost", "state"), [(0, State.OK), (3, State.OK), (4, State.UNKNOWN), (59, State.UNKNOWN)])
def test_a_path_that_loses_too_much_is_not_green_though_it_answers(lost, state):
    lossy = msgspec.structs.replace(window(), counts={"sent": 60, "lost": lost})
    found = seen(landed(NOW, lossy)).site("na-yung", NOW)
    assert found.state is state
    assert [doubt for doubt, _ in found.doubts] == ([Doubt.LOSSY] if state is State.UNKNOWN else [])


@pytest.mark.parametrize(("second", "state"), [(0, State.OK), (20, State.UNKNOWN)])
def test_one_lossy_anchor_may_be_busy_and_two_are_the_path(second, state):
    def anchor(number: int, lost: int) -> Landed:
        one = window(Expected("icmp", f"anchor-{number}", ""))
        return landed(NOW, msgspec.structs.replace(one, counts={"sent": 60, "lost": lost}))

    assert seen(anchor(1, 20), anchor(2, second)).site("na-yung", NOW).state is state


def test_a_notebook_that_was_put_away_does_not_keep_its_site_from_green():
    room = Source("a-2", "na-yung", "", "room")
    picture = seen(landed(NOW, window()))
    picture.heard(room, NOW - 60 * MINUTE)
    picture.landed([landed(NOW - 60 * MINUTE, window(ZOOM))._replace(source=room)])
    assert picture.site("na-yung", NOW).state is State.OK
    picture.heard(room, NOW)
    assert picture.site("na-yung", NOW).state is State.UNKNOWN, "opened again, it must measure first"


def test_a_silent_link_box_is_not_excused_by_a_notebook_in_the_room():
    room = Source("a-2", "na-yung", "", "room")
    picture = seen(landed(NOW - 60 * MINUTE, window()), heard=NOW - 60 * MINUTE)
    picture.heard(room, NOW)
    picture.landed([landed(NOW, window())._replace(source=room)])
    assert picture.site("na-yung", NOW).state is State.UNKNOWN


@pytest.mark.parametrize("other", [Source("a-2", "na-yung", "", "room"), Source("a-2", "na-yung", "second", "link")])
def test_a_link_box_that_falls_silent_ends_green_at_once_whoever_else_is_heard(other):
    picture = seen(landed(NOW, window()), heard=NOW - SILENT_AFTER - 1)
    picture.heard(other, NOW)
    picture.landed([landed(NOW, window())._replace(source=other)])
    found = picture.site("na-yung", NOW, [GATEWAY])
    assert found.state is State.UNKNOWN
    assert found.doubts == ((Doubt.AGENT_SILENT, Expected("", "", "")),)

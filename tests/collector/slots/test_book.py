"""What becomes of slots: states only go forward, a bad result is checked, and the forecast says why."""

from random import Random
from typing import Any

from collector.inventory.model import ServiceHours
from collector.slots.book import AGENT_SILENT, RETEST_WITHIN, UNHEARD, Book
from collector.slots.forecast import FEW, Why, forecast
from collector.slots.held import Doubt, Half, Held, Kind, State
from collector.slots.planner import Reservation
from collector.slots.rules import LEAD, LENGTH, TO_BEGIN, Far, Line, Rules, month_of
from collector.slots.spans import Span
from wire.clock import DAY, HOUR, MINUTE, SECOND
from wire.settings import ContractTerms

START = 1_793_466_000_000_000
"""2026-11-01 00:00 in Bangkok."""
EVENING = START + 18 * HOUR
TERMS = ContractTerms(download=200_000_000, upload=80_000_000)
FARS = {"core": Far("core", 1_000_000_000, 1_000_000_000)}
HALL = {"core": Far("core", 80_000_000, 200_000_000)}
RULES = Rules()
LINE = Line("phen", "fibre", "a", TERMS, ("core",))
MONTH = month_of(START, RULES.zone)
GOOD = {
    "down": Half("ok", "", True, 199e6, 200e6, (), 24_000_000),
    "up": Half("ok", "", True, 80e6, 80e6, (), 11_000_000),
}
BAD = {**GOOD, "down": Half("ok", "", True, 150e6, 200e6, (), 18_000_000)}


def held(identity: str, start: int, **more: Any) -> Held:
    settled: dict[str, Any] = {
        "site": "phen", "link": "fibre", "agent": "a", "responder": "core", "kind": Kind.RANDOM, "made": start - LEAD,
        "latest": start + TO_BEGIN, "ends": start + LENGTH, "down": 220_000_000, "up": 88_000_000,
    }  # fmt: skip
    return Held(id=identity, start=start, **(settled | more))


def measured(book: Book, identity: str, results: dict[str, Half], at: int | None = None) -> Held:
    slot = book.held[identity]
    for direction, half in results.items():
        book.tested(identity, direction, half, slot.start + 5 * SECOND if at is None else at)
    return book.held[identity]


def test_a_word_that_comes_late_never_undoes_a_later_one():
    book = Book([held("1", START)])
    assert [one.state for one in book.became("1", State.TAKEN)] == [State.TAKEN]
    assert book.became("1", State.TAKEN) == book.became("1", State.GRANTED) == book.became("9", State.TAKEN) == []
    assert book.unheard(START + LENGTH + UNHEARD) == []
    (over,) = book.unheard(START + LENGTH + UNHEARD + 1)
    assert over.state is State.UNANSWERED
    (deferred,) = book.became("1", State.DEFERRED, "link_in_use", "d" * 400)
    assert (deferred.reason, len(deferred.detail)) == ("link_in_use", 300)
    assert book.became("1", State.FAILED) == []
    done = measured(book, "1", GOOD)
    assert (done.state, done.bytes, done.at, done.reason) == (State.DONE, 35_000_000, START + 5 * SECOND, "")
    assert book.became("1", State.FAILED) == book.tested("1", "up", GOOD["up"], START + 5 * SECOND) == []
    assert book.tested("1", "sideways", GOOD["up"], START) == []


def test_one_direction_alone_is_a_test_and_none_is_not():
    book = Book([held("1", START), held("2", START + HOUR), held("3", START + 2 * HOUR)])
    broken = Half("failed", "broken_off")
    assert measured(book, "1", {"down": GOOD["down"], "up": broken}).state is State.DONE
    assert measured(book, "2", {"down": broken, "up": Half("skipped", "broken_off")}).state is State.FAILED
    busy = Half("skipped", "responder_busy")
    three = measured(book, "3", {"down": busy, "up": busy})
    assert (three.state, three.reason) == (State.SKIPPED, "responder_busy")


def test_a_bad_result_is_unconfirmed_until_a_second_test_agrees():
    for second, mine, its in (
        (BAD, Doubt.CONFIRMED, Doubt.CONFIRMED),
        (GOOD, Doubt.REFUTED, Doubt.NONE),
        ({"down": Half("ok", "", False, 150e6, 200e6, ("cross_traffic",))}, Doubt.UNCONFIRMED, Doubt.NONE),
        ({"down": GOOD["down"], "up": Half("ok", "", True, 50e6, 80e6)}, Doubt.REFUTED, Doubt.UNCONFIRMED),
    ):
        book = Book([held("1", START)])
        assert measured(book, "1", BAD).doubt is Doubt.UNCONFIRMED
        need = book.need(LINE, FARS, RULES, START + MINUTE)
        assert (need.retest, need.tested_on) == ("1", "core")
        book.enter(held("2", START + 10 * MINUTE, kind=Kind.RETEST, of="1"))
        assert measured(book, "2", second).doubt is its
        assert book.held["1"].doubt is mine
        assert book.need(LINE, FARS, RULES, START + HOUR).retest == ""  # nor is a retest retested


def test_each_direction_is_confirmed_by_itself():
    """What only the retest found bad was not tested twice, and what the retest refuted is not confirmed by the other
    direction."""
    slow_up = Half("ok", "", True, 50e6, 80e6)
    book = Book([held("1", START), held("2", START + 10 * MINUTE, kind=Kind.RETEST, of="1")])
    measured(book, "1", BAD)
    measured(book, "2", {"down": BAD["down"], "up": slow_up})
    first, second = book.held["1"], book.held["2"]
    assert (first.doubt_of("down"), first.doubt_of("up")) == (Doubt.CONFIRMED, Doubt.NONE)
    assert (second.doubt_of("down"), second.doubt_of("up")) == (Doubt.CONFIRMED, Doubt.UNCONFIRMED)
    book = Book([held("1", START), held("2", START + 10 * MINUTE, kind=Kind.RETEST, of="1")])
    measured(book, "1", {"down": BAD["down"], "up": slow_up})
    measured(book, "2", {"up": slow_up, "down": GOOD["down"]})
    first = book.held["1"]
    assert (first.doubt_of("down"), first.doubt_of("up")) == (Doubt.REFUTED, Doubt.CONFIRMED)
    assert first.doubt is Doubt.CONFIRMED
    again = measured(book, "2", {"up": slow_up, "down": GOOD["down"]})
    assert (again.doubt_of("up"), book.tested("1", "up", slow_up, first.at)) == (Doubt.CONFIRMED, [])


def test_limited_or_nearly_good_is_not_bad():
    book = Book([held("1", START), held("2", START + HOUR)])
    assert measured(book, "1", {"down": Half("ok", "", True, 190e6, 200e6)}).doubt is Doubt.NONE
    assert measured(book, "2", {"down": Half("ok", "", False, 90e6, 200e6, ("port_speed",))}).doubt is Doubt.NONE


def test_a_retest_is_given_up_after_a_day_or_four_slots():
    book = Book([held("1", START)])
    measured(book, "1", BAD)
    assert book.need(LINE, FARS, RULES, START + LENGTH + RETEST_WITHIN).retest == ""
    for number in range(4):
        assert book.need(LINE, FARS, RULES, START + HOUR).retest == "1"
        book.enter(held(f"r{number}", START + (10 + number) * MINUTE, kind=Kind.RETEST, of="1", state=State.FAILED))
    assert book.need(LINE, FARS, RULES, START + HOUR).retest == ""


def test_what_is_still_wanted():
    book = Book()
    need = book.need(LINE, FARS, RULES, START)
    assert (round(need.samples, 6), round(need.busy, 6), need.last) == (66.0, 33.0, None)
    for number in range(10):
        book.enter(held(str(number), EVENING + number * HOUR if number < 2 else START + DAY + number * HOUR))
        measured(book, str(number), GOOD)
    need = book.need(LINE, FARS, RULES, START + 3 * DAY)
    assert (round(need.samples, 6), round(need.busy, 6)) == (55.0, 30.8)
    assert need.last == START + DAY + 9 * HOUR
    for number in range(10):
        measured(book, str(number), {"up": Half("ok", "", False, 80e6, 80e6, ("cpu_busy",), 11_000_000)})
    invalid = book.need(LINE, FARS, RULES, START + 3 * DAY)  # the worse direction counts; twice the tests at most
    assert round(invalid.samples, 6) == 132.0
    hall = book.need(LINE, HALL, RULES, START + 3 * DAY)  # only the upload could be proven, and it was not
    assert round(hall.samples, 6) == 132.0


def test_a_direction_that_nobody_can_prove_does_not_drive_the_pace():
    capped = {"down": Half("ok", "", False, 80e6, 200e6, ("responder_capacity",)), "up": GOOD["up"]}
    book = Book()
    for number in range(60):
        book.enter(held(str(number), EVENING + number // 4 * DAY + number % 4 * 40 * MINUTE))
        measured(book, str(number), capped)
    need = book.need(LINE, HALL, RULES, START + 20 * DAY)
    assert (need.samples, need.busy) == (0, 0)
    down, up = forecast(book, LINE, HALL, RULES, MONTH, START + 20 * DAY)
    assert (up.sufficient, up.valid, up.busy, up.why) == (True, 60, 60, ())
    assert (down.sufficient, down.valid, down.tests, down.why) == (False, 0, 60, ((Why.RESPONDER, "core"),))


def test_the_budget_is_kept_by_what_tests_really_cost():
    book = Book()
    assert book.cost(LINE) == 35_000_000
    small = RULES._replace(budget=70_000_000)
    for number in range(2):
        assert book.need(LINE, FARS, small, START + DAY).affordable
        book.enter(held(str(number), START + number * HOUR))
        measured(book, str(number), GOOD)
    assert not book.need(LINE, FARS, small, START + DAY).affordable
    assert book.need(LINE, FARS, small, START + 31 * DAY).affordable  # another month
    (why, *_) = forecast(book, LINE, FARS, small, MONTH, START + DAY)[0].why
    assert why == (Why.BUDGET, "")


def test_a_plan_that_the_budget_does_not_bear_any_more_is_dropped():
    book = Book()
    book.plan([LINE], FARS, RULES, START, Random(1))
    assert set(book.planned) == {LINE.place}
    book.enter(held("1", START, kind=Kind.ASKED, state=State.TAKEN))  # somebody asks for a test meanwhile
    measured(book, "1", {"down": Half("ok", "", True, 199e6, 200e6, (), RULES.budget)})
    book.plan([LINE], FARS, RULES, START + MINUTE, Random(1))
    assert book.planned == {}


def test_backoff_counts_what_came_to_nothing_but_not_an_agent_that_was_away():
    book = Book([held("1", START, state=State.FAILED, attempt=2)])
    need = book.need(LINE, FARS, RULES, START + HOUR)
    assert (need.attempt, need.failed) == (3, START + LENGTH)
    book.enter(held("2", START + HOUR, state=State.SKIPPED, reason=AGENT_SILENT))
    need = book.need(LINE, FARS, RULES, START + 2 * HOUR)
    assert (need.attempt, need.failed) == (0, START + HOUR + LENGTH)


def test_plans_are_drawn_once_and_dropped_when_a_meeting_comes_up():
    book, rng = Book(), Random(1)
    (one,) = book.plan([LINE], FARS, RULES, START, rng)
    assert book.plan([LINE], FARS, RULES, START + MINUTE, rng) == []
    met = LINE._replace(quiet=(Span(one.start - HOUR, one.start + HOUR),))
    (other,) = book.plan([met], FARS, RULES, START + MINUTE, rng)
    assert not met.quiet[0].start <= other.start < met.quiet[0].end
    assert book.plan([met._replace(agent="")], FARS, RULES, START + MINUTE, rng) == []
    assert book.planned == {}


def test_due_is_a_lead_ahead_and_what_was_slept_through_is_drawn_anew():
    book, rng = Book(), Random(1)
    (one,) = book.plan([LINE], FARS, RULES, START, rng)
    assert book.due(one.start - LEAD - 1) == []
    assert book.due(one.start - LEAD) == [one]
    assert book.due(one.start - LEAD) == []
    slot = book.grant(one, "id", "a", one.start - LEAD)
    assert (slot.latest, slot.ends) == (one.start + TO_BEGIN, one.start + LENGTH)
    assert book.plan([LINE], FARS, RULES, one.start, rng) == []  # it is open
    book.became("id", State.FAILED)
    (late,) = book.plan([LINE], FARS, RULES, one.start, rng)
    assert late.start >= one.start + LENGTH
    assert book.due(late.start + 1) == []
    assert book.planned == {}


def test_what_is_free():
    book = Book([held("1", START)])
    far = Far("core", 400_000_000, 1_000_000_000)
    other, rates = ("ban-phue", "fibre"), (200_000_000, 88_000_000)
    assert book.free(far, ("phen", "fibre"), START, START + MINUTE, (1, 1)) == (False, True)
    assert book.free(far, ("phen", "fibre"), START, START + MINUTE, rates, but="1") == (True, True)
    assert book.free(far, other, START + 10, START + 20, rates) == (True, False)
    assert book.free(far, other, START + LENGTH, START + HOUR, rates) == (True, True)
    light = Reservation("core", "ban-phue", "fibre", START, START + MINUTE, 190_000_000, 76_000_000)
    book.became("1", State.DEFERRED)
    book.reserve(light)
    assert book.free(far, other, START, START + MINUTE, (1, 1)) == (False, True)
    assert book.free(far, ("x", "y"), START, START + MINUTE, (211_000_000, 1)) == (True, False)
    book.release(light)
    book.release(light)
    assert book.free(far, other, START, START + MINUTE, rates) == (True, True)


def test_forgotten_slots_leave_no_trace():
    book = Book([held("1", START - 41 * DAY, state=State.DONE), held("2", START)])
    book.forget(START)
    assert list(book.held) == ["2"]
    assert book.of(("phen", "fibre"), Span(0, 2**60)) == [book.held["2"]]


# forecast


def test_at_the_months_begin_everything_is_expected_and_in_its_last_hours_nothing():
    for now, enough in ((START, True), (START + 15 * DAY, True), (MONTH.end - HOUR, False)):
        for one in forecast(Book(), LINE, FARS, RULES, MONTH, now):
            assert one.sufficient is enough
            assert bool(one.why) is not enough
    over = forecast(Book(), LINE, FARS, RULES, MONTH, MONTH.end)
    assert [one.why for one in over] == [((Why.TOO_LATE, ""),)] * 2


def test_every_cause_is_named():
    day = ServiceHours()

    def why(line: Line, book: Book | None = None, fars: dict[str, Far] = FARS) -> list[tuple[Why, str]]:
        return list(forecast(book or Book(), line, fars, RULES, MONTH, START + 5 * DAY)[0].why)

    assert why(LINE._replace(terms=None)) == [(Why.CONTRACT_UNKNOWN, "")]
    assert why(LINE._replace(agent="")) == [(Why.NO_AGENT, "")]
    assert why(LINE._replace(responders=())) == [(Why.NO_RESPONDER, "")]
    assert why(LINE._replace(service=day, office=day)) == [(Why.NO_BUSY_HOURS, "")]
    assert why(LINE._replace(quiet=(Span(START, START + 29 * DAY),)))[0][0] is Why.NO_BUSY_HOURS
    assert why(LINE, fars=HALL) == [(Why.RESPONDER, "core")]
    silent = [held(str(n), START + 4 * DAY + n * HOUR, state=State.SKIPPED, reason=AGENT_SILENT) for n in range(FEW)]
    assert why(LINE, Book(silent)) == [(Why.NOT_MEASURED, AGENT_SILENT)]
    book = Book()
    for number in range(FEW):
        book.enter(held(str(number), START + number * HOUR))
        measured(book, str(number), {"down": Half("ok", "", False, 94e6, 200e6, ("port_speed",)), "up": GOOD["up"]})
    assert why(LINE, book) == [(Why.INVALID, "port_speed")]


def test_what_is_only_planned_gives_way_to_whoever_is_there():
    book = Book()
    (one,) = book.plan([LINE], FARS, RULES, START, Random(1))
    everything = (1_000_000_000, 1_000_000_000)
    assert book.free(FARS["core"], LINE.place, one.start, one.start + MINUTE, everything) == (True, True)
    book.give_way("ban-phue", "fibre", "other", one.start + MINUTE)
    book.give_way("ban-phue", "fibre", "core", one.start)
    assert list(book.planned) == [LINE.place]
    book.give_way("ban-phue", "fibre", "core", one.start + 1)
    assert book.planned == {}

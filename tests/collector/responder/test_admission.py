"""The responder's ledger: who is let in, how much all together may use, and that nothing is used twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.responder import admission as module
from collector.responder.admission import Admission, Capacity, Denial, Denied, Session
from tests.support.lending import CHALLENGE, MBPS, NOW, SECRET, granted, ledger, opened
from wire.clock import MINUTE, SECOND
from wire.lease import Grant, Purpose, proof


def denied(admission: Admission, given: Grant, now: int = NOW, **more: object) -> Denial:
    with pytest.raises(Denied) as no:
        opened(admission, given, now, **more)  # type: ignore[arg-type]
    return no.value.denial


def test_a_good_lease_opens_once() -> None:
    admission, given = ledger(), granted()
    session = opened(admission, given)
    assert (session.down, session.up, session.capped) == (50 * MBPS, 20 * MBPS, False)
    assert denied(admission, given) is Denial.REPLAYED
    admission.close(session)
    assert denied(admission, given) is Denial.REPLAYED
    assert dict(admission.counts().opened) == {"throughput": 1}
    assert dict(admission.counts().denied) == {"replayed": 2}


def test_forged_altered_foreign_expired_and_future_leases_open_nothing() -> None:
    admission = ledger()
    good = granted()
    altered = good.token[:10] + ("A" if good.token[10] != "A" else "B") + good.token[11:]
    replaced = Grant(lease=good.lease, token=altered, key=good.key)
    assert denied(admission, granted(secret=b"z" * 32)) is Denial.BAD_LEASE
    assert denied(admission, replaced) is Denial.BAD_LEASE
    assert denied(admission, granted(responder="core")) is Denial.WRONG_RESPONDER
    assert denied(admission, granted(expires=NOW)) is Denial.EXPIRED
    assert denied(admission, granted(issued=NOW + MINUTE, expires=NOW + 2 * MINUTE)) is Denial.NOT_YET
    assert denied(admission, good, purpose=Purpose.LIGHT) is Denial.WRONG_PURPOSE
    assert denied(admission, good, key="ab" * 32) is Denial.BAD_PROOF
    assert admission.sessions == set()
    assert admission.used == {}
    opened(admission, good)  # what was refused burnt nothing


def test_a_token_read_off_the_line_is_worth_nothing() -> None:
    """The proof of one opening neither fits another challenge nor another opening."""
    admission, given = ledger(), granted(Purpose.STAMP)
    shown = proof(bytes.fromhex(given.key), CHALLENGE, b"open")
    for challenge, context in ((b"d" * 16, b"open"), (CHALLENGE, b"other")):
        with pytest.raises(Denied) as no:
            admission.admit(given.token, shown, challenge, Purpose.STAMP, "192.0.2.9", NOW, context)
        assert no.value.denial is Denial.BAD_PROOF


def test_a_single_use_lease_of_before_the_start_is_a_replay_and_a_stamp_lease_is_not() -> None:
    admission = ledger(started=NOW + SECOND)
    for purpose in (Purpose.THROUGHPUT, Purpose.LIGHT, Purpose.CALL):
        assert denied(admission, granted(purpose), NOW + 2 * SECOND) is Denial.REPLAYED
    opened(admission, granted(Purpose.STAMP), NOW + 2 * SECOND)
    opened(admission, granted(Purpose.CALL, issued=NOW + SECOND), NOW + 2 * SECOND)


def test_a_lease_is_remembered_as_long_as_it_could_be_used() -> None:
    admission, given = ledger(), granted(expires=NOW + 60 * SECOND)
    opened(admission, given)
    assert denied(admission, given, NOW + 59 * SECOND) is Denial.REPLAYED
    admission.expire(NOW + 60 * SECOND)
    assert admission.used == {}
    assert denied(admission, given, NOW + 60 * SECOND) is Denial.EXPIRED


def test_a_denial_for_want_of_room_burns_no_lease() -> None:
    admission, second = ledger(down=60 * MBPS), granted(site="phen")
    first = opened(admission, granted())
    assert denied(admission, second) is Denial.BUSY
    admission.close(first)
    admission.close(first)
    opened(admission, second)


def test_one_test_alone_may_want_more_than_there_is_and_runs_capped() -> None:
    admission = ledger(down=80 * MBPS, up=200 * MBPS)
    session = opened(admission, granted(down=200 * MBPS, up=80 * MBPS))
    assert (session.down, session.up, session.capped) == (80 * MBPS, 80 * MBPS, True)
    assert denied(admission, granted(site="phen", down=1, up=0)) is Denial.BUSY
    opened(admission, granted(site="phen", down=0, up=120 * MBPS))


def test_two_that_do_not_fit_together_do_not_run_together() -> None:
    admission = ledger(down=100 * MBPS, up=100 * MBPS)
    opened(admission, granted(Purpose.CALL, down=5 * MBPS, up=5 * MBPS))
    assert denied(admission, granted(down=96 * MBPS, up=0)) is Denial.BUSY
    assert denied(admission, granted(down=0, up=96 * MBPS)) is Denial.BUSY
    opened(admission, granted(down=95 * MBPS, up=95 * MBPS))


def test_stamp_never_keeps_a_test_out_and_is_bounded_whatever_its_lease_says() -> None:
    admission = ledger(down=100 * MBPS, up=100 * MBPS)
    stamp = opened(admission, granted(Purpose.STAMP, down=100 * MBPS, up=100 * MBPS))
    assert (stamp.down, stamp.up) == (100_000, 100_000)
    session = opened(admission, granted(down=200 * MBPS, up=100 * MBPS))
    assert session.down == 100 * MBPS
    opened(admission, granted(Purpose.STAMP))


def test_never_two_throughput_tests_on_one_link() -> None:
    admission = ledger(down=1000 * MBPS, up=1000 * MBPS)
    opened(admission, granted())
    assert denied(admission, granted()) is Denial.BUSY
    opened(admission, granted(link="copper"))
    opened(admission, granted(site="phen"))
    opened(admission, granted(Purpose.CALL))


def test_a_stamp_lease_that_is_opened_again_replaces_its_session() -> None:
    admission, given = ledger(), granted(Purpose.STAMP)
    first = opened(admission, given)
    second = opened(admission, given, NOW + SECOND)
    assert admission.sessions == {second}
    assert first.closed
    assert not first.may_send(100, NOW + SECOND)
    assert second.may_send(100, NOW + SECOND)


def test_sessions_are_bounded_in_all_and_of_one_source() -> None:
    admission = ledger(sessions=3, of_one_source=2)
    for _ in range(2):
        opened(admission, granted(Purpose.STAMP), source="192.0.2.1")
    assert denied(admission, granted(Purpose.STAMP), source="192.0.2.1") is Denial.TOO_MANY_OF_SOURCE
    opened(admission, granted(Purpose.STAMP), source="192.0.2.2")
    assert denied(admission, granted(Purpose.STAMP), source="192.0.2.3") is Denial.BUSY


def test_one_subscriber_of_ipv6_is_one_source() -> None:
    admission = ledger(of_one_source=1)
    opened(admission, granted(Purpose.STAMP), source="2001:db8::1")
    assert denied(admission, granted(Purpose.STAMP), source="2001:db8::2") is Denial.TOO_MANY_OF_SOURCE
    opened(admission, granted(Purpose.STAMP), source="2001:db8:0:1::2")


def test_a_forgotten_stamp_session_gives_way_to_a_new_one() -> None:
    admission = ledger(of_one_source=2)
    forgotten = opened(admission, granted(Purpose.STAMP, expires=NOW + MINUTE * 60, seconds=3600.0))
    talking = opened(admission, granted(Purpose.STAMP, expires=NOW + MINUTE * 60, seconds=3600.0))
    later = NOW + 61 * SECOND
    assert talking.may_take(80, later)
    new = opened(admission, granted(Purpose.STAMP, expires=NOW + MINUTE * 60, seconds=3600.0), later)
    assert admission.sessions == {talking, new}
    assert forgotten.closed
    assert denied(admission, granted(Purpose.STAMP), later - 2 * SECOND) is Denial.TOO_MANY_OF_SOURCE


def test_whoever_opens_badly_too_often_waits_and_nobody_else_does() -> None:
    admission = ledger()
    bad = granted(secret=b"z" * 32)
    causes = [denied(admission, bad) for _ in range(25)]
    assert causes == [Denial.BAD_LEASE] * 20 + [Denial.TOO_MANY_FAILURES] * 5
    assert denied(admission, granted()) is Denial.TOO_MANY_FAILURES
    opened(admission, granted(), source="192.0.2.2")
    opened(admission, granted(site="phen"), NOW + 2 * SECOND)


def test_good_openings_and_want_of_room_never_count_as_bad() -> None:
    admission = ledger(of_one_source=1)
    session = opened(admission, granted(Purpose.STAMP))
    for _ in range(50):
        assert denied(admission, granted(Purpose.STAMP)) is Denial.TOO_MANY_OF_SOURCE
    admission.close(session)
    for _ in range(50):
        admission.close(opened(admission, granted(Purpose.STAMP)))


def test_a_session_ends_with_its_lease_or_with_its_time() -> None:
    admission = ledger(down=1000 * MBPS, up=1000 * MBPS)
    short = opened(admission, granted(seconds=10.0, expires=NOW + 60 * SECOND))
    until = opened(admission, granted(site="phen", seconds=50.0, expires=NOW + 60 * SECOND))
    call = opened(admission, granted(Purpose.CALL, seconds=20.0))
    stamp = opened(admission, granted(Purpose.STAMP, seconds=20.0))
    assert (call.ends(), stamp.ends()) == (NOW + 25 * SECOND, NOW + 20 * SECOND)
    admission.close(call)
    admission.close(stamp)
    assert short.ends() == NOW + 25 * SECOND
    assert until.ends() == NOW + 60 * SECOND
    assert admission.expire(NOW + 25 * SECOND - 1) == []
    assert admission.expire(NOW + 25 * SECOND) == [short]
    assert not short.may_send(1, NOW + 24 * SECOND)
    assert not until.may_take(1, NOW + 60 * SECOND)


def test_bytes_are_counted_by_purpose_once() -> None:
    admission = ledger()
    session = opened(admission, granted())
    session.sent, session.received = 1000, 300
    assert admission.counts().sent == {"throughput": 1000}
    admission.close(session)
    admission.close(session)
    assert (admission.counts().sent, admission.counts().received) == ({"throughput": 1000}, {"throughput": 300})


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_USED", 3)
    admission = ledger()
    for _ in range(3):
        admission.close(opened(admission, granted(Purpose.CALL)))
    assert denied(admission, granted(Purpose.CALL)) is Denial.BUSY
    opened(admission, granted(Purpose.CALL, expires=NOW + 5 * MINUTE), NOW + MINUTE)
    assert len(admission.used) == 1


def test_a_clock_that_is_set_back_denies_nobody() -> None:
    """It was an hour ahead when the responder started and when somebody opened badly."""
    ahead = NOW + 60 * MINUTE
    admission = ledger(started=ahead)
    assert denied(admission, granted(), ahead) is Denial.EXPIRED
    opened(admission, granted(), NOW)


def test_no_secret_shows() -> None:
    admission = ledger()
    opened(admission, granted())
    assert repr(SECRET) not in repr(admission)
    (session,) = admission.sessions
    assert repr(session.key) not in repr(session)
    given = granted()
    assert given.key not in repr(given)
    assert given.token not in repr(given)


rates = st.integers(0, 150).map(lambda one: one * MBPS)


class Ledger(RuleBasedStateMachine):
    """Whatever the sequence of openings, closings and time: capacity is kept, no single-use lease opens twice."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission("hall", SECRET, Capacity(100 * MBPS, 60 * MBPS, 12, 6), NOW)
        self.now = NOW
        self.grants: list[Grant] = []
        self.opened: list[str] = []

    @rule(
        purpose=st.sampled_from(Purpose),
        down=rates,
        up=rates,
        seconds=st.floats(0.1, 50),
        site=st.sampled_from("abcd"),
        source=st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]),
    )
    def open_new(self, purpose: Purpose, down: int, up: int, seconds: float, site: str, source: str) -> None:
        until = self.now + 40 * SECOND
        given = granted(
            purpose, down=down, up=up, seconds=seconds, site=site, issued=self.now, expires=until, id=self.next_id()
        )
        self.grants.append(given)
        self.try_to_open(given, source)

    def next_id(self) -> str:
        return f"{len(self.grants):016x}"

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def open_again(self, data: st.DataObject) -> None:
        self.try_to_open(data.draw(st.sampled_from(self.grants)), "192.0.2.3")

    def try_to_open(self, given: Grant, source: str) -> None:
        try:
            session = opened(self.admission, given, self.now, source=source)
        except Denied:
            return
        assert session.down <= given.lease.down
        assert session.up <= given.lease.up
        if given.lease.purpose is not Purpose.STAMP:
            assert given.lease.id not in self.opened
        self.opened.append(given.lease.id)

    @precondition(lambda self: self.admission.sessions)
    @rule(data=st.data())
    def close_one(self, data: st.DataObject) -> None:
        open_now = sorted(self.admission.sessions, key=lambda one: one.lease.id)
        self.admission.close(data.draw(st.sampled_from(open_now)))

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    @rule()
    def expire(self) -> None:
        over = self.admission.expire(self.now)
        assert all(self.now >= one.ends() for one in over)
        assert all(self.now < one.ends() for one in self.admission.sessions)

    @invariant()
    def capacity_is_kept(self) -> None:
        weighed = [one for one in self.admission.sessions if one.lease.purpose is not Purpose.STAMP]
        assert sum(one.down for one in weighed) <= 100 * MBPS
        assert sum(one.up for one in weighed) <= 60 * MBPS
        assert len(self.admission.sessions) <= 12
        capped = [one for one in weighed if one.capped]
        assert len(capped) <= 1
        assert all(one.down <= 100_000 for one in self.admission.sessions if one not in weighed)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 40_000)), max_size=80), st.sampled_from([1, 8, 100]))
def test_a_session_never_sends_more_than_its_rate_and_a_tenth_of_a_second(
    steps: list[tuple[int, int]], mbps: int
) -> None:
    session: Session = opened(ledger(), granted(down=mbps * MBPS, up=0))
    now, depth = NOW, max(3000.0, mbps * MBPS / 80)
    for pause, size in steps:
        now += pause
        if session.may_send(size, now):
            session.sent += size
        # one burst may be larger than the slack, as packets are not cut
        assert session.sent <= mbps * MBPS / 8 * (now - NOW) / SECOND + depth + 40_000
        assert not session.may_take(1, now)

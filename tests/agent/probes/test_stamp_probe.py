"""The probe against the real reflector over loopback: windows, leases that are not given, silent responders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agent.probe import Finding, LeaseRefused, Span, Target, load, unknown_measures
from agent.probes.stamp import Stamp, StampSettings, flow
from collector.responder.admission import Admission, Capacity
from collector.responder.stamp import Server, serve
from tests.support.lending import SECRET
from tests.support.stamp_lender import Lender, now
from wire.kernel_clock import ClockState
from wire.measures import MEASURES
from wire.reasons import Outcome, Reason

GOOD_CLOCK = ClockState(True, 2_000_000)


Begin = Callable[[str, int], Awaitable[Server]]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    found: list[Server] = []

    async def serving(host: str = "127.0.0.1", port: int = 0) -> Server:
        found.append(await serve(host, port, Admission("hall", SECRET, Capacity(10**8, 10**8), now()), now))
        return found[-1]

    yield serving
    for one in found:
        await one.close()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventeen packets a second: below the twenty that are reflected."""
    monkeypatch.setattr(flow, "INTERVAL", 0.06)


@pytest.fixture
def probe():
    made = Stamp()
    yield made
    made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Looks often; a test that never sees it fails."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass in ten seconds")


def target(server: Server | int, lender: Lender, host: str = "127.0.0.1") -> Target:
    port = server if isinstance(server, int) else server.port
    return Target("hall", "", StampSettings(responder="hall", host=host, port=port), lender)


async def window(probe: Stamp, at: Target, seconds: float = 0.6) -> Finding:
    found = await probe.measure(at, Span(seconds, seconds + 10))
    assert not unknown_measures(found, MEASURES)
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_window_is_measured(begin, probe, host):
    server = await begin(host)
    found = await window(probe, target(server, Lender(), host))
    assert (found.outcome, found.reason) == (Outcome.OK, None)
    counts = found.counts
    assert counts["sent"] == counts["sent_up"] == counts["sent_down"] >= 3
    assert {counts[name] for name in ("lost", "lost_up", "lost_down", "late", "duplicates", "reordered")} == {0}
    assert set(found.durations) >= {"rtt", "delay_variation_up", "delay_variation_down"}
    assert found.durations["rtt"].count == counts["sent"]
    assert 0 < found.durations["rtt"].low < 1e9
    assert 3 < found.values["mos"] < 4.5


async def test_windows_follow_each_other_in_one_session_and_lose_nothing(begin, probe):
    server, lender = await begin(), Lender()
    at = target(server, lender)
    first = asyncio.create_task(window(probe, at))
    await asyncio.sleep(0.6)
    second = asyncio.create_task(window(probe, at))
    found = [await first, await second]
    await window(probe, at, 0.3)
    assert lender.asked == 1
    assert [one.counts["lost"] for one in found] == [0, 0]
    assert all(one.counts["sent"] == one.counts["sent_up"] for one in found)
    assert server.reflector.sessions == 1


async def test_a_lease_that_is_refused_is_no_fault_of_the_link(probe):
    refusal = LeaseRefused(Reason.NO_LEASE, "the collector does not answer")
    found = await window(probe, target(9, Lender(refusal)), 0.3)
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.NO_LEASE)
    assert found.facts["detail"] == "the collector does not answer"
    assert found.counts == {}


async def test_a_lease_that_comes_late_in_the_window_is_used(begin, probe, monkeypatch):
    from agent.probes.stamp import session

    monkeypatch.setattr(session, "ASK_AGAIN", 100_000_000)
    server = await begin()
    lender = Lender(LeaseRefused(Reason.NO_LEASE, "not yet"))
    measuring = asyncio.create_task(window(probe, target(server, lender), 1.0))
    await until(lambda: lender.asked > 1)
    lender.refusal = None
    assert (await measuring).outcome is Outcome.OK


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_responder_that_never_answers_is_silent(begin, probe, host):
    server = await begin(host)
    await server.close()
    found = await window(probe, target(server, Lender(), host))
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)


async def test_a_lease_signed_by_another_collector_meets_silence(begin, probe):
    found = await window(probe, target(await begin(), Lender(secret=b"?" * 32)))
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)


async def test_a_responder_that_has_no_room_says_so(begin, probe):
    server = await begin()
    server.reflector._admission.capacity.sessions = 0
    found = await window(probe, target(server, Lender()))
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.RESPONDER_BUSY)


async def test_a_responder_that_goes_away_in_a_session_is_silent_and_its_packets_lost(begin, probe):
    server = await begin()
    at = target(server, Lender())
    await window(probe, at, 0.3)
    await server.close()
    found = await window(probe, at, 0.3)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)
    assert found.counts["lost"] == found.counts["sent"] > 0
    assert found.counts["lost_up"] == found.counts["lost_down"] == 0  # nobody can say on which way


async def test_a_responder_that_restarts_in_a_window_invents_no_loss(begin, probe, monkeypatch):
    from agent.probes.stamp import session

    monkeypatch.setattr(session, "SILENCE", 200_000_000)
    server = await begin()
    at = target(server, Lender())
    measuring = asyncio.create_task(window(probe, at, 1.5))
    await until(lambda: server.reflector.sessions > 0)
    await server.close()
    await begin("127.0.0.1", server.port)
    found = await measuring
    assert found.outcome is Outcome.OK
    assert found.facts["forgotten"] == "1"
    assert found.counts["lost"] == found.counts["lost_up"] == found.counts["lost_down"] == 0


async def test_what_a_cut_window_has_is_told(begin, probe):
    server = await begin()
    measuring = asyncio.create_task(window(probe, target(server, Lender()), 60.0))
    await until(lambda: any(one.count for one in server.reflector._sessions.values()))
    measuring.cancel()
    found = await measuring
    assert found.counts["sent"] >= 0
    assert found.counts["lost"] == 0


async def test_one_way_delays_need_both_clocks(begin, probe):
    server = await begin()
    found = await window(probe, target(server, Lender()))
    if found.facts.get("one_way"):  # of the machine that runs this test
        assert "unsynchronised" in found.facts["one_way"] or "clocks_off_by" in found.facts["one_way"]
    server = await begin()
    server.look = lambda: GOOD_CLOCK
    made = Stamp(lambda: GOOD_CLOCK)
    found = await window(made, target(server, Lender()))
    made.close()
    assert "one_way" not in found.facts
    assert 0.004 <= found.values["one_way_error"] < 0.0041
    assert found.durations["delay_up"].count == found.durations["delay_down"].count == found.counts["sent"]
    assert found.durations["delay_up"].high < 1e9


async def test_a_name_that_does_not_exist_is_told(probe):
    found = await window(probe, target(9, Lender(), "no-such-host.invalid"))
    assert found.outcome is Outcome.FAILED


def test_it_is_a_trickle():
    info = load("stamp")
    assert info.window == info.every == 60.0
    bits = (112 + 28) * 8 / 0.1
    assert bits < 50_000

"""The call probe: a call over the loopback, and what it says where there is none."""

import asyncio
import socket
from typing import Any

import pytest

from agent.addresses import Address
from agent.findings import mistake_in
from agent.probe import Finding, Leases, NoLeases, Span, Target
from agent.probes.call import Call, CallSettings, facts_of, results, summed
from agent.probes.call.conversation import Conversation
from tests.support.udp_ends import MBPS, Lender, responding
from wire.call_stream import cost, timetable
from wire.lease import Purpose
from wire.reasons import Limit, Outcome, Reason
from wire.udp_tests import Done, Opened, Phase, Plan, Why

PLAN = Plan(test="call", payload=1372, down=MBPS, up=2 * MBPS, seconds=1.0)
DOWN, UP = (timetable(rate, 1372, 28, 1.0) for rate in (MBPS, 2 * MBPS))


async def call(port: int, leases: Leases, **more: Any) -> Finding:
    given: dict[str, Any] = {"seconds": 1.0, "responder": "hall"} | more
    settings = CallSettings(host="127.0.0.1", port=port, **given)
    return await Call().measure(Target("zoom", "zoom", settings, leases), Span(0, 40))


async def test_a_call_over_a_good_path_has_lost_nothing():
    lender = Lender(down=5 * MBPS, up=5 * MBPS, seconds=20.0)
    async with responding() as (server, admission):
        finding = await call(server.port, lender, download=MBPS, upload=2 * MBPS)
        while admission.sessions:  # noqa: ASYNC110 - the farewell is on its way
            await asyncio.sleep(0.01)
    assert lender.asked == [(Purpose.CALL, "hall", "", "zoom")]
    assert finding.outcome is Outcome.OK
    assert mistake_in(finding) == ""
    down, up = finding.results
    for one, items in ((down, DOWN), (up, UP)):
        assert (one.engine, one.outcome, one.valid, one.limits) == ("call", Outcome.OK, True, ())
        assert one.counts["sent"] == len(items)
        assert one.counts["test_bytes"] == cost(items)
        assert (one.counts["lost"], one.counts["duplicates"], one.counts["reordered"]) == (0, 0, 0)
        assert one.durations["delay"].count == len(items)
        assert one.values["test_duration"] >= 0.9
        assert one.facts["rates_from"].startswith("NUS on Zoom")
    assert finding.counts["sent"] == len(DOWN) + len(UP)


async def test_a_responder_with_less_than_a_seat_needs_is_our_limit():
    async with responding() as (server, _):
        finding = await call(server.port, Lender(down=200_000, up=5 * MBPS), download=MBPS, upload=MBPS)
    down, up = finding.results
    assert (down.outcome, down.limits, down.valid) == (Outcome.OK, (Limit.RESPONDER_CAPACITY,), False)
    assert (up.limits, up.valid) == ((), True)


async def test_without_a_lease_nothing_is_sent():
    finding = await call(9, NoLeases())
    assert (finding.outcome, finding.reason, finding.results) == (Outcome.SKIPPED, Reason.NO_LEASE, [])
    assert finding.facts["detail"] == "this agent has not joined a collector, which alone grants leases"


async def test_a_closed_port_is_a_silent_responder():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    finding = await call(port, Lender())
    assert (finding.outcome, finding.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)


async def test_a_forged_lease_meets_a_silence_that_is_no_session(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wire.udp_opening.PATIENCE", 200_000_000)
    async with responding() as (server, admission):
        finding = await call(server.port, Lender(secret=b"z" * 32))
        assert admission.sessions == set()
    assert (finding.outcome, finding.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)


async def test_a_lease_for_another_responder_is_no_failure_of_the_path():
    async with responding() as (server, _):
        finding = await call(server.port, Lender(responder="another"))
    assert (finding.outcome, finding.reason) == (Outcome.SKIPPED, Reason.NO_LEASE)


async def test_cancelled_it_leaves_nothing_open():
    async with responding() as (server, admission):
        task = asyncio.create_task(call(server.port, Lender(seconds=20.0)))
        while not admission.sessions:  # noqa: ASYNC110 - what it waits for happens in a thread
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert admission.sessions == set()


class FakeTalk:
    payload, overhead = 1372, 28


def ran(**more: Any) -> Conversation:
    """A call in which all came through, but for what is said."""
    made = Conversation(Opened(b"", b"", MBPS, 2 * MBPS), PLAN, FakeTalk())  # type: ignore[arg-type]
    made.end = made.start + 1_000_000
    made.sent_up = len(UP)
    made.done = Done(b"", Phase.BOTH, Why.COMPLETE, len(DOWN), 0)
    made.arrivals_down = [(number, 0) for number in range(len(DOWN))]
    made.arrivals_up = [(number, 0) for number in range(len(UP))]
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_a_bad_call_was_measured_and_did_not_fail():
    half = [(number, 0) for number in range(0, len(DOWN), 2)]
    finding = summed(results(ran(arrivals_down=half), PLAN, {}))
    assert finding.outcome is Outcome.OK
    assert finding.results[0].counts["lost"] == len(DOWN) // 2
    assert finding.results[0].counts["freezes"] == 1
    assert finding.results[0].durations["delay"].lost == len(DOWN) // 2
    assert finding.counts["lost"] == len(DOWN) // 2


def test_a_direction_in_which_nothing_came_is_blocked():
    down, up = results(ran(arrivals_up=[]), PLAN, {})
    assert (down.outcome, up.outcome, up.reason) == (Outcome.OK, Outcome.FAILED, Reason.UDP_BLOCKED)
    assert summed([down, up]).reason is Reason.UDP_BLOCKED


def test_packets_that_this_machine_had_no_room_for_are_its_own_limit():
    down, up = results(ran(overflow=3), PLAN, {})
    assert (down.limits, down.valid, up.limits, up.valid) == ((Limit.CPU_BUSY,), False, (), True)


def test_a_call_without_the_responder_s_last_word_broke_off():
    arrived = [(number, 0) for number in range(50)]
    for one in (ran(done=None, arrivals_down=arrived), ran(arrivals_up=None)):
        found = results(one, PLAN, {})
        assert {(each.outcome, each.reason) for each in found} == {(Outcome.FAILED, Reason.BROKEN_OFF)}
        assert all(Limit.CUT_SHORT in each.limits for each in found)
    assert results(ran(done=None, arrivals_down=arrived), PLAN, {})[0].counts["sent"] == 50


def test_an_address_is_told_only_if_it_is_public():
    private, public = (Address(socket.AF_INET, (ip, 1)) for ip in ("10.0.0.1", "8.8.8.8"))
    settings = CallSettings(host="hall", responder="hall", source="a letter")
    assert facts_of(private, settings) == {"family": "ipv4", "rates_from": "a letter", "responder": "hall"}
    assert facts_of(public, settings)["address"] == "8.8.8.8"

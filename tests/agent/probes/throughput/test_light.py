"""The light check: what each course means, and a run over the loopback."""

import asyncio
import socket

import pytest

from agent.probe import LeaseRefused, Leases, NoLeases, Result
from agent.probes.throughput.engine import Direction, Progress, Terms
from agent.probes.throughput.light import ENGINE, Ran, judgement, rates, result
from agent.probes.throughput.stream import Course
from agent.udp_session import Silent, TurnedAway, unopened
from tests.support.udp_ends import MBPS, Lender, responding
from wire import udp_opening
from wire.lease import Purpose
from wire.paced import cost
from wire.reasons import Limit, Outcome, Reason
from wire.settings import ContractTerms, ResponderAt
from wire.udp_tests import Phase, Report, Why

CONTRACT = ContractTerms(download=20 * MBPS, upload=8 * MBPS)
BOTH = (Direction.DOWN, Direction.UP)


def terms(port: int, leases: Leases, host: str = "127.0.0.1", **more: object) -> Terms:
    place = ResponderAt(id="hall", host=host, udp_port=port)
    return Terms(place, CONTRACT, leases)._replace(**more)  # type: ignore[arg-type]


async def test_a_good_path_proves_95_percent_of_the_contract():
    told: list[Progress] = []
    async with responding() as (server, admission):
        lender = Lender(down=30 * MBPS, up=30 * MBPS)
        found = await ENGINE.run(terms(server.port, lender, slot="slot-1", progress=told.append))
        while admission.sessions:  # noqa: ASYNC110 - the farewell is on its way
            await asyncio.sleep(0.01)
    assert lender.asked == [(Purpose.LIGHT, "hall", "slot-1", "")]
    for one, contract in zip(found, (20e6, 8e6), strict=True):
        assert (one.engine, one.outcome, one.reason) == ("light", Outcome.OK, None), one
        assert 0.3 * contract < one.values["at_least"] <= 0.95 * contract, "a busy machine may send less, never more"
        assert one.valid == (one.limits == ())
        assert one.counts["lost"] == 0
        assert one.counts["test_bytes"] == one.counts["sent"] * 1400
        assert one.counts["test_bytes"] < contract / 8 * 0.6
        assert one.facts["responder"] == "hall"
        assert one.start < one.end
    assert [one.direction for one in found] == ["down", "up"]
    assert set(found[0].durations) == {"delay"}
    assert {one.direction for one in told} == set(BOTH)
    assert max(one.rate for one in told) > 8e6


async def test_only_the_direction_asked_for_is_run():
    async with responding() as (server, admission):
        found = await ENGINE.run(terms(server.port, Lender(), directions=(Direction.UP,)))
        assert [(one.direction, one.outcome) for one in found] == [("up", Outcome.OK)]
        assert admission.counts().sent["light"] < 20_000, "reports only"


async def test_a_responder_with_less_than_the_contract_is_our_limit():
    async with responding() as (server, _):
        down, up = await ENGINE.run(terms(server.port, Lender(down=5 * MBPS, up=0)))
    assert (down.outcome, down.limits[:1], down.valid) == (Outcome.OK, (Limit.RESPONDER_CAPACITY,), False)
    assert 0 < down.values["at_least"] <= 5 * MBPS * 1.001
    assert (up.outcome, up.reason) == (Outcome.SKIPPED, Reason.RESPONDER_BUSY)
    assert Limit.RESPONDER_CAPACITY in up.limits


async def test_without_a_contract_nothing_is_sent():
    lender = Lender()
    found = await ENGINE.run(terms(9, lender)._replace(contract=None))
    assert [(one.outcome, one.reason) for one in found] == [(Outcome.SKIPPED, Reason.CONTRACT_UNKNOWN)] * 2
    assert lender.asked == []


async def test_without_a_lease_nothing_is_sent():
    with pytest.raises(LeaseRefused):
        await ENGINE.run(terms(9, NoLeases()))


async def test_a_closed_port_is_a_silent_responder():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    found = await ENGINE.run(terms(port, Lender()))
    assert [(one.outcome, one.reason) for one in found] == [(Outcome.FAILED, Reason.RESPONDER_SILENT)] * 2
    assert found[0].facts["detail"] == "nothing listens there (ICMP port unreachable)"


async def test_a_mute_port_is_a_silent_responder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(udp_opening, "PATIENCE", 200_000_000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        found = await ENGINE.run(terms(mute.getsockname()[1], Lender()))
    assert [(one.outcome, one.reason) for one in found] == [(Outcome.FAILED, Reason.RESPONDER_SILENT)] * 2
    assert found[0].facts["detail"] == "no answer"


async def test_a_name_that_does_not_resolve_is_said():
    found = await ENGINE.run(terms(9, Lender(), host="responder.invalid"))
    assert {one.outcome for one in found} == {Outcome.FAILED}


async def test_a_lease_that_the_responder_does_not_know_is_no_failure_of_the_path():
    async with responding() as (server, _):
        found = await ENGINE.run(terms(server.port, Lender(responder="another")))
    assert [(one.outcome, one.reason) for one in found] == [(Outcome.SKIPPED, Reason.NO_LEASE)] * 2
    assert found[0].facts["detail"] == "the responder did not open the session: wrong_responder"


async def test_cancelled_it_leaves_nothing_open():
    async with responding() as (server, admission):
        task = asyncio.create_task(ENGINE.run(terms(server.port, Lender())))
        while not admission.sessions:  # noqa: ASYNC110 - what it waits for happens in a thread
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert admission.sessions == set()
    assert admission.counts().sent["light"] < cost(round(CONTRACT.download * 0.95)) / 2, "it did not go on to its end"


@pytest.mark.parametrize(("layer", "factor"), [("ip", 1.0), ("ethernet", 1.0), ("tcp", 1500 / 1448)])
def test_the_rate_is_95_percent_of_the_contract_at_the_ip_layer(layer: str, factor: float):
    contract = ContractTerms(download=200 * MBPS, upload=80 * MBPS, layer=layer)
    assert rates(contract, BOTH) == {
        Direction.DOWN: round(190 * MBPS * factor),
        Direction.UP: round(76 * MBPS * factor),
    }
    assert rates(contract, (Direction.UP,))[Direction.DOWN] == 0


def course(why: Why = Why.COMPLETE, sent: int = 1000, size: int = 1400, **more: int) -> Course:
    settled = {"final": 1, "received": sent, "bytes": sent * size, "top_bytes": 23_750_000, "top_time": 1_000_000_000}
    return Course(0, 1_000_000, why, sent, Report(b"", Phase.DOWN, **(settled | more)), size)


def found(one: Course, direction: Direction = Direction.DOWN, allowed: int = 200 * MBPS) -> Result:
    return result(direction, Ran(one, allowed), 190 * MBPS, {})


def test_a_whole_run_proves_its_rate():
    one = found(course())
    assert (one.outcome, one.values["at_least"], one.valid, one.limits) == (Outcome.OK, 190e6, True, ())
    assert one.facts["proven_for_seconds"] == "1.000"
    assert one.durations == {}


def test_no_more_is_claimed_than_was_sent():
    assert found(course(top_bytes=25_000_000)).values["at_least"] == 190e6


OWN, FAR = Direction.DOWN, Direction.UP


@pytest.mark.parametrize(
    ("direction", "one", "share", "expected"),
    [
        (OWN, course(), 1.0, (Outcome.OK, None, ())),
        (OWN, course(), 0.9, (Outcome.OK, None, (Limit.SENDER_IDLE, Limit.RESPONDER_CPU))),
        (FAR, course(), 0.9, (Outcome.OK, None, (Limit.SENDER_IDLE, Limit.CPU_BUSY))),
        (OWN, course(Why.DELAY_ROSE), 0.0, (Outcome.SKIPPED, Reason.DELAY_ROSE, (Limit.CUT_SHORT,))),
        (OWN, course(Why.LOSS_SEEN), 0.0, (Outcome.SKIPPED, Reason.LOSS_SEEN, (Limit.CUT_SHORT,))),
        (OWN, course(Why.SILENCE), 0.0, (Outcome.SKIPPED, Reason.LOSS_SEEN, (Limit.CUT_SHORT,))),
        (OWN, course(Why.STUCK), 0.0, (Outcome.SKIPPED, Reason.LOSS_SEEN, (Limit.CUT_SHORT,))),
        (OWN, course(Why.OVERFLOW), 0.0, (Outcome.ERROR, Reason.NO_RESOURCES, (Limit.CPU_BUSY, Limit.CUT_SHORT))),
        (
            FAR,
            course(Why.OVERFLOW),
            0.0,
            (Outcome.SKIPPED, Reason.RESPONDER_BUSY, (Limit.RESPONDER_CPU, Limit.CUT_SHORT)),
        ),
        (
            OWN,
            course(Why.LEASE),
            0.0,
            (Outcome.SKIPPED, Reason.RESPONDER_BUSY, (Limit.RESPONDER_CAPACITY, Limit.CUT_SHORT)),
        ),
        (OWN, course(Why.SILENCE, final=0), 0.0, (Outcome.FAILED, Reason.BROKEN_OFF, (Limit.CUT_SHORT,))),
        (
            OWN,
            course(Why.SILENCE, sent=0, final=0),
            0.0,
            (Outcome.FAILED, Reason.RESPONDER_SILENT, (Limit.CUT_SHORT,)),
        ),
        # The sender had finished when the last packets were found missing, or the last delays long.
        (OWN, course(lost=20), 1.0, (Outcome.SKIPPED, Reason.LOSS_SEEN, (Limit.CUT_SHORT,))),
        (OWN, course(rise=21_000_000), 1.0, (Outcome.SKIPPED, Reason.DELAY_ROSE, (Limit.CUT_SHORT,))),
        (
            OWN,
            course(lost=20, overflow=20),
            1.0,
            (Outcome.ERROR, Reason.NO_RESOURCES, (Limit.CPU_BUSY, Limit.CUT_SHORT)),
        ),
    ],
)
def test_what_a_course_means(
    direction: Direction, one: Course, share: float, expected: tuple[Outcome, Reason | None, tuple[Limit, ...]]
):
    assert judgement(direction, one, share) == expected
    made = found(one, direction)
    if made.outcome is not Outcome.OK:
        assert made.values["at_least"] == 0.0
        assert not made.valid
        assert "rate_until_then_bits_per_second" in made.facts


def test_being_slow_is_never_a_failure():
    for why in Why:
        for direction in BOTH:
            assert judgement(direction, course(why), 0.1)[0] is not Outcome.FAILED


def test_the_rate_until_it_stopped_is_a_fact():
    one = found(course(Why.DELAY_ROSE, sent=500))
    assert one.facts["rate_until_then_bits_per_second"] == str(500 * 1400 * 8)


@pytest.mark.parametrize(
    ("problem", "outcome", "reason"),
    [
        (Silent("no answer", heard=False), Outcome.FAILED, Reason.RESPONDER_SILENT),
        (TurnedAway("busy"), Outcome.SKIPPED, Reason.RESPONDER_BUSY),
        (TurnedAway("too_many_of_source"), Outcome.SKIPPED, Reason.RESPONDER_BUSY),
        (TurnedAway("replayed"), Outcome.SKIPPED, Reason.NO_LEASE),
        (PermissionError(1, "firewall"), Outcome.ERROR, Reason.NO_PERMISSION),
        (OSError(101, "unreachable"), Outcome.FAILED, Reason.NO_ROUTE),
        (OSError(92, "prohibited"), Outcome.FAILED, Reason.UDP_BLOCKED),
        (OSError(24, "too many files"), Outcome.ERROR, Reason.NO_RESOURCES),
    ],
)
def test_why_a_session_did_not_open(problem: Exception, outcome: Outcome, reason: Reason):
    finding = unopened(problem)
    assert (finding.outcome, finding.reason) == (outcome, reason)

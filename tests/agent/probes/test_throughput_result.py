"""From a direction's readings to its result: whose counters, which rate, what it cost, what else passed."""

from typing import Any

import msgspec
import pytest

from agent.probe import NoLeases
from agent.probes.throughput import tcp_result
from agent.probes.throughput.engine import Direction, Terms
from agent.probes.throughput.nearby import Passed
from agent.probes.throughput.tcp_client import Run, counted
from wire.reasons import Limit, Outcome, Reason
from wire.settings import ContractTerms, ResponderAt
from wire.throughput import Effort, Ended, Reading

SEGMENT, OVERHEAD = 1500, 52
CONTRACT = ContractTerms(download=200_000_000, upload=80_000_000)
TERMS = Terms(ResponderAt(id="hall", host="192.0.2.1"), CONTRACT, NoLeases())
RATE = 200e6
ALLOWED = 240_000_000


def at(window: int, rate: float = RATE) -> int:
    """Segments after so many windows of 100 ms."""
    return round(window * rate / 8 / 10 / SEGMENT)


def receiver(windows: int = 8, rate: float = RATE) -> list[Reading]:
    found = []
    for n in range(windows + 1):
        count = at(n, rate)
        found.append(
            Reading(n * 100_000, segments=count, payload=count * 1448, streams=(count // 2, count - count // 2))
        )
    return found


def sender(windows: int = 8, rate: float = RATE, **last: int) -> list[Reading]:
    """The sender's readings: what it sent is repeated in 1 of 100, and its counters go on from an earlier direction."""
    found = []
    for n in range(windows + 1):
        sent = 50 + round(at(n, rate) * 1.01)
        found.append(
            Reading(
                n * 100_000, segments=at(n, rate), payload=at(n, rate) * 1448, sent=sent, bytes=sent * 1448,
                retransmitted=5 + round(at(n, rate) * 0.01), busy=n * 200_000, streams=(at(n, rate), 0),
                rtts=(70_000 + n, 30_000 + n), **{name: value * n // windows for name, value in last.items()},
            )
        )  # fmt: skip
    return found


def nearby(windows: int = 8, other: float = 0.0, rate: float = RATE) -> list[Passed]:
    """The interface's counters: the test's frames, and ``other`` bits per second."""
    down = [at(n, rate) * (SEGMENT + 14) + round(other / 8 * n / 10) for n in range(windows + 1)]
    return [Passed(5.0 + n / 10, 1000 + one, 0) for n, one in enumerate(down)]


def ended(**changes: Any) -> Ended:
    made: dict[str, Any] = {"direction": "down", "reading": sender()[-1], "segment": SEGMENT, "congestion": "cubic"}
    return Ended(**made | changes)


def run(**changes: Any) -> Run:
    made = Run(
        Direction.DOWN, 1_000_000, 1_800_000, receiver(), sender(), SEGMENT, OVERHEAD, Effort(), nearby(),
        told=ended(), cost=25_000_000,
    )  # fmt: skip
    return made._replace(**changes)


def result(terms: Terms = TERMS, allowed: int = ALLOWED, **changes: Any) -> Any:
    return tcp_result.of(run(**changes), [20_100, 20_200], allowed, terms)


def test_a_download():
    found = result()
    assert (found.engine, found.direction, found.outcome, found.limits) == ("tcp", "down", Outcome.OK, ())
    assert (found.start, found.end) == (1_000_000, 1_800_000)
    assert found.values["throughput"] == pytest.approx(RATE, rel=1e-3)
    assert found.values["throughput_mean"] == pytest.approx(RATE, rel=1e-3)
    assert found.values["throughput_payload"] == pytest.approx(RATE * 1448 / 1500, rel=1e-3)
    assert found.values["throughput_contract"] == found.values["throughput"]
    assert found.values["contract"] == 200e6
    assert found.values["test_duration"] == pytest.approx(0.8)
    assert found.values["cross_traffic"] == pytest.approx(0, abs=1e5)
    sent = round(at(8) * 1.01)
    assert found.counts == {
        "test_bytes": 25_000_000,
        "connections": 2,
        "rate_windows": 5,
        "segments": sent,
        "retransmitted": round(at(8) * 0.01),
    }
    assert found.durations["rtt"].high == 20_200_000
    assert found.durations["rtt_loaded"].high == 70_008_000
    assert found.durations["rtt_loaded"].count == 2 * 6  # the six readings around five windows
    assert found.facts["counted"] == "receiver's kernel"
    assert found.facts["congestion"] == "cubic"
    assert found.facts["windows"] == "200.0 199.9 200.0 200.0 199.9 200.0 200.0 199.9"
    assert found.facts["shares"] == "50 50"
    assert found.valid is False  # that is the probe's to say


def test_an_upload_is_counted_by_the_responder():
    ours, theirs = sender(rate=120e6), receiver(rate=80e6)
    found = result(
        direction=Direction.UP, ours=ours, theirs=theirs, told=ended(direction="up", reading=theirs[-1], congestion="")
    )
    assert found.values["throughput"] == pytest.approx(80e6, rel=1e-3)
    assert found.values["contract"] == 80e6
    assert found.counts["segments"] == round(at(8, 120e6) * 1.01)


def test_the_sender_counts_where_the_receiver_s_system_cannot():
    silent = [Reading(one.at, payload=one.payload) for one in receiver()]
    found = result(ours=silent)
    assert found.facts["counted"] == "sender's kernel"
    assert found.values["throughput"] == pytest.approx(RATE, rel=1e-3)
    assert Limit.CLIENT_COUNTED not in found.limits
    assert "cross_traffic" not in found.values


def test_an_application_s_count_is_the_last_resort():
    silent = [Reading(one.at, payload=one.payload) for one in receiver()]
    found = result(ours=silent, theirs=silent, segment=0, told=ended(reading=Reading(0), segment=0))
    assert found.facts["counted"] == "receiver's application"
    assert found.values["throughput"] == pytest.approx(RATE * 1448 / 1500, rel=1e-3)
    assert Limit.CLIENT_COUNTED in found.limits
    assert "rtt_loaded" not in found.durations


def test_the_receiver_is_preferred():
    assert counted(receiver(), sender()) == receiver()
    assert counted([], sender()) == sender()
    assert counted([Reading(0)], sender()) == sender()
    assert counted(receiver(), []) == receiver()
    assert counted([Reading(0)], [Reading(0)]) == [Reading(0)]


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"theirs": sender(rwnd_limited=400_000)}, Limit.RECEIVE_WINDOW),
        ({"theirs": sender(sndbuf_limited=400_000)}, Limit.SEND_BUFFER),
        ({"theirs": sender(held=100_000)}, Limit.RESPONDER_CAPACITY),
        ({"effort": Effort(thread=0.9)}, Limit.CPU_BUSY),
        ({"told": ended(effort=Effort(all=0.95))}, Limit.RESPONDER_CPU),
        ({"told": ended(cut=True)}, Limit.CUT_SHORT),
        ({"ours": receiver(6)}, Limit.FEW_WINDOWS),
    ],
)
def test_limits_come_from_the_right_numbers(changes: dict[str, Any], limit: Limit):
    assert result(**changes).limits == (limit,)


@pytest.mark.parametrize(
    ("congestion", "rtt", "limits"),
    [
        ("cubic", 25_000, (Limit.LOSS_BASED,)),
        ("reno", 25_000, (Limit.LOSS_BASED,)),
        ("cubic", 30_200, ()),
        ("bbr", 25_000, ()),
        ("", 25_000, ()),
    ],
)
def test_a_sender_that_fears_losses_on_a_short_queue(congestion: str, rtt: int, limits: tuple[Limit, ...]):
    theirs = [msgspec.structs.replace(one, rtts=(rtt, rtt)) for one in sender()]
    assert result(theirs=theirs, told=ended(congestion=congestion)).limits == limits


def test_a_sender_without_work_is_idle():
    lazy = [msgspec.structs.replace(one, busy=one.busy // 2) for one in sender()]
    assert result(theirs=lazy).limits == (Limit.SENDER_IDLE,)


def test_a_little_waiting_is_no_limit():
    little = sender(rwnd_limited=100_000, sndbuf_limited=100_000, held=50_000)
    assert result(theirs=little).limits == ()


def test_what_the_lease_or_the_responder_does_not_offer():
    assert result(allowed=150_000_000).limits == (Limit.RESPONDER_CAPACITY,)
    terms = TERMS._replace(responder=ResponderAt(id="hall", host="h", capacity_down=80_000_000, capacity_up=10**9))
    assert result(terms).limits == (Limit.RESPONDER_CAPACITY,)
    terms = TERMS._replace(responder=ResponderAt(id="hall", host="h", capacity_down=10**9, capacity_up=80_000_000))
    assert result(terms).limits == ()


def test_the_contract_s_layer():
    contract = ContractTerms(download=200_000_000, upload=80_000_000, layer="tcp")
    found = result(TERMS._replace(contract=contract))
    assert found.values["throughput_contract"] == pytest.approx(RATE * 1448 / 1500, rel=1e-3)
    found = result(TERMS._replace(contract=None))
    assert "contract" not in found.values
    assert "throughput_contract" not in found.values


def test_what_else_passed_the_interface():
    assert result(nearby=nearby(other=50e6)).values["cross_traffic"] == pytest.approx(50e6, rel=0.02)
    quiet = [Passed(one.at, 0, 0) for one in nearby()]
    assert "cross_traffic" not in result(nearby=quiet).values
    wrapped = [*nearby()[:-1], Passed(5.8, 3, 0)]
    assert "cross_traffic" not in result(nearby=wrapped).values


def test_a_port_that_damages_frames_is_a_limit_of_ours():
    found = result(nearby=[*nearby()[:-1], nearby()[-1]._replace(errors=7)])
    assert found.limits == (Limit.PORT_SPEED,)
    assert found.facts["port_errors"] == "7"
    steady = result(nearby=[one._replace(errors=7) for one in nearby()])
    assert (steady.limits, "port_errors" in steady.facts) == ((), False)


@pytest.mark.parametrize(("up", "limited"), [(48e6, False), (52e6, True)])
def test_an_uplink_that_is_full_beside_a_download(up: float, limited: bool):
    """Half of 80 Mbit/s, and 5 % of 200 for the acknowledgements, may pass the other way."""
    terms = TERMS._replace(contract=ContractTerms(download=200_000_000, upload=80_000_000))
    counted = [one._replace(up=round(up / 8 * (one.at - 5.0))) for one in nearby()]
    assert (Limit.CROSS_TRAFFIC in result(terms, nearby=counted).limits) is limited
    loopback = [one._replace(up=one.down) for one in nearby()]
    assert Limit.CROSS_TRAFFIC not in result(terms, nearby=loopback).limits


def test_an_upload_s_interface_counts_what_was_sent():
    ours = sender(rate=80e6)
    up = [Passed(5.0 + n / 10, 0, (one.sent) * 1514 + round(9e6 / 8 * n / 10)) for n, one in enumerate(ours)]
    found = tcp_result.cross_traffic(up, ours, SEGMENT, Direction.UP)
    assert found == pytest.approx(9e6, rel=0.02)


def test_broken_off():
    found = result(problem="nothing passed for 1 s", cost=123)
    assert (found.outcome, found.reason, found.limits) == (Outcome.FAILED, Reason.BROKEN_OFF, (Limit.CUT_SHORT,))
    assert found.facts["detail"] == "nothing passed for 1 s"
    assert found.facts["windows"].startswith("200.0")
    assert found.counts == {"test_bytes": 123}
    assert "throughput" not in found.values


def test_over_before_it_began():
    found = result(ours=receiver(2), theirs=[])
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.BROKEN_OFF)
    assert found.facts["detail"] == "it ended before a single window was counted"


def test_not_measured_at_all():
    found = tcp_result.none(Direction.UP, 5, Outcome.SKIPPED, Reason.NO_LEASE, "the responder refused: replayed")
    assert (found.direction, found.outcome, found.reason) == ("up", Outcome.SKIPPED, Reason.NO_LEASE)
    assert found.limits == (Limit.NO_LEASE,)
    ours = tcp_result.none(Direction.UP, 5, Outcome.ERROR, Reason.NO_RESOURCES, "raise the limit of open files")
    assert ours.facts["remedy"] == "raise the limit of open files"
    assert ours.limits == ()

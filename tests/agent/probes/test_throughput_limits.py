"""What could have limited a test, and what then may be evidence: a table with a line for each limit."""

from typing import Any

import pytest

from agent.probes.throughput import limits
from agent.probes.throughput.engine import Direction
from agent.probes.throughput.limits import Offer, Place, Source, Taken
from agent.vantage import Medium
from wire.reasons import Limit
from wire.settings import ContractTerms, Role
from wire.throughput import Effort

CONTRACT = ContractTerms(download=200_000_000, upload=80_000_000)
ENOUGH = Offer(240_000_000)
ROUTER = Place(source=Source.INLINE, port_speed=1_000_000_000)


def engine(contract: ContractTerms | None = CONTRACT, offer: Offer = ENOUGH, **changes: Any) -> tuple[Limit, ...]:
    taken = Taken(Direction.DOWN, rate=150e6, windows=5)._replace(**changes)
    return limits.of_engine(taken, offer, contract)


def test_a_clean_test_has_none():
    assert engine() == ()
    assert engine(contract=None) == ()
    assert limits.of_place(ROUTER, Direction.DOWN, 150e6, CONTRACT) == ()
    assert limits.of_place(ROUTER, Direction.DOWN, 150e6, None) == ()


@pytest.mark.parametrize(
    ("limit", "beyond", "within"),
    [
        (Limit.RESPONDER_CPU, {"theirs": Effort(thread=0.8)}, {"theirs": Effort(thread=0.79)}),
        (Limit.RESPONDER_CPU, {"theirs": Effort(busiest=0.95)}, {"theirs": Effort(busiest=0.94)}),
        (Limit.RESPONDER_CPU, {"theirs": Effort(all=0.9)}, {"theirs": Effort(all=0.89)}),
        (Limit.CPU_BUSY, {"ours": Effort(thread=0.8)}, {"ours": Effort(thread=0.79)}),
        (Limit.CPU_BUSY, {"ours": Effort(busiest=0.95)}, {"ours": Effort(busiest=0.94)}),
        (Limit.CPU_BUSY, {"ours": Effort(all=0.9)}, {"ours": Effort(all=0.89)}),
        (Limit.RECEIVE_WINDOW, {"rwnd_limited": 0.11}, {"rwnd_limited": 0.1}),
        (Limit.SEND_BUFFER, {"sndbuf_limited": 0.11}, {"sndbuf_limited": 0.1}),
        (Limit.SENDER_IDLE, {"busy": 0.89}, {"busy": 0.9}),
        (Limit.LOSS_BASED, {"loss_based": True, "queueing": 0.009}, {"loss_based": True, "queueing": 0.010}),
        (Limit.LOSS_BASED, {"loss_based": True, "queueing": 0.0}, {"loss_based": False, "queueing": 0.0}),
        (Limit.CUT_SHORT, {"cut": True}, {"cut": False}),
        (Limit.FEW_WINDOWS, {"windows": 3}, {"windows": 4}),
        (Limit.CLIENT_COUNTED, {"kernel_counted": False}, {"kernel_counted": True}),
        (Limit.RESPONDER_CAPACITY, {"held": 0.11}, {"held": 0.1}),
    ],
)
def test_a_limit_of_the_test_itself(limit: Limit, beyond: dict[str, Any], within: dict[str, Any]):
    assert engine(**beyond) == (limit,)
    assert engine(**within) == ()


@pytest.mark.parametrize(
    ("offer", "rate", "limited"),
    [
        (Offer(240_000_000), 150e6, False),
        (Offer(240_000_000, 1_000_000_000), 150e6, False),
        (Offer(1_000_000_000, 80_000_000), 60e6, True),  # a hall behind its own 80: never proves 200
        (Offer(80_000_000, 1_000_000_000), 60e6, True),
        (Offer(199_000_000), 150e6, True),
        (Offer(200_000_000), 150e6, False),
        (Offer(205_000_000), 150e6, False),
        (Offer(205_000_000), 184.5e6, True),
        (Offer(210_000_000), 195e6, False),
        (Offer(205_000_000), 186e6, True),
        (Offer(0, 0), 150e6, False),
        (Offer(240_000_000), 225e6, False),
        (Offer(240_000_000), 230e6, True),  # near to what was offered, above the contract
    ],
)
def test_what_the_responder_offers(offer: Offer, rate: float, limited: bool):
    assert engine(offer=offer, rate=rate) == ((Limit.RESPONDER_CAPACITY,) if limited else ())


def test_upload_is_compared_with_the_contract_s_upload():
    assert engine(offer=Offer(90_000_000), direction=Direction.UP, rate=60e6) == ()
    assert engine(offer=Offer(90_000_000), direction=Direction.DOWN, rate=60e6) == (Limit.RESPONDER_CAPACITY,)


def test_the_contract_is_compared_at_the_ip_layer():
    tcp = ContractTerms(download=200_000_000, upload=80_000_000, layer="tcp")  # 207.2 at the IP layer
    assert engine(offer=Offer(205_000_000)) == ()
    assert engine(offer=Offer(205_000_000), contract=tcp) == (Limit.RESPONDER_CAPACITY,)


@pytest.mark.parametrize(
    ("limit", "beyond", "within"),
    [
        (Limit.PORT_SPEED, {"port_speed": 100_000_000}, {"port_speed": 1_000_000_000}),
        (Limit.PORT_SPEED, {"port_speed": 205_000_000}, {"port_speed": 206_000_000}),  # 200 Mbps of 1500 fill 205
        (Limit.PORT_SPEED, {"full_duplex": False}, {"port_speed": None}),
        (Limit.WIFI, {"medium": Medium.WIFI}, {"medium": Medium.CABLE}),
        (Limit.WIFI, {"medium": Medium.MOBILE}, {"medium": Medium.OTHER}),
        (Limit.CROSS_TRAFFIC, {"cross": 20_100_000.0}, {"cross": 20_000_000.0}),
        (Limit.CROSS_TRAFFIC_UNSEEN, {"source": Source.UNSEEN}, {"source": Source.ROUTER_COUNTERS}),
        (Limit.WRONG_VANTAGE, {"on_link": False}, {"on_link": True}),
        (Limit.RESPONDER_LINK_IN_USE, {"far_shared": True}, {"far_shared": False}),
        (Limit.WRONG_ROLE, {"role": Role.ROOM}, {"role": Role.LINK}),
        (Limit.TIME_UNKNOWN, {"time_known": False}, {"time_known": True}),
    ],
)
def test_a_limit_of_the_place(limit: Limit, beyond: dict[str, Any], within: dict[str, Any]):
    def found(changes: dict[str, Any]) -> tuple[Limit, ...]:
        return limits.of_place(ROUTER._replace(**changes), Direction.DOWN, 150e6, CONTRACT)

    assert found(beyond) == (limit,)
    assert found(within) == ()


def test_a_port_near_its_own_speed_limits_without_a_contract_too():
    place = ROUTER._replace(port_speed=100_000_000)
    assert limits.of_place(place, Direction.DOWN, 90e6, None) == (Limit.PORT_SPEED,)
    assert limits.of_place(place, Direction.DOWN, 80e6, None) == ()


def test_a_port_of_100_mbps_does_not_limit_an_upload_of_80():
    place = ROUTER._replace(port_speed=100_000_000)
    assert limits.of_place(place, Direction.UP, 60e6, CONTRACT) == ()


EVERY = sorted(set(Limit) - {Limit.UNRECOGNISED})


@pytest.mark.parametrize("limit", EVERY)
def test_below_the_contract_any_limit_makes_a_result_inconclusive(limit: Limit):
    assert limits.valid((), 150e6, 200_000_000)
    assert not limits.valid((limit,), 150e6, 200_000_000)
    assert not limits.valid((limit,), 150e6, 0)


@pytest.mark.parametrize("limit", EVERY)
def test_what_reached_the_contract_reached_it_unless_it_is_no_measurement_of_it(limit: Limit):
    assert limits.valid((limit,), 200e6, 200_000_000) is (limit not in limits.NEVER)


def test_one_percent_is_the_method_s_error():
    assert limits.valid((Limit.CROSS_TRAFFIC_UNSEEN,), 198.0e6, 200_000_000)
    assert not limits.valid((Limit.CROSS_TRAFFIC_UNSEEN,), 197.9e6, 200_000_000)


def test_which_limits_make_a_result_no_evidence_in_any_case():
    assert {
        Limit.WRONG_ROLE, Limit.WRONG_VANTAGE, Limit.TIME_UNKNOWN, Limit.NO_LEASE, Limit.ENGINE_NO_EVIDENCE,
        Limit.FEW_WINDOWS, Limit.CLIENT_COUNTED, Limit.WIFI,
    } == limits.NEVER  # fmt: skip

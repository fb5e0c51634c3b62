"""Validity of a result, and the finding of a whole test."""

from typing import Any

import pytest

from agent.probe import Result
from agent.probes.throughput.limits import Place, Source
from agent.probes.throughput.verdict import judged, summed_up
from wire.reasons import Limit, Outcome, Reason
from wire.settings import ContractTerms, Role

CONTRACT = ContractTerms(download=200_000_000, upload=80_000_000)
INLINE = Place(source=Source.INLINE)
UNSEEN = Place()


def of(rate: float | None = 150e6, **changes: Any) -> Result:
    values = {} if rate is None else {"throughput": rate, "cross_traffic": 0.0}
    made: dict[str, Any] = {
        "engine": "tcp", "direction": "down", "start": 0, "end": 1, "outcome": Outcome.OK, "values": values,
    }  # fmt: skip
    return Result(**made | changes)


def judge(result: Result, place: Place = INLINE, contract: ContractTerms | None = CONTRACT, evidence: bool = True):
    return judged(result, place, contract, evidence=evidence)


def test_a_bad_result_that_nothing_of_ours_explains_is_evidence():
    found = judge(of(150e6))
    assert found.valid
    assert found.limits == ()
    assert found.values["contract"] == 200e6
    assert found.values["throughput_contract"] == 150e6
    assert found.facts["cross_traffic"] == "inline"


def test_an_uplink_that_others_fill_explains_a_slow_download():
    quiet = Place(source=Source.ROUTER_COUNTERS, cross_back=40e6 + 0.05 * 150e6)
    assert judge(of(150e6), quiet).valid
    found = judge(of(150e6), quiet._replace(cross_back=quiet.cross_back + 1))
    assert (found.valid, found.limits) == (False, (Limit.CROSS_TRAFFIC,))
    assert judge(of(199e6), quiet._replace(cross_back=80e6)).valid
    assert not judge(of(60e6, direction="up"), quiet._replace(cross_back=104e6)).valid


def test_a_router_whose_port_was_not_counted_saw_nothing():
    found = judge(of(150e6, values={"throughput": 150e6}))
    assert (found.valid, found.limits) == (False, (Limit.CROSS_TRAFFIC_UNSEEN,))
    assert found.facts["cross_traffic"] == "unseen"


def test_unseen_cross_traffic_makes_a_bad_result_inconclusive_and_a_good_one_no_worse():
    bad, good = judge(of(150e6), UNSEEN), judge(of(199e6), UNSEEN)
    assert (bad.valid, good.valid) == (False, True)
    assert bad.limits == good.limits == (Limit.CROSS_TRAFFIC_UNSEEN,)


def test_router_counters_settle_it():
    quiet = Place(source=Source.ROUTER_COUNTERS, cross=1e6)
    busy = quiet._replace(cross=50e6)
    assert judge(of(150e6), quiet).valid
    found = judge(of(150e6), busy)
    assert (found.valid, found.limits) == (False, (Limit.CROSS_TRAFFIC,))
    assert found.values["cross_traffic"] == 50e6


def test_the_greater_of_two_views_of_cross_traffic_counts():
    seen = of(150e6)
    seen.values["cross_traffic"] = 60e6
    found = judge(seen, Place(source=Source.ROUTER_COUNTERS, cross=5e6))
    assert found.values["cross_traffic"] == 60e6
    assert found.limits == (Limit.CROSS_TRAFFIC,)


def test_cross_traffic_of_the_agent_s_own_machine_counts_where_the_rest_is_unseen():
    seen = of(150e6)
    seen.values["cross_traffic"] = 60e6
    assert judge(seen, UNSEEN).limits == (Limit.CROSS_TRAFFIC, Limit.CROSS_TRAFFIC_UNSEEN)


def test_limits_of_the_engine_and_of_the_place_together_in_one_order():
    found = judge(of(150e6, limits=(Limit.FEW_WINDOWS, Limit.RESPONDER_CPU)), Place(role=Role.ROOM))
    assert found.limits == (
        Limit.RESPONDER_CPU, Limit.FEW_WINDOWS, Limit.CROSS_TRAFFIC_UNSEEN, Limit.WRONG_ROLE,
    )  # fmt: skip
    assert list(found.limits) == [one for one in Limit if one in found.limits]


@pytest.mark.parametrize("place", [Place(role=Role.ROOM), Place(on_link=False), Place(time_known=False)])
def test_a_good_result_of_the_wrong_place_or_time_is_none(place: Place):
    assert not judge(of(200e6), place._replace(source=Source.INLINE)).valid


def test_a_cross_check_is_never_evidence():
    found = judge(of(200e6), evidence=False)
    assert (found.valid, found.limits) == (False, (Limit.ENGINE_NO_EVIDENCE,))


def test_the_contract_s_layer_decides():
    ethernet = ContractTerms(download=200_000_000, upload=80_000_000, layer="ethernet")
    assert judge(of(196.0e6), UNSEEN, ethernet).valid  # 198.4 of frames
    assert not judge(of(196.0e6), UNSEEN, CONTRACT).valid
    given = of(150e6)
    given.values["throughput_contract"] = 199e6  # the engine knew the packets' real length
    assert judge(given, UNSEEN).valid


def test_without_a_contract_nothing_may_have_limited_it():
    assert judge(of(150e6), INLINE, None).valid
    assert not judge(of(150e6), UNSEEN, None).valid
    assert "contract" not in judge(of(150e6), INLINE, None).values


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SKIPPED, Outcome.ERROR])
def test_what_was_not_measured_is_not_valid(outcome: Outcome):
    found = judge(of(None, outcome=outcome, reason=Reason.BROKEN_OFF, valid=True))
    assert not found.valid
    assert "contract" not in found.values


def test_a_light_check_s_lower_bound_holds_whatever_else_was_on_the_link():
    light = {"engine": "light", "values": {"at_least": 190e6}}
    assert judge(of(None, valid=True, **light), UNSEEN).valid
    assert not judge(of(None, valid=False, **light), UNSEEN).valid
    assert not judge(of(None, valid=True, **light), UNSEEN._replace(role=Role.ROOM)).valid


def test_upload_is_judged_by_the_contract_s_upload():
    assert judge(of(80e6, direction="up"), UNSEEN).valid
    assert judge(of(80e6, direction="up")).values["contract"] == 80e6


def test_a_test_of_both_directions_at_once_is_left_alone():
    call = of(None, direction="both", valid=True)
    assert judge(call).valid
    assert call.limits == ()


def test_the_finding_is_as_bad_as_the_worst_direction():
    good = of(200e6)
    bad = of(None, direction="up", outcome=Outcome.FAILED, reason=Reason.BROKEN_OFF, facts={"detail": "gone"})
    assert summed_up([good]).outcome is Outcome.OK
    assert summed_up([good]).reason is None
    found = summed_up([good, bad])
    assert (found.outcome, found.reason, found.facts) == (Outcome.FAILED, Reason.BROKEN_OFF, {"detail": "gone"})
    assert found.results == [good, bad]


def test_a_light_check_is_told_beside_its_contract() -> None:
    light = Result(engine="light", direction="down", start=0, end=1, outcome=Outcome.OK, values={"at_least": 190e6})
    contract = ContractTerms(download=200_000_000, upload=80_000_000)
    assert judged(light, Place(), contract, evidence=True).values == {"at_least": 190e6, "contract": 200e6}

"""From an engine's results to the probe's finding: the limits of the place added, validity decided. Pure."""

from collections.abc import Sequence

from agent.probe import Finding, Result, ok
from agent.probes.throughput import layers, limits
from agent.probes.throughput.engine import Direction
from agent.probes.throughput.limits import Place, Source
from wire.reasons import Limit, Outcome
from wire.settings import ContractTerms


def judged(result: Result, place: Place, contract: ContractTerms | None, *, evidence: bool) -> Result:
    """The result with every limit and its validity; ``evidence`` says whether the engine's results may be any.

    Cross traffic that the engine saw and that of ``place`` are one traffic seen from two sides: the greater counts.
    """
    if result.direction not in tuple(Direction):
        return result
    direction = Direction(result.direction)
    if place.source is Source.INLINE and "throughput" in result.values and "cross_traffic" not in result.values:
        place = place._replace(source=Source.UNSEEN)  # this machine is the router, and yet its port was not counted
    seen = max(place.cross, result.values.get("cross_traffic", 0.0))
    if place.cross:
        result.values["cross_traffic"] = seen
    rate = result.values.get("throughput", result.values.get("at_least", 0.0))
    more = limits.of_place(place._replace(cross=seen), direction, rate, contract)
    own = () if evidence else (Limit.ENGINE_NO_EVIDENCE,)
    result.limits = tuple(one for one in Limit if one in {*result.limits, *more, *own})
    result.facts["cross_traffic"] = place.source.value
    _at_contract_layer(result, direction, contract)
    result.valid = _valid(result, direction, contract)
    return result


def _valid(result: Result, direction: Direction, contract: ContractTerms | None) -> bool:
    if result.outcome is not Outcome.OK:
        return False
    if "throughput" not in result.values:  # "at least": a lower bound holds whatever else was on the link
        return result.valid and not limits.NEVER & set(result.limits)
    rate = result.values.get("throughput_contract", result.values["throughput"])
    return limits.valid(result.limits, rate, limits.of_contract(contract, direction))


def _at_contract_layer(result: Result, direction: Direction, contract: ContractTerms | None) -> None:
    """Adds the contract and the rate at its layer where the engine did not."""
    if contract is None or not result.values.keys() & {"throughput", "at_least"}:
        return
    result.values["contract"] = float(limits.of_contract(contract, direction))
    if "throughput" in result.values and "throughput_contract" not in result.values:
        result.values["throughput_contract"] = layers.at_layer(result.values["throughput"], contract.layer)


def summed_up(results: Sequence[Result]) -> Finding:
    """The finding of a whole test: as bad as its worst direction."""
    found = list(results)
    worst = next((one for one in found if one.outcome is not Outcome.OK), None)
    if worst is None:
        return ok(results=found)
    return Finding(outcome=worst.outcome, reason=worst.reason, facts=dict(worst.facts), results=found)

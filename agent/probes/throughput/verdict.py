"""From an engine's results to the probe's finding."""

from agent.probe import Finding, Result, ok
from wire.reasons import Outcome


def summed_up(results: list[Result]) -> Finding:
    """The finding of a whole test: as bad as its worst direction."""
    worst = next((one for one in results if one.outcome is not Outcome.OK), None)
    if worst is None:
        return ok(results=results)
    return Finding(outcome=worst.outcome, reason=worst.reason, results=results)

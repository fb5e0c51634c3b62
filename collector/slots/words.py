"""What the month's sampling is called: English source texts, marked for the catalogue."""

from collector.slots.forecast import Why
from collector.words import LIMITS, REASONS, _
from wire.reasons import Limit, Reason

WHYS: dict[Why, str] = {
    Why.CONTRACT_UNKNOWN: REASONS[Reason.CONTRACT_UNKNOWN],
    Why.NO_AGENT: _("no agent measures this link yet"),
    Why.NO_RESPONDER: REASONS[Reason.NO_RESPONDER],
    Why.RESPONDER: _("the responder cannot prove the contract's speed"),
    Why.NO_BUSY_HOURS: _("the busy hours are taken by meetings, or the equipment is off then"),
    Why.TOO_FEW_HOURS: _("too little time is left outside meetings and office hours"),
    Why.BUDGET: REASONS[Reason.BUDGET_SPENT],
    Why.INVALID: _("too many tests were not valid"),
    Why.NOT_MEASURED: _("tests do not come about"),
    Why.TOO_LATE: _("too little of the month is left"),
}
DIRECTIONS = {"down": _("download"), "up": _("upload")}
OWN_REASONS = {"agent_silent": _("the agent was silent"), "unanswered": _("no word came from the agent")}
UNKNOWN = _("cause not known")


def cause(code: str) -> str:
    """The English source text of a reason or a limit; both stand in a slot as their codes."""
    if code in OWN_REASONS:
        return OWN_REASONS[code]
    if code in set(Reason):
        return REASONS[Reason(code)]
    return LIMITS[Limit(code)] if code in set(Limit) else UNKNOWN

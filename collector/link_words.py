"""What the states of a link are called, who must act, and why a time was not measured: English source texts, marked for
the catalogue."""

from collector.link_history.shapes import Kind, State, Why


def _(text: str) -> str:
    """Marks a text for extraction; translation happens when the reader's language is known."""
    return text


LINK_KINDS: dict[Kind, str] = {
    Kind.UP: _("link up"),
    Kind.DOWN: _("link down"),
    Kind.UNMEASURED: _("not measured"),
    Kind.SILENT: _("agent silent, cause not known yet"),
}

LINK_STATES: dict[State, str] = {
    State.UP: _("link up"),
    State.LAN: _("link out of reach: the office's own network has failed"),
    State.LINK: _("link down between office and provider"),
    State.PROVIDER: _("provider's network down"),
    State.LINK_OR_PROVIDER: _("link or provider's network down, which of them is not known"),
    State.COLLECTOR: _("link up; the provincial system or responder does not answer"),
    State.UNKNOWN: _("could not be told"),
}

DOMAINS: dict[State, str] = {
    State.LAN: _("the office's own network"),
    State.LINK: _("circuit from office to provider"),
    State.PROVIDER: _("provider's network"),
    State.LINK_OR_PROVIDER: _("circuit or provider's network"),
    State.COLLECTOR: _("provincial system"),
    State.UNKNOWN: _("not known"),
}

WHO_ACTS: dict[State, str] = {
    State.LAN: _("the office checks power, router and cables"),
    State.LINK: _("report it to the provider"),
    State.PROVIDER: _("report it to the provider"),
    State.LINK_OR_PROVIDER: _("report it to the provider"),
    State.COLLECTOR: _("provincial IT checks the provincial system"),
}

WHYS: dict[Why, str] = {
    Why.NO_AGENT: _("no agent was there"),
    Why.STOPPED: _("the agent was switched off properly"),
    Why.CRASHED: _("the agent's program broke off"),
    Why.POWER_LOST: _("the agent lost its power"),
    Why.SUSPENDED: _("the machine was asleep"),
    Why.TIME_UNKNOWN: _("the time of the results is not known"),
    Why.NOT_ON_THIS_LINK: _("measured from another place than this link"),
    Why.DATA_LOST: _("results were lost because the agent's disk was full"),
    Why.DISAGREES: _("the results contradict each other"),
    Why.UNDECIDED: _("the agent could not tell"),
    Why.PENDING: _("results are still on their way"),
    Why.MISSING: _("results are missing, the cause is not known"),
}

RULE_REASONS: dict[str, str] = {
    "own_network": _("a fault within the office is never the provider's"),
    "fell_together": _("%(together)d of %(watched)d other links of the provider failed at the same moment"),
    "others_were_up": _("%(watched)d other links of the provider were up"),
    "as_the_agent_says": _("as the agent at the site found"),
}

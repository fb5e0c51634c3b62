"""What codes are called: English source texts, marked for the catalogue, translated where they are shown."""

from collector.picture import Doubt, State
from wire.reasons import Limit, Outcome, Reason


def _(text: str) -> str:
    """Marks a text for extraction; translation happens when the reader's language is known."""
    return text


STATES: dict[State, str] = {
    State.OK: _("normal"),
    State.FAILING: _("fault found"),
    State.SILENT: _("agent silent, cause not known yet"),
    State.UNKNOWN: _("cannot be confirmed yet"),
    State.NO_AGENT: _("no agent yet"),
}

DOUBTS: dict[Doubt, str] = {
    Doubt.NOT_MEASURED_YET: _("not measured yet"),
    Doubt.STALE: _("the result is out of date"),
    Doubt.AGENT_SILENT: _("an agent of the site is silent"),
    Doubt.LOSSY: _("too many packets are lost"),
    Doubt.AGENT_CANNOT_MEASURE: _("the agent itself could not measure"),
    Doubt.WRONG_VANTAGE: _("not measured on this link"),
    Doubt.TIME_UNKNOWN: _("the agent's time is not known yet"),
    Doubt.LINK_UNDECIDED: _("whether the link is up could not be told"),
}

OUTCOMES: dict[Outcome, str] = {
    Outcome.OK: _("answers"),
    Outcome.FAILED: _("fails"),
    Outcome.SKIPPED: _("not tested"),
    Outcome.ERROR: _("could not be measured"),
}

REASONS: dict[Reason, str] = {
    Reason.NO_REPLY: _("does not reply"),
    Reason.TIMED_OUT: _("took too long"),
    Reason.REFUSED: _("refuses the connection"),
    Reason.RESET: _("broke off the connection"),
    Reason.NO_ROUTE: _("no route to it"),
    Reason.HOST_UNREACHABLE: _("a router says it cannot be reached"),
    Reason.PROHIBITED: _("a firewall forbids it"),
    Reason.NO_GATEWAY: _("the machine has no way out: is the network cable plugged in?"),
    Reason.INTERFACE_DOWN: _("the network port is down"),
    Reason.UDP_BLOCKED: _("UDP is blocked on the way"),
    Reason.CAPTIVE_PORTAL: _("a login page stands in the way"),
    Reason.MALFORMED_ANSWER: _("answers what cannot be read"),
    Reason.NAME_NOT_FOUND: _("the name does not exist"),
    Reason.NAME_SERVER_FAILED: _("the name server failed"),
    Reason.NAME_SERVER_SILENT: _("the name server does not reply"),
    Reason.NAME_SERVER_REFUSED: _("the name server refuses"),
    Reason.NAME_WRONG: _("the name server gives another address than expected"),
    Reason.NAME_HIJACKED: _("the name server's answers are forged on the way"),
    Reason.TLS_HANDSHAKE: _("no secure connection could be agreed"),
    Reason.TLS_EXPIRED: _("its certificate has expired"),
    Reason.TLS_NOT_YET_VALID: _("its certificate is not valid yet"),
    Reason.TLS_WRONG_NAME: _("its certificate is for another name"),
    Reason.TLS_UNTRUSTED: _("its certificate is not trusted"),
    Reason.TLS_SELF_SIGNED: _("its certificate is signed by itself"),
    Reason.TLS_CHAIN_INCOMPLETE: _("its certificate chain is incomplete"),
    Reason.TLS_INSPECTED: _("a device on the way opens the secure connection"),
    Reason.HTTP_STATUS: _("its page answers with an error"),
    Reason.HTTP_TOO_MANY_REDIRECTS: _("its page redirects without end"),
    Reason.HTTP_UNEXPECTED_REDIRECT: _("its page redirects to another site"),
    Reason.SIP_STATUS: _("its SIP service answers with an error"),
    Reason.CLOCK_OFF: _("the clock is wrong"),
    Reason.QUIET_TIME: _("quiet time of a meeting"),
    Reason.NOT_ON_THIS_LINK: _("not on this link"),
    Reason.NO_IPV6: _("there is no IPv6 here"),
    Reason.ASK_THE_ORGANISER: _("address not known: ask the organiser"),
    Reason.ASK_THE_PROVIDER: _("address not known: ask the provider"),
    Reason.NOT_LEARNED_YET: _("its address is not learned yet"),
    Reason.TIME_UNKNOWN: _("the time is not known yet"),
    Reason.ORDER_EXPIRED: _("the order came too late"),
    Reason.NO_SLOT: _("no slot was granted"),
    Reason.TOO_SOON: _("asked too soon after the last time"),
    Reason.LINK_IN_USE: _("the link was in use"),
    Reason.STOPPING: _("the agent was stopping"),
    Reason.CONTROLS_SILENT: _("the comparison hosts are silent too"),
    Reason.SILENCE_PROVES_NOTHING: _("no answer, which proves nothing for this service"),
    Reason.NO_PERMISSION: _("the agent lacks a right"),
    Reason.PROBE_CRASHED: _("the probe crashed"),
    Reason.PROBE_OVERRAN: _("the probe took too long"),
    Reason.PROBE_UNKNOWN: _("the agent is too old for this probe"),
    Reason.BAD_TARGET: _("the target's settings are wrong"),
    Reason.NO_RESOURCES: _("the agent's machine is short of resources"),
    Reason.TOOL_MISSING: _("a program is missing on the agent's machine"),
    Reason.SUSPENDED: _("the machine was asleep"),
    Reason.NOT_SUPPORTED: _("not possible on the agent's machine"),
    Reason.RESPONDER_SILENT: _("the responder does not answer"),
    Reason.BROKEN_OFF: _("the test broke off before it was done"),
    Reason.NO_LEASE: _("the collector or the responder gave no leave"),
    Reason.NO_RESPONDER: _("there is no responder for this site"),
    Reason.RESPONDER_BUSY: _("the responder was busy"),
    Reason.BUDGET_SPENT: _("the month's data budget is used up"),
    Reason.OUTSIDE_SERVICE_HOURS: _("outside service hours"),
    Reason.CONTRACT_UNKNOWN: _("no contract is in force in the inventory"),
    Reason.LINK_DOWN: _("the link was down"),
    Reason.DELAY_ROSE: _("the delay rose, so the check stopped itself"),
    Reason.LOSS_SEEN: _("packets were lost, so the check stopped itself"),
    Reason.TOOL_FAILED: _("a program on the agent's machine failed"),
    Reason.UNRECOGNISED: _("a newer agent gives a reason that this collector does not know"),
}

PROBES: dict[str, str] = {
    "icmp": _("Round-trip time"),
    "edge": _("Provider's first hop"),
    "gateway": _("Default route"),
    "dns": _("Name server"),
    "tcp": _("Connection"),
    "tls": _("Certificate"),
    "http": _("Web page"),
    "stun": _("UDP path"),
    "sip": _("SIP service"),
    "ntp": _("Clock"),
    "host": _("Measuring machine"),
    "link": _("Link watched second by second"),
    "stamp": _("Loss and delay each way, all day"),
    "call": _("Call test"),
    "throughput": _("Throughput test"),
    "utilisation": _("Use of the link"),
}

TARGETS: dict[str, str] = {
    "gateway": _("router of the site"),
    "edge": _("provider's first hop"),
    "resolver": _("name server in use"),
    "collector": _("collector"),
    "machine": _("measuring machine"),
    "udp": _("outside world"),
    "clock": _("time server"),
    "link": _("link to the internet"),
}
ANCHOR = _("reference host %(number)s")
"""What ``anchor-1`` is called."""

ENDPOINTS: dict[str, str] = {"dns": "name", "tls": "tls", "tcp": "tcp", "http": "web", "stun": "media", "icmp": "echo"}
"""Usual ids of a platform's endpoints: where the probe's word says it all, the id is not shown."""

ROLES: dict[str, str] = {
    "link": _("measures the link"),
    "room": _("measures the room"),
    "both": _("measures link and room"),
}

MEDIA: dict[str, str] = {
    "cable": _("network cable"),
    "wifi": _("Wi-Fi"),
    "mobile": _("mobile network"),
    "other": _("another kind of line"),
}
"""What an agent's default route leaves by."""

LIMITS: dict[Limit, str] = {
    Limit.RESPONDER_CAPACITY: _("the responder cannot send or take so much"),
    Limit.RESPONDER_CPU: _("the responder's machine was busy"),
    Limit.RESPONDER_LINK_IN_USE: _("others used or may have used the responder's own line"),
    Limit.PORT_SPEED: _("the network port of the agent is slower than the contract"),
    Limit.WIFI: _("measured over Wi-Fi"),
    Limit.CPU_BUSY: _("the agent's machine was busy"),
    Limit.RECEIVE_WINDOW: _("the receiving machine could not keep up"),
    Limit.SEND_BUFFER: _("the sending machine could not keep up"),
    Limit.CUT_SHORT: _("the test was cut short"),
    Limit.FEW_WINDOWS: _("the test was too short to tell"),
    Limit.CROSS_TRAFFIC: _("others used the link at the time"),
    Limit.CROSS_TRAFFIC_UNSEEN: _("use of the link by others could not be ruled out"),
    Limit.WRONG_VANTAGE: _("not measured on this link"),
    Limit.WRONG_ROLE: _("measured by the room's machine"),
    Limit.TIME_UNKNOWN: _("the time is not known yet"),
    Limit.NO_LEASE: _("the collector or the responder gave no leave"),
    Limit.ENGINE_NO_EVIDENCE: _("this way of testing is no evidence"),
    Limit.CLIENT_COUNTED: _("the machine's own counters are missing"),
    Limit.SENDER_IDLE: _("the sending machine paused"),
    Limit.LOSS_BASED: _("the sending machine slowed down at lost packets"),
    Limit.UNRECOGNISED: _("a newer agent gives a limit that this collector does not know"),
}
"""What made a test inconclusive."""

"""The ``call`` probe: a stream like one HD meeting's, both ways, to the responder.

:mod:`conversation` carries it, :mod:`figures` reads the lists of packets.
"""

import functools
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.addresses import Address, Host, Port, resolve
from agent.neterrors import Unresolved, finding_of
from agent.probe import Finding, LeaseRefused, Result, Span, Target, probe, skipped
from agent.probes.call.conversation import Conversation, converse
from agent.probes.call.figures import Figures, figures
from agent.udp_session import Silent, TurnedAway, in_thread, unopened
from wire.histogram import LARGEST, Histogram
from wire.lease import Purpose
from wire.meetings import Load
from wire.reasons import Limit, Outcome, Reason
from wire.udp_tests import Plan

RESOLVE_WITHIN = 4.0
MOST_ADDRESSES = 2


class CallSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """With whom, and how much. The rates are those of one seat in the platform's meeting; where nobody says, those of
    Zoom's 1080p group meeting (field page bandwidth, section 6)."""

    host: Host
    port: Port = 8481
    responder: Annotated[str, Meta(max_length=64, description="id of the responder, for the lease")] = ""
    download: Annotated[int, Meta(ge=64_000, le=20_000_000, description="bits per second down, at the IP layer")] = (
        2_500_000
    )
    upload: Annotated[int, Meta(ge=64_000, le=20_000_000, description="bits per second up, at the IP layer")] = (
        3_000_000
    )
    seconds: Annotated[float, Meta(ge=1, le=15, description="length of the call in seconds")] = 10.0
    source: Annotated[str, Meta(max_length=300, description="where the rates come from")] = (
        "NUS on Zoom: 1080p group meeting, 2.5 down and 3.0 up"
    )


@probe(
    "call",
    every=3600.0,
    limit=40.0,
    load=Load.CALL,
    costs="7 MB a call of 10 s at 2.5 Mbit/s down and 3 up: 165 MB a day and platform at one an hour",
)
class Call:
    """Talks like one HD meeting for 10 s with the responder: loss, bursts of loss, late packets, freezes."""

    Settings = CallSettings

    async def measure(self, target: Target, span: Span) -> Finding:
        """One call: a result for each direction. ``span`` plays no part, the settings say how long it lasts."""
        _ = span
        settings: CallSettings = target.settings
        plan = Plan(test="call", payload=1372, down=settings.download, up=settings.upload, seconds=settings.seconds)
        try:
            found = await resolve(settings.host, settings.port, RESOLVE_WITHIN)
            grant = await target.leases.borrow(Purpose.CALL, settings.responder, profile=target.platform)
        except Unresolved as problem:
            return finding_of(problem)
        except LeaseRefused as refused:
            return skipped(refused.reason, facts={"detail": refused.detail})
        finding = Finding(outcome=Outcome.FAILED, reason=Reason.RESPONDER_SILENT)
        for address in found.addresses[:MOST_ADDRESSES]:
            try:
                ran = await in_thread(functools.partial(converse, address, grant, plan))
            except (Silent, TurnedAway, OSError) as problem:
                finding = unopened(problem)
                if isinstance(problem, TurnedAway) or (isinstance(problem, Silent) and problem.heard):
                    break
            else:
                return summed(results(ran, plan, facts_of(address, settings)))
        return finding


def facts_of(address: Address, settings: CallSettings) -> dict[str, str]:
    """What both directions' results say of the circumstances."""
    facts = {**address.facts, "rates_from": settings.source}
    return {**facts, "responder": settings.responder} if settings.responder else facts


def results(ran: Conversation, plan: Plan, facts: dict[str, str]) -> list[Result]:
    """One result for each direction. Pure."""
    broken = ran.done is None or ran.arrivals_up is None
    down = figures(ran.down, ran.sent_down, ran.arrivals_down)
    up = figures(ran.up, ran.sent_up, ran.arrivals_up) if ran.arrivals_up is not None else None
    found = []
    for direction, wanted, allowed, items, one in (
        ("down", plan.down, ran.allowed.down, ran.down, down),
        ("up", plan.up, ran.allowed.up, ran.up, up),
    ):
        limits = [Limit.RESPONDER_CAPACITY] if allowed < wanted else []
        if direction == "down" and ran.overflow:
            limits.append(Limit.CPU_BUSY)
        if broken:
            limits.append(Limit.CUT_SHORT)
        sent = one.sent if one else ran.sent_up
        result = Result(
            engine="call", direction=direction, start=ran.start, end=ran.end, outcome=Outcome.OK, facts=dict(facts)
        )
        result.outcome, result.reason = outcome(one, broken=broken)
        result.limits = tuple(limits)
        result.valid = result.outcome is Outcome.OK and not limits
        result.counts["sent"] = sent
        result.counts["test_bytes"] = sum(item.size for item in items[:sent])
        result.values["test_duration"] = (ran.end - ran.start) / 1e6
        if one is not None:
            _fill(result, one)
        found.append(result)
    return found


def outcome(one: Figures | None, *, broken: bool) -> tuple[Outcome, Reason | None]:
    """A call that was measured is ``ok``, however bad it was: what it means for a meeting is not the probe's to say."""
    if broken:
        return Outcome.FAILED, Reason.BROKEN_OFF
    if one is None or not one.sent:
        return Outcome.SKIPPED, Reason.RESPONDER_BUSY
    if one.lost == one.sent:
        return Outcome.FAILED, Reason.UDP_BLOCKED
    return Outcome.OK, None


def _fill(result: Result, one: Figures) -> None:
    result.counts["lost"] = one.lost
    result.counts["loss_bursts"] = one.loss_bursts
    result.counts["longest_burst"] = one.longest_burst
    result.counts["too_late"] = one.too_late
    result.counts["duplicates"] = one.duplicates
    result.counts["reordered"] = one.reordered
    result.counts["freezes"] = one.freezes
    result.values["freeze_time"] = one.freeze_time
    if one.jitter is not None:
        result.values["jitter"] = one.jitter
    result.durations["delay"] = Histogram.of((min(delay, LARGEST) for delay in one.delays), lost=one.lost)


def summed(found: list[Result]) -> Finding:
    """The finding that sums both directions up: as bad as the worse of them."""
    worst = next((one for one in found if one.outcome is Outcome.FAILED), None)
    worst = worst or next((one for one in found if one.outcome is not Outcome.OK), found[0])
    counts = {name: sum(one.counts.get(name, 0) for one in found) for name in ("sent", "lost", "freezes")}
    return Finding(outcome=worst.outcome, reason=worst.reason, counts=counts, results=found)

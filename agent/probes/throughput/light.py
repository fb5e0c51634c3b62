"""Engine ``light``: paced UDP at 0.95 × contract for half a second each way, which leaves no queue (17 MB at 200/80).

It proves "at least", never "not more": when delay rises or packets are lost it stops at once and has proven nothing:
UDP may be treated unlike other traffic and is never the sole basis of a failure (field page bandwidth, section 5).
"""

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from agent.addresses import Address, resolve
from agent.neterrors import Unresolved, finding_of
from agent.probe import Finding, Result
from agent.probes.throughput.engine import Direction, Progress, Terms
from agent.probes.throughput.stream import Course, receive, send
from agent.udp_session import Silent, Talk, TurnedAway, in_thread, unopened
from wire.histogram import Histogram
from wire.lease import Grant, Purpose
from wire.paced import SECONDS, SHARE, judged
from wire.reasons import Limit, Outcome, Reason
from wire.settings import ContractTerms
from wire.udp_tests import End, Plan, Report, Why

NAME = "light"
TCP_OVER_IP = 1500 / 1448
"""Of a full segment with time stamps (RFC 7323): where the contract counts TCP's payload, the IP layer carries more."""
CLOSE = 0.97
"""Of the wanted rate; below it the sender, and not the link, kept the check from its aim."""
RESOLVE_WITHIN = 4.0
MOST_ADDRESSES = 2

Told = Callable[[Direction, float, float], None]
"""Hears the direction, the share that is done and the rate."""


class Light:
    """The light check."""

    name = NAME
    evidence = False
    """It says "at least": no sample of what the link delivers, which the rules of evidence ask for."""

    async def run(self, terms: Terms) -> list[Result]:
        """See :class:`agent.probes.throughput.engine.Engine`."""
        if terms.contract is None:
            return [_nothing(one, Outcome.SKIPPED, Reason.CONTRACT_UNKNOWN) for one in terms.directions]
        wanted = rates(terms.contract, terms.directions)
        plan = Plan(test="light", payload=1372, down=wanted[Direction.DOWN], up=wanted[Direction.UP], seconds=SECONDS)
        try:
            found = await resolve(terms.responder.host, terms.responder.udp_port, RESOLVE_WITHIN)
        except Unresolved as problem:
            return _all(terms, finding_of(problem))
        grant = await terms.leases.borrow(Purpose.LIGHT, terms.responder.id, slot=terms.slot)
        told = _in_loop(terms.progress)
        problem_found = Finding(outcome=Outcome.FAILED, reason=Reason.RESPONDER_SILENT)
        for address in found.addresses[:MOST_ADDRESSES]:
            work = functools.partial(_check, address, grant, plan, told)
            try:
                ran = await in_thread(work)
            except (Silent, TurnedAway, OSError) as problem:
                problem_found = unopened(problem)
                if not (isinstance(problem, OSError) or (isinstance(problem, Silent) and not problem.heard)):
                    break
            else:
                facts = {**address.facts, "responder": terms.responder.id}
                return [result(one, ran[one], wanted[one], facts) for one in terms.directions]
        return _all(terms, problem_found)


ENGINE = Light()


def rates(contract: ContractTerms, directions: tuple[Direction, ...]) -> dict[Direction, int]:
    """The rate of each direction at the IP layer, 0 for one that is not wanted. A contract at the Ethernet layer is
    taken as if it were at the IP layer: the check then carries up to 0.975 of it, which still leaves no queue."""
    factor = SHARE * (TCP_OVER_IP if contract.layer == "tcp" else 1.0)
    agreed = {Direction.DOWN: contract.download, Direction.UP: contract.upload}
    return {one: round(rate * factor) if one in directions else 0 for one, rate in agreed.items()}


class Ran(NamedTuple):
    """One direction as it ran."""

    course: Course
    allowed: int
    """Bits per second that the lease and the responder allowed."""


def _check(address: Address, grant: Grant, plan: Plan, told: Told, stop: threading.Event) -> dict[Direction, Ran]:
    talk = Talk(address, stop)
    try:
        opened = talk.begin(grant, plan)
        ran: dict[Direction, Ran] = {}
        silent = False
        for direction, wanted, allowed, go in (
            (Direction.DOWN, plan.down, opened.down, receive),
            (Direction.UP, plan.up, opened.up, send),
        ):
            if not wanted:
                continue
            if silent or not allowed:
                course = Course.none(Why.SILENCE if silent else Why.LEASE, _boottime())
            else:
                course = go(talk, min(wanted, allowed), functools.partial(told, direction))
            ran[direction] = Ran(course, allowed)
            silent = silent or not course.report.final
        for _ in range(3):
            talk.tell(End(talk.identity))
    finally:
        talk.close()
    return ran


def result(direction: Direction, ran: Ran, wanted: int, facts: dict[str, str]) -> Result:
    """What one direction found. Pure."""
    course, report = ran.course, ran.course.report
    rate = min(top_rate(report), float(wanted))  # more than was sent is only the noise of two clock readings
    outcome, reason, limits = judgement(direction, course, rate / min(wanted, ran.allowed or wanted))
    if ran.allowed < wanted:
        limits = (Limit.RESPONDER_CAPACITY, *limits)
    proven = outcome is Outcome.OK
    seconds = (course.end - course.start) / 1e6
    until_then = 0.0 if not seconds else report.bytes * 8 / seconds
    more = {
        "wanted_bits_per_second": str(wanted),
        "delay_rise_ms": f"{max(report.rise, report.most_rise) / 1e6:.1f}",
        "proven_for_seconds": f"{report.top_time / 1e9:.3f}" if proven else "0",
        "packet_bytes": str(course.size),
    }
    if not proven:
        more["rate_until_then_bits_per_second"] = f"{until_then:.0f}"
    return Result(
        engine=NAME,
        direction=direction.value,
        start=course.start,
        end=course.end,
        outcome=outcome,
        reason=reason,
        valid=proven and not limits,
        limits=limits,
        counts={
            "sent": max(course.sent, report.received),
            "lost": report.lost,
            "duplicates": report.duplicates,
            "reordered": report.reordered,
            "test_bytes": max(course.sent * course.size, report.bytes),
        },
        values={"at_least": float(int(rate)) if proven else 0.0, "test_duration": seconds},
        durations={"delay": Histogram.of(course.delays, lost=report.lost)} if course.delays else {},
        facts={**facts, **more},
    )


def top_rate(report: Report) -> float:
    """Bits per second at the IP layer that came through during the last stage; 0 where it was not reached."""
    return report.top_bytes * 8e9 / report.top_time if report.top_time else 0.0


def judgement(direction: Direction, course: Course, share: float) -> tuple[Outcome, Reason | None, tuple[Limit, ...]]:
    """Outcome, reason and limits. ``share``: what came of the rate that was meant to."""
    own = direction is Direction.DOWN  # we received: an overflow is ours, and the responder's was the sender
    why = (judged(course.report, course.sent) if course.why is Why.COMPLETE else None) or course.why
    if not course.report.final:
        begun = course.sent or course.report.received
        return Outcome.FAILED, Reason.BROKEN_OFF if begun else Reason.RESPONDER_SILENT, (Limit.CUT_SHORT,)
    match why:
        case Why.COMPLETE if share >= CLOSE:
            return Outcome.OK, None, ()
        case Why.COMPLETE:
            return Outcome.OK, None, (Limit.SENDER_IDLE, Limit.RESPONDER_CPU if own else Limit.CPU_BUSY)
        case Why.DELAY_ROSE:
            return Outcome.SKIPPED, Reason.DELAY_ROSE, (Limit.CUT_SHORT,)
        case Why.OVERFLOW if own:
            return Outcome.ERROR, Reason.NO_RESOURCES, (Limit.CPU_BUSY, Limit.CUT_SHORT)
        case Why.OVERFLOW:
            return Outcome.SKIPPED, Reason.RESPONDER_BUSY, (Limit.RESPONDER_CPU, Limit.CUT_SHORT)
        case Why.LEASE:
            return Outcome.SKIPPED, Reason.RESPONDER_BUSY, (Limit.RESPONDER_CAPACITY, Limit.CUT_SHORT)
    return Outcome.SKIPPED, Reason.LOSS_SEEN, (Limit.CUT_SHORT,)  # of the stream, or of the reports (silence, stuck)


def _nothing(
    direction: Direction, outcome: Outcome, reason: Reason | None, facts: dict[str, str] | None = None
) -> Result:
    now = _boottime()
    return Result(
        engine=NAME, direction=direction.value, start=now, end=now, outcome=outcome, reason=reason, facts=facts or {}
    )


def _all(terms: Terms, finding: Finding) -> list[Result]:
    return [_nothing(one, finding.outcome, finding.reason, dict(finding.facts)) for one in terms.directions]


def _in_loop(progress: Callable[[Progress], None]) -> Told:
    """Progress is told on the event loop, wherever the check runs."""
    loop = asyncio.get_running_loop()

    def tell(direction: Direction, share: float, rate: float) -> None:
        loop.call_soon_threadsafe(progress, Progress(NAME, direction, share, rate))

    return tell


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

"""From the readings of a direction to its result. Pure, but for the clock of a test that never began."""

from collections.abc import Sequence
from statistics import median

from agent.clock import boottime
from agent.probe import Result
from agent.probes.throughput import layers, limits, windows
from agent.probes.throughput.engine import Direction, Terms
from agent.probes.throughput.limits import Offer, Taken
from agent.probes.throughput.nearby import Passed
from agent.probes.throughput.tcp_client import Run, counted
from agent.probes.throughput.windows import Steady
from wire.histogram import Histogram
from wire.reasons import Limit, Outcome, Reason
from wire.throughput import Effort, Reading

NAME = "tcp"
FRAME = 14
"""Bytes by which an interface counts more than the IP packet: the Ethernet header."""
_MOST_WINDOWS = 40
"""Windows written out in the facts."""


def of(run: Run, idle: Sequence[int], allowed: int, terms: Terms) -> Result:
    """The result of one direction, not judged yet: ``valid`` is the probe's to say. ``idle``: round-trip times before
    the test, microseconds; ``allowed``: bits per second that lease and responder allow."""
    readings = counted(run.receiver, run.sender)
    kernel = bool(readings and readings[-1].streams and run.segment)
    found = windows.steady(readings, run.segment if kernel else 0)
    durations = {"rtt": Histogram.of(one * 1000 for one in idle)} if idle else {}
    if run.problem or found is None:
        return _broken(run, durations)
    loaded = loaded_rtts(run.sender, found)
    if loaded:
        durations["rtt_loaded"] = Histogram.of(one * 1000 for one in loaded)
    taken = taken_of(run, found, idle, kernel=kernel)
    declared = terms.responder.capacity_down if run.direction is Direction.DOWN else terms.responder.capacity_up
    cross = cross_traffic(run.nearby, run.ours, run.segment, run.direction)
    noted = limits.of_engine(taken, Offer(allowed, declared), terms.contract)
    if limits.fills_back(against(run.nearby, run.direction), run.direction, found.median, terms.contract):
        noted = (*noted, Limit.CROSS_TRAFFIC)
    if damaged(run.nearby):
        noted = (*noted, Limit.PORT_SPEED)
    return Result(
        engine=NAME,
        direction=run.direction.value,
        start=run.start,
        end=run.end,
        outcome=Outcome.OK,
        limits=noted,
        counts=_counts(run, found),
        values={
            "throughput": found.median,
            "throughput_mean": found.mean,
            "throughput_payload": layers.at_layer(found.median, "tcp", *_shape(run)),
            "test_duration": (run.end - run.start) / 1e6,
            "cpu": run.effort.all,
            **({} if cross is None else {"cross_traffic": cross}),
            **_contract(run, found, terms),
        },
        durations=durations,
        facts=_facts(run, found, kernel=kernel),
    )


def none(direction: Direction, start: int, outcome: Outcome, reason: Reason, detail: str) -> Result:
    """A direction that was not measured at all."""
    facts = {"detail": detail} | ({"remedy": detail} if outcome is Outcome.ERROR else {})
    return Result(
        engine=NAME,
        direction=direction.value,
        start=start,
        end=boottime(),
        outcome=outcome,
        reason=reason,
        limits=(Limit.NO_LEASE,) if reason is Reason.NO_LEASE else (),
        facts=facts,
    )


def _broken(run: Run, durations: dict[str, Histogram]) -> Result:
    return Result(
        engine=NAME,
        direction=run.direction.value,
        start=run.start,
        end=run.end,
        outcome=Outcome.FAILED,
        reason=Reason.BROKEN_OFF,
        limits=(Limit.CUT_SHORT,),
        counts={"test_bytes": run.cost} if run.cost else {},
        values={"test_duration": (run.end - run.start) / 1e6},
        durations=durations,
        facts={"detail": run.problem or "it ended before a single window was counted"} | _written(run),
    )


def taken_of(run: Run, found: Steady, idle: Sequence[int], *, kernel: bool) -> Taken:
    """What the limits are judged by."""
    first, last = _within(run.sender, found)
    lasted = max(1, last.at - first.at)
    streams = len(last.streams)
    segment, overhead = _shape(run)
    return Taken(
        direction=run.direction,
        rate=found.median,
        windows=len(found.windows),
        segment=segment,
        overhead=overhead,
        kernel_counted=kernel,
        cut=bool(run.told and run.told.cut),
        rwnd_limited=(last.rwnd_limited - first.rwnd_limited) / lasted / streams if streams else 0.0,
        sndbuf_limited=(last.sndbuf_limited - first.sndbuf_limited) / lasted / streams if streams else 0.0,
        busy=(last.busy - first.busy) / lasted / streams if streams else 1.0,
        loss_based=congestion(run) not in ("bbr", ""),
        queueing=queueing(loaded_rtts(run.sender, found), idle),
        held=max(_held(run.ours, found), _held(run.theirs, found)),
        ours=run.effort,
        theirs=run.told.effort if run.told else Effort(),
    )


def loaded_rtts(sender: Sequence[Reading], found: Steady) -> list[int]:
    """Microseconds: the smoothed round-trip time of every stream at each of the sender's readings that count."""
    return [rtt for one in sender if found.begins <= one.at <= found.ends for rtt in one.rtts if rtt]


def queueing(loaded: Sequence[int], idle: Sequence[int]) -> float:
    """Seconds by which the load raised the round-trip time; as if the queue were long where nobody knows."""
    return (median(loaded) - min(idle)) / 1e6 if loaded and idle else 1.0


def congestion(run: Run) -> str:
    """The sender's congestion control; empty where it is not known."""
    return run.congestion or (run.told.congestion if run.told else "")


def cross_traffic(
    nearby: Sequence[Passed], ours: Sequence[Reading], segment: float, direction: Direction
) -> float | None:
    """Bits per second that passed the interface in the test's direction and were not the test's; ``None`` where the
    interface or the kernel does not count. The first third is left out: the test's ramp fills queues in between."""
    start = len(ours) // 3
    if len(ours) - start < 2 or not segment or not ours[-1].streams or not nearby[-1].down + nearby[-1].up:
        return None
    passed = nearby[-1].at - nearby[start].at
    if direction is Direction.DOWN:
        total = nearby[-1].down - nearby[start].down
        own = ours[-1].segments - ours[start].segments
    else:
        total = nearby[-1].up - nearby[start].up
        own = ours[-1].sent - ours[start].sent
    return max(0.0, (total - own * (segment + FRAME)) * 8 / passed) if passed > 0 and total >= 0 else None


def against(nearby: Sequence[Passed], direction: Direction) -> float:
    """Bits per second that passed the interface against the test's direction, its acknowledgements among them; 0 where
    the interface does not count, or is loopback, where every packet goes both ways."""
    first, last = nearby[len(nearby) // 3], nearby[-1]
    down, up, passed = last.down - first.down, last.up - first.up, last.at - first.at
    if passed <= 0 or down == up:
        return 0.0
    return max(0.0, (up if direction is Direction.DOWN else down) * 8 / passed)


def damaged(nearby: Sequence[Passed]) -> int:
    """Frames that this machine's own port damaged or got damaged meanwhile: its cable loses what the line delivered."""
    return max(0, nearby[-1].errors - nearby[0].errors) if nearby else 0


def _held(readings: Sequence[Reading], found: Steady) -> float:
    """Share of the steady part for which one side kept still because the lease allows no more."""
    first, last = _within(readings, found)
    return (last.held - first.held) / max(1, last.at - first.at)


def _within(readings: Sequence[Reading], found: Steady) -> tuple[Reading, Reading]:
    """The first and the last reading of the steady part; of all, where it has none."""
    inside = [one for one in readings if found.begins <= one.at <= found.ends] or list(readings) or [Reading(0)]
    return inside[0], inside[-1]


def _shape(run: Run) -> tuple[float, int]:
    return (run.segment, run.overhead) if run.segment else (layers.FULL, layers.OVERHEAD)


def _counts(run: Run, found: Steady) -> dict[str, int]:
    last = run.sender[-1] if run.sender else Reading(0)
    if run.told and run.direction is Direction.DOWN:
        last = run.told.reading
    first = run.sender[0] if run.sender else last
    return {
        "test_bytes": run.cost,
        "connections": len(run.ours[-1].streams) or len(last.streams),
        "rate_windows": len(found.windows),
        "segments": last.sent - first.sent,
        "retransmitted": last.retransmitted - first.retransmitted,
    }


def _contract(run: Run, found: Steady, terms: Terms) -> dict[str, float]:
    if terms.contract is None:
        return {}
    return {
        "contract": float(limits.of_contract(terms.contract, run.direction)),
        "throughput_contract": layers.at_layer(found.median, terms.contract.layer, *_shape(run)),
    }


def _facts(run: Run, found: Steady, *, kernel: bool) -> dict[str, str]:
    by = "receiver" if counted(run.receiver, run.sender) is run.receiver else "sender"
    facts = {
        "counted": f"{by}'s kernel" if kernel else f"{by}'s application",
        "segment": f"{run.segment:.0f}",
        "ramp": f"{found.begins / 1e6:.2f} s",
    }
    more = {"congestion": congestion(run), "interface": run.interface}
    if damaged(run.nearby):
        more["port_errors"] = str(damaged(run.nearby))
    return facts | {name: word for name, word in more.items() if word} | _written(run)


def _written(run: Run) -> dict[str, str]:
    """Each window in Mbps, and each connection's share of the segments in percent: for whoever must judge it later."""
    readings = counted(run.receiver, run.sender)
    found = windows.rates(readings, run.segment)
    if not found:
        return {}
    first, last = readings[0].streams, readings[-1].streams
    facts = {"windows": " ".join(f"{one.rate / 1e6:.1f}" for one in found[:_MOST_WINDOWS])}
    counts = [after - before for before, after in zip(first, last, strict=False)]
    if sum(counts):
        facts["shares"] = " ".join(f"{100 * one / sum(counts):.0f}" for one in counts)
    return facts

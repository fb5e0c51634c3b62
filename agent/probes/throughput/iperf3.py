"""Engine ``iperf3``: the well-known program as a cross-check, over its JSON. No evidence: an iperf3 server serves one
test at a time and says nothing of what limits it."""

import asyncio
import time
from typing import Any, NamedTuple

import msgspec

from agent.clock import boottime
from agent.probe import Result
from agent.probes.throughput.engine import Direction, Progress, Terms
from agent.probes.throughput.tools import Said, ToolFailed, ToolMissing, over_at, said
from wire.histogram import Histogram
from wire.lease import Purpose
from wire.reasons import Limit, Outcome, Reason

PORT = 5201
STREAMS = 8
SECONDS = 10
OMITTED = 1
"""Seconds at the start that do not count: TCP has not found its rate yet."""
GRACE = 15.0
BUSY_WAITS = (5.0, 15.0)
"""Seconds before asking a busy server again; iperf3 has no queue (esnet/iperf #685)."""
_BUSY = "the server is busy"
_TIMESTAMPS = 12
"""Bytes of TCP's time stamp option in every segment (RFC 7323), which the MSS that iperf3 prints leaves out already."""
_HEADERS = {4: 20 + 20, 6: 40 + 20}


class Reading(NamedTuple):
    """What iperf3 said of one direction. Bits per second of TCP payload, as the receiver counted; seconds."""

    payload: float
    ip: float
    seconds: float
    size: int
    retransmitted: int | None
    rtt: Histogram
    cpu: float
    """Of this machine, all cores, 1 = busy."""


class Iperf3Refused(ValueError):
    """iperf3 said why it did not measure."""


class LeaseOver(Exception):
    """What is left of the lease is too short for a direction."""


class Iperf3Unreadable(ValueError):
    """Its output is not what iperf3 3.x writes."""


def read(output: bytes) -> Reading:
    """Reads ``iperf3 --json``, which exits with 0 even where it failed; raises :class:`Iperf3Refused` with its words,
    or :class:`Iperf3Unreadable`."""
    try:
        found = msgspec.json.decode(output, type=dict[str, Any])
        if "error" in found:
            raise Iperf3Refused(str(found["error"])[:300])
        received, sent = found["end"]["sum_received"], found["end"]["sum_sent"]
        payload, seconds = float(received["bits_per_second"]), float(received["seconds"])
        segment = int(found["start"]["tcp_mss_default"])
        version = 6 if ":" in str(found["start"]["connected"][0]["remote_host"]) else 4
        rtts = [each["sender"]["mean_rtt"] for each in found["end"]["streams"] if each["sender"].get("mean_rtt")]
        retransmitted = sent.get("retransmits")
        if not (payload >= 0 and seconds >= 0 and segment > 0):
            raise Iperf3Unreadable("found a negative rate or segment size")
        return Reading(
            payload,
            payload * (segment + _HEADERS[version] + _TIMESTAMPS) / segment,
            seconds,
            round(int(received["bytes"]) * (segment + _HEADERS[version] + _TIMESTAMPS) / segment),
            None if retransmitted is None else int(retransmitted),
            Histogram.of([int(one) * 1000 for one in rtts]),
            float(found["end"]["cpu_utilization_percent"]["host_total"]) / 100,
        )
    except (msgspec.DecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as wrong:
        if isinstance(wrong, Iperf3Refused | Iperf3Unreadable):
            raise
        raise Iperf3Unreadable(f"found {type(wrong).__name__} {wrong}, expected the JSON of iperf3 3.x") from wrong


class Iperf3:
    """``iperf3 --json`` in a subprocess, one direction after the other."""

    name = "iperf3"
    evidence = False

    def __init__(self, program: str = "iperf3", port: int = PORT, seconds: int = SECONDS) -> None:
        self.program = program
        self.port = port
        self.seconds = seconds

    async def run(self, terms: Terms) -> list[Result]:
        """As :class:`agent.probes.throughput.engine.Engine` says. The lease is the permission to fill the link now."""
        until = over_at(await terms.leases.borrow(Purpose.THROUGHPUT, terms.responder.id, slot=terms.slot))
        return [await self._one(terms, direction, until) for direction in terms.directions]

    async def _one(self, terms: Terms, direction: Direction, until: float) -> Result:
        words = [
            self.program, "--client", terms.responder.host, "--port", str(self.port), "--json",
            "--parallel", str(STREAMS), "--time", str(self.seconds), "--omit", str(OMITTED),
            "--connect-timeout", "3000", *(["--reverse"] if direction is Direction.DOWN else []),
        ]  # fmt: skip
        start = boottime()
        terms.progress(Progress(self.name, direction, 0.0, 0.0))
        try:
            reading = await self._measured(words, until)
        except ToolMissing as missing:
            return _not_measured(direction, start, Outcome.ERROR, Reason.TOOL_MISSING, str(missing))
        except Iperf3Refused as refused:
            busy = _BUSY in str(refused)
            outcome, reason = (
                (Outcome.SKIPPED, Reason.RESPONDER_BUSY) if busy else (Outcome.FAILED, Reason.RESPONDER_SILENT)
            )
            return _not_measured(direction, start, outcome, reason, str(refused))
        except LeaseOver as over:
            return _not_measured(direction, start, Outcome.SKIPPED, Reason.NO_LEASE, str(over))
        except (ToolFailed, Iperf3Unreadable) as failure:
            return _not_measured(direction, start, Outcome.ERROR, Reason.TOOL_FAILED, str(failure))
        terms.progress(Progress(self.name, direction, 1.0, reading.ip))
        return _result(direction, start, reading)

    async def _measured(self, words: list[str], until: float) -> Reading:
        for wait in (*BUSY_WAITS, None):
            left, needs = until - time.monotonic(), self.seconds + OMITTED
            if left < needs:
                raise LeaseOver(f"{max(0.0, left):.0f} s are left of the lease, expected {needs} for a direction")
            found: Said = await said(words, min(needs + GRACE, left), package="iperf3")
            try:
                return read(found.output or found.complaint.encode())
            except Iperf3Refused as refused:
                if wait is None or _BUSY not in str(refused):
                    raise
                await asyncio.sleep(wait)
        raise AssertionError  # the last turn returned or raised


def _result(direction: Direction, start: int, reading: Reading) -> Result:
    return Result(
        engine=Iperf3.name,
        direction=direction,
        start=start,
        end=boottime(),
        outcome=Outcome.OK,
        limits=(Limit.ENGINE_NO_EVIDENCE,),
        counts={
            "test_bytes": reading.size,
            "connections": STREAMS,
            **({} if reading.retransmitted is None else {"retransmitted": reading.retransmitted}),
        },
        values={
            "throughput": reading.ip,
            "throughput_mean": reading.ip,
            "throughput_payload": reading.payload,
            "test_duration": reading.seconds,
            "cpu": reading.cpu,
        },
        durations={"rtt_loaded": reading.rtt} if reading.rtt.buckets else {},
    )


def _not_measured(direction: Direction, start: int, outcome: Outcome, reason: Reason, detail: str) -> Result:
    return Result(
        engine=Iperf3.name,
        direction=direction,
        start=start,
        end=boottime(),
        outcome=outcome,
        reason=reason,
        limits=(Limit.ENGINE_NO_EVIDENCE,),
        facts={"detail": detail},
    )


ENGINE = Iperf3()

"""Engine ``speedtest``: the speedtest-cli package in a subprocess, because a provider recognises its figure.

No evidence: its servers are of others, it counts in the application, its project is archived, and users saw half the
speed above 300 Mbit/s (sivel/speedtest-cli #730, #649)."""

import importlib.util
import shutil
import sys
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

PROGRAM = "speedtest-cli"
PACKAGE = "pip install 'phrom[crosscheck]'"
WITHIN = 90.0
"""Seconds: choosing a server, ten each way, and slack; no longer than the lease, which is shorter as a rule."""
ON_THE_LINE = 1500 / 1448
"""IP-layer bytes for each byte of payload in full segments: 1500 of MTU less 40 of headers and 12 of time stamps."""
_FORBIDDEN = ("403", "429", "Forbidden", "Too Many Requests")
_LIMITS = (Limit.ENGINE_NO_EVIDENCE, Limit.CLIENT_COUNTED)


class Reading(NamedTuple):
    """What speedtest-cli said. Bits per second and bytes of payload, seconds."""

    down: float
    up: float
    received: int
    sent: int
    ping: float
    server: str
    """Who runs the other end, in its own words."""


class SpeedtestUnreadable(ValueError):
    """Its output is not the JSON of speedtest-cli 2.1."""


def read(output: bytes) -> Reading:
    """Reads ``speedtest-cli --json``; raises :class:`SpeedtestUnreadable`. What it says of the client, with its public
    address, is not taken over."""
    try:
        found = msgspec.json.decode(output, type=dict[str, Any])
        server = found["server"]
        reading = Reading(
            float(found["download"]),
            float(found["upload"]),
            int(found["bytes_received"]),
            int(found["bytes_sent"]),
            float(found["ping"]) / 1000,
            " ".join(str(server[key]) for key in ("sponsor", "name") if server.get(key))[:200],
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as wrong:
        raise SpeedtestUnreadable(
            f"found {type(wrong).__name__} {wrong}, expected the JSON of speedtest-cli 2.1"
        ) from wrong
    if min(reading[:5]) < 0 or max(reading[:5]) == float("inf"):
        raise SpeedtestUnreadable("found a negative or infinite number, expected rates, bytes and a time")
    return reading


def program() -> list[str]:
    """The words that start it: the command, or the module where only that is there; raises :class:`ToolMissing`."""
    if found := shutil.which(PROGRAM):
        return [found]
    if importlib.util.find_spec("speedtest") is not None:
        return [sys.executable, "-m", "speedtest"]
    raise ToolMissing(f"{PROGRAM}: not installed; install it: {PACKAGE}")


class Speedtest:
    """``speedtest-cli --json`` in a subprocess, both directions in one run."""

    name = "speedtest"
    evidence = False

    def __init__(self, words: list[str] | None = None, environment: dict[str, str] | None = None) -> None:
        self.words = words
        self.environment = environment

    async def run(self, terms: Terms) -> list[Result]:
        """As :class:`agent.probes.throughput.engine.Engine` says. The lease is the permission to fill the link now."""
        until = over_at(await terms.leases.borrow(Purpose.THROUGHPUT, terms.responder.id, slot=terms.slot))
        start = boottime()
        first, *_ = terms.directions
        terms.progress(Progress(self.name, first, 0.0, 0.0))
        skip = [f"--no-{word}" for way, word in (("down", "download"), ("up", "upload")) if way not in terms.directions]
        try:
            words = self.words or program()
            within = min(WITHIN, max(0.0, until - time.monotonic()))
            ran = await said([*words, "--json", *skip], within, package=PACKAGE, environment=self.environment)
            if ran.code:
                return [_not_measured(way, start, *_why(ran)) for way in terms.directions]
            reading = read(ran.output)
        except ToolMissing as missing:
            return [
                _not_measured(way, start, Outcome.ERROR, Reason.TOOL_MISSING, str(missing)) for way in terms.directions
            ]
        except (ToolFailed, SpeedtestUnreadable) as failure:
            return [
                _not_measured(way, start, Outcome.ERROR, Reason.TOOL_FAILED, str(failure)) for way in terms.directions
            ]
        terms.progress(Progress(self.name, terms.directions[-1], 1.0, 0.0))
        return [_result(way, start, reading) for way in terms.directions]


def _why(ran: Said) -> tuple[Outcome, Reason, str]:
    """Refused by the service is no fault of the link, and neither is any other failure of a foreign program."""
    if any(word in ran.complaint for word in _FORBIDDEN):
        return Outcome.SKIPPED, Reason.RESPONDER_BUSY, ran.complaint
    return Outcome.ERROR, Reason.TOOL_FAILED, ran.complaint or f"{PROGRAM}: exit {ran.code}"


def _result(direction: Direction, start: int, reading: Reading) -> Result:
    rate, size = (reading.down, reading.received) if direction is Direction.DOWN else (reading.up, reading.sent)
    return Result(
        engine=Speedtest.name,
        direction=direction,
        start=start,
        end=boottime(),
        outcome=Outcome.OK,
        limits=_LIMITS,
        counts={"test_bytes": round(size * ON_THE_LINE)},
        values={
            "throughput": rate * ON_THE_LINE,
            "throughput_mean": rate * ON_THE_LINE,
            "throughput_payload": rate,
        },
        durations={"rtt": Histogram.of([round(reading.ping * 1e9)])},
        facts={"server": reading.server} if reading.server else {},
    )


def _not_measured(direction: Direction, start: int, outcome: Outcome, reason: Reason, detail: str) -> Result:
    return Result(
        engine=Speedtest.name,
        direction=direction,
        start=start,
        end=boottime(),
        outcome=outcome,
        reason=reason,
        limits=_LIMITS,
        facts={"detail": detail},
    )


ENGINE = Speedtest()

"""The engine ``tcp``, primary and evidence: 16 parallel connections to our own responder, counted by both kernels."""

import asyncio
import contextlib
import functools
import threading

from agent import addresses
from agent.addresses import Connected
from agent.clock import boottime
from agent.neterrors import AGENTS_OWN, Unresolved, finding_of
from agent.probe import Result
from agent.probes.throughput import tcp_result
from agent.probes.throughput.engine import Direction, Progress, Terms
from agent.probes.throughput.tcp_client import Client
from agent.probes.throughput.tcp_opening import Broken, Cancelled, Denied
from wire.lease import Grant, Purpose
from wire.reasons import Outcome, Reason
from wire.settings import ResponderAt

CONNECT_WITHIN = 4.0
"""Seconds for the name and the first connection."""
BUSY = frozenset({"busy", "too_many_of_source"})
"""Denials that say: another time."""


class TcpEngine:
    """Many parallel TCP connections; the median of 100 ms windows of the kernels' segment counts."""

    name = "tcp"
    evidence = True

    async def run(self, terms: Terms) -> list[Result]:
        """As :class:`agent.probes.throughput.engine.Engine` says."""
        start = boottime()
        grant = await terms.leases.borrow(Purpose.THROUGHPUT, terms.responder.id, slot=terms.slot)
        try:
            connected = await _connected(terms.responder)
        except (Unresolved, OSError) as problem:
            return _none(terms, start, *_unreachable(problem))
        try:
            return await self._measured(terms, grant, connected)
        except OSError as problem:
            return _none(terms, start, *_unreachable(problem))
        except Denied as no:
            reason = Reason.RESPONDER_BUSY if no.denial in BUSY else Reason.NO_LEASE
            return _none(terms, start, Outcome.SKIPPED, reason, str(no))
        except Broken as end:
            return _none(terms, start, Outcome.FAILED, Reason.BROKEN_OFF, str(end))

    async def _measured(self, terms: Terms, grant: Grant, connected: Connected) -> list[Result]:
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def progress(direction: Direction, share: float, rate: float) -> None:
            with contextlib.suppress(RuntimeError):  # the loop ended while the thread went on
                loop.call_soon_threadsafe(terms.progress, Progress(self.name, direction, share, rate))

        client = Client(connected.sock, grant, cancelled, progress)
        work = functools.partial(client.run, terms.directions)
        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            runs = await asyncio.shield(thread)
        except asyncio.CancelledError:
            cancelled.set()
            with contextlib.suppress(Cancelled, Broken, Denied, OSError):
                await thread  # within a tick
            raise
        results = [tcp_result.of(run, client.idle, client.allowed(run.direction), terms) for run in runs]
        for one in results:
            one.facts |= {"responder": terms.responder.id, "family": connected.address.family_name}
        missing = terms.directions[len(runs) :]
        detail = "the direction before it was broken off"
        return results + [
            tcp_result.none(one, results[-1].end, Outcome.SKIPPED, Reason.BROKEN_OFF, detail) for one in missing
        ]


async def _connected(responder: ResponderAt) -> Connected:
    resolved = await addresses.resolve(responder.host, responder.tcp_port, CONNECT_WITHIN / 2)
    return await addresses.connect(resolved.addresses, CONNECT_WITHIN)


def _unreachable(problem: Exception) -> tuple[Outcome, Reason, str]:
    """The agent's own trouble stays its own; all else says that the responder cannot be reached."""
    found = finding_of(problem)
    if found.outcome is Outcome.ERROR or found.reason in AGENTS_OWN:
        return Outcome.ERROR, found.reason or Reason.NO_RESOURCES, found.facts.get("remedy", str(problem))
    return Outcome.FAILED, Reason.RESPONDER_SILENT, f"{found.reason}: {problem}"


def _none(terms: Terms, start: int, outcome: Outcome, reason: Reason, detail: str) -> list[Result]:
    return [tcp_result.none(one, start, outcome, reason, detail) for one in terms.directions]


ENGINE = TcpEngine()

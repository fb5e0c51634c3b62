"""From end to end: a collector that lends, a responder as a process of its own, and an agent's probe that borrows."""

import asyncio
import contextlib
import datetime as dt
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest

from agent.addresses import Address
from agent.connection import Connection
from agent.leases import CollectorLeases
from agent.probe import LeaseRefused, Span, Target
from agent.probes.call import Call
from agent.udp_session import Talk, TurnedAway, in_thread
from collector.inventory.model import Meeting
from collector.responder.beside import Beside, responding
from collector.responder.keys import read_key
from tests.support.clock import FakeClock
from tests.support.collecting import Collector, Now, collecting
from tests.support.prometheus import free_port
from wire.clock import Instant
from wire.lease import Grant, Purpose, grant
from wire.reasons import Limit, Outcome, Reason
from wire.udp_tests import Plan

SPAN = Span(0.0, 30.0)


class Running(Now):
    """The machine's own clock."""

    def __call__(self) -> Instant:
        return time.time_ns() // 1000


class Place(NamedTuple):
    """A province with one responder that runs."""

    collector: Collector
    beside: Beside
    leases: CollectorLeases
    port: int
    """Of its light and call tests."""

    def target(self) -> Target:
        settings: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "responder": "hall", "seconds": 1.0}
        settings |= {"download": 200_000, "upload": 100_000}
        return Target("hall", "", Call.Settings(**settings), self.leases)


@contextlib.asynccontextmanager
async def province(folder: Path) -> AsyncIterator[Place]:
    """The clock is the machine's: the responder has no other."""
    ports = {"tcp_port": free_port(), "udp_port": free_port(), "stamp_port": free_port()}
    async with collecting(folder, now=Running()) as collector:
        hall = msgspec.structs.replace(collector.services.inventory.responders["hall"], **ports)
        collector.services.inventory = msgspec.structs.replace(
            collector.services.inventory, responders={"hall": hall}, meetings={}
        )
        agent = await collector.agent("na-yung", link="fibre")
        async with (
            responding(collector.services) as beside,
            Connection(collector.url, FakeClock(), token=agent.token) as connection,
        ):
            async with asyncio.timeout(30):
                while beside.report is None:  # noqa: ASYNC110 - another process starts
                    await asyncio.sleep(0.01)
            yield Place(collector, beside, CollectorLeases(lambda: connection), ports["udp_port"])


async def test_a_call_is_held_with_a_lease_that_was_borrowed_for_it(tmp_path: Path) -> None:
    async with province(tmp_path) as place:
        finding = await Call().measure(place.target(), SPAN)
        down, up = finding.results
        assert (down.outcome, up.outcome) == (Outcome.OK, Outcome.OK), (down.reason, up.reason)
        assert down.counts["sent"] > 50
        assert Limit.RESPONDER_CAPACITY not in down.limits
        assert place.collector.services.tally.leases == {"call": 1}


async def test_in_quiet_time_nothing_leaves_the_agent(tmp_path: Path) -> None:
    async with province(tmp_path) as place:
        services = place.collector.services
        local = dt.datetime.now(ZoneInfo("Asia/Bangkok")).replace(tzinfo=None)
        meeting = Meeting(id="now", title="ประชุม", sites=["na-yung"], start=local)
        services.inventory = msgspec.structs.replace(services.inventory, meetings={"now": meeting})
        finding = await Call().measure(place.target(), SPAN)
        assert (finding.outcome, finding.reason) == (Outcome.SKIPPED, Reason.QUIET_TIME)
        with pytest.raises(LeaseRefused) as refused:
            await place.leases.borrow(Purpose.LIGHT)
        assert refused.value.reason is Reason.QUIET_TIME
        assert refused.value.retry_after > 0
        await place.leases.borrow(Purpose.STAMP)


async def test_the_process_itself_turns_away_what_is_forged_or_shown_again(tmp_path: Path) -> None:
    async with province(tmp_path) as place:
        given = await place.leases.borrow(Purpose.CALL)
        secret = await asyncio.to_thread(read_key, tmp_path / "responders" / "hall.key")
        assert await knock(place, given) == "opened"
        assert await knock(place, given) == "replayed"
        foreign = msgspec.structs.replace(given.lease, id="1" * 16, responder="core")
        assert await knock(place, grant(foreign, secret)) == "wrong_responder"
        other = grant(msgspec.structs.replace(given.lease, id="2" * 16), secret)
        assert await knock(place, Grant(lease=other.lease, token=other.token, key="00" * 32)) == "bad_proof"
        assert await knock(place, other) == "opened"
        light = grant(msgspec.structs.replace(given.lease, id="3" * 16, purpose=Purpose.LIGHT), secret)
        assert await knock(place, light) == "wrong_purpose"


async def knock(place: Place, given: Grant) -> str:
    """What the responder says to a call opened with this grant."""
    plan = Plan(test="call", payload=1200, down=100_000, up=100_000, seconds=1.0)

    def open_it(stop: threading.Event) -> str:
        talk = Talk(Address(socket.AF_INET, ("127.0.0.1", place.port)), stop)
        try:
            talk.begin(given, plan)
        except TurnedAway as away:
            return away.why
        finally:
            talk.close()
        return "opened"

    return await in_thread(open_it)

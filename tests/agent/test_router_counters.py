"""Cross traffic from a router's counters: the sum, and a real SNMP agent that is asked."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.router_counters import Counters, CountersUnavailable, Lasted, SnmpCounters, cross_traffic, settled

SNMPD = "/usr/sbin/snmpd"


def test_what_the_test_did_not_move_is_the_others() -> None:
    before, after = Counters(1_000, 500, 10.0), Counters(1_000 + 31_250_000, 500 + 1_250_000, 12.0)
    cross = cross_traffic(before, after, 25_000_000, 1_250_000)
    assert cross == (25e6, 0.0)


def test_what_others_moved_may_all_have_been_beside_the_test() -> None:
    """A download of 3 s at 60 Mbit/s, of which the readings, 12 s apart, would see 15."""
    before, after = Counters(0, 0, 0.0), Counters(25_000_000 + 22_500_000, 10_000_000, 12.0)
    cross = cross_traffic(before, after, 25_000_000, 10_000_000, Lasted(1.0, 0.8))
    assert cross == (180e6, 0.0)
    assert cross_traffic(before, after, 25_000_000, 10_000_000, Lasted(60.0, 0.0)) == (15e6, 0.0)


@pytest.mark.parametrize(
    "after",
    [Counters(900, 500, 12.0), Counters(2_000, 400, 12.0), Counters(1_500, 900, 10.0), Counters(1_900, 900, 12.0)],
    ids=["received went back", "sent went back", "no time", "test not counted yet"],
)
def test_counters_that_cannot_tell_tell_nothing(after: Counters) -> None:
    assert cross_traffic(Counters(1_000, 500, 10.0), after, 1_000, 400) is None


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0.001, 1e4))
def test_nothing_of_others_is_never_negative(received: int, sent: int, seconds: float) -> None:
    cross = cross_traffic(Counters(5, 7, 0.0), Counters(5 + received, 7 + sent, seconds), received, sent)
    assert cross == (0.0, 0.0)


class Told:
    """Counters that say one thing after the other."""

    def __init__(self, *readings: Counters) -> None:
        self.readings = list(readings)

    async def read(self) -> Counters:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


async def test_second_reading_waits_for_the_router_to_refresh() -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    fresh = Counters(2_000, 0, 4.0)
    told = Told(Counters(0, 0, 1.0), Counters(0, 0, 2.0), fresh)
    later = fresh._replace(received=2_001, at=5.0)
    told.readings.append(later)
    assert await settled(told, Counters(0, 0, 0.0), 2_000, 0, pause=pause) == later
    assert len(waits) == 3
    with pytest.raises(CountersUnavailable, match=r"did not take in the test's 2000 and 0 bytes within 0 s$"):
        await settled(Told(Counters(0, 0, 1.0)), Counters(0, 0, 0.0), 2_000, 0, within=0, pause=pause)


async def test_a_refresh_in_the_middle_of_the_test_is_not_believed() -> None:
    """Half of the test and what another moved beside it are as much as the test."""

    async def pause(seconds: float) -> None:
        """Takes no time."""

    before, half = Counters(0, 0, 0.0), Counters(11_000_000 + 12_000_000, 0, 2.0)
    whole = Counters(22_000_000 + 18_000_000, 0, 7.0)
    told = Told(half, half._replace(at=3.0), whole)
    assert await settled(told, before, 22_000_000, 0, pause=pause) == whole
    still = Told(Counters(22_000_000, 0, 2.0))
    assert await settled(still, before, 22_000_000, 0, within=0, pause=pause) == Counters(22_000_000, 0, 2.0)


@contextlib.asynccontextmanager
async def snmpd(folder: Path) -> AsyncIterator[int]:
    """A real SNMP agent on loopback, of this machine's own counters."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    config = folder / "snmpd.conf"
    await asyncio.to_thread(config.write_text, "rocommunity corridor 127.0.0.1\n")
    process = await asyncio.create_subprocess_exec(
        SNMPD, "-f", "-Lo", "-C", "-c", str(config), f"udp:127.0.0.1:{port}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "SNMP_PERSISTENT_DIR": str(folder)},
    )  # fmt: skip
    assert process.stdout is not None
    while b"NET-SNMP version" not in (line := await process.stdout.readline()):
        assert line, "snmpd ended"
    try:
        yield port
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.tool("snmpd")
async def test_real_router_is_asked_by_the_name_of_its_port(tmp_path: Path) -> None:
    async with snmpd(tmp_path) as port:
        counters = SnmpCounters("127.0.0.1", "corridor", "lo", port)
        before = await counters.read()
        assert before.received > 0
        assert before.sent == pytest.approx(before.received, rel=0.01)
        again = await counters.read()
        assert again.at > before.at
        missing = SnmpCounters("127.0.0.1", "corridor", "ppp7", port)
        with pytest.raises(CountersUnavailable, match=r"^127.0.0.1: found no interface 'ppp7', expected one of lo"):
            await missing.read()


@pytest.mark.tool("snmpd")
async def test_wrong_community_and_no_router_are_told_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.router_counters.PATIENCE", 0.3)
    async with snmpd(tmp_path) as port:
        with pytest.raises(CountersUnavailable, match="found no SNMP answer") as told:
            await SnmpCounters("127.0.0.1", "guess-this", "lo", port).read()
        assert "guess-this" not in str(told.value)
    with pytest.raises(CountersUnavailable):
        await SnmpCounters("127.0.0.1", "corridor", "lo", port).read()

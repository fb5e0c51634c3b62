"""The engines that are foreign programs: real iperf3, real speedtest-cli against a server that speaks its protocol."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probe import LeaseRefused, NoLeases, Result
from agent.probes.throughput import iperf3, speedtest
from agent.probes.throughput.engine import Direction, Progress, Terms
from agent.probes.throughput.iperf3 import Iperf3, Iperf3Refused, Iperf3Unreadable
from agent.probes.throughput.speedtest import Speedtest, SpeedtestUnreadable
from agent.probes.throughput.tools import ToolFailed, ToolMissing, said
from tests.support.fake_speedtest import fake_speedtest
from wire.clock import SECOND
from wire.lease import Grant, Lease, Purpose
from wire.reasons import Limit, Outcome, Reason
from wire.settings import ResponderAt

HERE = ResponderAt(id="hall", host="127.0.0.1")


class Lender:
    """Grants everything, or refuses everything."""

    def __init__(self, refusal: LeaseRefused | None = None, lasts: float = 60.0) -> None:
        self.refusal = refusal
        self.expires = round(lasts * SECOND)
        self.asked: list[tuple[Purpose, str, str]] = []

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        self.asked.append((purpose, responder, slot))
        if self.refusal:
            raise self.refusal
        lease = Lease(id="0" * 16, purpose=purpose, responder=responder, site="phen", issued=0, expires=self.expires)
        return Grant(lease=lease, token="", key="")


def terms(lender: Lender | None = None, *directions: Direction, seen: list[Progress] | None = None) -> Terms:
    told = [] if seen is None else seen
    return Terms(HERE, None, lender or Lender(), directions or tuple(Direction), "slot-1", told.append)


class IperfServer:
    """A real iperf3 server on a port that was free a moment ago (it takes none from the system)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.process = subprocess.Popen(
            ["iperf3", "--server", "--port", str(port), "--bind", "127.0.0.1", "--forceflush"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        while "listening" not in self.process.stdout.readline():
            assert self.process.poll() is None

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def iperf(free_port: int) -> Iterator[IperfServer]:
    server = IperfServer(free_port)
    yield server
    server.close()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.tool("iperf3")
async def test_iperf3_measures_both_ways_and_is_no_evidence(iperf: IperfServer) -> None:
    lender = Lender()
    seen: list[Progress] = []
    down, up = await Iperf3(port=iperf.port, seconds=1).run(terms(lender, seen=seen))
    assert lender.asked == [(Purpose.THROUGHPUT, "hall", "slot-1")]
    for one, direction in ((down, "down"), (up, "up")):
        assert (one.direction, one.engine, one.outcome) == (direction, "iperf3", Outcome.OK)
        assert one.limits == (Limit.ENGINE_NO_EVIDENCE,)
        assert not one.valid
        assert one.values["throughput"] > one.values["throughput_payload"] > 1e6
        assert one.values["test_duration"] == pytest.approx(1, rel=0.2)
        assert one.counts["connections"] == 8
        assert one.end > one.start
    assert "retransmitted" in up.counts
    assert [(one.direction, one.share) for one in seen] == [("down", 0), ("down", 1), ("up", 0), ("up", 1)]


@pytest.mark.tool("iperf3")
async def test_iperf3_never_outlives_its_lease(iperf: IperfServer) -> None:
    """What follows may be another's test or quiet time."""
    down, up = await Iperf3(port=iperf.port, seconds=1).run(terms(Lender(lasts=3.5)))
    assert (down.outcome, up.outcome, up.reason) == (Outcome.OK, Outcome.SKIPPED, Reason.NO_LEASE)
    assert up.facts["detail"].endswith("s are left of the lease, expected 2 for a direction")


async def test_speedtest_never_outlives_its_lease() -> None:
    engine = Speedtest([sys.executable, "-c", "import time; time.sleep(20)"])
    results = await engine.run(terms(Lender(lasts=0.2)))
    assert {(one.outcome, one.reason) for one in results} == {(Outcome.ERROR, Reason.TOOL_FAILED)}
    assert "it was stopped" in results[0].facts["detail"]


@pytest.mark.tool("iperf3")
async def test_busy_iperf3_server_is_asked_again_and_then_left(
    iperf: IperfServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iperf3, "BUSY_WAITS", (0.0,))
    other = await asyncio.create_subprocess_exec(
        "iperf3", "--client", "127.0.0.1", "--port", str(iperf.port), "--time", "20", "--interval", "0.1",
        "--forceflush", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    while b"Mbits" not in (line := await other.stdout.readline()) and b"Gbits" not in line:
        assert line
    try:
        (only,) = await Iperf3(port=iperf.port, seconds=1).run(terms(None, Direction.UP))
        assert (only.outcome, only.reason) == (Outcome.SKIPPED, Reason.RESPONDER_BUSY)
        assert "busy" in only.facts["detail"]
    finally:
        other.kill()
        await other.communicate()


@pytest.mark.tool("iperf3")
async def test_no_iperf3_server_and_no_iperf3(free_port: int) -> None:
    (only,) = await Iperf3(port=free_port, seconds=1).run(terms(None, Direction.DOWN))
    assert (only.outcome, only.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)
    (only,) = await Iperf3(program="iperf3-that-nobody-has").run(terms(None, Direction.DOWN))
    assert (only.outcome, only.reason) == (Outcome.ERROR, Reason.TOOL_MISSING)
    assert only.facts["detail"] == "iperf3-that-nobody-has: No such file or directory; install it: iperf3"


@pytest.mark.parametrize("engine", [Iperf3(), Speedtest(words=["false"])])
async def test_without_permission_nothing_is_run(engine: Iperf3 | Speedtest) -> None:
    refusal = LeaseRefused(Reason.QUIET_TIME, "a meeting")
    with pytest.raises(LeaseRefused):
        await engine.run(terms(Lender(refusal)))
    with pytest.raises(LeaseRefused):
        await engine.run(terms()._replace(leases=NoLeases()))


async def test_speedtest_measures_and_is_no_evidence() -> None:
    async with fake_speedtest() as fake:
        engine = Speedtest([sys.executable, "-W", "ignore", "-m", "speedtest"], fake.environment)
        down, up = await engine.run(terms())
    for one in (down, up):
        assert (one.engine, one.outcome, one.valid) == ("speedtest", Outcome.OK, False)
        assert one.limits == (Limit.ENGINE_NO_EVIDENCE, Limit.CLIENT_COUNTED)
        assert one.values["throughput"] == pytest.approx(one.values["throughput_payload"] * 1500 / 1448)
        assert one.facts == {"server": "Example Udon Thani"}
    assert (down.direction, up.direction) == ("down", "up")
    assert down.counts["test_bytes"] > 1e6
    assert "192.0.2.1" not in str((down, up))


async def test_speedtest_one_way_asks_for_one_way() -> None:
    async with fake_speedtest() as fake:
        engine = Speedtest([sys.executable, "-W", "ignore", "-m", "speedtest"], fake.environment)
        (only,) = await engine.run(terms(None, Direction.UP))
        assert "/speedtest/upload.php" in fake.asked
        assert not [one for one in fake.asked if "random" in one]
    assert (only.direction, only.outcome) == ("up", Outcome.OK)


@pytest.mark.parametrize(
    ("options", "outcome", "reason", "words"),
    [
        ({"refuses": 403}, Outcome.SKIPPED, Reason.RESPONDER_BUSY, "403"),
        ({"refuses": 429}, Outcome.SKIPPED, Reason.RESPONDER_BUSY, "429"),
        ({"malformed": True}, Outcome.ERROR, Reason.TOOL_FAILED, "Malformed speedtest.net configuration"),
    ],
)
async def test_speedtest_that_is_refused_says_so(
    options: dict[str, Any], outcome: Outcome, reason: Reason, words: str
) -> None:
    async with fake_speedtest(**options) as fake:
        engine = Speedtest([sys.executable, "-W", "ignore", "-m", "speedtest"], fake.environment)
        results: list[Result] = await engine.run(terms())
    assert {(one.outcome, one.reason) for one in results} == {(outcome, reason)}
    assert all(words in one.facts["detail"] for one in results)


def test_speedtest_that_is_not_installed_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        ToolMissing, match=r"^speedtest-cli: not installed; install it: pip install 'phrom\[crosscheck\]'$"
    ):
        speedtest.program()


IPERF = {
    "start": {"tcp_mss_default": 1448, "connected": [{"remote_host": "192.0.2.9"}]},
    "end": {
        "streams": [{"sender": {"mean_rtt": 20000}, "receiver": {}}],
        "sum_sent": {"retransmits": 7},
        "sum_received": {"bits_per_second": 193.1e6, "seconds": 10.0, "bytes": 241_375_000},
        "cpu_utilization_percent": {"host_total": 12.5},
    },
}


def test_iperf3_payload_becomes_the_rate_at_the_ip_layer() -> None:
    found = iperf3.read(json.dumps(IPERF).encode())
    assert found.ip == pytest.approx(193.1e6 * 1500 / 1448)
    assert (found.retransmitted, found.cpu, found.seconds) == (7, 0.125, 10.0)
    v6 = IPERF | {"start": {"tcp_mss_default": 1428, "connected": [{"remote_host": "2001:db8::1"}]}}
    assert iperf3.read(json.dumps(v6).encode()).ip == pytest.approx(193.1e6 * 1500 / 1428)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_any_output_is_read_or_refused(output: bytes) -> None:
    with pytest.raises((Iperf3Refused, Iperf3Unreadable)):
        iperf3.read(output)
    with pytest.raises(SpeedtestUnreadable):
        speedtest.read(output)


@given(st.sampled_from(["start", "end"]), st.sampled_from([None, [], {}, "x", -1, 1e400]))
def test_iperf3_output_with_a_part_missing_is_refused(part: str, instead: object) -> None:
    with pytest.raises(Iperf3Unreadable):
        iperf3.read(json.dumps(IPERF | {part: instead}).encode())


async def test_tool_that_does_not_end_is_ended() -> None:
    with pytest.raises(ToolFailed, match=r"^sleep: found no end after 0\.05 s, expected one; it was stopped$"):
        await said(["sleep", "1000"], 0.05, package="coreutils")


async def test_tool_that_says_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.probes.throughput.tools.LARGEST_OUTPUT", 1000)
    with pytest.raises(ToolFailed, match="more than 1000 bytes"):
        await said(["yes"], 10, package="coreutils")


async def test_cancelled_the_tool_ends_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    task = asyncio.create_task(said(["sh", "-c", f"echo $$ > {pipe}; exec sleep 1000"], 100, package="sh"))
    pid = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await asyncio.to_thread(Path(f"/proc/{pid}").exists)

"""The whole probe on loopback against a real responder, and what it says when there is none to speak of."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from agent.findings import mistake_in
from agent.probe import Finding, LeaseRefused, Leases, Span, Target
from agent.probes.throughput import Throughput, ThroughputSettings, tcp_client
from agent.probes.throughput.engine import Direction, Progress
from agent.probes.throughput.tcp_opening import Opening
from agent.router_counters import Counters, CountersUnavailable
from collector.responder import tcp
from tests.support.throughput_ends import OwnLeases, granted, ledger, now
from wire.bulk import Streams
from wire.lease import Grant, Purpose
from wire.reasons import Limit, Outcome, Reason
from wire.settings import ContractTerms, ResponderAt, Role

RATE = 30_000_000
CONTRACT = ContractTerms(download=20_000_000, upload=20_000_000)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with await tcp.serve("127.0.0.1", 0, ledger(), now) as server:
        yield server.port


async def measure(port: int, leases: Leases | None = None, probe: Throughput | None = None, **settings: Any) -> Finding:
    given: dict[str, Any] = {"contract": CONTRACT, "inline": True} | settings
    host = str(given.pop("host", "127.0.0.1"))
    made = ThroughputSettings(responder=ResponderAt(id="hall", host=host, tcp_port=port), **given)
    target = Target("hall", "", made, leases or OwnLeases(RATE, RATE))
    finding = await (probe or Throughput()).measure(target, Span(0.0, 60.0))
    assert mistake_in(finding) == ""
    for one in finding.results:
        whole = Finding(
            outcome=one.outcome, reason=one.reason, counts=one.counts, values=one.values, durations=one.durations
        )
        assert mistake_in(whole) == ""
        assert one.start <= one.end
    return finding


async def test_both_directions(port: int):
    told: list[Progress] = []
    probe = Throughput()
    probe.progress = told.append
    finding = await measure(port, probe=probe)
    assert finding.outcome is Outcome.OK
    assert [one.direction for one in finding.results] == ["down", "up"]
    for one in finding.results:
        # Loopback has no bottleneck of its own: the lease is, and the result says so.
        assert Limit.RESPONDER_CAPACITY in one.limits
        assert 0.8 * RATE < one.values["throughput"] < 1.2 * RATE
        assert one.values["contract"] == 20e6
        assert one.counts["connections"] == 16
        assert one.counts["rate_windows"] >= 5
        assert one.counts["test_bytes"] > 1_000_000
        assert one.durations["rtt"].count == 16
        assert one.facts["counted"] == "receiver's kernel"
        assert one.facts["family"] == "ipv4"
        assert one.facts["responder"] == "hall"
        assert one.facts["cross_traffic"] == "inline"
    assert {one.direction for one in told} == {Direction.DOWN, Direction.UP}
    assert all(0 <= one.share <= 1 and one.engine == "tcp" for one in told)
    assert max(one.rate for one in told) > RATE / 2


@pytest.mark.parametrize(("interface", "elsewhere"), [("eth0", True), ("lo", False), ("", False)])
async def test_what_leaves_by_another_interface_is_not_of_this_link(port: int, interface: str, elsewhere: bool):
    """A backup by mobile network may have IPv6 where the line has none; a tunnel, the way to the responder alone."""
    (one,) = (await measure(port, interface=interface, directions=(Direction.DOWN,))).results
    assert one.facts["interface"] == "lo"
    assert (Limit.WRONG_VANTAGE in one.limits) is elsewhere


async def test_one_direction_by_ipv6():
    async with await tcp.serve("::1", 0, ledger(), now) as server:
        finding = await measure(server.port, host="::1", directions=(Direction.UP,))
    (one,) = finding.results
    assert (one.direction, one.facts["family"]) == ("up", "ipv6")


async def test_the_role_is_judged(port: int):
    finding = await measure(port, directions=(Direction.DOWN,), role=Role.ROOM)
    (one,) = finding.results
    assert Limit.WRONG_ROLE in one.limits
    assert not one.valid


class Refusing:
    """Lends nothing."""

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        raise LeaseRefused(Reason.QUIET_TIME, "a meeting begins at 09:00")


async def test_no_lease_no_test(port: int):
    finding = await measure(port, Refusing())
    assert (finding.outcome, finding.reason) == (Outcome.SKIPPED, Reason.QUIET_TIME)
    assert finding.facts == {"detail": "a meeting begins at 09:00"}
    assert finding.results == []


class Lending:
    """Lends one and the same lease again and again."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        return self.grant


@pytest.mark.parametrize("broken", ["forged", "expired", "foreign", "replayed"])
async def test_a_lease_that_is_no_good_is_the_collector_s_affair_and_not_the_link_s(port: int, broken: str):
    grant = granted(
        RATE, RATE, responder="core" if broken == "foreign" else "hall", expires=1 if broken == "expired" else 2**52
    )
    if broken == "forged":
        grant = granted(RATE, RATE).__class__(lease=grant.lease, token=grant.token[:-2] + "AA", key=grant.key)
    if broken == "replayed":
        await measure(port, Lending(grant), directions=(Direction.DOWN,))
    finding = await measure(port, Lending(grant))
    assert (finding.outcome, finding.reason) == (Outcome.SKIPPED, Reason.NO_LEASE)
    assert [one.limits[0] for one in finding.results] == [Limit.NO_LEASE, Limit.NO_LEASE]
    assert not any(one.valid for one in finding.results)


async def test_a_busy_responder():
    async with await tcp.serve("127.0.0.1", 0, ledger(down=RATE, up=RATE), now) as server:
        first = asyncio.create_task(measure(server.port, directions=(Direction.DOWN,)))
        async with asyncio.timeout(5):
            while not server._admission.sessions:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)
        second = await measure(server.port, directions=(Direction.DOWN,))
        assert (second.outcome, second.reason) == (Outcome.SKIPPED, Reason.RESPONDER_BUSY)
        assert (await first).outcome is Outcome.OK


async def test_a_full_table_of_open_files_is_the_agent_s_own_trouble(port: int, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Opening, "_connect", full)
    finding = await measure(port)
    assert (finding.outcome, finding.reason) == (Outcome.ERROR, Reason.NO_RESOURCES)
    assert finding.facts["remedy"] == "raise the limit of open files (LimitNOFILE=)"
    assert [one.outcome for one in finding.results] == [Outcome.ERROR] * 2


async def test_its_own_trouble_in_the_middle_stays_its_own(port: int, monkeypatch: pytest.MonkeyPatch):
    def none_left(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    monkeypatch.setattr(Streams, "read", none_left)
    finding = await measure(port)
    assert (finding.outcome, finding.reason) == (Outcome.ERROR, Reason.NO_RESOURCES)


async def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    finding = await measure(port)
    assert (finding.outcome, finding.reason) == (Outcome.FAILED, Reason.RESPONDER_SILENT)
    assert [one.reason for one in finding.results] == [Reason.RESPONDER_SILENT] * 2


async def impostor(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Finding:
    """Measures against something else that listens."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        return await measure(server.sockets[0].getsockname()[1])


async def test_something_else_listens_there():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        await reader.read()

    finding = await impostor(answer)
    assert (finding.outcome, finding.reason) == (Outcome.FAILED, Reason.BROKEN_OFF)
    assert "is this a responder's port?" in finding.facts["detail"]


async def test_something_that_hangs_up():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    finding = await impostor(answer)
    assert (finding.outcome, finding.reason) == (Outcome.FAILED, Reason.BROKEN_OFF)


async def test_something_that_says_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agent.probes.throughput.tcp_opening.SET_UP_WITHIN", 0.1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    finding = await impostor(answer)
    assert (finding.outcome, finding.reason) == (Outcome.FAILED, Reason.BROKEN_OFF)
    assert finding.facts["detail"] == "not all connections were open after 0 s"


async def test_the_responder_stops_in_the_middle(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp_client, "SILENCE", 0.3)
    server = await tcp.serve("127.0.0.1", 0, ledger(), now)
    under_way = asyncio.Event()
    probe = Throughput()
    probe.progress = lambda one: under_way.set() if one.rate else None
    test = asyncio.create_task(measure(server.port, probe=probe))
    await under_way.wait()
    await server.close()
    finding = await test
    assert (finding.outcome, finding.reason) == (Outcome.FAILED, Reason.BROKEN_OFF)
    down, up = finding.results
    assert (down.outcome, down.limits[:1]) == (Outcome.FAILED, (Limit.CUT_SHORT,))
    assert (up.outcome, up.reason) == (Outcome.SKIPPED, Reason.BROKEN_OFF)
    assert not down.valid


async def test_cancelled_it_lets_go_at_once():
    admission = ledger()
    async with await tcp.serve("127.0.0.1", 0, admission, now) as server:
        under_way = asyncio.Event()
        probe = Throughput()
        probe.progress = lambda one: under_way.set() if one.rate else None
        test = asyncio.create_task(measure(server.port, probe=probe))
        await under_way.wait()
        test.cancel()
        with pytest.raises(asyncio.CancelledError):
            await test
        async with asyncio.timeout(2):
            while admission.sessions:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.005)


class Router:
    """Counters that moved by ``others`` bytes more than the test."""

    def __init__(self, others: int) -> None:
        self.others = others
        self.readings = 0

    async def read(self) -> Counters:
        """As a router's."""
        self.readings += 1
        if self.others < 0:
            raise CountersUnavailable("no answer")
        passed = 0 if self.readings == 1 else 100_000_000 + self.others + self.readings
        return Counters(passed, passed, 10.0 * self.readings)


@pytest.mark.parametrize(
    ("others", "source", "limited"),
    [(0, "router counters", True), (-1, "unseen", False)],
)
async def test_router_counters_are_asked_before_and_after(port: int, others: int, source: str, limited: bool):
    probe = Throughput()
    probe.router = router = Router(others)
    finding = await measure(port, probe=probe, inline=False, directions=(Direction.DOWN,))
    (one,) = finding.results
    assert one.facts["cross_traffic"] == source
    assert (Limit.CROSS_TRAFFIC in one.limits) is limited
    assert (Limit.CROSS_TRAFFIC_UNSEEN in one.limits) is (source == "unseen")
    assert router.readings >= 1

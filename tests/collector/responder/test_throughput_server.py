"""The responder's throughput server: nothing without a proven lease, never more than it allows, nobody holds it up."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from collector.responder import tcp, tcp_session
from collector.responder.admission import Admission
from collector.responder.tcp import TcpServer
from tests.support.throughput_ends import granted, ledger, now
from tests.support.throughput_peer import Peer, begun
from wire import lease, throughput
from wire.clock import SECOND
from wire.lease import Purpose
from wire.throughput import Begin, Ended, Join, Joined, Open, Opened, Progress, Refused, Stop

RATE = 20_000_000


class Hall:
    """A server with its ledger and a clock that can be set ahead."""

    def __init__(self) -> None:
        self.admission: Admission = ledger()
        self.ahead = 0
        self.server: TcpServer

    @property
    def port(self) -> int:
        return self.server.port

    def now(self) -> int:
        return now() + self.ahead

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits for what happens in the server's own time."""
        async with asyncio.timeout(10):
            while not reached():  # noqa: ASYNC110 - the server has no event for what it forgets
                await asyncio.sleep(0.005)

    async def idle(self) -> None:
        """Until no session is open."""
        await self.until(lambda: not self.admission.sessions)


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    made = Hall()
    made.server = await tcp.serve("127.0.0.1", 0, made.admission, made.now)
    async with made.server:
        yield made


async def silence(peer: Peer) -> bytes:
    """What comes until the responder closes."""
    with contextlib.suppress(ConnectionError):
        return await peer.reader.read()
    return b""


async def test_a_stranger_gets_the_greeting_and_nothing_more(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp, "SHOW_WITHIN", 0.05)
    peer = await Peer.connect(hall.port)
    assert await silence(peer) == b""
    await peer.close()


async def test_slow_talkers_are_closed_too(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp, "SHOW_WITHIN", 0.1)
    peer = await Peer.connect(hall.port)
    whole = throughput.frame(Open("t" * 500, "0" * 32))
    with contextlib.suppress(ConnectionError):
        for byte in whole:
            peer.writer.write(bytes([byte]))
            await peer.writer.drain()
            if peer.reader.at_eof():
                break
            await asyncio.sleep(0.002)
    assert await silence(peer) == b""
    await peer.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0", b"\0\2{}", b"\0\4null", b"\x16\3\1\2\0"])
async def test_what_is_not_the_protocol_is_closed_without_a_word(hall: Hall, said: bytes):
    peer = await Peer.connect(hall.port)
    peer.writer.write(said)
    peer.writer.write_eof()
    assert await silence(peer) == b""
    await peer.close()


async def test_one_source_cannot_take_all_places(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp, "MOST_OF_ONE_SOURCE", 2)
    first, second = await Peer.connect(hall.port), await Peer.connect(hall.port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await Peer.connect(hall.port)
    await first.close()
    await hall.until(lambda: hall.server._strangers.total() == 1)
    third = await Peer.connect(hall.port)
    for one in (second, third):
        await one.close()


async def test_all_sources_together_are_bounded(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp, "MOST_STRANGERS", 1)
    first = await Peer.connect(hall.port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await Peer.connect(hall.port)
    await first.close()


async def refused(hall: Hall, grant: Any, **how: Any) -> str:
    peer = await Peer.connect(hall.port)
    answer = await peer.open(grant, **how)
    assert isinstance(answer, Refused)
    assert await peer.hear() is None
    await peer.close()
    return answer.denial


async def test_a_forged_an_expired_and_a_foreign_lease(hall: Hall):
    good = granted(RATE, RATE)
    forged = good.__class__(lease=good.lease, token=good.token[:-3] + "AAA", key=good.key)
    assert await refused(hall, forged) == "bad_lease"
    assert await refused(hall, good, challenge=bytes(16)) == "bad_proof"
    assert await refused(hall, granted(RATE, RATE, purpose=Purpose.STAMP)) == "wrong_purpose"
    assert await refused(hall, granted(RATE, RATE, responder="core")) == "wrong_responder"
    hall.ahead = 61 * SECOND
    assert await refused(hall, good) == "expired"
    assert hall.admission.sessions == set()


async def test_a_replayed_lease(hall: Hall):
    grant = granted(RATE, RATE)
    control, stream = await begun(hall.port, grant, "down")
    assert await refused(hall, grant) == "replayed"
    await control.close()
    await stream.close()
    await hall.idle()
    assert await refused(hall, grant) == "replayed"


async def test_the_proof_of_an_opening_names_the_number_of_streams(hall: Hall):
    grant = granted(RATE, RATE)
    peer = await Peer.connect(hall.port)
    proof = lease.proof(bytes.fromhex(grant.key), peer.challenge, throughput.open_context(1)).hex()
    await peer.say(Open(grant.token, proof, 16))
    assert await peer.hear() == Refused("bad_proof")
    await peer.close()


async def test_joining(hall: Hall):
    grant, other = granted(RATE, RATE), granted(RATE, RATE)
    control = await Peer.connect(hall.port)
    assert await control.open(grant, streams=2) == Opened(RATE, RATE)

    async def joining(**how: Any) -> Any:
        peer = await Peer.connect(hall.port)
        answer = await peer.join(how.pop("grant", grant), **how)
        return answer, peer

    peers = []
    for how, expected in (
        ({"grant": other}, Refused("bad_lease")),
        ({"stream": 2}, Refused("bad_lease")),
        ({"stream": 0, "proof_of": 1}, Refused("bad_proof")),
        ({"stream": 0}, Joined()),
        ({"stream": 0}, Refused("replayed")),
        ({"stream": 1}, Joined()),
        ({"stream": 1}, Refused("bad_lease")),  # it has begun
    ):
        answer, peer = await joining(**how)
        assert answer == expected, how
        peers.append(peer)
    for one in (control, *peers):
        await one.close()
    await hall.idle()


async def test_streams_that_never_come_give_the_place_back(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp, "GATHER_WITHIN", 0.05)
    control, stream = await Peer.connect(hall.port), await Peer.connect(hall.port)
    grant = granted(RATE, RATE)
    await control.open(grant, streams=2)
    assert await stream.join(grant) == Joined()
    assert len(hall.admission.sessions) == 1
    assert await control.hear() is None
    assert await silence(stream) == b""
    await hall.idle()
    for one in (control, stream):
        await one.close()


async def drained(stream: Peer) -> int:
    """Bytes taken from a stream until it ends."""
    total = 0
    with contextlib.suppress(ConnectionError):
        while data := await stream.reader.read(1 << 18):
            total += len(data)
    return total


async def test_it_never_sends_beyond_the_lease_s_rate_and_time(hall: Hall):
    control, stream = await begun(hall.port, granted(RATE, RATE, seconds=0.6), "down", 60.0)
    taking = asyncio.create_task(drained(stream))
    ended = await control.wait_for(Ended)
    assert ended is not None
    assert ended.cut
    assert ended.reading.held > 100_000
    assert ended.reading.at >= 590_000
    (session,) = hall.admission.sessions
    allowed = RATE / 8 * (ended.reading.at / 1e6 + 0.05) + 262_144
    assert session.sent <= allowed
    assert session.sent >= ended.reading.payload
    await control.close()
    assert await taking <= allowed
    await stream.close()
    await hall.idle()


async def test_it_takes_no_more_than_the_lease_allows(hall: Hall):
    control, stream = await begun(hall.port, granted(RATE, RATE, seconds=0.6), "up", 60.0)

    async def push() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                stream.writer.write(bytes(65_536))
                await stream.writer.drain()

    pushing = asyncio.create_task(push())
    ended = await control.wait_for(Ended)
    assert ended is not None
    assert ended.cut
    assert ended.congestion == ""
    (session,) = hall.admission.sessions
    # As it does not read faster, the kernel's window stays small: never the tens of MB that its buffers may hold.
    assert session.received <= RATE / 8 * (0.6 + 1.0) + 300_000
    await control.close()
    await pushing
    await stream.close()
    await hall.idle()


async def test_the_lease_s_bytes_cut_it_too(hall: Hall):
    control, stream = await begun(hall.port, granted(RATE, RATE, bytes=300_000), "down", 60.0)
    taking = asyncio.create_task(drained(stream))
    ended = await control.wait_for(Ended)
    assert ended is not None
    assert ended.cut
    assert ended.reading.at < 2_000_000
    await control.close()
    assert 300_000 <= await taking < 1_000_000
    await stream.close()


async def test_a_direction_begins_once(hall: Hall):
    """Each beginning has a full allowance: over and over it would be more than the lease's rate."""
    control, stream = await begun(hall.port, granted(RATE, RATE), "down", 60.0)
    taking = asyncio.create_task(drained(stream))
    await control.say(Begin("down", 60.0))
    while await control.hear() is not None:
        pass
    await hall.idle()
    await taking
    for one in (control, stream):
        await one.close()


async def test_a_direction_of_which_nothing_is_allowed_ends_the_session(hall: Hall):
    control, stream = await begun(hall.port, granted(RATE, 0), "up")
    assert await control.hear() is None
    await hall.idle()
    for one in (control, stream):
        await one.close()


async def test_the_lease_s_time_cuts_a_direction(hall: Hall):
    control, stream = await begun(hall.port, granted(RATE, RATE, seconds=0.3, bytes=10**9), "down", 60.0)
    taking = asyncio.create_task(drained(stream))
    ended = await control.wait_for(Ended)
    assert ended is not None
    assert ended.cut
    await control.close()
    await taking
    await stream.close()


async def test_the_session_ends_with_its_lease(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp_session, "STALLED", 99.0)
    control, stream = await begun(hall.port, granted(RATE, RATE), "down")
    assert isinstance(await control.hear(), Progress)
    hall.ahead = 61 * SECOND
    await hall.idle()
    assert await control.wait_for(Ended) is None
    for one in (control, stream):
        await one.close()


async def test_an_agent_that_does_not_read_is_let_go(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp_session, "STALLED", 0.3)
    control, stream = await begun(hall.port, granted(10**9, 10**9, seconds=8.0), "down", 60.0)
    transport: Any = stream.writer.transport
    transport.pause_reading()
    await hall.idle()
    for one in (control, stream):
        one.writer.transport.abort()


async def test_an_agent_that_opens_and_then_says_nothing_is_let_go(hall: Hall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp_session, "STALLED", 0.1)
    control, stream = await Peer.connect(hall.port), await Peer.connect(hall.port)
    grant = granted(RATE, RATE)
    await control.open(grant)
    await stream.join(grant)
    assert await control.hear() is None
    await hall.idle()
    for one in (control, stream):
        await one.close()


@pytest.mark.parametrize("which", ["control", "stream"])
@pytest.mark.parametrize("direction", ["down", "up"])
async def test_an_agent_gone_in_the_middle_ends_it_at_once(hall: Hall, which: str, direction: str):
    control, stream = await begun(hall.port, granted(RATE, RATE), direction)
    assert isinstance(await control.hear(), Progress)
    gone = control if which == "control" else stream
    gone.writer.transport.abort()
    await hall.idle()
    for one in (control, stream):
        one.writer.transport.abort()


async def test_a_frame_of_nonsense_in_the_middle_ends_it(hall: Hall):
    control, stream = await begun(hall.port, granted(RATE, RATE), "down")
    control.writer.write(b"\0\2no")
    assert await control.wait_for(Ended) is None
    await hall.idle()
    for one in (control, stream):
        await one.close()


async def test_one_direction_after_the_other_without_waiting(hall: Hall):
    control, stream = await begun(hall.port, granted(RATE, RATE), "down")
    taking = asyncio.create_task(drained(stream))
    assert await control.wait_for(Progress) is not None
    await control.say(Stop(), Begin("up", 5.0))
    down = await control.wait_for(Ended)
    assert down is not None
    assert (down.direction, down.cut) == ("down", False)
    assert down.congestion
    stream.writer.write(bytes(200_000))
    while (progress := await control.wait_for(Progress)) is not None:
        if progress.direction == "up" and progress.reading.payload >= 200_000:
            break
    await control.say(Stop())
    up = await control.wait_for(Ended)
    assert up is not None
    assert (up.direction, up.cut) == ("up", False)
    assert up.reading.payload == 200_000 + len(throughput.frame(Join("0" * 16, 0, "0" * 32)))
    await control.close()
    await stream.close()
    await taking
    await hall.idle()


async def test_closing_ends_sessions_and_frees_the_port():
    made = Hall()
    made.server = await tcp.serve("127.0.0.1", 0, made.admission, made.now)
    control, stream = await begun(made.port, granted(RATE, RATE), "down")
    assert isinstance(await control.hear(), Progress)
    await made.server.close()
    assert made.admission.sessions == set()
    assert await control.wait_for(Ended) is None
    with pytest.raises(ConnectionError):
        await Peer.connect(made.port)
    for one in (control, stream):
        await one.close()


async def test_every_address_of_both_families_on_one_port(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tcp, "GATHER_WITHIN", 99.0)
    made = Hall()
    made.server = await tcp.serve("", 0, made.admission, made.now)
    async with made.server:
        for host in ("127.0.0.1", *(["::1"] if socket.has_ipv6 else [])):
            peer = await Peer.connect(made.port, host)
            assert await peer.open(granted(RATE, RATE)) == Opened(RATE, RATE)
            await peer.close()
            await made.idle()  # an agent that hangs up before its streams came gives the place back at once


async def test_a_port_that_is_taken_is_said():
    made = Hall()
    made.server = await tcp.serve("127.0.0.1", 0, made.admission, made.now)
    async with made.server:
        with pytest.raises(OSError, match="in use"):
            await tcp.serve("127.0.0.1", made.port, ledger(), now)

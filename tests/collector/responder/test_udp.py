"""The responder's UDP: who gets a session, what strangers get, and when it stops sending."""

import asyncio
import contextlib
import socket
import time

import pytest

from collector.responder import udp, udp_session
from collector.responder.udp import Server
from tests.support.udp_ends import MBPS, NONCE, Client, lent, now, responding
from wire.call_stream import timetable
from wire.lease import Purpose
from wire.udp_tests import (
    DATA,
    SILENCE,
    Arrivals,
    Ask,
    Challenge,
    Data,
    Denied,
    Done,
    End,
    Hello,
    Open,
    Opened,
    Phase,
    Plan,
    Report,
    Why,
    decode,
    encode,
)

LIGHT = Plan(test="light", payload=1372, down=20 * MBPS, up=8 * MBPS)
CALL = Plan(test="call", payload=1372, down=1 * MBPS, up=1 * MBPS, seconds=1.0)
thread = asyncio.to_thread


@pytest.fixture(autouse=True)
def never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions end for the reason that a test is about, and not because two seconds passed."""
    monkeypatch.setattr(udp_session, "FORGOTTEN", 3600 * 10**9)


async def none_left(server: Server) -> None:
    """Waits until every session is over."""
    while server.sessions:  # noqa: ASYNC110 - it says by its count alone
        await asyncio.sleep(0.01)


async def test_a_good_lease_opens_a_session_whose_end_gives_all_back():
    async with responding() as (server, admission):
        with Client(server.port) as client:
            answer = await thread(client.open, lent(), LIGHT)
            assert isinstance(answer, Opened)
            assert (answer.down, answer.up) == (20 * MBPS, 8 * MBPS)
            assert server.sessions == len(admission.sessions) == 1
            client.say(End(client.identity))
            await asyncio.wait_for(none_left(server), 5)
            assert admission.sessions == set()
            assert admission.counts().received["light"] > 0


async def test_a_forged_lease_meets_silence_and_a_wrong_key_is_denied():
    async with responding() as (server, admission):
        with Client(server.port) as client:
            client.say(Hello(NONCE, lent(secret=b"z" * 32).token), 1372)
            assert await thread(client.silence)
            assert await thread(client.open, lent(), LIGHT, "00" * 32) == Denied(NONCE, "bad_proof")
        assert admission.sessions == set()


async def test_a_lease_opens_once_and_its_packets_are_worth_nothing_elsewhere():
    async with responding() as (server, _):
        grant = lent()
        with Client(server.port) as client, Client(server.port) as thief:
            await thread(client.open, grant, LIGHT)
            thief.socket.send(client.said)
            assert await thread(thief.silence), "the cookie is the client's own"
            assert await thread(thief.open, grant, LIGHT) == Denied(NONCE, "replayed")
            thief.say(Report(client.identity, Phase.DOWN))
            assert await thread(thief.silence), "so is the session"
        assert server.sessions <= 1


async def test_the_wrong_purpose_and_a_full_house_are_denied(monkeypatch: pytest.MonkeyPatch):
    async with responding() as (server, _):
        with Client(server.port) as client:
            assert await thread(client.open, lent(Purpose.CALL), LIGHT) == Denied(NONCE, "wrong_purpose")
            monkeypatch.setattr(udp, "MOST", 0)
            assert await thread(client.open, lent(), LIGHT) == Denied(NONCE, "busy")


async def test_a_lease_caps_the_rates():
    async with responding() as (server, _):
        with Client(server.port) as client:
            answer = await thread(client.open, lent(down=3 * MBPS, up=0), LIGHT)
            assert isinstance(answer, Opened)
            assert (answer.down, answer.up) == (3 * MBPS, 0)


async def test_an_open_sent_again_is_answered_again():
    async with responding() as (server, _):
        with Client(server.port) as client:
            first = await thread(client.open, lent(), LIGHT)
            client.socket.send(client.said)
            assert await thread(client.hear) == first
            assert server.sessions == 1


async def test_an_open_sent_again_must_prove_its_plan_too():
    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
            asked = decode(client.said)
            assert isinstance(asked, Open)
            client.say(asked._replace(plan=asked.plan.replace(b"20000000", b"90000000")), 1372)
            assert await thread(client.silence)


async def test_a_flood_from_many_addresses_gets_no_more_than_it_sent_and_is_not_remembered():
    """Addresses of 127/8 stand for invented ones: who cannot hear the cookie gets no further."""
    async with responding("0.0.0.0") as (server, admission):
        hello = encode(Hello(NONCE, lent().token), 1372)
        short = encode(Hello(NONCE, lent().token))
        garbage = bytes(1372)

        def flood() -> tuple[int, int]:
            sent = got = 0
            for number in range(400):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.bind((f"127.0.{number % 250}.{1 + number // 250}", 0))
                    one.setblocking(False)
                    for raw in (hello, garbage, short, hello[:-1000], hello[:20]):
                        one.sendto(raw, ("127.0.0.1", server.port))
                        sent += len(raw)
                    time.sleep(0.0005)
                    while True:
                        try:
                            got += len(one.recv(2048))
                        except BlockingIOError:
                            break
            return sent, got

        kept = {name: value for name, value in vars(server).items() if isinstance(value, dict | set | list)}
        sent, got = await thread(flood)
        assert 0 < got < sent / 20
        assert all(len(value) == 0 for value in kept.values())
        assert (admission.sessions, admission.used, server.sessions) == (set(), {}, 0)
        with Client(server.port) as client:
            assert isinstance(await thread(client.open, lent(), LIGHT), Opened), "others are served as before"


async def test_the_stream_stops_when_the_client_s_reports_stop():
    def abandon(client: Client) -> tuple[int, int, Done]:
        """Reports for 60 ms, is silent for half a second and counts, then asks what became of it."""
        reported = time.time_ns()
        for _ in range(4):
            reported = time.time_ns()
            client.say(Report(client.identity, Phase.DOWN))
            time.sleep(0.02)
        time.sleep(0.5)
        client.say(Report(client.identity, Phase.DOWN))
        last = 0
        while isinstance(packet := client.hear(), Data):
            last = packet.sent
        assert isinstance(packet, Done)
        return reported, last, packet

    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
            reported, last, done = await thread(abandon, client)
    assert done.why == Why.SILENCE
    assert done.sent > 0
    assert last - reported < 2 * SILENCE, "200 ms, and as much for a busy machine"


async def test_without_a_report_not_one_packet_of_the_stream_is_sent():
    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
            assert await thread(client.silence, 0.3)


async def test_loss_that_the_client_reports_stops_the_stream():
    def complain(client: Client) -> Done:
        client.say(Report(client.identity, Phase.DOWN))
        client.hear_of(Data)
        client.say(Report(client.identity, Phase.DOWN, received=1, lost=100))
        done = client.hear_of(Done)
        assert isinstance(done, Done)
        return done

    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
            assert (await thread(complain, client)).why == Why.LOSS_SEEN


async def test_a_session_ends_with_its_lease():
    async with responding() as (server, admission):
        with Client(server.port) as client:
            await thread(client.open, lent(expires=now() + 300_000), LIGHT)
            await asyncio.wait_for(none_left(server), 5)
            assert admission.sessions == set()


async def test_a_client_that_is_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(udp_session, "FORGOTTEN", 100_000_000)
    async with responding() as (server, admission):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
            await asyncio.wait_for(none_left(server), 5)
            assert admission.sessions == set()


async def test_the_stream_stops_at_the_bytes_of_the_lease():
    def listen(client: Client) -> Done:
        while True:
            client.say(Report(client.identity, Phase.DOWN, received=1, stage=2))
            with contextlib.suppress(TimeoutError):
                done = client.hear_of(Done, 0.02)
                assert isinstance(done, Done)
                return done

    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(down=1 * MBPS, bytes=5_000), LIGHT)
            done = await asyncio.wait_for(thread(listen, client), 10)
    assert done.why == Why.LEASE
    assert done.bytes <= 5_000 + 0.1 * MBPS / 8


async def test_more_than_the_lease_allows_is_neither_taken_nor_sent():
    def press(client: Client) -> tuple[Report, Done]:
        for number in range(300):
            client.say(Data(client.identity, number, time.time_ns(), 2), 1372)
        client.say(Done(client.identity, Phase.UP, 0, 300, 0))
        taken = client.hear_of(Report)
        return taken, taken

    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(up=1 * MBPS, down=1 * MBPS), LIGHT)
            report, _ = await thread(press, client)
    # A tenth of a second's worth at once is 12.5 kB: nine packets, and what little was due meanwhile.
    assert 5 <= report.received < 60


async def test_closing_ends_open_sessions():
    async with responding() as (server, admission):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
        assert server.sessions == 1
    assert server.sessions == 0
    assert admission.sessions == set()


async def test_a_second_responder_on_the_same_port_is_refused():
    async with responding() as (server, admission):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
            with pytest.raises(OSError, match="in use"):
                await udp.serve("127.0.0.1", server.port, admission, now)


async def test_a_call_s_arrivals_are_told_in_their_order():
    def call(client: Client) -> tuple[list[Data], Done, Arrivals]:
        client.say(Report(client.identity, Phase.BOTH))
        for number, late in ((0, 5_000_000), (2, 0), (1, 7_000_000), (1, 7_000_000)):
            client.say(Data(client.identity, number, 10**12 - late, 0), 300)
            time.sleep(0.01)
        heard = [client.hear_of(Data)]
        while len(heard) < len(timetable(CALL.down, 1372, 28, CALL.seconds)):
            client.say(Report(client.identity, Phase.BOTH))
            heard.append(client.hear_of(Data))
        client.say(Done(client.identity, Phase.BOTH, 0, 4, 0))
        done = client.hear_of(Done)
        client.say(Ask(client.identity, 0))
        return heard, done, client.hear_of(Arrivals)

    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(Purpose.CALL), CALL)
            heard, done, arrivals = await thread(call, client)
    assert [one.number for one in heard] == list(range(len(heard)))
    assert (done.why, done.sent) == (Why.COMPLETE, len(heard))
    assert arrivals.whole == 4
    assert [number for number, _ in arrivals.entries] == [0, 2, 1, 1]
    delays = [delay for _, delay in arrivals.entries]
    assert min(delays) == 0
    assert delays[2] > 10_000_000, "sent 7 ms before and 20 ms later"


async def test_asking_for_the_list_over_and_over_brings_no_more_than_the_lease_allows():
    def flood(client: Client) -> None:
        client.say(Report(client.identity, Phase.BOTH))
        for number in range(100):
            client.say(Data(client.identity, number, 10**12, 0), 300)
            time.sleep(0.003)
        client.hear_of(Data)
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            client.say(Ask(client.identity, 0))

    async with responding() as (server, admission):
        with Client(server.port) as client:
            await thread(client.open, lent(Purpose.CALL, down=MBPS, up=MBPS), CALL)
            await thread(flood, client)
            (session,) = admission.sessions
            passed = now() - session.opened
            assert session.sent <= MBPS / 8 * (passed / 1e6 + 0.1) + 3000 + 1400


async def test_a_call_s_stream_waits_for_a_client_that_is_silent_and_goes_on():
    def pause(client: Client) -> tuple[int, list[Data]]:
        client.say(Report(client.identity, Phase.BOTH))
        before = []
        with contextlib.suppress(TimeoutError):
            while True:
                before.append(client.hear_of(Data, 0.9).number)
        rest: list[Data] = []
        while not rest or rest[-1].number < len(items) - 1:
            client.say(Report(client.identity, Phase.BOTH))
            rest.append(client.hear_of(Data))
        return before[-1], rest

    items = timetable(CALL.down, 1372, 28, CALL.seconds)
    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(Purpose.CALL), CALL)
            last, rest = await thread(pause, client)
    assert 0 < last < len(items) - 1
    assert [one.number for one in rest] == list(range(last + 1, len(items)))
    wanted = items[-1].at - items[last + 1].at
    assert rest[-1].sent - rest[0].sent > wanted / 2, "and does not make up for the pause"


async def test_garbage_in_a_session_changes_nothing():
    def pester(client: Client) -> Report:
        for raw in (b"", b"PhU", bytes(1400), b"PhU\x06", encode(Data(b"another!", 0, 0, 0), 1372)[: DATA.size - 1]):
            client.socket.send(raw)
        client.say(Data(b"another!", 0, 0, 0), 1372)
        client.say(End(b"another!"))
        client.say(Challenge(client.identity, bytes(16)))
        client.say(Done(client.identity, Phase.UP, 0, 0, 0))
        found = client.hear_of(Report)
        assert isinstance(found, Report)
        return found

    async with responding() as (server, _):
        with Client(server.port) as client:
            await thread(client.open, lent(), LIGHT)
            assert (await thread(pester, client)).received == 0
            assert server.sessions == 1


async def test_ipv6_and_ipv4_are_served_by_one_socket():
    async with responding("::") as (server, _):
        with Client(server.port) as client:
            assert isinstance(await thread(client.open, lent(), LIGHT), Opened)

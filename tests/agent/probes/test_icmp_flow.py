"""Round trips by two clocks, and flows over the loopback."""

import asyncio
import errno
import socket
from collections.abc import Callable

import msgspec
import pytest

from agent.neterrors import Unresolved
from agent.probe import Span, Target
from agent.probes import icmp
from agent.probes.icmp import Icmp, IcmpSettings, Place
from agent.probes.icmp.codec import Family
from agent.probes.icmp.pinger import STEP, Flow, Pinger, Received, round_trip
from agent.probes.icmp.sockets import Address, EchoSocket, Moment, NoPermission
from wire.reasons import Outcome, Reason

MS = 1_000_000
REAL = 1_800_000_000_000 * MS
SENT = Moment(real=REAL, steady=500 * MS)


def allowed(family: Family) -> bool:
    try:
        EchoSocket(family).close()
    except NoPermission:
        return False
    return True


needs_sockets = pytest.mark.skipif(not allowed(Family.V4), reason="needs ping sockets or CAP_NET_RAW")


def later(steady: int, step: int = 0) -> Moment:
    return Moment(REAL + steady + step, SENT.steady + steady)


def test_a_full_table_of_open_files_is_not_taken_for_a_missing_right(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(_family: int, kind: int, _protocol: int) -> socket.socket:
        if kind & socket.SOCK_RAW == socket.SOCK_RAW:
            raise OSError(errno.EMFILE, "Too many open files")
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", starved)
    with pytest.raises(OSError) as problem:
        EchoSocket(Family.V4)
    assert icmp.unopened(problem.value, "any").reason is Reason.NO_RESOURCES


def test_a_busy_loop_does_not_lengthen_the_round_trip() -> None:
    assert round_trip(SENT, REAL + 20 * MS, later(300 * MS)) == 20 * MS


@pytest.mark.parametrize("step", [-3600_000 * MS, -5 * MS, 5 * MS, 3600_000 * MS, 365 * 86_400_000 * MS])
@pytest.mark.parametrize("before_arrival", [True, False])
def test_a_step_of_the_wall_clock_does_not_enter_the_round_trip(step: int, before_arrival: bool) -> None:
    stamp = REAL + 20 * MS + (step if before_arrival else 0)
    assert round_trip(SENT, stamp, later(21 * MS, step)) == 21 * MS


def test_noise_in_reading_the_clocks_is_no_step() -> None:
    assert round_trip(SENT, REAL + 20 * MS, later(300 * MS, STEP // 2)) == 20 * MS


def test_without_a_stamp_the_steady_clock_counts() -> None:
    assert round_trip(SENT, None, later(21 * MS)) == 21 * MS


def test_a_stamp_before_the_sending_is_not_negative() -> None:
    assert round_trip(SENT, REAL - 10, later(1)) == 0


@needs_sockets
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_loopback_answers(host: str) -> None:
    probe = Icmp()
    settings = IcmpSettings(host=host, interval=0.02)
    found = await probe.measure(Target("here", "", settings), Span(0.2, 5))
    probe.close()
    assert found.outcome is Outcome.OK
    sent = found.counts.pop("sent")
    assert 5 <= sent <= 10, "a slot that the machine was too busy for is left out"
    assert found.counts == {"lost": 0, "duplicates": 0, "reordered": 0, "late": 0}
    assert found.durations["rtt"].count == sent
    assert found.durations["rtt"].low < 5 * MS
    assert found.values["jitter"] < 0.05


@needs_sockets
async def test_windows_that_follow_each_other_lose_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second echo goes to nobody; each window waits for its last while the next one runs."""
    probe = Icmp()
    settings = IcmpSettings(host="127.0.0.1", interval=0.02, timeout=0.3)
    numbers: list[int] = []
    real = EchoSocket.send

    def send(self: EchoSocket, address: Address, number: int, size: int, ttl: int | None = None) -> Moment:
        numbers.append(number)
        self.token = b"anothers" if number % 2 else token
        return real(self, address, number, size, ttl)

    probe._pinger.open(Family.V4)
    token = probe._pinger.open(Family.V4).token
    monkeypatch.setattr(EchoSocket, "send", send)
    monkeypatch.setattr("agent.probes.icmp.codec.reply", _only(token))
    tasks = []
    for _ in range(4):
        tasks.append(asyncio.create_task(probe.measure(Target("here", "", settings), Span(0.2, 5))))
        await asyncio.sleep(0.2)
    findings = await asyncio.gather(*tasks)
    probe.close()
    assert sum(one.counts["sent"] for one in findings) == len(numbers)
    assert sum(one.counts["lost"] for one in findings) == sum(number % 2 for number in numbers)
    assert all(5 <= one.counts["sent"] <= 11 for one in findings)


def _only(token: bytes):
    from agent.probes.icmp import codec

    real = codec.reply
    return lambda family, data, _: real(family, data, token)


@needs_sockets
async def test_many_targets_share_one_socket_and_do_not_mix() -> None:
    probe = Icmp()
    hosts = [f"127.0.0.{number}" for number in range(1, 31)]
    settings = [IcmpSettings(host=host, interval=0.05) for host in hosts]
    measures = (probe.measure(Target(one.host, "", one), Span(0.2, 5)) for one in settings)
    findings = await asyncio.gather(*measures)
    assert len(probe._pinger._sockets) == 1
    probe.close()
    assert all(2 <= one.counts["sent"] <= 4 for one in findings)
    assert not any(one.counts["lost"] or one.counts["duplicates"] for one in findings)


@needs_sockets
async def test_a_measurement_beside_the_continuous_one_has_its_own_window() -> None:
    probe = Icmp()
    target = Target("here", "", IcmpSettings(host="127.0.0.1", interval=0.05))
    running = asyncio.create_task(probe.measure(target, Span(1.0, 5)))
    await asyncio.sleep(0.1)
    ordered = await probe.measure(target, Span(0.2, 5))
    continuous = await running
    probe.close()
    assert 2 <= ordered.counts["sent"] <= 4
    assert 15 <= continuous.counts["sent"] <= 20


@needs_sockets
async def test_cut_short_it_tells_what_it_has() -> None:
    probe = Icmp()
    target = Target("here", "", IcmpSettings(host="127.0.0.1", interval=0.05))
    running = asyncio.create_task(probe.measure(target, Span(60.0, 65)))
    await asyncio.sleep(0.22)
    running.cancel()
    found = await running
    probe.close()
    assert found.outcome is Outcome.OK
    assert 2 <= found.counts["sent"] <= 5
    assert found.counts["lost"] == 0


class Refusing(Pinger):
    """A pinger whose machine will not send."""

    def __init__(self, cause: int) -> None:
        super().__init__()
        self.cause = cause

    def send(self, family: Family, address: Address, size: int, listener: object, ttl: int | None = None) -> int:
        raise OSError(self.cause, "refused by the test")


@pytest.mark.parametrize(
    ("cause", "outcome", "reason"),
    [
        (errno.ENETUNREACH, Outcome.FAILED, Reason.NO_ROUTE),
        (errno.EHOSTUNREACH, Outcome.FAILED, Reason.HOST_UNREACHABLE),
        (errno.ENETDOWN, Outcome.FAILED, Reason.INTERFACE_DOWN),
        (errno.ENOBUFS, Outcome.ERROR, Reason.NO_RESOURCES),
        (errno.EPERM, Outcome.ERROR, Reason.NO_PERMISSION),
        (errno.EINVAL, Outcome.ERROR, Reason.BAD_TARGET),
    ],
)
@needs_sockets
async def test_what_cannot_be_sent_is_the_paths_or_our_own_trouble(
    cause: int, outcome: Outcome, reason: Reason
) -> None:
    probe = Icmp()
    probe._pinger = Refusing(cause)
    settings = IcmpSettings(host="192.0.2.1", interval=0.02)
    found = await probe.measure(Target("there", "", settings), Span(0.05, 5))
    probe.close()
    assert (found.outcome, found.reason) == (outcome, reason)
    assert ("remedy" in found.facts) == (outcome is Outcome.ERROR)
    assert bool(found.counts["sent"]) == (outcome is Outcome.FAILED), "our own trouble is nobody's loss"


@needs_sockets
async def test_a_pending_error_of_another_echo_is_not_this_ones() -> None:
    """The kernel reports an old error at the next sending; the loopback refuses nothing, so the echo must be sent."""
    pinger = Pinger()
    heard: list[Received] = []
    arrived = asyncio.Event()

    def listen(received: Received) -> None:
        heard.append(received)
        arrived.set()

    sock = pinger.open(Family.V4)
    real, pending = sock._send, [OSError(errno.EHOSTUNREACH, "of another echo")]

    def send(packet: bytes, control: list[tuple[int, int, bytes]], address: Address) -> Moment:
        if pending:
            raise pending.pop()
        return real(packet, control, address)

    sock._send = send  # type: ignore[method-assign]
    number = pinger.send(Family.V4, ("127.0.0.1", 0), 56, listen)
    await asyncio.wait_for(arrived.wait(), 5)
    pinger.close()
    assert [(one.number, one.error) for one in heard] == [(number, None)]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.NAME_SERVER_SILENT, Outcome.OK),
        (Reason.NAME_SERVER_FAILED, Outcome.OK),
        (Reason.NAME_NOT_FOUND, Outcome.FAILED),
    ],
)
@needs_sockets
async def test_silent_name_servers_do_not_end_the_echoes(
    monkeypatch: pytest.MonkeyPatch, reason: Reason, expected: Outcome
) -> None:
    known = Place(Family.V4, ("127.0.0.1", 0))
    answers: list[Place | Unresolved] = [known, Unresolved("a.test", reason, "told by the test")]

    async def place_of(host: str, family: str, within: float) -> Place:
        answer = answers.pop(0)
        if isinstance(answer, Unresolved):
            raise answer
        return answer

    monkeypatch.setattr(icmp, "place_of", place_of)
    monkeypatch.setattr(icmp, "RESOLVE_EVERY", 0.0)
    probe = Icmp()
    target = Target("there", "", IcmpSettings(host="a.test", interval=0.05))
    first = await probe.measure(target, Span(0.1, 5))
    second = await probe.measure(target, Span(0.1, 5))
    probe.close()
    assert first.outcome is Outcome.OK
    assert second.outcome is expected
    assert not answers, "asked again once the address had grown old"


def test_echoes_must_stay_a_trickle() -> None:
    IcmpSettings(host="192.0.2.1", interval=0.02, size=56)
    with pytest.raises(ValueError, match="interval, size") as refused:
        IcmpSettings(host="192.0.2.1", interval=0.1, size=1472)
    message = (
        "interval, size: found 1472 bytes every 0.1 s, that is 120 kbit/s; "
        "expected at most 50 kbit/s, because echoes run during meetings too"
    )
    assert str(refused.value) == message
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"host": "192.0.2.1", "interval": 0.1, "size": 1472}, IcmpSettings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Object missing required field `host`"),
        ({"host": ""}, "Expected `str` of length >= 1 - at `$.host`"),
        ({"host": "a", "interval": 0}, "Expected `float` >= 0.01 - at `$.interval`"),
        ({"host": "a", "timeout": 9}, "Expected `float` <= 8.0 - at `$.timeout`"),
        ({"host": "a", "size": 15}, "Expected `int` >= 16 - at `$.size`"),
        ({"host": "a", "family": "5"}, "Invalid enum value '5' - at `$.family`"),
        ({"host": "a", "hosts": "b"}, "Object contains unknown field `hosts`"),
    ],
)
def test_wrong_settings_are_refused_by_name(given: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(given, IcmpSettings)
    assert str(refused.value) == message


async def test_a_name_that_does_not_exist_is_the_targets_failure() -> None:
    probe = Icmp()
    settings = IcmpSettings(host="no-such-host.invalid")
    found = await probe.measure(Target("there", "", settings), Span(0.1, 8))
    probe.close()
    assert found.outcome is Outcome.FAILED
    assert found.reason in (Reason.NAME_NOT_FOUND, Reason.NAME_SERVER_FAILED, Reason.NAME_SERVER_SILENT)


class Silent(Pinger):
    """A pinger into the void that keeps its listeners."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Callable[[Received], None]] = []
        self.times: list[float] = []

    def send(
        self,
        family: Family,
        address: Address,
        size: int,
        listener: Callable[[Received], None],
        ttl: int | None = None,
    ) -> int:
        self.listeners.append(listener)
        self.times.append(asyncio.get_running_loop().time())
        return len(self.listeners)


async def test_replies_to_a_window_that_is_closed_count_in_the_one_that_is_open() -> None:
    pinger = Silent()
    flow = Flow(pinger, Family.V4, ("192.0.2.1", 0), interval=0.05, timeout=0.05, size=56)
    first = flow.begin(0.04)
    await flow.ended(first)
    second = flow.begin(0.04)
    pinger.listeners[0](Received(1, "192.0.2.1", 90 * MS, None, None))
    pinger.listeners[0](Received(1, "192.0.2.1", 91 * MS, None, None))
    await flow.ended(second)
    assert first.counts() == {"sent": 1, "lost": 1, "duplicates": 0, "reordered": 0, "late": 0}
    assert second.counts() == {"sent": 1, "lost": 1, "duplicates": 1, "reordered": 0, "late": 1}


async def test_a_window_ends_with_its_last_answer_and_not_later() -> None:
    pinger = Silent()
    flow = Flow(pinger, Family.V4, ("192.0.2.1", 0), interval=1.0, timeout=30.0, size=56)
    window = flow.begin(0.02)
    ended = asyncio.create_task(flow.ended(window))
    await asyncio.sleep(0.05)
    assert not ended.done(), "the echo may still be answered"
    pinger.listeners[0](Received(1, "192.0.2.1", 40 * MS, None, None))
    await asyncio.wait_for(ended, 1)
    assert window.replies == 1


async def test_cancelled_it_takes_back_what_is_under_way_and_sends_no_more() -> None:
    pinger = Silent()
    flow = Flow(pinger, Family.V4, ("192.0.2.1", 0), interval=0.02, timeout=30.0, size=56)
    window = flow.begin(60.0)
    ended = asyncio.create_task(flow.ended(window))
    await asyncio.sleep(0.05)
    sent = len(pinger.listeners)
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended
    assert sent
    assert (window.sent, window.lost) == (0, 0)
    assert not flow.sending
    await asyncio.sleep(0.05)
    assert len(pinger.listeners) == sent


async def test_echoes_to_all_targets_leave_together() -> None:
    one, other = Silent(), Silent()
    flows = [Flow(each, Family.V4, ("192.0.2.1", 0), interval=0.25, timeout=0.05, size=56) for each in (one, other)]
    first = flows[0].begin(0.75)
    await asyncio.sleep(0.3)
    second = flows[1].begin(0.45)
    await asyncio.wait_for(asyncio.gather(flows[0].ended(first), flows[1].ended(second)), 5)
    assert other.times
    for at in other.times:
        assert min(abs(at - its) for its in one.times) < 0.03


async def test_a_caller_a_little_early_ends_the_window_before() -> None:
    pinger = Silent()
    flow = Flow(pinger, Family.V4, ("192.0.2.1", 0), interval=0.05, timeout=0.05, size=56)
    one = flow.begin(60.0)
    assert not flow.free, "another measurement must use a flow of its own"
    other = Flow(pinger, Family.V4, ("192.0.2.1", 0), interval=0.05, timeout=0.05, size=56)
    first = other.begin(0.3)
    assert other.free
    second = other.begin(0.1)
    await asyncio.wait_for(asyncio.gather(other.ended(first), other.ended(second)), 5)
    assert first.sent + second.sent + one.sent == len(pinger.listeners)


async def test_a_flow_that_was_never_begun_hears_nothing() -> None:
    flow = Flow(Pinger(), Family.V4, ("127.0.0.1", 0), 1.0, 1.0, 56)
    assert flow.free
    assert not flow.sending

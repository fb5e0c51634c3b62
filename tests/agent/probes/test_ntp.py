"""The ntp probe against a false server whose clock the test sets, and its codec against anything."""

import struct
import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probe import Finding, Span, Target
from agent.probes.ntp import Ntp, NtpSettings, codec
from agent.probes.ntp.codec import Answer, Kiss, Sample, Unsynchronised
from tests.support.datagramserver import datagram_server, silent
from wire.reasons import Outcome, Reason

# Built by the layout of RFC 5905 figure 8, with values that are easy to check by hand: stratum 2, root delay 1/16 s,
# root dispersion 1/32 s, received at 3849977856 s since 1900, sent half a second later.
NONCE = 0x0123456789ABCDEF
HAND_MADE = bytes.fromhex(
    "240203ec 00001000 00000800 c0000201 e57a0000 00000000 0123456789abcdef e57a0000 00000000 e57a0000 80000000"
)


def test_reads_an_answer_field_by_field() -> None:
    assert codec.answer(HAND_MADE, NONCE) == Answer(
        stratum=2, root_delay=1 / 16, root_dispersion=1 / 32, received=0xE57A0000 << 32, sent=0xE57A0000 << 32 | 1 << 31
    )


def test_a_request_tells_nothing_but_its_nonce() -> None:
    assert codec.request(NONCE) == bytes.fromhex("23" + "00" * 39) + struct.pack("!Q", NONCE)


def changed(position: int, value: bytes) -> bytes:
    return HAND_MADE[:position] + value + HAND_MADE[position + len(value) :]


@pytest.mark.parametrize(
    "data",
    [
        HAND_MADE[:47],
        changed(0, b"\x23"),  # a client's packet
        changed(0, b"\x14"),  # version 2
        changed(24, b"\xff"),  # another origin time stamp
    ],
)
def test_what_does_not_answer_us_is_nothing(data: bytes) -> None:
    assert codec.answer(data, NONCE) is None


@pytest.mark.parametrize(
    "data",
    [
        changed(0, b"\xe4"),  # leap indicator 3
        changed(1, b"\x10"),  # stratum 16
        changed(1, b"\x00"),  # stratum 0, and a reference that is no kiss
        changed(8, b"\x00\x10"),  # root dispersion of 16 s
        changed(40, bytes(8)),  # never sent
    ],
)
def test_a_server_that_is_not_set_says_so(data: bytes) -> None:
    assert codec.answer(data, NONCE) == Unsynchronised()


@pytest.mark.parametrize("code", ["RATE", "DENY", "RSTD"])
def test_a_kiss_of_death_is_heard(code: str) -> None:
    assert codec.answer(changed(1, b"\0")[:12] + code.encode() + HAND_MADE[16:], NONCE) == Kiss(code)


@given(st.binary(max_size=80))
def test_anything_may_come_back(data: bytes) -> None:
    codec.answer(data, NONCE)


@given(st.binary(min_size=24, max_size=24), st.binary(min_size=16, max_size=16))
def test_any_answer_of_ours_gives_finite_numbers(head: bytes, times: bytes) -> None:
    found = codec.answer(head + struct.pack("!Q", NONCE) + times, NONCE)
    if isinstance(found, Answer):
        sample = codec.sample(found, sent=1_700_000_000_000_000_000, took=20_000_000)
        assert sample is None or (sample.delay >= 0 and abs(sample.offset) < 2**32 and 0 <= sample.error < 40)


@given(st.integers(0, 2**63 - 1), st.floats(-60 * 365 * 86400, 60 * 365 * 86400))
def test_differences_hold_across_the_era_of_2036(nanoseconds: int, seconds: float) -> None:
    earlier = codec.timestamp(nanoseconds)
    later = (earlier + round(seconds * 2**32)) & 0xFFFFFFFFFFFFFFFF
    assert codec.difference(later, earlier) == pytest.approx(seconds, abs=1e-6)


def test_offset_and_delay_by_the_book() -> None:
    """RFC 5905 section 8: sent at 10.000, received there at 17.010, sent there at 17.015, back at 10.030."""
    base = 1_800_000_000_000_000_000
    received, sent = codec.timestamp(base + 7_010_000_000), codec.timestamp(base + 7_015_000_000)
    sample = codec.sample(Answer(2, 0.004, 0.003, received, sent), sent=base, took=30_000_000)
    assert sample is not None
    assert sample.offset == pytest.approx(7 - 0.0025 + 0.000, abs=1e-6)
    assert sample.delay == pytest.approx(0.025, abs=1e-6)
    assert sample.error == pytest.approx(0.0125 + 0.002 + 0.003, abs=1e-6)


def test_a_server_that_took_longer_than_the_whole_exchange_is_not_believed() -> None:
    base = 1_800_000_000_000_000_000
    stamp = codec.timestamp(base)
    assert codec.sample(Answer(2, 0, 0, stamp, stamp + (1 << 32)), base, took=30_000_000) is None
    assert codec.sample(Answer(2, 0, 0, stamp + 5, stamp), base, took=30_000_000) is None


def test_the_middle_carries_the_error_of_what_it_is_made_of() -> None:
    samples = [Sample(0.3, 0.1, 0.9, 2), Sample(0.1, 0.1, 0.2, 2), Sample(0.2, 0.1, 0.4, 2)]
    assert codec.middle(samples).offset == 0.2
    assert codec.middle(samples).error == 0.4
    two = codec.middle(samples[:2])
    assert two.offset == pytest.approx(0.2)
    assert two.error == pytest.approx(0.55)


def server_answer(request: bytes, ahead: float, **fields: int) -> bytes:
    """What a server whose clock is ``ahead`` seconds ahead answers."""
    now = codec.timestamp(time.time_ns() + round(ahead * 1e9))
    (nonce,) = struct.unpack_from("!Q", request, 40)
    origin = fields.get("origin", nonce)
    reference = fields.get("reference", 0xC0000201).to_bytes(4, "big")
    return codec.PACKET.pack(
        fields.get("first", 0x24), fields.get("stratum", 2), 6, -20, 64, 128, reference, now, origin, now, now
    )


Reaction = Callable[[bytes, tuple[str, int]], Iterable[bytes]]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.probes.ntp.SPACING", 0.01)
    monkeypatch.setattr("agent.probes.ntp.TIMEOUT", 0.2)


async def asked(reaction: Reaction, samples: int = 4, times: int = 1) -> tuple[list[Finding], int]:
    """Findings of a probe that asks a server with this reaction, and how many requests the server saw."""
    probe = Ntp()
    async with datagram_server(reaction) as server:
        target = Target("clock", "", NtpSettings(host="127.0.0.1", port=server.port, samples=samples))
        findings = [await probe.measure(target, Span(0, 10)) for _ in range(times)]
        return findings, len(server.received)


@pytest.mark.parametrize("ahead", [-3600.0, -0.25, 0.0, 12.5, 40 * 365 * 86400.0])
async def test_the_offset_of_the_servers_clock_is_found(ahead: float) -> None:
    (found,), requests = await asked(lambda data, _: [server_answer(data, ahead)])
    assert found.outcome is Outcome.OK
    assert found.counts == {"sent": 4, "lost": 0, "stratum": 2}
    assert found.values["clock_offset"] == pytest.approx(ahead, abs=found.values["clock_error"] + 1e-4)
    assert 0 < found.values["clock_error"] < 0.1
    assert found.durations["rtt"].count == requests == 4


async def test_answers_to_other_requests_do_not_count() -> None:
    def reaction(data: bytes, _: tuple[str, int]) -> list[bytes]:
        return [b"", b"garbage", server_answer(data, 99.0, origin=12345), server_answer(data, 1.5)]

    (found,), _ = await asked(reaction)
    assert found.outcome is Outcome.OK
    assert found.values["clock_offset"] == pytest.approx(1.5, abs=0.05)


async def test_wrong_origins_alone_are_no_answer() -> None:
    (found,), _ = await asked(lambda data, _: [server_answer(data, 99.0, origin=12345)], samples=2)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)
    assert found.counts == {"sent": 2, "lost": 2}


async def test_silence_is_no_reply() -> None:
    (found,), requests = await asked(silent, samples=2)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NO_REPLY)
    assert requests == 2


async def test_a_closed_port_is_refused() -> None:
    async with datagram_server(silent) as server:
        port = server.port
    found = await Ntp().measure(Target("clock", "", NtpSettings(host="127.0.0.1", port=port)), Span(0, 10))
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)


async def test_a_server_that_is_not_set_gives_no_offset() -> None:
    (found,), _ = await asked(lambda data, _: [server_answer(data, 0, first=0xE4)], samples=1)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.MALFORMED_ANSWER)
    assert not found.values


@pytest.mark.parametrize(("kiss", "hours"), [(b"RATE", 1), (b"DENY", 24), (b"RSTD", 24)])
async def test_a_kiss_of_death_is_obeyed(kiss: bytes, hours: int) -> None:
    reference = int.from_bytes(kiss, "big")
    found, requests = await asked(lambda data, _: [server_answer(data, 0, stratum=0, reference=reference)], times=3)
    word = kiss.decode()
    assert (found[0].outcome, found[0].reason, found[0].facts) == (Outcome.FAILED, Reason.REFUSED, {"kiss": word})
    for later in found[1:]:
        assert (later.outcome, later.reason) == (Outcome.SKIPPED, Reason.TOO_SOON)
        assert later.facts == {"detail": f"the server refused with the kiss-o'-death {word}: no request for {hours} h"}
    assert requests == 1


async def test_no_server_is_asked_twice_within_a_minute() -> None:
    found, requests = await asked(lambda data, _: [server_answer(data, 0)], samples=2, times=3)
    assert [one.outcome for one in found] == [Outcome.OK, Outcome.SKIPPED, Outcome.SKIPPED]
    assert found[1].reason is Reason.TOO_SOON
    assert requests == 2

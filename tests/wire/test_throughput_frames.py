"""The throughput test's protocol: frames in any pieces, nothing strange accepted."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import throughput
from wire.throughput import (
    AgentSays,
    BadFrame,
    Begin,
    Effort,
    Ended,
    Join,
    Joined,
    Open,
    Opened,
    Progress,
    Reading,
    Refused,
    ResponderSays,
    Stop,
)

ASKED: list[throughput.Asked] = [Open("t", "0" * 32, 16), Join("a" * 16, 3, "f" * 32), Begin("down", 2.5), Stop()]
MOST = 2**53
MANY = (MOST,) * 32
FULL = Reading(MOST, MOST, MOST, MOST, MOST, MOST, MOST, MOST, MOST, MOST, MANY, MANY)
TOLD: list[throughput.Told] = [
    Opened(200, 80),
    Joined(),
    Refused("busy"),
    Progress("up", FULL),
    Ended(direction="down", reading=FULL, segment=1500, congestion="cubic", cut=True, effort=Effort(0.5, 1.0, 0.7)),
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_messages_come_through_in_whatever_pieces(cuts: list[int]):
    agent, responder = AgentSays(), ResponderSays()
    asked = b"".join(map(throughput.frame, ASKED))
    told = b"".join(map(throughput.frame, TOLD))
    assert [one for piece in pieces(asked, cuts) for one in agent.feed(piece)] == ASKED
    assert [one for piece in pieces(told, cuts) for one in responder.feed(piece)] == TOLD


@given(st.binary(max_size=400))
def test_what_is_not_the_protocol_is_refused_or_waited_for(data: bytes):
    for side in (AgentSays(), ResponderSays()):
        try:
            side.feed(data)
        except BadFrame:
            continue
        assert len(data) < 2 + int.from_bytes(data[:2], "big") or not data


def of(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"type":"opened"}',
        b'{"type":"begin","direction":"both","seconds":1}',
        b'{"type":"begin","direction":"up","seconds":0}',
        b'{"type":"begin","direction":"up","seconds":61}',
        b'{"type":"join","lease":"short","stream":0,"proof":"' + b"0" * 32 + b'"}',
        b'{"type":"join","lease":"' + b"a" * 16 + b'","stream":32,"proof":"' + b"0" * 32 + b'"}',
        b'{"type":"open","token":"t","proof":"' + b"0" * 31 + b'"}',
        b'{"type":"open","token":"t","proof":"' + b"0" * 32 + b'","streams":33}',
        b'{"type":"open","token":"' + b"t" * 601 + b'","proof":"' + b"0" * 32 + b'"}',
        b"[" * 500,
        b"\xff",
    ],
)
def test_an_agent_may_not_say(body: bytes):
    with pytest.raises(BadFrame):
        AgentSays().feed(of(body))


def test_a_frame_of_no_length_or_of_too_much_is_refused_before_it_is_read():
    with pytest.raises(BadFrame, match=r"frame: found 0 bytes, expected 1 to 800"):
        AgentSays().feed(b"\0\0")
    with pytest.raises(BadFrame, match=r"frame: found 801 bytes, expected 1 to 800"):
        AgentSays().feed((801).to_bytes(2, "big"))
    with pytest.raises(BadFrame, match=r"found 4097 bytes"):
        ResponderSays().feed((4097).to_bytes(2, "big"))


def test_the_largest_messages_fit():
    token = "t" * 600
    assert len(throughput.frame(Open(token, "0" * 32))) <= throughput.LONGEST_OPENING
    assert max(len(throughput.frame(one)) for one in TOLD) <= throughput.LONGEST_FRAME


def test_the_greeting():
    challenge = bytes(range(16))
    raw = throughput.greeting(challenge)
    assert len(raw) == throughput.GREETING_BYTES == 24
    assert throughput.challenge_of(raw) == challenge
    with pytest.raises(BadFrame, match="is this a responder's port"):
        throughput.challenge_of(b"SSH-2.0-OpenSSH_9.2p1 De")
    with pytest.raises(BadFrame):
        throughput.challenge_of(raw + b"!")


def test_no_proof_serves_for_anything_else():
    contexts = [throughput.open_context(n) for n in range(1, 33)]
    contexts += [throughput.join_context(one, n) for one in ("a" * 16, "b" * 16) for n in range(32)]
    assert len(set(contexts)) == len(contexts)


def test_a_reading_is_an_array_on_the_line():
    assert msgspec.json.encode(Reading(at=1, segments=2)).startswith(b"[1,2,")

"""The opening of a test over UDP: nothing is said to strangers, and never more than they said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import lease
from wire.clock import SECOND
from wire.lease import Grant, Lease, Purpose
from wire.udp_opening import COOKIE_LIFE, PATIENCE, TRIES, Cookies, Door, Knock, Opening, denied_of, opened_of
from wire.udp_tests import Challenge, Hello, Open, Plan, decode, encode

SECRET = b"s" * 32
NOW = 1_800_000_000 * SECOND
HOME, PORT = "192.0.2.7", 40_000
PLAN = Plan(test="light", payload=1372, down=190_000_000, up=76_000_000)
NONCE = b"nonce..."


def granted(secret: bytes = SECRET, expires: int = NOW + 60 * SECOND) -> Grant:
    one = Lease(
        id="0123456789abcdef", purpose=Purpose.LIGHT, responder="hall", site="na-yung", issued=NOW, expires=expires
    )
    return lease.grant(one, secret)


def opening(grant: Grant | None = None, overhead: int = 28) -> Opening:
    grant = grant or granted()
    return Opening(grant.token, bytes.fromhex(grant.key), PLAN, NONCE, overhead, 0)


def door() -> Door:
    return Door(SECRET, Cookies(b"c" * 32))


def sent(from_: Opening, now: int = 0) -> bytes:
    packet = from_.due(now)
    assert packet is not None
    return packet


def opened(agent: Opening, at: Door) -> Knock:
    """Carries the packets until the door has a knock."""
    challenge = at.hear(sent(agent), HOME, PORT, NOW)
    assert isinstance(challenge, bytes)
    agent.hear(challenge, 1)
    knock = at.hear(sent(agent, 1), HOME, PORT, NOW)
    assert isinstance(knock, Knock)
    return knock


def test_an_opening_carries_its_lease_its_proof_and_its_plan():
    grant, agent = granted(), opening()
    knock = opened(agent, door())
    packet = knock.packet
    assert packet.token == grant.token
    assert lease.proves(packet.proof, bytes.fromhex(grant.key), packet.cookie, packet.plan)
    assert knock.plan == PLAN
    assert knock.length == 1372
    agent.hear(opened_of(knock, b"session!", 1, 2), 2)
    assert agent.opened is not None
    assert agent.opened[1:] == (b"session!", 1, 2)
    assert agent.over


def test_the_proof_covers_the_plan():
    packet = opened(opening(), door()).packet
    key = lease.key_of("0123456789abcdef", SECRET)
    assert not lease.proves(packet.proof, key, packet.cookie, packet.plan.replace(b"190000000", b"990000000"))


def test_no_answer_is_longer_than_what_it_answers():
    agent, at = opening(), door()
    hello = sent(agent)
    challenge = at.hear(hello, HOME, PORT, NOW)
    assert isinstance(challenge, bytes)
    assert len(challenge) < len(hello) / 40
    agent.hear(challenge, 1)
    asked = sent(agent, 1)
    knock = at.hear(asked, HOME, PORT, NOW)
    assert isinstance(knock, Knock)
    assert len(opened_of(knock, b"session!", 2**63, 2**63)) == len(asked)
    assert len(denied_of(knock, "too_many_of_source")) < len(asked)


@given(st.integers(0, 60))
def test_a_hello_shorter_than_its_answer_is_not_answered(length: int):
    raw = encode(Hello(NONCE, granted().token))[:length]
    answer = door().hear(raw, HOME, PORT, NOW)
    assert answer is None or len(answer) <= length


@pytest.mark.parametrize(
    "grant",
    [granted(b"x" * 32), granted(expires=NOW), Grant(lease=granted().lease, token="nonsense", key="00")],
    ids=["forged", "expired", "malformed"],
)
def test_a_hello_without_a_good_lease_meets_silence(grant: Grant):
    assert door().hear(encode(Hello(NONCE, grant.token), 1372), HOME, PORT, NOW) is None


def test_the_door_remembers_nothing():
    at = door()
    before = dict(vars(at))
    for port in range(1000, 1100):
        assert at.hear(sent(opening()), HOME, port, NOW) is not None
    assert vars(at) == before


@pytest.mark.parametrize(
    ("address", "port", "nonce", "later"),
    [
        ("192.0.2.8", PORT, NONCE, 0),
        (HOME, PORT + 1, NONCE, 0),
        (HOME, PORT, b"another.", 0),
        (HOME, PORT, NONCE, 2 * COOKIE_LIFE),
    ],
    ids=["address", "port", "nonce", "time"],
)
def test_a_cookie_is_good_for_one_client_and_some_seconds(address: str, port: int, nonce: bytes, later: int):
    cookies = Cookies(b"c" * 32)
    cookie = cookies.make(HOME, PORT, NONCE, NOW)
    assert cookies.holds(cookie, HOME, PORT, NONCE, NOW)
    assert cookies.holds(cookie, HOME, PORT, NONCE, NOW + COOKIE_LIFE)
    assert not cookies.holds(cookie, address, port, nonce, NOW + later)
    assert not Cookies(b"d" * 32).holds(cookie, HOME, PORT, NONCE, NOW)


def test_an_open_without_a_true_cookie_meets_silence():
    raw = encode(opened(opening(), door()).packet._replace(cookie=bytes(16)), 1372)
    assert door().hear(raw, HOME, PORT, NOW) is None


def test_an_open_with_a_plan_out_of_bounds_meets_silence():
    packet = opened(opening(), door()).packet
    assert isinstance(door().hear(encode(packet), HOME, PORT, NOW), Knock)
    assert door().hear(encode(packet._replace(plan=b"{}")), HOME, PORT, NOW) is None


@given(st.binary(max_size=1472))
def test_any_bytes_at_the_door_meet_silence(raw: bytes):
    assert door().hear(raw, HOME, PORT, NOW) is None


def test_lost_packets_are_sent_again_and_then_smaller():
    agent = opening()
    lengths = []
    for at, _ in TRIES:
        assert agent.wake() == at
        lengths.append(len(sent(agent, at)))
        assert agent.due(at) is None
    assert lengths == [1372, 1372, 1252, 1252, 1252, 1252]
    assert agent.wake() == PATIENCE
    assert not agent.silent(PATIENCE - 1)
    assert agent.silent(PATIENCE)
    assert not agent.heard


def test_the_size_that_passed_is_that_of_the_test():
    """HELLO passed when it was smaller; the answer to OPEN says what passes in both directions."""
    agent, at = opening(overhead=48), door()
    for when, _ in TRIES[:3]:
        hello = sent(agent, when)
    assert len(hello) == 1232
    challenge = at.hear(hello, HOME, PORT, NOW)
    assert isinstance(challenge, bytes)
    agent.hear(challenge, 700_000_000)
    raw = sent(agent, 700_000_000)
    knock = at.hear(raw, HOME, PORT, NOW)
    assert isinstance(knock, Knock)
    assert knock.plan.payload == len(raw) == 1232
    agent.hear(opened_of(knock, b"session!", 1, 1), 800_000_000)
    assert agent.length == 1232


def test_a_packet_too_long_for_the_own_route_is_made_smaller_once():
    agent = opening()
    sent(agent)
    assert agent.too_long(5)
    assert len(sent(agent, 5)) == 1252
    assert not agent.too_long(6)


def test_what_a_stranger_sends_the_agent_changes_nothing():
    agent = opening()
    sent(agent)
    for raw in (b"", b"PhU", encode(Challenge(b"stranger", bytes(16)))):
        agent.hear(raw, 1)
    assert agent.wake() == TRIES[1][0]
    challenge = door().hear(encode(Hello(NONCE, granted().token), 1372), HOME, PORT, NOW)
    assert isinstance(challenge, bytes)
    agent.hear(opened_of(Knock(_open(), PLAN, 1372), b"evil....", 1, 1), 1)
    assert not agent.over, "an answer before the challenge is none of this exchange"
    agent.hear(challenge, 1)
    agent.hear(encode(Challenge(NONCE, bytes(16))), 2)
    second = decode(sent(agent, 2))
    assert isinstance(second, Open)
    assert second.cookie == challenge[12:], "the first challenge counts"


def test_a_denial_ends_the_opening():
    agent = opening()
    knock = opened(agent, door())
    agent.hear(denied_of(knock, "busy"), 2)
    assert agent.denied == "busy"
    assert agent.over
    assert agent.due(10**9) is None


def _open() -> Open:
    return Open(NONCE, bytes(16), bytes(16), b"", "")

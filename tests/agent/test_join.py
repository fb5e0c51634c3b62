"""Joining: the code as people type it, the pinned authority, the prepared file; and the connection's own manners."""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.connection import Connection, UnsafeAddress, checked_address
from agent.join import BadCode, JoinCode, JoinFailed, JoinRefused, checked_ca, join, join_by_file, parse_code
from agent.refusals import NotACollector, Unreachable
from agent.state import State
from tests.support.certificates import Pair, authority, leaf, server_context
from tests.support.clock import FakeClock
from tests.support.fake_collector import TOKEN, FakeCollector
from wire.batch import AgentClock, Envelope
from wire.settings import Problem, Role
from wire.version import PROTOCOL
from wire.yaml_settings import SettingsError

SECRET = "ABCD-EFGH-IJKL-MNOP"
B32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def pin_of(pair: Pair) -> str:
    key = pair.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b32encode(hashlib.sha256(key).digest()[:16]).decode().rstrip("=")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def root() -> Pair:
    return authority("Phrom of Udon Thani")


@pytest.fixture
def tls(tmp_path: Path, root: Pair) -> ssl.SSLContext:
    return server_context(tmp_path, leaf(root, "collector.example"))


@pytest.fixture
async def collector(clock: FakeClock, tls: ssl.SSLContext, root: Pair) -> AsyncIterator[FakeCollector]:
    async with FakeCollector(clock, tls=tls) as one:
        one.ca = root.pem.decode()
        yield one


def heartbeat(clock: FakeClock) -> Envelope:
    return Envelope(protocol=PROTOCOL, clock=AgentClock(clock.boot, clock.boottime(), clock.wall()))


# the code


@pytest.mark.parametrize(
    "typed",
    ["ABCD-EFGH-IJKL-MNOP", "abcdefghijklmnop", " ABCD EFGH IJKL MNOP ", "A-B-C-D-EFGHIJKLMNOP", "abcd-efgh-1jkl-mn0p"],
)
def test_a_code_is_read_as_people_type_it(typed: str) -> None:
    assert parse_code(typed) == JoinCode(SECRET, "")


def test_a_code_with_a_pin() -> None:
    assert parse_code(f"{SECRET}.{'q' * 26}") == JoinCode(SECRET, "Q" * 26)


@pytest.mark.parametrize(
    ("typed", "found"), [("", "0 characters before the dot"), ("ABCD-EFGH-IJKL", "12 characters before the dot")]
)
def test_an_incomplete_code_says_what_is_missing(typed: str, found: str) -> None:
    with pytest.raises(BadCode) as refusal:
        parse_code(typed)
    expected = "16 letters A-Z and digits 2-7 such as ABCD-EFGH-IJKL-MNOP"
    assert str(refusal.value) == f"code: found {found}, expected {expected}"


@pytest.mark.parametrize(("typed", "found"), [(SECRET + ".QQQQ", 4), (SECRET + ".", 0)])
def test_an_incomplete_pin_says_what_is_missing(typed: str, found: int) -> None:
    with pytest.raises(BadCode) as refusal:
        parse_code(typed)
    assert str(refusal.value) == (
        f"code: found {found} characters behind the dot, expected 26 letters A-Z and digits 2-7; copy the whole code"
    )


@given(st.text(B32, min_size=16, max_size=16), st.text(B32, min_size=26, max_size=26) | st.just(""), st.data())
def test_every_code_survives_case_spaces_and_dashes(secret: str, pin: str, data: st.DataObject) -> None:
    text = secret + ("." + pin if pin else "")
    noise = data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.sampled_from(" -\t")), max_size=8))
    for at, sign in noise:
        text = text[:at] + sign + text[at:]
    found = parse_code(text.lower() if data.draw(st.booleans()) else text)
    assert found.secret.replace("-", "") == secret and found.pin == pin


@given(st.text(max_size=80))
@example("ßßßßßßßß" + "A" * 8)
def test_any_text_is_a_code_or_a_bad_one(text: str) -> None:
    try:
        found = parse_code(text)
    except BadCode:
        return
    assert set(found.secret) <= set(B32 + "-") and len(found.secret) == 19
    assert len(found.pin) in (0, 26) and set(found.pin) <= set(B32)


# joining


async def test_joining_with_a_pin_trusts_that_authority_alone(
    collector: FakeCollector, clock: FakeClock, root: Pair
) -> None:
    identity = await join(
        collector.url, f"{SECRET}.{pin_of(root)}", clock, machine="box-1", vantage={"medium": "cable"}
    )
    assert (identity.token, identity.site, identity.role) == (TOKEN, "mueang", Role.BOTH)
    (asked,) = collector.joins
    assert (asked.code.partition(".")[0], asked.machine, asked.vantage) == (SECRET, "box-1", {"medium": "cable"})
    async with Connection(identity.url, clock, token=identity.token, ca=identity.ca) as connection:
        assert (await connection.post(heartbeat(clock))).receipt.protocol == PROTOCOL


async def test_a_box_in_1970_and_a_collector_whose_certificate_has_run_out_still_talk_under_a_pin(
    tmp_path: Path, clock: FakeClock, root: Pair
) -> None:
    context = await asyncio.to_thread(server_context, tmp_path, leaf(root, "collector.example", begins=-20, ends=-2))
    async with (
        FakeCollector(clock, tls=context) as collector,
        Connection(collector.url, clock, token=TOKEN, ca=root.pem.decode()) as connection,
    ):
        await connection.post(heartbeat(clock))


async def test_somebody_between_is_found_out_before_the_code_is_sent(
    tmp_path: Path, clock: FakeClock, root: Pair
) -> None:
    other = authority("Somebody else")
    context = await asyncio.to_thread(server_context, tmp_path, leaf(other, "collector.example"))
    async with FakeCollector(clock, tls=context) as collector:
        collector.ca = other.pem.decode()
        with pytest.raises(JoinFailed, match="its key is not the one this code was made for"):
            await join(collector.url, f"{SECRET}.{pin_of(root)}", clock)
        collector.ca = root.pem.decode()  # the right authority shown, but the connection is not under it
        with pytest.raises(JoinFailed, match="certificate verify failed"):
            await join(collector.url, f"{SECRET}.{pin_of(root)}", clock)
        assert collector.joins == []


async def test_without_a_pin_the_systems_roots_decide(collector: FakeCollector, clock: FakeClock) -> None:
    with pytest.raises(JoinFailed, match="certificate verify failed"):
        await join(collector.url, SECRET, clock)
    assert collector.joins == []


async def test_a_refused_code_says_so_without_repeating_it(
    collector: FakeCollector, clock: FakeClock, root: Pair
) -> None:
    collector.join_problem = Problem(title="the code was used already", status=403)
    with pytest.raises(JoinRefused) as found:
        await join(collector.url, f"{SECRET}.{pin_of(root)}", clock)
    assert str(found.value) == f"{collector.url} answered 403: the code was used already"


@pytest.mark.parametrize(
    "url",
    ["http://collector.example:8480", "ftp://x", "collector.example", "https://", "https://u:p@x", "https://x/?a=b"],
)
def test_an_address_that_would_carry_the_token_in_clear_is_refused(url: str) -> None:
    with pytest.raises(UnsafeAddress, match="expected"):
        checked_address(url)


def test_addresses_that_are_safe() -> None:
    assert checked_address(" https://collector.example:8480/ ") == "https://collector.example:8480"
    for url in ("http://127.0.0.1:8480", "http://localhost:1", "http://[::1]:1"):
        assert checked_address(url) == url


async def test_a_pin_over_plain_http_is_a_contradiction(clock: FakeClock) -> None:
    with pytest.raises(UnsafeAddress, match="expected https, because the code carries the collector's key"):
        await join("http://127.0.0.1:1", f"{SECRET}.{'Q' * 26}", clock)


@given(st.binary(max_size=400))
def test_any_bytes_for_an_authority_are_refused(pem: bytes) -> None:
    with pytest.raises(JoinFailed, match="found no certificate"):
        checked_ca(pem, "Q" * 26, "https://collector.example")


def test_of_several_certificates_only_the_checked_one_is_trusted(root: Pair) -> None:
    other = authority("Somebody else")
    assert checked_ca(root.pem + other.pem, pin_of(root), "x") == root.pem.decode()
    with pytest.raises(JoinFailed):
        checked_ca(other.pem + root.pem, pin_of(root), "x")


# the file on a card


async def test_a_join_file_is_used_once_and_its_code_taken_off_the_card(
    collector: FakeCollector, clock: FakeClock, root: Pair, tmp_path: Path
) -> None:
    state = State(tmp_path / "state")
    card = tmp_path / "phrom-join.yaml"
    code = f"{SECRET}.{pin_of(root)}"
    text = f"url: {collector.url}\ncode: {code}\n"
    await asyncio.to_thread(card.write_text, text)
    missing = tmp_path / "missing.yaml"
    identity = await join_by_file([missing, card], state, clock)
    assert identity is not None
    assert await asyncio.to_thread(state.identity) == identity
    left = await asyncio.to_thread(lambda: {one.name: one.read_text() for one in tmp_path.glob("*join*")})
    assert set(left) == {"phrom-join.yaml.used"} and SECRET not in left["phrom-join.yaml.used"]
    await asyncio.to_thread(card.write_text, text)  # a card that could not be written still holds the code
    assert await join_by_file([card], state, clock) is None
    assert len(collector.joins) == 1


async def test_a_wrong_join_file_names_every_mistake(clock: FakeClock, tmp_path: Path) -> None:
    card = tmp_path / "phrom-join.yaml"
    await asyncio.to_thread(card.write_text, "adress: https://x\ncode: [1]\n")
    with pytest.raises(SettingsError) as found:
        await join_by_file([card], State(tmp_path / "state"), clock)
    assert len(str(found.value).splitlines()) >= 2
    assert "phrom-join.yaml:1: adress" in str(found.value)


async def test_a_join_file_stays_when_the_collector_does_not_answer(
    clock: FakeClock, tmp_path: Path, root: Pair
) -> None:
    card = tmp_path / "phrom-join.yaml"
    collector = FakeCollector(clock)
    await collector.start()
    await collector.stop()
    address = f"https://127.0.0.1:{collector.port}"
    await asyncio.to_thread(card.write_text, f"url: {address}\ncode: {SECRET}.{pin_of(root)}\n")
    with pytest.raises(JoinFailed, match="Cannot connect"):
        await join_by_file([card], State(tmp_path / "state"), clock)
    assert await asyncio.to_thread(card.exists)


# the connection


async def test_no_message_and_no_log_ever_holds_the_token(clock: FakeClock) -> None:
    collector = FakeCollector(clock)
    await collector.start()
    await collector.stop()
    with capture_logs() as logs:
        async with Connection(collector.url, clock, token=TOKEN) as connection:
            with pytest.raises(Unreachable) as found:
                await connection.post(heartbeat(clock))
    assert TOKEN not in repr(found.value) + str(logs) + repr(connection)


async def test_settings_are_fetched_once_and_then_only_if_they_changed(clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, Connection(collector.url, clock, token=TOKEN) as connection:
        first = await connection.fetch_settings()
        assert first is not None and first.revision == "rev-1"
        assert await connection.fetch_settings("rev-1") is None


async def test_an_answer_without_end_is_not_read_to_the_end(clock: FakeClock) -> None:
    async with FakeCollector(clock) as collector, Connection(collector.url, clock, token=TOKEN) as connection:
        collector.ca = "x" * (5 * 2**20)
        with pytest.raises(NotACollector, match="answered more than 4194304 bytes"):
            await connection._request("GET", "/api/v1/ca", None, {})

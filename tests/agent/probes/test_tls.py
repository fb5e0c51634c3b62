"""The tls probe against servers with good certificates and with every bad kind."""

import asyncio
import contextlib
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import trust
from agent.probe import Finding
from agent.probes.tls import RELEASED, Tls
from agent.probes.tls.explain import explain, matches
from agent.probes.tls.inspection import PRODUCTS, Issuers, product
from tests.support.certificates import Pair, authority, client_context, leaf, server_context
from tests.support.measuring import measure, milliseconds
from wire.reasons import Outcome, Reason

NAME = "meet.example.go.th"
ROOT = authority()
MIDDLE = authority("Test Intermediate", ROOT)
STRANGER = authority("Stranger")

Chain = tuple[Pair, ...]


class Trial:
    """Runs the probe, which trusts ROOT, against a server that sends a chain."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.contexts = trust.Contexts(lambda: client_context(ROOT))
        self.probe = self.new()

    def new(self, now: Callable[[], float] = time.time, public: bool = True) -> Tls:
        """A probe with a clock of its own."""
        return Tls(self.contexts, now, lambda _address: public)

    @asynccontextmanager
    async def server(self, chain: Chain) -> AsyncIterator[int]:
        """A TLS server on port 0."""

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        context = await asyncio.to_thread(server_context, self._folder, *chain)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def see(self, *chain: Pair, name: str = NAME, probe: Tls | None = None) -> Finding:
        """One measurement."""
        async with self.server(chain) as port:
            return await measure("tls", probe=probe or self.probe, host="127.0.0.1", port=port, server_name=name)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


async def test_a_good_certificate(trial):
    pair = leaf(MIDDLE, NAME, ends=42, organisation="Example")
    found = await trial.see(pair, MIDDLE)
    assert found.outcome is Outcome.OK
    assert found.values["certificate_expiry"] == pytest.approx(42 * 86_400, abs=60)
    assert found.facts["fingerprint"] == hashlib.sha256(pair.der).hexdigest()
    assert found.facts["issuer"] == "CN=Test Intermediate"
    assert found.facts["subject"] == f"O=Example, CN={NAME}"
    assert found.facts["protocol"] == "TLSv1.3"
    assert set(found.durations) == {"connect", "handshake"}
    assert 0 < milliseconds(found, "handshake") < 2000


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: (leaf(MIDDLE, NAME, begins=-90, ends=-2), MIDDLE), Reason.TLS_EXPIRED),
        (lambda: (leaf(MIDDLE, NAME, begins=2), MIDDLE), Reason.TLS_NOT_YET_VALID),
        (lambda: (leaf(MIDDLE, "other.example"), MIDDLE), Reason.TLS_WRONG_NAME),
        (lambda: (leaf(None, NAME),), Reason.TLS_SELF_SIGNED),
        (lambda: (leaf(MIDDLE, NAME, aia=True),), Reason.TLS_CHAIN_INCOMPLETE),
        (lambda: (leaf(authority("Stranger"), NAME),), Reason.TLS_UNTRUSTED),
        (lambda: (leaf(STRANGER, NAME, aia=True), STRANGER), Reason.TLS_UNTRUSTED),
        (lambda: (leaf(authority("FortiGate CA"), NAME),), Reason.TLS_INSPECTED),
    ],
)
async def test_a_refusal_is_explained(trial, make: Callable[[], Chain], reason: Reason):
    chain = make()
    found = await trial.see(*chain)
    assert (found.outcome, found.reason) == (Outcome.FAILED, reason)
    assert found.facts["fingerprint"] == hashlib.sha256(chain[0].der).hexdigest()
    assert found.facts["sent"] == f"{len(chain)} certificates"
    expires = chain[0].certificate.not_valid_after_utc.timestamp()
    assert found.values["certificate_expiry"] == pytest.approx(expires - time.time(), abs=5)


async def test_every_further_fault_is_named(trial):
    found = await trial.see(leaf(authority("Stranger"), "other.example", begins=-90, ends=-2))
    assert found.reason is Reason.TLS_UNTRUSTED
    assert found.facts["also"] == "tls_expired tls_wrong_name"


async def test_a_private_issuer_of_two_public_sites_is_an_inspecting_proxy(trial):
    proxy = authority("Office Gateway")
    first = await trial.see(leaf(proxy, "zoom.us"), proxy, name="zoom.us")
    assert first.reason is Reason.TLS_UNTRUSTED
    second = await trial.see(leaf(proxy, "www.webex.com"), proxy, name="www.webex.com")
    assert second.reason is Reason.TLS_INSPECTED
    assert second.facts["inspection"] == "one private issuer signs for 2 sites"
    again = await trial.see(leaf(proxy, "zoom.us"), proxy, name="zoom.us")
    assert again.reason is Reason.TLS_INSPECTED

    await trial.see(leaf(MIDDLE, "zoom.us"), MIDDLE, name="zoom.us")  # the proxy is gone from there
    alone = await trial.see(leaf(proxy, "www.webex.com"), proxy, name="www.webex.com")
    assert alone.reason is Reason.TLS_UNTRUSTED


async def test_a_province_s_own_servers_may_share_a_private_issuer(trial):
    own = authority("Province CA")
    probe = trial.new(public=False)
    for name in ("one.example", "two.example"):
        found = await trial.see(leaf(own, name), own, name=name, probe=probe)
        assert found.reason is Reason.TLS_UNTRUSTED


async def test_an_inspecting_proxy_that_this_machine_trusts_is_noticed(trial):
    product_of_office = authority("Zscaler Intermediate", ROOT)
    found = await trial.see(leaf(product_of_office, NAME), product_of_office)
    assert found.outcome is Outcome.OK
    assert found.facts["inspection"] == "Zscaler"


async def test_a_clock_from_before_the_program_was_written_judges_nobody(trial):
    probe = trial.new(now=lambda: RELEASED - 86_400)
    found = await trial.see(leaf(MIDDLE, NAME, begins=2), MIDDLE, probe=probe)
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.TIME_UNKNOWN)
    assert found.facts["by_this_clock"] == "tls_not_yet_valid"
    assert found.facts["clock"] == "2026-10-31T00:00:00Z"


async def test_two_sites_out_of_time_and_none_good_point_at_the_clock(trial):
    expired = {name: leaf(MIDDLE, name, begins=-90, ends=-2) for name in ("zoom.us", "webex.com")}
    first = await trial.see(expired["zoom.us"], MIDDLE, name="zoom.us")
    assert (first.outcome, first.reason) == (Outcome.FAILED, Reason.TLS_EXPIRED)
    assert "clock" in first.facts
    second = await trial.see(expired["webex.com"], MIDDLE, name="webex.com")
    assert (second.outcome, second.reason) == (Outcome.SKIPPED, Reason.TIME_UNKNOWN)
    assert second.facts["clock_doubt"] == "2 sites out of time and none good since"
    await trial.see(leaf(MIDDLE, NAME), MIDDLE)  # a good one vouches for the clock
    for name, pair in expired.items():
        assert (await trial.see(pair, MIDDLE, name=name)).reason is Reason.TLS_EXPIRED


async def test_an_ip_address_is_verified_as_such(trial):
    found = await trial.see(leaf(MIDDLE, "127.0.0.1"), MIDDLE, name="")
    assert found.outcome is Outcome.OK


@asynccontextmanager
async def plain_server(speak: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        speak(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_what_is_no_tls_is_a_failed_handshake_and_a_hang_up_is_a_reset(trial):
    async with plain_server(lambda writer: writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        found = await measure("tls", probe=trial.probe, host="127.0.0.1", port=port)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.TLS_HANDSHAKE)
    assert found.facts["detail"] == "WRONG_VERSION_NUMBER"
    async with plain_server(lambda _writer: None) as port:
        found = await measure("tls", probe=trial.probe, host="127.0.0.1", port=port)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.RESET)


async def test_a_silent_server_times_out_and_a_closed_port_is_refused(trial):
    done = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        found = await measure("tls", probe=trial.probe, host="127.0.0.1", port=port, limit=0.3)
        done.set()
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.TIMED_OUT)
    assert found.facts["stage"] == "handshake"
    found = await measure("tls", probe=trial.probe, host="127.0.0.1", port=port)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)


async def test_the_context_is_made_once_and_anew_after_a_day(trial, monkeypatch):
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(client_context(ROOT))
        return made[-1]

    contexts = trust.Contexts(make)
    assert len({id(one) for one in await asyncio.gather(*(contexts.get() for _ in range(5)))}) == 1
    assert len(made) == 1
    monkeypatch.setattr(trust, "RENEWED_AFTER", -1.0)
    await contexts.get()
    assert len(made) == 2


@given(st.lists(st.binary(max_size=200), max_size=3), st.sampled_from(list(Reason)))
def test_any_bytes_as_a_chain_leave_the_verdict(chain, verdict):
    assert explain(chain, NAME, 0.0, verdict).reason is verdict


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("byte", [0x00, 0x03, 0x0E, 0x30, 0xA0, 0xFF])
def test_a_certificate_damaged_at_any_byte_is_explained_or_left(byte):
    whole = leaf(MIDDLE, NAME, aia=True).der
    for at in range(len(whole)):
        der = whole[:at] + bytes([byte]) + whole[at + 1 :]
        assert explain([der], NAME, time.time(), Reason.TLS_EXPIRED).reason is Reason.TLS_EXPIRED


@pytest.mark.parametrize(
    ("host", "names", "covered"),
    [
        ("zoom.us", ["zoom.us"], True),
        ("ZOOM.us.", ["Zoom.US"], True),
        ("www.zoom.us", ["*.zoom.us"], True),
        ("a.www.zoom.us", ["*.zoom.us"], False),
        ("zoom.us", ["*.zoom.us"], False),
        ("us", ["*."], False),
    ],
)
def test_names(host, names, covered):
    assert matches(host, names, []) is covered
    assert matches("2001:db8:0::1", [], ["2001:db8::1"])


def test_products_are_found_by_part_of_the_issuer():
    assert product("CN=FGT60E, O=Fortinet, C=US") == "Fortinet FortiGate"
    assert product("CN=R11, O=Let's Encrypt, C=US") is None
    assert all(part == part.casefold() for part in PRODUCTS)


def test_issuers_forget_what_was_verified_and_stay_bounded():
    issuers = Issuers()
    assert issuers.refused("CN=x", "a.example") == 1
    assert issuers.refused("CN=x", "b.example") == 2
    issuers.verified("www.a.example")
    assert issuers.refused("CN=x", "b.example") == 1
    for number in range(200):
        issuers.refused(f"CN={number}", "c.example")
    assert len(issuers._sites) <= 64

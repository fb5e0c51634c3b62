"""The tcp probe against real listeners: what each kind of failure is called."""

import asyncio
import errno
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from agent import addresses
from agent.addresses import Address
from agent.neterrors import Unresolved, finding_of, without_ipv6
from tests.support.measuring import measure, milliseconds
from wire.reasons import Outcome, Reason


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a listener that accepts nothing by itself: the kernel completes the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def free_port() -> int:
    """A port nobody listens on (the kernel just gave it out)."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_open_port_is_ok_with_the_time_of_the_family_used(listener):
    found = await measure("tcp", host="127.0.0.1", port=listener)
    assert found.outcome is Outcome.OK
    assert found.facts == {"family": "ipv4"}  # a private address stays in the building
    assert 0 < milliseconds(found, "connect") < 1000
    assert "lookup" not in found.durations


async def test_a_name_is_looked_up_and_the_lookup_timed(listener):
    found = await measure("tcp", host="localhost", port=listener)
    assert found.outcome is Outcome.OK
    assert found.durations["lookup"].count == 1
    assert found.facts["family"] == "ipv4"


async def test_closed_port_is_refused():
    found = await measure("tcp", host="127.0.0.1", port=free_port())
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.REFUSED)
    assert "connect" not in found.durations


async def test_full_backlog_times_out_within_the_limit():
    with socket.socket() as sock, socket.socket() as filler, socket.socket() as another:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for one in (filler, another):
            one.setblocking(False)
            one.connect_ex(sock.getsockname())
        before = time.monotonic()
        found = await measure("tcp", host="127.0.0.1", port=sock.getsockname()[1], limit=0.5)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.TIMED_OUT)
    assert time.monotonic() - before < 0.5


async def test_a_name_that_does_not_exist_is_told_apart(monkeypatch):
    def getaddrinfo(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = await measure("tcp", host="nowhere.example", port=80)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_NOT_FOUND)
    assert "nowhere.example" in found.facts["detail"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (socket.EAI_NONAME, Reason.NAME_NOT_FOUND),
        (socket.EAI_NODATA, Reason.NAME_NOT_FOUND),
        (socket.EAI_FAIL, Reason.NAME_SERVER_FAILED),
        (socket.EAI_AGAIN, Reason.NAME_SERVER_FAILED),
    ],
)
async def test_kinds_of_failed_lookups(monkeypatch, number, reason):
    def getaddrinfo(*_args, **_options):
        raise socket.gaierror(number, "said by the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Unresolved) as caught:
        await addresses.resolve("name.example", 80, 1.0)
    assert caught.value.reason is reason


async def test_a_name_without_addresses_is_not_found(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [])
    found = await measure("tcp", host="empty.example", port=80)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_NOT_FOUND)


async def test_a_silent_name_server_is_silent_not_a_timed_out_target(monkeypatch):
    release = threading.Event()

    def getaddrinfo(*_args, **_options):
        release.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        found = await measure("tcp", host="name.example", port=80, limit=0.2)
    finally:
        release.set()
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.NAME_SERVER_SILENT)


async def test_too_many_waiting_lookups_are_our_own_trouble(monkeypatch):
    release = threading.Event()

    def getaddrinfo(*_args, **_options):
        release.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    waiting = [asyncio.ensure_future(addresses.resolve("a.example", 9, 10)) for _ in range(addresses.MOST_LOOKUPS)]
    await asyncio.sleep(0)
    try:
        found = await measure("tcp", host="one.too.many.example", port=80)
    finally:
        release.set()
        done = await asyncio.gather(*waiting)
    assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.NO_RESOURCES)
    assert all(one.addresses[0].text == "127.0.0.1" for one in done)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "..", "a..b"])
async def test_what_is_no_host_name_is_a_bad_target(host):
    found = await measure("tcp", host=host, port=80)
    assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.BAD_TARGET)


@pytest.mark.parametrize(
    ("number", "outcome", "reason"),
    [
        (errno.ECONNREFUSED, Outcome.FAILED, Reason.REFUSED),
        (errno.ECONNRESET, Outcome.FAILED, Reason.RESET),
        (errno.ETIMEDOUT, Outcome.FAILED, Reason.TIMED_OUT),
        (errno.ENETUNREACH, Outcome.FAILED, Reason.NO_ROUTE),
        (errno.EHOSTUNREACH, Outcome.FAILED, Reason.HOST_UNREACHABLE),
        (errno.ENETDOWN, Outcome.FAILED, Reason.INTERFACE_DOWN),
        (errno.EMFILE, Outcome.ERROR, Reason.NO_RESOURCES),
        (errno.ENFILE, Outcome.ERROR, Reason.NO_RESOURCES),
        (errno.ENOBUFS, Outcome.ERROR, Reason.NO_RESOURCES),
        (errno.ENOMEM, Outcome.ERROR, Reason.NO_RESOURCES),
        (errno.EADDRNOTAVAIL, Outcome.ERROR, Reason.NO_RESOURCES),
        (errno.EPERM, Outcome.ERROR, Reason.NO_PERMISSION),
        (errno.EAFNOSUPPORT, Outcome.ERROR, Reason.NOT_SUPPORTED),
        (errno.ENOTTY, Outcome.ERROR, Reason.PROBE_CRASHED),
    ],
)
def test_an_error_of_this_machine_is_never_the_targets_fault(number, outcome, reason):
    found = finding_of(OSError(number, "said by the kernel"))
    assert (found.outcome, found.reason) == (outcome, reason)
    assert ("remedy" in found.facts) == (outcome is Outcome.ERROR)


async def test_no_file_descriptor_left_is_an_error(monkeypatch, listener):
    def no_socket(*_args, **_options):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    found = await measure("tcp", host="127.0.0.1", port=listener)
    assert (found.outcome, found.reason) == (Outcome.ERROR, Reason.NO_RESOURCES)


async def test_absent_ipv6_never_fails_a_target_that_answers_by_ipv4(monkeypatch, listener):
    opened = addresses._open

    async def no_ipv6(loop, address, within):
        if address.family == socket.AF_INET6:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        return await opened(loop, address, within)

    def both(*_args, **_options):
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", listener, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", listener)),
        ]

    monkeypatch.setattr(addresses, "_open", no_ipv6)
    monkeypatch.setattr(socket, "getaddrinfo", both)
    found = await measure("tcp", host="both.example", port=listener)
    assert found.outcome is Outcome.OK
    assert "failed_before" not in found.facts


async def test_an_ipv6_only_target_is_skipped_where_there_is_no_ipv6(monkeypatch):
    async def no_ipv6(_loop, _address, _within):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(addresses, "_open", no_ipv6)
    found = await measure("tcp", host="2001:db8::1", port=80)
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.NO_IPV6)


async def test_the_next_address_is_tried_and_the_failure_noted(monkeypatch, listener):
    def two(*_args, **_options):
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("127.0.0.2", free_port())), (*kind, ("127.0.0.1", listener))]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    found = await measure("tcp", host="two.example", port=listener)
    assert found.outcome is Outcome.OK
    assert found.facts["failed_before"] == "ipv4: refused"


async def test_what_ipv4_says_is_the_telling_failure(monkeypatch):
    async def fails(_loop, address, _within):
        number = errno.EHOSTUNREACH if address.family == socket.AF_INET6 else errno.ECONNREFUSED
        raise OSError(number, "said by the kernel")

    six = Address(socket.AF_INET6, ("2001:db8::1", 1, 0, 0))
    four = Address(socket.AF_INET, ("192.0.2.1", 1))
    monkeypatch.setattr(addresses, "_open", fails)
    for order in ([six, four], [four, six]):
        with pytest.raises(OSError, match="said by the kernel") as caught:
            await addresses.connect(order, 1.0)
        assert caught.value.errno == errno.ECONNREFUSED


def test_an_error_of_openssl_is_not_an_errno():
    found = finding_of(ssl.SSLError(1, "[SSL] bad record"))  # 1 is EPERM for the kernel
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.TLS_HANDSHAKE)


async def test_ipv6_is_used_and_said_so():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
        found = await measure("tcp", host="::1", port=sock.getsockname()[1])
    assert found.outcome is Outcome.OK
    assert found.facts["family"] == "ipv6"


def test_public_addresses_are_facts_and_private_ones_are_not():
    assert Address(socket.AF_INET, ("8.8.8.8", 53)).facts == {"family": "ipv4", "address": "8.8.8.8"}
    for private in ("10.1.2.3", "192.168.1.1", "100.64.0.1", "169.254.1.1", "127.0.0.1"):
        assert Address(socket.AF_INET, (private, 53)).facts == {"family": "ipv4"}
    assert without_ipv6(OSError(errno.ENETUNREACH, ""))
    assert not without_ipv6(OSError(errno.ECONNREFUSED, ""))


async def test_sockets_are_closed_whatever_happens(listener):
    loop = asyncio.get_running_loop()
    task = loop.create_task(measure("tcp", host="127.0.0.1", port=listener))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # an open socket would be a ResourceWarning, which is an error here

"""The responder as a process: it serves, says where, tells its trouble in words, and never outlives its parent."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from collector.responder import process as module
from collector.responder.beside import COMMAND
from collector.responder.keys import ensure_key
from collector.responder.process import CannotServe, Responder
from collector.responder.report import Report
from collector.responder.settings import ResponderSettings
from tests.support.lending import NOW, granted, opened
from tests.support.prometheus import free_port
from wire.lease import Purpose

ALONE = (sys.executable, "-P", "-m", "collector.cli", "responder")


def settings(folder: Path, **more: Any) -> ResponderSettings:
    key = folder / "hall.key"
    if not key.exists():
        ensure_key(key)
    settled: dict[str, Any] = {"id": "hall", "sends_mbps": 80, "takes_mbps": 200, "key_file": str(key)}
    settled |= {"tcp_port": 0, "udp_port": 0, "stamp_port": 0, "log": "json"}
    return ResponderSettings(**(settled | more))


@contextlib.asynccontextmanager
async def process(*command: str, **more: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    made = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, **more)
    try:
        yield made
    finally:
        if made.returncode is None:
            made.kill()
        await made.communicate()


async def test_it_serves_every_protocol_on_the_address_it_is_told(tmp_path: Path) -> None:
    made = await asyncio.to_thread(settings, tmp_path)
    async with Responder(made, lambda: NOW) as responder:
        ports = responder.ports
        assert set(ports) == {"tcp", "udp", "stamp"}
        assert len(set(ports.values())) == 3
        for name, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM), ("stamp", socket.SOCK_DGRAM)):
            with socket.socket(socket.AF_INET, kind) as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", ports[name]))
        reader, writer = await asyncio.open_connection("127.0.0.1", ports["tcp"])
        assert await reader.read(1)
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ports["tcp"])


async def test_it_reports_what_its_ledger_says(tmp_path: Path) -> None:
    made = await asyncio.to_thread(settings, tmp_path)
    async with Responder(made, lambda: NOW) as responder:
        assert responder.admission is not None
        secret = responder.admission.secret
        session = opened(responder.admission, granted(Purpose.CALL, secret=secret))
        session.sent = 10
        report = responder.report()
        assert (report.sessions, report.opened, report.sent, report.denied) == (
            {"call": 1},
            {"call": 1},
            {"call": 10},
            {},
        )


async def test_garbage_is_answered_with_nothing_and_spends_nothing(tmp_path: Path) -> None:
    """Neither a reflector nor a door for guessing: what shows no lease gets no byte by UDP, by TCP no more than the
    greeting, and leaves no trace in the ledger."""
    made = await asyncio.to_thread(settings, tmp_path)
    dice = random.Random(1)
    loop = asyncio.get_running_loop()
    async with Responder(made, lambda: NOW) as responder:
        assert responder.admission is not None
        forged = granted(Purpose.STAMP, secret=b"z" * 32).token.encode()
        for name in ("udp", "stamp"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.setblocking(False)
                stranger.connect(("127.0.0.1", responder.ports[name]))
                for size in (0, 1, 4, 43, 44, 48, 112, 200, 600, 1400):
                    for head in (b"", b"PHR", b"phrom", forged, bytes(44) + forged):
                        await loop.sock_sendall(stranger, (head + dice.randbytes(size))[:1472])
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await loop.sock_recv(stranger, 2048)
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 600, b"\x00\x02{}", forged):
            reader, writer = await asyncio.open_connection("127.0.0.1", responder.ports["tcp"])
            writer.write(said)
            writer.write_eof()
            heard = await reader.read()
            assert len(heard) <= 24 + 64
            writer.close()
        assert responder.report() == Report(ports=responder.ports, denied=responder.report().denied)
        assert responder.admission.sessions == set()
        assert responder.admission.used == {}


async def test_sessions_that_are_over_give_their_room_back_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXPIRE_EVERY", 0.001)
    made = await asyncio.to_thread(settings, tmp_path)
    times = [NOW]
    async with Responder(made, lambda: times[0]) as responder:
        assert responder.admission is not None
        session = opened(responder.admission, granted(Purpose.CALL, secret=responder.admission.secret))
        times[0] = session.ends()
        async with asyncio.timeout(30):
            while not session.closed:  # noqa: ASYNC110 - the responder's own chore is waited for
                await asyncio.sleep(0.001)
        assert responder.report().sessions == {}


async def test_a_taken_port_and_a_bad_key_are_told_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = await asyncio.to_thread(settings, tmp_path, tcp_port=port)
        with pytest.raises(CannotServe) as cannot:
            await Responder(made).__aenter__()
    assert str(cannot.value) == (
        f"cannot listen on 127.0.0.1 port {port}/tcp (tcp): Address already in use; another responder may run here, "
        "or bind or tcp_port is wrong (ss -lnp shows who listens)"
    )
    await asyncio.to_thread((tmp_path / "hall.key").chmod, 0o644)
    with pytest.raises(CannotServe, match=r"^key_file: .*hall\.key: others may read it \(mode 0644\); chmod 600 "):
        await Responder(made).__aenter__()


async def test_a_later_port_that_is_taken_closes_those_before_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = free_port()
        made = await asyncio.to_thread(settings, tmp_path, tcp_port=port, stamp_port=taken.getsockname()[1])
        with pytest.raises(CannotServe, match=r"/udp \(stamp\)"):
            await Responder(made).__aenter__()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_alone_it_says_that_it_serves_and_ends_in_order_with_its_metrics(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "responder.yaml"
    made = await asyncio.to_thread(settings, tmp_path, metrics_port=port)
    content = "".join(f"{name}: {value}\n" for name, value in msgspec.structs.asdict(made).items())
    await asyncio.to_thread(file.write_text, content)
    async with process(*ALONE, str(file)) as alone:
        assert alone.stderr is not None
        line = json.loads(await alone.stderr.readline())
        assert (line["event"], line["id"], line["bind"]) == ("responder serves", "hall", "127.0.0.1")
        assert line["tcp"] and line["udp"] and line["stamp"]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
        assert 'phrom_responder_up{responder="hall"} 1.0' in text
        alone.send_signal(signal.SIGTERM)
        out, err = await alone.communicate()
        assert (alone.returncode, out) == (0, b"")
        assert json.loads(err)["event"] == "responder stops"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("id: hall\n", 2, "sends_mbps: found nothing"),
        ("id: hall\nsends_mbps: 1\ntakes_mbps: 1\nkey_file: none.key\n", 1, "none.key: not found; copy the file"),
    ],
)
async def test_alone_it_ends_with_words_and_no_traceback(tmp_path: Path, text: str, code: int, words: str) -> None:
    file = tmp_path / "responder.yaml"
    await asyncio.to_thread(file.write_text, text)
    async with process(*ALONE, str(file)) as alone:
        out, err = await alone.communicate()
        assert (alone.returncode, out) == (code, b"")
        assert words in err.decode()
        assert "Traceback" not in err.decode()


async def test_beside_a_collector_it_says_its_ports_and_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    made = await asyncio.to_thread(settings, tmp_path)
    async with process(*COMMAND) as beside:
        assert beside.stdin is not None
        assert beside.stdout is not None
        beside.stdin.write(msgspec.json.encode(made) + b"\n")
        assert set(json.loads(await beside.stdout.readline())["ports"]) == {"tcp", "udp", "stamp"}
        beside.stdin.close()
        assert await beside.wait() == 0
        assert await beside.stderr.read() == b"" if beside.stderr else True


async def test_beside_a_collector_its_trouble_goes_to_the_parent_alone(tmp_path: Path) -> None:
    made = await asyncio.to_thread(settings, tmp_path)
    await asyncio.to_thread(os.unlink, made.key_file)
    async with process(*COMMAND) as beside:
        out, err = await beside.communicate(msgspec.json.encode(made) + b"\n")
        assert (beside.returncode, err) == (1, b"")
        assert json.loads(out)["trouble"].startswith(f"key_file: {made.key_file}: not found")

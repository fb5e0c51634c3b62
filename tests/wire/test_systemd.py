"""sd_notify(3) and the watchdog, against a real socket; and silence where no manager listens."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wire import systemd


@pytest.fixture
def channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_a_message_arrives(channel: socket.socket) -> None:
    assert systemd.notify("READY=1\nSTATUS=serving")
    assert channel.recv(100) == b"READY=1\nSTATUS=serving"


def test_an_abstract_socket_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"phrom-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert systemd.notify("STOPPING=1")
        assert listening.recv(100) == b"STOPPING=1"


def test_nobody_listening_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("micros", "process", "expected"),
    [
        ("30000000", "", 15.0),
        ("30000000", str(os.getpid()), 15.0),
        ("30000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
    ],
)
def test_signs_of_life_come_twice_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch, micros: str, process: str, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", micros)
    monkeypatch.setenv("WATCHDOG_PID", process)
    assert systemd.watchdog_interval() == expected


async def test_the_watchdog_beats_while_the_loop_turns_and_ends_at_once_if_nobody_asked(
    channel: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await asyncio.wait_for(systemd.watchdog(), 5)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    beating = asyncio.create_task(systemd.watchdog())
    for _ in range(3):
        assert await asyncio.to_thread(channel.recv, 100) == b"WATCHDOG=1"
    beating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beating

"""The responder beside the collector: kept going whatever happens to it, and never the collector's trouble."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.inventory import Inventory
from collector.province import load_province
from collector.responder import beside as module
from collector.responder.beside import Beside, make_keys, responding, wanted
from collector.settings import Beside as Section
from collector.settings import CollectorSettings
from tests.support.collecting import Collector, collecting
from wire.logs import set_up

FAKE = """
import json, os, sys
settings = json.loads(sys.stdin.readline())
{first}
print(json.dumps({{"ports": {{"tcp": settings["tcp_port"]}}, "opened": {{"stamp": os.getpid()}}}}), flush=True)
sys.stdin.read()
{last}
"""
"""A process that speaks to its parent as a responder does, and starts at once."""


def fake(first: str = "", last: str = "") -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", FAKE.format(first=first, last=last))


@contextlib.asynccontextmanager
async def kept(collector: Collector, command: tuple[str, ...], **more: Any) -> AsyncIterator[Beside]:
    beside = Beside(collector.services, command, **({"first_wait": 0.001} | more))
    task = asyncio.create_task(beside.run())
    try:
        yield beside
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(30):
        while not (found := condition()):  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.005)
    return found


def process_of(beside: Beside) -> int:
    return beside.report.opened["stamp"] if beside.report else 0


def changed(inventory: Inventory, **more: Any) -> Inventory:
    places = {
        name: msgspec.structs.replace(one, **more) if name == "hall" else one
        for name, one in inventory.responders.items()
    }
    return msgspec.structs.replace(inventory, responders=places)


def test_what_it_is_told_stands_in_the_inventory_and_the_settings(tmp_path: Path) -> None:
    settings = CollectorSettings(bind="10.0.0.5", tls="own", data=str(tmp_path))
    inventory = load_province(settings)
    found = wanted(settings, inventory)
    assert found is not None
    assert (found.id, found.bind, found.tcp_port, found.udp_port, found.stamp_port) == (
        "hall",
        "10.0.0.5",
        8481,
        8481,
        8862,
    )
    assert (found.sends_mbps, found.takes_mbps) == (80, 200)
    assert found.key_file == str(tmp_path / "responders" / "hall.key")
    other = wanted(CollectorSettings(responder=Section(bind="127.0.0.2", sessions=7, of_one_source=3)), inventory)
    assert other is not None
    assert (other.bind, other.sessions, other.of_one_source) == ("127.0.0.2", 7, 3)
    assert wanted(CollectorSettings(), inventory) is not None
    assert wanted(CollectorSettings(responder=Section(start=False)), inventory) is None
    assert wanted(CollectorSettings(), changed(inventory, host="elsewhere.example")) is None


async def test_it_runs_is_seen_and_ends_with_the_collector(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        async with kept(collector, fake()) as beside:
            assert not beside.silent("core")
            process = await until(lambda: process_of(beside))
            assert not beside.silent("hall")
            assert beside.report is not None
            assert beside.report.ports == {"tcp": 8481}
            status = await asyncio.to_thread((tmp_path / "responders" / "hall.key").stat)
            assert status.st_mode & 0o777 == 0o600
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


async def test_one_that_crashes_is_started_again_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with collecting(tmp_path) as collector, kept(collector, fake()) as beside:
        set_up("json")
        first = await until(lambda: process_of(beside))
        os.kill(first, signal.SIGKILL)
        second = await until(lambda: process_of(beside) not in (0, first) and process_of(beside))
        assert beside.starts == 2
        assert second != first
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events = [(one["event"], one.get("cause")) for one in told if "responder" in one["event"]]
    assert events[-3:] == [
        ("responder does not run", "its process ended with code -9"),
        ("responder runs again", None),
        ("responder serves", None),
    ]


async def test_what_it_cannot_do_is_told_in_its_own_words_and_tried_again_more_slowly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = 'print(json.dumps({"trouble": "cannot listen on 127.0.0.1 port 8481/tcp"}), flush=True); sys.exit(1)'
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    async with collecting(tmp_path) as collector:
        set_up("json")
        async with kept(collector, fake(first), first_wait=1.0, pause=pause) as beside:
            await until(lambda: beside.starts >= 9)
            assert beside.silent("hall")
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events = [(one["event"], one.get("cause")) for one in told if "responder" in one["event"]]
    assert events == [("responder does not run", "cannot listen on 127.0.0.1 port 8481/tcp")]


async def test_a_changed_inventory_gets_a_new_process_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    async with collecting(tmp_path) as collector, kept(collector, fake(), first_wait=1000.0) as beside:
        first = await until(lambda: process_of(beside))
        collector.services.inventory = changed(collector.services.inventory, tcp_port=9999)
        await until(lambda: beside.report and beside.report.ports == {"tcp": 9999})
        assert process_of(beside) != first
        collector.services.inventory = changed(collector.services.inventory, host="elsewhere.example")
        await until(lambda: beside.report is None and not beside.name)
        assert not beside.silent("hall")


async def test_a_bad_key_file_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def damage() -> None:
        (tmp_path / "responders").mkdir(mode=0o700)
        (tmp_path / "responders" / "hall.key").write_bytes(b"short")
        (tmp_path / "responders" / "hall.key").chmod(0o600)

    async with collecting(tmp_path) as collector:
        set_up("json")
        await asyncio.to_thread(damage)
        async with kept(collector, fake()) as beside:
            told = ""
            async with asyncio.timeout(30):
                while "responder does not run" not in told:
                    await asyncio.sleep(0.005)
                    told += capsys.readouterr().err
            assert beside.starts == 0
    assert "hall.key: found 5 bytes, expected exactly 32" in told


async def test_every_responder_of_the_inventory_has_its_key(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        collector.services.inventory = changed(collector.services.inventory, host="elsewhere.example")
        await make_keys(collector.services)
        assert await asyncio.to_thread((tmp_path / "responders" / "hall.key").exists)


async def test_what_no_responder_says_ends_it(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector, kept(collector, fake('print("hello", flush=True)')) as beside:
        await until(lambda: beside.starts >= 2)
        assert beside.report is None


async def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOPPING", 0.05)
    async with collecting(tmp_path) as collector:
        async with kept(collector, fake(last="import time; time.sleep(600)")) as beside:
            process = await until(lambda: process_of(beside))
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


async def test_the_real_one_serves_and_shows_in_the_metrics(tmp_path: Path) -> None:
    from tests.support.prometheus import free_port

    async with collecting(tmp_path) as collector:
        ports = {"tcp_port": free_port(), "udp_port": free_port(), "stamp_port": free_port()}
        collector.services.inventory = changed(collector.services.inventory, **ports)
        async with responding(collector.services) as beside:
            report = await until(lambda: beside.report)
            assert report.ports == {"tcp": ports["tcp_port"], "udp": ports["udp_port"], "stamp": ports["stamp_port"]}
            text = (await collector.ask("GET", "/metrics")).body.decode()
            assert 'phrom_responder_up{responder="hall"} 1.0' in text
            reader, writer = await asyncio.open_connection("127.0.0.1", ports["tcp_port"])
            assert await reader.read(1)
            writer.close()
        text = (await collector.ask("GET", "/metrics")).body.decode()
        assert 'phrom_responder_up{responder="hall"} 0.0' in text

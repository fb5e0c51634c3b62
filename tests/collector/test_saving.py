"""Backup while it runs, restore into an empty folder, and what a spoiled file is told to be."""

import asyncio
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from collector.province import example
from collector.responder.keys import ensure_key, key_file, read_key
from collector.saving import BadBackup, back_up, restore_from
from collector.serve import CannotStart, lone
from collector.settings import CollectorSettings
from tests.support.collecting import Now, collecting
from tests.support.store import window


async def test_a_backup_made_while_it_runs_holds_everything_and_stops_nobody(tmp_path: Path) -> None:
    now = Now()
    file = tmp_path / "backup.tar.gz"
    async with collecting(tmp_path / "first", now=now, tls="own") as collector:
        pin = collector.services.authority.pin if collector.services.authority else ""
        trust = {"ssl": False}
        code = await collector.code()
        body = msgspec.json.encode({"protocol": "1.0", "code": code})
        joined = await collector.ask(
            "POST", "/api/v1/join", data=body, headers={"Content-Type": "application/json"}, **trust
        )
        assert joined.status == 200
        from tests.support.collecting import Agent
        from wire.settings import JoinAnswer

        agent = Agent(collector, msgspec.json.decode(joined.body, type=JoinAnswer))
        batch = agent.chain.seal(window(now.boottime))
        envelope = msgspec.json.encode(agent.envelope(batch))
        post = {"data": envelope, "headers": agent.headers, **trust}
        assert (await collector.ask("POST", "/api/v1/observations", **post)).json["batches"][0]["status"] == "stored"
        settings = collector.services.settings
        secret = await asyncio.to_thread(ensure_key, key_file(tmp_path / "first", "hall"))
        saving = asyncio.create_task(asyncio.to_thread(back_up, settings, file))
        while not saving.done():
            assert (await collector.ask("POST", "/api/v1/observations", **post)).status in (200, 429)
        assert await saving > 1000
    restored = CollectorSettings(data=str(tmp_path / "second"))
    names = await asyncio.to_thread(restore_from, restored, file)
    assert {"phrom.db", "tls/ca.key", "tls/ca.pem", "tls/server.key", "tls/server.pem"} < set(names)
    assert await asyncio.to_thread(read_key, key_file(tmp_path / "second", "hall")) == secret
    kept = tmp_path / "second" / "inventory-from-backup"
    assert await asyncio.to_thread(lambda: sorted(one.name for one in kept.iterdir())) == await asyncio.to_thread(
        lambda: sorted(one.name for one in example().glob("*.yaml"))
    )
    async with collecting(tmp_path / "second", now=now, tls="own") as collector:
        assert collector.services.authority is not None
        assert collector.services.authority.pin == pin
        again = await collector.ask("POST", "/api/v1/observations", **post)
        assert again.json["batches"][0]["status"] == "duplicate"
        assert ("restored",) in await collector.sql("SELECT what FROM audit")


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A good backup of an empty collector."""

    async def make() -> None:
        async with collecting(tmp_path / "made") as collector:
            await asyncio.to_thread(back_up, collector.services.settings, tmp_path / "good.tar.gz")

    asyncio.run(make())
    return tmp_path / "good.tar.gz"


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with tarfile.open(file) as archive:
        members = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda held: held.update({"phrom.db": held["phrom.db"][:-4096]}), "phrom.db is not as it was written"),
        (lambda held: held.pop("phrom.db"), "lacks phrom.db; the file is damaged or cut short"),
        (lambda held: held.update({"../evil": b"x"}), "holds '../evil', which no backup holds"),
        (lambda held: held.update({"/etc/passwd": b"x"}), "which no backup holds"),
        (lambda held: held.update({"tls/another.key": b"x"}), "holds 'tls/another.key', which no backup holds"),
        (lambda held: held.pop("manifest.json"), "it does not begin with manifest.json"),
        (
            lambda held: held.update({"manifest.json": held["manifest.json"].replace(b'"format": 1', b'"format": 2')}),
            "found format 2, expected 1; use a newer release",
        ),
    ],
)
def test_a_spoiled_backup_is_told_and_nothing_is_put_in_place(
    tmp_path: Path, backup: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    rewritten(backup, change)
    with pytest.raises(BadBackup, match=words.replace("(", r"\(")):
        restore_from(CollectorSettings(data=str(tmp_path / "new")), backup)
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["lock"]
    assert not (tmp_path / "evil").exists()


def test_a_backup_that_was_cut_short_is_told(tmp_path: Path, backup: Path) -> None:
    backup.write_bytes(backup.read_bytes()[:-2000])
    with pytest.raises(BadBackup, match="damaged or cut short"):
        restore_from(CollectorSettings(data=str(tmp_path / "new")), backup)


def test_restore_never_overwrites(tmp_path: Path, backup: Path) -> None:
    with pytest.raises(BadBackup, match="not empty; restore goes into an empty data folder"):
        restore_from(CollectorSettings(data=str(tmp_path / "made")), backup)


def test_restore_waits_for_no_running_collector(tmp_path: Path, backup: Path) -> None:
    with lone(tmp_path / "busy"), pytest.raises(CannotStart, match="another collector runs on it"):
        restore_from(CollectorSettings(data=str(tmp_path / "busy")), backup)


def test_a_backup_that_cannot_be_written_leaves_nothing(tmp_path: Path, backup: Path) -> None:
    shutil.copy(backup, tmp_path / "x")
    with pytest.raises(BadBackup, match="not written"):
        back_up(CollectorSettings(data=str(tmp_path / "made")), tmp_path / "nowhere" / "b.tar.gz")
    assert not any(one.name.startswith(".backup") for one in (tmp_path / "made").iterdir())

"""A running collector takes up changed inventory files, and keeps the last good copy while they are wrong."""

import asyncio
from pathlib import Path

import cramjam
import msgspec
import pytest

from collector.inventory import Inventory
from collector.inventory.files import from_texts
from collector.serve import _Reload
from tests.support.collecting import Now, collecting
from wire.yaml_settings import SettingsError

GROUND = """\
province: {id: udon, name: {th: อุดร}}
sites: [{id: na-yung, name: {th: นายูง}}]
"""


async def write(folder: Path, more: str) -> None:
    """Another text in the only file."""
    await asyncio.to_thread((folder / "province.yaml").write_text, GROUND + more, "utf-8")


async def test_changed_files_are_taken_up_and_wrong_ones_are_not(tmp_path):
    folder = tmp_path / "inventory"
    await asyncio.to_thread(folder.mkdir)
    await write(folder, "")
    now = Now()
    async with collecting(tmp_path / "data", now=now, inventory=str(folder)) as collector:
        services = collector.services
        reload = _Reload(services)
        first = services.inventory
        await reload()
        assert services.inventory is first

        await asyncio.to_thread((folder / ".#province.yaml").symlink_to, "an-editors-lock")
        await write(folder, "nonsense: 3\n")
        for _ in range(2):  # and it goes on saying so
            with pytest.raises(SettingsError, match="nonsense: found an unknown key"):
                await reload()
        assert services.inventory is first

        now.forward(60)
        await write(folder, "anchors: [{id: a, address: 192.0.2.1}]\n")
        await reload()
        second = services.inventory
        assert second.anchors[0].address == "192.0.2.1"

        await write(folder, "")
        await reload()
        assert services.inventory == first
        rows = await collector.sql("SELECT hash, loaded, files FROM inventory ORDER BY loaded")
    assert [row[0] for row in rows] == [first.hash, second.hash]
    assert rows[1][1] - rows[0][1] == 60_000_000
    assert [stored(row[2]) for row in rows] == [first, second]


async def test_a_change_between_start_and_the_first_look_is_not_missed(tmp_path):
    folder = tmp_path / "inventory"
    await asyncio.to_thread(folder.mkdir)
    await write(folder, "")
    async with collecting(tmp_path / "data", inventory=str(folder)) as collector:
        await write(folder, "anchors: [{id: a, address: 192.0.2.1}]\n")
        await _Reload(collector.services)()
        assert len(collector.services.inventory.anchors) == 1


def stored(packed: bytes) -> Inventory:
    """A version as the store keeps it."""
    return from_texts(msgspec.json.decode(bytes(cramjam.zstd.decompress(packed)), type=dict[str, str]))

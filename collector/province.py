"""Loading the inventory for the running collector, and keeping every version of it by hash."""

from importlib import resources
from pathlib import Path

import cramjam
import msgspec
from sqlalchemy import Connection, insert, select

from collector.inventory import Inventory, load
from collector.settings import CollectorSettings
from collector.store import Store
from collector.store.schema import inventory as table
from wire.clock import Instant


def folder_of(settings: CollectorSettings) -> Path:
    """The folder of the province's files; the example province where the settings name none."""
    return Path(settings.inventory) if settings.inventory else example()


def example() -> Path:
    """The example province that comes with the product."""
    return Path(str(resources.files("collector.inventory") / "example"))


def load_province(settings: CollectorSettings) -> Inventory:
    """Reads the inventory; raises ``SettingsError`` with every mistake."""
    return load(folder_of(settings))


def stamp_of(settings: CollectorSettings) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files: another stamp means that they are worth reading again."""
    found = []
    for path in sorted(folder_of(settings).glob("*.y*ml")):
        if path.name.startswith("."):  # an editor's lock may be a link to nothing
            continue
        status = path.stat()
        found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)


async def keep(store: Store, inventory: Inventory, now: Instant) -> None:
    """Stores a version of the inventory by its hash, with the time it was loaded first."""

    def write(connection: Connection) -> None:
        if connection.execute(select(table.c.hash).where(table.c.hash == inventory.hash)).first() is None:
            packed = bytes(cramjam.zstd.compress(msgspec.json.encode(inventory.files)))
            connection.execute(insert(table).values(hash=inventory.hash, loaded=now, files=packed))

    await store.write(write)

"""What is acknowledged is on the disk: through kill -9, a full disk, a read-only one, a backup and a restore."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from collector.store import CannotOpen, CannotWrite, Store, Taken
from collector.store.backup import BackupFailed, NotABackup, StoreNotEmpty, back_up, restore
from collector.store.dialect import Damaged
from collector.store.query import gaps, latest
from collector.store.writer import Closed
from tests.support.store import BAN_PHUE, EPOCH, Chain, clock, window
from wire.batch import BatchStatus
from wire.clock import HOUR, MINUTE

NOW = EPOCH + HOUR

WRITER = """
import asyncio, sys
from pathlib import Path
from collector.store import Store
from tests.support.store import BAN_PHUE, EPOCH, Chain, clock, window
from wire.clock import HOUR

async def main():
    store = Store.open(Path(sys.argv[1]))
    async def post(number):
        chain = Chain()
        while True:
            one = chain.seal(window(HOUR, f"t{number}"))
            (receipt,) = (await store.take(BAN_PHUE, EPOCH + HOUR, clock(HOUR), [one])).receipts
            assert receipt.status == "stored", receipt
            sys.stdout.write(f"{receipt.stream} {receipt.seq}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(post(number) for number in range(int(sys.argv[2]))))

asyncio.run(main())
"""


def test_what_was_acknowledged_before_kill_9_is_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "phrom.db"
    rng = random.Random(4)
    acknowledged: set[tuple[str, int]] = set()
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), "4"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(rng.randint(1, 60))]
            process.kill()
            lines += process.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                stream, seq = line.split()
                acknowledged.add((stream, int(seq)))
    batches, windows = _held(path)
    assert len(acknowledged) >= 5
    assert acknowledged <= set(batches)
    assert len(batches) == len(set(batches)) == windows, "each batch has its one window, none twice"


def _held(path: Path) -> tuple[list[tuple[str, int]], int]:
    store = Store.open(path)  # recovers the WAL
    store.close()
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT id, seq FROM batch JOIN stream ON number = stream").fetchall()
        (windows,) = database.execute("SELECT count(*) FROM window").fetchone()
    return rows, windows


async def test_a_full_disk_defers_and_recovers(store: Store) -> None:
    chain = Chain()
    first = await store.take(BAN_PHUE, NOW, clock(HOUR), [chain.seal(window(HOUR))])
    assert first.receipts[0].status is BatchStatus.STORED
    pages = await store.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await store.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}").scalar_one())
    big = chain.seal(*(window(HOUR, f"t{number}", facts={"f": "x" * 900}) for number in range(50)))
    taken = await store.take(BAN_PHUE, NOW, clock(HOUR), [big])
    assert taken.landed == []
    (receipt,) = taken.receipts
    assert (receipt.stream, receipt.seq, receipt.status) == (chain.stream, 2, BatchStatus.DEFERRED)
    assert receipt.detail.startswith("store: database or disk is full (SQLITE_FULL)")
    assert store.counters["posts_deferred"] == 1
    assert store.counters["writes_failed"] == 1
    with pytest.raises(CannotWrite):
        await store.write(
            lambda c: c.exec_driver_sql(
                "INSERT INTO audit (at, who, what, detail) VALUES (1, 'x', 'y', ?)", ("z" * 99_999,)
            )
        )
    await store.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").scalar_one())
    again = await store.take(BAN_PHUE, NOW, clock(HOUR), [big, chain.seal(window(HOUR, "t3"))])
    assert [one.status for one in again.receipts] == [BatchStatus.STORED] * 2
    assert len(await store.read(latest)) == 51


async def test_only_a_commit_that_wrote_something_says_that_the_store_writes_again(store: Store) -> None:
    """A transaction that changed nothing never meets the disk: it succeeds on a full one."""
    pages = await store.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await store.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}").scalar_one())
    big = Chain().seal(*(window(HOUR, f"t{number}", facts={"f": "x" * 900}) for number in range(50)))
    with capture_logs() as told:
        assert (await store.take(BAN_PHUE, NOW, clock(HOUR), [big])).receipts[0].status is BatchStatus.DEFERRED
        quiet = msgspec.structs.replace(clock(HOUR), anchor=None)  # an anchor would be a row
        await store.take(BAN_PHUE, NOW, quiet, [])  # a heartbeat
        await store.write(lambda c: c.exec_driver_sql("SELECT count(*) FROM audit").scalar_one())
        assert [one["event"] for one in told] == ["store cannot write"]
        await store.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").scalar_one())
        assert (await store.take(BAN_PHUE, NOW, clock(HOUR), [big])).receipts[0].status is BatchStatus.STORED
        assert [one["event"] for one in told] == ["store cannot write", "store writes again"]


async def test_a_read_only_store_defers(store: Store) -> None:
    raw: Any = await store.write(lambda c: c.connection.dbapi_connection)
    await asyncio.to_thread(raw.execute, "PRAGMA query_only=ON")
    taken = await store.take(BAN_PHUE, NOW, clock(HOUR), [Chain().seal(window(HOUR))])
    assert taken.receipts[0].status is BatchStatus.DEFERRED
    assert "SQLITE_READONLY" in taken.receipts[0].detail
    await asyncio.to_thread(raw.execute, "PRAGMA query_only=OFF")
    taken = await store.take(BAN_PHUE, NOW, clock(HOUR), [Chain().seal(window(HOUR))])
    assert taken.receipts[0].status is BatchStatus.STORED


async def test_readers_cannot_write_and_see_one_snapshot(store: Store) -> None:
    with pytest.raises(Exception, match="readonly"):
        await store.read(lambda c: c.exec_driver_sql("DELETE FROM audit"))


async def test_a_mistake_in_a_write_reaches_its_caller_alone(store: Store) -> None:
    def wrong(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(wrong)
    taken = await store.take(BAN_PHUE, NOW, clock(HOUR), [Chain().seal(window(HOUR))])
    assert taken.receipts[0].status is BatchStatus.STORED


async def test_many_posts_share_a_commit(store: Store) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def block(_: object) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    blocking = asyncio.create_task(store.write(block))
    posts = [
        asyncio.create_task(store.take(BAN_PHUE, NOW, clock(HOUR), [Chain().seal(window(HOUR))])) for _ in range(20)
    ]
    await asyncio.sleep(0)  # every task runs up to its place in the queue
    assert store.waiting >= 20
    release.set()
    await asyncio.gather(blocking, *posts)
    assert store.counters["commits_of_posts"] == 1
    assert store.counters["batches_stored"] == 20


async def test_a_post_that_finds_a_mistake_of_ours_harms_no_other_in_its_group(store: Store) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    blocking = asyncio.create_task(
        store.write(lambda _: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
    )
    odd = BAN_PHUE._replace(agent={})  # type: ignore[arg-type]  # no column takes a dict
    sources = [BAN_PHUE, odd, BAN_PHUE]
    posts = [
        asyncio.create_task(store.take(source, NOW, clock(HOUR), [Chain().seal(window(HOUR))])) for source in sources
    ]
    await asyncio.sleep(0)
    release.set()
    await blocking
    first, second, third = await asyncio.gather(*posts, return_exceptions=True)
    assert isinstance(second, Exception)
    for one in (first, third):
        assert isinstance(one, Taken)
        assert one.receipts[0].status is BatchStatus.STORED
    assert len(await store.read(gaps)) == 0
    assert store.counters["batches_stored"] == 2


@pytest.mark.tool("strace")
def test_the_disk_has_it_before_the_receipt_is_sent(tmp_path: Path) -> None:
    """By strace: between a line on the WAL and the acknowledgement stands an fsync that returned."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,write,pwrite64", "-o", str(trace)]
    with subprocess.Popen(
        [*command, sys.executable, "-c", WRITER, str(tmp_path / "phrom.db"), "1"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(30):
            process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        process.stdout.read()
    dirty = acknowledged = 0
    for line in trace.read_text(errors="replace").splitlines():
        if "phrom.db-wal>" in line and "write64(" in line:
            dirty += 1
        elif (("phrom.db-wal>" in line and "sync(" in line) or "sync resumed" in line) and line.endswith("= 0"):
            dirty = 0
        elif "write(1<" in line:
            acknowledged += 1
            assert dirty == 0, f"acknowledged with {dirty} writes not on the disk: {line}"
    assert acknowledged >= 30


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await asyncio.to_thread(Store.open, tmp_path / "a.db")
    await asyncio.to_thread(store.close)
    with pytest.raises(Closed):
        await store.take(BAN_PHUE, NOW, clock(HOUR), [])


async def test_durability_is_what_the_pragmas_say(store: Store) -> None:
    found = await store.write(
        lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")]
    )
    assert found == ["wal", 2]


async def test_backup_while_posts_arrive_is_one_snapshot(store: Store, tmp_path: Path) -> None:
    chains = [Chain() for _ in range(3)]
    done, enough = asyncio.Event(), asyncio.Event()

    async def post(chain: Chain) -> None:
        while not done.is_set():
            await store.take(BAN_PHUE, NOW, clock(HOUR), [chain.seal(window(HOUR), window(HOUR, "edge"))])
            if chain.seq > 20:
                enough.set()

    posting = [asyncio.create_task(post(chain)) for chain in chains]
    await enough.wait()
    size = await store.back_up(tmp_path / "copy.db")
    done.set()
    await asyncio.gather(*posting)
    batches, windows = await asyncio.to_thread(_held, tmp_path / "copy.db")
    assert size > 0
    assert windows == 2 * len(batches) >= 40
    assert not [name for name in await asyncio.to_thread(os.listdir, tmp_path) if name.endswith(".partial")]
    with pytest.raises(BackupFailed, match="exists already"):
        await store.back_up(tmp_path / "copy.db")


async def test_after_a_restore_newer_batches_are_taken_and_what_was_lost_is_a_gap(tmp_path: Path) -> None:
    store = await asyncio.to_thread(Store.open, tmp_path / "phrom.db")
    chain = Chain()
    await store.take(BAN_PHUE, NOW, clock(HOUR), [chain.seal(window(HOUR - MINUTE))])
    await store.back_up(tmp_path / "backup.db")
    await store.take(BAN_PHUE, NOW + MINUTE, clock(HOUR + MINUTE), [chain.seal(window(HOUR)), chain.seal(window(HOUR))])
    await asyncio.to_thread(store.close)
    newest = await asyncio.to_thread(restore, tmp_path / "backup.db", tmp_path / "new" / "phrom.db", NOW + HOUR)
    assert newest == NOW
    store = await asyncio.to_thread(Store.open, tmp_path / "new" / "phrom.db")
    taken = await store.take(BAN_PHUE, NOW + HOUR, clock(2 * HOUR), [chain.seal(window(2 * HOUR))])
    assert taken.receipts[0].status is BatchStatus.STORED
    found = await store.read(gaps)
    assert [(one.stream, one.first, one.last) for one in found] == [(chain.stream, 2, 3)]
    audit = await store.read(lambda c: c.exec_driver_sql("SELECT at, what, detail FROM audit").all())
    assert [tuple(row) for row in audit] == [(NOW + HOUR, "restored", f"from backup.db; newest batch received {NOW}")]
    await asyncio.to_thread(store.close)


def test_restore_overwrites_nothing_and_takes_only_whole_backups(tmp_path: Path) -> None:
    path, copy = tmp_path / "phrom.db", tmp_path / "copy.db"
    Store.open(path).close()
    back_up(path, copy)
    restore(copy, path, NOW)  # an empty store may be replaced
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO inventory VALUES ('h', 1, x'00')")
        database.commit()
    with pytest.raises(StoreNotEmpty, match="found rows in table inventory, expected an empty store"):
        restore(copy, path, NOW)
    torn = tmp_path / "torn.db"
    torn.write_bytes(copy.read_bytes()[:20_000])
    with pytest.raises(NotABackup):
        restore(torn, tmp_path / "other.db", NOW)
    (tmp_path / "text").write_text("not a database, only long enough to look like one " * 100)
    with pytest.raises(NotABackup, match="found no readable database"):
        restore(tmp_path / "text", tmp_path / "other.db", NOW)
    with pytest.raises(NotABackup, match="found no file there"):
        restore(tmp_path / "none", tmp_path / "other.db", NOW)
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as database:
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(NotABackup, match="found no tables alembic_version"):
        restore(tmp_path / "foreign.db", tmp_path / "other.db", NOW)
    with pytest.raises(BackupFailed, match="found no store there"):
        back_up(tmp_path / "none", tmp_path / "x")
    assert not (tmp_path / "other.db").exists()
    assert not (tmp_path / "x").exists()


def test_the_migrations_make_exactly_the_schema(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from collector.store.dialect import connect
    from collector.store.schema import metadata

    Store.open(tmp_path / "phrom.db").close()
    engine = connect(tmp_path / "phrom.db", read_only=True)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_nobody_else_reads_the_store_even_in_a_folder_open_to_all(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = Store.open(tmp_path / "phrom.db")
        rights = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        back_up(tmp_path / "phrom.db", tmp_path / "backup")
        made.close()
        restore(tmp_path / "backup", tmp_path / "restored.db", NOW)
    finally:
        os.umask(before)
    assert rights == {"phrom.db": 0o600, "phrom.db-wal": 0o600, "phrom.db-shm": 0o600}
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("backup", "restored.db")] == [0o600, 0o600]


def test_what_cannot_be_opened_says_why_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        CannotOpen, match=r"nowhere/phrom.db: found unable to open database file, expected the collector"
    ):
        Store.open(tmp_path / "nowhere" / "phrom.db")
    (tmp_path / "text.db").write_text("certainly no database, though long enough for a header " * 20)
    with pytest.raises(CannotOpen, match=r"text.db: found file is not a database, expected the collector's database"):
        Store.open(tmp_path / "text.db")
    Store.open(tmp_path / "newer.db").close()
    with closing(sqlite3.connect(tmp_path / "newer.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    with pytest.raises(
        CannotOpen, match=r"newer.db: found a store made by a newer release .*9999.*; update this collector"
    ):
        Store.open(tmp_path / "newer.db")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("DROP TABLE vantage", "no table vantage"),
        ("ALTER TABLE token DROP COLUMN used", "no column token.used"),
        ("ALTER TABLE token ADD COLUMN colour TEXT", "an unknown column token.colour"),
    ],
)
def test_a_store_with_another_schema_is_refused_at_the_start(tmp_path: Path, change: str, found: str) -> None:
    path = tmp_path / "phrom.db"
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(change)
        database.commit()
    with pytest.raises(CannotOpen) as refused:
        Store.open(path)
    assert str(refused.value) == (
        f"{path}: found {found}, expected the tables of this release: another build made this store; move its folder"
        " away to begin anew, or restore a backup that this release made"
    )


async def test_a_damaged_store_is_told_as_damaged_and_agents_keep_what_they_have(store: Store) -> None:
    chain = Chain()
    await store.take(BAN_PHUE, NOW, clock(HOUR), [chain.seal(window(HOUR))])

    def damage(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA writable_schema=ON")
        connection.exec_driver_sql("UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'batch'")
        connection.exec_driver_sql("PRAGMA writable_schema=RESET")

    with capture_logs() as told:
        await store.write(damage)
        (receipt,) = (await store.take(BAN_PHUE, NOW, clock(HOUR), [chain.seal(window(HOUR))])).receipts
        with pytest.raises(
            Damaged, match=r"malformed.*it does not heal by itself: stop the collector, restore a backup"
        ):
            await store.write(lambda c: c.exec_driver_sql("SELECT count(*) FROM batch").scalar_one())
    assert receipt.status is BatchStatus.DEFERRED
    assert "restore a backup" in receipt.detail
    assert [(one["log_level"], one["event"]) for one in told] == [("error", "store is damaged")]
    assert "SQLITE_CORRUPT" in told[0]["problem"]
    assert told[0]["todo"].startswith("stop the collector, restore a backup")

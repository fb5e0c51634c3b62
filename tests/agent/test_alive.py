"""Until when a run was alive: a line that is written over, and what is made of it after an unclean stop."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.alive import Alive, later
from agent.journal import Journal
from agent.spool import Life, Spool
from tests.support.clock import FakeClock
from wire.batch import StreamName, decode_batch, decode_observation
from wire.clock import SECOND
from wire.observation import Note
from wire.reasons import Event

SYNCED = Life("boot-1", 100, 1000, 7, False)


def test_a_beat_is_read_back_and_written_over_in_place(tmp_path: Path) -> None:
    alive, clock = Alive(tmp_path / "alive"), FakeClock()
    assert alive.last() is None
    clock.advance(100_000)
    alive.beat(clock)
    first = (tmp_path / "alive").stat()
    clock.reboot("boot-2")
    alive.beat(clock)
    second = (tmp_path / "alive").stat()
    assert alive.last() == Life("boot-2", clock.boottime(), clock.wall(), 0, False)
    assert (first.st_ino, first.st_size) == (second.st_ino, second.st_size)
    assert second.st_mode & 0o777 == 0o600


@given(st.binary(max_size=200))
def test_any_bytes_in_its_place_are_no_beat_or_one(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("alive") / "alive"
    path.write_bytes(data)
    found = Alive(path).last()
    assert found is None or 0 <= found.boottime <= 2**53


def test_a_disk_that_takes_nothing_is_said_once(tmp_path: Path) -> None:
    alive, clock = Alive(tmp_path / "missing" / "alive"), FakeClock()
    with capture_logs() as log:
        alive.beat(clock)
        alive.beat(clock)
        (tmp_path / "missing").mkdir()
        alive.beat(clock)
    assert [entry["event"] for entry in log] == ["sign of life not kept", "sign of life kept again"]


@pytest.mark.parametrize(
    ("synced", "beat", "expected"),
    [
        (SYNCED, None, SYNCED),
        (None, SYNCED, None),
        (SYNCED, Life("boot-1", 200, 1100, 0, False), Life("boot-1", 200, 1100, 7, False)),
        (SYNCED, Life("boot-1", 50, 950, 0, False), SYNCED),
        (SYNCED, Life("boot-0", 200, 1100, 0, False), SYNCED),
        (Life("boot-1", 100, 1000, 7, True), Life("boot-1", 200, 1100, 0, False), Life("boot-1", 100, 1000, 7, True)),
    ],
)
def test_the_later_sign_of_the_same_boot_counts(synced: Life | None, beat: Life | None, expected: Life | None) -> None:
    assert later(synced, beat) == expected


async def test_an_unclean_stop_is_dated_by_the_last_beat(tmp_path: Path) -> None:
    clock = FakeClock()
    for run in range(2):
        spool = await Spool.open(tmp_path / "spool.db", clock)
        journal = Journal(spool, clock)
        beat = Life("boot-1", clock.boottime() - 2 * SECOND, 77, 0, False) if run else None
        await journal.started("0.2.0", beat)
        clock.advance(40)
        if run:
            batches = [decode_batch(one.sealed) for one in await spool.newest()]
            found = [decode_observation(raw) for one in batches for raw in one.observations]
            (note,) = [one for one in found if isinstance(one, Note) and one.event is Event.UNCLEAN_STOP_FOUND]
            assert note.facts == {"kind": "crash", "last_boot": "boot-1"}
            assert beat is not None
            assert note.counts == {"last_boottime": beat.boottime, "last_wall": 77}
            assert {one.name for one in batches} == {StreamName.EVIDENCE}
        await spool.close()

"""The daemon's housekeeping: changed inventories, chores that fail, and how much one client may ask for."""

import asyncio
import json
import shutil
from pathlib import Path

import cramjam
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.limits import MOST_KEYS, Buckets, network_of, retry_after
from collector.province import example
from collector.serve import _Reload, every
from tests.support.collecting import collecting
from wire.logs import set_up
from wire.yaml_settings import SettingsError


async def test_a_changed_inventory_is_taken_up_kept_by_hash_and_told_to_agents(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    await asyncio.to_thread(shutil.copytree, example(), folder)
    file = folder / "extra.yaml"
    async with collecting(tmp_path / "data", inventory=str(folder)) as collector:
        agent = await collector.agent()
        before = (await agent.post()).json["settings"]
        reload = _Reload(collector.services)
        await reload()
        await asyncio.to_thread(file.write_text, "time_server: time.example\n")
        await reload()
        after = (await agent.post()).json["settings"]
        assert after != before
        assert (await agent.get("/api/v1/settings", **{"If-None-Match": f'"{before}"'})).json["revision"] == after
        rows = await collector.sql("SELECT hash, files FROM inventory ORDER BY loaded")
        assert len({one[0] for one in rows}) == 2
        kept = [msgspec.json.decode(bytes(cramjam.zstd.decompress(one[1]))) for one in rows]
        assert [("extra.yaml" in one) for one in sorted(kept, key=len)] == [False, True]
        # a mistake is told, and the good one stays in use
        await asyncio.to_thread(file.write_text, "time_servr: x\n")
        with pytest.raises(SettingsError, match='did you mean "time_server"'):
            await reload()
        assert (await agent.post()).json["settings"] == after


async def test_a_chore_that_fails_is_logged_once_and_its_recovery_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json")
    done = asyncio.Event()
    times = 0

    async def job() -> None:
        nonlocal times
        times += 1
        if times <= 3:
            raise OSError("no space")
        if times == 6:
            done.set()

    task = asyncio.create_task(every(0.001, "keeping the store", job))
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["event"], one.get("cause"), one.get("after_failures")) for one in events] == [
        ("keeping the store failed", "OSError: no space", None),
        ("keeping the store works again", None, 3),
    ]


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = Buckets(rate=2.0, burst=3.0)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0.0] * 3
    assert buckets.take("a", 0.0) == 0.5
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) > 0
    assert retry_after(0.2) == {"Retry-After": "1"}
    assert retry_after(6.1) == {"Retry-After": "7"}


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.floats(0.1, 10), st.floats(1, 20))
def test_no_more_passes_than_burst_and_rate_allow(gaps: list[float], rate: float, burst: float) -> None:
    buckets, now, passed = Buckets(rate, burst), 0.0, 0
    for gap in gaps:
        now += gap
        passed += buckets.take("one", now) == 0.0
    assert passed <= burst + rate * sum(gaps) + 1e-6


def test_what_is_given_back_never_exceeds_the_burst() -> None:
    buckets = Buckets(rate=0.001, burst=2.0)
    buckets.take("a", 0.0)
    for _ in range(5):
        buckets.give_back("a")
    assert [buckets.take("a", 0.0) == 0.0 for _ in range(3)] == [True, True, False]
    buckets.give_back("unknown")


def test_one_subscriber_of_ipv6_counts_as_one() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("203.0.113.5") == "203.0.113.5"
    assert network_of("::ffff:203.0.113.5") == "203.0.113.5"
    assert network_of("") == ""


def test_buckets_forget_the_least_recent_key_and_stay_small() -> None:
    buckets = Buckets(rate=0.001, burst=1.0)
    for number in range(MOST_KEYS + 10):
        assert buckets.take(number, 0.0) == 0.0
    assert buckets.take(MOST_KEYS + 9, 0.0) > 0  # remembered
    assert buckets.take(0, 0.0) == 0.0  # forgotten

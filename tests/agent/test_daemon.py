"""The real ``phrom-agent run`` in a process of its own against a collector in this one."""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from agent.clock import SystemClock
from agent.state import Identity, State
from tests.support.fake_collector import TOKEN, FakeCollector
from wire.batch import StreamName
from wire.observation import Change, Note, Window
from wire.orders import Order, OrderStatus
from wire.reasons import Event
from wire.settings import AgentSettings, Assignment

COMMAND = str(Path(sys.executable).parent / "phrom-agent")


class Machine:
    """A machine with a state folder on which agents are started and ended."""

    def __init__(self, folder: Path, collector: FakeCollector) -> None:
        self.folder, self.collector = folder, collector
        self.state = State(folder / "state")
        self.config = folder / "agent.yaml"
        self.running: asyncio.subprocess.Process | None = None

    def prepare(self, joined: bool = True, more: str = "") -> None:
        self.config.write_text(f"state: {self.state.folder}\nlisten: ''\nlog_format: json\n{more}", encoding="utf-8")
        if joined:
            who = Identity(url=self.collector.url, agent="a1", token=TOKEN, province="udon-thani", site="na-yung")
            self.state.keep_identity(who)

    async def start(self, **environment: str) -> None:
        log = await asyncio.to_thread((self.folder / "log").open, "ab")
        self.running = await asyncio.create_subprocess_exec(
            COMMAND, "-c", str(self.config), "run", stderr=log, env={**os.environ, **environment}
        )
        await asyncio.to_thread(log.close)

    async def end(self, number: signal.Signals) -> int:
        assert self.running is not None
        self.running.send_signal(number)
        code = await asyncio.wait_for(self.running.wait(), 15)
        self.running = None
        return code

    def log(self) -> list[dict[str, str]]:
        return [msgspec.json.decode(line) for line in (self.folder / "log").read_bytes().splitlines()]


@asynccontextmanager
async def machine(tmp_path: Path, joined: bool = True, more: str = "") -> AsyncIterator[Machine]:
    clock = await asyncio.to_thread(SystemClock)
    async with FakeCollector(clock) as collector:
        collector.live_every = 0.0
        collector.settings = AgentSettings(
            revision="r-1",
            province="udon-thani",
            site="na-yung",
            post_every=1.0,
            assignments=[
                Assignment(
                    probe="tcp", target="collector", every=1.0, settings={"host": "127.0.0.1", "port": collector.port}
                ),
                Assignment(probe="tcp", target="rare", every=3600.0, settings={"host": "127.0.0.1", "port": 1}),
            ],
        )
        collector.announce = "r-1"
        found = Machine(tmp_path, collector)
        await asyncio.to_thread(found.prepare, joined, more)
        try:
            yield found
        finally:
            if found.running is not None and found.running.returncode is None:
                await found.end(signal.SIGKILL)


def notes(collector: FakeCollector) -> list[Event]:
    """What the agent told of itself, in the order in which it happened (new batches come first)."""
    found = [one for one in collector.observations() if isinstance(one, Note)]
    return [one.event for one in sorted(found, key=lambda one: one.end)]


def windows(collector: FakeCollector, target: str = "collector") -> list[Window]:
    return [one for one in collector.observations() if isinstance(one, Window) and one.target == target]


def delivered(collector: FakeCollector, enough: int) -> bool:
    return len(windows(collector)) >= enough


async def test_it_fetches_measures_obeys_and_stops_cleanly(tmp_path: Path) -> None:
    async with machine(tmp_path) as box:
        await box.start()
        await asyncio.wait_for(box.collector.until(lambda: len(windows(box.collector)) >= 2), 30)
        box.collector.orders = [Order("o-1", "measure", arguments={"assignments": ["tcp:rare"]})]
        await asyncio.wait_for(
            box.collector.until(lambda: any(one.status is OrderStatus.DONE for one in box.collector.answers)), 30
        )
        box.collector.orders = []
        assert await box.end(signal.SIGTERM) == 0
        ordered = [one for one in windows(box.collector, "rare") if one.order == "o-1"]
        assert len(ordered) == 1
        found = windows(box.collector)
        assert {one.settings for one in found} == {"r-1"}
        assert all(one.end >= one.start for one in found)
        happened = notes(box.collector)
        assert happened[0] is Event.STARTED
        assert Event.SETTINGS_CHANGED in happened
        assert happened[-1] is Event.STOPPED
        changes = [one for one in box.collector.observations() if isinstance(one, Change)]
        assert [one.probe for one in changes] in ([], ["vantage"])
        kept = await asyncio.to_thread(box.state.settings)
        assert kept == box.collector.settings
        log = await asyncio.to_thread(box.log)
        assert TOKEN not in str(log)
        assert [one for one in log if one["level"] == "error"] == []


async def test_killed_at_any_instant_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    async with machine(tmp_path) as box:
        for rounds in range(1, 4):
            await box.start()
            await asyncio.wait_for(box.collector.until(partial(delivered, box.collector, 2 * rounds)), 30)
            await box.end(signal.SIGKILL)
        await box.start()
        await asyncio.wait_for(box.collector.until(lambda: notes(box.collector).count(Event.STARTED) == 4), 30)
        assert await box.end(signal.SIGTERM) == 0
        assert notes(box.collector).count(Event.UNCLEAN_STOP_FOUND) == 3
        alive = await asyncio.to_thread((box.state.folder / "alive").read_text, "ascii")
        assert int(alive.split()[1]) > 0
        numbers = defaultdict(list)
        for batch in box.collector.batches():
            numbers[batch.name].append(batch.seq)
        for name in StreamName:
            assert sorted(numbers[name]) == list(range(1, max(numbers[name]) + 1))
        spans = sorted((one.start, one.end) for one in windows(box.collector))
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


async def test_without_a_collector_it_measures_and_delivers_later(tmp_path: Path) -> None:
    async with machine(tmp_path) as box:
        await asyncio.to_thread(box.state.keep_settings, box.collector.settings)
        await box.collector.stop()
        await box.start()
        spool = box.state.spool

        def grown() -> bool:
            wal = spool.with_name(spool.name + "-wal")
            return wal.exists() and wal.stat().st_size > 40_000

        while not await asyncio.to_thread(grown):
            assert box.running is not None
            assert box.running.returncode is None
            await asyncio.sleep(0.2)
        await box.collector.start()
        await asyncio.wait_for(box.collector.until(lambda: len(windows(box.collector)) >= 3), 60)
        assert await box.end(signal.SIGTERM) == 0
        assert {one.settings for one in windows(box.collector)} == {"r-1"}


async def test_a_join_file_that_is_plugged_in_joins_it(tmp_path: Path) -> None:
    stick = tmp_path / "phrom-join.yaml"
    async with machine(tmp_path, joined=False, more=f"join_files: [{stick}]\n") as box:
        text = f"url: {box.collector.url}\ncode: ABCD-EFGH-IJKL-MNOP\n"
        await asyncio.to_thread(stick.write_text, text, encoding="utf-8")
        await box.start()
        await asyncio.wait_for(box.collector.until(lambda: Event.STARTED in notes(box.collector)), 30)
        assert await box.end(signal.SIGTERM) == 0
        who = await asyncio.to_thread(box.state.identity)
        assert who is not None
        assert who.site == "mueang"
        assert "ABCD" not in str(await asyncio.to_thread(box.log))


async def test_two_agents_on_one_state_folder_are_refused(tmp_path: Path) -> None:
    async with machine(tmp_path) as box:
        await box.start()
        await asyncio.wait_for(box.collector.until(lambda: Event.STARTED in notes(box.collector)), 30)
        second = await asyncio.create_subprocess_exec(
            COMMAND, "-c", str(box.config), "run", stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(second.communicate(), 30)
        assert second.returncode == 1
        assert b"in use by another process" in said
        assert await box.end(signal.SIGTERM) == 0


async def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    async with machine(tmp_path, joined=False) as box:
        await asyncio.to_thread(box.config.write_text, "state: /proc/phrom\n", encoding="utf-8")
        await box.start()
        assert box.running is not None
        assert await asyncio.wait_for(box.running.wait(), 30) == 1


async def test_a_new_join_takes_effect_without_a_restart(tmp_path: Path) -> None:
    async with machine(tmp_path) as box:
        old = await asyncio.to_thread(box.state.identity)
        assert old is not None
        box.collector.token = "pha_" + "n" * 43
        await box.start()
        await asyncio.wait_for(box.collector.posted.wait(), 30)
        assert box.collector.envelopes == []
        await asyncio.to_thread(box.state.keep_identity, msgspec.structs.replace(old, token=box.collector.token))
        await asyncio.wait_for(box.collector.until(lambda: Event.STARTED in notes(box.collector)), 30)
        assert await box.end(signal.SIGTERM) == 0


async def test_settings_may_speak_of_the_collector(tmp_path: Path) -> None:
    async with machine(tmp_path) as box:
        here = Assignment(
            probe="tcp", target="collector", every=1.0, settings={"host": "@collector", "port": "@collector_port"}
        )
        box.collector.settings = msgspec.structs.replace(box.collector.settings, assignments=[here])
        await box.start()
        await asyncio.wait_for(box.collector.until(lambda: delivered(box.collector, 1)), 30)
        assert await box.end(signal.SIGTERM) == 0
        assert {one.outcome for one in windows(box.collector)} == {"ok"}


async def test_systemd_is_told(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    heard: asyncio.Queue[str] = asyncio.Queue()

    class Manager(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: object) -> None:
            heard.put_nowait(data.decode())

    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Manager, sock=manager)
    try:
        async with machine(tmp_path) as box:
            await box.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
            said = [await asyncio.wait_for(heard.get(), 30) for _ in range(4)]
            assert sorted(said) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
            assert await box.end(signal.SIGTERM) == 0
            while (last := await asyncio.wait_for(heard.get(), 30)) == "WATCHDOG=1":
                pass
            assert last == "STOPPING=1"
    finally:
        transport.close()

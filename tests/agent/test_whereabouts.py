"""The watch over where the agent stands."""

import asyncio

from agent.directory import Directory
from agent.vantage import Medium, Vantage
from agent.whereabouts import NOWHERE, Whereabouts, resolver_of
from tests.support.warp import Kept, WarpClock, warp
from wire.batch import StreamName
from wire.clock import SECOND
from wire.observation import Change

HOME = Vantage("aaaaaaaa", "eth0", Medium.CABLE, "192.0.2.1", "02:00:00:00:00:01", "f" * 16, None, "")
AWAY = Vantage("bbbbbbbb", "wlan0", Medium.WIFI, "198.51.100.1", "02:00:00:00:00:02", "e" * 16, None, "")


class Watched:
    """A machine that is carried about."""

    def __init__(self) -> None:
        self.at: Vantage | None = HOME
        self.clock = WarpClock(asyncio.get_running_loop())
        self.kept = Kept()
        self.directory = Directory()
        self.told: list[Vantage | None] = []
        self.watch = Whereabouts(self.clock, self.kept, self.directory, self.told.append, lambda *_: self.at)


def test_a_change_of_place_is_evidence_and_dated_by_the_last_look() -> None:
    async def story() -> None:
        world = Watched()
        await world.watch.look()
        running = asyncio.create_task(world.watch.run())
        await asyncio.sleep(12)
        world.at = AWAY
        await asyncio.sleep(10)
        running.cancel()
        first, second = world.kept.changes
        assert (first.previous, first.current) == ("unknown", "aaaaaaaa")
        assert (second.previous, second.current, second.vantage) == ("aaaaaaaa", "bbbbbbbb", "bbbbbbbb")
        assert second.end - second.start == 5 * SECOND
        assert {stream for stream, _, _ in world.kept.records} == {StreamName.EVIDENCE}
        assert all(urgent for _, _, urgent in world.kept.records)
        assert isinstance(world.kept.records[0][1], Change)
        assert world.told[-1] == AWAY

    warp(story())


def test_the_edge_of_another_place_is_forgotten_but_not_in_an_outage() -> None:
    async def story() -> None:
        world = Watched()
        await world.watch.look()
        world.directory.learn({"edge": "10.0.0.1"})
        world.at = None
        await world.watch.look()
        routed = world.directory.routed
        assert not routed
        assert world.kept.changes[-1].current == NOWHERE
        assert "gateway" not in world.directory.addresses
        world.at = HOME
        await world.watch.look()
        assert world.directory.routed
        assert world.directory.addresses["edge"] == "10.0.0.1"
        assert world.directory.addresses["gateway"] == "192.0.2.1"
        world.at = AWAY
        await world.watch.look()
        assert "edge" not in world.directory.addresses

    warp(story())


def test_the_resolver_of_resolv_conf() -> None:
    assert resolver_of("# nothing\nsearch x\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n") == "192.0.2.53"
    assert resolver_of("nameserver fe80::1%eth0\n") == "fe80::1%eth0"
    assert resolver_of("nameserver somewhere\nnameserver\n") == ""

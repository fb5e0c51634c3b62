"""The watch over where the agent stands."""

import asyncio
from functools import partial
from pathlib import Path

from agent.directory import Directory
from agent.vantage import Medium, Vantage, look, salt_of
from agent.whereabouts import NOWHERE, ROUSED, Whereabouts, resolver_of, rouse_neighbour
from tests.support.warp import Kept, WarpClock, warp
from wire.batch import StreamName
from wire.clock import SECOND
from wire.observation import Change
from wire.settings import AgentSettings

HOME = Vantage("aaaaaaaa", "eth0", Medium.CABLE, "192.0.2.1", "02:00:00:00:00:01", "f" * 16, None, "")
AWAY = Vantage("bbbbbbbb", "wlan0", Medium.WIFI, "198.51.100.1", "02:00:00:00:00:02", "e" * 16, None, "")
JOINED = AgentSettings(province="udon-thani", site="na-yung")


class Watched:
    """A machine that is carried about."""

    def __init__(self) -> None:
        self.at: Vantage | None = HOME
        self.clock = WarpClock(asyncio.get_running_loop())
        self.kept = Kept()
        self.directory = Directory()
        self.told: list[Vantage | None] = []
        self.asked: list[str] = []
        self.answers = 0
        """How often the gateway has to be asked until its MAC address is known; 0 = it never answers."""
        self.watch = Whereabouts(
            self.clock, self.kept, self.directory, self.told.append, lambda *_: self.at, self.rouse
        )
        self.watch.apply(JOINED)

    def rouse(self, gateway: str) -> None:
        """The kernel asks for the MAC address."""
        self.asked.append(gateway)
        if len(self.asked) == self.answers:
            self.at = HOME


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


def test_before_joining_the_place_has_no_name_and_after_it_one(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\n",
        encoding="ascii",
    )
    read = partial(look, proc=tmp_path, system=tmp_path)
    expected = read(salt_of("udon-thani", "na-yung"))
    assert expected is not None

    async def story() -> None:
        kept, directory, told = Kept(), Directory(), list[Vantage | None]()
        clock = WarpClock(asyncio.get_running_loop())
        watch = Whereabouts(clock, kept, directory, told.append, read, lambda _: None)
        watch.apply(AgentSettings(revision="start"))
        for _ in range(2):
            await watch.look()
        assert kept.changes == []
        assert told[-1] is not None
        assert (told[-1].id, told[-1].gateway) == ("", directory.addresses["gateway"])
        watch.apply(JOINED)
        for _ in range(2):
            await watch.look()
        (change,) = kept.changes
        assert (change.previous, change.current, change.vantage) == ("unknown", expected.id, expected.id)
        assert told[-1] == expected

    warp(story())


NAMELESS = HOME._replace(id="cccccccc", mac="", gateway_hash="")


def test_a_gateway_without_a_mac_address_is_asked_before_the_place_is_named() -> None:
    async def story() -> None:
        world = Watched()
        world.at, world.answers = NAMELESS, 2
        await world.watch.look()
        assert [one.current for one in world.kept.changes] == ["aaaaaaaa"]
        assert world.asked == ["192.0.2.1"] * 2
        assert world.told == [HOME], "nothing was measured from a place that has another name a moment later"

    warp(story())


def test_a_gateway_that_never_tells_its_mac_address_is_asked_once_and_the_place_named_without() -> None:
    async def story() -> None:
        world = Watched()
        world.at = NAMELESS
        for _ in range(3):
            await world.watch.look()
        assert world.asked == ["192.0.2.1"] * len(ROUSED)
        world.at = None
        await world.watch.look()
        world.at = NAMELESS
        await world.watch.look()
        assert len(world.asked) == 2 * len(ROUSED), "the cable was pulled meanwhile"
        assert [one.current for one in world.kept.changes] == ["cccccccc", NOWHERE, "cccccccc"]

    warp(story())


def test_an_ipv6_gateway_and_a_line_without_one_are_not_asked() -> None:
    async def story() -> None:
        for gateway in ("fe80::1", ""):
            world = Watched()
            world.at = NAMELESS._replace(gateway=gateway)
            await world.watch.look()
            assert world.asked == []

    warp(story())


def test_one_datagram_rouses_a_neighbour_and_no_route_is_no_error() -> None:
    rouse_neighbour("127.0.0.1")
    rouse_neighbour("255.255.255.255")  # EACCES: broadcast is not allowed


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

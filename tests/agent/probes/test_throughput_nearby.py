"""The interface by which a test leaves: which it is, what passes it, where it stands."""

import asyncio
import functools
import socket
from pathlib import Path

import pytest

from agent.probes.throughput import Throughput, nearby
from agent.probes.throughput.limits import Place, Source
from agent.probes.throughput.nearby import Interface
from agent.vantage import Medium, Port, port_at


def test_the_interface_that_holds_an_address():
    assert Interface.holding("127.0.0.1").name == "lo"
    assert Interface.holding("::ffff:127.0.0.1").name == "lo"
    assert Interface.holding("192.0.2.77").name == ""


def test_the_interface_towards_an_address():
    assert Interface.towards(socket.AF_INET, ("127.0.0.1", 8481)).name == "lo"
    assert Interface.towards(socket.AF_INET, ("256.0.0.1", 8481)).name == ""


def test_what_passes_it():
    interface = Interface("lo")
    before = interface.read()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(bytes(5000), ("127.0.0.1", 9))
    after = interface.read()
    assert after.up - before.up >= 5000
    assert after.down - before.down >= 5000
    assert after.at >= before.at
    assert Interface("").read()[1:] == (0, 0, 0)


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("FD00:0:0::1", "fd00::1"),
        ("00:11:22:33:44:55", "00:11:22:33:44:55"),
    ],
)
def test_one_way_of_writing_an_address(address: str, plain: str):
    assert nearby.plain(address) == plain


@pytest.mark.parametrize(
    ("port", "place"),
    [
        (Port(Medium.CABLE, 100_000_000, "full", True), Place(port_speed=100_000_000)),
        (Port(Medium.CABLE, 10_000_000, "half", True), Place(port_speed=10_000_000, full_duplex=False)),
        (Port(Medium.WIFI, None, "", True), Place(medium=Medium.WIFI)),
        (Port(Medium.OTHER, 10_000_000, "full", True), Place(medium=Medium.OTHER)),  # a tunnel makes its speed up
    ],
)
def test_where_it_stands(port: Port, place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nearby, "port_at", lambda _: port)
    monkeypatch.setattr(nearby, "slowest_door", lambda: None)
    assert Interface("eth0").place(inline=False) == place._replace(source=Source.UNSEEN)
    assert Interface("eth0").place(inline=True) == place._replace(source=Source.INLINE)


def test_an_interface_that_is_not_known_claims_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nearby, "slowest_door", lambda: None)
    assert Interface("").place(inline=False) == Place(medium=Medium.OTHER)


def test_nobody_is_a_router_unless_its_settings_say_so():
    """One that forwards may do so for its containers alone."""
    assert Throughput().inline is False
    assert Interface("lo").place(inline=Throughput().inline).source is Source.UNSEEN


def machine(system: Path) -> None:
    for name, kind, device, carrier, speed in (
        ("eth0", 1, True, 1, 100), ("eth1", 1, True, 0, 10), ("eth2", 1, True, 1, 1000), ("eth3", 1, True, 1, -1),
        ("ppp0", 512, False, 1, 10), ("docker0", 1, False, 1, 10),
    ):  # fmt: skip
        (system / name).mkdir()
        for file, text in (("type", kind), ("carrier", carrier), ("speed", speed), ("duplex", "full")):
            (system / name / file).write_text(f"{text}\n")
        if device:
            (system / name / "device").mkdir()


async def test_packets_of_ppp_and_of_a_bridge_leave_by_a_port_with_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nearby, "SYS", tmp_path)
    monkeypatch.setattr(nearby, "port_at", lambda name: port_at(name, tmp_path))
    assert await asyncio.to_thread(nearby.slowest_door) is None
    await asyncio.to_thread(machine, tmp_path)
    assert await asyncio.to_thread(nearby.slowest_door) == 100_000_000
    for name, speed in (
        ("ppp0", 100_000_000),
        ("eth2", 1_000_000_000),
        ("eth3", 100_000_000),
        ("lo", None),
        ("", 100_000_000),
    ):
        place = await asyncio.to_thread(functools.partial(Interface(name).place, inline=True))
        assert place.port_speed == speed, name
    monkeypatch.setattr(nearby, "SYS", tmp_path / "none")
    assert await asyncio.to_thread(nearby.slowest_door) is None

"""The interface by which a test leaves: which it is, what passes it, where it stands."""

import asyncio
import socket
from pathlib import Path

import pytest

from agent.probes.throughput import nearby
from agent.probes.throughput.limits import Place, Source
from agent.probes.throughput.nearby import Interface
from agent.vantage import Medium, Port


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
    assert Interface("").read()[1:] == (0, 0)


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
    assert Interface("eth0").place(inline=False) == place._replace(source=Source.UNSEEN)
    assert Interface("eth0").place(inline=True) == place._replace(source=Source.INLINE)


def test_an_interface_that_is_not_known_claims_nothing():
    assert Interface("").place(inline=False) == Place(medium=Medium.OTHER)


@pytest.mark.parametrize(
    ("forwards", "doors", "source"),
    [
        (True, ["eth0", "ppp0"], Source.INLINE),
        (True, ["eth0"], Source.UNSEEN),  # it forwards for its containers
        (False, ["eth0", "wlan0"], Source.UNSEEN),
    ],
)
def test_whether_it_is_the_router(forwards: bool, doors: list[str], source: Source, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nearby, "forwards", lambda: forwards)
    monkeypatch.setattr(nearby, "doors", lambda: doors)
    assert Interface("").place(inline=None).source is source


async def test_the_doors_of_a_machine(tmp_path: Path):
    def build() -> None:
        for name, device, carrier in (
            ("eth0", True, "1\n"), ("eth1", True, "0\n"), ("ppp0", False, "1\n"), ("docker0", False, "1\n"),
        ):  # fmt: skip
            (tmp_path / name).mkdir()
            (tmp_path / name / "carrier").write_text(carrier)
            if device:
                (tmp_path / name / "device").mkdir()

    await asyncio.to_thread(build)
    assert await asyncio.to_thread(nearby.doors, tmp_path) == ["eth0", "ppp0"]
    assert await asyncio.to_thread(nearby.doors, tmp_path / "none") == []


def test_whether_it_forwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    v4, v6 = tmp_path / "ip_forward", tmp_path / "forwarding"
    monkeypatch.setattr(nearby, "_FORWARDS", (str(v4), str(v6)))
    assert not nearby.forwards()
    v4.write_text("0\n")
    assert not nearby.forwards()
    v6.write_text("1\n")
    assert nearby.forwards()

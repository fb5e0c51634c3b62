"""The host probe: what it reports of this machine, and the arithmetic of its rates."""

from types import SimpleNamespace

import psutil
import pytest

from agent.probe import Span, Target, unknown_measures
from agent.probes import host
from agent.probes.host import Host, HostSettings, Reading
from agent.vantage import Medium, Vantage
from wire.measures import MEASURES
from wire.reasons import Outcome

BEFORE = Reading(at=100.0, busy=50.0, total=400.0, interface="eth0", received=1000, sent=500)


async def test_this_machine_reports() -> None:
    found = await Host().measure(Target("machine", "", HostSettings()), Span(0.3, 10))
    assert found.outcome is Outcome.OK
    assert not unknown_measures(found, MEASURES)
    assert 0 <= found.values["cpu"] <= 1
    assert 0 < found.values["memory"] < 1
    assert 0 < found.values["disk"] < 1
    assert found.values["disk_free"] > 0
    assert found.values["uptime"] > 0


async def test_a_disk_that_is_not_there_is_a_fact_and_no_crash() -> None:
    settings = HostSettings(disk_path="/no/such/disk")
    found = await Host().measure(Target("machine", "", settings), Span(0.2, 10))
    assert found.outcome is Outcome.OK
    assert found.facts["disk"] == "/no/such/disk: No such file or directory"
    assert "disk" not in found.values


def test_rates_are_differences_over_time() -> None:
    after = Reading(at=110.0, busy=55.0, total=420.0, interface="eth0", received=2_251_000, sent=125_500)
    counts, values = host.rates(BEFORE, after)
    assert counts == {"bytes_received": 2_250_000, "bytes_sent": 125_000}
    assert values == {"cpu": 0.25, "receive_rate": 1_800_000.0, "send_rate": 100_000.0}


@pytest.mark.parametrize(
    "after",
    [
        Reading(110.0, 55.0, 420.0, "wlan0", 2000, 900),
        Reading(110.0, 55.0, 420.0, "eth0", 10, 10),
        Reading(110.0, 55.0, 420.0, "", 0, 0),
    ],
)
def test_another_interface_or_a_counter_that_fell_gives_no_rate(after: Reading) -> None:
    counts, values = host.rates(BEFORE, after)
    assert counts == {}
    assert values == {"cpu": 0.25}


def test_the_port_of_the_default_route() -> None:
    place = Vantage("x", "eth0", Medium.CABLE, "", "", "", 100_000_000, "half")
    assert host.port(place) == {"wireless": 0.0, "interface_speed": 1e8, "full_duplex": 0.0}
    assert host.port(place._replace(medium=Medium.WIFI, speed=None, duplex="")) == {"wireless": 1.0}
    assert host.port(place._replace(medium=Medium.MOBILE, speed=None, duplex="")) == {}


def test_battery_and_mains(monkeypatch: pytest.MonkeyPatch) -> None:
    battery = SimpleNamespace(percent=80, power_plugged=False)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert host.power() == {"battery": 0.8, "mains": 0.0}
    battery.power_plugged = None
    assert host.power() == {"battery": 0.8}
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    assert host.power() == {}


def test_the_processors_sensor_is_preferred_and_nonsense_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sensors = {
        "nvme": [SimpleNamespace(current=70.0)],
        "acpitz": [SimpleNamespace(current=30.0)],
        "cpu_thermal": [SimpleNamespace(current=None), SimpleNamespace(current=1000.0), SimpleNamespace(current=51.5)],
    }
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    assert host.temperature() == {"temperature": 51.5}
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    assert host.temperature() == {}

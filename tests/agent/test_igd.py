"""A router's counters over UPnP: the parsers, and a real miniupnpd behind a real gateway."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.igd import BadIgd, IgdCounters, read_control, read_location, read_total
from agent.router_counters import Counters, CountersUnavailable, cross_traffic
from tests.lab.path import Lab, command

SSDP = (
    b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1\r\n"
    b"LOCATION: http://192.168.77.1:5000/rootDesc.xml\r\nBOOTID.UPNP.ORG: 1795241225\r\n\r\n"
)
"""Of miniupnpd 2.3.1, shortened."""
DESCRIPTION = """<root><device><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
<controlURL>/ctl/L3F</controlURL></service></serviceList><deviceList><device><serviceList><service><serviceType>
urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType><controlURL> /ctl/CmnIfCfg </controlURL></service>
</serviceList></device></deviceList></device></root>"""
ANSWER = "<s:Body><u:R><NewTotalBytesReceived>4294967000</NewTotalBytesReceived></u:R></s:Body>"


def test_what_a_router_says_is_read() -> None:
    assert read_location(SSDP) == "http://192.168.77.1:5000/rootDesc.xml"
    assert read_control(DESCRIPTION) == "/ctl/CmnIfCfg"
    assert read_total(ANSWER, "NewTotalBytesReceived") == 4_294_967_000
    assert read_total('<NewTotalBytesSent dt="ui4"> 7 </NewTotalBytesSent>', "NewTotalBytesSent") == 7


@given(st.binary(max_size=400), st.text(max_size=400))
def test_anything_else_is_refused(datagram: bytes, text: str) -> None:
    with pytest.raises(BadIgd):
        read_location(datagram)
    with pytest.raises(BadIgd):
        read_control(text)
    with pytest.raises(BadIgd):
        read_total(text, "NewTotalBytesSent")


def test_address_elsewhere_is_not_followed() -> None:
    counters = IgdCounters("192.168.77.1")
    assert counters._own("http://192.168.77.1:5000/x") == "http://192.168.77.1:5000/x"
    for url in ("http://192.0.2.9/x", "https://192.168.77.1/x", "file:///etc/passwd", "http://192.168.77.1.example/"):
        with pytest.raises(BadIgd, match="expected an address of 192"):
            counters._own(url)


def test_counter_of_32_bits_comes_round() -> None:
    before, after = Counters(2**32 - 1000, 5, 0.0, 2**32), Counters(1000, 5, 1.0, 2**32)
    assert cross_traffic(before, after, 1500, 0) == (4000.0, 0.0)


async def test_no_router_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.igd.PATIENCE", 0.2)
    with pytest.raises(CountersUnavailable, match=r"^127\.0\.0\.1: "):
        await IgdCounters("127.0.0.1", 9).read()
    with pytest.raises(CountersUnavailable, match="expected the gateway's address"):
        await IgdCounters("router.example").read()


@pytest.mark.root
@pytest.mark.tool("miniupnpd")
def test_real_router_counts_what_the_other_machine_moved(tmp_path: Path) -> None:
    with Lab() as lab:
        room, router, beyond = (lab.space(name) for name in ("room", "router", "beyond"))
        lab.cable(room, ["192.168.77.2/24"], router, ["192.168.77.1/24"])
        lab.cable(router, ["45.0.0.5/24"], beyond, ["45.0.0.1/24"])  # miniupnpd insists on a public address outside
        config = tmp_path / "miniupnpd.conf"
        config.write_text(
            "ext_ifname=c1a\nlistening_ip=c0b\nhttp_port=5000\nenable_natpmp=no\nenable_upnp=yes\n"
            "uuid=00000000-0000-0000-0000-000000000001\n"
        )
        process = subprocess.Popen(
            command(router, "miniupnpd", "-d", "-f", str(config), "-P", str(tmp_path / "pid")),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            while "HTTP listening" not in (line := process.stdout.readline()):
                assert line, "miniupnpd ended"
            before = counters_of(lab, room)
            lab.inside(beyond, "ping", "-q", "-c", "50", "-i", "0.002", "-s", "1000", "45.0.0.5")
            after = counters_of(lab, room)
        finally:
            process.kill()
            process.communicate()
    moved = after.received - before.received
    assert 50 * 1028 <= moved < 50 * 1042 + 2000
    assert before.wraps == 2**32


def counters_of(lab: Lab, space: str) -> Counters:
    """Reads inside a namespace."""
    script = (
        "import asyncio, json, sys; from agent.igd import IgdCounters;"
        " print(json.dumps(asyncio.run(IgdCounters('192.168.77.1').read())))"
    )
    return Counters(*json.loads(lab.inside(space, sys.executable, "-c", script)))

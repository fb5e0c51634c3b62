"""What Linux writes about routes, neighbours and interfaces, real and garbled."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.vantage import (
    Medium,
    Port,
    Route,
    Vantage,
    default_routes,
    default_routes6,
    look,
    neighbour,
    port_of,
    salt_of,
    stand,
)

ROUTES = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	0101A8C0	0003	0	0	600	00000000	0	0	0
eth0	00000000	010200C0	0003	0	0	100	00000000	0	0	0
wwan0	00000000	00000000	0001	0	0	700	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
eth1	00000000	010300C0	0203	0	0	0	00000000	0	0	0
eth2	00000000	010400C0	0002	0	0	0	00000000	0	0	0
"""
ANY = "0" * 32
ROUTES6 = f"""{ANY} 00 {ANY} 00 fe80{1:028x} 00000400 00000001 00000000 00000003     eth0
{ANY} 00 {ANY} 00 {ANY} ffffffff 00000001 00000000 00200200       lo
20010db8{0:024x} 40 {ANY} 00 {ANY} 00000100 00000001 00000000 00000001     eth0
"""
ARP = """IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         02:FC:00:00:00:05     *        eth0
192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.1        0x1         0x2         02:fc:00:00:00:99     *        eth1
"""
CABLE = Port(Medium.CABLE, 1_000_000_000, "full", True)
SALT = salt_of("udon-thani", "na-yung")


def test_default_routes_by_metric_without_the_rejected_and_the_down() -> None:
    assert default_routes(ROUTES) == [
        Route("eth0", "192.0.2.1", 100),
        Route("wlan0", "192.168.1.1", 600),
        Route("wwan0", "", 700),
    ]


def test_default_routes_of_ipv6() -> None:
    assert default_routes6(ROUTES6) == [Route("eth0", "fe80::1", 0x400)]


def test_a_neighbour_is_of_its_interface_and_complete() -> None:
    assert neighbour(ARP, "192.0.2.1", "eth0") == "02:fc:00:00:00:05"
    assert neighbour(ARP, "192.0.2.1", "eth1") == "02:fc:00:00:00:99"
    assert neighbour(ARP, "192.0.2.9", "eth0") == ""
    assert neighbour(ARP, "192.0.2.2", "eth0") == ""


def test_media() -> None:
    assert port_of({"type": "1\n", "speed": "1000\n", "duplex": "full\n", "carrier": "1\n"}) == CABLE
    assert port_of({"type": "1\n", "wireless": ""}).medium is Medium.WIFI
    assert port_of({"type": "1\n", "uevent": "DEVTYPE=wlan\nINTERFACE=wlp2s0\n"}).medium is Medium.WIFI
    assert port_of({"type": "65534\n", "uevent": "DEVTYPE=wwan\n"}).medium is Medium.MOBILE
    assert port_of({"type": "512\n"}).medium is Medium.OTHER
    assert port_of({"type": "1\n", "speed": "-1\n", "duplex": "unknown\n"}) == Port(Medium.CABLE, None, "", True)


def test_the_identity_is_the_place_and_not_the_machine() -> None:
    mac = "02:fc:00:00:00:05"
    here = stand(Route("eth0", "192.0.2.1", 0), CABLE, mac, SALT)
    other_notebook = stand(Route("enp3s0", "192.0.2.1", 0), Port(Medium.CABLE, None, "", True), mac, SALT)
    assert here.id == other_notebook.id
    assert len(here.id) == 8
    assert here.id != stand(Route("eth0", "192.0.2.1", 0), CABLE, "02:fc:00:00:00:06", SALT).id
    assert here.id != stand(Route("wlan0", "192.0.2.1", 0), CABLE._replace(medium=Medium.WIFI), mac, SALT).id
    assert here.id != stand(Route("eth0", "192.0.2.1", 0), CABLE, mac, salt_of("udon-thani", "nam-som")).id


def test_addresses_of_the_lan_stay_here() -> None:
    here = stand(Route("eth0", "192.0.2.1", 0), CABLE, "02:fc:00:00:00:05", SALT)
    assert here.facts == {
        "medium": "cable",
        "interface": "eth0",
        "gateway_hash": here.gateway_hash,
        "speed_bits_per_second": "1000000000",
        "duplex": "full",
    }
    assert "192.0.2.1" not in str(here.facts)
    assert "02:fc" not in str(here.facts)


def test_a_neighbour_that_expired_is_the_same_place() -> None:
    route = Route("eth0", "192.0.2.1", 0)
    here = stand(route, CABLE, "02:fc:00:00:00:05", SALT)
    assert stand(route, CABLE, "", SALT, here).id == here.id
    assert stand(route._replace(gateway="192.0.2.2"), CABLE, "", SALT, here).id != here.id


def test_without_a_gateway_the_interface_is_the_place() -> None:
    mobile = stand(Route("wwan0", "", 0), Port(Medium.MOBILE, None, "", True), "", SALT)
    assert mobile.gateway_hash == ""
    assert "gateway_hash" not in mobile.facts


def test_look_reads_the_files(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTES)
    (tmp_path / "arp").write_text(ARP)
    (tmp_path / "eth0").mkdir()
    for name, text in {"type": "1", "speed": "100", "duplex": "half", "uevent": "INTERFACE=eth0"}.items():
        (tmp_path / "eth0" / name).write_text(text + "\n")
    found = look(SALT, None, tmp_path, tmp_path)
    assert found is not None
    assert (found.interface, found.mac, found.speed, found.duplex) == ("eth0", "02:fc:00:00:00:05", 100_000_000, "half")
    (tmp_path / "route").write_text(ROUTES.splitlines()[0] + "\n")
    assert look(SALT, found, tmp_path, tmp_path) is None
    (tmp_path / "ipv6_route").write_text(ROUTES6)
    six = look(SALT, None, tmp_path, tmp_path)
    assert six is not None
    assert six.gateway == "fe80::1"


def test_this_machine_can_be_read() -> None:
    found = look(SALT)
    assert found is None or isinstance(found, Vantage)


lines = st.lists(st.one_of(st.text(max_size=120), st.sampled_from((ROUTES + ROUTES6 + ARP).splitlines())), max_size=8)
garbled = lines.map("\n".join)


@given(garbled)
def test_no_table_is_so_garbled_that_it_breaks_us(text: str) -> None:
    for route in (*default_routes(text), *default_routes6(text)):
        assert route.interface
    assert neighbour(text, "192.0.2.1", "eth0") in ("", "02:fc:00:00:00:05")


@given(
    st.dictionaries(st.sampled_from(["type", "uevent", "speed", "duplex", "carrier", "wireless"]), st.text(max_size=30))
)
def test_no_file_is_so_garbled_that_it_breaks_us(files: dict[str, str]) -> None:
    found = port_of(files)
    assert found.speed is None or 0 < found.speed < 10**15
    assert found.duplex in ("", "full", "half")

"""The province's own truth: who reaches whom, how far away, and what a fault takes away and gives back."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.faults import Truth
from tests.lab.path import command, run
from tests.lab.province import ANCHORS, COLLECTOR, DNS, NoSuchFault, Province

root = pytest.mark.root
needs = pytest.mark.tool("ip", "gcc", "nft", "fping")
FAR = (*ANCHORS, DNS, COLLECTOR)
EVERYTHING = {site: set(FAR) for site in "abc"}
STUN = """
import socket
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(2)
asker.connect(("192.88.99.14", 19302))
asker.send(bytes.fromhex("000100002112a442") + bytes(12))
print(asker.recv(99)[:2].hex())
"""


@pytest.fixture(scope="module")
def province() -> Iterator[Province]:
    """Two sites on one edge and one on another; the agent of the last runs on its router."""
    with Province(["a", "b", "c"], per_edge=2, on_router=["c"]) as made:
        yield made


def reached(province: Province, *addresses: str) -> dict[str, set[str]]:
    """Who of ``addresses`` answers each site's box, all asked at once."""
    asked = {
        site: subprocess.Popen(
            command(place.box, "fping", "-a", "-r", "0", "-t", "300", *addresses),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for site, place in province.sites.items()
    }  # fmt: skip
    return {site: set(one.communicate(timeout=20)[0].split()) for site, one in asked.items()}


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "province" in request.fixturenames:
        request.getfixturevalue("province").heal()


@root
@needs
def test_everybody_reaches_everything_over_the_line(province: Province) -> None:
    assert reached(province, *FAR) == EVERYTHING
    for site in "ac":
        said = run(*command(province.sites[site].box, "ping", "-n", "-c", "10", "-i", "0.05", ANCHORS[0]))
        found = re.search(r"= ([\d.]+)/([\d.]+)/", said)
        assert found, said
        assert float(found[1]) == pytest.approx(20.0, abs=0.3)
        assert f"ttl={61 if site == 'a' else 62}" in said, "router, edge, core; on the router itself one less"


@root
@needs
def test_names_pages_and_stun_answer(province: Province) -> None:
    box = province.sites["a"].box
    page = run(*command(box, "curl", "-sS", "--cacert", str(province.authority), "https://zoom.us/join"))
    assert page == "lab"
    ask = "import socket; print(socket.gethostbyname('stun.l.google.com'))"
    assert run(*command(box, "python3", "-c", ask)).strip() == "192.88.99.14"
    assert run(*command(box, "python3", "-c", STUN)).strip() == "0101"


@root
@needs
@pytest.mark.parametrize(
    ("fault", "site", "lost"),
    [
        ("access", "a", {"a": FAR}),
        ("lan", "a", {"a": FAR}),
        ("edge", "b", {"a": FAR, "b": FAR}),
        ("core", "", {"a": FAR, "b": FAR, "c": FAR}),
        ("internet", "", {"a": ANCHORS, "b": ANCHORS, "c": ANCHORS}),
        ("collector", "", {"a": [COLLECTOR], "b": [COLLECTOR], "c": [COLLECTOR]}),
        ("dns", "a", {}),
        ("udp", "a", {}),
    ],
)
def test_a_fault_takes_what_it_should_and_gives_it_back(
    province: Province, fault: str, site: str, lost: dict[str, tuple[str, ...]]
) -> None:
    province.cut(fault, site)
    province.cut(fault, site)
    assert reached(province, *FAR) == {name: set(FAR) - set(lost.get(name, ())) for name in "abc"}
    (healed,) = province.heal()
    assert (healed.name, healed.site) == (fault, site)
    assert set(province.affected(healed)) == (set(lost) or {site})
    assert healed.width < 500_000, "microseconds"
    assert reached(province, *FAR) == EVERYTHING


@root
@needs
def test_faults_of_one_router_hold_beside_each_other(province: Province) -> None:
    box = province.sites["a"].box
    names = ["python3", "-c", "import socket; socket.gethostbyname('zoom.us')"]
    web = ["curl", "-sk", "-m", "1", "-o", "/dev/null", "https://192.88.99.11/"]

    def works(words: list[str]) -> bool:
        return subprocess.run(command(box, *words), capture_output=True, check=False).returncode == 0

    province.cut("platform", "a")
    province.cut("dns", "a")
    assert not works(web)
    province.heal("platform", "a")
    assert works(web)
    (still,) = province.truth.broken()
    assert still.name == "dns"
    province.heal("dns")
    assert works(names)


@root
@needs
def test_a_line_is_slowed_lossy_and_late_and_itself_again(province: Province) -> None:
    line = province.sites["b"].line
    before = dict(line.shapes)
    province.cut("slow", "b")
    province.cut("delay", "b", delay=0.1)
    assert line.shapes["forward"].rate == 20e6
    assert line.shapes["back"].delay == 0.1
    province.heal("delay")
    province.heal("slow")
    province.cut("lossy", "b")
    assert (line.shapes["back"].loss, line.shapes["back"].rate) == (0.05, 80e6)
    province.heal()
    assert line.shapes == before


@root
@needs
def test_what_cannot_break_is_said(province: Province) -> None:
    with pytest.raises(NoSuchFault, match=r"^found the fault 'lightning' at the site 'a', expected one of access, lan"):
        province.cut("lightning", "a")
    with pytest.raises(NoSuchFault, match=r"at the site 'z'"):
        province.cut("access", "z")
    with pytest.raises(NoSuchFault, match=r"^the agent of c runs on the router itself: it has no cable to pull$"):
        province.cut("cable", "c")
    assert province.truth.broken() == []


@root
@needs
def test_a_province_leaves_nothing_behind() -> None:
    with Province(["z"], pcs=False) as province:
        space = province.sites["z"].box
        pids = run("ip", "netns", "pids", province.dns).split()
        assert pids
    assert space not in run("ip", "netns", "list")
    assert not run("sh", "-c", f"ls /etc/netns | grep {space} || true")
    assert run("sh", "-c", f"ps -o pid= -p {pids[0]} || true").strip() == ""


def test_the_truth_knows_what_is_broken_since_when() -> None:
    truth = Truth()
    truth.begin("access", "a", truth.now())
    truth.begin("core", "", truth.now())
    assert [one.name for one in truth.broken()] == ["access", "core"]
    ended = truth.end("access", "a")
    assert ended.ended is not None
    assert ended.begun <= ended.begun + ended.width <= ended.ended
    assert truth.broken() == truth.faults[1:]
    with pytest.raises(KeyError, match="access of a is not broken"):
        truth.end("access", "a")

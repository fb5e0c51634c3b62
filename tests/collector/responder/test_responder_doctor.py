"""What the doctor says of responders: what they can prove, and whether the one beside the collector can work."""
# ruff: noqa: E501 - messages stand whole, to be read and searched

import asyncio
import datetime as dt
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.findings import Finding
from collector.inventory import Inventory
from collector.inventory import load as load_inventory
from collector.inventory.files import from_texts
from collector.province import example
from collector.responder.beside import wanted
from collector.responder.doctor import examine, proofs, reaches
from collector.responder.keys import ensure_key, key_file
from collector.responder.process import Responder
from collector.settings import Beside, CollectorSettings
from tests.support.prometheus import free_port

DAY = dt.date(2026, 11, 21)
GROUND = """
province: {{id: udon, name: {{th: อุดร}}}}
sites:
  - {{id: hall, name: {{th: ก}}}}
  - id: phen
    name: {{th: ข}}
    links:
      - {{id: fibre, circuit: "1", provider: NT, contracts: [{{from: 2018-04-01, download_mbps: 200, upload_mbps: 80, layer: {layer}}}]}}
responders: [{responders}]
"""


def made(responders: str = "", layer: str = "ip") -> Inventory:
    return from_texts({"a.yaml": GROUND.format(responders=responders, layer=layer)})


def told(inventory: Inventory) -> list[str]:
    found = proofs(inventory, DAY)
    assert {one.what for one in found} == {"what responders prove"}
    assert all(one.ok for one in found)
    return [one.words for one in found]


def test_a_hall_behind_its_own_line_proves_upload_alone() -> None:
    assert told(made("{id: hall, site: hall, sends_mbps: 80, takes_mbps: 200}")) == [
        "download of 200 Mbit/s of phen fibre: hall has only 80 Mbit/s, so a result shows at least that much and is otherwise inconclusive: responder; one with more, best at the provider's core, would prove it",
        "upload of 80 Mbit/s of phen fibre: hall proves it",
    ]


def test_the_one_that_reaches_furthest_counts() -> None:
    two = (
        "{id: hall, site: hall, sends_mbps: 80, takes_mbps: 200}, {id: core, host: c, sends_mbps: 200, takes_mbps: 90}"
    )
    assert [(one.direction, one.by, one.best, one.proves) for one in reaches(made(two), DAY)] == [
        ("down", "core", 200, True),
        ("up", "hall", 200, True),
    ]


@pytest.mark.parametrize(("layer", "needed"), [("ip", 200.0), ("tcp", 207.18), ("ethernet", 197.63)])
def test_a_contract_counts_at_its_layer(layer: str, needed: float) -> None:
    down, _ = reaches(made("{id: core, host: c, sends_mbps: 200, takes_mbps: 200}", layer), DAY)
    assert down.needed == pytest.approx(needed, abs=0.01)
    assert down.proves == (needed <= 200)


def test_without_a_responder_or_a_contract_it_says_so() -> None:
    none = "none; no responder stands beyond the line: put one at the provider's core"
    assert told(made()) == [
        f"download of 200 Mbit/s of phen fibre: {none}",
        f"upload of 80 Mbit/s of phen fibre: {none}",
    ]
    assert [one.words for one in proofs(made(), dt.date(2017, 1, 1))] == [
        "no link has a contract in force: there is nothing to prove"
    ]


def test_links_that_are_alike_stand_in_one_line() -> None:
    lines = told(load_inventory(example()))
    assert len(lines) == 4
    assert (
        "download of 200 Mbit/s of 20 links (mueang-udon-thani fibre, …, prachaksinlapakhom fibre): hall has"
        in lines[2]
    )


async def checks(settings: CollectorSettings, **ports: Any) -> dict[str, Finding]:
    inventory = made("{id: hall, site: hall, sends_mbps: 80, takes_mbps: 200}")
    hall = msgspec.structs.replace(inventory.responders["hall"], **ports)
    inventory = msgspec.structs.replace(inventory, responders={"hall": hall})
    return {one.what: one for one in await examine(settings, inventory, DAY) if one.what != "what responders prove"}


def free() -> dict[str, int]:
    return {"tcp_port": free_port(), "udp_port": free_port(), "stamp_port": free_port()}


async def test_before_the_first_start_all_is_fine(tmp_path: Path) -> None:
    ports = free()
    found = await checks(CollectorSettings(data=str(tmp_path)), **ports)
    file = key_file(tmp_path, "hall")
    assert found == {
        "responder key": Finding("responder key", True, f"{file}: not there yet, will be made"),
        "responder address": Finding(
            "responder address",
            True,
            f"hall on 127.0.0.1, ports {ports['tcp_port']}/tcp, {ports['udp_port']}/udp, {ports['stamp_port']}/udp",
        ),
        "responder": Finding("responder", True, "hall does not run; its ports are free (serve starts it)"),
    }


async def test_one_that_runs_answers(tmp_path: Path) -> None:
    settings, ports = CollectorSettings(data=str(tmp_path)), free()
    await asyncio.to_thread(ensure_key, key_file(tmp_path, "hall"))
    beside = wanted(settings, made("{id: hall, sends_mbps: 80, takes_mbps: 200}"))
    assert beside is not None
    async with Responder(msgspec.structs.replace(beside, **ports)):
        found = await checks(settings, **ports)
    assert found["responder"] == Finding("responder", True, f"hall answers at 127.0.0.1 port {ports['tcp_port']}/tcp")
    assert found["responder key"] == Finding("responder key", True, str(key_file(tmp_path, "hall")))


async def test_another_program_on_its_ports_is_told(tmp_path: Path) -> None:
    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    settings, ports = CollectorSettings(data=str(tmp_path)), free()
    server = await asyncio.start_server(other, "127.0.0.1", ports["tcp_port"])
    async with server:
        found = await checks(settings, **ports)
    words = f"127.0.0.1 port {ports['tcp_port']}/tcp: another program answers there; stop it or change tcp_port"
    assert found["responder"] == Finding("responder", False, words)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = await checks(settings, **(free() | {"stamp_port": port}))
    words = f"127.0.0.1 port {port} (stamp_port of hall): Address already in use; ss -lnp shows who has it"
    assert found["responder"] == Finding("responder", False, words)


async def test_a_bad_key_and_an_address_that_no_district_reaches_are_told(tmp_path: Path) -> None:
    file = key_file(tmp_path, "hall")
    await asyncio.to_thread(ensure_key, file)
    await asyncio.to_thread(file.chmod, 0o644)
    settings = CollectorSettings(data=str(tmp_path), behind_tls_proxy=True, public_url="https://phrom.example")
    found = await checks(settings, **free())
    assert found["responder key"].words == f"{file}: others may read it (mode 0644); chmod 600 {file}"
    assert not found["responder key"].ok
    assert not found["responder address"].ok
    assert found["responder address"].words.endswith("no district reaches loopback; set responder: {bind: 0.0.0.0}")
    opened = msgspec.structs.replace(settings, responder=Beside(bind="0.0.0.0"))
    assert (await checks(opened, **free()))["responder address"].ok


async def test_where_none_is_started_it_says_why() -> None:
    found = await checks(CollectorSettings(responder=Beside(start=False)))
    assert found["responder"].words == "none beside this collector: responder.start is no"
    away = await examine(CollectorSettings(), made("{id: core, host: c, sends_mbps: 1, takes_mbps: 1}"), DAY)
    assert away[0].words == "none beside this collector: the inventory has none without a host"
    file = key_file(Path("/var/lib/phrom"), "core")
    assert away[1].words == f"core at c: serve will make its key, {file}; it needs a copy of it"

"""What the doctor says of responders: whether the one beside the collector can work and does, and, for every link, what
its responders can prove. The second is pure."""

import asyncio
import datetime as dt
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from collector.findings import Finding
from collector.gate import is_loopback
from collector.inventory import Inventory
from collector.inventory.files import contract_on
from collector.inventory.link_assignments import responders_of
from collector.inventory.link_measuring import ResponderPlace
from collector.inventory.model import Contract
from collector.responder.beside import wanted
from collector.responder.keys import BadKey, key_file, read_key
from collector.responder.settings import ResponderSettings
from collector.settings import CollectorSettings, is_any
from collector.slots.rules import AT_IP
from wire.throughput import MAGIC

ANSWER_WITHIN = 3.0
_ARTICLE = {"down": "download", "up": "upload"}


class Reach(NamedTuple):
    """How far the responders of a link reach in one direction: Mbit/s at the IP layer."""

    place: str
    direction: str
    needed: float
    best: float
    by: str
    """The responder that reaches furthest; empty where the site has none."""

    @property
    def proves(self) -> bool:
        """Whether it can show that the link delivers what was agreed."""
        return self.best >= self.needed


def reaches(inventory: Inventory, day: dt.date) -> list[Reach]:
    """Of every link with a contract in force on that day, both directions."""
    found: list[Reach] = []
    for site in inventory.sites.values():
        fitting = responders_of(inventory, site.id)
        for link in site.links:
            contract = contract_on(link, day)
            if contract is not None:
                found += _of_link(f"{site.id} {link.id}", contract, fitting)
    return found


def _of_link(place: str, contract: Contract, fitting: list[ResponderPlace]) -> Iterator[Reach]:
    factor = AT_IP[contract.layer]
    for direction, agreed in (("down", contract.download_mbps), ("up", contract.upload_mbps)):
        able = [(one.sends_mbps if direction == "down" else one.takes_mbps, one.id) for one in fitting]
        best, by = max(able, default=(0.0, ""), key=lambda one: one[0])
        yield Reach(place, direction, agreed * factor, best, by)


def proofs(inventory: Inventory, day: dt.date) -> list[Finding]:
    """What responders can prove, in a line each for links that are alike."""
    what = "what responders prove"
    groups: dict[tuple[str, float, float, str], list[str]] = {}
    for one in reaches(inventory, day):
        groups.setdefault((one.direction, round(one.needed, 1), one.best, one.by), []).append(one.place)
    if not groups:
        return [Finding(what, True, "no link has a contract in force: there is nothing to prove")]
    found = []
    for (direction, needed, best, by), places in groups.items():
        links = f"{places[0]}" if len(places) == 1 else f"{len(places)} links ({places[0]}, …, {places[-1]})"
        of = f"{_ARTICLE[direction]} of {needed:g} Mbit/s of {links}"
        if not by:
            words = f"{of}: none; no responder stands beyond the line: put one at the provider's core"
        elif best >= needed:
            words = f"{of}: {by} proves it"
        else:
            words = (
                f"{of}: {by} has only {best:g} Mbit/s, so a result shows at least that much and is otherwise "
                "inconclusive: responder; one with more, best at the provider's core, would prove it"
            )
        found.append(Finding(what, True, words))
    return found


async def examine(settings: CollectorSettings, inventory: Inventory, day: dt.date) -> list[Finding]:
    """Every check of responders."""
    beside = wanted(settings, inventory)
    found = [*await asyncio.to_thread(_elsewhere, settings, inventory), *proofs(inventory, day)]
    if beside is None:
        why = "the inventory has none without a host" if settings.responder.start else "responder.start is no"
        return [Finding("responder", True, f"none beside this collector: {why}"), *found]
    checks = [await asyncio.to_thread(_key, beside), _reachable(settings, beside), await _answers(beside)]
    return [*checks, *found]


def _key(beside: ResponderSettings) -> Finding:
    what, file = "responder key", Path(beside.key_file)
    if not file.exists():
        return Finding(what, True, f"{file}: not there yet, will be made")
    try:
        read_key(file)
    except BadKey as bad:
        return Finding(what, False, str(bad))
    return Finding(what, True, str(file))


def _elsewhere(settings: CollectorSettings, inventory: Inventory) -> list[Finding]:
    """Responders on other machines: each needs a copy of its key."""
    found = []
    for place in inventory.responders.values():
        if place.host:
            file = key_file(Path(settings.data), place.id)
            words = f"{place.id} at {place.host}: "
            words += f"its key is {file}" if file.exists() else f"serve will make its key, {file}"
            found.append(Finding("responder elsewhere", True, f"{words}; it needs a copy of it"))
    return found


def _reachable(settings: CollectorSettings, beside: ResponderSettings) -> Finding:
    what = "responder address"
    words = f"{beside.id} on {beside.bind}, ports {beside.tcp_port}/tcp, {beside.udp_port}/udp, {beside.stamp_port}/udp"
    if is_loopback(beside.bind) and settings.public_url and not is_loopback(_host(settings)):
        return Finding(what, False, f"{words}: no district reaches loopback; set responder: {{bind: 0.0.0.0}}")
    return Finding(what, True, words)


def _host(settings: CollectorSettings) -> str:
    host = urlsplit(settings.public_url).hostname or ""
    return "127.0.0.1" if host == "localhost" else host


async def _answers(beside: ResponderSettings) -> Finding:
    """Either it greets on its TCP port, or its ports are free for it."""
    host = "127.0.0.1" if is_any(beside.bind) else beside.bind
    place = f"{host} port {beside.tcp_port}/tcp"
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            reader, writer = await asyncio.open_connection(host, beside.tcp_port)
            try:
                greeted = await reader.read(64)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return await asyncio.to_thread(_free, beside)
    if not greeted.startswith(MAGIC):
        return Finding("responder", False, f"{place}: another program answers there; stop it or change tcp_port")
    return Finding("responder", True, f"{beside.id} answers at {place}")


def _free(beside: ResponderSettings) -> Finding:
    family = socket.AF_INET6 if ":" in beside.bind else socket.AF_INET
    ports = {"tcp_port": (socket.SOCK_STREAM, beside.tcp_port)}
    ports |= {name: (socket.SOCK_DGRAM, getattr(beside, name)) for name in ("udp_port", "stamp_port")}
    for name, (kind, port) in ports.items():
        with socket.socket(family, kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((beside.bind, port))
            except OSError as error:
                words = f"{beside.bind} port {port} ({name} of {beside.id}): {error.strerror}; ss -lnp shows who has it"
                return Finding("responder", False, words)
    return Finding("responder", True, f"{beside.id} does not run; its ports are free (serve starts it)")

"""What answers beyond the lab's provider; run inside its namespaces by :mod:`tests.lab.province`.

    python -m tests.lab.internet FOLDER dns|platforms

``dns`` knows the names of the example inventory. ``platforms`` listens on TCP 80 and 443 of all addresses with a page,
and on UDP 19302 and 3478 with STUN; its certificates are signed by an authority that it writes into FOLDER.
"""

import asyncio
import ipaddress
import os
import signal
import ssl
import sys
from collections.abc import Iterable
from pathlib import Path

import dns.message
from aiohttp import web

from agent.probes.stun.codec import Attribute, Endpoint, Kind, MalformedStun, Message, decode, encode, xor_mapped
from tests.lab.province import DNS, PLATFORMS
from tests.support import certificates
from tests.support.datagramserver import datagram_server
from tests.support.dnsserver import code, records

BINDING = 1
ROOT_SERVER = "a.root-servers.net"
STUN_PORTS = (19302, 3478)


def name_answer(data: bytes, _peer: tuple[str, int]) -> Iterable[bytes]:
    """The answer to a query; nothing to what is none."""
    try:
        query = dns.message.from_wire(data)
        question = query.question[0]
    except (dns.exception.DNSException, IndexError):
        return
    address = {**PLATFORMS, ROOT_SERVER: "198.41.0.4"}.get(question.name.to_text(omit_final_dot=True).lower())
    if address is None:
        yield code(query, "NXDOMAIN").to_wire()
    elif question.rdtype == dns.rdatatype.A:
        yield records(query, "A", address).to_wire()
    else:
        yield dns.message.make_response(query).to_wire()


def stun_answer(data: bytes, peer: tuple[str, int]) -> Iterable[bytes]:
    """The address that a binding request came from (RFC 8489); nothing to anything else."""
    try:
        asked = decode(data)
    except MalformedStun:
        return
    if asked.kind is Kind.REQUEST and asked.method == BINDING:
        value = xor_mapped(Endpoint(ipaddress.ip_address(peer[0]), peer[1]), asked.transaction)
        answer = Message(Kind.SUCCESS, BINDING, asked.transaction, ((Attribute.XOR_MAPPED_ADDRESS, value),))
        yield encode(answer, fingerprint=True)


async def _page(_request: web.BaseRequest) -> web.Response:
    return web.Response(text="lab")


def _contexts(folder: Path) -> ssl.SSLContext:
    root = certificates.authority("Lab root")
    file = folder / "platforms-ca.pem"
    file.with_suffix(".new").write_bytes(root.pem)
    file.with_suffix(".new").replace(file)
    return certificates.server_context(folder, certificates.leaf(root, *PLATFORMS, ends=30), root)


async def serve(folder: Path, what: str) -> None:
    """Until SIGTERM, or until whoever started it is gone."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if what == "dns":
        async with datagram_server(name_answer, DNS, 53):
            await _until(stop)
        return
    secure = await asyncio.to_thread(_contexts, folder)
    runner = web.ServerRunner(web.Server(_page), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", 80).start()
        await web.TCPSite(runner, "0.0.0.0", 443, ssl_context=secure).start()
        address = PLATFORMS["stun.l.google.com"]  # an answer must leave by the address that was asked
        async with (
            datagram_server(stun_answer, address, STUN_PORTS[0]),
            datagram_server(stun_answer, address, STUN_PORTS[1]),
        ):
            await _until(stop)
    finally:
        await runner.cleanup()


async def _until(stop: asyncio.Event) -> None:
    parent = os.getppid()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not stop.is_set() and os.getppid() == parent:
        try:
            async with asyncio.timeout(2.0):
                await stop.wait()
        except TimeoutError:
            continue


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))

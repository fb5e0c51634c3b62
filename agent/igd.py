"""A router's counters over UPnP: WANCommonInterfaceConfig:1 of an Internet Gateway Device (UPnP Forum, 2001).

Most ONTs of providers answer it on the local network without any setting. Asked is the gateway alone, never the whole
network, and what it names as its own must be on itself.
"""

import asyncio
import re
import socket
import time
from urllib.parse import urljoin, urlsplit

import aiohttp

from agent.addresses import literal
from agent.datagrams import NoAnswer, doubling, exchange
from agent.router_counters import Counters, CountersUnavailable

SSDP_PORT = 1900
PATIENCE = 3.0
LARGEST = 256 * 1024
"""Bytes of a description; those of real routers have some 4 kB."""
WRAP = 2**32
"""The counters have 32 bits (ui4): at 200 Mbit/s they begin anew every 172 s."""
SERVICE = "urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1"
_SEARCH = 'M-SEARCH * HTTP/1.1\r\nHOST: {host}:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: ' + SERVICE + "\r\n\r\n"
_CALL = (
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="' + SERVICE + '"/></s:Body></s:Envelope>'
)
_LOCATION = re.compile(rb"^location:[ \t]*(\S{1,500})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_SERVICE_BLOCK = re.compile(r"<service>(.{0,4000}?)</service>", re.DOTALL)
_CONTROL = re.compile(r"<controlURL>\s*([^<\s]{1,500})\s*</controlURL>")


class BadIgd(ValueError):
    """The router's answer is not what UPnP says."""


def read_location(datagram: bytes) -> str:
    """The address of the description out of an SSDP answer; raises :class:`BadIgd`."""
    found = _LOCATION.search(datagram)
    if not datagram.startswith(b"HTTP/1.1 200") or found is None:
        raise BadIgd("found no LOCATION, expected an answer to M-SEARCH")
    return found[1].decode("latin-1")


def read_control(description: str) -> str:
    """Where the service is controlled, relative to the description; raises :class:`BadIgd`."""
    for block in _SERVICE_BLOCK.findall(description):
        if SERVICE in block and (found := _CONTROL.search(block)):
            return found[1]
    raise BadIgd("found no WANCommonInterfaceConfig with a controlURL in the router's description")


def read_total(answer: str, name: str) -> int:
    """A counter out of a SOAP answer, 0 to 2^32 − 1 (some routers count on beyond); raises :class:`BadIgd`."""
    found = re.search(rf"<{name}[^>]{{0,200}}>\s*(\d{{1,20}})\s*</", answer)
    if found is None:
        raise BadIgd(f"found no {name}, expected a number")
    return int(found[1])


class IgdCounters:
    """The counters of the gateway at ``host``, an address."""

    def __init__(self, host: str, port: int = SSDP_PORT) -> None:
        self._host, self._port = host, port
        self._control: str | None = None

    async def read(self) -> Counters:
        """As :class:`agent.router_counters.RouterCounters` says. Where it is controlled is looked for once."""
        try:
            async with asyncio.timeout(2 * PATIENCE), _session() as session:
                if self._control is None:
                    self._control = await self._find(session)
                received = await self._total(session, self._control, "Received")
                at = time.monotonic()
                sent = await self._total(session, self._control, "Sent")
        except NoAnswer as silent:
            raise CountersUnavailable(
                f"{self._host}: found no UPnP answer, expected one; switch UPnP on at the router, or set snmp"
            ) from silent
        except (BadIgd, aiohttp.ClientError, OSError, TimeoutError) as trouble:
            self._control = None
            raise CountersUnavailable(f"{self._host}: {trouble or type(trouble).__name__}") from trouble
        return Counters(received, sent, at, WRAP)

    async def _find(self, session: aiohttp.ClientSession) -> str:
        address = literal(self._host, self._port)
        if address is None:
            raise BadIgd(f"found {self._host!r}, expected the gateway's address")
        words = _SEARCH.format(host=self._host).encode()
        reply = await exchange(address, lambda *_: words, doubling(0.5, 3), PATIENCE, read_location, BadIgd)
        description = self._own(reply.value)
        async with session.get(description, allow_redirects=False) as answer:
            control = read_control(await _text(answer))
        return self._own(urljoin(description, control))

    def _own(self, url: str) -> str:
        """The address if it is the gateway's own: nobody sends us elsewhere."""
        parts = urlsplit(url)
        if parts.scheme != "http" or (parts.hostname or "") != self._host.partition("%")[0]:
            raise BadIgd(f"found {url[:200]!r}, expected an address of {self._host} itself")
        return url

    async def _total(self, session: aiohttp.ClientSession, control: str, way: str) -> int:
        action = f"GetTotalBytes{way}"
        headers = {"SOAPAction": f'"{SERVICE}#{action}"', "Content-Type": 'text/xml; charset="utf-8"'}
        call = _CALL.format(action=action).encode()
        async with session.post(control, data=call, headers=headers, allow_redirects=False) as answer:
            return read_total(await _text(answer), f"NewTotalBytes{way}")


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(family=socket.AF_UNSPEC, force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(PATIENCE), trust_env=False)


async def _text(answer: aiohttp.ClientResponse) -> str:
    if answer.status != 200:
        raise BadIgd(f"found status {answer.status}, expected 200")
    body = await answer.content.read(LARGEST)
    while not answer.content.at_eof() and len(body) < LARGEST:
        body += await answer.content.read(LARGEST - len(body))
    return body.decode("utf-8", "replace")

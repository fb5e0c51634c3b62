"""Asks name servers in turn and judges what they say: the work behind the ``dns`` probe."""

import asyncio
import ipaddress
import os
import socket
import time
from typing import Any, NamedTuple

import dns.exception
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import msgspec

from agent import addresses
from agent.addresses import Address
from agent.datagrams import NoAnswer
from agent.neterrors import Unresolved, finding_of, without_ipv6
from agent.probe import Finding, error, failed, ok, skipped
from agent.probes.dns import Dns
from agent.probes.dns.query import WITHIN, Answer, Malformed, ask, question
from agent.probes.dns.servers import is_public_name, parse_networks, parse_server, read_system
from wire.histogram import Histogram
from wire.reasons import Outcome, Reason

HIJACK_ZONE = "example.com"
"""A real zone that IANA keeps for such use (RFC 2606), without a wildcard: no other name in it exists."""
HIJACK_KEPT = 600.0
"""Seconds for which the check of a server holds, for all names: one more question in ten minutes."""
SHARE = 0.85


class _Said(NamedTuple):
    """What a server said in the end."""

    server: Address
    answer: Answer
    attempts: int
    failures: tuple[str, ...]


class _Silent(Exception):
    """No server gave an answer; ``finding`` says how."""

    def __init__(self, finding: Finding) -> None:
        super().__init__("no name server answered")
        self.finding = finding


class Inquirer:
    """Asks and judges; remembers for a while which servers were caught lying."""

    def __init__(self) -> None:
        self._hijack: dict[Address, tuple[float, str | None]] = {}

    async def measure(self, settings: Dns.Settings, limit: float) -> Finding:
        """One question and, every ten minutes, one for a name that cannot exist."""
        ends = time.monotonic() + limit * SHARE
        try:
            servers = [parse_server(settings.server)] if settings.server else await asyncio.to_thread(read_system)
            question(settings.name, settings.type)
        except Unresolved as problem:
            return finding_of(problem)
        except dns.exception.DNSException as problem:
            return error(Reason.BAD_TARGET, facts={"detail": str(problem)[:200], "remedy": "correct the name"})
        try:
            said = await _ask_all(servers, settings, ends)
        except _Silent as silence:
            return silence.finding
        found = _judge(said, settings)
        left = ends - time.monotonic()
        lie = None
        if settings.hijack_check and found.outcome is Outcome.OK and left > 0:
            lie = await self._lies(said.server, left)
        if lie is None:
            return found
        return msgspec.structs.replace(
            found, outcome=Outcome.FAILED, reason=Reason.NAME_HIJACKED, facts={**found.facts, "hijack": lie}
        )

    async def _lies(self, server: Address, left: float) -> str | None:
        """Whether the server invents addresses for a name that cannot exist; silence here proves nothing."""
        now = time.monotonic()
        at, said = self._hijack.get(server, (-HIJACK_KEPT, None))
        if now - at < HIJACK_KEPT:
            return said
        name = f"phrom-{os.urandom(6).hex()}.{HIJACK_ZONE}"
        try:
            answer = await ask(server, name, "A", min(1.0, left / WITHIN / 2))
        except (NoAnswer, OSError, Malformed):
            return said
        records = _records(answer.message, "A")
        said = f"a name that does not exist was given {_shown(records)}" if records else None
        self._hijack[server] = (now, said)
        return said


async def _ask_all(servers: list[Address], settings: Dns.Settings, ends: float) -> _Said:
    """The first server that gives an answer other than a failure; otherwise the last failure, else :class:`_Silent`."""
    attempts = 0
    failures: list[str] = []
    problems: list[Finding] = []
    last: _Said | None = None
    for position, server in enumerate(servers):
        patience = min(1.0, (ends - time.monotonic()) / (len(servers) - position) / WITHIN)
        if patience <= 0:
            break
        try:
            answer = await ask(server, settings.name, settings.type, patience)
        except NoAnswer as silence:
            attempts += silence.sent
            reason = Reason.MALFORMED_ANSWER if silence.garbage else Reason.NAME_SERVER_SILENT
            detail = {"detail": str(silence.garbage)[:200]} if silence.garbage else {}
            problems.append(failed(reason, facts=detail))
        except Malformed as problem:
            problems.append(failed(Reason.MALFORMED_ANSWER, facts={"detail": str(problem)[:200]}))
        except OSError as problem:
            if not (server.family == socket.AF_INET6 and without_ipv6(problem) and len(servers) > 1):
                problems.append(finding_of(problem))
        else:
            attempts += answer.sent
            last = _Said(server, answer, attempts, tuple(failures))
            if answer.message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return last
            problems.append(failed(Reason.NAME_SERVER_FAILED))
        failures.append(str(problems[-1].reason) if problems else "no IPv6 here")
    if last is not None:
        return last._replace(failures=tuple(failures[:-1]))
    finding = problems[0] if problems else skipped(Reason.NO_IPV6)
    raise _Silent(msgspec.structs.replace(finding, counts={"attempts": attempts}))


def _judge(said: _Said, settings: Dns.Settings) -> Finding:
    message = said.answer.message
    records = _records(message, settings.type)
    facts = {"server": said.server.text if addresses.is_public(said.server.text) else "private"}
    if said.failures:
        facts["failed_before"] = " ".join(said.failures)
    if said.answer.by_tcp:
        facts["transport"] = "tcp"
    found: dict[str, Any] = {
        "counts": {"attempts": said.attempts, "answers": len(records)},
        "durations": {"lookup": Histogram.of([said.answer.took])},
        "facts": facts,
    }
    refusal = _refusal(message.rcode())
    if refusal is not None:
        facts["rcode"] = dns.rcode.to_text(message.rcode())
        return failed(refusal, **found)
    if not records:
        if settings.type == "AAAA":
            return skipped(Reason.NO_IPV6, **found)
        facts["detail"] = f"the name exists, but has no {settings.type} record"
        return failed(Reason.NAME_NOT_FOUND, **found)
    facts["answer"] = _shown(records)
    return _honest(records, settings, found)


def _honest(records: list[str], settings: Dns.Settings, found: dict[str, Any]) -> Finding:
    """Compares addresses with what is expected, and looks for private ones under a public name."""
    facts = found["facts"]
    if settings.expect:
        wrong = _unexpected(records, settings.expect)
        if not wrong:
            return ok(**found)
        facts["detail"] = f"found {_shown(wrong)}, expected {', '.join(settings.expect)}"[:300]
        return failed(Reason.NAME_WRONG, **found)
    if settings.type != "SRV" and is_public_name(settings.name):
        private = [one for one in records if not addresses.is_public(one)]
        if private:
            facts["detail"] = "a private address for a public name; if that is meant, list it under expect"
            return failed(Reason.NAME_HIJACKED, **found)
    return ok(**found)


def _unexpected(records: list[str], expect: list[str]) -> list[str]:
    networks = parse_networks(expect)
    if networks is None:
        names = {one.rstrip(".").casefold() for one in expect}
        return [one for one in records if one.rpartition(":")[0].rstrip(".").casefold() not in names]
    return [one for one in records if not any(_lies_in(one, network) for network in networks)]


def _lies_in(text: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(text) in network
    except ValueError:
        return False


def _records(message: dns.message.Message, kind: str) -> list[str]:
    """Addresses, or ``host:port`` of SRV, that the answer section holds behind any aliases; sorted."""
    wanted = dns.rdatatype.from_text(kind)
    found = [
        record
        for group in message.answer
        if group.rdtype == wanted and group.rdclass == dns.rdataclass.IN  # other classes have no address in them
        for record in group
    ]
    if kind == "SRV":
        return sorted(f"{record.target.to_text()}:{record.port}" for record in found)
    return sorted(record.address for record in found)


def _refusal(rcode: dns.rcode.Rcode) -> Reason | None:
    codes = dns.rcode
    reasons = {codes.NOERROR: None, codes.NXDOMAIN: Reason.NAME_NOT_FOUND, codes.REFUSED: Reason.NAME_SERVER_REFUSED}
    return reasons.get(rcode, Reason.NAME_SERVER_FAILED)


def _shown(records: list[str]) -> str:
    """Records for people; a private address stays in the building."""
    return ", ".join(sorted({_public(one) for one in records}))[:300]


def _public(record: str) -> str:
    try:
        address = ipaddress.ip_address(record)
    except ValueError:
        return record  # a host name and port, of SRV
    return record if address.is_global else "private"

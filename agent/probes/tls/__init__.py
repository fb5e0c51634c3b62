"""Whether a server's certificate is good, when it expires, and if it is refused, why."""

import asyncio
import datetime
import hashlib
import ssl
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent import addresses, trust
from agent.addresses import Connected, Host, Port
from agent.neterrors import Unresolved, finding_of, no_ipv6, without_ipv6
from agent.probe import Finding, Span, Target, failed, ok, probe, skipped
from agent.probes.tls.handshake import chain_of, shake
from agent.probes.tls.inspection import Issuers, product
from agent.sites import site_of
from wire.histogram import Histogram
from wire.meetings import Load
from wire.reasons import Reason

RELEASED = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC).timestamp()
"""No right clock shows a time before this code was written."""
SHARE = 0.8
"""How much of the limit both handshakes may take together."""
GOOD_FOR = 900.0
"""Seconds for which one good certificate vouches for this machine's clock: three rounds."""
OUT_OF_TIME = frozenset({Reason.TLS_EXPIRED, Reason.TLS_NOT_YET_VALID})


@probe(
    "tls",
    every=300.0,
    limit=12.0,
    load=Load.TRICKLE,
    costs="about 5 kB a handshake; a refused certificate costs a second one",
    watches=("fingerprint",),
)
class Tls:
    """Verifies a server's certificate with the system's roots: expiry, chain, name, an inspecting proxy."""

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """Whom to ask, and for which name."""

        host: Host
        port: Port = 443
        server_name: Annotated[
            str, Meta(max_length=253, description="name to send (SNI) and verify; empty = the host")
        ] = ""

    def __init__(
        self,
        contexts: trust.Contexts = trust.SYSTEM,
        now: Callable[[], float] = time.time,
        is_public: Callable[[str], bool] = addresses.is_public,
    ) -> None:
        self._contexts = contexts
        self._unverified = trust.Contexts(trust.unverified_context)
        self._now = now
        self._is_public = is_public
        self._issuers = Issuers()
        self._out_of_time: set[str] = set()
        self._good_at = -GOOD_FOR

    async def measure(self, target: Target, span: Span) -> Finding:
        """One verified handshake; after a refusal a second one that verifies nothing, to read the certificates."""
        settings: Tls.Settings = target.settings
        name = settings.server_name or settings.host.strip("[]")
        durations: dict[str, Histogram] = {}
        facts: dict[str, str] = {}
        only_ipv6 = False
        try:
            async with asyncio.timeout(span.limit * SHARE):
                resolved = await addresses.resolve(settings.host, settings.port, span.limit * SHARE / 2)
                if resolved.took is not None:
                    durations["lookup"] = Histogram.of([resolved.took])
                only_ipv6 = all(one.family_name == "ipv6" for one in resolved.addresses)
                connected = await addresses.connect(resolved.addresses, span.limit * SHARE / 2)
                durations["connect"] = Histogram.of([connected.took])
                facts.update(connected.address.facts, stage="handshake")
                try:
                    return await self._verify(connected, name, durations)
                except ssl.SSLCertVerificationError as refusal:
                    return await self._explain(refusal, connected, name, durations)
        except ssl.SSLError as problem:
            facts["detail"] = trust.detail_of(problem)[:200]
            return failed(Reason.TLS_HANDSHAKE, durations=durations, facts=facts)
        except (Unresolved, OSError) as problem:
            if only_ipv6 and without_ipv6(problem):
                return no_ipv6(durations=durations)
            return finding_of(problem, durations=durations, facts=facts)

    async def _verify(self, connected: Connected, name: str, durations: dict[str, Histogram]) -> Finding:
        context = await self._contexts.get()
        started = time.perf_counter_ns()
        with connected.sock as sock:
            tls = await shake(sock, context, name)
        durations["handshake"] = Histogram.of([time.perf_counter_ns() - started])
        self._issuers.verified(name)
        self._out_of_time.clear()
        self._good_at = time.monotonic()
        certificate: dict[str, Any] = dict(tls.getpeercert() or {})
        issuer = _line(certificate.get("issuer", ()))
        facts = {
            **connected.address.facts,
            "issuer": issuer,
            "subject": _line(certificate.get("subject", ())),
            "fingerprint": hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest(),
            "protocol": tls.version() or "",
        }
        found = product(issuer)
        if found:  # its root was put among this machine's: a browser is content, an app that pins is not
            facts["inspection"] = found
        expires = ssl.cert_time_to_seconds(certificate["notAfter"])
        return ok(durations=durations, values={"certificate_expiry": expires - self._now()}, facts=facts)

    async def _explain(
        self, refusal: ssl.SSLCertVerificationError, first: Connected, name: str, durations: dict[str, Histogram]
    ) -> Finding:
        verdict = trust.reason_of(refusal)
        now = self._now()
        facts = {**first.address.facts, "detail": trust.detail_of(refusal)[:200]}
        values: dict[str, float] = {}
        try:
            chain = await self._read_chain(first, name)
        except OSError as problem:
            facts["unexplained"] = f"the second connection failed: {problem}"[:200]
            chain = []
        if chain:
            explained = await asyncio.to_thread(_explained, chain, name, now, verdict)
            verdict = explained.reason
            facts = {**facts, **explained.facts}
            if explained.expires is not None:
                values["certificate_expiry"] = explained.expires - now
            if verdict is Reason.TLS_UNTRUSTED and self._is_public(first.address.text):
                sites = self._issuers.refused(explained.issuer, name)
                if sites > 1:
                    verdict = Reason.TLS_INSPECTED
                    facts["inspection"] = f"one private issuer signs for {sites} sites"
        found = {"durations": durations, "values": values, "facts": facts}
        if verdict in OUT_OF_TIME:
            return self._doubt_the_clock(verdict, name, now, found)
        return failed(verdict, **found)

    async def _read_chain(self, first: Connected, name: str) -> list[bytes]:
        again = await addresses.connect([first.address], 5.0)
        with again.sock as sock:
            return chain_of(await shake(sock, await self._unverified.get(), name))

    def _doubt_the_clock(self, verdict: Reason, name: str, now: float, found: dict[str, Any]) -> Finding:
        """Out of time by our clock, which may be the one that is wrong: then nothing is known about the server."""
        facts = found["facts"]
        facts["clock"] = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._out_of_time.add(site_of(name))
        if now < RELEASED:
            facts["clock_doubt"] = "this machine's clock is before this program was written"
        elif len(self._out_of_time) > 1 and time.monotonic() - self._good_at > GOOD_FOR:
            facts["clock_doubt"] = f"{len(self._out_of_time)} sites out of time and none good since"
        else:
            return failed(verdict, **found)
        facts["by_this_clock"] = str(verdict)
        return skipped(Reason.TIME_UNKNOWN, **found)


def _explained(chain: list[bytes], name: str, now: float, verdict: Reason) -> Any:
    from agent.probes.tls.explain import explain  # heavy: see there

    return explain(chain, name, now, verdict)


def _line(name: Any) -> str:
    """A distinguished name as ``ssl`` gives it, in one line: ``CN=…, O=…``."""
    short = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}
    parts = [(short.get(key, key), value) for group in name for key, value in group]
    return ", ".join(f"{key}={value}" for key, value in reversed(parts))[:300]

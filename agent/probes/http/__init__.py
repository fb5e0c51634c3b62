"""Whether a landing page (the address in a letter) can be fetched, and where the time goes."""

import asyncio
import re
import ssl
import time
from typing import Annotated, Any

import aiohttp
import msgspec
from msgspec import Meta
from yarl import URL

from agent import trust
from agent.addresses import literal
from agent.neterrors import Unresolved, finding_of, no_ipv6, without_ipv6
from agent.probe import Finding, Span, Target, error, failed, ok, probe
from agent.probes.dns.servers import is_public_name
from agent.probes.http.captive import CONTROLS, Control, Controls
from agent.probes.http.exchange import MOST_BODY, Answer, Steps, get, open_session
from agent.probes.http.places import SCHEMES, place, plain
from agent.sites import expected
from wire.histogram import Histogram
from wire.meetings import Load
from wire.reasons import Outcome, Reason

MOST_REDIRECTS = 10
TARGET_SHARE = 0.6
"""How much of the limit the target may take; the controls get what is left of :data:`WHOLE_SHARE`."""
WHOLE_SHARE = 0.85
_JOINED = re.compile(r"\[Errno (\d+)\](?:[^\[]*?\('([^']+)')?")
"""Number and address of each failure in a text like ``[Errno 111] Connect call failed ('::1', …``."""
ADDRESS = {"expected": "an address that begins with http:// or https://"}
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@probe("http", every=60.0, limit=15.0, load=Load.TRICKLE, costs="5 kB (TLS) plus the page, at most 64 kB a redirect")
class Http:
    """Fetches a landing page on a new connection: name, connect, TLS, first byte, whole; redirects; captive portal."""

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What to fetch and what to expect of it."""

        url: Annotated[
            str,
            Meta(
                pattern="^https?://", description="the page to fetch", examples=["https://zoom.us/join"], extra=ADDRESS
            ),
        ]
        expect_status: Annotated[
            list[Annotated[int, Meta(ge=100, le=599)]],
            Meta(description="good statuses; empty = any below 400 after redirects", examples=[[200]]),
        ] = []
        expect_text: Annotated[str, Meta(description="a text that the first 64 kB of the page must contain")] = ""
        follow: Annotated[bool, Meta(description="whether redirects are followed, at most ten")] = True
        hosts: Annotated[
            list[str],
            Meta(
                description="further hosts, with their subdomains, that redirects may lead to", examples=[["zoom.com"]]
            ),
        ] = []
        controls: Annotated[
            tuple[Control, ...],
            Meta(
                description="pages that tell a captive portal, asked at most once a minute: if the target fails, or is "
                "a public page without TLS and without expect_text"
            ),
        ] = CONTROLS

    def __init__(self, contexts: trust.Contexts = trust.SYSTEM) -> None:
        self._contexts = contexts
        self._session: aiohttp.ClientSession | None = None
        self._controls = Controls()

    async def measure(self, target: Target, span: Span) -> Finding:
        """One fetch with its redirects, and the controls if it looks wrong."""
        settings: Http.Settings = target.settings
        context = await self._contexts.get()
        if self._session is None:
            self._session = open_session()
        session = self._session
        started = time.monotonic()
        found = await _fetch(session, context, settings, span.limit * TARGET_SHARE)
        if not settings.controls or not (found.outcome is Outcome.FAILED or _by_anyone(found, settings)):
            return found
        left = span.limit * WHOLE_SHARE - (time.monotonic() - started)
        portal = await self._controls.portal(session, settings.controls, left) if left > 0 else None
        if portal is None:
            return found
        facts = {**found.facts, "portal": portal, "without_portal": str(found.reason or found.outcome)}
        return msgspec.structs.replace(found, outcome=Outcome.FAILED, reason=Reason.CAPTIVE_PORTAL, facts=facts)

    async def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _fetch(
    session: aiohttp.ClientSession, context: ssl.SSLContext, settings: Http.Settings, within: float
) -> Finding:
    url = place(settings.url)
    if url is None:
        facts = {
            "detail": f"found {settings.url[:100]!r}",
            "remedy": "write the address as http://host/ or https://host/",
        }
        return error(Reason.BAD_TARGET, facts=facts)
    visit = _Visit(settings, url)
    try:
        async with asyncio.timeout(within):
            return await visit.run(session, context, within)
    except (aiohttp.ClientError, OSError, Unresolved, ValueError) as problem:
        return _failure(problem, visit)


def _by_anyone(found: Finding, settings: Http.Settings) -> bool:
    """Whether a good answer could be anyone's: no certificate vouches for the page and no text of it is known. A portal
    answers 200 to everything. An address or a name of the building's own is not asked about outside."""
    url = URL(found.facts.get("url", ""))
    unvouched = found.outcome is Outcome.OK and url.scheme == "http" and not settings.expect_text
    return unvouched and is_public_name(url.host or "") and literal(url.host or "", 0) is None


class _Visit:
    """One visit of a page through its redirects."""

    def __init__(self, settings: Http.Settings, url: URL) -> None:
        self.settings = settings
        self.steps = Steps()
        self.url = url
        self.passed: list[str] = []
        self._started = time.perf_counter_ns()

    def found(self) -> dict[str, Any]:
        """Counts, durations and facts so far."""
        facts = {"url": plain(self.url)}
        if self.passed:
            facts["redirects"] = " ".join(self.passed)[:900]
        if self.steps.families:
            facts["family"] = self.steps.families[-1]
        return {"counts": {"redirects": len(self.passed)}, "durations": self.steps.histograms(), "facts": facts}

    async def run(self, session: aiohttp.ClientSession, context: ssl.SSLContext, within: float) -> Finding:
        start = self.url.host or ""
        while True:
            answer = await get(session, self.url, self.steps, within, context)
            if answer.status not in REDIRECTS or not self.settings.follow:
                return self._judge(answer)
            if len(self.passed) >= MOST_REDIRECTS:
                return self._fail(Reason.HTTP_TOO_MANY_REDIRECTS, answer)
            following = place(answer.location or "", self.url)
            if following is None:
                return self._fail(Reason.MALFORMED_ANSWER, answer, detail="a redirect without a usable Location")
            self.passed.append(f"{answer.status} {plain(following)}")
            if following.scheme not in SCHEMES:
                return self._judge(answer)  # the page hands over to an app (zoommtg:), which a browser would open
            if not expected(following.host or "", start, self.settings.hosts):
                return self._fail(Reason.HTTP_UNEXPECTED_REDIRECT, answer, detail=f"leads to {following.host}")
            self.url = following

    def _judge(self, answer: Answer) -> Finding:
        wanted = self.settings.expect_status
        if answer.status not in wanted if wanted else answer.status >= 400:
            expectation = " or ".join(map(str, wanted)) or "below 400"
            return self._fail(Reason.HTTP_STATUS, answer, detail=f"found {answer.status}, expected {expectation}")
        if self.settings.expect_text.encode() not in answer.body:
            within = f" in the first {MOST_BODY} bytes" if answer.cut else ""
            return self._fail(Reason.MALFORMED_ANSWER, answer, detail=f"the expected text is missing{within}")
        return ok(**self._with(answer))

    def _fail(self, reason: Reason, answer: Answer, detail: str = "") -> Finding:
        found = self._with(answer)
        if detail:
            found["facts"]["detail"] = detail
        return failed(reason, **found)

    def _with(self, answer: Answer) -> dict[str, Any]:
        found = self.found()
        found["counts"]["status"] = answer.status
        found["durations"]["whole"] = Histogram.of([time.perf_counter_ns() - self._started])
        if answer.cut:
            found["facts"]["body"] = f"longer than {MOST_BODY} bytes, not read to its end"
        return found


def _told_apart(joined: OSError) -> OSError:
    """When several addresses failed in different ways, aiohttp joins their texts and drops the numbers. What IPv4 said
    is the telling one, as in :func:`agent.addresses.connect`, else what does not only say that IPv6 is absent here."""
    if joined.errno is not None:
        return joined
    found = [(OSError(int(number), ""), place) for number, place in _JOINED.findall(str(joined))]
    by_ipv4 = [cause for cause, place in found if place and ":" not in place]
    telling = [cause for cause, _ in found if not without_ipv6(cause)]
    return next(iter([*by_ipv4, *telling, *(cause for cause, _ in found), joined]))


def _failure(problem: Exception, visit: _Visit) -> Finding:
    found = visit.found()
    found["facts"]["stage"] = visit.steps.stage
    match problem:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            cause = problem.__cause__ or problem.os_error
            if isinstance(cause, ssl.SSLError):
                found["facts"]["detail"] = trust.detail_of(cause)[:200]
                return failed(trust.reason_of(cause), **found)
            return failed(Reason.TLS_HANDSHAKE, **found)
        case aiohttp.ClientConnectorError():
            cause = _told_apart(problem.os_error)
            if without_ipv6(cause) and "ipv4" not in visit.steps.families:
                return no_ipv6(**found)
            return finding_of(cause, **found)
        case aiohttp.ServerDisconnectedError():
            return failed(Reason.RESET, **found)
        case Unresolved() | OSError():
            return finding_of(problem, **found)
        case _:
            found["facts"]["detail"] = str(problem)[:200]
            return failed(Reason.MALFORMED_ANSWER, **found)

"""Whether something between here and the Internet answers in the place of others: a captive portal.

Operating systems detect one by a page whose content they know and that is served without TLS on purpose. We ask for
such a page only when a target looks wrong, and at most once a minute.
"""

import time
from typing import Annotated

import aiohttp
import msgspec
from msgspec import Meta

from agent.neterrors import Unresolved
from agent.probes.http.exchange import Steps, get
from agent.probes.http.places import place

KEPT = 60.0
"""Seconds for which a finding of the controls holds, for all targets."""


PLAIN = {"expected": "an address that begins with http://"}


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page served over plain HTTP whose content is known."""

    url: Annotated[str, Meta(pattern="^http://", description="the page, without TLS", extra=PLAIN)]
    expect_text: Annotated[str, Meta(min_length=1, description="a text that the genuine page contains")]


CONTROLS = (
    Control("http://captive.apple.com/hotspot-detect.html", "Success"),
    Control("http://www.msftncsi.com/ncsi.txt", "Microsoft NCSI"),
)
"""The checks of Apple's and Microsoft's systems, which Webex falls back to as well (field notes, domain 3)."""


class Controls:
    """Asks controls and remembers for a minute what they said."""

    def __init__(self) -> None:
        self._known: dict[tuple[Control, ...], tuple[float, str | None]] = {}

    async def portal(self, session: aiohttp.ClientSession, controls: tuple[Control, ...], within: float) -> str | None:
        """What stands between, in a few words, or ``None`` when a control is genuine or none answered at all."""
        at, said = self._known.get(controls, (-KEPT, None))
        now = time.monotonic()
        if now - at < KEPT:
            return said
        said = await self._ask(session, controls, within)
        self._known[controls] = (now, said)
        return said

    async def _ask(self, session: aiohttp.ClientSession, controls: tuple[Control, ...], within: float) -> str | None:
        found: str | None = None
        for control in controls:
            url = place(control.url)
            if url is None:
                continue
            try:
                answer = await get(session, url, Steps(), within / len(controls))
            except (aiohttp.ClientError, OSError, Unresolved, ValueError):
                continue  # silence proves nothing about a portal
            if control.expect_text.encode() in answer.body:
                return None
            onward = place(answer.location, url) if answer.location else None
            where = f" to {onward.host}" if onward else ""
            found = found or f"{url.host} answered {answer.status}{where} instead of its known page"
        return found

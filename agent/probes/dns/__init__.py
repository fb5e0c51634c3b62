"""Whether names resolve, how fast, and whether the answers are honest."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent.probe import Finding, Span, Target, probe
from wire.meetings import Load

if TYPE_CHECKING:
    from agent.probes.dns.inquiry import Inquirer


@probe(
    "dns", every=60.0, limit=12.0, load=Load.TRICKLE, costs="about 90 B a question and 150 B an answer, plus headers"
)
class Dns:
    """Asks the system's name servers (or one given): answers, time, wrong or hijacked answers."""

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What to ask, and what to expect."""

        name: Annotated[
            str, Meta(min_length=1, max_length=253, description="the name to ask for", examples=["zoom.us"])
        ]
        type: Annotated[
            Literal["A", "AAAA", "SRV"], Meta(description="kind of record; a name without AAAA never fails")
        ] = "A"
        server: Annotated[
            str,
            Meta(
                description="IP address of a name server, also with :port; empty = the system's", examples=["9.9.9.9"]
            ),
        ] = ""
        expect: Annotated[
            list[str],
            Meta(description="addresses or networks every answer must lie in; for SRV the hosts it may point to"),
        ] = []
        hijack_check: Annotated[
            bool, Meta(description="whether to ask, every ten minutes, for a name that cannot exist (in example.com)")
        ] = True

    def __init__(self) -> None:
        self._inquirer: Inquirer | None = None

    async def measure(self, target: Target, span: Span) -> Finding:
        """One question, the next server being asked when one is silent or fails; then the check for hijacking."""
        if self._inquirer is None:
            self._inquirer = await asyncio.to_thread(_inquirer)
        return await self._inquirer.measure(target.settings, span.limit)


def _inquirer() -> "Inquirer":
    """dnspython takes about 3 MB and 50 ms: imported when a name is first asked for, in a thread."""
    from agent.probes.dns.inquiry import Inquirer

    return Inquirer()

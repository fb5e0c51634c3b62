"""The ``call`` probe: a stream like one HD meeting's, both ways, to the responder."""

from typing import Annotated

import msgspec
from msgspec import Meta

from agent.addresses import Host, Port
from agent.probe import Finding, Span, Target, error, probe
from wire.meetings import Load
from wire.reasons import Reason


@probe(
    "call",
    every=3600.0,
    limit=30.0,
    load=Load.CALL,
    costs="about 7 MB a test of 10 s at 2.5 Mbit/s down and 3 up: 165 MB a day at one an hour",
)
class Call:
    """Talks like one HD meeting for 10 s with the responder: loss, bursts of loss, late packets, freezes."""

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
        """With whom, and how much."""

        host: Host
        port: Port = 8481
        responder: Annotated[str, Meta(max_length=64, description="id of the responder, for the lease")] = ""
        download: Annotated[int, Meta(ge=64_000, le=20_000_000, description="bit/s down at the IP layer")] = 2_500_000
        upload: Annotated[int, Meta(ge=64_000, le=20_000_000, description="bit/s up at the IP layer")] = 3_000_000
        seconds: Annotated[float, Meta(ge=1, le=30, description="length of the call in seconds")] = 10.0
        source: Annotated[str, Meta(max_length=300, description="where the rates come from")] = ""

    async def measure(self, target: Target, span: Span) -> Finding:
        """One call."""
        _ = target, span
        return error(Reason.NOT_SUPPORTED, facts={"remedy": "install a release that has the call test"})

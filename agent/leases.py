"""Leases from the collector: the right to use a responder, asked for just before it is used (:mod:`wire.lease`)."""

from collections.abc import Callable

from agent.connection import Connection
from agent.probe import LeaseRefused
from agent.refusals import ExchangeFailed, LeaseDenied
from wire.lease import Grant, LeaseRequest, NoLease, Purpose
from wire.reasons import Reason

REASONS = {
    NoLease.QUIET_TIME: Reason.QUIET_TIME,
    NoLease.NO_SLOT: Reason.NO_SLOT,
    NoLease.RESPONDER_BUSY: Reason.RESPONDER_BUSY,
    NoLease.NO_RESPONDER: Reason.NO_RESPONDER,
    NoLease.LINK_IN_USE: Reason.LINK_IN_USE,
    NoLease.BUDGET_SPENT: Reason.BUDGET_SPENT,
    NoLease.NOT_ON_THIS_LINK: Reason.NOT_ON_THIS_LINK,
    NoLease.CONTRACT_UNKNOWN: Reason.CONTRACT_UNKNOWN,
    NoLease.UNRECOGNISED: Reason.NO_LEASE,
}
"""What a finding says where the collector said no."""


class CollectorLeases:
    """:class:`agent.probe.Leases` over the connection in use, which ``connection`` gives, or ``None`` before the agent
    joined. A lease is never asked for twice by itself: whoever wants one decides whether it still makes sense."""

    def __init__(self, connection: Callable[[], Connection | None]) -> None:
        self._connection = connection

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        """Asks the collector; raises :class:`LeaseRefused`, with ``no_lease`` where it could not be asked."""
        connection = self._connection()
        if connection is None:
            raise LeaseRefused(Reason.NO_LEASE, "this agent has not joined a collector, which alone grants leases")
        request = LeaseRequest(purpose=purpose, responder=responder, slot=slot, profile=profile)
        try:
            return await connection.lease(request)
        except LeaseDenied as denied:
            raise LeaseRefused(REASONS[denied.why], str(denied), denied.wait or 0.0) from denied
        except ExchangeFailed as failure:
            raise LeaseRefused(Reason.NO_LEASE, str(failure), failure.wait or 0.0) from failure

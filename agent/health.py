"""The agent's own health as figures, for ``/metrics``. Pure: it only reads what the parts already know."""

from agent import __version__
from agent.clock import Clock, Timekeeper
from agent.journal import Journal
from agent.metrics import Gauge
from agent.spool import Spool
from agent.uplink import Uplink
from agent.vantage import Vantage
from wire.clock import SECOND

_P = "phrom_agent_"


def health(
    clock: Clock,
    timekeeper: Timekeeper,
    spool: Spool,
    journal: Journal,
    uplink: Uplink | None,
    vantage: Vantage | None,
    assignments: int,
) -> list[Gauge]:
    """Everything about the agent itself at this moment."""
    return [
        Gauge(_P + "info", "Release of the agent.", "gauge", 1, {"version": __version__}),
        Gauge(_P + "assignments", "Assignments being run.", "gauge", assignments),
        Gauge(
            _P + "vantage_info",
            "Where the agent stands, by the vantage's id.",
            "gauge",
            1 if vantage else None,
            {"vantage": vantage.id, "medium": vantage.medium} if vantage else {},
        ),
        *_spool(spool, journal),
        *_time(clock, timekeeper),
        *(_delivery(clock, uplink) if uplink else [Gauge(_P + "joined", "1 if joined to a collector.", "gauge", 0)]),
    ]


def _spool(spool: Spool, journal: Journal) -> list[Gauge]:
    counts = spool.counts
    return [
        Gauge(_P + "spool_batches", "Batches that wait for the collector.", "gauge", counts.batches),
        Gauge(_P + "spool_bytes", "Bytes of the batches that wait.", "gauge", counts.bytes),
        Gauge(_P + "spool_quarantined_batches", "Batches the collector refused.", "gauge", counts.quarantined),
        Gauge(_P + "spool_dropped_batches", "Batches dropped undelivered.", "counter", counts.dropped),
        Gauge(_P + "spool_writable", "1 while records can be kept.", "gauge", float(spool.unavailable is None)),
        Gauge(_P + "records_lost", "Records that could not be written to disk.", "counter", journal.lost_ever),
    ]


def _time(clock: Clock, timekeeper: Timekeeper) -> list[Gauge]:
    now = timekeeper.utc()
    return [
        Gauge(
            _P + "clock_error_seconds",
            "Bound on the error of corrected time; absent before the first exchange with the collector.",
            "gauge",
            now.error / SECOND if now else None,
        ),
        Gauge(
            _P + "clock_offset_seconds",
            "This machine's wall clock minus corrected time.",
            "gauge",
            (clock.wall() - now.utc) / SECOND if now else None,
        ),
    ]


def _delivery(clock: Clock, uplink: Uplink) -> list[Gauge]:
    status = uplink.status
    age = None if status.heard is None else (clock.boottime() - status.heard) / SECOND
    return [
        Gauge(_P + "joined", "1 if joined to a collector.", "gauge", 1),
        Gauge(_P + "connected", "1 while the collector answers.", "gauge", float(status.connected)),
        Gauge(_P + "last_receipt_age_seconds", "Time since the last receipt.", "gauge", age),
        Gauge(_P + "posts", "Posts that were answered with a receipt.", "counter", status.posts),
        Gauge(_P + "post_failures", "Posts that failed.", "counter", status.failures),
        Gauge(_P + "token_refused", "1 while the collector refuses the token.", "gauge", float(status.token_refused)),
        Gauge(_P + "delivered_batches", "Batches that receipts covered.", "counter", status.delivered),
        Gauge(_P + "post_round_trip_seconds", "How long the last exchange took.", "gauge", status.round_trip),
    ]

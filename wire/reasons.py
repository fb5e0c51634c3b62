"""The closed vocabularies: outcomes, reasons, limits of a test, refusals of a batch, events of a note.

Text for people is made from these codes by the catalogues of the side that shows them; the codes never change.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one measurement. ``failed`` and ``error`` are never mixed: see DESIGN §2."""

    OK = "ok"
    FAILED = "failed"
    """The target is bad."""
    SKIPPED = "skipped"
    """Not measured, on purpose; the reason says why."""
    ERROR = "error"
    """The probe itself could not measure: the agent's own trouble, never a provider's outage."""


class Reason(StrEnum):
    """Why an outcome is not ``ok``. The prefix of the group is the outcome it goes with."""

    # failed: the path or the host
    NO_REPLY = "no_reply"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    RESET = "reset"
    NO_ROUTE = "no_route"
    HOST_UNREACHABLE = "host_unreachable"
    PROHIBITED = "prohibited"
    NO_GATEWAY = "no_gateway"
    INTERFACE_DOWN = "interface_down"
    UDP_BLOCKED = "udp_blocked"
    CAPTIVE_PORTAL = "captive_portal"
    MALFORMED_ANSWER = "malformed_answer"
    # failed: names
    NAME_NOT_FOUND = "name_not_found"
    NAME_SERVER_FAILED = "name_server_failed"
    NAME_SERVER_SILENT = "name_server_silent"
    NAME_SERVER_REFUSED = "name_server_refused"
    NAME_WRONG = "name_wrong"
    NAME_HIJACKED = "name_hijacked"
    # failed: certificates
    TLS_HANDSHAKE = "tls_handshake"
    TLS_EXPIRED = "tls_expired"
    TLS_NOT_YET_VALID = "tls_not_yet_valid"
    TLS_WRONG_NAME = "tls_wrong_name"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_SELF_SIGNED = "tls_self_signed"
    TLS_CHAIN_INCOMPLETE = "tls_chain_incomplete"
    TLS_INSPECTED = "tls_inspected"
    # failed: what the service said
    HTTP_STATUS = "http_status"
    HTTP_TOO_MANY_REDIRECTS = "http_too_many_redirects"
    HTTP_UNEXPECTED_REDIRECT = "http_unexpected_redirect"
    SIP_STATUS = "sip_status"
    CLOCK_OFF = "clock_off"
    # failed: tests
    RESPONDER_SILENT = "responder_silent"
    BROKEN_OFF = "broken_off"
    """The test had begun and its connections ended or stood still before it was done."""
    # skipped
    QUIET_TIME = "quiet_time"
    NOT_ON_THIS_LINK = "not_on_this_link"
    NO_IPV6 = "no_ipv6"
    ASK_THE_ORGANISER = "ask_the_organiser"
    ASK_THE_PROVIDER = "ask_the_provider"
    NOT_LEARNED_YET = "not_learned_yet"
    TIME_UNKNOWN = "time_unknown"
    ORDER_EXPIRED = "order_expired"
    NO_SLOT = "no_slot"
    LINK_IN_USE = "link_in_use"
    STOPPING = "stopping"
    NO_LEASE = "no_lease"
    """The collector could not be asked for a lease, or the responder did not accept it."""
    NO_RESPONDER = "no_responder"
    RESPONDER_BUSY = "responder_busy"
    BUDGET_SPENT = "budget_spent"
    OUTSIDE_SERVICE_HOURS = "outside_service_hours"
    CONTRACT_UNKNOWN = "contract_unknown"
    LINK_DOWN = "link_down"
    TOO_SOON = "too_soon"
    """Not asked again yet, out of courtesy or because the server told us to wait."""
    # undecided: measured, but the answer proves nothing either way (outcome skipped)
    CONTROLS_SILENT = "controls_silent"
    SILENCE_PROVES_NOTHING = "silence_proves_nothing"
    DELAY_ROSE = "delay_rose"
    """A light check stopped itself: the path queued. Not a proof of the rate, and no proof of the contrary."""
    LOSS_SEEN = "loss_seen"
    # error: the agent's own trouble
    NO_PERMISSION = "no_permission"
    PROBE_CRASHED = "probe_crashed"
    PROBE_OVERRAN = "probe_overran"
    PROBE_UNKNOWN = "probe_unknown"
    BAD_TARGET = "bad_target"
    NO_RESOURCES = "no_resources"
    TOOL_MISSING = "tool_missing"
    TOOL_FAILED = "tool_failed"
    SUSPENDED = "suspended"
    NOT_SUPPORTED = "not_supported"

    UNRECOGNISED = "unrecognised"
    """Read from a newer agent whose vocabulary is larger than ours (``wire.version``); never written."""

    @classmethod
    def _missing_(cls, value: object) -> "Reason | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None


class Limit(StrEnum):
    """What could have limited a throughput or call test other than the link, or makes it no evidence (DESIGN §6.5)."""

    RESPONDER_CAPACITY = "responder_capacity"
    """The responder, or the lease, allows no more than this in that direction."""
    RESPONDER_CPU = "responder_cpu"
    RESPONDER_LINK_IN_USE = "responder_link_in_use"
    """The responder stands on a site's own line, and others there used it or may have used it meanwhile."""
    PORT_SPEED = "port_speed"
    WIFI = "wifi"
    CPU_BUSY = "cpu_busy"
    RECEIVE_WINDOW = "receive_window"
    SEND_BUFFER = "send_buffer"
    CUT_SHORT = "cut_short"
    FEW_WINDOWS = "few_windows"
    """Too few undisturbed 100 ms windows for a median."""
    CROSS_TRAFFIC = "cross_traffic"
    CROSS_TRAFFIC_UNSEEN = "cross_traffic_unseen"
    WRONG_VANTAGE = "wrong_vantage"
    WRONG_ROLE = "wrong_role"
    """Measured by an agent of role ``room``: only ``link`` or ``both`` gives contract evidence."""
    TIME_UNKNOWN = "time_unknown"
    NO_LEASE = "no_lease"
    ENGINE_NO_EVIDENCE = "engine_no_evidence"
    """The engine is a cross-check (``speedtest``, ``iperf3`` against a server that is not ours)."""
    CLIENT_COUNTED = "client_counted"
    """Counted by the application, not by the kernel's segment counts."""
    SENDER_IDLE = "sender_idle"
    """A sender had nothing to send for part of the time."""
    LOSS_BASED = "loss_based"
    """The sender slows down at every lost packet (cubic, reno), and the line's queue is so short that it loses many:
    more might have passed."""
    UNRECOGNISED = "unrecognised"

    @classmethod
    def _missing_(cls, value: object) -> "Limit | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None


class Refusal(StrEnum):
    """Why the collector did not store a batch. A refused batch is quarantined by the agent, not sent for ever."""

    NOT_JSON = "not_json"
    WRONG_SHAPE = "wrong_shape"
    BAD_NUMBER = "bad_number"
    UNKNOWN_REASON = "unknown_reason"
    UNKNOWN_PROTOCOL = "unknown_protocol"
    DIGEST_MISMATCH = "digest_mismatch"
    CONFLICT = "conflict"
    """The same stream and number with another digest: a cloned disk or a rewritten history."""
    CHAIN_BROKEN = "chain_broken"
    """``prev`` is not the digest of the batch before it, which the collector holds."""
    FOREIGN_STREAM = "foreign_stream"
    """The stream belongs to another site."""
    IMPLAUSIBLE_TIME = "implausible_time"
    TOO_MANY_SERIES = "too_many_series"
    TOO_LARGE = "too_large"
    UNRECOGNISED = "unrecognised"
    """Read from a newer collector; never written."""

    @classmethod
    def _missing_(cls, value: object) -> "Refusal | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None


class Event(StrEnum):
    """What a ``note`` tells of the agent itself."""

    STARTED = "started"
    STOPPED = "stopped"
    """A clean stop, written as the last record of a run."""
    UNCLEAN_STOP_FOUND = "unclean_stop_found"
    """The run before this one ended without ``stopped``: a crash (same boot) or lost power (another boot)."""
    ANCHOR = "anchor"
    """A clock anchor for the evidence: its numbers stand in ``counts``."""
    CLOCK_STEPPED = "clock_stepped"
    SUSPENDED = "suspended"
    SETTINGS_CHANGED = "settings_changed"
    SETTINGS_REFUSED = "settings_refused"
    SPOOL_DROPPED = "spool_dropped"
    SPOOL_SET_ASIDE = "spool_set_aside"
    """The spool file was unreadable; it was renamed and a new one, with new stream ids, begun."""
    BATCH_QUARANTINED = "batch_quarantined"
    ORDER_DONE = "order_done"
    ORDER_UNKNOWN = "order_unknown"
    SLOT_TAKEN = "slot_taken"
    SLOT_DEFERRED = "slot_deferred"
    SLOT_SKIPPED = "slot_skipped"
    SLOT_FAILED = "slot_failed"
    UNRECOGNISED = "unrecognised"

    @classmethod
    def _missing_(cls, value: object) -> "Event | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None

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
    TOO_SOON = "too_soon"
    """Not asked again yet, out of courtesy or because the server told us to wait."""
    # undecided: measured, but the answer proves nothing either way (outcome skipped)
    CONTROLS_SILENT = "controls_silent"
    SILENCE_PROVES_NOTHING = "silence_proves_nothing"
    # error: the agent's own trouble
    NO_PERMISSION = "no_permission"
    PROBE_CRASHED = "probe_crashed"
    PROBE_OVERRAN = "probe_overran"
    PROBE_UNKNOWN = "probe_unknown"
    BAD_TARGET = "bad_target"
    NO_RESOURCES = "no_resources"
    TOOL_MISSING = "tool_missing"
    SUSPENDED = "suspended"
    NOT_SUPPORTED = "not_supported"

    UNRECOGNISED = "unrecognised"
    """Read from a newer agent whose vocabulary is larger than ours (``wire.version``); never written."""

    @classmethod
    def _missing_(cls, value: object) -> "Reason | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None


class Limit(StrEnum):
    """What could have limited a throughput or call test other than the link (DESIGN §6.5)."""

    RESPONDER_CAPACITY = "responder_capacity"
    PORT_SPEED = "port_speed"
    WIFI = "wifi"
    CPU_BUSY = "cpu_busy"
    RECEIVE_WINDOW = "receive_window"
    SEND_BUFFER = "send_buffer"
    CUT_SHORT = "cut_short"
    CROSS_TRAFFIC = "cross_traffic"
    CROSS_TRAFFIC_UNSEEN = "cross_traffic_unseen"
    WRONG_VANTAGE = "wrong_vantage"
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
    SLOT_DEFERRED = "slot_deferred"
    UNRECOGNISED = "unrecognised"

    @classmethod
    def _missing_(cls, value: object) -> "Event | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None

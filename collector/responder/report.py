"""What a responder says of itself: to its collector as a line of JSON, to Prometheus as metrics."""

import msgspec


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line about itself. ``trouble`` is why it ends; all else counts since its start."""

    trouble: str = ""
    ports: dict[str, int] = {}
    """By protocol: ``tcp``, ``udp``, ``stamp``."""
    sessions: dict[str, int] = {}
    """Open now, by purpose."""
    opened: dict[str, int] = {}
    denied: dict[str, int] = {}
    """Openings refused, by :class:`collector.responder.admission.Denial`."""
    sent: dict[str, int] = {}
    received: dict[str, int] = {}
    """Bytes at the IP layer, by purpose."""

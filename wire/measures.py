"""What observations may measure: every name inside ``counts``, ``values`` and ``durations``, with unit and meaning.

One table serves the probes (they may use no other name; a test runs each of them), the Prometheus mapping (metric name,
unit and help are made from it), the pages and the generated reference. Adding a measure is adding a line here.
"""

from enum import StrEnum
from typing import NamedTuple


class Shape(StrEnum):
    """Where a measure stands in a ``Window``."""

    COUNT = "count"
    VALUE = "value"
    DURATION = "duration"


class Measure(NamedTuple):
    """One measurable thing. ``unit`` is a Prometheus base unit or empty; ``help`` is an English sentence."""

    name: str
    shape: Shape
    unit: str
    help: str

    @property
    def metric(self) -> str:
        """The Prometheus metric name: ``phrom_`` + name + unit, which is not said twice."""
        return f"phrom_{self.name}" + (f"_{self.unit}" if not self.name.endswith(self.unit) else "")


_C, _V, _D = Shape.COUNT, Shape.VALUE, Shape.DURATION

_TABLE = [
    Measure("sent", _C, "packets", "Requests sent in the window."),
    Measure("lost", _C, "packets", "Requests of the window that were never answered."),
    Measure("duplicates", _C, "packets", "Answers received more than once."),
    Measure("reordered", _C, "packets", "Answers that overtook an earlier one (RFC 4737)."),
    Measure("late", _C, "packets", "Answers that came after their time limit; they count as lost."),
    Measure("attempts", _C, "", "Attempts made in the window."),
    Measure("answers", _C, "", "Records in the answer."),
    Measure("redirects", _C, "", "Redirects followed."),
    Measure("status", _C, "", "Status code of the service's answer (HTTP, SIP)."),
    Measure("hops", _C, "", "Routers up to and including the answering one."),
    Measure("bytes_received", _C, "bytes", "Bytes received by the machine in the window."),
    Measure("bytes_sent", _C, "bytes", "Bytes sent by the machine in the window."),
    Measure("stratum", _C, "", "NTP stratum of the time server."),
    Measure("rtt", _D, "seconds", "Round-trip time."),
    Measure("lookup", _D, "seconds", "Time to resolve the name."),
    Measure("connect", _D, "seconds", "Time to open the TCP connection."),
    Measure("handshake", _D, "seconds", "Time of the TLS handshake."),
    Measure("first_byte", _D, "seconds", "Time from the request to the first byte of the answer."),
    Measure("whole", _D, "seconds", "Time of the whole exchange."),
    Measure("jitter", _V, "seconds", "Interarrival jitter (RFC 3550, section 6.4.1)."),
    Measure("clock_offset", _V, "seconds", "Peer's clock minus this machine's clock (RFC 5905)."),
    Measure("clock_error", _V, "seconds", "Bound on the error of the clock offset."),
    Measure("certificate_expiry", _V, "seconds", "Time until the certificate expires; negative when it has."),
    Measure("ttl", _V, "", "Time to live of the answer as it arrived."),
    Measure("cpu", _V, "ratio", "Processor use, 1 = every core busy."),
    Measure("memory", _V, "ratio", "Memory in use."),
    Measure("disk", _V, "ratio", "Disk in use where the spool lives."),
    Measure("disk_free", _V, "bytes", "Disk free where the spool lives."),
    Measure("battery", _V, "ratio", "Battery charge."),
    Measure("mains", _V, "", "1 on mains power, 0 on battery."),
    Measure("uptime", _V, "seconds", "Time since the machine started."),
    Measure("interface_speed", _V, "bits_per_second", "Speed the network port negotiated."),
    Measure("full_duplex", _V, "", "1 for full duplex, 0 for half."),
    Measure("wireless", _V, "", "1 where the default route leaves by Wi-Fi, 0 by cable."),
    Measure("receive_rate", _V, "bits_per_second", "Rate received on the interface of the default route."),
    Measure("send_rate", _V, "bits_per_second", "Rate sent on the interface of the default route."),
    Measure("sent_down", _C, "packets", "Packets that the responder sent to the district in the window."),
    Measure("sent_up", _C, "packets", "Packets that the district sent to the responder in the window."),
    Measure("lost_down", _C, "packets", "Packets lost on the way from the responder to the district, by sequence."),
    Measure("lost_up", _C, "packets", "Packets lost on the way from the district to the responder, by sequence."),
    Measure("reordered_down", _C, "packets", "Packets overtaken on the way to the district (RFC 4737)."),
    Measure("reordered_up", _C, "packets", "Packets overtaken on the way to the responder (RFC 4737)."),
    Measure("delay_down", _D, "seconds", "One-way delay from the responder to the district."),
    Measure("delay_up", _D, "seconds", "One-way delay from the district to the responder."),
    Measure("delay_variation_down", _D, "seconds", "One-way delay above the window's least, down (PDV, RFC 5481)."),
    Measure("delay_variation_up", _D, "seconds", "One-way delay above the window's least, up (PDV, RFC 5481)."),
    Measure("one_way_error", _V, "seconds", "Bound on the error of the one-way delays, from both clocks."),
    Measure("mos", _V, "", "Estimated listening quality of a voice call, 1 to 4.5; no evidence."),
    Measure("loss_bursts", _C, "", "Runs of consecutive packets lost."),
    Measure("longest_burst", _C, "packets", "Longest run of consecutive packets lost."),
    Measure("too_late", _C, "packets", "Packets that came after their play-out time."),
    Measure("freezes", _C, "", "Times that the picture would have stood still."),
    Measure("freeze_time", _V, "seconds", "How long the picture would have stood still in all."),
    Measure("delay", _D, "seconds", "Delay of a stream's packets above the least one of the test."),
    Measure("throughput", _V, "bits_per_second", "Rate at the IP layer: median of the test's 100 ms windows."),
    Measure("throughput_mean", _V, "bits_per_second", "Rate at the IP layer: mean over the same time."),
    Measure("throughput_payload", _V, "bits_per_second", "Rate of the TCP payload: median of the test's windows."),
    Measure("throughput_contract", _V, "bits_per_second", "Measured rate at the layer that the contract counts."),
    Measure("contract", _V, "bits_per_second", "Rate that the contract in force names, at its own layer."),
    Measure(
        "at_least", _V, "bits_per_second", "Rate at the IP layer that a light check proved; 0 where it proved none."
    ),
    Measure("test_duration", _V, "seconds", "Time from the test's first byte to its last."),
    Measure("test_bytes", _C, "bytes", "Bytes at the IP layer that the test cost in this direction."),
    Measure("connections", _C, "", "Parallel connections of the test."),
    Measure("rate_windows", _C, "", "Windows of 100 ms that the median is of."),
    Measure("segments", _C, "", "TCP segments with data."),
    Measure("retransmitted", _C, "", "TCP segments sent more than once."),
    Measure("rtt_loaded", _D, "seconds", "Round-trip time while the test filled the link."),
    Measure(
        "cross_traffic", _V, "bits_per_second", "Other traffic on the link during the test, where it could be seen."
    ),
    Measure("utilisation_down", _V, "ratio", "Download in use, of the contract's rate."),
    Measure("utilisation_up", _V, "ratio", "Upload in use, of the contract's rate."),
    Measure("temperature", _V, "celsius", "Temperature of the processor."),
]

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _TABLE}
QUANTILES: tuple[float, ...] = (0.0, 0.5, 0.95, 0.99, 1.0)
"""Quantiles under which a duration becomes Prometheus series (label ``quantile``)."""

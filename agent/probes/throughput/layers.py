"""Rates at the layers that contracts count at. Pure.

A full data segment of ``segment`` bytes at the IP layer (1500 on Ethernet) carries ``segment - overhead`` bytes of TCP
payload (``overhead``: IP 20 or 40, TCP 20, timestamps 12: RFC 791, 8200, 9293, 7323) and stands in an Ethernet frame of
18 bytes more: 14 of header and 4 of check sequence (IEEE 802.3 clause 3; MEF 10.4 counts a service frame alike).
"""

from typing import Literal

ETHERNET = 18
"""Bytes of a frame around its IP packet; neither VLAN tag nor preamble and gap, which no shaper of frames counts."""
ON_THE_WIRE = 38
"""The same with preamble and gap (IEEE 802.3 clause 3 and 4): what a port's own speed is spent on."""
FULL = 1500
"""IP bytes of a full packet where nothing else was seen."""
OVERHEAD = 52

Layer = Literal["ethernet", "ip", "tcp"]


def at_layer(rate: float, layer: str, segment: float = FULL, overhead: int = OVERHEAD) -> float:
    """A rate at the IP layer as one at ``layer``; one that is not known counts as ``ip``."""
    if layer == "ethernet":
        return rate * (segment + ETHERNET) / segment
    if layer == "tcp":
        return rate * (segment - overhead) / segment
    return rate


def at_ip(rate: float, layer: str, segment: float = FULL, overhead: int = OVERHEAD) -> float:
    """The reverse: what a contract at ``layer`` is worth at the IP layer."""
    return rate / at_layer(1.0, layer, segment, overhead)


def port_carries(speed: float, segment: float = FULL) -> float:
    """The most that an Ethernet port of ``speed`` carries at the IP layer."""
    return speed * segment / (segment + ON_THE_WIRE)

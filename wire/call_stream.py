"""The stream of one HD meeting in one direction: sound each 20 ms and a burst of packets for each frame. Pure.

Both ends make the same timetable from the plan, so a packet's number says what it carries. Rates are bits per second
and sizes bytes at the IP layer, times nanoseconds.
"""

import math
from typing import NamedTuple

FRAMES = 30
"""A second, as conference systems send HD."""
SOUND_EVERY = 20_000_000
"""The usual length of an Opus frame (RFC 7587, section 4.2)."""
SOUND = 200
"""Bytes of a packet of sound: about 64 kbit/s of Opus, with RTP (RFC 3550) and the headers of IP and UDP."""
VIDEO = 1200
"""Most bytes of UDP payload of a packet of video, as browsers send them (libwebrtc's default)."""
SILENT = -1
"""``frame`` of a packet of sound."""
LEAST_VIDEO = 80


class Item(NamedTuple):
    """A packet to be sent: when after the start, how large, and of which frame."""

    at: int
    size: int
    frame: int


def timetable(rate: int, payload: int, overhead: int, seconds: float) -> list[Item]:
    """What is sent in one direction at ``rate``, in order; sound goes before picture. A packet's number is its place.

    ``payload`` is the largest UDP payload that the path is known to carry, ``overhead`` the bytes of its headers.
    """
    length = round(seconds * 1e9)
    items = [Item(at, SOUND, SILENT) for at in range(0, length, SOUND_EVERY)]
    frame_bytes = (rate - SOUND * 8e9 / SOUND_EVERY) / 8 / FRAMES
    if frame_bytes >= LEAST_VIDEO:
        count = math.ceil(frame_bytes / (min(payload, VIDEO) + overhead))
        size = round(frame_bytes / count)
        items += [
            Item(round(frame * 1e9 / FRAMES), size, frame)
            for frame in range(int(seconds * FRAMES))
            for _ in range(count)
        ]
    return sorted(items, key=lambda item: (item.at, item.frame))


def cost(items: list[Item]) -> int:
    """Bytes at the IP layer."""
    return sum(item.size for item in items)

"""What a call test's lists of packets say: loss, bursts, lateness, freezes. Pure; times are nanoseconds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wire.call_stream import FRAMES, SILENT, Item

PLAY_OUT = 100_000_000
"""A packet whose delay is so much above the least one of the test comes after its play-out time: the usual size of a
conference's jitter buffer (product default)."""
FRAME = 1e9 / FRAMES
FREEZE = max(3 * FRAME, FRAME + 150_000_000)
"""Time from one frame shown to the next from which on the picture stood still: ``freezeCount`` of the W3C's
"Identifiers for WebRTC's Statistics API". At 30 frames a second that is five frames missing in a row."""


class Figures(NamedTuple):
    """One direction."""

    sent: int
    lost: int
    loss_bursts: int
    longest_burst: int
    too_late: int
    duplicates: int
    reordered: int
    freezes: int
    freeze_time: float
    """Seconds; as ``totalFreezesDuration`` of the same document it counts each freeze from frame to frame."""
    jitter: float | None
    """Seconds (RFC 3550, section 6.4.1), begun at the first difference; ``None`` below two packets."""
    delays: list[int]
    """Of each packet that came, above the least."""


def figures(items: Sequence[Item], sent: int, arrivals: Iterable[tuple[int, int]]) -> Figures:
    """From the timetable, how much of it was sent, and (number, delay by any two clocks) in order of arrival.

    A frame is shown if all its packets came in time. The decoder is taken to go on with the next whole frame (product
    default): a real one may need a key frame and stand still for longer. The stream is taken to have been fine before
    its first and after its last frame.
    """
    delays: dict[int, int] = {}
    duplicates = reordered = 0
    highest = -1
    jitter: float | None = None
    before: int | None = None
    for number, delay in arrivals:
        if not 0 <= number < sent:
            continue
        if number in delays:
            duplicates += 1
            continue
        delays[number] = delay
        reordered += number < highest
        highest = max(highest, number)
        if before is not None:
            difference = abs(delay - before)
            jitter = float(difference) if jitter is None else jitter + (difference - jitter) / 16
        before = delay
    least = min(delays.values(), default=0)
    in_time = {number for number, delay in delays.items() if delay - least <= PLAY_OUT}
    bursts = _runs(number not in delays for number in range(sent))
    freezes = _freezes(items[:sent], in_time)
    return Figures(
        sent=sent,
        lost=sent - len(delays),
        loss_bursts=len(bursts),
        longest_burst=max(bursts, default=0),
        too_late=len(delays) - len(in_time),
        duplicates=duplicates,
        reordered=reordered,
        freezes=len(freezes),
        freeze_time=sum(freezes) / 1e9,
        jitter=None if jitter is None else jitter / 1e9,
        delays=[delay - least for delay in delays.values()],
    )


def _freezes(items: Sequence[Item], in_time: set[int]) -> list[float]:
    """Lengths of the freezes."""
    whole: dict[int, bool] = {}
    for number, item in enumerate(items):
        if item.frame != SILENT:
            whole[item.frame] = whole.get(item.frame, True) and number in in_time
    gaps = ((run + 1) * FRAME for run in _runs(not shown for _, shown in sorted(whole.items())))
    return [gap for gap in gaps if gap >= FREEZE]


def _runs(marks: Iterable[bool]) -> list[int]:
    """Lengths of the runs of true."""
    runs: list[int] = []
    running = False
    for mark in marks:
        if mark and running:
            runs[-1] += 1
        elif mark:
            runs.append(1)
        running = mark
    return runs

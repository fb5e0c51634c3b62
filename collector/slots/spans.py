"""Spans of time: what may be, without what may not be. Pure; a list of spans is sorted and nothing in it touches."""

from collections.abc import Iterable
from typing import NamedTuple

from wire.clock import Instant


class Span(NamedTuple):
    """From ``start`` up to, not including, ``end``; UTC microseconds."""

    start: Instant
    end: Instant

    @property
    def length(self) -> int:
        """Microseconds."""
        return self.end - self.start


def joined(spans: Iterable[tuple[int, int]]) -> list[Span]:
    """Sorted, without empty ones, those that touch made one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if found and start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, end))
        else:
            found.append(Span(start, end))
    return found


def without(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What of ``spans`` is in none of ``others``; both as :func:`joined` gives them."""
    found: list[Span] = []
    taken = list(others)
    at = 0
    for span in spans:
        start = span.start
        while at < len(taken) and taken[at].end <= start:
            at += 1
        look = at
        while look < len(taken) and taken[look].start < span.end:
            if taken[look].start > start:
                found.append(Span(start, taken[look].start))
            start = max(start, taken[look].end)
            look += 1
        if start < span.end:
            found.append(Span(start, span.end))
    return found


def within(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What of ``spans`` is in one of ``others``."""
    found: list[Span] = []
    held = list(others)
    at = 0
    for span in spans:
        while at < len(held) and held[at].end <= span.start:
            at += 1
        look = at
        while look < len(held) and held[look].start < span.end:
            found.append(Span(max(span.start, held[look].start), min(span.end, held[look].end)))
            look += 1
    return found


def shortened(spans: Iterable[Span], length: int) -> list[Span]:
    """The starts from which something of ``length`` is over before the span is."""
    return [Span(one.start, one.end - length) for one in spans if one.end - length > one.start]


def total(spans: Iterable[Span]) -> int:
    """Microseconds in all."""
    return sum(one.length for one in spans)

"""Columns of numbers and texts in few bytes: the building blocks of :mod:`collector.store.packing`.

A column is a plain value that MessagePack writes and zstd then squeezes. Where every row says the same, the column is
that one value. Every function here has its inverse beside it, and a property test that they are.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import msgspec

from wire.histogram import FINEST, LARGEST, Histogram, bucket_of

Ints = int | list[int]
Sparse = int | list[int | None]
Texts = tuple[list[str | None], Ints]
Floats = tuple[int, Any]

_SCALES = (0, 3, 6, 9)
_SINGLE = -1
"""In ``pairs``: one duration alone, whose bucket follows from its value."""


def ints(values: Sequence[int]) -> Ints:
    """Numbers as they are."""
    first = values[0]
    return first if values.count(first) == len(values) else list(values)


def ints_back(column: Ints, count: int) -> list[int]:
    """Inverse of :func:`ints`."""
    return [column] * count if isinstance(column, int) else column


def steps(values: Sequence[int]) -> tuple[int, Ints]:
    """Numbers that advance evenly: the usual step, and how far each step differs from it. The first is not kept."""
    differences = [after - before for before, after in pairwise(values)]
    if not differences:
        return 0, 0
    usual = sorted(differences)[len(differences) // 2]
    return usual, ints([one - usual for one in differences])


def steps_back(first: int, usual: int, column: Ints, count: int) -> list[int]:
    """Inverse of :func:`steps`."""
    if isinstance(column, int):
        step = usual + column
        return list(range(first, first + step * count, step)) if step else [first] * count
    return list(accumulate(chain((first,), [one + usual for one in column])))


def sparse(values: Sequence[int | None]) -> Sparse:
    """Numbers of which some are missing."""
    first = values[0]
    return first if first is not None and values.count(first) == len(values) else list(values)


def sparse_back(column: Sparse, count: int) -> list[int | None]:
    """Inverse of :func:`sparse`."""
    return [column] * count if isinstance(column, int) else column


def texts(values: Sequence[str | None]) -> Texts:
    """Texts by a small dictionary."""
    words = list(dict.fromkeys(values))
    if len(words) == 1:
        return words, 0
    number = {word: place for place, word in enumerate(words)}
    return words, [number[value] for value in values]


def texts_back(column: Texts, count: int) -> list[str | None]:
    """Inverse of :func:`texts`."""
    words, codes = column
    return [words[0]] * count if isinstance(codes, int) else [words[code] for code in codes]


def floats(values: Sequence[float | None]) -> Floats:
    """Floating numbers, kept as whole thousandths, millionths … where that is exact, else as they are."""
    present = [value for value in values if value is not None]
    for scale in _SCALES:
        factor = 10.0**scale
        whole = [_whole(value, factor) for value in present]
        if None not in whole:
            found = iter(whole)
            return scale, sparse([None if value is None else next(found) for value in values])
    return -1, list(values)


def floats_back(column: Floats, count: int) -> list[float | None]:
    """Inverse of :func:`floats`, to the last bit."""
    scale, numbers = column
    if scale < 0:
        return list(numbers)
    factor = 10.0**scale
    return [None if number is None else number / factor for number in sparse_back(numbers, count)]


def _whole(value: float, factor: float) -> int | None:
    scaled = value * factor
    if not abs(scaled) < 2**53 or (value == 0 and math.copysign(1, value) < 0):
        return None
    number = round(scaled)
    return number if number / factor == value else None


class Histograms(msgspec.Struct, array_like=True, gc=False):
    """A column of histograms. ``rows`` names those present, or is ``None`` when all are."""

    rows: list[int] | None
    lost: Ints
    low: Ints
    spread: Ints
    """``high - low``."""
    many: Ints
    """How many came back."""
    rest: Ints
    """``total - low * many``: what the durations have beyond the lowest."""
    buckets: msgspec.Raw
    """A :class:`_Buckets`; the longest part, not needed for means."""

    @classmethod
    def of(cls, values: Sequence[Histogram | None]) -> "Histograms":
        """From a column with at least one histogram."""
        present = [(row, one) for row, one in enumerate(values) if one is not None]
        rows = None if len(present) == len(values) else [row for row, _ in present]
        each = [one for _, one in present]
        many = [one.count for one in each]
        return cls(
            rows,
            ints([one.lost for one in each]),
            ints([one.low for one in each]),
            ints([one.high - one.low for one in each]),
            ints(many),
            ints([one.total - one.low * count for one, count in zip(each, many, strict=True)]),
            msgspec.Raw(_encode(_Buckets.of(each))),
        )

    def back(self, count: int) -> list[Histogram | None]:
        """Inverse of :meth:`of`."""
        number = count if self.rows is None else len(self.rows)
        lost, low = ints_back(self.lost, number), ints_back(self.low, number)
        spread, rest = ints_back(self.spread, number), ints_back(self.rest, number)
        many = ints_back(self.many, number)
        buckets = _buckets.decode(self.buckets).back(low)
        found: list[Histogram | None] = [
            Histogram(lost[row], low[row], low[row] + spread[row], rest[row] + low[row] * many[row], buckets[row])
            for row in range(number)
        ]
        return _spread_out(found, self.rows, count)

    def means(self, count: int) -> list[float | None]:
        """Mean nanoseconds of each, without building the histograms; ``None`` where nothing came back."""
        number = count if self.rows is None else len(self.rows)
        low, rest = ints_back(self.low, number), ints_back(self.rest, number)
        many = ints_back(self.many, number)
        found = [(a * n + b) / n if n else None for a, b, n in zip(low, rest, many, strict=True)]
        return _spread_out(found, self.rows, count)


class _Buckets(msgspec.Struct, array_like=True, gc=False):
    """The buckets of several histograms, one after the other."""

    pairs: Ints
    """How many buckets each has; ``-1``: one duration, in the bucket of its value."""
    distances: list[int]
    counts: Ints

    @classmethod
    def of(cls, each: Sequence[Histogram]) -> "_Buckets":
        """From histograms."""
        pairs: list[int] = []
        distances: list[int] = []
        counts: list[int] = []
        for one in each:
            if _is_single(one):
                pairs.append(_SINGLE)
                continue
            pairs.append(len(one.buckets) // 2)
            distances += one.buckets[::2]
            counts += one.buckets[1::2]
        return cls(ints(pairs), distances, ints(counts) if counts else 0)

    def back(self, low: Sequence[int]) -> list[tuple[int, ...]]:
        """Inverse of :meth:`of`; ``low`` places those of one duration."""
        counts = ints_back(self.counts, len(self.distances))
        found: list[tuple[int, ...]] = []
        at = 0
        for row, size in enumerate(ints_back(self.pairs, len(low))):
            if size == _SINGLE:
                found.append((bucket_of(low[row]), 1))
                continue
            pairs = zip(self.distances[at : at + size], counts[at : at + size], strict=True)
            found.append(tuple(chain.from_iterable(pairs)))
            at += size
        return found


_encode = msgspec.msgpack.Encoder().encode
_buckets = msgspec.msgpack.Decoder(_Buckets)


def _is_single(one: Histogram) -> bool:
    buckets = one.buckets
    return (
        len(buckets) == 2
        and buckets[1] == 1
        and one.low == one.high == one.total
        and (one.low <= FINEST or one.low <= LARGEST)
        and buckets[0] == bucket_of(one.low)
    )


def _spread_out(found: list[Any], rows: list[int] | None, count: int) -> list[Any]:
    if rows is None:
        return found
    whole: list[Any] = [None] * count
    for row, one in zip(rows, found, strict=True):
        whole[row] = one
    return whole

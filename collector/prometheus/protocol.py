"""Bytes of Prometheus remote read 1.0: requests decoded within bounds, answers encoded. No input or output here.

The samples of an answer are packed by hand: a quarter of a million Python objects would cost more than the query.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cramjam
from google.protobuf.message import DecodeError

from collector.prometheus import remote_pb2
from collector.prometheus.mapping import LATEST
from collector.prometheus.matching import BadPattern, Kind, Matcher, matcher

LARGEST_REQUEST = 1024 * 1024
"""Bytes of a request as it is sent."""
LARGEST_DECODED = 4 * 1024 * 1024
"""Bytes of a request, decompressed, as it declares itself before anything is allocated (compare CVE-2026-42154)."""
MOST_QUERIES = 64
MOST_MATCHERS = 64
CONTENT_TYPE = "application/x-protobuf"


class BadRequest(ValueError):
    """A remote read request that cannot be served; the message says what was found and what was expected."""


class Query(NamedTuple):
    """One selector over one span. ``start`` and ``end`` are milliseconds, both included."""

    start: int
    end: int
    matchers: tuple[Matcher, ...]
    func: str = ""
    """The function around the selector; ``series`` asks for labels alone."""


def decode(body: bytes) -> list[Query]:
    """The queries of a request body; raises :class:`BadRequest`."""
    request = remote_pb2.ReadRequest()
    try:
        request.ParseFromString(_plain(body))
    except DecodeError as problem:
        raise BadRequest(f"body: found {problem}, expected a prometheus.ReadRequest in protobuf") from problem
    if len(request.queries) > MOST_QUERIES:
        raise BadRequest(f"queries: found {len(request.queries)}, expected at most {MOST_QUERIES}")
    accepted = request.accepted_response_types
    if accepted and remote_pb2.ReadRequest.ResponseType.SAMPLES not in accepted:
        raise BadRequest("accepted_response_types: found no SAMPLES, expected it: the collector gives no other answer")
    return [_query(query, f"queries[{number}]") for number, query in enumerate(request.queries)]


def _plain(body: bytes) -> bytes:
    try:
        declared = cramjam.snappy.decompress_raw_len(body)
        if declared > LARGEST_DECODED:
            raise BadRequest(f"body: found {declared} bytes declared, expected at most {LARGEST_DECODED}")
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as problem:
        raise BadRequest(f"body: found {problem}, expected a snappy block (Content-Encoding: snappy)") from problem


def _query(query: remote_pb2.Query, where: str) -> Query:
    if len(query.matchers) > MOST_MATCHERS:
        raise BadRequest(f"{where}.matchers: found {len(query.matchers)}, expected at most {MOST_MATCHERS}")
    matchers = []
    for number, one in enumerate(query.matchers):
        try:
            matchers.append(matcher(Kind(one.type), one.name, one.value))
        except BadPattern as problem:
            raise BadRequest(f"{where}.matchers[{number}]: {problem}") from problem
        except ValueError as problem:
            raise BadRequest(f"{where}.matchers[{number}].type: found {one.type}, expected 0 to 3") from problem
    start, end = query.start_timestamp_ms, query.end_timestamp_ms
    if query.HasField("hints") and query.hints.end_ms >= query.hints.start_ms > 0:
        start, end = max(start, query.hints.start_ms), min(end, query.hints.end_ms)
    start, end = max(start, 0), min(end, LATEST)
    return Query(start, end, tuple(matchers), query.hints.func)


def pack_samples(times: Sequence[int], values: Sequence[float]) -> bytes:
    """Samples (milliseconds since 1970 up to 2109, value) as the ``samples`` field of a ``TimeSeries``."""
    count = len(times)
    flat: list[bytes | float] = [b""] * (3 * count)
    flat[0::3] = [b"\x12\x10\x09"] * count  # samples, 16 bytes: value, …
    flat[1::3] = values
    flat[2::3] = [_timestamp(time) for time in times]
    return struct.pack("<" + "3sd7s" * count, *flat)


def _timestamp(time: int) -> bytes:
    """Field 2 and the time, at most :data:`LATEST`, as a varint of six bytes; zero groups may pad a varint."""
    return bytes(
        (
            0x10,
            time & 127 | 128,
            time >> 7 & 127 | 128,
            time >> 14 & 127 | 128,
            time >> 21 & 127 | 128,
            time >> 28 & 127 | 128,
            time >> 35 & 127,
        )
    )


def pack_series(labels: Mapping[str, str], samples: bytes) -> bytes:
    """One ``TimeSeries`` as a field of a ``QueryResult``; labels sorted by name, empty ones left out."""
    head = remote_pb2.TimeSeries(
        labels=[remote_pb2.Label(name=name, value=labels[name]) for name in sorted(labels) if labels[name]]
    ).SerializeToString()
    return _field(1, len(head) + len(samples)) + head + samples


def encode(results: Sequence[Sequence[bytes]]) -> bytes:
    """The body of an answer, compressed: for each query the series of :func:`pack_series`."""
    parts: list[bytes] = []
    for series in results:
        parts.append(_field(1, sum(map(len, series))))
        parts.extend(series)
    return bytes(cramjam.snappy.compress_raw(b"".join(parts)))


def _field(number: int, length: int) -> bytes:
    head = bytearray((number << 3 | 2,))
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head)

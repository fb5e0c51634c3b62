"""Bytes of remote read: whatever comes in is a query or a clean refusal, and what goes out is what protobuf reads."""

import math
import re

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.prometheus import remote_pb2
from collector.prometheus.matching import Kind
from collector.prometheus.protocol import LARGEST_DECODED, BadRequest, decode, encode, pack_samples, pack_series

Type = remote_pb2.LabelMatcher.Type


def request(*queries: remote_pb2.Query, accepts: list[int] | None = None) -> bytes:
    body = remote_pb2.ReadRequest(queries=queries, accepted_response_types=accepts or []).SerializeToString()  # type: ignore[arg-type]
    return bytes(cramjam.snappy.compress_raw(body))


def name_is(name: str, kind: int = 0) -> remote_pb2.LabelMatcher:
    return remote_pb2.LabelMatcher(type=kind, name="__name__", value=name)  # type: ignore[arg-type]


def test_query_with_hints_is_narrowed_to_them() -> None:
    hints = remote_pb2.ReadHints(start_ms=200, end_ms=300, func="series")
    asked = remote_pb2.Query(start_timestamp_ms=100, end_timestamp_ms=400, matchers=[name_is("up")], hints=hints)
    (found,) = decode(request(asked))
    assert (found.start, found.end, found.func) == (200, 300, "series")
    assert found.matchers[0].kind is Kind.EQUAL


def test_query_before_1970_and_after_2109_is_cut() -> None:
    (found,) = decode(request(remote_pb2.Query(start_timestamp_ms=-(2**62), end_timestamp_ms=2**62)))
    assert (found.start, found.end) == (0, 2**42 - 1)


def test_declared_length_is_refused_before_anything_is_unpacked() -> None:
    bomb = b"\xff\xff\xff\x7f" + b"\x00" * 10  # snappy's preamble: 256 MiB to come
    with pytest.raises(BadRequest, match=f"found 268435455 bytes declared, expected at most {LARGEST_DECODED}"):
        decode(bomb)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "expected a snappy block"),
        (bytes(cramjam.snappy.compress_raw(b"\xff\xff\xff")), "expected a prometheus.ReadRequest in protobuf"),
        (request(accepts=[1]), "accepted_response_types: found no SAMPLES"),
        (request(*[remote_pb2.Query()] * 65), "queries: found 65, expected at most 64"),
        (request(remote_pb2.Query(matchers=[name_is("x")] * 65)), "queries[0].matchers: found 65, expected at most 64"),
        (request(remote_pb2.Query(matchers=[name_is("(a+)+", 2)])), "queries[0].matchers[0]: regular expression"),
        (
            request(remote_pb2.Query(matchers=[name_is("x", 9)])),
            "queries[0].matchers[0].type: found 9, expected 0 to 3",
        ),
    ],
)
def test_refusal_says_what_was_found_and_expected(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(words)):
        decode(body)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_queries_or_refused(body: bytes) -> None:
    for candidate in (body, bytes(cramjam.snappy.compress_raw(body))):
        try:
            decode(candidate)
        except BadRequest as refused:
            assert "expected" in str(refused) or "regular expression" in str(refused)


@given(st.lists(st.tuples(st.integers(0, 2**42 - 1), st.floats(allow_nan=False)), max_size=50))
def test_answer_is_what_protobuf_reads(samples: list[tuple[int, float]]) -> None:
    times, values = [time for time, _ in samples], [value for _, value in samples]
    series = pack_series({"__name__": "phrom_x", "site": "phen", "link": ""}, pack_samples(times, values))
    answer = remote_pb2.ReadResponse()
    answer.ParseFromString(bytes(cramjam.snappy.decompress_raw(encode([[series], []]))))
    assert len(answer.results) == 2
    (found,) = answer.results[0].timeseries
    assert [(label.name, label.value) for label in found.labels] == [("__name__", "phrom_x"), ("site", "phen")]
    assert [(one.timestamp, one.value) for one in found.samples] == samples


def test_long_answers_have_long_lengths() -> None:
    count = 100_000
    series = pack_series({"__name__": "phrom_x"}, pack_samples(range(count), [math.inf] * count))
    answer = remote_pb2.ReadResponse()
    answer.ParseFromString(bytes(cramjam.snappy.decompress_raw(encode([[series]]))))
    assert len(answer.results[0].timeseries[0].samples) == count

"""Batches: what is sealed is what arrives, the chain holds, and no number that JSON lacks gets through."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import samples
from wire import batch as b
from wire.observation import MOST_ENTRIES, Observation, Window
from wire.reasons import Outcome


def window(**more: object) -> Window:
    return Window(
        **{**samples.header(1, 2), "probe": "icmp", "target": "gateway", "outcome": Outcome.OK, **more}  # type: ignore[arg-type]
    )


@given(st.lists(st.lists(st.sampled_from(samples.evidence() + samples.monitor()), max_size=4), min_size=1, max_size=6))
def test_a_chain_names_each_predecessors_exact_bytes(groups: list[list[Observation]]):
    stream, prev, chain = b.new_stream_id(), b.GENESIS, []
    for seq, group in enumerate(groups, 1):
        sealed = b.seal(stream, b.StreamName.MONITOR, seq, prev, group)
        chain.append(sealed)
        prev = b.digest_of(sealed)
    expected = b.GENESIS
    for seq, (sealed, group) in enumerate(zip(chain, groups, strict=True), 1):
        batch = b.decode_batch(sealed)
        assert (batch.stream, batch.seq, batch.prev) == (stream, seq, expected)
        assert [b.decode_observation(raw) for raw in batch.observations] == group
        expected = b.digest_of(sealed)


@given(st.data())
def test_a_single_changed_byte_gives_another_digest(data):
    sealed = bytearray(samples.evidence_batch())
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    assert b.digest_of(bytes(sealed)) != b.digest_of(samples.evidence_batch())


def test_bytes_embedded_in_an_envelope_come_out_as_they_went_in():
    odd = b'{ "protocol":"1.0" , "later" : 1 }'
    envelope = msgspec.structs.replace(samples.envelope(), batches=[b.Sealed(b.digest_of(odd), msgspec.Raw(odd))])
    decoded = msgspec.json.decode(msgspec.json.encode(envelope), type=b.Envelope)
    assert bytes(decoded.batches[0].batch) == odd


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["values", "states"])
def test_a_number_that_is_not_finite_is_refused_before_it_is_sealed(part, value):
    with pytest.raises(ValueError, match=f"^jitter: found {value}, expected a finite number$"):
        b.encode_observation(window(**{part: {"jitter": value}}))
    with pytest.raises(ValueError, match="expected a finite number"):
        b.seal(samples.EVIDENCE_STREAM, b.StreamName.EVIDENCE, 1, b.GENESIS, [window(**{part: {"jitter": value}})])


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b'"1"'])
def test_a_number_that_is_not_one_is_refused_when_read(token):
    raw = b.encode_observation(window(values={"jitter": 0.5})).replace(b"0.5", token)
    with pytest.raises(msgspec.DecodeError):
        b.decode_observation(raw)


@pytest.mark.parametrize(
    "more",
    [
        {"counts": {"sent": -1}},
        {"counts": {f"n{number}": 1 for number in range(MOST_ENTRIES + 1)}},
        {"facts": {"x": "y" * 1001}},
        {"probe": ""},
        {"probe": "x" * 81},
        {"start": -1},
        {"end": 2**53 + 1},
    ],
)
def test_what_is_out_of_bounds_is_refused_when_read(more):
    with pytest.raises(msgspec.ValidationError):
        b.decode_observation(b.encode_observation(window(**more)))


def test_stream_ids_do_not_repeat():
    found = {b.new_stream_id() for _ in range(1000)}
    assert len(found) == 1000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in found)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_decode_error(data):
    for read in (b.decode_batch, b.decode_observation):
        try:
            read(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue

"""An old agent with a new collector, and the reverse (the rule in wire.version)."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support import samples
from wire import batch as b
from wire.observation import KINDS, Window
from wire.orders import Order, OrderKind, OrderStatus
from wire.reasons import Event, Limit, Reason, Refusal
from wire.settings import AgentSettings, Role
from wire.version import MAJOR, MINOR, PROTOCOL, UnknownProtocol, minor_of

RELEASES = sorted(path for path in samples.GOLDEN.iterdir() if path.is_dir())
BATCHES = ("evidence-batch.json", "monitor-batch.json")


def decode(kind: type[Any], message: dict[str, Any]) -> Any:
    return msgspec.json.decode(json.dumps(message), type=kind)


def plain(value: Any) -> dict[str, Any]:
    return dict(json.loads(msgspec.json.encode(value)))


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_every_release_of_the_past_is_read_whole(release: Path):
    envelope = msgspec.json.decode((release / "envelope.json").read_bytes(), type=b.Envelope)
    assert minor_of(envelope.protocol) <= MINOR
    assert len(envelope.batches) == len(BATCHES)
    kinds = set()
    for sealed, name in zip(envelope.batches, BATCHES, strict=True):
        exact = (release / name).read_bytes()
        assert bytes(sealed.batch) == exact
        assert sealed.digest == hashlib.sha256(exact).hexdigest() == b.digest_of(exact)
        batch = b.decode_batch(exact)
        observations = [b.decode_observation(raw) for raw in batch.observations]
        kinds |= {type(one).__name__.lower() for one in observations}
        for one in observations:
            assert one.reason is not Reason.UNRECOGNISED
            for histogram in getattr(one, "durations", {}).values():
                histogram.check()
    assert kinds == set(KINDS)
    receipt = msgspec.json.decode((release / "receipt.json").read_bytes(), type=b.Receipt)
    assert {one.kind for one in receipt.orders} <= {kind.value for kind in OrderKind}
    msgspec.json.decode((release / "settings.json").read_bytes(), type=AgentSettings)


def test_this_release_writes_what_its_golden_files_hold():
    held = {path.name: path.read_bytes() for path in (samples.GOLDEN / samples.RELEASE).iterdir()}
    assert held == samples.files(), (
        "the wire changed: if a field was added with a default, make golden files of a new release; "
        "never change those of a release that is out (python -m tests.support.samples)"
    )


def test_what_is_read_is_what_was_written():
    batch = b.decode_batch(samples.evidence_batch())
    assert [b.decode_observation(raw) for raw in batch.observations] == samples.evidence()
    assert msgspec.json.decode(msgspec.json.encode(samples.receipt()), type=b.Receipt) == samples.receipt()
    assert msgspec.json.decode(msgspec.json.encode(samples.settings()), type=AgentSettings) == samples.settings()


def test_fields_of_a_newer_peer_are_ignored_wherever_they_stand():
    for kind, value in ((b.Receipt, samples.receipt()), (AgentSettings, samples.settings())):
        assert decode(kind, newer(plain(value))) == value
    batch = newer(plain(b.decode_batch(samples.evidence_batch())))
    read = decode(b.Batch, batch)
    assert [b.decode_observation(raw) for raw in read.observations] == samples.evidence()


FREE = {"arguments", "settings", "site_name", "counts", "values", "states", "facts", "durations"}
"""Mappings of free names, where a new name would not be a new field but a new entry."""


def newer(value: Any) -> Any:
    """A message with a field of a later release in every struct."""
    if isinstance(value, dict):
        return {key: one if key in FREE else newer(one) for key, one in value.items()} | {"since_1_1": [{"x": None}]}
    return [newer(one) for one in value] if isinstance(value, list) else value


def test_a_record_of_an_unknown_kind_spoils_only_itself():
    strange = b'{"kind":"sketch","boot":"b","start":1,"end":2}'
    known = b.encode_observation(samples.evidence()[0])
    sealed = b.seal_encoded(samples.EVIDENCE_STREAM, b.StreamName.EVIDENCE, 2, b.GENESIS, [strange, known])
    batch = b.decode_batch(sealed)
    with pytest.raises(msgspec.ValidationError, match="sketch"):
        b.decode_observation(batch.observations[0])
    assert b.decode_observation(batch.observations[1]) == samples.evidence()[0]


def test_words_of_a_newer_writer_read_as_unrecognised():
    window, _, _, test, note, *_ = (plain(one) for one in samples.evidence())
    assert decode(Window, window | {"reason": "eaten_by_ants"}).reason is Reason.UNRECOGNISED
    assert b.decode_observation(json.dumps(note | {"event": "sang"}).encode()).event is Event.UNRECOGNISED  # type: ignore[union-attr]
    limits = b.decode_observation(json.dumps(test | {"limits": ["moon", "wifi"]}).encode()).limits  # type: ignore[union-attr]
    assert limits == (Limit.UNRECOGNISED, Limit.WIFI)


def test_a_receipt_of_a_newer_collector_deletes_nothing_that_is_not_understood():
    message = plain(samples.receipt())
    message["batches"][0]["status"] = "framed"
    message["batches"][2]["refusal"] = "full_moon"
    receipt = decode(b.Receipt, message)
    assert receipt.batches[0].status is b.BatchStatus.DEFERRED
    assert receipt.batches[2].refusal is Refusal.UNRECOGNISED


def test_an_answer_of_a_newer_agent_does_not_spoil_its_envelope():
    message = plain(samples.envelope())
    message["answers"][0]["status"] = "half_done"
    envelope = decode(b.Envelope, message)
    assert envelope.answers[0].status is OrderStatus.UNRECOGNISED
    assert len(envelope.batches) == 2


def test_an_order_of_an_unknown_kind_arrives_to_be_answered():
    message = plain(samples.receipt())
    message["orders"].append({"id": "x", "kind": "make_coffee", "arguments": {"sugar": 2}, "urgency": "high"})
    order = decode(b.Receipt, message).orders[-1]
    assert order == Order("x", "make_coffee", arguments={"sugar": 2})
    assert order.kind not in {kind.value for kind in OrderKind}


def test_an_older_peer_that_lacks_every_defaulted_field_is_read_with_the_defaults():
    envelope = decode(b.Envelope, {"protocol": PROTOCOL, "clock": {"boot": "b", "boottime": 1, "wall": 2}})
    assert (envelope.batches, envelope.answers, envelope.backlog, envelope.settings) == ([], [], {}, "")
    receipt = decode(b.Receipt, {"protocol": PROTOCOL, "received": 1, "sent": 2})
    assert (receipt.orders, receipt.live_every) == ([], 5.0)
    settings = decode(AgentSettings, {})
    assert (settings.role, settings.post_every, settings.meetings) == (Role.BOTH, 5.0, [])
    bare = {"boot": "b", "start": 1, "end": 2, "wall_start": 1, "wall_end": 2}
    window = b.decode_observation(
        json.dumps(bare | {"kind": "window", "probe": "icmp", "target": "gateway", "outcome": "ok"}).encode()
    )
    assert isinstance(window, Window)
    assert (window.counts, window.durations, window.settings) == ({}, {}, "")


@pytest.mark.parametrize("found", ["2.0", "0.9", "", "1", "one.two", "1.x", "1.1234567", "๑.0"])
def test_another_major_version_is_refused_in_plain_words(found):
    with pytest.raises(UnknownProtocol) as caught:
        minor_of(found)
    assert str(caught.value) == (
        f"protocol: found {found!r}, expected {MAJOR}.x such as {PROTOCOL}; update the older of the two sides"
    )


def test_a_newer_minor_version_is_read():
    assert minor_of(f"{MAJOR}.{MINOR + 7}") == MINOR + 7

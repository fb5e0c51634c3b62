"""An agent of another release at this collector: what earlier ones sent is taken, what later ones send is kept."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.store.reading import Refused, read_batch, read_observations
from tests.support import samples
from wire import batch as b
from wire.reasons import Reason, Refusal
from wire.version import MAJOR, MINOR

RELEASES = sorted(path for path in samples.GOLDEN.iterdir() if path.is_dir())


def sealed(protocol: str, *records: dict[str, Any]) -> b.Sealed:
    """A batch that a writer of that protocol made."""
    message = {
        "protocol": protocol,
        "stream": samples.MONITOR_STREAM,
        "name": "monitor",
        "seq": 1,
        "prev": b.GENESIS,
        "observations": list(records),
    }
    raw = json.dumps(message).encode()
    return b.Sealed(b.digest_of(raw), msgspec.Raw(raw))


def window(**more: Any) -> dict[str, Any]:
    return {**json.loads(b.encode_observation(samples.monitor()[1])), **more}


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_batches_of_every_release_are_taken_whole(release: Path):
    envelope = msgspec.json.decode((release / "envelope.json").read_bytes(), type=b.Envelope)
    for one in envelope.batches:
        batch, raw, digest = read_batch(one)
        assert digest.hex() == one.digest
        understood = read_observations(batch)
        assert (len(understood.observations), understood.not_understood) == (len(batch.observations), 0)
        assert raw == bytes(one.batch)


def test_a_newer_agents_kinds_and_words_spoil_nothing():
    newer = f"{MAJOR}.{MINOR + 1}"
    strange = {"kind": "sketch", "boot": "b", "start": 1, "end": 2}
    batch, _, _ = read_batch(sealed(newer, strange, window(reason="eaten_by_ants"), window(colour="red")))
    understood = read_observations(batch)
    assert understood.not_understood == 1
    assert [one.reason for one, _ in understood.observations] == [Reason.UNRECOGNISED, Reason.ASK_THE_PROVIDER]
    assert b'"eaten_by_ants"' in understood.observations[0][1]  # the word itself is kept, for a later release to read


def test_a_word_that_this_release_should_know_is_a_mistake():
    batch, _, _ = read_batch(sealed(f"{MAJOR}.{MINOR}", window(reason="eaten_by_ants")))
    with pytest.raises(Refused) as caught:
        read_observations(batch)
    assert caught.value.refusal is Refusal.UNKNOWN_REASON
    assert caught.value.detail.startswith("observations[0].reason: found a reason that protocol")


def test_another_major_version_is_refused_whatever_its_shape():
    raw = b'{"protocol":"2.0","blocks":[]}'
    with pytest.raises(Refused) as caught:
        read_batch(b.Sealed(b.digest_of(raw), msgspec.Raw(raw)))
    assert caught.value.refusal is Refusal.UNKNOWN_PROTOCOL

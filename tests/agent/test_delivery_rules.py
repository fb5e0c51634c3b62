"""The pure rules of delivery: back-off, Retry-After, lanes, and what a receipt settles."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import CAP, FIRST, LONGEST_ASKED, Backoff, retry_after
from agent.lanes import MOST, Lanes
from agent.settlement import settlement
from agent.spool import Waiting
from wire.batch import BatchReceipt, BatchStatus, Receipt, StreamName
from wire.reasons import Refusal
from wire.version import PROTOCOL


@given(st.integers(0, 2**32), st.integers(1, 100))
def test_back_off_grows_to_its_cap_with_jitter(seed: int, failures: int) -> None:
    backoff = Backoff(random.Random(seed))
    for number in range(failures):
        step = min(CAP, FIRST * 2**number)
        assert step / 2 <= backoff.failed() <= step
    backoff.worked()
    assert backoff.failed() <= FIRST


def test_agents_do_not_come_back_together() -> None:
    waits = [Backoff(random.Random(seed)) for seed in range(100)]
    for one in waits:
        for _ in range(10):
            one.failed()
    found = sorted(one.failed() for one in waits)
    assert found[90] - found[10] > 15


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("120", "", 120.0),
        (" 7 ", "", 7.0),
        ("99999999999", "", LONGEST_ASKED),
        ("Sat, 21 Nov 2026 03:00:30 GMT", "Sat, 21 Nov 2026 03:00:00 GMT", 30.0),
        ("Sat, 21 Nov 2026 02:00:00 GMT", "Sat, 21 Nov 2026 03:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2026 03:00:30 GMT", "", None),
        ("-5", "", None),
        ("soon", "Sat, 21 Nov 2026 03:00:00 GMT", None),
        ("", "", None),
    ],
)
def test_retry_after(value: str, date: str, expected: float | None) -> None:
    assert retry_after(value, date) == expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_retry_after_takes_any_text(value: str, date: str) -> None:
    found = retry_after(value, date)
    assert found is None or 0 <= found <= LONGEST_ASKED


def test_lanes_halve_for_a_small_proxy_and_recover() -> None:
    lanes = Lanes()
    assert lanes.live().most == MOST and lanes.backlog(0).most == MOST
    for sent in (MOST, 64, 32):
        lanes.too_large(sent)
    assert lanes.live().most == 16 and lanes.backlog(16).most == 0
    for _ in range(10):
        lanes.fits()
    assert lanes.live().most == MOST
    lanes.too_large(1)
    assert lanes.live().most == 1


def batch(number: int) -> Waiting:
    return Waiting(number, "a" * 32, number, StreamName.MONITOR, "d", b"{}")


receipts = st.lists(
    st.builds(
        BatchReceipt,
        stream=st.sampled_from(["a" * 32, "b" * 32]),
        seq=st.integers(1, 12),
        status=st.sampled_from(BatchStatus),
        refusal=st.none() | st.sampled_from(Refusal),
        detail=st.text(max_size=600),
    ),
    max_size=20,
)


@given(receipts)
def test_only_stored_and_duplicate_delete_and_only_what_was_sent(answers: list[BatchReceipt]) -> None:
    sent = [batch(number) for number in range(1, 9)]
    outcome = settlement(sent, Receipt(protocol=PROTOCOL, received=0, sent=0, batches=answers))
    good = {
        one.seq
        for one in answers
        if one.stream == "a" * 32 and one.status in (BatchStatus.STORED, BatchStatus.DUPLICATE)
    }
    delivered = {one.seq for one in outcome.delivered}
    refused = {one.seq for one in outcome.refused}
    deferred = set(outcome.deferred)
    assert delivered <= good & set(range(1, 9))
    assert not (delivered & refused or delivered & deferred or refused & deferred)
    assert delivered | refused | deferred <= {one.seq for one in answers if one.stream == "a" * 32}
    assert all(len(one.detail) <= 500 for one in outcome.refused)


@given(st.binary(max_size=300))
def test_any_bytes_for_a_receipt_are_refused_or_read(body: bytes) -> None:
    try:
        receipt = msgspec.json.decode(body, type=Receipt)
    except msgspec.DecodeError:
        return
    settlement([batch(1)], receipt)

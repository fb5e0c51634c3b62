"""Leases: only what the collector signed, unaltered and in its time, gives a right; and only to whoever has the key."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lending import NOW, SECRET, granted, lease
from wire.clock import SECOND
from wire.lease import (
    KEY_BYTES,
    LONGEST_TOKEN,
    PROOF_BYTES,
    SKEW,
    BadLease,
    Expired,
    Forged,
    Lease,
    LeaseRequest,
    Malformed,
    NoLease,
    NotYet,
    Purpose,
    grant,
    key_of,
    new_id,
    proof,
    proves,
    read,
)

ids = st.text("0123456789abcdef", min_size=16, max_size=16)
names = st.text(min_size=1, max_size=64)
leases = st.builds(
    Lease,
    id=ids,
    purpose=st.sampled_from(Purpose),
    responder=names,
    site=names,
    link=st.text(max_size=64),
    issued=st.integers(NOW - SKEW, NOW + SKEW),
    expires=st.integers(NOW + 1, NOW + 10**12),
    down=st.integers(0, 10**11),
    up=st.integers(0, 10**11),
    seconds=st.floats(0.001, 86_400),
    bytes=st.integers(0, 10**12),
)


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(leases)
def test_what_was_signed_is_read_back(one: Lease) -> None:
    made = grant(one, SECRET)
    if len(made.token) <= LONGEST_TOKEN:
        assert read(made.token, SECRET, NOW) == one
    assert bytes.fromhex(made.key) == key_of(one.id, SECRET)


def test_a_lease_of_the_longest_plain_names_fits_into_a_token() -> None:
    long = lease(responder="r" * 63, site="s" * 63, link="l" * 63, bytes=10**12, down=10**11, up=10**11)
    assert len(grant(long, SECRET).token) <= LONGEST_TOKEN


@given(leases.filter(lambda one: len(grant(one, SECRET).token) <= LONGEST_TOKEN), st.data())
def test_no_altered_token_is_read(one: Lease, data: st.DataObject) -> None:
    token = grant(one, SECRET).token
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.=").filter(lambda character: character != token[at]))
    with pytest.raises((Forged, Malformed)):
        read(token[:at] + other + token[at + 1 :], SECRET, NOW)
    with pytest.raises((Forged, Malformed)):
        read(token[:at], SECRET, NOW)


@given(st.text(max_size=700) | st.binary(max_size=400).map(lambda raw: f"{text(raw)}.{text(raw[:32])}"))
def test_nonsense_is_told_as_a_bad_lease_and_nothing_else(token: str) -> None:
    with pytest.raises(BadLease):
        read(token, SECRET, NOW)


def test_a_token_of_another_collector_is_forged() -> None:
    words = "its signature is not by this responder's collector; compare the two key files"
    with pytest.raises(Forged, match=words):
        read(granted(secret=b"x" * 32).token, SECRET, NOW)


def test_one_lease_has_one_token() -> None:
    """The last character of base64 has bits that are not read: they must be zero."""
    token = granted().token
    alike = [token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    good = []
    for one in alike:
        try:
            read(one, SECRET, NOW)
            good.append(one)
        except BadLease:
            continue
    assert good == [token]


def test_a_token_holds_from_its_issue_to_its_end() -> None:
    token = granted(issued=NOW, expires=NOW + 60 * SECOND).token
    with pytest.raises(NotYet, match=r"issued 31 s in the future; compare the clocks"):
        read(token, SECRET, NOW - 31 * SECOND)
    assert read(token, SECRET, NOW - SKEW).issued == NOW
    assert read(token, SECRET, NOW + 60 * SECOND - 1).issued == NOW
    with pytest.raises(Expired, match=r"expired 5 s ago"):
        read(token, SECRET, NOW + 65 * SECOND)
    with pytest.raises(Expired):
        read(token, SECRET, NOW + 60 * SECOND)


def test_what_is_signed_but_no_lease_is_malformed() -> None:
    body = msgspec.json.encode(msgspec.structs.replace(lease(), down=-1))
    import hashlib
    import hmac

    signature = hmac.digest(SECRET, b"phrom lease\0" + body, hashlib.sha256)
    with pytest.raises(Malformed, match="down"):
        read(f"{text(body)}.{text(signature)}", SECRET, NOW)


def test_a_token_that_is_too_long_is_not_read_at_all() -> None:
    with pytest.raises(Malformed, match=f"found {LONGEST_TOKEN + 1} characters, expected at most {LONGEST_TOKEN}"):
        read("A" * (LONGEST_TOKEN + 1), SECRET, NOW)


@given(ids, st.binary(min_size=16, max_size=16), st.binary(max_size=40))
def test_a_proof_is_of_one_key_one_challenge_and_one_opening(identity: str, challenge: bytes, context: bytes) -> None:
    key = key_of(identity, SECRET)
    shown = proof(key, challenge, context)
    assert (len(key), len(shown)) == (KEY_BYTES, PROOF_BYTES)
    assert proves(shown, key, challenge, context)
    assert not proves(shown, key_of(identity, b"y" * 32), challenge, context)
    assert not proves(shown, key, challenge[:-1] + bytes([challenge[-1] ^ 1]), context)
    assert not proves(shown, key, challenge, context + b"!")
    assert not proves(shown[:-1], key, challenge, context)


def test_the_key_is_not_in_the_token() -> None:
    made = granted()
    body = base64.urlsafe_b64decode(made.token.partition(".")[0] + "==")
    assert made.key.encode() not in body
    assert bytes.fromhex(made.key) not in base64.urlsafe_b64decode(made.token.partition(".")[2] + "==")


def test_each_lease_has_a_key_of_its_own() -> None:
    assert len({key_of(f"{number:016x}", SECRET) for number in range(100)}) == 100


def test_ids_are_random() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000


def test_words_of_a_newer_collector_are_read() -> None:
    assert NoLease("some_new_cause") is NoLease.UNRECOGNISED
    assert msgspec.json.decode(b'{"purpose":"stamp","later":1}', type=LeaseRequest).responder == ""

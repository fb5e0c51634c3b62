"""STAMP packets against byte layouts written by hand after RFC 8762 sections 4.2 and 4.3 and RFC 8972 section 3."""

import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import stamp
from wire.stamp import (
    BadHmac,
    BadStamp,
    BadTlv,
    ErrorEstimate,
    Flag,
    ReflectorPacket,
    SenderPacket,
    Tlv,
    TlvType,
    TooShort,
    error_estimate,
    read_reflector,
    read_sender,
    read_tlvs,
    reflected_tlvs,
    write_reflector,
    write_sender,
    write_tlvs,
)

KEY = b"k" * 32
HALF = 1_600_000_000_500_000_000
"""2020-09-13 12:26:40.5 UTC in nanoseconds."""
HALF_NTP = bytes.fromhex("e3088e8080000000")
"""3 808 988 800 seconds since 1900, and a half."""
HALF_PTP = bytes.fromhex("5f5e10001dcd6500")
"""1 600 000 000 seconds since 1970, and 500 000 000 ns."""
GOOD = ErrorEstimate(True, False, 5, 200)
GOOD_BYTES = b"\x85\xc8"


def mac(body: bytes, key: bytes = KEY) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:16]


PLAIN_SENDER = b"\x00\x00\x01\x02" + HALF_NTP + GOOD_BYTES + b"\xab\xcd" + bytes(28)
AUTH_SENDER_BODY = b"\x00\x00\x01\x02" + bytes(12) + HALF_NTP + GOOD_BYTES + b"\xab\xcd" + bytes(68)
PLAIN_REFLECTOR = (
    b"\x00\x00\x00\x07" + HALF_NTP + GOOD_BYTES + b"\xab\xcd" + HALF_NTP
    + b"\x00\x00\x01\x02" + b"sender_t" + b"\x05\x11" + bytes(2) + b"\x3f" + bytes(3)
)  # fmt: skip
AUTH_REFLECTOR_BODY = (
    b"\x00\x00\x00\x07" + bytes(12) + HALF_NTP + GOOD_BYTES + b"\xab\xcd" + bytes(4) + HALF_NTP + bytes(8)
    + b"\x00\x00\x01\x02" + bytes(12) + b"sender_t" + b"\x05\x11" + bytes(6) + b"\x3f" + bytes(15)
)  # fmt: skip
SENDER = SenderPacket(0x102, HALF, GOOD, 0xABCD)
REFLECTOR = ReflectorPacket(
    7, HALF, GOOD, 0xABCD, HALF, 0x102, b"sender_t", ErrorEstimate(False, False, 5, 17), 63
)  # fmt: skip


def test_the_packets_are_laid_out_as_the_rfc_draws_them():
    assert [len(PLAIN_SENDER), len(PLAIN_REFLECTOR)] == [44, 44]
    assert [len(AUTH_SENDER_BODY), len(AUTH_REFLECTOR_BODY)] == [96, 96]
    assert write_sender(SENDER) == PLAIN_SENDER
    assert write_sender(SENDER, KEY) == AUTH_SENDER_BODY + mac(AUTH_SENDER_BODY)
    assert write_reflector(REFLECTOR) == PLAIN_REFLECTOR
    assert write_reflector(REFLECTOR, KEY) == AUTH_REFLECTOR_BODY + mac(AUTH_REFLECTOR_BODY)


def test_layouts_written_by_hand_are_read():
    assert read_sender(PLAIN_SENDER) == SENDER
    assert read_sender(AUTH_SENDER_BODY + mac(AUTH_SENDER_BODY), KEY) == SENDER
    assert read_reflector(PLAIN_REFLECTOR) == REFLECTOR
    assert read_reflector(AUTH_REFLECTOR_BODY + mac(AUTH_REFLECTOR_BODY), KEY) == REFLECTOR
    assert stamp.ssid_of(PLAIN_SENDER, authenticated=False) == 0xABCD
    assert stamp.ssid_of(AUTH_SENDER_BODY + mac(AUTH_SENDER_BODY), authenticated=True) == 0xABCD
    assert stamp.sender_time_of(PLAIN_SENDER, authenticated=False) == HALF_NTP
    assert stamp.sender_time_of(AUTH_SENDER_BODY, authenticated=True) == HALF_NTP


def test_ptp_time_stamps_are_told_by_the_error_estimate():
    ptp = ErrorEstimate(True, True, 5, 200)
    raw = write_sender(SENDER._replace(error=ptp))
    assert raw[4:14] == HALF_PTP + b"\xc5\xc8"
    assert read_sender(raw).time == HALF
    answer = write_reflector(REFLECTOR._replace(error=ptp))
    assert (answer[4:12], answer[16:24]) == (HALF_PTP, HALF_PTP)
    assert read_reflector(answer) == REFLECTOR._replace(error=ptp)
    with pytest.raises(BadStamp, match="found 4294967295 nanoseconds"):
        stamp.read_timestamp(b"\0" * 4 + b"\xff" * 4, ptp=True)


def test_ntp_time_runs_on_into_its_second_era():
    after_2036 = 2_085_978_496_000_000_000  # 2036-02-07 06:28:16 UTC
    assert stamp.ntp_timestamp(after_2036) == bytes(8)
    assert stamp.read_timestamp(bytes(8), ptp=False) == after_2036


@given(st.integers(0, 4_102_444_800_000_000_000))
def test_time_stamps_keep_the_nanosecond(at):
    for ptp in (False, True):
        assert stamp.read_timestamp(stamp.timestamp(at, ptp=ptp), ptp=ptp) == at


@pytest.mark.parametrize("key", [None, KEY])
def test_a_packet_cut_short_is_refused(key):
    raw = write_sender(SENDER, key)
    with pytest.raises(TooShort, match=f"found {len(raw) - 1} bytes, expected at least {len(raw)}"):
        read_sender(raw[:-1], key)
    with pytest.raises(TooShort):
        read_reflector(raw[:-1], key)
    with pytest.raises(TooShort):
        stamp.ssid_of(raw[:-1], authenticated=key is not None)


@given(st.integers(0, 111), st.integers(1, 255))
def test_one_altered_byte_anywhere_breaks_the_hmac(at, by):
    for raw, read in ((write_sender(SENDER, KEY), read_sender), (write_reflector(REFLECTOR, KEY), read_reflector)):
        altered = bytearray(raw)
        altered[at] ^= by
        with pytest.raises(BadHmac):
            read(bytes(altered), KEY)


@given(st.binary(max_size=130), st.integers(0, 2**32 - 1))
def test_the_hmac_is_the_standard_one_for_keys_of_every_length(key, number):
    raw = write_sender(SENDER._replace(sequence=number), key)
    assert raw[96:] == mac(raw[:96], key)


@pytest.mark.parametrize("length", [0, 32, 63, 64, 65, 200])
def test_the_hmac_is_the_standard_one_on_both_sides_of_a_block(length):
    raw = write_sender(SENDER, b"x" * length)
    assert raw[96:] == mac(raw[:96], b"x" * length)


def test_another_key_is_refused():
    with pytest.raises(BadHmac):
        read_sender(write_sender(SENDER, b"o" * 32), KEY)


estimates = st.builds(ErrorEstimate, st.booleans(), st.booleans(), st.integers(0, 63), st.integers(1, 255))
times = st.integers(0, 4_000_000_000_000_000_000)
keys = st.none() | st.binary(min_size=32, max_size=32)


@given(st.builds(SenderPacket, st.integers(0, 2**32 - 1), times, estimates, st.integers(0, 0xFFFF)), keys)
def test_a_senders_packet_is_read_as_it_was_written(packet, key):
    assert read_sender(write_sender(packet, key), key) == packet


@given(
    st.builds(
        ReflectorPacket, st.integers(0, 2**32 - 1), times, estimates, st.integers(0, 0xFFFF), times,
        st.integers(0, 2**32 - 1), st.binary(min_size=8, max_size=8), estimates, st.integers(0, 255),
    ),
    keys,
)  # fmt: skip
def test_a_reflectors_packet_is_read_as_it_was_written(packet, key):
    assert read_reflector(write_reflector(packet, key), key) == packet


@given(st.binary(max_size=200), keys)
def test_any_bytes_are_read_or_refused(raw, key):
    for read in (read_sender, read_reflector):
        with contextlib.suppress(BadStamp):
            read(raw, key)


def test_an_error_estimate_is_as_rfc_4656_says():
    assert error_estimate(0, synchronised=True).multiplier == 1
    assert ErrorEstimate(True, False, 5, 200).number == 0x85C8
    assert ErrorEstimate.read(0x4501) == ErrorEstimate(False, True, 5, 1)
    assert ErrorEstimate(True, False, 32, 1).nanoseconds == 1_000_000_000
    assert error_estimate(10**30, synchronised=False)[2:] == (63, 255)


@given(st.integers(0, 10**14), st.booleans())
def test_an_error_estimate_is_never_too_small_and_never_twice_too_large(error, synchronised):
    found = error_estimate(error, synchronised=synchronised)
    assert error <= found.nanoseconds <= max(2, 1.02 * error + 2)
    assert ErrorEstimate.read(found.number) == found


def test_tlvs_are_laid_out_as_rfc_8972_draws_them():
    raw = write_tlvs([Tlv(TlvType.EXTRA_PADDING, b"pad"), Tlv(TlvType.LEASE, b"")])
    assert raw == b"\x80\x01\x00\x03pad" + b"\x80\xfc\x00\x00"
    assert read_tlvs(b"??" + raw, 2) == [Tlv(1, b"pad", Flag.UNRECOGNISED), Tlv(252, b"", Flag.UNRECOGNISED)]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\x80\x01\x00", "TLV: found 3 bytes at 0, expected a header of 4"),
        (b"\x80\x01\x00\x02x", "TLV 1: found 1 bytes, expected 2"),
    ],
)
def test_a_tlv_longer_than_the_packet_is_refused(raw, says):
    with pytest.raises(BadTlv, match=says):
        read_tlvs(raw, 0)


@given(st.lists(st.builds(Tlv, st.integers(0, 255), st.binary(max_size=30), st.sampled_from(list(Flag))), max_size=5))
def test_tlvs_are_read_as_they_were_written(tlvs):
    assert read_tlvs(write_tlvs(tlvs), 0) == tlvs


def test_a_reflector_marks_what_it_does_not_understand():
    raw = write_tlvs([Tlv(1, b"pad"), Tlv(7, b"ab")])
    assert reflected_tlvs(raw, 0, authenticated=False) == b"\x00\x01\x00\x03pad" + b"\x80\x07\x00\x02ab"
    assert reflected_tlvs(raw, 0, authenticated=True) == b"\x00\x01\x00\x03pad" + b"\xa0\x07\x00\x02ab"


def test_a_reflector_marks_what_is_malformed_and_returns_the_rest_as_it_was():
    assert reflected_tlvs(b"\x80\x01\x00\x09pad", 0, authenticated=False) == b"\x40\x01\x00\x09pad"
    assert reflected_tlvs(b"\x80\x07\x00\x09pad", 0, authenticated=True) == b"\xe0\x07\x00\x09pad"
    assert reflected_tlvs(b"\x80\x01", 0, authenticated=False) == b"\xc0\x01"


@given(st.binary(max_size=80), st.booleans())
def test_what_is_reflected_is_as_long_as_what_came(raw, authenticated):
    assert len(reflected_tlvs(raw, 0, authenticated=authenticated)) == len(raw)

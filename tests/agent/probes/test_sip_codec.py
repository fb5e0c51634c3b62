"""SIP messages: what we send, what we understand, and arbitrary bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.probes.sip.codec import MAGIC, MOST_HEAD, MalformedSip, head_end, options, parse

ANSWER = (
    b"SIP/2.0 200 OK\r\n"
    b"v: SIP/2.0/UDP 192.0.2.10:5060;rport=5060 ;received=192.0.2.10; branch=z9hG4bKabc\r\n"
    b"f: <sip:anonymous@anonymous.invalid>;tag=1\r\n"
    b"Subject: folded\r\n  over two lines\r\n"
    b"l: 0\r\n\r\n"
)


def test_the_request_is_what_rfc_3261_asks_for():
    text = options("sip.example.go.th", 5060, "udp", ("192.0.2.10", 40000), "ab" * 12).decode()
    lines = text.split("\r\n")
    assert lines[0] == "OPTIONS sip:sip.example.go.th:5060 SIP/2.0"
    names = {line.partition(":")[0] for line in lines[1:] if line}
    assert {"Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Content-Length"} <= names
    assert f"Via: SIP/2.0/UDP 192.0.2.10:40000;rport;branch={MAGIC}{'ab' * 12}" in lines
    assert text.endswith("\r\n\r\n")
    assert "sip:[2001:db8::1]:5060;transport=tcp" in options("2001:db8::1", 5060, "tcp", ("::1", 1), "00" * 12).decode()


def test_compact_folded_and_oddly_spaced_headers():
    response = parse(ANSWER)
    assert (response.status, response.phrase, response.branch) == (200, "OK", "z9hG4bKabc")
    assert response.first("subject") == "folded over two lines"
    assert response.first("from") == "<sip:anonymous@anonymous.invalid>;tag=1"
    assert head_end(ANSWER + b"body") == len(ANSWER)


@given(st.integers(100, 699), st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30))
def test_status_and_phrase_come_back(status, phrase):
    response = parse(f"SIP/2.0 {status} {phrase}\r\nVia: x;branch=z9hG4bK1\r\n\r\n".encode())
    assert (response.status, response.phrase, response.branch) == (status, phrase.strip(), "z9hG4bK1")


def looked_at(data: bytes) -> None:
    """Everything the probe does with bytes from outside."""
    for read in (parse, head_end):
        try:
            found = read(data)
        except MalformedSip:
            continue
        if found is not None and not isinstance(found, int):
            assert 100 <= found.status <= 699
            assert found.branch != ""


@given(st.binary(max_size=300))
@example(b"")
@example(b"\r\n\r\n")
@example(b"SIP/2.0 200 OK\r\n\r\n")
@example("SIP/2.0 ๒๐๐ OK\r\n\r\n".encode())
def test_arbitrary_bytes_raise_only_the_named_error(data):
    looked_at(data)
    looked_at(b"SIP/2.0 200 OK\r\n" + data + b"\r\n\r\n")


@given(st.integers(0, len(ANSWER) - 1), st.binary(max_size=4))
def test_a_damaged_answer_raises_only_the_named_error(at, put):
    looked_at(ANSWER[:at] + put + ANSWER[at + 1 :])
    looked_at(ANSWER[:at])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"SIP/2.0 200 OK\r\n", "found no empty line, expected one behind the headers"),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "status line: found 'HTTP/1.1 400 Bad', expected such as 'SIP/2.0 200 OK'"),
        (b"SIP/2.0 700 No\r\n\r\n", "status line: found 'SIP/2.0 700 No', expected such as 'SIP/2.0 200 OK'"),
        (b"SIP/2.0 200 OK\r\nnothing\r\n\r\n", "header: found 'nothing', expected a name, a colon and a value"),
    ],
)
def test_the_error_says_what_was_found(data, text):
    with pytest.raises(MalformedSip) as caught:
        parse(data)
    assert str(caught.value) == text


def test_a_stream_without_end_is_given_up():
    assert head_end(b"SIP/2.0 200 OK\r\nA: " + b"x" * 100) is None
    with pytest.raises(MalformedSip, match="more than 65536 bytes"):
        head_end(b"SIP/2.0 200 OK\r\nA: " + b"x" * MOST_HEAD)
    with pytest.raises(MalformedSip, match=r"expected SIP/2\.0"):
        head_end(b"SSH-2.0-OpenSSH")

"""SIP OPTIONS (RFC 3261, section 11): the request as bytes, and answers out of bytes, without I/O.

:class:`MalformedSip` is the only error any bytes can cause.
"""

import re
from typing import NamedTuple

MOST_HEAD = 65_536
"""Bytes of status line and headers that are accepted."""
MAGIC = "z9hG4bK"
"""What a branch begins with, so that it identifies a transaction (RFC 3261, section 8.1.1.7)."""
_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "l": "content-length"}
_STATUS = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: (.*))?", re.DOTALL | re.ASCII)
_BRANCH = re.compile(r";\s*branch\s*=\s*([^\s;,]+)", re.IGNORECASE)


class MalformedSip(Exception):
    """Bytes that are no SIP response; the text says what is wrong."""


class Response(NamedTuple):
    """A response: status code (100 to 699), phrase, and headers by lower-case long name, in order."""

    status: int
    phrase: str
    headers: tuple[tuple[str, str], ...]

    def first(self, name: str) -> str | None:
        """The first header of a (lower-case) name."""
        return next((value for found, value in self.headers if found == name), None)

    @property
    def branch(self) -> str | None:
        """The branch of the topmost Via: the transaction this answers."""
        found = _BRANCH.search(self.first("via") or "")
        return found.group(1) if found else None


def options(host: str, port: int, transport: str, local: tuple[str, int], token: str) -> bytes:
    """An OPTIONS request to ``sip:host:port``. ``token`` (hex) makes branch, tag and Call-ID unique.

    The user is ``anonymous@anonymous.invalid`` (RFC 3323): the request names nobody. ``rport`` (RFC 3581) has the
    answer come back through NAT.
    """
    uri = f"sip:{_bracketed(host)}:{port}" + (";transport=tcp" if transport == "tcp" else "")
    return (
        f"OPTIONS {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport.upper()} {_bracketed(local[0])}:{local[1]};rport;branch={MAGIC}{token}\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:anonymous@anonymous.invalid>;tag={token[:10]}\r\n"
        f"To: <{uri}>\r\n"
        f"Call-ID: {token}@anonymous.invalid\r\n"
        "CSeq: 1 OPTIONS\r\n"
        "Accept: application/sdp\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def head_end(data: bytes) -> int | None:
    """Where the headers of a stream end (behind the empty line), or ``None`` if more bytes are needed.

    Raises :class:`MalformedSip` for a head that is too long or whose first bytes cannot be SIP.
    """
    end = data.find(b"\r\n\r\n")
    if end >= 0 and end <= MOST_HEAD:
        return end + 4
    start = data.lstrip(b"\r\n")[:8]
    if start != b"SIP/2.0 "[: len(start)]:
        raise MalformedSip(f"found {bytes(start)!r}, expected SIP/2.0")
    if len(data) > MOST_HEAD:
        raise MalformedSip(f"found more than {MOST_HEAD} bytes of headers")
    return None


def parse(data: bytes) -> Response:
    """The response at the head of ``data`` (a datagram, or a stream up to :func:`head_end`); its body is not read."""
    head, empty_line, _ = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not empty_line:
        raise MalformedSip("found no empty line, expected one behind the headers")
    if len(head) > MOST_HEAD:
        raise MalformedSip(f"found {len(head)} bytes of headers, expected at most {MOST_HEAD}")
    first, *lines = head.decode("utf-8", errors="replace").split("\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise MalformedSip(f"status line: found {first[:60]!r}, expected such as 'SIP/2.0 200 OK'")
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in (" ", "\t") and headers:  # a folded header (section 7.3.1)
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise MalformedSip(f"header: found {line[:60]!r}, expected a name, a colon and a value")
        name = name.strip().lower()
        headers.append((_COMPACT.get(name, name), value.strip()))
    return Response(int(status.group(1)), (status.group(2) or "").strip(), tuple(headers))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host

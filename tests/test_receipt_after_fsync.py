"""The kernel as witness: a receipt leaves only after fsync of the batch it covers has returned."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.chain import Chain
from tests.support.store import Chain as Stream
from tests.support.store import clock, window
from wire.batch import Envelope
from wire.version import PROTOCOL

CALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(recvfrom|fdatasync|fsync|sendto)(?:\((.*)| resumed>(.*))$")


def post(url: str, body: bytes, token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - http on loopback
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return json.load(answer)


def events(trace: str) -> list[str]:
    """``posted``, ``synced`` and ``receipt`` in the order in which the calls returned (or, for a send, began)."""
    found = []
    for line in trace.splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        name, rest = call[2], call[3] or call[4] or ""
        if name == "recvfrom" and "POST /api/v1/observations" in rest:
            found.append("posted")
        elif name in ("fdatasync", "fsync") and re.search(r"= 0$", rest):
            found.append("synced")
        elif name == "sendto" and "HTTP/1.1 200" in rest and r"\"batches\"" in rest:
            found.append("receipt")
    return found


@pytest.mark.tool("strace")
def test_the_receipt_leaves_after_the_sync(tmp_path: Path) -> None:
    chain = Chain(tmp_path, "assignments: []\n")
    trace = tmp_path / "trace"
    calls = "trace=recvfrom,fdatasync,fsync,sendto"
    chain.start_collector("strace", "-f", "-qq", "-s", "4096", "-e", calls, "-o", str(trace))
    try:
        asked = msgspec.json.encode({"protocol": PROTOCOL, "code": chain.code(), "machine": "test"})
        token = post(f"{chain.url}/api/v1/join", asked)["token"]
        stream = Stream()
        rounds = 5
        for minute in range(1, rounds + 1):
            one = stream.seal(window(minute * 60_000_000))
            envelope = Envelope(protocol=PROTOCOL, clock=clock(minute * 60_000_000, anchored=False), batches=[one])
            receipt = post(f"{chain.url}/api/v1/observations", msgspec.json.encode(envelope), token)
            assert receipt["batches"][0]["status"] == "stored"
    finally:
        chain.end()
    seen = events(trace.read_text("utf-8", "replace"))
    assert seen.count("receipt") == rounds
    synced = False
    for event in seen:
        if event == "posted":
            synced = False
        elif event == "synced":
            synced = True
        else:
            assert synced, "a receipt left before any fsync since its batch arrived"

"""Every probe of a host on a machine without any route: a failure of the path, said alike, and no crash."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, json
from tests.support.measuring import measure

ASKED = {
    "tcp": dict(host="192.0.2.1", port=443),
    "tls": dict(host="192.0.2.1"),
    "http": dict(url="http://192.0.2.1/"),
    "dns": dict(name="zoom.us", server="192.0.2.53"),
    "stun": dict(host="192.0.2.1", controls=["198.51.100.1:3478", "203.0.113.1:3478"]),
    "sip": dict(host="192.0.2.1"),
    "tcp to a name": dict(host="zoom.us", port=443),
    "tcp by IPv6": dict(host="2001:db8::1", port=443),
}

async def main():
    found = {what: await measure(what.split()[0], **settings) for what, settings in ASKED.items()}
    print(json.dumps({what: [one.outcome, one.reason] for what, one in found.items()}))

asyncio.run(main())
"""


@pytest.mark.root
@pytest.mark.tool("unshare")
def test_no_route_is_said_by_every_probe():
    command = ["unshare", "--net", sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    by_name, by_ipv6 = found.pop("tcp to a name"), found.pop("tcp by IPv6")
    assert found == {key: ["failed", "no_route"] for key in ("tcp", "tls", "http", "dns", "stun", "sip")}
    assert by_name[0] == "failed"
    assert by_name[1] in (
        "name_server_failed",
        "name_server_silent",
    )  # what the C library tells of an unreachable server
    assert by_ipv6 == ["skipped", "no_ipv6"]

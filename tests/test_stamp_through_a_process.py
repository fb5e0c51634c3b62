"""The stamp probe of the agent against ``phrom-collector responder``, the process that a province runs."""

import asyncio
import json
import sys
from pathlib import Path

from agent.probe import Span, Target
from agent.probes.stamp import Stamp, StampSettings
from collector.responder.keys import ensure_key
from tests.support.stamp_lender import Lender
from wire.reasons import Outcome

SETTINGS = """\
id: hall
bind: 127.0.0.1
tcp_port: 0
udp_port: 0
stamp_port: 0
sends_mbps: 80
takes_mbps: 200
log: json
key_file: {key}
"""


async def test_a_real_responder_reflects_for_a_real_probe(tmp_path: Path) -> None:
    key = tmp_path / "hall.key"
    secret = await asyncio.to_thread(ensure_key, key)
    file = tmp_path / "responder.yaml"
    await asyncio.to_thread(file.write_text, SETTINGS.format(key=key))
    command = (sys.executable, "-m", "collector.cli", "responder", str(file))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    probe = Stamp()
    try:
        assert process.stdout is not None
        port = 0
        async with asyncio.timeout(30):
            while not port:
                port = json.loads(await process.stdout.readline()).get("stamp", 0)
        target = Target("hall", "", StampSettings(responder="hall", host="127.0.0.1", port=port), Lender(secret=secret))
        found = await probe.measure(target, Span(1.0, 11))
    finally:
        probe.close()
        process.terminate()
        await process.communicate()
    assert found.outcome is Outcome.OK
    assert found.counts["sent"] == found.counts["sent_up"] == found.counts["sent_down"] >= 3
    assert found.counts["lost"] == 0
    assert process.returncode == 0

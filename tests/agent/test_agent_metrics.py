"""The agent's /metrics, judged by promtool."""

import asyncio
import subprocess

import pytest

from agent.metrics import Exposition, Gauge, Tally, serve
from wire.histogram import Histogram
from wire.observation import Window
from wire.reasons import Outcome, Reason


def window(target: str = "gateway", **fields: object) -> Window:
    given = {"outcome": Outcome.OK, "probe": "icmp", **fields}
    return Window(boot="b", start=0, end=1, wall_start=0, wall_end=1, target=target, **given)  # type: ignore[arg-type]


def filled() -> Exposition:
    tally = Tally()
    tally.window(
        window(
            counts={"sent": 60, "lost": 1},
            values={"jitter": 0.001, "certificate_expiry": 86_400.0},
            durations={"rtt": Histogram.of([1_000_000, 2_000_000], lost=1)},
        ),
        60.0,
    )
    tally.window(
        window("dead", outcome=Outcome.FAILED, reason=Reason.NO_REPLY, durations={"rtt": Histogram(lost=60)}), 60.0
    )
    tally.window(window("gateway", outcome=Outcome.OK, counts={"sent": 59, "lost": 0}), 60.0)
    health = [
        Gauge("phrom_agent_spool_batches", "Batches that wait.", "gauge", 3),
        Gauge("phrom_agent_posts", "Posts.", "counter", 7),
        Gauge("phrom_agent_clock_error_seconds", "Not known.", "gauge", None),
        Gauge("phrom_agent_info", "Release.", "gauge", 1, {"version": "0.1.0"}),
    ]
    return Exposition(tally, lambda: health)


@pytest.mark.tool("promtool")
def test_promtool_finds_nothing_to_say() -> None:
    text, kind = filled().text()
    assert kind.startswith("text/plain")
    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_the_last_window_of_each_target_counts() -> None:
    text = filled().text()[0].decode()
    assert 'phrom_sent_packets{platform="",probe="icmp",target="gateway"} 59.0' in text
    assert 'phrom_outcome{outcome="failed",platform="",probe="icmp",target="dead"} 1.0' in text
    assert 'phrom_rtt_seconds{platform="",probe="icmp",quantile="0.5",target="dead"} +Inf' in text
    assert 'phrom_agent_probe_runs_total{outcome="ok",probe="icmp"} 2.0' in text
    assert "phrom_agent_posts_total 7.0" in text
    assert "clock_error" not in text


def test_what_is_not_measured_any_more_is_forgotten() -> None:
    tally = Tally()
    tally.window(window(), 1.0)
    tally.window(window("gone"), 1.0)
    tally.keep_only({("icmp", "gateway", "")})
    assert [key[1] for key in tally.latest] == ["gateway"]


async def _ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_it_is_served_by_http_and_withstands_nonsense() -> None:
    close, port = await serve(filled(), "127.0.0.1", 0)
    try:
        page = await _ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert page.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"phrom_agent_spool_batches 3.0" in page
        assert (await _ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert (await _ask(port, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405")
        head = await _ask(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert head.endswith(b"\r\n\r\n")
        assert await _ask(port, b"x" * 20_000 + b"\r\n\r\n") == b""
        assert b"200 OK" in await _ask(port, b"GET /metrics?a=b HTTP/1.1\r\n\r\n")
    finally:
        await close()

"""Agents of a province as the ingest benchmark needs them: their batches, and the samples of a Prometheus."""

import random
import struct
import time
from typing import Any

import cramjam
import msgspec

from collector import credentials
from collector.prometheus.mapping import OUTCOMES, QUANTILE_LABELS
from wire.batch import GENESIS, AgentClock, Envelope, Sealed, StreamName, digest_of, new_stream_id, seal
from wire.clock import DAY, SECOND, Anchor, Instant
from wire.histogram import Histogram
from wire.measures import MEASURES
from wire.observation import Observation, Window
from wire.reasons import Outcome
from wire.version import PROTOCOL

SITES = 21
TARGETS = 30
PER_BATCH = 6
PARTS = TARGETS // PER_BATCH
"""Batches in which each target is reported once."""
LENGTH = SECOND
"""Windows are short, so that all lie within the hour: Prometheus refuses what is an hour behind its newest sample, and
the collector packs an hour once it is past (which is measured apart)."""
Labels = tuple[tuple[str, str], ...]


class Agent:
    """One agent and its stream of batches. The same number gives the same figures in every run."""

    def __init__(self, number: int, start: Instant) -> None:
        random_ = random.Random(number)
        self.site = f"bench-{number % SITES + 1}"
        self.id = f"bench-agent-{number}"
        self.token = credentials.new_token("agent")
        self.stream = new_stream_id()
        self.seq = 0
        self.prev = GENESIS
        self.boot = f"boot-{number}"
        self.start = start
        self.epoch = start - 30 * DAY
        self.bodies = [_observed(random_, place) for place in range(TARGETS)]

    @property
    def headers(self) -> dict[str, str]:
        """Without those of the body's encoding."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def next(self) -> tuple[bytes, list[Window], Instant]:
        """The next envelope's JSON, its observations and their end."""
        cycle, part = divmod(self.seq, PARTS)
        end = self.start + cycle * LENGTH + part * LENGTH // PARTS
        windows = [self._window(body, end) for body in self.bodies[part * PER_BATCH : (part + 1) * PER_BATCH]]
        observations: list[Observation] = [*windows]
        self.seq += 1
        raw = seal(self.stream, StreamName.MONITOR, self.seq, self.prev, observations)
        self.prev = digest_of(raw)
        return self._envelope([Sealed(self.prev, msgspec.Raw(raw))]), windows, end

    def heartbeat(self) -> bytes:
        """An envelope without batches; its anchor is of now, so that the collector learns this boot's time."""
        return self._envelope([])

    def _window(self, body: dict[str, Any], end: Instant) -> Window:
        boottime = end - self.epoch
        return Window(
            boot=self.boot,
            start=boottime - LENGTH,
            end=boottime,
            wall_start=end - LENGTH,
            wall_end=end,
            settings="0123456789abcdef",
            vantage="0a1b2c3d",
            **body,
        )

    def _envelope(self, batches: list[Sealed]) -> bytes:
        now = time.time_ns() // 1000
        clock = AgentClock(self.boot, now - self.epoch, now, Anchor(self.boot, now - self.epoch, now, 5_000))
        return msgspec.json.encode(
            Envelope(
                protocol=PROTOCOL, agent_version="bench", clock=clock, batches=batches, settings="0123456789abcdef"
            )
        )


def _observed(random_: random.Random, place: int) -> dict[str, Any]:
    """What one target's windows hold: half of them echoes, the others services, as in a district."""
    kind = ("icmp", "http", "icmp", "tcp", "icmp", "dns")[place % 6]
    base = random_.uniform(2e6, 40e6)

    def durations(count: int) -> Histogram:
        return Histogram.of([int(base * random_.lognormvariate(0, 0.15)) for _ in range(count)])

    found: dict[str, Any] = {"probe": kind, "target": f"{kind}-{place}", "outcome": Outcome.OK}
    if kind == "icmp":
        found["counts"] = {"sent": 60, "lost": 0, "duplicates": 0, "reordered": 0, "late": 0}
        found["values"] = {"jitter": 0.00123}
        found["durations"] = {"rtt": durations(60)}
    elif kind == "http":
        found["counts"] = {"status": 200, "redirects": 0}
        found["values"] = {"certificate_expiry": 5_000_000.0}
        found["durations"] = {name: durations(1) for name in ("lookup", "connect", "handshake", "first_byte", "whole")}
    elif kind == "tcp":
        found["durations"] = {"connect": durations(1)}
    else:
        found["counts"] = {"answers": 2}
        found["durations"] = {"lookup": durations(1)}
    return found


def samples_of(agent: Agent, window: Window) -> list[tuple[Labels, float]]:
    """Labels and value of every sample that remote read serves of a window (``collector.prometheus.mapping``)."""
    common = (
        ("link", agent.id),
        ("probe", window.probe),
        ("province", "bench"),
        ("role", "link"),
        ("site", agent.site),
        ("target", window.target),
    )
    found: list[tuple[Labels, float]] = []

    def add(name: str, value: float, *extra: tuple[str, str]) -> None:
        found.append((tuple(sorted((("__name__", name), *common, *extra))), value))

    for outcome in OUTCOMES:
        add("phrom_outcome", float(window.outcome is outcome), ("outcome", outcome.value))
    for name, number in {**window.counts, **window.values}.items():
        add(MEASURES[name].metric, float(number))
    for name, histogram in window.durations.items():
        for q, label in QUANTILE_LABELS.items():
            add(MEASURES[name].metric, (histogram.quantile(q) or 0.0) / 1e9, ("quantile", label))
        add(f"phrom_{name}_mean_seconds", (histogram.mean or 0.0) / 1e9)
    return found


_heads: dict[Labels, bytes] = {}


def remote_write(agent: Agent, windows: list[Window], end: Instant) -> tuple[bytes, int]:
    """A remote write 1.0 body (protobuf ``prometheus.WriteRequest`` in snappy) and its number of samples."""
    parts = []
    for window in windows:
        for labels, value in samples_of(agent, window):
            head = _heads.get(labels)
            if head is None:
                head = _heads[labels] = b"".join(
                    _field(1, _field(1, name.encode()) + _field(2, text.encode())) for name, text in labels
                )
            sample = b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(end // 1000)
            parts.append(_field(1, head + _field(2, sample)))
    return bytes(cramjam.snappy.compress_raw(b"".join(parts))), len(parts)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content

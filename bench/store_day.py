"""One generated day of a province for :mod:`bench.store`: mixed probes whose every number jitters as real ones do."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from collector.store.packing import HEADER, Row, pack
from collector.store.rollups import pack_rollup, roll_up
from wire.clock import DAY, HOUR, MINUTE, SECOND, Instant
from wire.histogram import Histogram
from wire.observation import Window
from wire.reasons import Outcome, Reason

BOOT = "0f3f2a0c-6c1c-4b7e-9a3d-4a5f8f1c2b3d"


class Kind(NamedTuple):
    """What one kind of probe reports each minute. ``durations``: name, samples, typical milliseconds."""

    probe: str
    targets: int
    durations: tuple[tuple[str, int, float], ...]
    counts: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


KINDS = (
    Kind("icmp", 5, (("rtt", 60, 12.0),), ("duplicates", "reordered"), ("jitter",)),  # the link's own, an echo a second
    Kind("icmp-5s", 6, (("rtt", 12, 35.0),), ("duplicates", "reordered"), ("jitter",)),  # third parties
    Kind("tcp", 5, (("connect", 1, 38.0),), ("attempts",)),
    Kind("tls", 3, (("connect", 1, 38.0), ("handshake", 1, 80.0)), ("attempts",), ("certificate_expiry",), ("issuer",)),
    Kind(
        "http", 5, (("lookup", 1, 9.0), ("connect", 1, 38.0), ("handshake", 1, 80.0), ("first_byte", 1, 60.0),
        ("whole", 1, 220.0)), ("status", "redirects"), ("certificate_expiry",),
    ),
    Kind("stun", 2, (("rtt", 3, 40.0),), ("sent", "lost"), (), ("mapped",)),
    Kind("dns", 3, (("lookup", 1, 11.0),), ("answers",)),
    Kind(
        "host", 1, (), ("bytes_sent", "bytes_received"),
        ("cpu", "memory", "disk", "uptime", "send_rate", "receive_rate"),
    ),
)  # fmt: skip
SERIES_A_SITE = sum(kind.targets for kind in KINDS)


def names() -> list[tuple[str, str, Kind]]:
    """Probe, target and kind of a site's 30 series."""
    return [(kind.probe, f"{kind.probe}-{number}", kind) for kind in KINDS for number in range(kind.targets)]


def observe(kind: Kind, target: str, end: int, wall: int, rng: random.Random, length: int = MINUTE) -> Window:
    """One window ending at a boottime, with a fault now and then."""
    trouble = rng.random()
    outcome, reason = (Outcome.FAILED, Reason.TIMED_OUT) if trouble < 0.003 else (Outcome.OK, None)
    durations: dict[str, Histogram] = {}
    counts = {name: 200 if name == "status" else rng.choice((0, 0, 0, 0, 1)) for name in kind.counts}
    for name, samples, typical in kind.durations:
        lost = sum(rng.random() < 0.004 for _ in range(samples)) if outcome is Outcome.OK else samples
        base = typical * 1e6
        times = [int(base * (0.9 + rng.gammavariate(1.5, 0.06))) for _ in range(samples - lost)]
        durations[name] = Histogram.of(times, lost)
        if name == "rtt":
            counts |= {"sent": samples, "lost": lost}
    values = {name: rng.random() * 0.01 for name in kind.values}
    if "certificate_expiry" in values:
        values["certificate_expiry"] = 5_000_000.0 - end / SECOND
    for name in ("cpu", "memory", "disk"):
        if name in values:
            values[name] = round(rng.random(), 3)
    facts = {name: "203.0.113.77" if name == "mapped" else "R11" for name in kind.facts}
    early = rng.randint(0, 900)
    return Window(
        boot=BOOT, start=end - length - early, end=end, wall_start=wall + end - length - early + rng.randint(0, 2),
        wall_end=wall + end + rng.randint(0, 2), settings="0123456789abcdef", vantage="1a2b3c4d", probe=kind.probe,
        target=target, outcome=outcome, reason=reason, counts=counts, values=values, durations=durations, facts=facts,
    )  # fmt: skip


class PackedHour(NamedTuple):
    """An hour of one series of the generated day. ``series`` counts from 0, ``hour`` from midnight."""

    series: int
    hour: int
    windows: int
    body: bytes
    rollup: bytes


def a_day(sites: int, midnight: Instant, seed: int = 1) -> Iterator[PackedHour]:
    """The day, packed hour by hour with the store's own packer."""
    rng = random.Random(seed)
    for hour in range(24):
        series = 0
        for site in range(sites):
            offset = midnight - 5 * DAY  # UTC of boottime 0
            for _, target, kind in names():
                phase = (series * 7919) % 50 * SECOND
                rows: list[Row] = []
                for minute in range(60):
                    end = 5 * DAY + hour * HOUR + minute * MINUTE + phase + rng.randint(0, 4000)
                    window = observe(kind, target, end, offset + 1500 + site, rng)
                    utc = offset + end
                    error = 9_000 + (minute % 8) * 12_000
                    seq = 1 + (hour * 60 + minute) * SERIES_A_SITE + series % SERIES_A_SITE
                    rows.append(Row(site + 1, utc, error, utc + rng.randint(40_000, 1_100_000), site + 1, seq, window))
                rolled = roll_up((midnight + hour * HOUR) // HOUR, ((row.window, row.error) for row in rows))
                yield PackedHour(series, hour, len(rows), pack(rows), pack_rollup(rolled))
                series += 1


def shifted(body: bytes, days: int, batches: int) -> bytes:
    """The same hour so many days later: all inside the frame is relative to the header."""
    version, rows, end, offset, wall, seq = HEADER.unpack_from(body)
    later = HEADER.pack(version, rows, end + days * DAY, offset, wall, seq + days * batches)
    return later + body[HEADER.size :]

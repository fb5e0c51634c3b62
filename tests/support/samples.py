"""One of everything that crosses the wire, the same in every run. ``python -m tests.support.samples`` writes it as the
golden files of this release, which later releases must be able to read for ever."""

from pathlib import Path

import msgspec

from wire import batch as b
from wire.clock import Anchor
from wire.histogram import Histogram
from wire.meetings import MeetingTimes, Period, QuietRules
from wire.observation import Change, Note, Observation, Test, Window
from wire.orders import Order, OrderAnswer, OrderKind, OrderStatus
from wire.reasons import Event, Limit, Outcome, Reason, Refusal
from wire.settings import (
    AgentSettings,
    Assignment,
    ContractTerms,
    OwnSchedule,
    ResponderAt,
    Role,
    ServiceHours,
    revision_of,
)
from wire.version import PROTOCOL

GOLDEN = Path(__file__).parents[1] / "wire" / "golden"
RELEASE = "0.2.0"

BOOT = "3f0c1a52-5a0e-4d6b-9c39-0a7d7c1f2b11"
WALL = 1_795_000_000_000_000
"""2026-11-18 in UTC microseconds."""
EVIDENCE_STREAM = "0123456789abcdef0123456789abcdef"
MONITOR_STREAM = "fedcba9876543210fedcba9876543210"


def header(start: int, end: int) -> dict[str, object]:
    """What every record has."""
    return {
        "boot": BOOT,
        "start": start,
        "end": end,
        "wall_start": WALL + start,
        "wall_end": WALL + end,
        "settings": "27089865acda1524",
        "vantage": "5d41402a",
    }


def evidence() -> list[Observation]:
    """One record of each kind, each with every part filled in."""
    window = Window(
        **header(60_000_000, 120_000_000),  # type: ignore[arg-type]
        probe="icmp",
        target="gateway",
        outcome=Outcome.OK,
        counts={"sent": 60, "lost": 1, "duplicates": 0, "reordered": 0},
        values={"jitter": 0.000_125, "ttl": 64.0},
        durations={"rtt": Histogram.of([412_000, 431_000, 431_000, 2_950_000], lost=1)},
        facts={"family": "ipv4"},
    )
    watched = Window(
        **header(60_000_000, 120_000_000),  # type: ignore[arg-type]
        probe="link",
        target="link",
        outcome=Outcome.FAILED,
        reason=Reason.NO_REPLY,
        order="9b1d",
        states={"up": 48.0, "down": 12.0},
    )
    change = Change(
        **header(108_000_000, 111_000_000),  # type: ignore[arg-type]
        probe="tls",
        target="zoom.tls",
        platform="zoom",
        previous="2026-12-01",
        current="2027-03-01",
        values={"certificate_expiry": 8_640_000.0},
        facts={"fact": "expires"},
    )
    test = Test(
        **header(120_000_000, 130_000_000),  # type: ignore[arg-type]
        probe="throughput",
        target="responder",
        engine="udp",
        direction="down",
        outcome=Outcome.OK,
        order="77aa",
        valid=False,
        limits=(Limit.PORT_SPEED, Limit.CROSS_TRAFFIC_UNSEEN),
        counts={"bytes_received": 112_500_000},
        values={"receive_rate": 93_700_000.0},
        durations={"rtt": Histogram.of([20_100_000, 20_400_000])},
        facts={"port": "100 Mbit/s"},
    )
    fast = Test(
        **header(130_000_000, 131_000_000),  # type: ignore[arg-type]
        probe="throughput",
        target="core",
        engine="tcp",
        direction="up",
        outcome=Outcome.OK,
        order="77af",
        valid=True,
        counts={"test_bytes": 11_000_000, "connections": 16, "rate_windows": 8, "segments": 7200, "retransmitted": 3},
        values={"throughput": 79_950_000.0, "throughput_contract": 79_950_000.0, "contract": 80_000_000.0},
        durations={"rtt_loaded": Histogram.of([40_100_000, 66_400_000])},
        facts={"cross_traffic": "router counters"},
    )
    down = Change(
        **header(108_000_000, 111_000_000),  # type: ignore[arg-type]
        probe="link",
        target="link",
        previous="up",
        current="provider",
        facts={"answered": "gateway, edge", "silent": "anchor-1, anchor-2", "carrier": "yes"},
    )
    slot = Note(
        **header(131_000_000, 131_000_000),  # type: ignore[arg-type]
        event=Event.SLOT_DEFERRED,
        reason=Reason.LINK_IN_USE,
        order="77af",
    )
    note = Note(
        **header(131_000_000, 131_000_000),  # type: ignore[arg-type]
        event=Event.ANCHOR,
        counts={"boottime": 131_000_000, "utc": WALL + 131_000_000, "error": 1200},
    )
    return [window, watched, change, test, note, fast, down, slot]


def monitor() -> list[Observation]:
    """What platforms gave, and what was not measured."""
    web = Window(
        **header(125_000_000, 125_412_000),  # type: ignore[arg-type]
        probe="http",
        target="zoom.web",
        platform="zoom",
        outcome=Outcome.OK,
        counts={"status": 200, "redirects": 1},
        durations={
            "lookup": Histogram.of([3_100_000]),
            "connect": Histogram.of([21_000_000]),
            "whole": Histogram.of([412_000_000]),
        },
    )
    unknown = Window(
        **header(126_000_000, 126_000_000),  # type: ignore[arg-type]
        probe="tcp",
        target="tot-cloud-conference.service",
        platform="tot-cloud-conference",
        outcome=Outcome.SKIPPED,
        reason=Reason.ASK_THE_PROVIDER,
    )
    return [web, unknown]


def evidence_batch() -> bytes:
    """The exact bytes of the first evidence batch."""
    return b.seal(EVIDENCE_STREAM, b.StreamName.EVIDENCE, 1, b.GENESIS, evidence())


def monitor_batch() -> bytes:
    """The exact bytes of a monitor batch that declares a loss."""
    dropped = [b.Dropped(1, 4, "age", WALL - 90_000_000, WALL - 30_000_000)]
    return b.seal(MONITOR_STREAM, b.StreamName.MONITOR, 5, b.digest_of(b"batch 4"), monitor(), dropped)


def envelope() -> b.Envelope:
    """Both batches on their way."""
    clock = b.AgentClock(BOOT, 132_000_000, WALL + 132_000_000, Anchor(BOOT, 131_000_000, WALL + 131_000_000, 1200))
    sealed = [b.Sealed(b.digest_of(raw), msgspec.Raw(raw)) for raw in (evidence_batch(), monitor_batch())]
    return b.Envelope(
        protocol=PROTOCOL,
        agent_version=RELEASE,
        clock=clock,
        batches=sealed,
        answers=[OrderAnswer("77aa", OrderStatus.DONE), OrderAnswer("77ab", OrderStatus.UNKNOWN, "make_coffee")],
        settings="27089865acda1524",
        backlog={"batches": 2, "bytes": 3100, "quarantined": 0, "dropped": 4},
    )


def receipt() -> b.Receipt:
    """One answer of each status, and one order of each kind."""
    return b.Receipt(
        protocol=PROTOCOL,
        received=WALL + 132_100_000,
        sent=WALL + 132_140_000,
        batches=[
            b.BatchReceipt(EVIDENCE_STREAM, 1, b.BatchStatus.STORED, not_understood=1),
            b.BatchReceipt(MONITOR_STREAM, 5, b.BatchStatus.DUPLICATE),
            b.BatchReceipt(MONITOR_STREAM, 6, b.BatchStatus.REFUSED, Refusal.CONFLICT, "another digest is held"),
            b.BatchReceipt(MONITOR_STREAM, 7, b.BatchStatus.DEFERRED, detail="the disk is full"),
        ],
        orders=[
            Order("77ac", OrderKind.MEASURE, 0.0, 30.0, {"assignments": ["icmp:gateway"], "window": 10.0}),
            Order("77ad", OrderKind.FETCH_SETTINGS),
            Order("77ae", OrderKind.ROTATE_TOKEN, after=5.0),
            Order("77af", OrderKind.SLOT, 45.0, 75.0, {"slot": "77af", "responder": "core", "directions": ["up"]}),
        ],
        heard=["77aa"],
        settings="b48a6c2f90d1e377",
        live_every=10.0,
    )


def settings() -> AgentSettings:
    """Settings with one assignment, one meeting and other quiet rules."""
    bare = AgentSettings(
        province="udon-thani",
        site="na-yung",
        site_name={"th": "อำเภอนายูง", "en": "Na Yung"},
        link="fibre",
        role=Role.LINK,
        assignments=[
            Assignment(
                probe="icmp",
                target="gateway",
                every=60.0,
                window=60.0,
                evidence=True,
                settings={"host": "@gateway", "interval": 1.0},
            ),
            Assignment(
                probe="tcp",
                target="tot-cloud-conference.service",
                platform="tot-cloud-conference",
                skip="ask_the_provider",
            ),
        ],
        post_every=10.0,
        meetings=[
            MeetingTimes(
                "governor", WALL, WALL + 1_800_000_000, WALL + 12_600_000_000, (Period(WALL - 7_200_000_000, WALL),)
            )
        ],
        quiet=QuietRules(3_600_000_000, 0),
        vantages=["5d41402a"],
        concurrency=8,
        responders=[ResponderAt(id="core", host="core.example", capacity_down=10**9, capacity_up=10**9)],
        contract=ContractTerms(download=200_000_000, upload=80_000_000, up_to=True),
        own_schedule=OwnSchedule(hours=(ServiceHours(0, 510, 990),)),
    )
    return msgspec.structs.replace(bare, revision=revision_of(bare))


def files() -> dict[str, bytes]:
    """The golden files of this release by name; the batches are exact bytes."""
    encode = msgspec.json.encode
    return {
        "envelope.json": encode(envelope()),
        "evidence-batch.json": evidence_batch(),
        "monitor-batch.json": monitor_batch(),
        "receipt.json": encode(receipt()),
        "settings.json": encode(settings()),
    }


if __name__ == "__main__":
    folder = GOLDEN / RELEASE
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_bytes(content)

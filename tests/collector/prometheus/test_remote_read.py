"""Remote read as a stock Prometheus uses it: what comes out is what was sent, and who may not ask is refused."""

import asyncio
import io
import math
import random
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import cramjam
import pytest
from sqlalchemy import Connection

from collector.prometheus import reader, remote_pb2, remote_read
from collector.prometheus.matching import Kind, matcher
from collector.prometheus.protocol import LARGEST_REQUEST, Query
from collector.store import Source
from tests.support.backfill import Backfilled, collector
from tests.support.prometheus import config, prometheus
from wire.clock import HOUR, MINUTE, SECOND
from wire.histogram import Histogram
from wire.observation import Change, Window
from wire.reasons import Outcome, Reason

NA_YUNG = Source("agent-1", "na-yung", "main", "link")
DAY_MINUTES = 24 * 60
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Backfilled]:
    async with collector(tmp_path) as found:
        yield found


def echoes(made: Backfilled, end: int, pair: tuple[int, int], **more: object) -> Window:
    """Two echoes, whose quantiles a histogram keeps to the last bit: they are its lowest and its highest."""
    counts = {"sent": 2, "lost": 0}
    return made.window(NA_YUNG, "icmp", "edge", end, counts=counts, durations={"rtt": Histogram.of(pair)}, **more)


async def ask(made: Backfilled, body: bytes, **headers: str) -> tuple[int, bytes]:
    url = f"{made.url}/api/v1/read"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=HEADERS | headers) as answer,
    ):
        return answer.status, await answer.read()


def request(*matchers: tuple[int, str, str], start: int = 0, end: int = 2**41) -> bytes:
    found = [remote_pb2.LabelMatcher(type=kind, name=name, value=value) for kind, name, value in matchers]  # type: ignore[arg-type]
    query = remote_pb2.Query(start_timestamp_ms=start, end_timestamp_ms=end, matchers=found)
    return bytes(cramjam.snappy.compress_raw(remote_pb2.ReadRequest(queries=[query]).SerializeToString()))


def series(body: bytes) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    answer = remote_pb2.ReadResponse()
    answer.ParseFromString(bytes(cramjam.snappy.decompress_raw(body)))
    return [
        ({label.name: label.value for label in one.labels}, [(at.timestamp, at.value) for at in one.samples])
        for result in answer.results
        for one in result.timeseries
    ]


def linear(values: list[float], q: float) -> float:
    """Prometheus's quantile of samples: linear between the two nearest ranks."""
    ordered = sorted(values)
    rank = q * (len(ordered) - 1)
    low, weight = math.floor(rank), rank - math.floor(rank)
    return ordered[low] * (1 - weight) + ordered[min(low + 1, len(ordered) - 1)] * weight


@pytest.mark.tool("prometheus")
async def test_backfilled_day_in_promql_is_what_was_sent(made: Backfilled, tmp_path: Path) -> None:
    chance = random.Random(2)
    last = made.now - 30 * SECOND
    sent = {
        last - minute * MINUTE: (chance.randrange(10**6, 10**8), chance.randrange(10**6, 10**8))
        for minute in range(DAY_MINUTES)
    }
    windows = [echoes(made, end, pair) for end, pair in sorted(sent.items())]
    late = windows[300:420]
    await made.take(NA_YUNG, windows[:300] + windows[420:])
    packed = await made.services.store.maintain(made.now)
    assert packed.windows > 1000
    await made.take(NA_YUNG, late)  # two hours that come a day late, beside hours that are packed
    means = [sum(pair) / 2 / 1e9 for pair in sent.values()]
    slower = [max(pair) / 1e9 for pair in sent.values()]
    at = made.now / 1e6
    async with prometheus(tmp_path, config(made.url)) as head:
        (number,) = await head.instant("count_over_time(phrom_rtt_mean_seconds[1d])", at)
        assert float(number["value"][1]) == DAY_MINUTES
        (mean,) = await head.instant('avg_over_time(phrom_rtt_mean_seconds{site="na-yung"}[1d])', at)
        assert float(mean["value"][1]) == pytest.approx(sum(means) / len(means), rel=1e-12)
        for q in (0.5, 0.95, 0.99):
            (found,) = await head.instant(f'quantile_over_time({q}, phrom_rtt_seconds{{quantile="0.95"}}[1d])', at)
            assert float(found["value"][1]) == pytest.approx(linear(slower, q), rel=1e-12)
        (whole,) = await head.instant("sum_over_time(phrom_sent_packets[1d])", at)
        assert float(whole["value"][1]) == 2 * DAY_MINUTES
        async with head.session.get(
            f"{head.url}/api/v1/series",
            params={"match[]": "phrom_sent_packets", "start": str(at - 3600), "end": str(at)},
        ) as answer:
            (labels,) = (await answer.json())["data"]
        place = {"province": "udon-thani", "site": "na-yung", "link": "main", "role": "link"}
        assert labels == {"__name__": "phrom_sent_packets", "probe": "icmp", "target": "edge"} | place


@pytest.mark.tool("prometheus")
async def test_target_that_fails_is_gone_at_once_and_its_outcome_says_why(made: Backfilled, tmp_path: Path) -> None:
    base = (made.now // HOUR - 1) * HOUR + 5 * MINUTE  # within one hour: a window alone in its hour has no cadence yet
    ends = [base + minute * MINUTE for minute in range(20)]
    windows = [echoes(made, end, (10**7, 10**7)) for end in ends[:10]]
    silent = {"outcome": Outcome.FAILED, "reason": Reason.NO_REPLY}
    windows += [made.window(NA_YUNG, "icmp", "edge", end, **silent) for end in ends[10:]]
    await made.take(NA_YUNG, windows)

    def after(minute: float) -> float:
        return (base + minute * MINUTE) / 1e6 + 1

    async with prometheus(tmp_path, config(made.url)) as head:
        assert len(await head.instant("phrom_rtt_mean_seconds", after(9))) == 1
        assert await head.instant("phrom_rtt_mean_seconds", after(10)) == []
        (failed,) = await head.instant('phrom_outcome{outcome="failed"} == 1', after(19))
        assert failed["metric"]["target"] == "edge"
        assert len(await head.instant('phrom_outcome{outcome="failed"}', after(21.5))) == 1
        assert await head.instant('phrom_outcome{outcome="failed"}', after(22.5)) == []


async def test_watched_state_is_a_series_per_state_each_minute_and_at_changes(made: Backfilled) -> None:
    ends = [made.now - (10 - minute) * MINUTE for minute in range(4)]
    held = [{"up": 60.0}, {"up": 60.0}, {"up": 20.0, "down": 40.0}, {"down": 60.0}]
    windows = [made.window(NA_YUNG, "link", "line", end, states=one) for end, one in zip(ends, held, strict=True)]
    boundary = windows[1].end + 20 * SECOND
    change = Change(
        boot=windows[0].boot,
        start=boundary,
        end=boundary + 3 * SECOND,
        wall_start=0,
        wall_end=0,
        probe="link",
        target="line",
        previous="up",
        current="down",
    )
    await made.take(NA_YUNG, [*windows, change])
    found = series((await ask(made, request((0, "__name__", "phrom_state"))))[1])
    states = {labels["state"]: [value for _, value in samples] for labels, samples in found}
    times = [at for at, _ in found[0][1]]
    # minute, minute, change, minute, minute; then three minutes of silence end it
    assert [value for value in states["up"] if value == value] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert [value for value in states["down"] if value == value] == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert times[2] - times[1] == pytest.approx(20_000, abs=100)
    spent = series((await ask(made, request((0, "__name__", "phrom_state_seconds"), (0, "state", "down"))))[1])
    assert sum(value for _, value in spent[0][1] if value == value) == 100.0


async def test_matchers_choose_series_and_quantiles(made: Backfilled) -> None:
    await made.take(NA_YUNG, [echoes(made, made.now - MINUTE, (10**7, 2 * 10**7))])
    status, body = await ask(
        made, request((2, "__name__", "phrom_rtt_.+"), (3, "quantile", "0|1"), (0, "site", "na-yung"))
    )
    assert status == 200
    found = {(labels["__name__"], labels.get("quantile", "")) for labels, _ in series(body)}
    assert found == {("phrom_rtt_mean_seconds", "")} | {("phrom_rtt_seconds", q) for q in ("0.5", "0.95", "0.99")}
    for nothing in (("site", "phen"), ("job", "node"), ("platform", "zoom"), ("province", "loei")):
        status, body = await ask(made, request((0, "__name__", "phrom_rtt_mean_seconds"), (0, *nothing)))
        assert (status, series(body)) == (200, [])


async def test_span_is_cut_to_the_millisecond(made: Backfilled) -> None:
    ends = [made.now - 3 * HOUR + minute * MINUTE for minute in range(120)]
    await made.take(NA_YUNG, [echoes(made, end, (10**7, 10**7)) for end in ends])
    await made.services.store.maintain(made.now)
    start, end = ends[7] // 1000, ends[100] // 1000
    status, body = await ask(made, request((0, "__name__", "phrom_sent_packets"), start=start, end=end))
    ((_, samples),) = series(body)
    assert status == 200
    assert [at for at, _ in samples] == [one // 1000 for one in ends[7:101]]


async def test_hours_that_were_kept_give_way_to_late_windows(made: Backfilled) -> None:
    first = (made.now - 5 * HOUR) // HOUR * HOUR
    ends = [first + minute * MINUTE for minute in range(60)]
    await made.take(NA_YUNG, [echoes(made, end, (10**7, 10**7)) for end in ends[:50]])
    await made.services.store.maintain(made.now)
    asked = request((0, "__name__", "phrom_sent_packets"))
    for _ in range(2):
        assert len([one for one in series((await ask(made, asked))[1])[0][1] if one[1] == 2.0]) == 50
    await made.take(NA_YUNG, [echoes(made, end, (10**7, 10**7)) for end in ends[50:]])
    await made.services.store.maintain(made.now)
    assert len([one for one in series((await ask(made, asked))[1])[0][1] if one[1] == 2.0]) == 60


def read_once(query: Query, now: int, kept: reader.Kept, connection: Connection) -> bytes:
    return reader.read(connection, [query], "udon-thani", now, kept)


async def test_memory_of_hours_is_bounded(made: Backfilled) -> None:
    ends = [made.now - 30 * HOUR + minute * MINUTE for minute in range(25 * 60)]
    await made.take(NA_YUNG, [echoes(made, end, (10**7, 10**7)) for end in ends])
    await made.services.store.maintain(made.now)
    query = Query(0, made.now // 1000, (matcher(Kind.EQUAL, "__name__", "phrom_sent_packets"),))
    small, large = reader.Kept(5_000), reader.Kept()
    for kept in (small, large, small):
        body = await made.services.store.read(partial(read_once, query, made.now, kept))
        assert len(series(body)[0][1]) == len(ends) + 1
    assert small.size <= 5_000 < large.size


@pytest.mark.parametrize(
    ("limit", "words"), [("MOST_SAMPLES", "samples, expected fewer"), ("MOST_SERIES", "series, expected")]
)
async def test_too_much_is_refused(made: Backfilled, monkeypatch: pytest.MonkeyPatch, limit: str, words: str) -> None:
    await made.take(NA_YUNG, [echoes(made, made.now - MINUTE, (10**7, 10**7))])
    monkeypatch.setattr(reader, limit, 0)
    status, body = await ask(made, request((0, "__name__", "phrom_sent_packets")))
    assert status == 422
    assert words in body.decode()


async def test_bodies_that_are_no_request_are_refused(made: Backfilled) -> None:
    assert (await ask(made, b"nonsense"))[0] == 400
    assert (await ask(made, b"\xff\xff\xff\x7f" + b"0" * 64))[0] == 400
    assert (await ask(made, b"x" * (LARGEST_REQUEST + 1)))[0] == 413
    assert (await ask(made, request(), **{"Content-Encoding": "gzip"}))[0] == 415
    assert (await ask(made, request(), **{"Content-Type": "application/json"}))[0] == 415


async def test_only_machines_that_may_read_and_people_at_the_machine(made: Backfilled) -> None:
    assert (await ask(made, request()))[0] == 200
    assert (await ask(made, request(), **{"X-Forwarded-For": "192.0.2.1"}))[0] == 401
    assert (await ask(made, request(), Authorization="Bearer phm_wrong"))[0] == 401


async def test_few_answers_are_made_at_once_so_that_pages_have_readers_left(
    made: Backfilled, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made.take(NA_YUNG, [echoes(made, made.now - MINUTE, (10**7, 10**7))])
    running: list[int] = []
    now = [0]
    lock = threading.Lock()

    def counted(*arguments: object) -> bytes:
        with lock:
            now[0] += 1
            running.append(now[0])
        try:
            return reader.read(*arguments)  # type: ignore[arg-type]
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(remote_read, "read", counted)
    answers = await asyncio.gather(*[ask(made, request((0, "__name__", "phrom_outcome"))) for _ in range(8)])
    assert {status for status, _ in answers} == {200}
    assert len({body for _, body in answers}) == 1
    assert max(running) <= remote_read.MOST_AT_ONCE

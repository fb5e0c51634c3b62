"""``POST /api/v1/observations``: what is taken, what is refused and in which words, and that nothing harms the rest."""

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.body import _gunzip
from collector.ingest import read_envelope
from collector.problems import Refused
from collector.store import CannotWrite
from tests.support.collecting import OBSERVATIONS, Now, collecting
from tests.support.mounts import small_disk
from tests.support.store import Chain, clock, sealed, window
from wire.batch import LARGEST_ENVELOPE, Envelope, StreamName
from wire.clock import HOUR, MINUTE, SECOND
from wire.observation import Note, Window
from wire.orders import OrderAnswer, OrderStatus
from wire.reasons import Event, Outcome
from wire.version import PROTOCOL


async def test_a_batch_is_stored_once_and_told_so_twice(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        batch = agent.chain.seal(*(window(collector.now.boottime, f"t-{n}") for n in range(6)))
        first = (await agent.post(batch)).json
        again = (await agent.post(batch, packed=True)).json
        assert [one["status"] for one in first["batches"] + again["batches"]] == ["stored", "duplicate"]
        assert await collector.sql("SELECT count(*) FROM window") == [(6,)]
        assert first["received"] <= first["sent"] == collector.now.at
        assert collector.services.tally.observations == {"window": 6}
        assert collector.services.tally.batches == {"stored": 1, "duplicate": 1}


async def test_the_picture_hears_what_was_committed(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        await agent.post(agent.chain.seal(window(collector.now.boottime, outcome=Outcome.FAILED)))
        now = collector.services.picture.site("na-yung", collector.now.at)
        assert [one.key.target for one in now.failing] == ["gateway"]
        assert now.heard == collector.now.at


async def test_late_data_is_stored_and_counted_but_is_not_now(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        collector.now.forward(3 * 24 * 3600)
        await agent.post(agent.chain.seal(window(collector.now.boottime)))
        late = window(collector.now.boottime - 2 * HOUR, outcome=Outcome.FAILED)
        assert (await agent.post(agent.chain.seal(late))).json["batches"][0]["status"] == "stored"
        assert collector.services.tally.late == 1
        now = collector.services.picture.site("na-yung", collector.now.at)
        assert now.failing == ()
        assert [one.window.outcome for one in now.series] == [Outcome.OK]


async def test_a_record_without_an_anchor_is_kept_as_time_unknown(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        boottime = collector.now.boottime
        body = agent.envelope(agent.chain.seal(window(boottime)), clock=clock(boottime, anchored=False))
        assert (await agent.post_body(msgspec.json.encode(body))).status == 200
        assert collector.services.tally.time_unknown == 1
        assert await collector.sql("SELECT end_utc FROM window") == [(None,)]


async def test_a_heartbeat_is_heard_and_written_down(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        answer = await agent.post()
        assert "batches" not in answer.json
        await collector.services.accounts.flush()
        [(heard, address)] = await collector.sql("SELECT heard, address FROM agent")
        assert (heard, address) == (collector.now.at, "127.0.0.1")


@pytest.mark.parametrize(
    ("headers", "status", "field", "detail"),
    [
        (
            {"Content-Type": "text/plain"},
            415,
            "Content-Type",
            "found 'text/plain', expected application/json",
        ),
        ({"Content-Encoding": "br"}, 415, "Content-Encoding", "found 'br', expected gzip or none"),
        ({"Content-Encoding": "gzip, gzip"}, 415, "Content-Encoding", "found 'gzip, gzip', expected gzip or none"),
        ({"Content-Encoding": "gzip"}, 400, "Content-Encoding", "the body cannot be unpacked"),
    ],
)
async def test_headers_are_judged_first(
    tmp_path: Path, headers: dict[str, str], status: int, field: str, detail: str
) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        refused = await agent.post_body(b"{}", **headers)
        assert refused.status == status
        assert refused.problem["field"] == field
        assert detail in refused.problem["detail"]


@pytest.mark.parametrize(
    ("body", "status", "field", "detail"),
    [
        (b"", 400, "body", "Input data was truncated; expected an envelope in JSON (UTF-8)"),
        (b"hello", 400, "body", "JSON is malformed: invalid character (byte 0); expected an envelope in JSON (UTF-8)"),
        (b'{"protocol":"1.0","clock":NaN}', 400, "body", "JSON is malformed: invalid character (byte 26)"),
        (b'"x"', 400, "", "Expected `object`, got `str`"),
        (b'{"protocol":"1.0"}', 400, "", "Object missing required field `clock`"),
        (
            b'{"protocol":"1.0","clock":{"boot":1,"boottime":1,"wall":1}}',
            400,
            "clock.boot",
            "Expected `str`, got `int` - at `$.clock.boot`",
        ),
        (
            b'{"protocol":"2.0","clock":{"boot":"b","boottime":1,"wall":1}}',
            426,
            "protocol",
            "protocol: found '2.0', expected 1.x such as 1.1; update the older of the two sides",
        ),
        (b'{"protocol":"2.0","shape":"other"}', 426, "protocol", "protocol: found '2.0', expected 1.x such as 1.1"),
        (b'{"protocol":"one","clock":{"boot":"b","boottime":1,"wall":1}}', 426, "protocol", "found 'one', expected"),
    ],
)
async def test_a_body_that_is_no_envelope_is_refused_with_the_place(
    tmp_path: Path, body: bytes, status: int, field: str, detail: str
) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        refused = await agent.post_body(body)
        assert refused.status == status
        assert refused.problem.get("field", "") == field
        assert detail in refused.problem["detail"]
        if status == 426:
            assert refused.headers["Upgrade"] == f"phrom/{PROTOCOL}"
        assert (await agent.post()).status == 200


async def test_numbers_that_are_none_are_refused_with_their_batch(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        good = msgspec.json.encode(window(collector.now.boottime))
        raws = [good.replace(b"0.000123", b"1e999"), good.replace(b"0.000123", b"-1e999")]
        for bad in raws:
            chain = Chain()
            seal = chain.seal(window(collector.now.boottime))
            batch = sealed(bytes(seal.batch).replace(good, bad))
            answer = (await agent.post(batch)).json["batches"][0]
            assert (answer["status"], answer["refusal"]) == ("refused", "bad_number")
        assert collector.services.tally.batch_refusals == {"bad_number": 2}
        # NaN is no JSON at all: the envelope around it cannot be read either
        seal = Chain().seal(window(collector.now.boottime))
        body = msgspec.json.encode(agent.envelope(seal)).replace(b"0.000123", b"NaN")
        refused = await agent.post_body(body)
        assert (refused.status, refused.problem["title"]) == (400, "Not JSON")
        assert await collector.sql("SELECT count(*) FROM window") == [(0,)]


async def test_one_bad_batch_does_not_harm_its_neighbours(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        first = agent.chain.seal(window(collector.now.boottime, "a"))
        second = agent.chain.seal(window(collector.now.boottime, "b"))
        forged = msgspec.structs.replace(second, digest="0" * 64)
        answer = (await agent.post(first, forged)).json["batches"]
        assert [one["status"] for one in answer] == ["stored", "refused"]
        assert answer[1]["refusal"] == "digest_mismatch"
        assert (await agent.post(second)).json["batches"][0]["status"] == "stored"


async def test_a_declared_length_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        host, _, port = collector.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = [
            f"POST {OBSERVATIONS} HTTP/1.1",
            f"Host: {host}",
            f"Content-Length: {LARGEST_ENVELOPE + 1}",
            *(f"{name}: {value}" for name, value in agent.headers.items()),
        ]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n")  # and not a byte of the body
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        assert answer.startswith(b"HTTP/1.1 413 ")
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_grows_beyond_the_limit_is_cut_off(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(LARGEST_ENVELOPE // 65536 + 2):
            yield b" " * 65536

    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        refused = await agent.post_body(endless())
        assert refused.status == 413
        assert refused.problem["detail"] == f"found a longer body, expected at most {LARGEST_ENVELOPE} bytes"
        assert (await agent.post()).status == 200


async def test_a_compression_bomb_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (200 * 1024 * 1024))
    assert len(bomb) < 250_000
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        refused, beside = await asyncio.gather(
            agent.post_body(bomb, **{"Content-Encoding": "gzip"}), collector.ask("GET", "/healthz")
        )
        assert (refused.status, beside.status) == (413, 200)
        assert "unpacks to more" in refused.problem["detail"]
        assert collector.services.tally.refusals[413] == 1


def test_a_bomb_is_never_unpacked_further_than_the_limit() -> None:
    bomb = gzip.compress(b" " * (100 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            _gunzip(bomb, LARGEST_ENVELOPE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LARGEST_ENVELOPE


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (gzip.compress(b"{}" * 100)[:-9], "the body ends before its gzip stream does"),
        (gzip.compress(b"{}") + b"more", "found bytes behind the end of the gzip stream"),
        (b"\x1f\x8bnonsense", "the body cannot be unpacked"),
        (gzip.compress(b"{}")[:-8] + b"\0" * 8, "the body cannot be unpacked"),
    ],
)
def test_what_is_no_gzip_is_told(raw: bytes, detail: str) -> None:
    with pytest.raises(Refused) as refused:
        _gunzip(raw, 1000)
    assert detail in refused.value.problem.detail


@given(st.binary(max_size=3000), st.integers(1, 4000))
def test_unpacking_gives_back_exactly_what_fits(body: bytes, largest: int) -> None:
    packed = gzip.compress(body)
    if len(body) <= largest:
        assert _gunzip(packed, largest) == body
    else:
        with pytest.raises(Refused) as refused:
            _gunzip(packed, largest)
        assert refused.value.problem.status == 413


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda one: b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + one))
def test_unpacking_nonsense_is_refused_and_never_fails(raw: bytes) -> None:
    try:
        body = _gunzip(raw, 1000)
    except Refused as refused:
        assert refused.problem.status in (400, 413)
    else:
        assert zlib.decompress(raw, 31) == body


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["protocol", "clock", "batches", "answers", "boot", "boottime", "wall", "digest", "batch", "x"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(_json.map(msgspec.json.encode) | st.binary(max_size=100))
def test_any_body_is_an_envelope_or_a_refusal(body: bytes) -> None:
    try:
        envelope = read_envelope(body)
    except Refused as refused:
        assert refused.problem.status in (400, 426)
        assert refused.problem.detail
    else:
        assert isinstance(envelope, Envelope)


async def test_ten_thousand_targets_of_one_agent_stop_at_the_limit(tmp_path: Path) -> None:
    from collector.settings import Limits

    async with collecting(tmp_path, limits=Limits(series_per_agent=1000, requests_per_second=1000)) as collector:
        agent, other = await collector.agent(), await collector.agent("phen")
        statuses = []
        for part in range(20):
            windows = (window(collector.now.boottime, f"t-{part * 500 + n}", durations={}) for n in range(500))
            statuses.append((await agent.post(Chain().seal(*windows), packed=True)).json["batches"][0])
        assert [one["status"] for one in statuses] == ["stored"] * 2 + ["refused"] * 18
        assert {one.get("refusal") for one in statuses[2:]} == {"too_many_series"}
        assert "are target names made from changing values?" in statuses[-1]["detail"]
        assert collector.services.tally.batch_refusals == {"too_many_series": 18}
        assert (await other.post(other.chain.seal(window(collector.now.boottime)))).json["batches"][0][
            "status"
        ] == "stored"


async def test_a_full_disk_defers_and_the_agent_is_still_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        await agent.post()
        batch = agent.chain.seal(window(collector.now.boottime))

        def full(*_: Any) -> None:
            raise CannotWrite("database or disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(collector.services.orders, "answered", full)
            broken.setattr(collector.services.store._ledger, "run", full)
            collector.now.forward(5)
            told = (await agent.post(batch, answers=[OrderAnswer("x", OrderStatus.DONE)])).json
            assert [one["status"] for one in told["batches"]] == ["deferred"]
            assert "heard" not in told  # the answers were not written down either: they are told again
            assert collector.services.picture.site("na-yung", collector.now.at).heard == collector.now.at
        assert (await agent.post(batch)).json["batches"][0]["status"] == "stored"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "8m") as folder:
        yield folder


@pytest.mark.root
async def test_a_collector_on_a_full_disk_is_not_ready(disk: Path) -> None:
    def fill() -> None:
        with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass

    async with collecting(disk) as collector:
        answer = await collector.ask("GET", "/readyz")
        assert answer.status == 200
        await asyncio.to_thread(fill)
        for _ in range(1000):  # the log beside the store may have room left in its last page
            answer = await collector.ask("GET", "/readyz")
            if answer.status != 200:
                break
        assert answer.problem["detail"].startswith("the store does not answer: database or disk is full"), answer
        await asyncio.to_thread((disk / "fill").unlink)
        assert (await collector.ask("GET", "/readyz")).status == 200


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    now = Now()
    async with collecting(tmp_path, now=now) as collector:
        agent = await collector.agent()
        batch = agent.chain.seal(window(now.boottime, outcome=Outcome.FAILED))
        await agent.post(batch)
    now.forward(20)
    async with collecting(tmp_path, now=now) as collector:
        agent.collector = collector
        again = collector.services.picture.site("na-yung", now.at)
        assert [one.key.target for one in again.failing] == ["gateway"]
        assert again.heard == now.at - 20 * SECOND
        assert (await agent.post(batch)).json["batches"][0]["status"] == "duplicate"
        following = agent.chain.seal(window(now.boottime))
        assert (await agent.post(following)).json["batches"][0]["status"] == "stored"


async def test_every_kind_is_counted_and_an_unknown_one_is_kept(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        agent.chain = Chain(StreamName.EVIDENCE)
        end = collector.now.boottime
        shared: dict[str, Any] = {
            "boot": clock(end).boot,
            "start": end - MINUTE,
            "end": end,
            "wall_start": 0,
            "wall_end": 0,
        }
        note = Note(event=Event.STARTED, **shared)
        seal = agent.chain.seal(window(end), note, note)
        unknown = bytes(seal.batch).replace(b'"kind":"note"', b'"kind":"song"', 1)
        answer = (await agent.post(sealed(unknown))).json["batches"][0]
        assert answer["not_understood"] == 1
        assert collector.services.tally.observations == {"window": 1, "note": 1}
        assert collector.services.tally.not_understood == 1
        assert isinstance(window(end), Window)


async def test_a_body_that_trickles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.body.PATIENCE", 0.05)
    asked = asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        yield b'{"protocol":'
        await asked.wait()

    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        refused = await agent.post_body(trickle())
        asked.set()
        assert refused.status == 408
        assert refused.problem["title"] == "Body too slow"


async def test_posts_that_come_together_share_their_commits(tmp_path: Path) -> None:
    async with collecting(tmp_path) as collector:
        agent = await collector.agent()
        await agent.post()
        counters = collector.services.store.counters
        before = counters["commits_of_posts"]
        batches = [Chain().seal(window(collector.now.boottime, f"t-{number}")) for number in range(40)]
        answers = await asyncio.gather(*(agent.post(one) for one in batches))
        assert {one.json["batches"][0]["status"] for one in answers} == {"stored"}
        assert 1 <= counters["commits_of_posts"] - before <= 20
        assert await collector.sql("SELECT count(*) FROM window") == [(40,)]

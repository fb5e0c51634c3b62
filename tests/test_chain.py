"""The chain with real processes: whatever is killed, what was spooled is acknowledged is stored, and none twice."""

import hashlib
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cramjam
import msgspec
import pytest

from tests.support.chain import PATIENCE, Chain, free_port, wait_for
from wire.batch import GENESIS, decode_batch

KILLS = 50
FAST = """\
assignments:
  - {probe: host, target: a, every: 0.4 s}
  - {probe: host, target: b, every: 0.4 s}
  - {probe: tcp, target: c, every: 0.3 s, settings: {host: 127.0.0.1, port: %d}}
  - {probe: tcp, target: d, every: 0.3 s, settings: {host: 127.0.0.1, port: %d}}
"""


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    port = free_port()
    made = Chain(tmp_path, FAST % (port, port))
    yield made
    made.kill(made.agent)
    made.kill(made.collector)


def rows(file: Path, question: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def spooled(chain: Chain) -> dict[str, int]:
    """Highest number sealed in each stream, as the agent's disk has it."""
    return dict(rows(chain.state / "spool.db", "SELECT id, next - 1 FROM stream WHERE next > 1"))


def stored(chain: Chain) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for stream, seq in rows(
        chain.store, "SELECT s.id, b.seq FROM batch b JOIN stream s ON s.number = b.stream ORDER BY 1, 2"
    ):
        found.setdefault(stream, []).append(seq)
    return found


@pytest.mark.timeout(400)
def test_fifty_kills_lose_nothing_and_store_nothing_twice(chain):
    dice = random.Random(20261121)
    chain.start_collector()
    chain.join()
    chain.start_agent()
    kills = {"agent": 0, "collector": 0}
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.05, 0.9))  # a random instant while data flow is the point of the test
        victim = dice.choice(["agent", "collector"])
        kills[victim] += 1
        if victim == "agent":
            chain.kill(chain.agent)
            chain.start_agent()
        else:
            chain.kill(chain.collector)
            chain.start_collector()
    assert min(kills.values()) > 10

    time.sleep(1.0)
    assert chain.agent is not None
    chain.agent.terminate()
    chain.agent.wait(PATIENCE)
    sealed = spooled(chain)
    assert sum(sealed.values()) > KILLS, "data flowed"
    chain.start_agent()  # delivers what was still waiting

    def delivered() -> bool:
        held = stored(chain)
        return all(held.get(stream, []) and held[stream][-1] >= seq for stream, seq in sealed.items()) and not missing(
            held
        )

    def missing(held: dict[str, list[int]]) -> dict[str, set[int]]:
        gaps = {stream: set(range(1, seq + 1)) - set(held.get(stream, [])) for stream, seq in sealed.items()}
        return {stream: gap for stream, gap in gaps.items() if gap}

    wait_for(delivered, "every sealed batch is stored", chain.folder / "agent.log")
    chain.end()

    held = stored(chain)
    assert {stream: seqs for stream, seqs in held.items() if len(seqs) != len(set(seqs))} == {}
    counted = rows(chain.store, "SELECT sum(observations) FROM batch")[0][0]
    windows = rows(chain.store, "SELECT count(*) FROM window")[0][0]
    records = rows(chain.store, "SELECT count(*) FROM record")[0][0]
    assert windows + records == counted, "as many rows as the ledger says, none twice"
    assert rows(chain.store, "SELECT count(*) FROM conflict")[0][0] == 0


def test_the_evidence_is_a_chain_of_the_very_bytes(chain):
    chain.start_collector()
    chain.join()
    chain.start_agent()
    wait_for(lambda: sum(map(len, stored(chain).values())) > 4, "some batches are stored", chain.folder / "agent.log")
    chain.end()
    evidence = rows(chain.store, "SELECT digest, sealed FROM batch WHERE sealed IS NOT NULL ORDER BY stream, seq")
    assert evidence
    before = GENESIS
    for seq, (digest, sealed) in enumerate(evidence, start=1):
        raw = bytes(cramjam.zstd.decompress(sealed))
        assert hashlib.sha256(raw).digest() == digest
        assert (decode_batch(raw).seq, decode_batch(raw).prev) == (seq, before)
        before = digest.hex()
    first = msgspec.json.decode(bytes(cramjam.zstd.decompress(evidence[0][1])))
    assert first["observations"][0]["event"] == "started"


def test_ctrl_c_ends_both_cleanly_and_says_so_in_the_evidence(chain):
    chain.start_collector()
    chain.join()
    chain.start_agent()
    wait_for(lambda: bool(stored(chain)), "the first batch is stored", chain.folder / "agent.log")
    chain.end()
    assert chain.agent is not None and chain.agent.returncode == 0
    assert chain.collector is not None and chain.collector.returncode == 0
    last = rows(chain.store, "SELECT body FROM record WHERE kind = 'note' ORDER BY id DESC LIMIT 1")[0][0]
    assert json.loads(last)["event"] == "stopped"

"""Windows of a watcher become runs: a clean day of 1,440 windows is a handful of them. Pure."""

from collections.abc import Iterable

import msgspec

from collector.link_history.shapes import Run, State
from collector.store.packing import Row
from wire.clock import SECOND

TICK = 3 * SECOND // 2
"""Windows less than this apart follow each other, for a watcher looks once a second; also how far its seconds may be
off where they should add up."""
DRIFTED = 50_000
"""Microseconds by which corrected times may shift within a run: its ends say when its middle was."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Run])


def runs_of(rows: Iterable[Row]) -> list[Run]:
    """The runs of one series' windows, by stream and boot, in order of time."""
    found: list[Run] = []
    open_runs: dict[tuple[int, int], int] = {}
    for row in sorted(rows, key=lambda row: (row.end_utc, row.window.end)):
        one = _run(row)
        place = open_runs.get((one.stream, one.boot))
        if place is not None and _follows(found[place], one):
            found[place] = _joined(found[place], one)
            continue
        open_runs[one.stream, one.boot] = len(found)
        found.append(one)
    return found


def _run(row: Row) -> Run:
    window = row.window
    return Run(
        stream=row.stream,
        boot=row.boot,
        start_bt=window.start,
        end_bt=window.end,
        start=row.end_utc - (window.end - window.start),
        end=row.end_utc,
        error=row.error,
        vantage=window.vantage,
        states=window.states,
        reason=str(window.reason or ""),
        first_seq=row.seq,
        last_seq=row.seq,
    )


def _follows(before: Run, one: Run) -> bool:
    return (
        before.only is not None
        and before.only is one.only
        and before.vantage == one.vantage
        and before.reason == one.reason
        and abs(one.start_bt - before.end_bt) <= TICK
        and abs((one.end - one.end_bt) - (before.start - before.start_bt)) <= DRIFTED
        and whole(one)
        and whole(before)
    )


def whole(one: Run) -> bool:
    """Whether its seconds per state add up to its length."""
    return abs(sum(one.states.values()) - (one.end_bt - one.start_bt) / SECOND) <= TICK / SECOND * one.windows


def _joined(before: Run, one: Run) -> Run:
    (state,) = one.states
    return msgspec.structs.replace(
        before,
        end_bt=one.end_bt,
        end=one.end,
        error=max(before.error, one.error),
        states={state: before.states[state] + one.states[state]},
        windows=before.windows + one.windows,
        last_seq=one.last_seq,
    )


def joined(runs: Iterable[Run]) -> list[Run]:
    """Runs in order of time, those joined that follow each other (of two hours, of two days)."""
    found: list[Run] = []
    open_runs: dict[tuple[int, int], int] = {}
    for one in runs:
        place = open_runs.get((one.stream, one.boot))
        if place is not None and _follows(found[place], one):
            found[place] = _joined(found[place], one)
            continue
        open_runs[one.stream, one.boot] = len(found)
        found.append(one)
    return found


def pack_runs(runs: list[Run]) -> bytes:
    """For the store."""
    return _encoder.encode(runs)


def unpack_runs(packed: bytes) -> list[Run]:
    """Inverse of :func:`pack_runs`."""
    return _decoder.decode(packed)


def said(one: Run, state: State) -> float:
    """Seconds that its windows give a state."""
    return sum(seconds for name, seconds in one.states.items() if State(name) is state)

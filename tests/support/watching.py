"""What a link's agent records, made from a script of states: as the watcher has it, changes backdated and known three
seconds later, a window each minute whose seconds per state add up, notes of how it was started and stopped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from collector.link_history.runs import runs_of
from collector.link_history.shapes import Event as LinkEvent
from collector.link_history.shapes import Records, State, Turn, Watcher
from collector.store.packing import Row
from tests.support.store import BOOT, EPOCH
from wire.clock import MINUTE, SECOND
from wire.observation import Change, Note, Observation, Window
from wire.reasons import Event, Outcome, Reason

Script = Sequence[tuple[float, str]]
"""(second at which it begins, state), ascending."""
KNOWN_AFTER = 3 * SECOND


@dataclass
class Box:
    """One boot of one machine. Seconds are those since its boot; UTC is ``epoch`` plus that."""

    boot: str = BOOT
    epoch: int = EPOCH
    wrong_by: int = 0
    """Microseconds by which its wall clock is off."""
    vantage: str = ""
    made: list[Observation] = field(default_factory=list)

    def _record(self, start: int, end: int) -> dict[str, Any]:
        wall = self.epoch + self.wrong_by
        times = {"start": start, "end": end, "wall_start": wall + start, "wall_end": wall + end}
        return {"boot": self.boot, "vantage": self.vantage, **times}

    def note(self, at: float, event: Event, *, since: float | None = None, **facts: str) -> Note:
        """A note."""
        end = round(at * SECOND)
        start = end if since is None else round(since * SECOND)
        one = Note(**self._record(start, end), event=event, facts=facts)
        self.made.append(one)
        return one

    def change(self, at: float, previous: str, current: str, *, known: float | None = None, **facts: str) -> Change:
        """A change of state."""
        start = round(at * SECOND)
        end = start + KNOWN_AFTER if known is None else round(known * SECOND)
        one = Change(
            **self._record(start, end), probe="link", target="link", previous=previous, current=current, facts=facts
        )
        self.made.append(one)
        return one

    def window(self, start: float, end: float, states: dict[str, float], **more: Any) -> Window:
        """A window."""
        settled: dict[str, Any] = {"outcome": Outcome.OK if "up" in states else Outcome.FAILED}
        one = Window(
            **self._record(round(start * SECOND), round(end * SECOND)),
            probe="link",
            target="link",
            states=states,
            **(settled | more),
        )
        self.made.append(one)
        return one

    def run(self, start: float, end: float, script: Script, *, stop: str = "clean") -> list[Observation]:
        """One run of the agent from ``start`` to ``end``, in the order it would be sent. ``stop``: ``clean``, ``kill``
        (no last window, no note; changes that were not known yet are lost) or ``none`` (it goes on)."""
        before = len(self.made)
        self.note(start, Event.STARTED)
        state = "unknown"
        turns: list[tuple[float, str]] = []
        for place, (at, name) in enumerate(script):
            begins = max(at, start)
            ends = script[place + 1][0] if place + 1 < len(script) else end
            if begins >= min(ends, end) or name == state:
                continue
            if stop == "kill" and begins + KNOWN_AFTER / SECOND > end:
                break
            if ends - begins < KNOWN_AFTER / SECOND and ends < end:
                continue  # too short for the watcher
            self.change(begins, state, name, why=f"{state} to {name}")
            turns.append((begins, name))
            state = name
        edges = _minutes(start, end, whole_only=stop != "clean")
        for low, high in edges:
            self.window(low, high, spent(turns, low, high))
        if stop == "clean":
            self.note(end, Event.STOPPED)
        return sorted(self.made[before:], key=_sent)


def _sent(one: Observation) -> tuple[int, bool]:
    return one.end + (KNOWN_AFTER if isinstance(one, Window) else 0), isinstance(one, Window)


def _minutes(start: float, end: float, *, whole_only: bool) -> list[tuple[float, float]]:
    found, low = [], start
    while low + 60 <= end:
        found.append((low, low + 60))
        low += 60
    if not whole_only and low < end:
        found.append((low, end))
    return found


def spent(turns: Iterable[tuple[float, str]], low: float, high: float) -> dict[str, float]:
    """Seconds per state between two moments; before the first turn nothing is known."""
    found: dict[str, float] = {}
    line = [(-1e18, "unknown"), *turns, (1e18, "")]
    for (at, state), (until, _) in pairwise(line):
        seconds = min(until, high) - max(at, low)
        if seconds > 0:
            found[state] = found.get(state, 0.0) + seconds
    return found


AGENT = "agent-1"


def records(
    boxes: Iterable[Box],
    *,
    joined: int = EPOCH,
    heard: int | None = None,
    agent: str = AGENT,
    stream: int = 1,
    error: int = 10_000,
    **more: Any,
) -> Records:
    """What the store would give of them all, their times well known."""
    rows, turns, events = [], [], []
    for number, box in enumerate(boxes, 1):
        for seq, one in enumerate(sorted(box.made, key=_sent), 1):
            start, end = box.epoch + one.start, box.epoch + one.end
            if isinstance(one, Window):
                rows.append(Row(number + stream * 100, end, error, end, stream, seq + number * 10_000, one))
            elif isinstance(one, Change):
                states = State(one.previous), State(one.current)
                reason = str(one.reason or "")
                place = (stream, number + stream * 100, one.start, one.end, start, error)
                turns.append(Turn(*place, *states, reason, one.vantage, one.facts))
            elif isinstance(one, Note):
                kind = one.facts.get("kind", "crash") if one.event is Event.UNCLEAN_STOP_FOUND else str(one.event)
                events.append(LinkEvent(agent, number + stream * 100, one.end, start, end, kind))
    watcher = Watcher(agent, more.pop("role", "link"), joined, more.pop("retired", None), heard, frozenset({stream}))
    turns.sort(key=lambda one: one.start)
    events.sort(key=lambda one: one.at)
    return Records((watcher,), tuple(runs_of(rows)), tuple(turns), tuple(events), **more)


def together(*some: Records) -> Records:
    """Several agents of one link."""
    whole = Records(
        tuple(one for records in some for one in records.watchers),
        tuple(sorted((one for records in some for one in records.runs), key=lambda one: one.end)),
        tuple(one for records in some for one in records.turns),
        tuple(sorted((one for records in some for one in records.events), key=lambda one: one.at)),
    )
    return whole._replace(confirmed=frozenset(one for records in some for one in records.confirmed))


__all__ = ["AGENT", "MINUTE", "Box", "Reason", "Script", "records", "spent", "together"]

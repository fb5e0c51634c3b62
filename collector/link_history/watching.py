"""What one agent's run, windows and changes prove of a link, boot by boot. Pure.

Windows prove what was watched; changes say what the state was within. Where the two contradict each other the windows
win as far as they are certain (one state from beginning to end); what then is still open is not measured.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from collector.link_history.runs import TICK, said, whole
from collector.link_history.shapes import Event, Interval, Run, State, Turn, Why
from wire.clock import MINUTE, SECOND, Instant
from wire.reasons import Event as NoteEvent
from wire.reasons import Reason

REACH = 66 * SECOND
"""How long after its last window an agent's changes still tell without holes: by then the next window is due."""
MOST_ERROR = 5 * MINUTE
"""Times less certain than this are unknown."""
_REASONS = {Reason.NOT_ON_THIS_LINK: Why.NOT_ON_THIS_LINK, Reason.SUSPENDED: Why.SUSPENDED}


class Piece(NamedTuple):
    """A span of one boot in one state."""

    start: int
    end: int
    state: State | None
    why: Why | None = None
    turn: Turn | None = None
    error: int = 0


class _Clock:
    """From one boot's boottime to UTC: exact at the ends of its runs, straight between them."""

    def __init__(self, runs: Sequence[Run], turns: Sequence[Turn]) -> None:
        knots = {one.start_bt: one.start for one in runs} | {one.end_bt: one.end for one in runs}
        if not knots:
            knots = {one.start_bt: one.start for one in turns}
        self._places = sorted(knots)
        self._knots = [knots[place] for place in self._places]

    def utc(self, boottime: int) -> Instant:
        """UTC of a moment."""
        after = bisect_right(self._places, boottime)
        if not after:
            return self._knots[0] + boottime - self._places[0]
        if after == len(self._places):
            return self._knots[-1] + boottime - self._places[-1]
        low, high = self._places[after - 1], self._places[after]
        share = (boottime - low) / (high - low)
        return self._knots[after - 1] + round((self._knots[after] - self._knots[after - 1]) * share)


def watched(
    agent: str, runs: Iterable[Run], turns: Iterable[Turn], events: Iterable[Event], confirmed: frozenset[str]
) -> list[Interval]:
    """What one agent proves, in order of time, without overlap; between the intervals it proves nothing."""
    of_boot: dict[int, tuple[list[Run], list[Turn], list[int]]] = defaultdict(lambda: ([], [], []))
    for run in runs:
        of_boot[run.boot][0].append(run)
    for turn in turns:
        if not is_elsewhere(turn.vantage, confirmed):
            of_boot[turn.boot][1].append(turn)
    for event in events:
        if event.kind == NoteEvent.STARTED and event.boot in of_boot:
            of_boot[event.boot][2].append(event.at_bt)
    found: list[Interval] = []
    for _, (some_runs, some_turns, starts) in sorted(of_boot.items()):
        some_runs.sort(key=_run_order)
        some_turns.sort(key=lambda one: one[:-1])
        clock = _Clock(some_runs, some_turns)
        for piece in _boot(some_runs, some_turns, sorted(starts), confirmed):
            start, end = clock.utc(piece.start), clock.utc(piece.end)
            if piece.error > MOST_ERROR:
                piece = piece._replace(state=None, why=Why.TIME_UNKNOWN, turn=None)
            found.append(Interval(start, end, piece.state, piece.why, False, False, piece.error, agent, piece.turn))
    return in_order(found)


def _run_order(one: Run) -> tuple[object, ...]:
    """Whole, so that nothing depends on the order in which records came."""
    times = (one.start_bt, one.end_bt, one.start, one.end, one.error)
    return (*times, one.stream, one.last_seq, one.vantage, one.reason, sorted(one.states.items()))


def in_order(found: list[Interval]) -> list[Interval]:
    """Sorted, each cut where the one before it ends, and what is then empty left out."""
    kept: list[Interval] = []
    reached = -(2**62)
    for one in sorted(found, key=lambda one: (one.start, one.end)):
        if one.end > max(reached, one.start):
            kept.append(one._replace(start=max(one.start, reached)))
            reached = one.end
    return kept


def _boot(runs: list[Run], turns: list[Turn], starts: list[int], confirmed: frozenset[str]) -> list[Piece]:
    pieces: list[Piece] = []
    used: set[int] = set()
    last: Piece | None = None
    for place, run in enumerate(runs):
        if last is not None and run.start_bt < last.end:
            run = _after(run, last.end)
            if run.end_bt <= run.start_bt:
                continue
        follows = last is not None and run.start_bt - last.end <= TICK
        if follows and last is not None and run.start_bt > last.end:
            run = _after(run, last.end)
        inside = [number for number, one in enumerate(turns) if run.start_bt < one.start_bt < run.end_bt]
        entered = [number for number, one in enumerate(turns) if one.start_bt == run.start_bt]
        used.update(inside, entered)
        brought = turns[entered[-1]] if entered else (last.turn if follows and last is not None else None)
        carried = brought.current if entered and brought else (last.state if follows and last is not None else None)
        some = _run(run, [turns[number] for number in inside], carried, brought, confirmed)
        pieces += some
        last = some[-1]
        limit = min([runs[place + 1].start_bt] if place + 1 < len(runs) else [2**62])
        limit = min([limit, *[start for start in starts if start > run.end_bt]])
        if limit - last.end > TICK and last.state is not None:
            beyond, numbers = _beyond(last, turns, limit)
            used.update(numbers)
            pieces += beyond
    orphans = [one for number, one in enumerate(turns) if number not in used and one.current is not State.UNKNOWN]
    return pieces + [_said(one) for one in orphans]


def _after(run: Run, start: int) -> Run:
    """The run from ``start`` on (or stretched back to it, over less than a tick)."""
    shifted = {field: getattr(run, field) for field in run.__struct_fields__}
    shifted |= {"start_bt": start, "start": run.start + start - run.start_bt}
    return Run(**shifted)


def _run(
    run: Run, inside: list[Turn], carried: State | None, brought: Turn | None, confirmed: frozenset[str]
) -> list[Piece]:
    """The pieces of one run."""

    def one(why: Why) -> list[Piece]:
        return [Piece(run.start_bt, run.end_bt, None, why, None, run.error)]

    if is_elsewhere(run.vantage, confirmed):
        return one(Why.NOT_ON_THIS_LINK)
    if not run.states or run.only is State.UNKNOWN:
        return one(_why(run.reason))
    base = inside[0].previous if inside else carried or run.only
    if base is not None:
        told = _split(run, inside, base, brought)
        if _agree(run, told) or _agree(run, _split(run, _known(run, inside), base, brought)):
            return told
    if run.only is not None and whole(run):
        late = [turn for turn in inside if turn.known_bt > run.end_bt and turn.previous is run.only]
        return _split(run, late, run.only, brought if brought and brought.current is run.only else None)
    return one(Why.DISAGREES)


def _known(run: Run, inside: list[Turn]) -> list[Turn]:
    """What the agent knew when it sealed the window: a change is known some seconds after it began."""
    return [turn for turn in inside if turn.known_bt <= run.end_bt]


def _split(run: Run, turns: list[Turn], base: State, brought: Turn | None) -> list[Piece]:
    pieces: list[Piece] = []
    at, state, turn = run.start_bt, base, brought if brought and brought.current is base else None
    for following in turns:
        if following.start_bt > at:
            pieces.append(_piece(at, following.start_bt, state, turn, run.error))
        at, state, turn = following.start_bt, following.current, following
    pieces.append(_piece(at, run.end_bt, state, turn, run.error))
    return pieces


def _piece(start: int, end: int, state: State, turn: Turn | None, error: int) -> Piece:
    if state is not State.UNKNOWN:
        return Piece(start, end, state, None, turn, error)
    return Piece(start, end, None, _why(turn.reason if turn else ""), turn, error)


def _why(reason: str) -> Why:
    """Why nothing was known while an agent watched."""
    return _REASONS.get(Reason(reason), Why.UNDECIDED) if reason else Why.UNDECIDED


def _agree(run: Run, pieces: list[Piece]) -> bool:
    spent: dict[State, int] = defaultdict(int)
    for piece in pieces:
        spent[piece.state or State.UNKNOWN] += piece.end - piece.start
    states = spent.keys() | {State(name) for name in run.states}
    return all(abs(spent[state] / SECOND - said(run, state)) <= TICK / SECOND for state in states)


def _beyond(last: Piece, turns: list[Turn], limit: int) -> tuple[list[Piece], list[int]]:
    """Changes after the last window of a run that ended without one: they were written when they were known, and the
    state held between them. At most as long as no further window was due."""
    found: list[Piece] = []
    numbers: list[int] = []
    at, state, turn = last.end, last.state, last.turn
    for number, one in enumerate(turns):
        reached = one.known_bt
        if reached <= last.end or one.start_bt >= limit or reached > last.end + REACH or reached > limit:
            continue
        if one.start_bt > at and one.previous is not state:
            break
        numbers.append(number)
        if one.start_bt > at:
            found.append(_piece(at, one.start_bt, one.previous, turn, one.error))
            at = one.start_bt
        state, turn = one.current, one
        if reached > at:
            found.append(_piece(at, reached, state, turn, one.error))
            at = reached
    return found, numbers


def _said(one: Turn) -> Piece:
    """A change alone, without any window: it proves its state from its beginning until it was known."""
    return _piece(one.start_bt, one.known_bt, one.current, one, one.error)


def is_elsewhere(vantage: str, confirmed: frozenset[str]) -> bool:
    """Whether an agent stood at another place than those confirmed. Having no route at all (``none``) is no place."""
    return bool(confirmed) and vantage not in ("", "none") and vantage not in confirmed

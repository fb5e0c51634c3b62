"""The state machine of the link's watcher: seconds in, changes and windows out, which can never disagree."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probes.link.classify import State, Verdict
from agent.probes.link.history import History, Judged, Turn
from wire.clock import SECOND
from wire.reasons import Reason

UP, LAN, LINK, PROVIDER = State.UP, State.LAN, State.LINK, State.PROVIDER
UNKNOWN = State.UNKNOWN
LETTERS = {"u": UP, "a": LAN, "l": LINK, "p": PROVIDER, "e": State.LINK_OR_PROVIDER, "c": State.COLLECTOR, "?": UNKNOWN}


def verdict(letter: str) -> Verdict:
    state = LETTERS[letter]
    return Verdict(state, Reason.SUSPENDED if state is UNKNOWN else None)


def play(seconds: str) -> tuple[History, list[Turn], int]:
    """One second after the other, as the watch does; returns the history, the turns and how far it is settled."""
    history = History(0)
    turns: list[Turn] = []
    waiting: list[tuple[int, str]] = []
    for place, letter in enumerate(seconds):
        waiting.append((place, letter))
        judged = [Judged(at * SECOND, verdict(one)) for at, one in waiting]
        settled = history.judge(judged)
        turns += settled.turns
        del waiting[: settled.number]
    return history, turns, (waiting[0][0] if waiting else len(seconds)) * SECOND


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ("uuu", [(0, "up")]),
        ("uu", []),
        ("uuulll", [(0, "up"), (3, "link")]),
        ("uuulluuu", [(0, "up")]),
        ("uuulululululuu", [(0, "up")]),
        ("uuulllulululu", [(0, "up"), (3, "link")]),
        ("uuullluuu", [(0, "up"), (3, "link"), (6, "up")]),
        ("uuupll", [(0, "up"), (3, "link")]),
        ("uuullp", [(0, "up"), (3, "provider")]),
        ("uuulal", [(0, "up"), (3, "link")]),
        ("uuulaa", [(0, "up"), (3, "lan")]),
        ("uuuaeeaaa", [(0, "up"), (3, "link_or_provider"), (6, "lan")]),
        ("uuulllppp", [(0, "up"), (3, "link"), (6, "provider")]),
        ("uuulllppuuu", [(0, "up"), (3, "link"), (6, "provider"), (8, "up")]),
        ("uuulllpuuu", [(0, "up"), (3, "link"), (6, "up")]),
        ("aaaulp", [(0, "lan"), (3, "provider")]),
        ("llluluull", [(0, "link")]),
        ("uuuccc", [(0, "up"), (3, "collector")]),
        ("uuu?uuu", [(0, "up"), (3, "unknown"), (4, "up")]),
        ("uuul?uuu", [(0, "up"), (3, "unknown"), (5, "up")]),
        ("lll?lll", [(0, "link"), (3, "unknown"), (4, "link")]),
        ("?????", []),
        ("?uu?lll", [(4, "link")]),
    ],
)
def test_turns(seconds: str, expected: list[tuple[int, str]]) -> None:
    _, turns, _ = play(seconds)
    assert [(turn.start // SECOND, str(turn.current)) for turn in turns] == expected


def test_seconds_in_a_row_are_counted_also_where_many_come_at_once() -> None:
    history = History(0)
    assert len(history.judge([Judged(n * SECOND, verdict(one)) for n, one in enumerate("lllulu")]).turns) == 1
    assert history.judge([Judged((5 + n) * SECOND, verdict(one)) for n, one in enumerate("uluu")]).turns == []


def test_the_reason_of_a_window_is_the_last_one_and_only_where_nothing_was_known() -> None:
    history = History(0)
    history.judge(
        [Judged(0, Verdict(UNKNOWN, Reason.SUSPENDED)), Judged(SECOND, Verdict(UNKNOWN, Reason.NO_RESOURCES))]
    )
    cut = history.cut(2 * SECOND)
    assert (cut.states, cut.reason) == ({"unknown": 2.0}, Reason.NO_RESOURCES)
    history.judge([Judged((2 + n) * SECOND, verdict("u")) for n in range(3)])
    cut = history.cut(5 * SECOND)
    assert (cut.states, cut.reason) == ({"up": 3.0}, None)


seconds_of = st.text(alphabet="uuuuulllape?c", min_size=1, max_size=120)


@given(seconds_of, st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_windows_and_changes_agree_however_windows_fall(seconds: str, lengths: list[int]) -> None:
    history = History(0)
    turns: list[Turn] = []
    cuts = []
    waiting: list[tuple[int, str]] = []
    ends = iter(list(pairwise([0, *(sum(lengths[: n + 1]) for n in range(len(lengths)))])))
    end = next(ends, (0, 0))[1] * SECOND
    for place, letter in enumerate(seconds):
        waiting.append((place, letter))
        settled = history.judge([Judged(at * SECOND, verdict(one)) for at, one in waiting])
        turns += settled.turns
        del waiting[: settled.number]
        reached = (waiting[0][0] if waiting else place + 1) * SECOND
        assert place + 1 - reached // SECOND <= 4, "a window waits four seconds at most"
        while end and end <= reached:
            cuts.append(history.cut(end))
            end = next(ends, (0, 0))[1] * SECOND
    line = [(0, UNKNOWN), *((turn.start, turn.current) for turn in turns), (10**12, UNKNOWN)]
    for before, after in pairwise(line[:-1]):
        assert before[0] <= after[0]
        assert before[1] is not after[1]
    for cut in cuts:
        told: Counter[str] = Counter()
        for (since, state), (until, _) in pairwise(line):
            told[state] += max(0, min(until, cut.end) - max(since, cut.start))
        assert sum(cut.states.values()) == pytest.approx((cut.end - cut.start) / SECOND)
        assert cut.states == pytest.approx({state: took / SECOND for state, took in told.items() if took})


@given(seconds_of)
def test_a_second_that_nobody_watched_is_never_told_as_anything_else(seconds: str) -> None:
    _, turns, _ = play(seconds)
    line = [(0, UNKNOWN), *((turn.start, turn.current) for turn in turns), (10**12, UNKNOWN)]
    for place, letter in enumerate(seconds):
        if letter == "?":
            (state,) = [state for (since, state), (until, _) in pairwise(line) if since <= place * SECOND < until]
            assert state is UNKNOWN


@given(seconds_of)
def test_no_fault_is_told_without_three_seconds_in_a_row_that_were_not_up(seconds: str) -> None:
    _, turns, _ = play(seconds)
    for turn in turns:
        if turn.current in (LAN, LINK, PROVIDER, State.LINK_OR_PROVIDER) and turn.previous is UP:
            first = turn.start // SECOND
            assert all(letter in "lape?c" for letter in seconds[first : first + 3])

"""What changes and windows of a watched link say of now: the picture's part for links."""

from typing import TYPE_CHECKING, TypeGuard

from sqlalchemy import Connection

from collector.link_history.shapes import PROBE, TARGET
from collector.link_history.shapes import State as LinkState
from collector.store import SeriesKey, query
from wire.batch import decode_observation
from wire.clock import Instant
from wire.observation import Change, Window
from wire.reasons import Outcome

if TYPE_CHECKING:
    from collector.picture import SeriesNow


def is_turn(observation: object) -> TypeGuard[Change]:
    """Whether this is the change of a watched link."""
    return isinstance(observation, Change) and (observation.probe, observation.target) == (PROBE, TARGET)


def is_link(key: SeriesKey) -> bool:
    """Whether this is the series of a watched link."""
    return (key.probe, key.target) == (PROBE, TARGET)


def stand_in(change: Change) -> Window:
    """What stands for a link's window until its first one comes."""
    named = {name: getattr(change, name) for name in ("boot", "start", "end", "wall_start", "wall_end", "vantage")}
    return Window(**named, probe=change.probe, target=change.target, platform=change.platform, outcome=Outcome.OK)


def watched(now: "SeriesNow", window: Window, end: Instant) -> None:
    """A watched link's window: where it held one state alone and the newest word says another, that word was missed."""
    if not is_link(now.key) or end < now.told:
        return
    states = {LinkState(name) for name, seconds in window.states.items() if seconds}
    said = next(iter(states)) if len(states) == 1 else LinkState.UNKNOWN
    if said is not now.link_state and (len(states) < 2 or now.link_state not in states):
        now.link_state, now.since, now.facts = said, end - (window.end - window.start), {}
    now.told = end


def newest_turns(connection: Connection, *, vague: int) -> list[tuple[SeriesKey, Change, Instant]]:
    """The newest change of each watched link, and when it was known; none whose time is less certain than ``vague``
    microseconds."""
    found = []
    for one in query.series(connection, probes=[PROBE], targets=[TARGET]):
        row = connection.exec_driver_sql(
            "SELECT end_utc, error, body FROM record WHERE site = ? AND kind = 'change' AND link = ? AND role = ?"
            " AND probe = ? AND target = ? AND end_utc IS NOT NULL ORDER BY end_utc DESC, id DESC LIMIT 1",
            one.key[:5],
        ).one_or_none()
        change = decode_observation(row[2]) if row is not None else None
        if row is not None and is_turn(change) and row[1] <= vague:
            found.append((one.key, change, int(row[0])))
    return found

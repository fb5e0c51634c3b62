"""The picture: what is true now, kept in memory from what was committed, and rebuilt from the store at start.

A state is green only on fresh evidence. Whatever is missing, stale, untimed, or measured from somewhere else makes a
site ``unknown``; a site whose agent says nothing is ``silent``, which is neither up nor down.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, select

from collector.link_history.shapes import DOWN
from collector.link_history.shapes import State as LinkState
from collector.link_now import is_link, is_turn, newest_turns, stand_in, watched
from collector.store import Landed, SeriesKey, Source, Store, query
from collector.store.schema import agent
from wire.clock import DAY, MINUTE, SECOND, Instant
from wire.observation import Change, Window
from wire.reasons import Outcome, Reason
from wire.settings import Role

SILENT_AFTER = 12 * SECOND
"""An agent posts every 5 s; two posts missed and two seconds of grace make it silent."""
GRACE = 30 * SECOND
"""A window ends, is sealed, posted and committed; until this long after it was due it is not yet stale."""
FIRST_GAP = 2 * MINUTE
"""How often a series is taken to report until two of its windows tell."""
SELDOM = {"call": 60 * MINUTE, "ntp": 18 * MINUTE, "edge": 5 * MINUTE, "tls": 5 * MINUTE}
"""The same for probes that are known to report seldom: a call test runs once an hour."""
LONGEST_GAP = 65 * MINUTE
"""A gap longer than this is a hole in the data, not a cadence."""
VAGUE = 30 * SECOND
"""A window whose time is known no better than this may be an old one: it is stored, and shows nothing of now."""
LOSSY = 0.05
"""Share of a window's echoes that may be lost before an answering host is no sign of a usable path. Well above what
platforms call bad (3 % by the product's default, Zoom 2 %, Teams 1 %): two echoes of a minute's sixty mean nothing."""
FEWEST = 10
"""Echoes that a window must have sent for its loss to be judged."""
OF_ITSELF = "host"
"""The probe that measures the machine: that a box has memory left says nothing of its site."""


class State(StrEnum):
    """State of a site's measurements. It is not a verdict for a meeting: that one needs a meeting."""

    FAILING = "failing"
    SILENT = "silent"
    UNKNOWN = "unknown"
    NO_AGENT = "no_agent"
    OK = "ok"


class Doubt(StrEnum):
    """Why nothing is failing and the state is still not ``ok``."""

    NOT_MEASURED_YET = "not_measured_yet"
    STALE = "stale"
    AGENT_SILENT = "agent_silent"
    LOSSY = "lossy"
    AGENT_CANNOT_MEASURE = "agent_cannot_measure"
    WRONG_VANTAGE = "wrong_vantage"
    TIME_UNKNOWN = "time_unknown"
    LINK_UNDECIDED = "link_undecided"


@dataclass(slots=True)
class SeriesNow:
    """The newest window of one series, and since when it has been as it is."""

    key: SeriesKey
    window: Window
    end: Instant
    since: Instant
    """Start of the first window of the present run of ``ok`` or of not ``ok``."""
    gap: int = FIRST_GAP
    """Microseconds from one window's end to the next."""
    last_gap: int = 0
    """The gap seen last. A longer one is a cadence only when it comes twice: once it was a pause, and a probe that
    stops after a pause must not be believed for twice as long as the pause was."""
    turn: Instant = 0
    """End of its last window that came in its turn: those that orders ask for stand between and tell no cadence."""
    link_state: LinkState | None = None
    """Of a link that is watched: the state it is in by the newest word, ``since`` when it began."""
    told: Instant = 0
    """When that word was true: the end of a window, or when a change was known."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the agent saw when that state began."""

    def stale(self, now: Instant) -> bool:
        """Whether the next window is overdue by so much that this one says nothing about now. One that ends in the
        future (a clock was set back since) says nothing either."""
        return now - self.end > 2 * self.gap + GRACE or self.end - now > GRACE

    def came(self, end: Instant) -> None:
        """Another window in its turn ended at ``end``."""
        gap = end - (self.turn or self.end)
        self.turn = end
        if 0 < gap <= LONGEST_GAP:
            self.gap = gap if gap <= self.gap or not self.last_gap else max(self.gap, min(gap, self.last_gap))
            self.last_gap = gap

    @property
    def lossy(self) -> bool:
        """Whether echoes come back and far too many do not."""
        sent = self.window.counts.get("sent", 0)
        return sent >= FEWEST and self.window.counts.get("lost", 0) > LOSSY * sent

    @property
    def failing(self) -> bool:
        """Whether the target was found bad; the agent's own trouble is not that."""
        return self.window.outcome is Outcome.FAILED or self.link_state in DOWN


@dataclass(slots=True)
class AgentNow:
    """The last word of one agent."""

    source: Source
    heard: Instant
    time_known: bool = True
    version: str = ""
    backlog: Mapping[str, int] = field(default_factory=dict)

    def silent(self, now: Instant) -> bool:
        """Whether its posts are overdue."""
        return now - self.heard > SILENT_AFTER


class Expected(NamedTuple):
    """One assignment of the site as its settings have it now: series not expected any more are not shown."""

    probe: str
    target: str
    platform: str


Place = tuple[str, str]
"""Link and role."""


@dataclass(frozen=True, slots=True)
class SitePicture:
    """What the board shows of one site."""

    site: str
    state: State
    heard: Instant | None
    series: tuple[SeriesNow, ...]
    failing: tuple[SeriesNow, ...]
    doubts: tuple[tuple[Doubt, Expected], ...]
    partial: tuple[SeriesNow, ...]
    """Series that were skipped on purpose: what could not be tested, and why."""
    agents: tuple[AgentNow, ...]


class Picture:
    """Fed after each commit; read by pages, API and metrics. Not thread-safe: it lives on the event loop."""

    def __init__(self) -> None:
        self._series: dict[str, dict[SeriesKey, SeriesNow]] = {}
        self._agents: dict[str, dict[str, AgentNow]] = {}

    def heard(
        self,
        source: Source,
        now: Instant,
        *,
        time_known: bool = True,
        version: str = "",
        backlog: Mapping[str, int] | None = None,
    ) -> None:
        """An agent posted, with or without data."""
        agents = self._agents.setdefault(source.site, {})
        # also where our own clock was set back meanwhile: the word before would stand in the future, never silent
        agents[source.agent] = AgentNow(source, now, time_known, version, backlog or {})

    def forget(self, site: str, agent: str) -> None:
        """An agent was retired: its silence says nothing any more."""
        self._agents.get(site, {}).pop(agent, None)

    def keep_agents(self, valid: Set[str]) -> None:
        """Forgets every agent that may not speak any more: a command, which is another process, retired it."""
        for agents in self._agents.values():
            for name in agents.keys() - valid:
                del agents[name]

    def landed(self, landed: Iterable[Landed]) -> None:
        """Windows and changes of links were committed. Late ones never replace what is newer; without a time that is
        known well enough, or with one that lies in the future, nothing is shown."""
        for one in landed:
            observation = one.observation
            if one.time is None or one.time.error > VAGUE or one.time.utc > one.received + GRACE:
                continue
            if not isinstance(observation, Window) and not is_turn(observation):
                continue
            key = _key(one.source, observation)
            before = self._series.get(key.site, {}).get(key)
            if before is not None and max(before.end, before.told) > one.received + GRACE:
                del self._series[key.site][key]  # seen before our clock was set back
            if isinstance(observation, Window):
                self.saw(key, observation, one.time.utc)
            else:
                self.turned(key, observation, one.time.utc)

    def turned(self, key: SeriesKey, change: Change, known: Instant) -> None:
        """A watched link changed its state; ``known``, corrected, is when its agent knew."""
        series = self._series.setdefault(key.site, {})
        began = known - (change.end - change.start)
        now = series.get(key)
        if now is None:  # its first window is yet to come
            now = series[key] = SeriesNow(key, stand_in(change), known, began)
        if known >= now.told:
            now.link_state, now.since, now.told = LinkState(change.current), began, known
            now.facts = change.facts

    def saw(self, key: SeriesKey, window: Window, end: Instant, since: Instant | None = None) -> None:
        """One window whose end, corrected, is ``end``."""
        series = self._series.setdefault(key.site, {})
        before = series.get(key)
        if before is None:
            gap = SELDOM.get(key.probe, FIRST_GAP)
            series[key] = made = SeriesNow(key, window, end, since or end - (window.end - window.start), gap)
            watched(made, window, end)
            return
        if end <= before.end:
            return
        start = end - (window.end - window.start)
        if before.window.states or not is_link(key):  # no stand-in for a window
            if not window.order:
                before.came(end)
            hole = end - before.end > LONGEST_GAP and before.told < start
            if hole or (window.outcome is not before.window.outcome and not is_link(key)):
                before.since = start
        before.window, before.end = window, end
        watched(before, window, end)

    async def rebuild(self, store: Store) -> None:
        """Starts from what the store holds: when each agent was last heard, and the newest window of every series with
        the beginning of its present run (looked for within the day before it)."""
        for source, heard, version in await store.read(_agents):
            self.heard(source, heard, version=version)
        for key, change, known in await store.read(partial(newest_turns, vague=VAGUE)):
            self.turned(key, change, known)
        for key, window, end, since in await store.read(_newest):
            self.saw(key, window, end, since)

    def site(
        self, site: str, now: Instant, expected: Iterable[Expected] | Mapping[Place, Iterable[Expected]] | None = None
    ) -> SitePicture:
        """The picture of one site. ``expected`` names what its settings assign, of each place its own or of all alike;
        without it all seen series count. A place that is expected and has no agent is measured by nobody."""
        agents = tuple(self._agents.get(site, {}).values())
        series = tuple(self._series.get(site, {}).values())
        wanted = None
        if expected is not None:
            here = {(agent.source.link, agent.source.role) for agent in agents}
            told = expected if isinstance(expected, Mapping) else dict.fromkeys(here, tuple(expected))
            wanted = {place: frozenset(some) for place, some in told.items()}
            series = tuple(one for one in series if _expected(one.key) in wanted.get(_place(one.key), ()))
        return _assess(site, agents, series, wanted, now)

    def sites(self) -> list[str]:
        """Sites that were ever heard or seen."""
        return sorted(self._series.keys() | self._agents.keys())


def _assess(
    site: str,
    agents: tuple[AgentNow, ...],
    series: tuple[SeriesNow, ...],
    wanted: Mapping[Place, frozenset[Expected]] | None,
    now: Instant,
) -> SitePicture:
    heard = max((agent.heard for agent in agents), default=None)
    places = _places(agents, now)
    series = tuple(one for one in series if (one.key.link, one.key.role) in places)  # those of retired agents are past
    failing = tuple(one for one in series if one.failing and not one.stale(now))
    doubts = _doubts(agents, places, series, wanted, now)
    partial = tuple(
        one
        for one in series
        if one.window.outcome is Outcome.SKIPPED and one.window.reason is not Reason.NOT_ON_THIS_LINK
    )
    if not agents:
        state = State.NO_AGENT
    elif all(agent.silent(now) for agent in agents):
        state = State.SILENT
    elif failing:
        state = State.FAILING
    elif doubts or not any(one.window.outcome is Outcome.OK and one.key.probe != OF_ITSELF for one in series):
        state = State.UNKNOWN
    else:
        state = State.OK
    return SitePicture(site, state, heard, series, failing, doubts, partial, agents)


def _places(agents: tuple[AgentNow, ...], now: Instant) -> set[tuple[str, str]]:
    """Links and roles that the site is judged by. The room's notebook is put away between meetings: while it is silent
    and another place of the site is heard, what it said last is neither missing nor stale."""
    places = {(agent.source.link, agent.source.role) for agent in agents}
    heard = _heard(agents, now)
    put_away = {place for place in places - heard if place[1] == Role.ROOM}
    return places - put_away if heard else places


def _heard(agents: tuple[AgentNow, ...], now: Instant) -> set[tuple[str, str]]:
    return {(agent.source.link, agent.source.role) for agent in agents if not agent.silent(now)}


def _doubts(
    agents: tuple[AgentNow, ...],
    places: set[tuple[str, str]],
    series: tuple[SeriesNow, ...],
    wanted: Mapping[Place, frozenset[Expected]] | None,
    now: Instant,
) -> tuple[tuple[Doubt, Expected], ...]:
    doubts: list[tuple[Doubt, Expected]] = []
    if agents and not any(agent.time_known for agent in agents if not agent.silent(now)):
        doubts.append((Doubt.TIME_UNKNOWN, Expected("", "", "")))
    if places - _heard(agents, now):  # its last windows look fresh for minutes yet
        doubts.append((Doubt.AGENT_SILENT, Expected("", "", "")))
    lossy_anchors = sum(one.lossy for one in series if _is_anchor(one))
    seen = set()
    for one in series:
        name = _expected(one.key)
        seen.add((one.key.link, one.key.role, name))
        if one.window.outcome is Outcome.ERROR:
            doubts.append((Doubt.AGENT_CANNOT_MEASURE, name))
        elif one.window.reason is Reason.NOT_ON_THIS_LINK:
            doubts.append((Doubt.WRONG_VANTAGE, name))
        elif one.stale(now):
            doubts.append((Doubt.STALE, name))
        elif one.link_state is LinkState.UNKNOWN:
            doubts.append((Doubt.LINK_UNDECIDED, name))
        elif one.lossy and not one.failing and not one.key.platform and (not _is_anchor(one) or lossy_anchors > 1):
            doubts.append((Doubt.LOSSY, name))  # one anchor alone may be busy; two are the path
    away = {(agent.source.link, agent.source.role) for agent in agents} - places
    missing = {
        name
        for place, names in (wanted or {}).items()
        for name in names
        if place not in away and (*place, name) not in seen
    }
    doubts.extend((Doubt.NOT_MEASURED_YET, name) for name in sorted(missing))
    return tuple(doubts)


def _is_anchor(one: SeriesNow) -> bool:
    return one.key.target.startswith("anchor-")


def _agents(connection: Connection) -> list[tuple[Source, Instant, str]]:
    rows = connection.execute(select(agent).where(agent.c.retired.is_(None), agent.c.heard.is_not(None)))
    return [(Source(row.id, row.site, row.link, row.role), row.heard, row.version or "") for row in rows]


def _newest(connection: Connection) -> list[tuple[SeriesKey, Window, Instant, Instant]]:
    numbers = {one.key: one.number for one in query.series(connection)}
    found = []
    for landed in query.latest(connection):
        if landed.time is None or not isinstance(landed.observation, Window):
            continue
        key, end = _key(landed.source, landed.observation), landed.time.utc
        since = end - (landed.observation.end - landed.observation.start)
        past = query.windows(connection, [numbers[key]], end - DAY, end)[numbers[key]]
        since = _run_start(past, landed.observation.outcome, since)
        found.append((key, landed.observation, end, since))
    return found


def _run_start(past: query.Columns, outcome: Outcome, since: Instant) -> Instant:
    """Start of the run of one outcome with which ``past`` ends; a hole in the data ends the run."""
    for place in range(len(past) - 1, -1, -1):
        if past.outcome[place] is not outcome or since - past.end[place] > LONGEST_GAP:
            break
        since = past.start[place]
    return since


def _key(source: Source, one: Window | Change) -> SeriesKey:
    return SeriesKey(source.site, source.link, source.role, one.probe, one.target, one.platform)


def _place(key: SeriesKey) -> Place:
    return key.link, key.role


def _expected(key: SeriesKey) -> Expected:
    return Expected(key.probe, key.target, key.platform)

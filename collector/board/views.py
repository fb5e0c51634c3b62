"""What the pages show, as plain values: pure functions of the picture, the inventory, the language and ``now``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collector.catalogue import catalogue
from collector.link_history.shapes import State as LinkState
from collector.link_words import LINK_STATES
from collector.localtime import age_text, since_text
from collector.picture import Doubt, Expected, SeriesNow, SitePicture, State
from collector.rivals import rivals
from collector.words import ANCHOR, DOUBTS, ENDPOINTS, OUTCOMES, PROBES, REASONS, ROLES, STATES, TARGETS
from wire.clock import Instant
from wire.histogram import Histogram
from wire.observation import Window
from wire.reasons import Outcome

ATTENTION = (State.FAILING, State.SILENT, State.UNKNOWN, State.NO_AGENT, State.OK)
"""What needs attention comes first; what nobody measures yet comes before what is fine, lest it be forgotten."""
LINES = 3
"""How many lines of faults the board gives a site before it says how many more there are."""
MAIN = {"icmp": "rtt", "edge": "rtt", "dns": "lookup", "tcp": "connect", "tls": "handshake", "http": "whole"}
"""The duration that stands for a probe; another probe's is ``rtt`` or the first it has."""
NEAREST = ("machine", "link", "gateway", "edge", "resolver", "udp", "anchor-1", "anchor-2")
LAYERS = ("gateway", "icmp", "edge", "dns", "stun", "tcp", "tls", "http", "sip")
"""Own targets by their distance and probes by their layer: in this order faults are told."""
MUCH_BACKLOG = 20
"""Batches; fewer are merely on their way."""
OUTCOME_STATES = {
    Outcome.OK: State.OK,
    Outcome.FAILED: State.FAILING,
    Outcome.SKIPPED: State.UNKNOWN,
    Outcome.ERROR: State.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One site on the board."""

    site: str
    name: str
    state: State
    word: str
    heard: str
    wrong: tuple[str, ...]
    more: int
    note: str


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series on a site's page."""

    title: str
    detail: str
    state: State
    word: str
    value: str
    since: str
    chart: str
    summary: str


class Group(NamedTuple):
    """Series under one heading."""

    title: str
    rows: list[SeriesRow]


@dataclass(frozen=True, slots=True)
class Day:
    """A series' last 24 hours in figures. Durations in nanoseconds, the lost counted as beyond every limit."""

    durations: Histogram | None
    windows: int
    failed: int


class Words:
    """The texts of one language."""

    def __init__(self, language: str, platforms: Mapping[str, str]) -> None:
        self.language = language
        self._texts = catalogue(language)
        self._platforms = platforms

    def __call__(self, text: str) -> str:
        """The text in this language."""
        return self._texts.gettext(text)

    def place(self, target: str, platform: str) -> str:
        """What stands at the other end: ``Zoom``, ``router of the site``, ``reference host 1``."""
        if platform:
            return self._platforms.get(platform, platform)
        kind, _, number = target.partition("-")
        if kind == "anchor" and number:
            return self(ANCHOR) % {"number": number}
        return self(TARGETS[target]) if target in TARGETS else target

    def what(self, probe: str, target: str, platform: str) -> str:
        """What is measured there: ``web page``, ``connection (tcp-443)``."""
        word = self(PROBES[probe]) if probe in PROBES else probe
        endpoint = target.removeprefix(f"{platform}.") if platform else ""
        return f"{word} ({endpoint})" if endpoint and endpoint != ENDPOINTS.get(probe) else word

    def target(self, probe: str, target: str, platform: str) -> str:
        """``Zoom, web page``: both."""
        place = self.place(target, platform)
        what = self.what(probe, target, platform)
        return what if place.casefold() == what.casefold() else f"{place}, {what}"

    def reason(self, window: Window) -> str:
        """Why a window is not ``ok``; its outcome in a word where it gives no reason."""
        return self(REASONS[window.reason]) if window.reason else self(OUTCOMES[window.outcome])

    def why(self, one: SeriesNow) -> str:
        """Why a series is as it is: of a watched link its state, of all else its newest window's reason."""
        return self(LINK_STATES[one.link_state]) if one.link_state is not None else self.reason(one.window)

    def doubt(self, doubt: Doubt, about: Expected) -> str:
        """Why something cannot be confirmed."""
        word = self(DOUBTS[doubt])
        return f"{self.target(*about)}: {word}" if about.probe else word


def board_rows(
    pictures: Iterable[tuple[str, SitePicture]], words: Words, now: Instant
) -> tuple[list[BoardRow], list[tuple[State, str, int]]]:
    """The rows of the board, worst first, and how many sites are in each state. ``pictures`` come as (name, picture) in
    the order of the inventory, which decides among equals."""
    rows = [_board_row(name, picture, words, now) for name, picture in pictures]
    tally = [(state, words(STATES[state]), sum(row.state is state for row in rows)) for state in reversed(ATTENTION)]
    rows.sort(key=lambda row: ATTENTION.index(row.state))
    return rows, tally


def _board_row(name: str, picture: SitePicture, words: Words, now: Instant) -> BoardRow:
    wrong = fault_lines(picture.failing, words, now) if picture.state is State.FAILING else []
    note = ""
    if rival_agents(picture, now):
        note = words("two agents report for the same place; one of them must be retired")
    elif picture.state is State.UNKNOWN:
        note = words.doubt(*picture.doubts[0]) if picture.doubts else words(DOUBTS[Doubt.NOT_MEASURED_YET])
    elif picture.state is State.SILENT and picture.heard is not None:
        note = words("silent since %(time)s") % {"time": since_text(picture.heard, now, words.language)}
    return BoardRow(
        site=picture.site,
        name=name,
        state=picture.state,
        word=words(STATES[picture.state]),
        heard=age_text(now - picture.heard, words.language) if picture.heard is not None else "",
        wrong=tuple(wrong[:LINES]),
        more=max(0, len(wrong) - LINES),
        note=note,
    )


def nearest_first(faults: Iterable[SeriesNow]) -> list[SeriesNow]:
    """Faults nearest to the site first: a dead router explains a silent platform, never the other way round."""

    def distance(one: SeriesNow) -> tuple[bool, int, int, str]:
        near = NEAREST.index(one.key.target) if one.key.target in NEAREST else len(NEAREST)
        layer = LAYERS.index(one.key.probe) if one.key.probe in LAYERS else len(LAYERS)
        return bool(one.key.platform), near, layer, one.key.platform

    return sorted(faults, key=distance)


def fault_lines(faults: Iterable[SeriesNow], words: Words, now: Instant) -> list[str]:
    """``Zoom, web page, certificate: took too long, since 09.41``: a line for each place and cause, nearest first, with
    the earliest beginning."""
    lines: dict[tuple[str, str], tuple[list[str], Instant]] = {}
    for one in nearest_first(faults):
        key = one.key
        place, why = words.place(key.target, key.platform), words.why(one)
        what = words.what(key.probe, key.target, key.platform)
        whats, since = lines.get((place, why), ([], one.since))
        lines[place, why] = ([*whats, what] if what.casefold() != place.casefold() else whats, min(since, one.since))
    return [
        words("%(what)s: %(why)s, since %(time)s")
        % {"what": ", ".join([place, *whats]), "why": why, "time": since_text(since, now, words.language)}
        for (place, why), (whats, since) in lines.items()
    ]


def rival_agents(picture: SitePicture, now: Instant) -> list[str]:
    """Agents of which two or more speak for one place now: IT must decide which one stays."""
    found = rivals(((agent.source, agent.heard) for agent in picture.agents), now)
    return sorted({agent for one in found for agent in one.agents})


def groups(
    picture: SitePicture, days: Mapping[Expected, Day], charts: Mapping[Expected, str], words: Words, now: Instant
) -> list[Group]:
    """A site's series under headings: its own link first, each platform, the measuring machine last."""
    link: list[SeriesNow] = []
    machine: list[SeriesNow] = []
    platforms: dict[str, list[SeriesNow]] = {}
    for one in nearest_first(picture.series):
        if one.key.platform:
            platforms.setdefault(one.key.platform, []).append(one)
        else:
            (machine if one.key.probe in ("host", "ntp") else link).append(one)
    found = [(words("What is measured of the link"), link)]
    found.extend((words.place("", platform), rows) for platform, rows in platforms.items())
    found.append((words("Measuring machine"), machine))
    return [Group(title, [_series_row(one, days, charts, words, now) for one in rows]) for title, rows in found if rows]


def shown_state(one: SeriesNow) -> State:
    """The state in which a fresh series is shown."""
    if one.link_state is None:
        return OUTCOME_STATES[one.window.outcome]
    if one.link_state is LinkState.UNKNOWN:
        return State.UNKNOWN
    return State.FAILING if one.failing else State.OK


def _series_row(
    one: SeriesNow, days: Mapping[Expected, Day], charts: Mapping[Expected, str], words: Words, now: Instant
) -> SeriesRow:
    key = Expected(one.key.probe, one.key.target, one.key.platform)
    stale = one.stale(now)
    state = State.UNKNOWN if stale else shown_state(one)
    if stale:
        word = words(DOUBTS[Doubt.STALE])
    elif one.link_state is not None:
        word = words.why(one)
    elif one.window.outcome is Outcome.OK:
        word = words(OUTCOMES[Outcome.OK])
    else:
        word = words.reason(one.window)
    return SeriesRow(
        title=words.what(*key) if key.platform else words.target(*key),
        detail=f"{key.target} · {key.probe}",
        state=state,
        word=word,
        value=value_text(one.window),
        since=words("since %(time)s") % {"time": since_text(one.since, now, words.language)},
        chart=charts.get(key, ""),
        summary=summary_text(days[key], words) if key in days else "",
    )


def main_duration(probe: str, durations: Mapping[str, Histogram]) -> Histogram | None:
    """The duration that stands for the probe, if the window has one."""
    name = MAIN.get(probe, "rtt")
    return durations.get(name) or next(iter(durations.values()), None)


def value_text(window: Window) -> str:
    """The window's figures in a line, with units."""
    parts: list[str] = []
    histogram = main_duration(window.probe, window.durations)
    if histogram is not None and histogram.count:
        parts.append(milliseconds(histogram.quantile(0.5) or 0.0))
    sent = window.counts.get("sent", 0)
    if sent > 1:
        parts.append(f"{sent - window.counts.get('lost', 0)}/{sent}")
    values = window.values
    if "clock_offset" in values:
        parts.append(f"{values['clock_offset'] * 1000:+.1f} ms")
    parts.extend(f"{label} {values[name] * 100:.0f} %" for name, label in _RATIOS if name in values)
    return " · ".join(parts)


_RATIOS = (("cpu", "CPU"), ("memory", "RAM"), ("disk", "disk"), ("battery", "battery"))


def milliseconds(nanoseconds: float) -> str:
    """A duration with three significant figures at most: ``0.42 ms``, ``20.4 ms``, ``1,240 ms``."""
    value = nanoseconds / 1e6
    if value >= 100:
        return f"{value:,.0f} ms"
    return f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def summary_text(day: Day, words: Words) -> str:
    """The day in a line, which is also what a screen reader hears instead of the chart."""
    parts: list[str] = []
    durations = day.durations
    if durations is not None and durations.count:
        parts.append(words("median %(value)s") % {"value": milliseconds(durations.quantile(0.5) or durations.low)})
        high = durations.quantile(0.95)
        if high is not None and high != float("inf"):
            parts.append(words("95 %% within %(value)s") % {"value": milliseconds(high)})
        if durations.lost:
            share = durations.lost / (durations.lost + durations.count) * 100
            parts.append(words("lost %(value).2f %%") % {"value": share})
    parts.append(words("failed in %(failed)d of %(windows)d measurements") % vars_of(day))
    return " · ".join(parts)


def vars_of(day: Day) -> dict[str, int]:
    """The counts of a day by name."""
    return {"failed": day.failed, "windows": day.windows}


def facts(picture: SitePicture, words: Words, about: Sequence[tuple[str, str]], now: Instant) -> list[tuple[str, str]]:
    """What stands at the head of a site's page: what the inventory says, then the agents."""
    found = [(words(label), value) for label, value in about if value]
    for agent in picture.agents:
        backlog = agent.backlog.get("batches", 0)
        text = words(ROLES.get(agent.source.role, agent.source.role)) + (f", {agent.version}" if agent.version else "")
        if backlog > MUCH_BACKLOG:
            text += " · " + words("%(number)d batches still to come") % {"number": backlog}
        if agent.silent(now):
            text += " · " + words("silent since %(time)s") % {"time": since_text(agent.heard, now, words.language)}
        found.append((words("Agent"), text))
    return found

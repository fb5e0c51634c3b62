"""What the pages show of a link's history, as plain values: pure functions of it, the language and ``now``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collector.board.views import Words
from collector.link_history.derive import current
from collector.link_history.domains import RULE
from collector.link_history.histories import Told
from collector.link_history.shapes import Interval, Kind, Rules, State, Why
from collector.link_words import DOMAINS, LINK_KINDS, LINK_STATES, RULE_REASONS, WHO_ACTS, WHYS
from collector.localtime import bangkok, clock_text, date_text, since_text
from collector.picture import State as Shown
from wire.clock import SECOND, Instant

LONGEST_LIST = 60
"""Outages and unmeasured times that one page lists; the API has them all."""
UNMEASURED_FROM = 60 * SECOND
"""Shorter unmeasured times are summed up and not listed."""
SHOWN: dict[Kind, Shown] = {
    Kind.UP: Shown.OK,
    Kind.DOWN: Shown.FAILING,
    Kind.UNMEASURED: Shown.UNKNOWN,
    Kind.SILENT: Shown.SILENT,
}


class OutageRow(NamedTuple):
    """One outage in a table."""

    start: str
    end: str
    length: str
    domain: str
    note: str
    evidence: list[str]
    counted: bool


class GapRow(NamedTuple):
    """One unmeasured time in a table."""

    start: str
    end: str
    length: str
    why: str


class Share(NamedTuple):
    """One class of time in figures."""

    state: Shown
    word: str
    length: str
    percent: str


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link as a page shows it."""

    link: str
    state: Shown
    word: str
    since: str
    who_acts: str
    evidence: list[str]
    shares: list[Share]
    outages: list[OutageRow]
    more_outages: int
    counted: int
    gaps: list[GapRow]
    more_gaps: int
    rules: str


def link_view(
    link: str, history: Sequence[Interval], told: Iterable[Told], rules: Rules, words: Words, now: Instant
) -> LinkView:
    """One link over the span of ``history``."""
    last = current(history)
    now_is, since = last if last is not None else (Interval(now, now, why=Why.NO_AGENT), now)
    outages = sorted(told, key=lambda one: -one.outage.start)
    gaps = [one for one in _gaps(history) if one.end - one.start >= UNMEASURED_FROM]
    gaps.reverse()
    return LinkView(
        link=link,
        state=SHOWN[now_is.kind],
        word=_word(now_is, words),
        since=since_text(since, now, words.language),
        who_acts=words(WHO_ACTS[now_is.state]) if now_is.state in WHO_ACTS and not now_is.silent else "",
        evidence=evidence(now_is, words) if now_is.kind is Kind.DOWN else [],
        shares=shares(history, words),
        outages=[outage_row(one, words, now) for one in outages[:LONGEST_LIST]],
        more_outages=max(0, len(outages) - LONGEST_LIST),
        counted=sum(one.outage.counted for one in outages),
        gaps=[_gap_row(one, words, now) for one in gaps[:LONGEST_LIST]],
        more_gaps=max(0, len(gaps) - LONGEST_LIST),
        rules=words(
            "An outage counts from %(least)g s; a gap under %(gap)g s joins two for the count, never for down time."
            " Cause by rule %(rule)d."
        )
        % {"least": rules.counts_from / SECOND, "gap": rules.joins_below / SECOND, "rule": RULE},
    )


def _word(one: Interval, words: Words) -> str:
    if one.silent:
        return words(LINK_KINDS[Kind.SILENT])
    if one.kind is Kind.UNMEASURED:
        return f"{words(LINK_KINDS[Kind.UNMEASURED])}: {words(WHYS[one.why or Why.UNDECIDED])}"
    return words(LINK_STATES[one.state or State.UNKNOWN])


def _gaps(history: Iterable[Interval]) -> list[Interval]:
    return [one for one in history if one.kind in (Kind.UNMEASURED, Kind.SILENT) and one.why is not Why.NO_AGENT]


def _gap_row(one: Interval, words: Words, now: Instant) -> GapRow:
    why = words(LINK_KINDS[Kind.SILENT]) if one.silent else words(WHYS[one.why or Why.UNDECIDED])
    return GapRow(*_span(one.start, one.end, now, words), length_text((one.end - one.start) / SECOND, words), why)


def outage_row(one: Told, words: Words, now: Instant) -> OutageRow:
    """A line of the list of outages."""
    outage, judged = one.outage, one.judged
    start, end = _span(outage.start, outage.end, now, words)
    notes = [words(RULE_REASONS[judged.reason]) % {"together": judged.together, "watched": judged.watched}]
    if outage.state is not judged.domain:
        notes.append(words("the agent said: %(domain)s") % {"domain": words(DOMAINS[outage.state])})
    if outage.joins:
        notes.append(words("counts as one with the outage before it"))
    elif not outage.counted:
        notes.append(words("too short to count"))
    if outage.after is None:
        end = words("lasts still")
    elif outage.after is not Kind.UP and outage.after is not Kind.DOWN:
        notes.append(words("when it ended nobody measured"))
    seen = [line for piece in outage.pieces for line in evidence(piece, words)]
    return OutageRow(
        start,
        end,
        length_text(outage.seconds, words),
        words(DOMAINS[judged.domain]),
        " · ".join(notes),
        list(dict.fromkeys(seen)),
        outage.counted,
    )


def evidence(one: Interval, words: Words) -> list[str]:
    """What the agent saw when the state began, in lines."""
    if one.turn is None:
        return []
    marked = {
        "answered": words("answered: %(what)s"),
        "silent": words("did not answer: %(what)s"),
        "carrier": words("cable connected: %(what)s"),
        "route": words("way out known: %(what)s"),
        "trace": words("path: %(what)s"),
    }
    yes_no = {"yes": words("yes"), "no": words("no")}
    facts = one.turn.facts
    return [text % {"what": yes_no.get(facts[name], facts[name])} for name, text in marked.items() if facts.get(name)]


def shares(history: Iterable[Interval], words: Words) -> list[Share]:
    """The classes of time, with what the office's own network took beside the faults beyond it. They add up to the
    whole, in which the time before any agent was there is not counted."""
    own = (Kind.DOWN, LINK_STATES[State.LAN])
    order = [*list(LINK_KINDS.items())[:2], own, *list(LINK_KINDS.items())[2:]]
    spent: dict[tuple[Kind, str], int] = dict.fromkeys(order, 0)
    for one in history:
        if one.why is not Why.NO_AGENT:
            key = own if one.state is State.LAN else (one.kind, LINK_KINDS[one.kind])
            spent[key] += one.end - one.start
    whole = sum(spent.values())
    return [
        Share(SHOWN[kind], words(word), length_text(took / SECOND, words), percent_text(took, whole))
        for (kind, word), took in spent.items()
        if took
    ]


def percent_text(part: int, whole: int) -> str:
    """Share with three decimals, cut and not rounded: 100 % is only said where it is the whole."""
    thousandths = part * 100_000 // whole if whole else 0
    return f"{thousandths // 1000}.{thousandths % 1000:03d} %"


def length_text(seconds: float, words: Words) -> str:
    """A length in its two largest units; below ten seconds with a decimal."""
    if seconds < 9.95:
        return words("%(seconds).1f s") % {"seconds": seconds}
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        return words("%(seconds)d s") % {"seconds": whole}
    if whole < 3600:
        return words("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return words("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    return words("%(days)d d %(hours)d h") % {"days": hours // 24, "hours": hours % 24}


def _span(start: Instant, end: Instant, now: Instant, words: Words) -> tuple[str, str]:
    """Begin and end to the second; the date where it is not today, and not twice."""
    language = words.language
    today, days = bangkok(now).date(), (bangkok(start).date(), bangkok(end).date())
    low, high = clock_text(start, language, seconds=True), clock_text(end, language, seconds=True)
    if days[0] != today:
        low = f"{date_text(start, language)} {low}"
    return low, f"{date_text(end, language)} {high}" if days[1] != days[0] else high

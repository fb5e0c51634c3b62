"""The month's sampling as the site's page shows it: plain words, and never a bad result before it is confirmed."""

from typing import NamedTuple

from collector.board.views import Words
from collector.localtime import since_text
from collector.slots.book import Book
from collector.slots.forecast import Outlook, forecast
from collector.slots.held import Doubt, Half, Held, State
from collector.slots.places import World
from collector.slots.rules import Line, month_of
from collector.slots.words import DIRECTIONS, WHYS, cause
from wire.clock import Instant

PUT_OFF = frozenset({State.DEFERRED, State.SKIPPED, State.FAILED, State.UNANSWERED})


class Row(NamedTuple):
    """One direction."""

    title: str
    samples: str
    forecast: str
    figure: str
    """``198.7 of 200 Mbps``; empty while nothing is known."""
    word: str
    """What the last test says."""
    when: str


class Part(NamedTuple):
    """One link."""

    link: str
    """Its id, where the site has several."""
    rows: tuple[Row, ...]
    put_off: str
    budget: str


def parts(book: Book, here: World, site: str, words: Words, now: Instant) -> list[Part]:
    """What the page of a site shows of slots; nothing where no agent was ever heard and nothing was measured."""
    lines = [one for one in here.lines if one.site == site]
    found = []
    for line in lines:
        month = month_of(now, here.rules.zone)
        slots = book.of(line.place, month)
        if not line.agent and not slots:
            continue
        spent = {"used": book.spent(site, month) / 1e9, "budget": here.rules.budget / 1e9}
        rows = tuple(
            _row(outlook, line, here, slots, words, now)
            for outlook in forecast(book, line, here.fars, here.rules, month, now)
        )
        budget = words("Tests of this month used %(used).1f of %(budget)g GB.") % spent
        found.append(Part(line.link if len(lines) > 1 else "", rows, _put_off(slots, words, now), budget))
    return found


def _row(outlook: Outlook, line: Line, here: World, slots: list[Held], words: Words, now: Instant) -> Row:
    counted = {
        "valid": outlook.valid,
        "samples": here.rules.samples,
        "busy": outlook.busy,
        "busy_samples": here.rules.busy_samples,
    }
    samples = words("%(valid)d of %(samples)d samples count, %(busy)d of %(busy_samples)d in the busy hours") % counted
    last = next((one for one in reversed(slots) if outlook.direction in one.results), None)
    if last is None:
        return Row(
            words(DIRECTIONS[outlook.direction]), samples, _outlook(outlook, words), "",
            words("not tested yet"), "",
        )  # fmt: skip
    half = last.results[outlook.direction]
    return Row(
        words(DIRECTIONS[outlook.direction]),
        samples,
        _outlook(outlook, words),
        _figure(half, words),
        word(last, outlook.direction, up_to=line.terms is not None and line.terms.up_to, words=words),
        since_text(last.at or last.start, now, words.language),
    )


def _outlook(outlook: Outlook, words: Words) -> str:
    if outlook.sufficient:
        return words("by the month's end they will suffice")
    why = ", ".join(dict.fromkeys(words(WHYS[one]) for one, _ in outlook.why))
    return words("by the month's end they will not suffice: %(why)s") % {"why": why}


def _figure(half: Half, words: Words) -> str:
    if not half.rate or not half.contract:
        return ""
    figures = {"rate": f"{half.rate / 1e6:.1f}", "contract": f"{half.contract / 1e6:g}"}
    return words("%(rate)s of %(contract)s Mbps") % figures


def word(slot: Held, direction: str, *, up_to: bool, words: Words) -> str:
    """What one direction of a test says, in words; a bad result only once a second test agreed on that direction."""
    half, doubt = slot.results[direction], slot.doubt_of(direction)
    if half.outcome != "ok":
        return words("not measured: %(why)s") % {"why": words(cause(half.reason))}
    if not half.valid:
        why = ", ".join(words(cause(one)) for one in half.limits) or words(cause(""))
        return words("inconclusive: %(why)s") % {"why": why}
    if not half.bad:
        return words("as the contract says")
    if doubt is Doubt.UNCONFIRMED:
        return words("low result, not confirmed yet by a second test")
    if doubt is Doubt.REFUTED:
        return words("low result, not repeated by the second test")
    return words("below the package's maximum (for information)") if up_to else words("below the contract")


def _put_off(slots: list[Held], words: Words, now: Instant) -> str:
    """The last slot that came to nothing, if none was measured since."""
    last = next((one for one in reversed(slots) if one.state in PUT_OFF or one.state is State.DONE), None)
    if last is None or last.state is State.DONE:
        return ""
    told = {"time": since_text(last.start, now, words.language), "why": words(cause(last.reason or last.state.value))}
    return words("test put off or skipped %(time)s: %(why)s") % told

"""Where a site's agents stand, as its page tells it: pure functions of the picture and of what is confirmed."""

from collections.abc import Iterable
from dataclasses import dataclass

from collector.board.views import Words
from collector.localtime import since_text
from collector.picture import SitePicture
from collector.vantages import ROOM, Vantage, standing
from collector.words import MEDIA
from wire.clock import Instant

LINES = 6
"""Vantages that the page of a site names; the rest is in ``phrom-collector vantage list``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the page says of a site's vantages."""

    facts: list[tuple[str, str]]
    """Label and words, for the head of the page."""
    unconfirmed: list[str]
    """Arguments of the command that confirms a place, where nothing is confirmed yet."""
    elsewhere: list[str]
    """The same for places where an agent stands now although others are confirmed."""


def stands(known: Iterable[Vantage], picture: SitePicture, words: Words, now: Instant) -> Standing:
    """``known`` are the vantages of the site, the confirmed first."""
    known = list(known)
    links = sorted({one.link for one in known})
    here = set(standing(picture, now))
    facts = [(words("Vantage"), _line(one, here, len(links) > 1, words, now)) for one in _shown(known, here)]
    unconfirmed: list[str] = []
    elsewhere: list[str] = []
    for link in links:
        all_of = [one for one in known if one.link == link]
        present = [one for one in all_of if (link, one.id) in here]
        if not any(one.confirmed is not None for one in all_of):
            unconfirmed += [_arguments(one, known) for one in present or all_of[:1]]
        else:
            elsewhere += [_arguments(one, known) for one in present if one.confirmed is None]
    return Standing(facts, unconfirmed, elsewhere)


def _shown(known: list[Vantage], here: set[tuple[str, str]]) -> list[Vantage]:
    """The confirmed and the present first, then those seen last."""
    first = [one for one in known if one.confirmed is not None or (one.link, one.id) in here]
    rest = sorted((one for one in known if one not in first), key=lambda one: -one.seen_last)
    return (first + rest)[: max(LINES, len(first))]


def _line(one: Vantage, here: set[tuple[str, str]], several: bool, words: Words, now: Instant) -> str:
    parts = [words(MEDIA[one.medium])] if one.medium in MEDIA else []
    parts += [one.id]
    parts += [one.link or words("room")] if several else []
    if one.confirmed is not None:
        time = since_text(one.confirmed, now, words.language)
        parts.append(words("confirmed since %(time)s") % {"time": time})
    else:
        time = since_text(one.seen_first, now, words.language)
        parts.append(words("not confirmed, first seen %(time)s") % {"time": time})
    parts += [words("an agent stands here now")] if (one.link, one.id) in here else []
    return " · ".join(parts)


def _arguments(one: Vantage, known: list[Vantage]) -> str:
    doubtful = sum(other.id == one.id for other in known) > 1
    return f"{one.site} {one.id}" + (f" --link {one.link or ROOM}" if doubtful else "")

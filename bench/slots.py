"""Claim: slots sample every link as the rules ask, and never trample a meeting, each other, or the responder.

21 sites, a month of simulated time: meetings every working morning and two that last all day, agents that go away for
hours, 5 % of the tests failed, 5 % put off because the line is in use, 5 % not valid, 1 % below the contract. First
with a responder of 1 Gbit/s away from every site, then with one in the hall behind its own 200/80. The planner is the
product's; what is claimed is checked from what was granted, by wire.meetings and by counting. The peer is cron on the
same days: each site once an hour at its own minute, or all of them at the full hour, for as long and as many bytes as
speedtest-cli took at 200/80 (field: bandwidth §2). A slot counts with all that it reserves (60 s), cron with its test.

    .venv/bin/python -m bench.slots [--seed 7] [--days 30]
"""

import argparse
import datetime as dt
import itertools
import statistics
import sys
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from bench.slots_world import HALL, MB, MEETINGS, START, World, hall_responder, outside_responder, world
from collector.slots.book import Book
from collector.slots.forecast import Outlook, Why, forecast
from collector.slots.held import Half, Held, State
from collector.slots.rules import LEAD, Rules, month_of
from wire.clock import DAY, HOUR, SECOND, Instant
from wire.meetings import Load, QuietRules, may_run

FAILS, PUT_OFF, INVALID, BAD = 0.05, 0.05, 0.05, 0.01
NAIVE_SECONDS, NAIVE_BYTES = 20.7, 333 * MB


class Used(NamedTuple):
    """What really used a link: from the lease to the last byte. Bits per second that it could take of the responder."""

    site: str
    start: Instant
    end: Instant
    down: int
    up: int


class Checked(NamedTuple):
    """What is claimed, counted."""

    overlaps: int
    quiet: int
    peak_down: int
    peak_up: int


def live(here: World, rng: Random, days: int) -> tuple[Book, list[Held], list[tuple[Instant, list[Outlook]]]]:
    """A month of the collector's chore: plan, grant, and what the districts make of it."""
    book = Book()
    granted: list[Held] = []
    mid: list[tuple[Instant, list[Outlook]]] = []
    now, end = START, START + days * DAY
    number = 0
    running: list[Held] = []
    while now < end:
        for slot in [one for one in running if one.ends <= now]:
            running.remove(slot)
            answer(book, here, slot, rng)
        book.plan(here.lines, here.fars, here.rules, now, rng)
        for one in book.due(now):
            number += 1
            slot = book.grant(one, f"{number:016x}", one.site, now)
            if not here.alive(one.site, now):
                book.became(slot.id, State.SKIPPED, "agent_silent")
                continue
            granted.append(slot)
            running.append(slot)
        if not mid and now - START > days * DAY / 2:
            month = month_of(now, here.rules.zone)
            mid = [(now, forecast(book, line, here.fars, here.rules, month, now)) for line in here.lines]
        book.unheard(now)
        soon = [one.start - LEAD for one in book.planned.values()]
        soon += [one.ends for one in running]
        now = max(now + SECOND, min([*soon, now + HOUR]))
    return book, granted, mid


def answer(book: Book, here: World, slot: Held, rng: Random) -> None:
    """What the district makes of a slot."""
    begins = slot.start + rng.randrange(10 * SECOND)
    fate = rng.random()
    if not here.alive(slot.site, begins):
        return
    if fate < PUT_OFF:
        book.became(slot.id, State.DEFERRED, "link_in_use")
        return
    book.became(slot.id, State.TAKEN)
    if fate < PUT_OFF + FAILS:
        book.became(slot.id, State.FAILED, "broken_off")
        return
    far = here.fars[slot.responder]
    bad = rng.random() < BAD
    for direction, contract, has in (("down", 200e6, far.down), ("up", 80e6, far.up)):
        line = contract * (0.8 if bad else rng.gauss(1.0, 0.002))
        capped = has < contract * 1.1
        limits = ("responder_capacity",) if capped else ("cross_traffic",) if rng.random() < INVALID else ()
        moved = round(min(line, has) * 0.98 / 8)
        half = Half("ok", "", not limits, min(line, has), contract, limits, moved)
        book.tested(slot.id, direction, half, begins + 4 * SECOND)


def checked(used: Sequence[Used], responder_site: str) -> Checked:
    """Counts what must not be, pair by pair and by the rule that agents and collector share."""
    ordered = sorted(used, key=lambda one: one.start)
    overlaps = sum(
        after.start < before.end
        for site in {one.site for one in ordered}
        for before, after in _pairs([one for one in ordered if one.site == site])
    )
    rules = QuietRules()
    quiet = 0
    for one in ordered:
        where = {one.site, responder_site or one.site}
        meetings = [times for times, sites in MEETINGS if where & sites]
        length = one.end - one.start
        middle = one.start + length // 2
        quiet += not may_run(Load.FULL, middle, length // 2, meetings, rules, slot=True)
    steps = sorted(step for one in ordered for step in ((one.start, one.down, one.up), (one.end, -one.down, -one.up)))
    down = up = most_down = most_up = 0
    for _, more_down, more_up in steps:
        down, up = down + more_down, up + more_up
        most_down, most_up = max(most_down, down), max(most_up, up)
    return Checked(overlaps, quiet, most_down, most_up)


def _pairs(some: Sequence[Used]) -> list[tuple[Used, Used]]:
    return list(itertools.pairwise(some))


def of_slots(granted: Sequence[Held]) -> list[Used]:
    """The whole of what a slot reserves, not only the seconds of its test."""
    return [Used(one.site, one.start, one.ends, one.down, one.up) for one in granted]


def naive(sites: Sequence[str], days: int, rng: Random, *, together: bool) -> list[Used]:
    """Cron."""
    found = []
    for site in sites:
        minute = 0 if together else rng.randrange(60)
        for hour in range(days * 24):
            start = START + hour * HOUR + minute * 60 * SECOND
            found.append(Used(site, start, start + round(NAIVE_SECONDS * SECOND), 200_000_000, 80_000_000))
    return found


def row(name: str, found: Checked, here: World, tests: int, bytes_a_site: float) -> str:
    """One line of the table of harm."""
    far = next(iter(here.fars.values()))
    return (
        f"| {name} | {tests} | {found.overlaps} | {found.quiet} | {found.peak_down / 1e6:.0f} of {far.down / 1e6:.0f} "
        f"| {found.peak_up / 1e6:.0f} of {far.up / 1e6:.0f} | {bytes_a_site / 1e9:.2f} |"
    )


def story(name: str, here: World, seed: int, days: int) -> list[str]:
    """One responder: simulates, prints, and returns what is not as claimed."""
    rng = Random(seed)
    book, granted, mid = live(here, rng, days)
    month = month_of(START, here.rules.zone)
    sites = [line.site for line in here.lines]
    print(f"\n**{name}**, {len(sites)} sites, {days} days\n")
    print(
        "| | granted or begun | overlaps on a link | in quiet time | peak down, Mbit/s | peak up, Mbit/s | GB a site |"
    )
    print("|---|---|---|---|---|---|---|")
    harm = checked(of_slots(granted), here.responder_site)
    spent = [book.spent(site, month) for site in sites]
    print(row("slots", harm, here, len(granted), statistics.fmean(spent)))
    for peer, together in (("cron, own minute", False), ("cron, full hour", True)):
        used = naive(sites, days, rng, together=together)
        cost = NAIVE_BYTES * days * 24
        print(row(peer, checked(used, here.responder_site), here, len(used), cost))
    states = {state: sum(one.state is state for one in book.held.values()) for state in State}
    print("\nslots: " + ", ".join(f"{count} {state}" for state, count in states.items() if count))
    bad = [one for one in book.held.values() if one.doubt]
    words = {doubt: sum(one.doubt == doubt for one in bad) for doubt in ("refuted", "confirmed", "unconfirmed")}
    print("below contract: " + ", ".join(f"{count} {word}" for word, count in words.items()))
    return _broken(harm, here) + _sampling(book, here, mid, days)


def _broken(harm: Checked, here: World) -> list[str]:
    far = next(iter(here.fars.values()))
    return [
        what
        for what, wrong in (
            ("overlaps on a link", harm.overlaps > 0),
            ("tests in quiet time", harm.quiet > 0),
            ("beyond the responder's capacity", harm.peak_down > far.down or harm.peak_up > far.up),
        )
        if wrong
    ]


def _sampling(book: Book, here: World, mid: list[tuple[Instant, list[Outlook]]], days: int) -> list[str]:
    rules: Rules = here.rules
    end = START + days * DAY
    span = month_of(START, rules.zone)
    print("\n| direction | valid, least and median of links | in 17:00–21:00 | enough | forecast at mid-month |")
    print("|---|---|---|---|---|")
    wrong = []
    for index, direction in enumerate(("down", "up")):
        found = [forecast(book, line, here.fars, rules, span, end)[index] for line in here.lines if line.responders]
        enough = [one.valid >= rules.samples and one.busy >= rules.busy_samples for one in found]
        early = [some[index] for (_, some), line in zip(mid, here.lines, strict=True) if line.responders]
        yes = sum(one.sufficient for one in early)
        gone = sum(any(cause is Why.NOT_MEASURED for cause, _ in one.why) for one in early)
        why = {f"{cause}{': ' + detail if detail else ''}" for one in early for cause, detail in one.why}
        print(
            f"| {direction} | {min(one.valid for one in found)}, {statistics.median(one.valid for one in found):.0f} "
            f"| {min(one.busy for one in found)}, {statistics.median(one.busy for one in found):.0f} "
            f"| {sum(enough)} of {len(enough)} | {yes} sufficient; {', '.join(sorted(why)) or 'no doubt'} |"
        )
        should = here.provable[index]
        if days >= 28 and (all(enough) is not should or (yes + gone == len(early)) is not should):
            wrong.append(f"{direction}: sampling or its forecast is not as claimed")
    alone = [line.site for line in here.lines if not line.responders]
    if alone:
        print(f"\nwithout a responder (it stands there): {', '.join(alone)}")
    return wrong


def main() -> int:
    """Both responders; 1 if anything is not as claimed."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seed", type=int, default=7)
    words.add_argument("--days", type=int, default=30)
    asked = words.parse_args()
    stories = (
        ("responder of 1 Gbit/s, away from every site", outside_responder()),
        ("responder in the hall behind 200 in, 80 out", hall_responder()),
    )
    wrong = []
    for name, far in stories:
        wrong += story(name, world(far, Random(asked.seed), asked.days), asked.seed, asked.days)
    print("\n" + ("NOT as claimed: " + "; ".join(wrong) if wrong else "As claimed."))
    print(f"Simulated {dt.timedelta(days=asked.days)} from 2026-11-01, hall = {HALL}, seed {asked.seed}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Compares what a collector says of its links with what really was broken. Pure; times are UTC seconds."""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.outage_plan import Kind

WANTED = 5.0
"""Seconds from which an outage must be found."""
LOOK = 1.0
"""Seconds from one look of a watcher to the next."""
CLOSE = 2.0
"""Seconds by which its start and end may be off."""
STARTING = 8.0
"""Seconds that an agent gets from its start until it watches, with the three that a state needs."""
DOMAIN = {
    Kind.ACCESS: "link",
    Kind.CUT_AND_KILL: "link",
    Kind.STORM: "link",
    Kind.LAN: "lan",
    Kind.CABLE: "lan",
    Kind.EDGE: "provider",
    Kind.CORE: "provider",
}


HEAD = (
    "| kind | cuts | outages ≥ 5 s with an agent | found | missed | start error p95 / worst, s "
    "| end error p95 / worst, s | domain right |"
)


class Broken(NamedTuple):
    """A site could not reach the world (or only by half) from ``start`` to ``end``."""

    site: str
    kind: Kind
    start: float
    end: float


class Off(NamedTuple):
    """A site's agent did not run."""

    site: str
    start: float
    end: float


class Told(NamedTuple):
    """An outage that the collector lists."""

    site: str
    start: float
    end: float
    domain: str
    agent_domain: str
    counted: bool


class Stretch(NamedTuple):
    """A stretch of a link's history: ``kind`` is up, down, unmeasured or silent."""

    site: str
    start: float
    end: float
    kind: str


class Part(NamedTuple):
    """The part of an outage in which the agent ran. An edge that the agent's own end or start made is not scored."""

    site: str
    kind: Kind
    start: float
    end: float
    whole_start: bool
    whole_end: bool


class Found(NamedTuple):
    """One part and what the collector says of it."""

    part: Part
    told: tuple[Told, ...]

    @property
    def found(self) -> bool:
        """Whether it is listed and, where the agent saw both its ends, also counted. Seen once a second, one that is
        hardly :data:`WANTED` long may be listed without being counted."""
        whole = self.part.whole_start and self.part.whole_end
        sure = self.part.end - self.part.start >= WANTED + LOOK
        return any(one.counted for one in self.told) if whole and sure else bool(self.told)

    @property
    def start_error(self) -> float | None:
        """Seconds; ``None`` where there is nothing to compare."""
        return self.told[0].start - self.part.start if self.told and self.part.whole_start else None

    @property
    def end_error(self) -> float | None:
        """Seconds; ``None`` where there is nothing to compare."""
        return self.told[-1].end - self.part.end if self.told and self.part.whole_end else None

    @property
    def domain(self) -> str:
        """The collector's, of the longest piece."""
        return max(self.told, key=lambda one: one.end - one.start).domain if self.told else ""

    @property
    def right(self) -> bool:
        """Whether it is the domain that was broken."""
        return self.domain == DOMAIN[self.part.kind]


class Score(NamedTuple):
    """The whole comparison."""

    found: list[Found]
    invented: list[Told]
    off: list[tuple[Off, float]]
    """Times without an agent, and how many seconds of each are claimed to be measured."""
    wrongly_up: float
    """Seconds said to be up that were not, beyond :data:`CLOSE` from an edge of an outage."""
    blind: float
    """Share of the time in which an agent ran that is nevertheless not measured."""


def parts_of(broken: Iterable[Broken], off: Sequence[Off]) -> list[Part]:
    """Outages without the times in which their site's agent did not run, those of at least :data:`WANTED`."""
    found = []
    for one in broken:
        pieces = [Part(one.site, one.kind, one.start, one.end, True, True)]
        for gap in off:
            if gap.site == one.site:
                pieces = [rest for piece in pieces for rest in _without(piece, gap.start, gap.end + STARTING)]
        found += [piece for piece in pieces if piece.end - piece.start >= WANTED]
    return found


def _without(piece: Part, start: float, end: float) -> list[Part]:
    if end <= piece.start or start >= piece.end:
        return [piece]
    left = [piece._replace(end=start, whole_end=False)] if start > piece.start else []
    right = [piece._replace(start=end, whole_start=False)] if end < piece.end else []
    return left + right


def score(
    broken: Sequence[Broken],
    off: Sequence[Off],
    told: Sequence[Told],
    history: Sequence[Stretch],
    span: tuple[float, float],
) -> Score:
    """Compares; ``span`` is the time in which things were broken."""
    found = []
    for part in parts_of(broken, off):
        mine = [one for one in told if one.site == part.site and one.end > part.start and one.start < part.end]
        found.append(Found(part, tuple(sorted(mine, key=lambda one: one.start))))
    invented = [
        one
        for one in told
        if not any(
            real.site == one.site and real.start - CLOSE < one.end and one.start < real.end + CLOSE for real in broken
        )
    ]
    claimed = [(gap, _measured(history, gap.site, gap.start, gap.end)) for gap in off]
    wrongly_up = sum(
        _overlap(one.start, one.end, real.start + CLOSE, real.end - CLOSE)
        for real in broken
        for one in history
        if one.site == real.site and one.kind == "up"
    )
    return Score(found, invented, claimed, wrongly_up, _blind(history, off, span))


def _measured(history: Sequence[Stretch], site: str, start: float, end: float) -> float:
    return sum(
        _overlap(one.start, one.end, start, end) for one in history if one.site == site and one.kind in ("up", "down")
    )


def _blind(history: Sequence[Stretch], off: Sequence[Off], span: tuple[float, float]) -> float:
    running = blind = 0.0
    for site in {one.site for one in history}:
        gaps = [gap for gap in off if gap.site == site]
        without = sum(_overlap(gap.start, gap.end + STARTING, *span) for gap in gaps)
        measured = _measured(history, site, *span) - sum(
            _measured(history, site, max(gap.start, span[0]), min(gap.end + STARTING, span[1])) for gap in gaps
        )
        ran = span[1] - span[0] - without
        running += ran
        blind += max(0.0, ran - measured)
    return blind / running if running else 0.0


def _overlap(start: float, end: float, other_start: float, other_end: float) -> float:
    return max(0.0, min(end, other_end) - max(start, other_start))


class Polled(NamedTuple):
    """What asking every site's router again and again would have found."""

    found: int
    wanted: int
    start_errors: list[float]
    end_errors: list[float]


def poll(broken: Sequence[Broken], every: float, seed: int = 1) -> Polled:
    """A monitor at the provider's core that pings each router every ``every`` seconds (Uptime Kuma: 20 to 60), each
    site at a phase of its own. A fault in the office does not reach the router; nothing says whose fault it was."""
    chance = random.Random(seed)
    phases = {site: chance.uniform(0, every) for site in sorted({one.site for one in broken})}
    wanted = [one for one in broken if one.end - one.start >= WANTED]
    starts, ends = [], []
    for one in wanted:
        if DOMAIN[one.kind] == "lan":
            continue
        first = one.start + (phases[one.site] - one.start) % every
        if first >= one.end:
            continue
        starts.append(first - one.start)
        ends.append((phases[one.site] - one.end) % every)
    return Polled(len(starts), len(wanted), starts, ends)


def quantile(values: Iterable[float | None], q: float) -> float | None:
    """Nearest-rank quantile of the sizes of the values that are there."""
    sizes = sorted(abs(one) for one in values if one is not None)
    return sizes[max(0, -(-int(q * 1000) * len(sizes) // 1000) - 1)] if sizes else None


def table(score: Score, broken: Sequence[Broken], cuts: dict[Kind, int]) -> str:
    """Markdown."""
    lines = [HEAD, "|---|---|---|---|---|---|---|---|"]
    for kind in (*Kind, None):
        some = [one for one in score.found if kind in (None, one.part.kind)]
        held = [one for one in some if one.found]
        count = sum(cuts.values()) if kind is None else cuts.get(kind, 0)
        starts, ends = [one.start_error for one in held], [one.end_error for one in held]
        right = f"{sum(one.right for one in held)} of {len(held)}" if held else ""
        name = "**all**" if kind is None else kind.value
        lines.append(
            f"| {name} | {count} | {len(some)} | {len(held)} | {len(some) - len(held)} "
            f"| {_pair(starts)} | {_pair(ends)} | {right} |"
        )
    for every in (60.0, 20.0):
        polls = [poll(broken, every, seed) for seed in range(1, 21)]
        share = sum(one.found for one in polls) / max(1, sum(one.wanted for one in polls))
        lines.append(
            f"| *ping every {every:.0f} s, computed* | | {polls[0].wanted} | {share * polls[0].wanted:.0f} "
            f"| {(1 - share) * polls[0].wanted:.0f} | {_pair([x for one in polls for x in one.start_errors])} "
            f"| {_pair([x for one in polls for x in one.end_errors])} | none said |"
        )
    return "\n".join(lines)


def _pair(values: Sequence[float | None]) -> str:
    p95, worst = quantile(values, 0.95), quantile(values, 1.0)
    return "" if p95 is None or worst is None else f"{p95:.2f} / {worst:.2f}"


def verdicts(score: Score) -> list[tuple[str, bool]]:
    """The claims, one by one."""
    held = [one for one in score.found if one.found]
    missed = [one.part for one in score.found if not one.found]
    off = [(gap, claimed) for gap, claimed in score.off if claimed > CLOSE]
    starts = quantile((one.start_error for one in held), 1.0) or 0.0
    ends = quantile((one.end_error for one in held), 1.0) or 0.0
    right = sum(one.right for one in held) / len(held) if held else 0.0
    return [
        (f"every outage of {WANTED:.0f} s or more found while an agent ran: {len(missed)} missed", not missed),
        (f"start within {CLOSE:.0f} s: worst {starts:.2f} s", starts <= CLOSE),
        (f"end within {CLOSE:.0f} s: worst {ends:.2f} s", ends <= CLOSE),
        (f"none invented: {len(score.invented)}", not score.invented),
        (f"domain right in at least 95 %: {right:.1%}", right >= 0.95),
        (f"times without an agent shown as unmeasured: {len(score.off) - len(off)} of {len(score.off)}", not off),
        (f"no time shown as up that was not: {score.wrongly_up:.1f} s", score.wrongly_up < 1.0),
    ]

"""The watch itself: a beat each second that asks, judges what is a second old, and tells what follows from it."""

import asyncio
import contextlib
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import Self

from agent.netlink import Changes
from agent.probe import Finding, Sighting, Surroundings, error, ok, skipped
from agent.probes.icmp.pinger import Pinger
from agent.probes.icmp.sockets import REMEDY
from agent.probes.link.aims import Names, Others, Out, aims_of
from agent.probes.link.classify import Asked, Kind, Seen, State, Verdict, Way, classify
from agent.probes.link.history import Cut, History, Judged, Turn
from agent.probes.link.look import Aim, Look
from agent.probes.link.memory import Memory
from agent.probes.link.trace import in_words, trace
from wire.clock import SECOND
from wire.reasons import Reason

BEAT = 1.0
"""Seconds from one look to the next."""
AGE = 0.9
"""Seconds, a beat less what one may come early, after which a second is over."""
AGAIN = 0.5
"""Seconds after which those are asked once more who are silent, where nobody beyond has answered: on a lossy line one
echo a second would often find nobody."""
SLOW = 0.45
"""A quickest answer of so many seconds is a slow line, and no reason to ask again."""
STARVED = 0.9
"""Seconds by which a beat may be late before the time in between counts as not watched."""
ROUTES_EVERY = 15.0
"""Seconds between looks at the way out while the kernel tells of no change."""
WAKING = 10.0
"""Seconds after a suspend in which silence proves nothing: the network comes back later than the clock."""
TRACE_EVERY = 5.0
"""Least seconds between two traces: a line that blinks is not traced at each blink."""
SUSPENDED = SECOND
ROUTER, BEHIND = "1", "2"
"""Values of ``@beyond``."""
OURS = (Reason.NO_PERMISSION, Reason.NO_RESOURCES, Reason.NOT_SUPPORTED, Reason.SUSPENDED)


@dataclass(slots=True)
class Second:
    """A look with the way out at the time; ``hindrance`` where it was no look at all."""

    start: int
    look: Look | None
    way: Way
    hindrance: Reason | None = None


class Watch:
    """One assignment being watched. An async context manager."""

    def __init__(
        self,
        pinger: Pinger,
        look: Callable[[Out], Out],
        target: str,
        others: Others,
        window: float,
        around: Surroundings,
    ) -> None:
        """``look`` reads the way out of the machine; it blocks."""
        self._pinger = pinger
        self._way_out = look
        self._target = target
        self._others = others
        self._window = window
        self._around = around
        self._names = Names()
        self._out = Out()
        proven = around.address("@anchored").split()
        anchors = frozenset(role for role, host in others.anchors if host in proven)
        self._memory = Memory(beyond=bool(around.address("@beyond")), anchors=anchors)
        self._open: deque[Second] = deque()
        self._missed: Counter[str] = Counter()
        self._looks = 0
        self._hindrance: Reason | None = None
        self._pace, self._quickest = 0.0, math.inf
        """Seconds of the quickest answer from beyond: of the last second that had one, and of this one."""
        self._trace = ""
        self._trace_begun = 0
        self._owed = False
        """Whether a fault was told without its trace, which then follows in a window."""
        self._told = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        clock = self._around.clock
        self._history = History(clock.boottime())
        self._end = self._history.begun + self._around.until_grid(self._window, self._history.begun)
        self._last = (clock.boottime(), clock.monotonic())
        self._woken = -math.inf
        self._traced = self._routed = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._tracing: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        router = self._around.address("@beyond") == ROUTER
        self._out = await asyncio.to_thread(
            self._way_out, self._out._replace(way=self._out.way._replace(router=router))
        )
        self._routed = loop.time()
        self._changes = Changes(loop, self._look_at_routes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._changes.close()
        self._names.close()
        if self._retry is not None:
            self._retry.cancel()
        for task in (self._looking, self._tracing):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def sightings(self) -> AsyncIterator[Sighting]:
        """Until cancelled, which ends the last window short."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                now = loop.time()
                await asyncio.sleep(math.floor(now / BEAT + 1.0) * BEAT - now)
                for sighting in self.beat():
                    yield sighting
        except asyncio.CancelledError:
            for sighting in self._settle():
                yield sighting
            end = self._settled()
            if self._looks and end > self._history.begun:
                yield self._windowed(end)

    def beat(self) -> Iterator[Sighting]:
        """One second: judges, then asks anew."""
        loop = asyncio.get_running_loop()
        boottime, awake = self._around.clock.boottime(), self._around.clock.monotonic()
        self._unwatched(boottime, awake)
        found = list(self._settle())
        self._ask(boottime)
        if loop.time() - self._routed >= ROUTES_EVERY:
            self._look_at_routes()
        while self._end <= self._settled():
            found.append(self._windowed(self._end))
        yield from found

    # asking

    def _unwatched(self, boottime: int, awake: int) -> None:
        """Time that went by without a beat was watched by nobody."""
        last, was_awake = self._last
        self._last = (boottime, awake)
        passed = boottime - last
        if passed - (awake - was_awake) > SUSPENDED:
            self._open.append(Second(last + SECOND, None, self._out.way, Reason.SUSPENDED))
            self._woken = asyncio.get_running_loop().time()
        elif passed > (BEAT + STARVED) * SECOND:
            self._open.append(Second(last + SECOND, None, self._out.way, Reason.NO_RESOURCES))

    def _ask(self, boottime: int) -> None:
        if self._out.way.routed:  # without a route the machine stands where it stood
            self._hindrance = self._around.hindrance(self._out.interface, self._out.gateway)
        if self._hindrance is not None:
            self._open.append(Second(boottime, None, self._out.way, self._hindrance))
            return
        if self._quickest < math.inf:
            self._pace, self._quickest = self._quickest, math.inf
        look = Look(self._pinger, boottime, aims_of(self._out, self._others, self._names, self._around), self._heard)
        look.ask()
        self._looks += 1
        self._open.append(Second(boottime, look, self._out.way))
        self._retry = asyncio.get_running_loop().call_later(AGAIN, self._ask_again, look)

    def _heard(self, aim: Aim, near: bool, rtt: int) -> None:
        """An answer speaks for the second in which it comes. On a slow line it comes later than it was asked for, and
        yet every second; and what routers kept until a line was back dates the end of an outage no earlier."""
        newest = self._open[-1].look if self._open else None
        if newest is not None:
            newest.heard.setdefault(aim.role, near)
        if aim.kind in (Kind.ANCHOR, Kind.OURS) and not near:
            self._quickest = min(self._quickest, rtt / 1e9)

    def _ask_again(self, look: Look) -> None:
        if not look.wanting(self._memory.known(edge=False).ours):
            return
        self._look_at_routes()
        if self._pace < SLOW:
            look.ask()

    # judging

    def _settle(self) -> Iterator[Sighting]:
        now = self._around.clock.boottime()
        seconds = list(takewhile(partial(_over, now), self._open))
        seen = [self._seen(one) for one in seconds]
        judged = [Judged(one.start, self._verdict(one, what)) for one, what in zip(seconds, seen, strict=True)]
        if judged and judged[-1].verdict.state in _BAD and (self._owed or self._history.current not in _BAD):
            self._begin_trace()
        settled = self._history.judge(judged)
        for turn in settled.turns:
            yield self._turned(turn, seen[turn.cause])
        for one in seen[: settled.number]:
            self._open.popleft()
            self._memory.learn(one)
            self._missed.update(role.role for role in one.asked if not role.answered)

    def _seen(self, second: Second) -> Seen:
        asked: tuple[Asked, ...] = second.look.asked() if second.look is not None else ()
        edge = any(one.kind is Kind.EDGE for one in asked)
        return Seen(asked, second.way, self._memory.known(edge=edge), second.hindrance)

    def _verdict(self, second: Second, seen: Seen) -> Verdict:
        verdict = classify(seen)
        woken = asyncio.get_running_loop().time() - self._woken
        if verdict.state in _BAD and woken < WAKING and not seen.beyond:
            return Verdict(State.UNKNOWN, Reason.SUSPENDED)
        if second.look is not None and second.look.trouble:
            self._told = second.look.trouble
        return verdict

    def _settled(self) -> int:
        """Up to when the time line stands for good."""
        return self._open[0].start if self._open else self._around.clock.boottime()

    # telling

    def _turned(self, turn: Turn, seen: Seen) -> Sighting:
        facts = self._facts(seen)
        if turn.current in _BAD and self._trace and self._trace_begun >= turn.start:
            facts["trace"] = self._trace
        self._owed = turn.current in _BAD and "trace" not in facts
        finding = self._finding(turn.reason, facts)
        if turn.current is State.UP:
            finding.learned = self._proof()
        now = self._around.clock.boottime()
        return Sighting(
            target=self._target,
            start=turn.start,
            end=now,
            previous=turn.previous,
            current=turn.current,
            finding=finding,
        )

    def _facts(self, seen: Seen) -> dict[str, str]:
        fault = {
            "carrier": "yes" if seen.way.carrier else "no",
            "route": "yes" if seen.way.routed else "no",
            "gateway": seen.way.neighbour or ("point-to-point" if seen.way.router else "unknown"),
        }
        facts = {
            "answered": ", ".join(one.role for one in seen.asked if one.answered),
            "silent": ", ".join(one.role for one in seen.asked if not one.answered),
            **({} if seen.beyond else fault),
        }
        return {name: fact for name, fact in facts.items() if fact}

    def _finding(self, reason: Reason | None, facts: dict[str, str]) -> Finding:
        if reason is None:
            return ok(facts=facts)
        if reason not in OURS:
            return skipped(reason, facts=facts)
        if reason is Reason.NO_PERMISSION:
            facts["remedy"] = REMEDY
        if self._told:
            facts["detail"] = self._told
        return error(reason, facts=facts)

    def _windowed(self, end: int) -> Sighting:
        cut: Cut = self._history.cut(end)
        self._end = end + self._around.until_grid(self._window, end)
        facts = {}
        if self._missed:
            facts["silent"] = ", ".join(f"{role} {count}" for role, count in sorted(self._missed.items()))
        if self._owed and self._trace and self._trace_begun >= self._history.since:
            facts["trace"], self._owed = self._trace, False
        finding = self._finding(cut.reason, facts)
        finding.states = cut.states
        if State.UP in cut.states:
            finding.learned = self._proof()
        finding.counts = {"attempts": self._looks}
        self._missed.clear()
        self._looks = 0
        return Sighting(target=self._target, start=cut.start, end=end, finding=finding)

    def _proof(self) -> dict[str, str]:
        """That something beyond answers from this place, which anchors did, and at which hop the provider begins: it
        outlives this run, so that a box that starts during an outage knows what silence means."""
        anchored = " ".join(sorted(host for role, host in self._others.anchors if role in self._memory.anchors))
        beyond = {"beyond": ROUTER if self._out.way.router else BEHIND}
        return {**beyond, "anchored": anchored} if anchored else beyond

    # beside the beat

    def _look_at_routes(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_now())

    async def _look_now(self) -> None:
        self._routed = asyncio.get_running_loop().time()
        self._out = await asyncio.to_thread(self._way_out, self._out)

    def _begin_trace(self) -> None:
        now = asyncio.get_running_loop().time()
        anchors = self._others.anchors
        if now - self._traced < TRACE_EVERY or not anchors:
            return
        self._traced, self._trace = now, ""
        self._trace_begun = self._around.clock.boottime()
        self._tracing = asyncio.create_task(self._trace_now(anchors[0][1]))

    async def _trace_now(self, host: str) -> None:
        place = self._names.place(self._around.address(host))
        if place is None:
            return
        roles = {
            str(one.place.address[0]): one.role
            for one in aims_of(self._out, self._others, self._names, self._around)
            if one.ttl is None
        }
        self._trace = in_words(await trace(self._pinger, place), roles)


_BAD = frozenset({State.LAN, State.LINK, State.PROVIDER, State.LINK_OR_PROVIDER})


def _over(now: int, second: Second) -> bool:
    return second.look is None or now - second.start >= AGE * SECOND

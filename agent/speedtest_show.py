"""What a person sees of ``phrom-agent speedtest``: a bar while it runs, the verdict, an exit code."""

import sys
from collections.abc import Callable
from typing import TextIO

from agent.once import quantity
from agent.probe import Finding
from agent.probes.throughput.engine import Direction, Progress
from agent.settings import OwnSettings
from agent.speedtest import Wanted, speedtest
from agent.speedtest_words import REACHED, say, verdicts
from agent.state import Identity
from wire.reasons import Outcome
from wire.settings import AgentSettings, ContractTerms

FINE, FAILED, UNHEALTHY = 0, 1, 3
PACED = 0.95
"""Share of the contract that a light check sends."""
WIDTH = 24
_DIRECTIONS = {
    "both": (Direction.DOWN, Direction.UP),
    "down": (Direction.DOWN,),
    "up": (Direction.UP,),
}


class Bar:
    """A progress bar on one line of the terminal; nothing where it is not shown."""

    def __init__(self, language: str, *, shown: bool, to: TextIO | None = None) -> None:
        self._language = language
        self._shown = shown
        self._to = to or sys.stderr
        self._begun = False

    def update(self, progress: Progress) -> None:
        """Draws how far the test is."""
        if not self._shown:
            return
        self._begun = True
        full = round(WIDTH * min(1.0, max(0.0, progress.share)))
        rate = f" {quantity(progress.rate, 'bit/s')}" if progress.rate else ""
        name = say(progress.direction.value, self._language)
        self._to.write(f"\r\x1b[K{name} {'█' * full}{'░' * (WIDTH - full)}{rate}")
        self._to.flush()

    def close(self) -> None:
        """Wipes the line."""
        if self._begun:
            self._to.write("\r\x1b[K")
            self._to.flush()
            self._begun = False


async def measured(
    own: OwnSettings,
    settings: AgentSettings,
    who: Identity | None,
    asked: tuple[str, str, str, str],
    progress: Callable[[Progress], None],
) -> Finding:
    """Measures what the options ``asked`` for: engine, direction, responder, server."""
    engine, direction, responder, server = asked
    return await speedtest(own, settings, who, Wanted(engine, _DIRECTIONS[direction], responder, server), progress)


def lines(finding: Finding, contract: ContractTerms | None, language: str) -> list[str]:
    """The verdict in plain words."""
    kept = [say("not_kept", language)] if finding.results else []
    return [*verdicts(finding, contract, language), *kept]


def exit_code(finding: Finding) -> int:
    """0 where each direction was measured and none is below its contract, 3 where one is or nothing can be said of it,
    1 where nothing was measured."""
    if not finding.results or all(one.outcome is not Outcome.OK for one in finding.results):
        return FAILED
    return FINE if all(one.outcome is Outcome.OK and _reaches(one.values) for one in finding.results) else UNHEALTHY


def _reaches(values: dict[str, float]) -> bool:
    wanted = values.get("contract", 0.0)
    if "at_least" in values:  # a light check is paced at 0.95 of the contract, and may have been held to less
        return wanted > 0 and values["at_least"] >= REACHED * PACED * wanted
    rate = values.get("throughput_contract", values.get("throughput", 0.0))
    return not wanted or rate >= REACHED * wanted

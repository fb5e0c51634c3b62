"""What a receipt means for the batches that were sent. A receipt speaks only of what its envelope held."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from agent.clock import Clock
from agent.journal import Journal
from agent.spool import Refused, Waiting
from wire.batch import BatchStatus, Receipt
from wire.clock import SECOND
from wire.reasons import Event, Refusal

FOREIGN = frozenset({Refusal.CONFLICT, Refusal.FOREIGN_STREAM, Refusal.CHAIN_BROKEN})
"""Refusals that say: somebody else writes under this stream's id, so this spool is a copy."""
NOTE_EVERY = 600 * SECOND
"""Between two notes about quarantined batches: were those notes refused too, each would make the next."""
log = structlog.get_logger(__name__)


class Outcome(NamedTuple):
    """What becomes of each batch sent; those not named by the receipt simply stay."""

    delivered: list[Waiting]
    refused: list[Refused]
    deferred: list[int]
    foreign: set[str]
    """Streams that another machine uses."""


def settlement(sent: Sequence[Waiting], receipt: Receipt) -> Outcome:
    """Pure. Answers about batches that were not sent are ignored; of two answers about one batch the first counts."""
    waiting = {(one.stream, one.seq): one for one in sent}
    outcome = Outcome([], [], [], set())
    for answer in receipt.batches:
        one = waiting.pop((answer.stream, answer.seq), None)
        if one is None:
            continue
        if answer.status in (BatchStatus.STORED, BatchStatus.DUPLICATE):
            outcome.delivered.append(one)
        elif answer.status is BatchStatus.DEFERRED:
            outcome.deferred.append(one.number)
        else:
            refusal = answer.refusal.value if answer.refusal else ""
            outcome.refused.append(Refused(one.stream, one.seq, refusal, answer.detail[:500]))
            if answer.refusal in FOREIGN:
                outcome.foreign.add(one.stream)
    return outcome


class Quarantined:
    """Tells of quarantined batches: each in the log, and in the evidence at most one note in ten minutes."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._untold: list[Refused] = []
        self._told: int | None = None

    async def tell(self, refused: Sequence[Refused]) -> None:
        """Call after every exchange with what was quarantined by it."""
        for one in refused:
            log.warning("batch quarantined", stream=one.stream, seq=one.seq, refusal=one.refusal, detail=one.detail)
        self._untold.extend(refused)
        now = self._clock.boottime()
        if not self._untold or (self._told is not None and now - self._told < NOTE_EVERY):
            return
        self._told, untold = now, self._untold
        self._untold = []
        first = untold[0]
        facts = {"stream": first.stream, "refusal": first.refusal, "detail": first.detail}
        await self._journal.note(
            Event.BATCH_QUARANTINED, counts={"batches": len(untold), "seq": first.seq}, facts=facts, urgent=True
        )

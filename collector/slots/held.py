"""A slot and what became of it. Pure values; the rows of table ``slot`` are made of them."""

from enum import StrEnum

import msgspec

from collector.slots.rules import BAD
from wire.clock import Instant
from wire.observation import Test
from wire.reasons import Outcome


class Kind(StrEnum):
    """Why a slot was granted."""

    RANDOM = "random"
    RETEST = "retest"
    """A bad result is being checked."""
    ASKED = "asked"
    """Somebody at the site asked for a test now."""
    OWN = "own"
    """The agent's own, while it could not reach the collector; known when its records land."""


class State(StrEnum):
    """What became of a slot, in order of finality: a later word never gives way to an earlier one."""

    GRANTED = "granted"
    TAKEN = "taken"
    """Its lease was borrowed."""
    UNANSWERED = "unanswered"
    """Its time is over and nothing was heard; what is still to come is taken."""
    DEFERRED = "deferred"
    SKIPPED = "skipped"
    FAILED = "failed"
    DONE = "done"


RANK = {
    State.GRANTED: 0,
    State.TAKEN: 1,
    State.UNANSWERED: 2,
    State.DEFERRED: 3,
    State.SKIPPED: 3,
    State.FAILED: 3,
    State.DONE: 4,
}
OPEN = frozenset({State.GRANTED, State.TAKEN})


class Doubt(StrEnum):
    """What a bad result is worth."""

    NONE = ""
    UNCONFIRMED = "unconfirmed"
    """Not retested yet: nobody is told."""
    CONFIRMED = "confirmed"
    """The retest was as bad."""
    REFUTED = "refuted"
    """The retest was good: it was not the link, or not for long."""


class Half(msgspec.Struct, frozen=True, omit_defaults=True):
    """One direction of a test, as far as sampling needs it. Rates are bits per second at the contract's layer."""

    outcome: str
    reason: str = ""
    valid: bool = False
    rate: float = 0.0
    contract: float = 0.0
    limits: tuple[str, ...] = ()
    bytes: int = 0

    @property
    def bad(self) -> bool:
        """Whether it is a sample below the contract that nothing but the link can explain."""
        return self.valid and self.contract > 0 and self.rate < BAD * self.contract


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One slot. Its id is also that of its order and of its lease, so none of them is ever given twice."""

    id: str
    site: str
    link: str
    agent: str
    responder: str
    kind: Kind
    state: State = State.GRANTED
    made: Instant
    start: Instant
    latest: Instant
    """Its test must not begin after it."""
    ends: Instant
    """Link and responder are free again."""
    down: int = 0
    up: int = 0
    """Bits per second that it takes of the responder."""
    attempt: int = 0
    """How many slots of this link in a row came to nothing before it."""
    reason: str = ""
    detail: str = ""
    of: str = ""
    """The slot whose bad result is retested."""
    at: Instant | None = None
    """When its test ended, corrected; ``None`` = not measured, or time unknown."""
    results: dict[str, Half] = {}
    doubt: Doubt = Doubt.NONE
    """Of its directions the one that matters most: confirmed, then not confirmed yet, then refuted."""
    doubts: dict[str, Doubt] = {}
    """By direction, of those that were found bad."""

    def doubt_of(self, direction: str) -> Doubt:
        """What the result of one direction is worth."""
        return self.doubts.get(direction, Doubt.NONE)

    @property
    def place(self) -> tuple[str, str]:
        """Site and link."""
        return (self.site, self.link)

    @property
    def bytes(self) -> int:
        """What it cost at the IP layer."""
        return sum(one.bytes for one in self.results.values())

    @property
    def bad(self) -> bool:
        """Whether a direction was found bad."""
        return any(one.bad for one in self.results.values())


def half_of(test: Test) -> Half:
    """From a record of the throughput probe."""
    return Half(
        outcome=test.outcome.value,
        reason=test.reason.value if test.reason else "",
        valid=test.valid and test.outcome is Outcome.OK,
        rate=test.values.get("throughput_contract", 0.0),
        contract=test.values.get("contract", 0.0),
        limits=tuple(one.value for one in test.limits),
        bytes=test.counts.get("test_bytes", 0),
    )

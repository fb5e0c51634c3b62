"""Orders: what a receipt asks of an agent, and what the agent answers.

No clock is trusted: ``after`` and ``expires`` count from the arrival of the receipt. An order is resent with every
receipt until its acknowledgement was heard, carried out once, and its results name its id.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec


class OrderKind(StrEnum):
    """Orders this release knows. An agent answers ``unknown`` to any other."""

    MEASURE = "measure"
    """Run ``arguments.assignments`` now (a list of names ``probe`` or ``probe:target``; empty for all of trickle
    class), with windows of ``arguments.window`` seconds."""
    SLOT = "slot"
    """A throughput test in a granted slot: ``arguments`` is a :class:`Slot`. The lease is fetched just before it
    begins, so no key stands in an order and the collector can still say no."""
    FETCH_SETTINGS = "fetch_settings"
    ROTATE_TOKEN = "rotate_token"  # noqa: S105
    """Ask for a new token with the present one; both are valid until the new one was used."""


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind`` is text on the wire, so that an order of a later release arrives and can be answered."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    after: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    """Seconds from the arrival of the receipt until it may begin."""
    expires: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    """Seconds from the arrival of the receipt after which it must not begin any more."""
    arguments: dict[str, Any] = {}


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Arguments of a ``slot`` order. ``after`` and ``expires`` of the order say when it may begin."""

    slot: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    responder: Annotated[str, msgspec.Meta(max_length=64)]
    directions: tuple[str, ...] = ("down", "up")
    engine: str = "tcp"
    retest: bool = False
    """A bad result of the slot before is being checked; usually on another responder."""


class OrderStatus(StrEnum):
    """``accepted`` acknowledges; the others are final."""

    ACCEPTED = "accepted"
    DONE = "done"
    EXPIRED = "expired"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    UNRECOGNISED = "unrecognised"
    """Read from a newer agent; never written."""

    @classmethod
    def _missing_(cls, value: object) -> "OrderStatus | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None


class OrderAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an order; sent with every envelope until the receipt's ``heard`` names the id."""

    id: str
    status: OrderStatus
    detail: str = ""

"""Notes: what the agent tells of itself."""

from collections.abc import Mapping

from agent.clock import Clock
from wire.observation import Note
from wire.reasons import Event, Reason


def note(
    clock: Clock,
    event: Event,
    *,
    start: int | None = None,
    reason: Reason | None = None,
    order: str = "",
    counts: Mapping[str, int] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Note:
    """A note of something that ends now and began at ``start`` (boottime, default: now)."""
    now, wall = clock.boottime(), clock.wall()
    began = now if start is None else min(start, now)
    return Note(
        boot=clock.boot,
        start=began,
        end=now,
        wall_start=wall - (now - began),
        wall_end=wall,
        event=event,
        reason=reason,
        order=order,
        counts=dict(counts or {}),
        facts={key: value[:1000] for key, value in (facts or {}).items()},
    )

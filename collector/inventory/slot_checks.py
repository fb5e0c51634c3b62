"""What the file says of slots: numbers that must fit each other."""

from collections.abc import Iterator

from collector.inventory.link_measuring import Slots
from collector.inventory.model import Sheet
from wire.yaml_nodes import shown
from wire.yaml_settings import Document, Mistake


def slots(sheets: list[Document[Sheet]]) -> Iterator[Mistake]:
    """Every mistake in the section ``slots``."""
    for sheet in sheets:
        if sheet.value.slots is not None:
            yield from _fits(sheet, sheet.value.slots)


def _fits(sheet: Document[Sheet], one: Slots) -> Iterator[Mistake]:
    if one.busy_samples > one.samples:
        words = f"at most {one.samples} (samples), of which they are"
        yield sheet.mistake("slots.busy_samples", shown(str(one.busy_samples)), words)
    if one.busy_to <= one.busy_from:
        words = f"a time after {one.busy_from:%H:%M} (busy_from) of the same day"
        yield sheet.mistake("slots.busy_to", shown(f"{one.busy_to:%H:%M}"), words)
    if one.longest_gap < 2 * one.least_gap:
        least = round(one.least_gap.total_seconds() / 60)
        found = round(one.longest_gap.total_seconds() / 60)
        words = f"at least {2 * least} min, twice the least_gap of {least} min: else tests come in a rhythm"
        yield sheet.mistake("slots.longest_gap", shown(f"{found} min"), words)

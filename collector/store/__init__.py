"""What the collector keeps and how: ledger, rows, packed hours, roll-ups; SQLite by default."""

from collector.store.dialect import CannotOpen, CannotWrite
from collector.store.shapes import Landed, Limits, SeriesKey, Source, Taken
from collector.store.store import Store

__all__ = ["CannotOpen", "CannotWrite", "Landed", "Limits", "SeriesKey", "Source", "Store", "Taken"]

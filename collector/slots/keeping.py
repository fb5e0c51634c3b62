"""Slots on the disk: table ``slot``, and what records of the store say of them."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, select

from collector.slots.book import KEPT
from collector.slots.held import Held
from collector.store import Landed, query
from collector.store.dialect import insert_over
from collector.store.schema import slot as table
from wire.clock import DAY, Instant

RECOUNT = 4 * DAY
"""Records that ended so long ago are looked at again: their times may have been corrected since."""
_COLUMNS = ("id", "site", "link", "start", "state", "body")
_decode = msgspec.json.Decoder(Held).decode


def load(connection: Connection, now: Instant) -> list[Held]:
    """The slots that a book needs."""
    rows = connection.execute(select(table.c.body).where(table.c.start >= now - KEPT).order_by(table.c.start))
    return [_decode(row.body) for row in rows]


def month(connection: Connection, start: Instant, end: Instant, site: str = "") -> list[Held]:
    """Every slot that began from ``start`` up to ``end``, of one site or of all, oldest first."""
    wanted = select(table.c.body).where(table.c.start >= start, table.c.start < end).order_by(table.c.start)
    if site:
        wanted = wanted.where(table.c.site == site)
    return [_decode(row.body) for row in connection.execute(wanted)]


def save(connection: Connection, slots: Iterable[Held]) -> None:
    """Writes slots over what was held of them."""
    sql = insert_over("slot", _COLUMNS)
    for one in slots:
        body = msgspec.json.encode(one).decode()
        values = (one.id, one.site, one.link, one.start, one.state.value, body)
        connection.exec_driver_sql(sql, values)


def records(connection: Connection, now: Instant) -> list[Landed]:
    """Notes and tests of late: what a collector that stopped between two commits did not enter."""
    span = (now - RECOUNT, now + DAY)
    return [*query.slot_notes(connection, *span), *query.tests(connection, *span, probe="throughput")]

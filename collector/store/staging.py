"""Rows on their way into one transaction, gathered so that each table is written by one statement."""

from sqlalchemy import Connection

from collector.store.dialect import insert_new, insert_over

_WINDOW = (
    "INSERT INTO window (series, boot, start_bt, end_bt, end_utc, error, received, stream, seq, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RECORD = (
    "INSERT INTO record (kind, site, link, role, agent, probe, target, platform, boot, start_bt, end_bt, start_utc,"
    " end_utc, error, received, stream, seq, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BATCH = (
    "INSERT INTO batch (stream, seq, digest, prev, received, observations, not_understood, sealed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_CONFLICT = (
    "INSERT INTO conflict (stream, seq, digest, agent, site, received, refusal, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_STREAM = insert_over(
    "stream", ("number", "id", "name", "site", "link", "role", "agent", "begun", "highest", "held", "dropped")
)
_BOOT = "INSERT INTO boot (number, id, site) VALUES (?, ?, ?)"
_SERIES = (
    "INSERT INTO series (number, site, link, role, probe, target, platform, first) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_ANCHOR = insert_new("anchor", ("boot", "boottime", "utc", "error"))
_DROPPED = insert_new("dropped", ("stream", "first", "last", "reason", "start", "end", "declared"))
_DIRTY = insert_new("dirty", ("series", "hour"))

Row = tuple[object, ...]


class Stage:
    """One list of rows a table. Append freely; :meth:`flush` writes them all."""

    __slots__ = (
        "anchors",
        "batches",
        "boots",
        "conflicts",
        "dirty",
        "dropped",
        "records",
        "series",
        "streams",
        "windows",
    )

    def __init__(self) -> None:
        self.windows: list[Row] = []
        self.records: list[Row] = []
        self.batches: list[Row] = []
        self.conflicts: list[Row] = []
        self.boots: list[Row] = []
        self.series: list[Row] = []
        self.anchors: list[Row] = []
        self.dropped: list[Row] = []
        self.dirty: list[Row] = []
        self.streams: dict[int, Row] = {}
        """By number, the newest row of each stream touched."""

    def flush(self, connection: Connection) -> None:
        """Writes everything; raises what the database raises, and then nothing of it may be committed."""
        for statement, rows in (
            (_STREAM, list(self.streams.values())),
            (_BOOT, self.boots),
            (_SERIES, self.series),
            (_ANCHOR, self.anchors),
            (_BATCH, self.batches),
            (_WINDOW, self.windows),
            (_RECORD, self.records),
            (_DROPPED, self.dropped),
            (_CONFLICT, self.conflicts),
            (_DIRTY, self.dirty),
        ):
            if rows:
                connection.exec_driver_sql(statement, rows)

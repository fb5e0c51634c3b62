"""The tables. Times are UTC microseconds, ``*_bt`` CLOCK_BOOTTIME microseconds (:mod:`wire.clock`).

Text ids are stored once in a small table (``stream``, ``boot``, ``series``) and referred to by number everywhere else,
which keeps an observation under its 100 bytes.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

LOOSE = "end_utc IS NULL OR error > 2000000"
"""Rows whose time is unknown or uncertain by more than 2 s: a better anchor will improve them (collector.store.times).
Queries repeat these words exactly, because only then does SQLite use the partial index."""

HOUR_SERIES = BigInteger().with_variant(Integer, "sqlite")
"""``hour * 2**20 + series`` in one integer (hour: hours since the epoch). Rows are then appended in order of time and
deleted from the other end; in SQLite they live in a rowid table, which wastes less on blobs of this size than a table
keyed by two columns. The index leads from a series to its hours."""

agent = Table(
    "agent",
    metadata,
    Column("id", Text, primary_key=True),
    Column("site", Text, nullable=False),
    Column("link", Text, nullable=False, server_default=""),
    Column("role", Text, nullable=False),
    Column("machine", Text, nullable=False, server_default=""),
    Column("created", BigInteger, nullable=False),
    Column("retired", BigInteger),
    Column("retired_why", Text),
    Column("heard", BigInteger),
    Column("address", Text),
    Column("version", Text),
    Column("settings", Text),
)

token = Table(
    "token",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False),  # agent | machine
    Column("agent", ForeignKey("agent.id")),
    Column("name", Text, nullable=False, server_default=""),
    Column("scopes", Text, nullable=False, server_default=""),
    Column("created", BigInteger, nullable=False),
    Column("used", BigInteger),
    Column("revoked", BigInteger),
)

join_code = Table(
    "join_code",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("site", Text, nullable=False),
    Column("link", Text, nullable=False, server_default=""),
    Column("role", Text, nullable=False),
    Column("reusable", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("used", BigInteger),
    Column("revoked", BigInteger),
)

order = Table(
    "order",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent", ForeignKey("agent.id"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("begins", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("status", Text, nullable=False),  # waiting, then wire.orders.OrderStatus
    Column("detail", Text, nullable=False, server_default=""),
    Column("answered", BigInteger),
)

inventory = Table(
    "inventory",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("loaded", BigInteger, nullable=False),
    Column("files", LargeBinary, nullable=False),  # zstd of JSON: file name -> text
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
)

vantage = Table(
    "vantage",
    metadata,
    Column("site", Text, primary_key=True),
    Column("link", Text, primary_key=True),  # empty: the room's
    Column("id", Text, primary_key=True),
    Column("facts", Text, nullable=False, server_default="{}"),  # JSON; never a private address
    Column("address", Text, nullable=False, server_default=""),  # public, as the collector saw it
    Column("agent", Text, nullable=False),
    Column("seen_first", BigInteger, nullable=False),
    Column("seen_last", BigInteger, nullable=False),
    Column("confirmed", BigInteger),
    Column("who", Text),  # confirmed it
)

stream = Table(
    "stream",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("link", Text, nullable=False, server_default=""),
    Column("role", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("begun", BigInteger, nullable=False),
    Column("highest", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False, server_default="0"),
)

batch = Table(
    "batch",
    metadata,
    Column("stream", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("prev", LargeBinary, nullable=False),  # empty where it is the digest of seq - 1, held when this one came
    Column("received", BigInteger, nullable=False),
    Column("observations", Integer, nullable=False),
    Column("not_understood", Integer, nullable=False, server_default="0"),
    Column("sealed", LargeBinary),  # zstd of the exact bytes; evidence stream only
    sqlite_with_rowid=False,
)

conflict = Table(
    "conflict",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stream", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("agent", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("refusal", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

dropped = Table(
    "dropped",
    metadata,
    Column("stream", Integer, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("declared", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

boot = Table(
    "boot",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("site", Text, nullable=False),
    UniqueConstraint("id", "site"),
)

anchor = Table(
    "anchor",
    metadata,
    Column("boot", Integer, primary_key=True),
    Column("boottime", BigInteger, primary_key=True),
    Column("utc", BigInteger, nullable=False),
    Column("error", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

series = Table(
    "series",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("site", Text, nullable=False),
    Column("link", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("probe", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("first", BigInteger, nullable=False),
    UniqueConstraint("site", "link", "role", "probe", "target", "platform"),
)

window = Table(
    "window",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series", Integer, nullable=False),
    Column("boot", Integer, nullable=False),
    Column("start_bt", BigInteger, nullable=False),
    Column("end_bt", BigInteger, nullable=False),
    Column("end_utc", BigInteger),  # NULL: time unknown, neither evidence nor fresh
    Column("error", BigInteger),
    Column("received", BigInteger, nullable=False),
    Column("stream", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON of the observation, as sent
    Index("window_by_time", "series", "end_utc"),
    Index("window_loose", "boot", "end_bt", sqlite_where=text(LOOSE)),
)

record = Table(
    "record",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # change | test | note
    Column("site", Text, nullable=False),
    Column("link", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("probe", Text, nullable=False, server_default=""),
    Column("target", Text, nullable=False, server_default=""),
    Column("platform", Text, nullable=False, server_default=""),
    Column("boot", Integer, nullable=False),
    Column("start_bt", BigInteger, nullable=False),
    Column("end_bt", BigInteger, nullable=False),
    Column("start_utc", BigInteger),
    Column("end_utc", BigInteger),
    Column("error", BigInteger),
    Column("received", BigInteger, nullable=False),
    Column("stream", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("record_by_site", "site", "kind", "end_utc"),
    Index("record_loose", "boot", "end_bt", sqlite_where=text(LOOSE)),
)

hour = Table(
    "hour",
    metadata,
    Column("key", HOUR_SERIES, primary_key=True),
    Column("series", Integer, nullable=False),
    Column("windows", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # zstd of columns, collector.store.packing
    Index("hour_by_series", "series", "key"),
)

rollup = Table(
    "rollup",
    metadata,
    Column("key", HOUR_SERIES, primary_key=True),
    Column("series", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # collector.store.rollups
    Index("rollup_by_series", "series", "key"),
)

dirty = Table(
    "dirty",
    metadata,
    Column("series", Integer, primary_key=True),
    Column("hour", Integer, primary_key=True),
    sqlite_with_rowid=False,
)

link_day = Table(
    "link_day",
    metadata,
    Column("site", Text, primary_key=True),
    Column("link", Text, primary_key=True),
    Column("day", Integer, primary_key=True),  # days since the epoch, UTC
    Column("made", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),  # of the evidence it was derived from; another mark = derive anew
    Column("body", LargeBinary, nullable=False),  # zstd of JSON, collector.link_history.days
)

slot = Table(
    "slot",
    metadata,
    Column("id", Text, primary_key=True),  # also that of its order and of its lease
    Column("site", Text, nullable=False),
    Column("link", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON, collector.slots.held.Held
    Index("slot_by_start", "start"),
)

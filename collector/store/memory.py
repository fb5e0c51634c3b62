"""What the writer remembers of the database, so that the hot path asks it nothing.

Only the writer thread touches this. It holds what was committed plus what the present transaction stages; after a
rollback everything is forgotten and read again.
"""

from sqlalchemy import Connection

from collector.store.staging import Stage
from collector.store.times import Boot, anchors_of
from wire.clock import Anchor

MOST_REMEMBERED = 50_000
"""Entries of one kind; beyond it that memory starts anew (a province has a few thousand)."""
RECENT = 128
"""Batches remembered of each stream: more than wait in any post between two neighbours arriving."""


class Stream:
    """One stream: to whom it belongs and which batches came last."""

    __slots__ = (
        "agent",
        "begun",
        "dropped",
        "held",
        "highest",
        "id",
        "link",
        "name",
        "number",
        "recent",
        "role",
        "site",
    )

    def __init__(
        self, number: int, id: str, name: str, site: str, link: str, role: str, agent: str, begun: int,  # noqa: A002
        highest: int = 0, held: int = 0, dropped: int = 0,
    ) -> None:  # fmt: skip
        self.number = number
        self.id = id
        self.name = name
        self.site = site
        self.link = link
        self.role = role
        self.agent = agent
        self.begun = begun
        self.highest = highest
        self.held = held
        self.dropped = dropped
        self.recent: dict[int, tuple[bytes, bytes]] = {}

    def row(self) -> tuple[object, ...]:
        """The row of table ``stream``."""
        return (
            self.number, self.id, self.name, self.site, self.link, self.role, self.agent, self.begun,
            self.highest, self.held, self.dropped,
        )  # fmt: skip

    def neighbours(self, connection: Connection, seq: int) -> dict[int, tuple[bytes, bytes]]:
        """Digest and prev of the batches ``seq - 1``, ``seq`` and ``seq + 1``, those that are held."""
        recent = self.recent
        if seq > self.highest and (seq - 1 > self.highest or seq - 1 in recent):
            before = recent.get(seq - 1)
            return {seq - 1: before} if before else {}
        found = {number: recent[number] for number in (seq - 1, seq, seq + 1) if number in recent}
        if len(found) < 3:
            rows = connection.exec_driver_sql(
                "SELECT seq, digest, prev FROM batch WHERE stream = ? AND seq BETWEEN ? AND ?",
                (self.number, seq - 1, seq + 1),
            )
            for number, digest, prev in rows:
                found.setdefault(number, (digest, prev))
        return found

    def hold(self, seq: int, digest: bytes, prev: bytes) -> None:
        """Remembers a batch now staged."""
        self.recent[seq] = (digest, prev)
        self.held += 1
        self.highest = max(self.highest, seq)


class Memory:
    """Streams, boots, series and dirty hours by their names."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._boots: dict[tuple[str, str], Boot] = {}
        self._series: dict[tuple[str, str, str, str, str, str], int] = {}
        self._places: dict[tuple[str, str, str], int] = {}
        self._next: dict[str, int] = {}
        self._touched: set[Stream] = set()
        self.dirty: set[tuple[int, int]] = set()
        """Hours known to be marked already."""

    def forget(self) -> None:
        """After a rollback."""
        self._streams.clear()
        self._boots.clear()
        self._series.clear()
        self._places.clear()
        self._next.clear()
        self._touched.clear()
        self.dirty.clear()

    def trim(self) -> None:
        """After a commit: keeps memory bounded. The rows of the transaction can be read from now on."""
        for stream in self._touched:
            if len(stream.recent) > RECENT:
                for seq in sorted(stream.recent)[: -RECENT // 2]:
                    del stream.recent[seq]
        self._touched.clear()
        for memory in (self._streams, self._boots, self.dirty):
            if len(memory) > MOST_REMEMBERED:
                memory.clear()
        if len(self._series) > 4 * MOST_REMEMBERED:
            self._series.clear()

    def stream(self, connection: Connection, id: str) -> Stream | None:  # noqa: A002
        """A stream that is held, or ``None``."""
        found = self._streams.get(id)
        if found is None:
            row = connection.exec_driver_sql(
                "SELECT number, id, name, site, link, role, agent, begun, highest, held, dropped"
                " FROM stream WHERE id = ?",
                (id,),
            ).one_or_none()
            if row is None:
                return None
            found = self._streams[id] = Stream(*row)
        return found

    def new_stream(
        self, connection: Connection, stream: str, name: str, source: tuple[str, str, str, str], now: int
    ) -> Stream:
        """A stream seen for the first time; it is written when :meth:`touch` is told of it."""
        agent, site, link, role = source
        made = Stream(self._number(connection, "stream"), stream, name, site, link, role, agent, now)
        self._streams[stream] = made
        return made

    def touch(self, stage: Stage, stream: Stream) -> None:
        """Stages the stream's row."""
        self._touched.add(stream)
        stage.streams[stream.number] = stream.row()

    def boot(self, connection: Connection, stage: Stage, id: str, site: str) -> Boot:  # noqa: A002
        """A boot of a site's machine with its anchors, made if it is new."""
        found = self._boots.get((id, site))
        if found is not None:
            return found
        row = connection.exec_driver_sql("SELECT number FROM boot WHERE id = ? AND site = ?", (id, site)).one_or_none()
        if row is None:
            number = self._number(connection, "boot")
            stage.boots.append((number, id, site))
            anchors: list[Anchor] = []
        else:
            number = row[0]
            anchors = anchors_of(connection, number, id)
        found = self._boots[(id, site)] = Boot(number, id, anchors)
        return found

    def series(self, connection: Connection, key: tuple[str, str, str, str, str, str]) -> int | None:
        """The number of a series, or ``None`` if it is new."""
        found = self._series.get(key)
        if found is None:
            row = connection.exec_driver_sql(
                "SELECT number FROM series WHERE site = ? AND link = ? AND role = ?"
                " AND probe = ? AND target = ? AND platform = ?",
                key,
            ).one_or_none()
            if row is None:
                return None
            found = self._series[key] = int(row[0])
        return found

    def new_series(
        self, connection: Connection, stage: Stage, key: tuple[str, str, str, str, str, str], now: int
    ) -> int:
        """Makes a series."""
        number = self._number(connection, "series")
        stage.series.append((number, *key, now))
        self._series[key] = number
        place = key[:3]
        self._places[place] = self.series_count(connection, place) + 1
        return number

    def series_count(self, connection: Connection, place: tuple[str, str, str]) -> int:
        """How many series a site, link and role have."""
        if place not in self._places:
            self._places[place] = connection.exec_driver_sql(
                "SELECT count(*) FROM series WHERE site = ? AND link = ? AND role = ?", place
            ).scalar_one()
        return self._places[place]

    def _number(self, connection: Connection, table: str) -> int:
        if table not in self._next:
            highest = connection.exec_driver_sql(f"SELECT max(number) FROM {table}").scalar_one()  # noqa: S608 - ours
            self._next[table] = (highest or 0) + 1
        number = self._next[table]
        self._next[table] = number + 1
        return number

"""One partition on a Kafka of words, and the tables that should hold it, for comparisons without either."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas import ids
from sinks.dead_letter import letter
from sinks.landing import Reread
from sinks.ledger import Partition, Range
from sinks.mapping import Mapped, Mapper
from sinks.reconcile.bounds import Edges
from sinks.reconcile.reasons import LetterRow
from sinks.reconcile.stored import Copy
from sinks.store import Row, coordinates
from sinks.tables import TABLES
from tests.fakes.sink_store import Contents

AT: Partition = ("llm.results", 0)
UNDECODABLE = "undecodable"


class Record(NamedTuple):
    """A record whose content names the tables of its rows."""

    offset: int
    content: tuple[str, ...]
    topic: str = AT[0]
    partition: int = AT[1]
    timestamp: int = 1
    key: bytes | None = None
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes], ...] = ()


def row_of(table: str, offset: int) -> Row:
    """The row that a record at `offset` gives `table`: nothing but where it lies, and that it is kept for ever."""
    nothing = (0,) * (len(TABLES[table].columns) - 5)
    return (table, *nothing, *AT, offset, 1)


class Words(Mapper):
    """Each word of a record's content is a table that gets a row of it."""

    def __init__(self) -> None:
        super().__init__(lambda record: None)
        self.mapped = 0

    async def map(self, records: Iterable[Any]) -> Mapped:
        made = Mapped()
        for r in records:
            self.mapped += 1
            if UNDECODABLE in r.content:
                made.rejected.append(letter(r, UNDECODABLE, "garbage"))
                continue
            for table in r.content:
                made.rows.setdefault(table, []).append(row_of(table, r.offset))
        return made


@dataclass
class Topic:
    """The records of the partition, handed out in pieces of `piece`. `first`: what lies before it is deleted."""

    records: list[Record]
    end: int
    first: int = 0
    piece: int = 3
    on_piece: Callable[[], None] = lambda: None

    async def edges(self, partitions: Iterable[Partition]) -> dict[Partition, Edges]:
        return {at: Edges(self.first, self.end) for at in partitions}

    async def read(self, at: Partition, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        position = start
        while True:
            self.on_piece()
            wanted = [r for r in self.records if max(position, self.first) <= r.offset < end][: self.piece]
            if not wanted:
                return
            position = wanted[-1].offset + 1
            yield wanted


@dataclass
class Source:
    """Reads ranges of a topic again, for repairs."""

    topic: Topic

    async def read(self, ranges: Iterable[Range]) -> Reread:
        return Reread([r for each in sorted(ranges) for r in self.topic.records if (*AT, r.offset) in each])


@dataclass
class Rows:
    """The database as a comparison asks for it, on the tables of `contents`."""

    contents: Contents
    letters: list[LetterRow] = field(default_factory=list)
    landed: int = 10

    async def offsets(self, table: str, at: Partition, start: int, end: int) -> list[int]:
        return [o for *_, o in self._rows(table) if start <= o < end]

    async def landed_at(self, table: str, at: Partition, offsets: Collection[int]) -> dict[int, int]:
        return {o: self.landed for *_, o in self._rows(table) if o in offsets}

    async def letters_of(self, at: Partition, offsets: Collection[int]) -> list[LetterRow]:
        wanted = {ids.dead_letter_id(*at, o) for o in offsets}
        return [each for each in self.letters if each.id in wanted]

    async def copies(self, table: str, at: Partition, offsets: Collection[int]) -> dict[int, list[Copy]]:
        found: dict[int, list[Copy]] = {}
        for n, row in enumerate(self.contents.tables.get(table, [])):
            if coordinates(row)[2] in offsets:
                found.setdefault(coordinates(row)[2], []).append(Copy("part", n, n, str(row[0]).encode()))
        return found

    async def is_spread(self, table: str) -> bool:
        return False

    async def remove(self, table: str, at: Partition, copies: dict[int, Sequence[Copy]]) -> None:
        doomed = {copy.row for some in copies.values() for copy in some}
        kept = [row for n, row in enumerate(self.contents.tables[table]) if n not in doomed]
        self.contents.tables[table] = kept

    def _rows(self, table: str) -> list[tuple[str, int, int]]:
        return [coordinates(row) for row in self.contents.tables.get(table, [])]

"""What ClickHouse holds, as a reconciliation asks for it."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sinks import dead_letter
from sinks.clickhouse import ClickHouse
from sinks.clickhouse_store import ranges_sql
from sinks.ledger import Partition, Range
from sinks.patience import Patience
from sinks.queries import migrations, query
from sinks.reconcile.reasons import LetterRow
from sinks.reconcile.seals import Seal
from sinks.tables import TABLES

MOST_ROWS: Final = 1_000_000
"""Rows of one window and table that are looked at: more can only be there where most are wrong."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a row: `content` is a hash of all of it but the time of its insertion (ms)."""

    part: str
    row: int
    at: int
    content: bytes


class Database:
    """Queries of one database, asked again while it is away, as long as `patience` lasts.

    Every method raises a StoreError.
    """

    def __init__(self, clickhouse: ClickHouse, patience: Patience) -> None:
        self._clickhouse = clickhouse
        self._patience = patience
        self._names = {"database": clickhouse.access.database}

    async def rows(self, name: str, parameters: Mapping[str, Any], **names: str) -> list[Sequence[Any]]:
        """The rows of a named query."""
        sql = query(name, **self._names, **names)
        return await self._patience.persist(lambda: self._clickhouse.query(sql, parameters), "compare")

    async def tables_of(self, topics: Collection[str]) -> dict[str, tuple[str, ...]]:
        """For each topic the tables that hold rows of it, or held some when an earlier reconciliation looked."""
        found: dict[str, set[str]] = {topic: set() for topic in topics}

        async def look(table: str) -> None:
            for (topic,) in await self.rows("topics_of_table", {}, table=table):
                if topic in found:
                    found[topic].add(table)

        await asyncio.gather(*map(look, TABLES))
        for topic, table in await self.rows("sealed_tables", {}):
            if topic in found and table in TABLES:
                found[topic].add(table)
        return {topic: tuple(sorted(tables)) for topic, tables in found.items()}

    async def offsets(self, table: str, at: Partition, start: int, end: int) -> Sequence[int]:
        """The offsets of the rows of [start, end), in no order; at most MOST_ROWS."""
        sql, parameters = query("offsets", **self._names, table=table), _range(at, start, end)
        parameters["most"] = MOST_ROWS
        return await self._patience.persist(lambda: self._clickhouse.column(sql, parameters), "compare")

    async def chain(self, at: Partition, start: int, end: int) -> list[Sequence[int]]:
        """Offset and number in the audit chain of the rows of [start, end), in order."""
        return await self.rows("chain", _range(at, start, end))

    async def digest(self, table: str, at: Partition, start: int, end: int) -> tuple[int, int]:
        """Number and digest of the rows of [start, end) (see `seals`)."""
        return (await self.digests(table, [Range(*at, start, end)]))[Range(*at, start, end)]

    async def digests(self, table: str, ranges: Sequence[Range]) -> dict[Range, tuple[int, int]]:
        """The same of several ranges at once, of which no two are of one partition."""
        condition, parameters = ranges_sql(ranges)
        found: dict[Partition, tuple[int, int]] = {}
        for topic, partition, count, digest in await self.rows(
            "digests", parameters, table=table, ranges=condition
        ):
            found[topic, partition] = int(count), int(digest)
        return {r: found.get(r.at, (0, 0)) for r in ranges}

    async def seals(self, table: str, at: Partition, below: int) -> list[Seal]:
        """What earlier reconciliations saw agree of a table and partition, of ranges that begin before `below`."""
        parameters = {"table_name": table, "below": below, **_partition(at)}
        return [Seal(table, at, *map(int, row)) for row in await self.rows("seals", parameters)]

    async def lost(self) -> list[Range]:
        """What Kafka had deleted before it had landed, as far back as the ledger's versions go."""
        found = await self.rows("ledger_gaps", {})
        return sorted({r for (gaps,) in found for r in msgspec.json.decode(gaps, type=list[Range])})

    async def first_offset(self, table: str, at: Partition, since: int) -> int | None:
        """The first offset of the rows with a Kafka timestamp of `since` (ms) or later; None where there are none."""
        found = await self.rows("first_offset", {"since": since, **_partition(at)}, table=table)
        return int(found[0][1]) if found[0][0] else None

    async def landed_at(self, table: str, at: Partition, offsets: Collection[int]) -> dict[int, int]:
        """When (ms) the rows at `offsets` came in, of those that are there."""
        found = await self.rows("landed_at", _hull(at, offsets), table=table) if offsets else []
        wanted = set(offsets)
        return {offset: int(ms) for offset, ms in found if offset in wanted}

    async def copies(self, table: str, at: Partition, offsets: Iterable[int]) -> dict[int, list[Copy]]:
        """The rows at each of `offsets` (a few dozen at most), the first inserted first."""
        parameters = {**_partition(at), "offsets": list(offsets)}
        found: dict[int, list[Copy]] = {}
        for offset, part, row, ms, content in await self.rows("copies", parameters, table=table):
            found.setdefault(offset, []).append(Copy(part, row, ms, content))
        return found

    async def is_spread(self, table: str) -> bool:
        """Whether the rows of `table` lie on the shards of a cluster: they can't be deleted through it then."""
        names = {"database_name": self._clickhouse.access.database, "table_name": table}
        found = await self.rows("engine_of", names)
        return bool(found) and found[0][0] == "Distributed"

    async def remove(self, table: str, at: Partition, copies: Mapping[int, Sequence[Copy]]) -> None:
        """Delete exactly these rows. A part that was merged meanwhile has another name, and keeps them."""
        every = [copy for some in copies.values() for copy in some]
        parameters = {
            **_partition(at),
            "offsets": list(copies),
            "parts": [copy.part for copy in every],
            "rows": [copy.row for copy in every],
        }
        sql = query("remove_copies", **self._names, table=table)
        await self._patience.persist(lambda: self._clickhouse.command(sql, parameters), "remove copies")

    async def letters_of(self, at: Partition, offsets: Collection[int]) -> list[LetterRow]:
        """The sink's dead letters about records at `offsets`, and maybe about others between them."""
        if not offsets:
            return []
        parameters = {"stage": dead_letter.STAGE, **_hull(at, offsets)}
        return [LetterRow(*row) for row in await self.rows("letters_of", parameters)]

    async def made_at(self) -> dict[str, int]:
        """When (ms) the migration that makes each table was applied."""
        applied = {
            row[0]: int(row[5]) for row in reversed(await self.rows("migrations", {})) if row[3] == "applied"
        }
        made: dict[str, int] = {}
        for step in migrations():
            for table in TABLES:
                start = f"CREATE TABLE IF NOT EXISTS {{database}}.{table}\n"
                if step.version in applied and any(s.startswith(start) for s in step.statements):
                    made[table] = applied[step.version]
        return made


def _partition(at: Partition) -> dict[str, Any]:
    return {"topic": at[0], "partition": at[1]}


def _hull(at: Partition, offsets: Collection[int]) -> dict[str, Any]:
    """The range that holds `offsets`: a request has no room for a list of thousands."""
    return _range(at, min(offsets), max(offsets) + 1)


def _range(at: Partition, start: int, end: int) -> dict[str, Any]:
    return {**_partition(at), "start": start, "end": end}

"""The sink's store on ClickHouse: tables, ledger, and the Null tables on which refused rows are found."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

import msgspec

from sinks.clickhouse import Access, ClickHouse
from sinks.ledger import FORMAT_VERSION, Coordinates, Range, State, Version
from sinks.queries import query
from sinks.store import Probe, Reading, Refused, Row, Unavailable
from sinks.tables import LEASE_COLUMN, TABLES, Table

LEDGER: Final = Table(
    "sink_ledger",
    ("sequence", "id", "worker", "state", "gaps", "format_version"),
    ("UInt64", "String", "LowCardinality(String)", "String", "String", "UInt16"),
)
REPAIRS: Final = Table("repair_ledger", LEDGER.columns, LEDGER.types)
_KEPT_PARTITIONS: Final = 3
_TRIM_EVERY: Final = 10_000
_PROBE_MS: Final = 60_000


class SchemaDiffers(Exception):
    """The tables aren't those that this version writes: run the migrations."""


class ClickHouseStore:
    """Implements `sinks.store.Store`."""

    def __init__(self, clickhouse: ClickHouse, ledger: Table = LEDGER) -> None:
        """`ledger` is where its versions lie: the sink's, or that of repairs."""
        self._clickhouse = clickhouse
        self._database = clickhouse.access.database
        self._ledger = ledger

    @classmethod
    def at(cls, access: Access) -> "ClickHouseStore":
        """A store with a client of its own."""
        return cls(ClickHouse(access))

    async def close(self) -> None:
        """Close the client."""
        await self._clickhouse.close()

    async def verify(self) -> None:
        """Compare the tables with `sinks.tables`. Raises SchemaDiffers, which names every difference."""
        found: dict[str, dict[str, str]] = {}
        parameters = {"database_name": self._database}
        for table, name, kind in await self._clickhouse.query(query("columns"), parameters):
            found.setdefault(table, {})[name] = kind
        wrong = []
        for table in (*TABLES.values(), LEDGER, REPAIRS):
            there = found.get(table.name, {})
            for name, kind in zip(table.columns, table.types, strict=True):
                if there.get(name) != kind:
                    wrong.append(f"{table.name}.{name} is {there.get(name, 'missing')}, not {kind}")
            if LEASE_COLUMN not in there:
                wrong.append(f"{table.name}.{LEASE_COLUMN} is missing")
        if wrong:
            hint = f"database {self._database} isn't what this version writes; run its migrations. "
            raise SchemaDiffers(hint + "; ".join(wrong[:20]))

    async def latest(self) -> Reading:
        rows = await self._clickhouse.query(query("ledger_latest", database=self._database, ledger=self._ledger.name))
        return Reading(_version(rows[0]), rows[0][-1]) if rows else Reading(None, await self._now())

    async def version(self, sequence: int) -> Version | None:
        sql = query("ledger_version", database=self._database, ledger=self._ledger.name)
        rows = await self._clickhouse.query(sql, {"sequence": sequence})
        return _version(rows[0]) if rows else None

    async def append(self, version: Version, token: str, lease: int) -> None:
        row = (
            version.sequence,
            version.id,
            version.worker,
            msgspec.json.encode(version.state).decode(),
            msgspec.json.encode(version.gaps).decode(),
            version.format_version,
        )
        await self._clickhouse.insert(self._ledger, [row], token, lease)
        if version.sequence % _TRIM_EVERY == 0:
            await self.trim()

    async def insert(self, table: str, rows: Sequence[Row], token: str, lease: int) -> None:
        await self._clickhouse.insert(TABLES[table], rows, token, lease)

    async def present(self, table: str, ranges: Iterable[Range]) -> set[Coordinates]:
        condition, parameters = ranges_sql(ranges)
        sql = query("present", database=self._database, table=table, ranges=condition)
        rows = await self._clickhouse.query(sql, parameters)
        return {(topic, partition, offset) for topic, partition, offset in rows}

    @contextlib.asynccontextmanager
    async def probing(self, table: str) -> AsyncIterator[Probe]:
        made = False

        async def probe(rows: Sequence[Row]) -> None:
            nonlocal made
            if not made:
                await self._create_probe(name, table)
            made = False  # until the engine has answered: where it didn't, the table may be what is missing
            lease = await self._now() + _PROBE_MS
            try:
                await self._clickhouse.insert(TABLES[table], rows, uuid.uuid4().hex, lease, into=name)
            except Refused:
                made = True
                raise
            made = True

        async with self._probe_table(table) as name:
            yield probe

    async def fault(self, table: str) -> str | None:
        try:
            await self.verify()
            async with self._probe_table(table) as name:
                await self._create_probe(name, table)
                await self._probe_known(name, table)
        except (SchemaDiffers, Refused) as error:
            return str(error)
        return None

    async def _probe_known(self, name: str, table: str) -> None:
        """Try a row of the newest part, or a plain one where there is none. Raises Refused."""
        names = {"database": self._database, "table": table}
        if not await self._clickhouse.query(query("any_row", **names)):
            now = await self._now()
            plain = [TABLES[table].plain_row(now)]
            await self._clickhouse.insert(TABLES[table], plain, uuid.uuid4().hex, now + _PROBE_MS, into=name)
            return
        columns = ", ".join(f"`{c}`" for c in TABLES[table].columns)
        sql = query("probe_newest", probe=name, columns=columns, **names)
        await self._clickhouse.command(sql, {"database_name": self._database, "table_name": table})

    async def _create_probe(self, name: str, table: str) -> None:
        await self._clickhouse.command(
            query("create_probe", database=self._database, probe=name, table=table)
        )

    @contextlib.asynccontextmanager
    async def _probe_table(self, table: str) -> AsyncIterator[str]:
        """A name for a table that is dropped in the end, when it was created."""
        name = f"probe_{table}_{uuid.uuid4().hex}"
        try:
            yield name
        finally:
            with contextlib.suppress(Unavailable):  # an orphan keeps nothing, and does no harm
                await self._clickhouse.command(query("drop_probe", database=self._database, probe=name))

    async def trim(self) -> None:
        """Drop old partitions of the ledger. Every version holds the whole state, so the last is all that counts."""
        sql = query("ledger_partitions")
        names = {"database_name": self._database, "ledger_name": self._ledger.name}
        partitions = [row[0] for row in await self._clickhouse.query(sql, names)]
        for partition in partitions[:-_KEPT_PARTITIONS]:
            drop = query("ledger_drop", database=self._database, ledger=self._ledger.name)
            await self._clickhouse.command(drop, {"partition": partition})

    async def _now(self) -> int:
        return int((await self._clickhouse.query(query("now")))[0][0])


def ranges_sql(ranges: Iterable[Range]) -> tuple[str, dict[str, Any]]:
    """The condition that a row's record lies in one of `ranges`, and its parameters."""
    clauses = []
    parameters: dict[str, Any] = {}
    for n, r in enumerate(ranges):
        clauses.append(
            f"(kafka_topic = {{t{n}:String}} AND kafka_partition = {int(r.partition)}"
            f" AND kafka_offset >= {int(r.start)} AND kafka_offset < {int(r.end)})"
        )
        parameters[f"t{n}"] = r.topic
    return " OR ".join(clauses), parameters


def _version(row: Sequence[Any]) -> Version:
    sequence, id_, worker, state, gaps, format_version, _ = row
    if format_version > FORMAT_VERSION:
        raise SchemaDiffers(
            f"the ledger is of format {format_version}; this version reads up to {FORMAT_VERSION}"
        )
    return Version(
        sequence=sequence,
        id=id_,
        worker=worker,
        state=msgspec.json.decode(state, type=State),
        gaps=msgspec.json.decode(gaps, type=tuple[Range, ...]),
        format_version=format_version,
    )

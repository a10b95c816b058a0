"""The sums by minute and by day, made anew from the rows that they sum up.

They are projections (migration 0003): in each part of a table lie the sums of its rows. A query takes them where it
can, and the rows of a part that has none; so answers stay right while sums are made anew, and only take longer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sinks.clickhouse import ClickHouse
from sinks.queries import filled, migrations, query

_POLL_S: Final = 0.2


@dataclass(frozen=True)
class Aggregate:
    """A view, and the projection that holds its sums; `table` is what both are made of."""

    view: str
    table: str
    projection: str


AGGREGATES: Final = {
    a.view: a
    for a in (
        Aggregate("usage_per_minute", "usage", "by_minute"),
        Aggregate("usage_per_day", "usage", "by_day"),
        Aggregate("requests_per_minute", "results", "by_minute"),
        Aggregate("requests_per_day", "results", "by_day"),
    )
}


class RebuildFailed(Exception):
    """The sums can't be made; the message says why. Queries read the rows in their place."""


@dataclass(frozen=True)
class Rebuilt:
    """What was made: in `parts` parts `sums` sums of `rows` rows, `size` bytes of the table's `table_size`."""

    parts: int
    rows: int
    sums: int
    size: int
    table_size: int


async def rebuild(
    clickhouse: ClickHouse,
    aggregate: Aggregate,
    tell: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Rebuilt:
    """Define the view as this version does, and make its sums anew.

    `tell` is called with the number of parts that are still to be done. May be interrupted, and run again. Raises
    RebuildFailed and StoreError.
    """
    access = clickhouse.access
    names = {"database": access.database, "table": aggregate.table, "projection": aggregate.projection}
    of_table = {"database_name": access.database, "table_name": aggregate.table}
    if [row[0] for row in await clickhouse.query(query("engine_of"), of_table)] == ["Distributed"]:
        raise RebuildFailed(
            f"{aggregate.table} is on a cluster: clear and materialize its projections there by hand"
        )
    databases = {"database": access.database, "analytics": access.analytics}
    for statement in definitions(aggregate):
        await clickhouse.command(filled(statement, databases))
    waiting = _Waiting(clickhouse, aggregate, of_table, sleep)
    await clickhouse.command(query("clear_sums", **names))
    await waiting.until_done(lambda _: None)
    await clickhouse.command(query("make_sums", **names))
    await waiting.until_done(tell)
    of_sums = {**of_table, "projection_name": aggregate.projection}
    if lacking := await clickhouse.query(query("parts_without_sums"), of_sums):
        raise RebuildFailed(
            f"{len(lacking)} parts of {aggregate.table} have no sums: {lacking[0][0]}; run it again"
        )
    [(parts, rows, table_size)] = await clickhouse.query(query("parts"), of_table)
    [(_, sums, size)] = await clickhouse.query(query("parts_with_sums"), of_sums)
    return Rebuilt(parts, rows, sums, size, table_size)


def definitions(aggregate: Aggregate) -> Iterator[str]:
    """The statements of the migrations that define the projection and the view, each in its last version."""
    statements = [s for m in migrations() for s in m.statements]
    added = f"ADD PROJECTION IF NOT EXISTS {aggregate.projection}\n"
    of_table = f"ALTER TABLE {{database}}.{aggregate.table}\n"
    yield [s for s in statements if s.startswith(of_table) and added in s][-1]
    view = f"{{analytics}}.{aggregate.view}"
    last = max(n for n, s in enumerate(statements) if s.startswith(f"CREATE OR REPLACE VIEW {view} "))
    yield statements[last]
    yield from (s for s in statements[last:] if s.startswith(f"ALTER TABLE {view}\n"))


@dataclass(frozen=True)
class _Waiting:
    """Waits for mutations of a projection, which may take longer than a request may."""

    clickhouse: ClickHouse
    aggregate: Aggregate
    of_table: dict[str, str]
    sleep: Callable[[float], Awaitable[None]]

    async def until_done(self, tell: Callable[[int], None]) -> None:
        """Return when none is under way. Raises RebuildFailed where one fails."""
        parameters = {**self.of_table, "command": f"PROJECTION {self.aggregate.projection}"}
        before = -1
        while True:
            [(left, parts, reason)] = await self.clickhouse.query(query("mutations_left"), parameters)
            if reason:
                table = self.aggregate.table
                raise RebuildFailed(
                    f"ClickHouse can't make the sums of {table}, and goes on trying: {reason}"
                )
            if not left:
                return
            if parts != before:
                tell(parts)
            before = parts
            await self.sleep(_POLL_S)

"""The sums by minute and by day: they agree with the rows whatever becomes of these, queries take them, and they can
be made anew."""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sinks.aggregates import AGGREGATES, RebuildFailed, definitions, rebuild
from sinks.clickhouse import Access, ClickHouse
from sinks.clickhouse_store import ClickHouseStore
from sinks.migrate import Migrator
from sinks.store import Row, StoreError, Unavailable
from streams.settings import child_environment
from tests.benchmarks.autumn_rows import insert
from tests.chaos.scale import scaled
from tests.fakes.analytics_events import rows
from tests.fakes.analytics_world import SEED, World
from tests.integration.sink_harness import Engine

ROOT = Path(__file__).parents[2]
FINAL = {
    "usage": ("queue_ms", "first_token_ms", "call_ms"),
    "results": ("queue_ms", "first_token_ms", "total_ms"),
}


@pytest.fixture(scope="module")
def made() -> dict[str, list[Row]]:
    found = rows(World())
    return {table: found[table] for table in ("usage", "results")}


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    client = ClickHouse(Access(clickhouse_url, database=f"t_{uuid.uuid4().hex[:10]}"))
    await Migrator(client).apply()
    yield client
    for database in (client.access.database, client.access.analytics):
        await client.command(f"DROP DATABASE IF EXISTS {database}")
    await client.close()


async def put(client: ClickHouse, table: str, found: Sequence[Row], blocks: int) -> None:
    """Insert rows in so many blocks, as the sink would."""
    store = ClickHouseStore(client)
    lease = (await store.latest()).now + 600_000
    for n in range(blocks):
        await store.insert(table, found[n::blocks], uuid.uuid4().hex, lease)


async def told(client: ClickHouse, view: str, settings: str = "") -> list[Sequence[Any]]:
    """Every row of a view, its states read at two levels."""
    states = FINAL[AGGREGATES[view].table]
    levels = ", ".join(
        f"finalizeAggregation({name}) AS {name}_50, arrayReduce('quantileBFloat16Merge(0.95)', [{name}]) AS {name}_95"
        for name in states
    )
    columns = f"* EXCEPT ({', '.join(states)}), {levels}"
    sql = f"SELECT {columns} FROM {client.access.analytics}.{view} ORDER BY ALL {settings}"
    return [tuple(map(str, row)) for row in await client.query(sql)]


async def at_once(_: float) -> None:
    """A look at what is under way soon after the one before."""
    await asyncio.sleep(0.02)


async def assert_agreement(client: ClickHouse) -> None:
    """What the sums say is what the rows say."""
    for view in AGGREGATES:
        by_rows = await told(client, view, "SETTINGS optimize_use_projections = 0")
        assert by_rows and await told(client, view) == by_rows, view


async def test_the_sums_agree_with_rows_that_come_late_are_corrected_or_go(
    clickhouse: ClickHouse, made: dict[str, list[Row]]
) -> None:
    usage, results = made["usage"], made["results"]
    await put(clickhouse, "usage", usage[:300], 2)
    await put(clickhouse, "results", results[:200], 1)
    await assert_agreement(clickhouse)
    await put(clickhouse, "usage", usage[300:], 2)  # corrections of rows above among them
    await put(clickhouse, "results", results[200:], 2)
    await assert_agreement(clickhouse)
    database = clickhouse.access.database
    for table in ("usage", "results"):
        for done in (
            "UPDATE provider = 'renamed' WHERE kafka_offset % 5 = 1",
            "DELETE WHERE kafka_offset % 7 = 3",
        ):
            await clickhouse.command(f"ALTER TABLE {database}.{table} {done} SETTINGS mutations_sync = 2")
            await assert_agreement(clickhouse)
        with pytest.raises(
            Unavailable, match="projections"
        ):  # a later update would sum the deleted rows up again
            await clickhouse.command(f"DELETE FROM {database}.{table} WHERE kafka_offset = 1")
        await clickhouse.command(f"ALTER TABLE {database}.{table} DROP PARTITION 202610")
        await clickhouse.command(f"OPTIMIZE TABLE {database}.{table} FINAL")
    await assert_agreement(clickhouse)


TAKEN = [
    (
        "by_day",
        "SELECT tenant, toStartOfMonth(day) AS m, sum(cost) FROM {a}.usage_per_day GROUP BY tenant, m",
    ),
    ("by_day", "SELECT model, sum(attempts) - sum(count_with_cost) FROM {a}.usage_per_day GROUP BY model"),
    ("by_day", "SELECT model, quantileBFloat16Merge(0.9)(call_ms) FROM {a}.usage_per_day GROUP BY model"),
    (
        "by_day",
        "SELECT sum(attempts) FROM {a}.usage_per_day WHERE tenant = 'acme-lending' AND day >= '2026-09-01'",
    ),
    (
        "by_day",
        "SELECT model, sum(cost), count(cost), count() FROM {a}.usage WHERE day < '2026-09-09' GROUP BY model",
    ),
    ("by_day", "SELECT status, sum(output_tokens) FROM {a}.usage WHERE tenant = 'tenant-3' GROUP BY status"),
    (
        "by_minute",
        "SELECT minute, sum(attempts) FROM {a}.usage_per_minute WHERE minute < '2026-10-01' GROUP BY minute",
    ),
    ("by_minute", "SELECT toStartOfHour(minute) AS h, count(), sum(cost) FROM {a}.usage GROUP BY h"),
]


@pytest.fixture(scope="module")
def autumn(clickhouse_url: str) -> Any:
    """Rows enough to make it worth while: some granules of the table."""
    access = Access(clickhouse_url, database=f"t_{uuid.uuid4().hex[:10]}")

    async def run(*statements: str, migrated: bool) -> None:
        client = ClickHouse(access)
        if migrated:
            await Migrator(client).apply()
        for statement in statements:
            await client.command(statement)
        await client.close()

    asyncio.run(run(insert(access.database, 0, 60_000, 400_000_000), migrated=True))
    yield access
    asyncio.run(run(*(f"DROP DATABASE {d}" for d in (access.database, access.analytics)), migrated=False))


@pytest.mark.parametrize(("projection", "sql"), TAKEN)
async def test_a_query_takes_the_sums(autumn: Access, projection: str, sql: str) -> None:
    client = ClickHouse(autumn)
    asked = sql.replace("{a}", autumn.analytics)
    plan = "\n".join(str(row[0]) for row in await client.query(f"EXPLAIN PLAN {asked}"))
    assert f"ReadFromMergeTree ({projection})" in plan and f"{autumn.database}.usage" not in plan, plan
    by_rows = await client.query(f"{asked} ORDER BY ALL SETTINGS optimize_use_projections = 0")
    assert await client.query(f"{asked} ORDER BY ALL") == by_rows
    await client.close()


async def test_sums_made_anew_are_those_made_from_scratch(
    clickhouse: ClickHouse, made: dict[str, list[Row]]
) -> None:
    scratch = ClickHouse(Access(clickhouse.access.url, database=f"{clickhouse.access.database}_scratch"))
    await Migrator(scratch).apply()
    database = clickhouse.access.database
    for table, found in made.items():
        await put(clickhouse, table, found, 2)
        await put(scratch, table, found[::-1], 1)
        await clickhouse.command(
            f"ALTER TABLE {database}.{table} DROP PROJECTION by_day SETTINGS mutations_sync = 2"
        )
    lost = [AGGREGATES[view] for view in ("usage_per_day", "requests_per_minute")]
    for aggregate in lost:
        await clickhouse.command(f"DROP VIEW {clickhouse.access.analytics}.{aggregate.view}")
    for aggregate in AGGREGATES.values():
        count, left = len(made[aggregate.table]), list[int]()
        rebuilt = await rebuild(clickhouse, aggregate, left.append, at_once)
        assert rebuilt.rows == count and 0 < rebuilt.sums <= count and 0 < rebuilt.size < rebuilt.table_size
        assert rebuilt.parts >= 2 and left == sorted(left, reverse=True)
    for view in AGGREGATES:
        assert await told(clickhouse, view) == await told(scratch, view), view
    for name in (scratch.access.database, scratch.access.analytics):
        await scratch.command(f"DROP DATABASE {name}")
    await scratch.close()


async def test_sums_that_cannot_be_made_are_an_error_and_queries_go_on(
    clickhouse: ClickHouse, made: dict[str, list[Row]]
) -> None:
    await put(clickhouse, "usage", made["usage"], 2)
    before = await told(clickhouse, "usage_per_day")
    database, aggregate = clickhouse.access.database, AGGREGATES["usage_per_day"]
    await clickhouse.command(
        f"ALTER TABLE {database}.usage DROP PROJECTION by_day SETTINGS mutations_sync = 2"
    )
    broken = next(definitions(aggregate)).replace("sum(tries)", "sum(tries / throwIf(attempt > 0))", 1)
    await clickhouse.command(broken.replace("{database}", database))
    with pytest.raises(RebuildFailed, match="goes on trying"):
        await rebuild(clickhouse, aggregate, sleep=at_once)
    assert await told(clickhouse, "usage_per_day") == before
    await clickhouse.command(f"KILL MUTATION WHERE database = '{database}' SYNC")


def test_the_command_makes_sums_anew_and_names_the_views_where_there_is_none(autumn: Access) -> None:
    environment = child_environment(
        SLUICE_CLICKHOUSE_URL=autumn.url, SLUICE_CLICKHOUSE_DATABASE=autumn.database
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streams.cli.main", "clickhouse", "rebuild", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    done = run("usage_per_minute", "--json")
    assert done.returncode == 0, done.stderr
    told_of = json.loads(done.stdout)
    assert (told_of["view"], told_of["rows"]) == ("usage_per_minute", 60_000)
    assert 0 < told_of["sums"] < 60_000 and told_of["parts"] == 1
    wrong = run("usage_per_week")
    assert wrong.returncode == 5 and all(view in wrong.stderr for view in AGGREGATES)


async def test_sums_agree_with_the_rows_after_kills_in_mid_insert(
    tmp_path: Path, made: dict[str, list[Row]]
) -> None:
    """What made materialized views drift: the engine dies while it writes the parts of an insert."""
    dice, kills = random.Random(SEED), scaled(30, 2)
    engine = Engine(tmp_path / "engine")
    engine.start()
    client = ClickHouse(Access(engine.url))
    await Migrator(client).apply()
    found = made["usage"] * 20
    for _ in range(kills):
        began = asyncio.get_running_loop().time()
        await put(client, "usage", found, 1)
        took = asyncio.get_running_loop().time() - began
        inserting = asyncio.create_task(put(client, "usage", found, 1))
        await asyncio.sleep(took * dice.uniform(0.5, 1.0))
        engine.kill()
        with contextlib.suppress(StoreError):
            await inserting
        engine.start()
        counted = "SELECT count(), sum(cost) FROM {}"
        in_rows = await client.query(
            counted.format("sluice.usage") + " SETTINGS optimize_use_projections = 0"
        )
        assert await client.query(counted.format("sluice.usage")) == in_rows
        for view in ("usage_per_day", "usage_per_minute"):
            assert await told(client, view) == await told(
                client, view, "SETTINGS optimize_use_projections = 0"
            )
    await client.close()
    engine.kill()

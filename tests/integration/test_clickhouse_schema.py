"""The tables and views in ClickHouse: what analysts rely on, what stays how long, who sees what, and on a cluster."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sinks.aggregates import AGGREGATES
from sinks.clickhouse import Access, ClickHouse
from sinks.clickhouse_store import ClickHouseStore
from sinks.cluster import LOCAL, Cluster
from sinks.config_record import read
from sinks.describe import describe, markdown
from sinks.grants import READER, TENANTS, Person, Readable, statements
from sinks.ledger import Range
from sinks.migrate import Migrator, migrate
from sinks.queries import migrations
from sinks.rows import rows_of
from sinks.store import LeaseOver, Unavailable
from sinks.tables import TABLES
from streams.cli.grants import readable
from tests.fakes import sink_events as events
from tests.integration.clickhouse_configured import ONE_SHARD, Configured, user
from tests.unit.sinks.test_rows import AT

DOCUMENT = Path(__file__).parents[2] / "docs" / "tables.md"


@pytest.fixture(scope="module")
def access(clickhouse_url: str) -> Iterator[Access]:
    """One database for all: each test fills tables of its own, or rows."""
    made = Access(clickhouse_url, database=f"t_{uuid.uuid4().hex[:10]}")
    asyncio.run(migrate(made))
    yield made
    asyncio.run(drop(made))


async def drop(access: Access) -> None:
    client = ClickHouse(access)
    for database in (access.database, access.analytics):
        await client.command(f"DROP DATABASE IF EXISTS {database}")
    await client.close()


@pytest.fixture
async def clickhouse(access: Access) -> AsyncIterator[ClickHouse]:
    client = ClickHouse(access)
    yield client
    await client.close()


async def put(client: ClickHouse, *made: msgspec.Struct, topic: str = "llm.any") -> None:
    """Insert the rows of events, one offset each, as the sink would."""
    store = ClickHouseStore(client)
    rows: dict[str, list[Any]] = {}
    for offset, event in enumerate(made):
        at = AT._replace(topic=topic, partition=0, offset=offset, timestamp=events.T0 + offset)
        for table, row in rows_of(event, at):
            rows.setdefault(table, []).append(row)
    lease = (await store.latest()).now + 60_000
    for table, found in rows.items():
        await store.insert(table, found, uuid.uuid4().hex, lease)


async def ask(client: ClickHouse, sql: str) -> list[Sequence[Any]]:
    return await client.query(
        sql.replace("{a}", client.access.analytics).replace("{d}", client.access.database)
    )


async def test_the_document_is_what_the_database_says_of_itself(clickhouse: ClickHouse) -> None:
    views, tables = await describe(clickhouse)
    for each in (*views, *tables):
        bare = [name for name, _, comment in each.columns if not comment]
        assert each.comment and not bare, f"{each.name} lacks comments: {bare}"
    assert set(TABLES) <= {t.name for t in tables}
    made = markdown(views, tables)
    assert made == DOCUMENT.read_text(), (
        "make it anew, on a new database: sluice clickhouse describe > docs/tables.md"
    )


async def test_a_replaced_usage_is_left_out_and_an_uncorrected_one_is_not(clickhouse: ClickHouse) -> None:
    given_up, left, right = events.usage(1), events.usage(2), events.usage(3)
    given_up.status = left.status = "unknown"
    right.corrects, right.request_id = given_up.event_id, given_up.request_id
    right.accepted_at = given_up.accepted_at
    await put(clickhouse, given_up, left, right, events.usage(4))
    seen = await ask(clickhouse, "SELECT event_id FROM {a}.usage ORDER BY event_id")
    assert [row[0] for row in seen] == ["usage-2", "usage-3", "usage-4"]
    assert await ask(clickhouse, "SELECT count() FROM {a}.usage_all") == [(4,)]


async def test_a_letter_that_was_published_twice_counts_once(clickhouse: ClickHouse) -> None:
    await put(clickhouse, events.dead_letter(1), events.dead_letter(2), events.dead_letter(1))
    assert await ask(clickhouse, "SELECT id FROM {a}.dead_letters WHERE id LIKE 'llm%' ORDER BY id") == [
        ("llm.requests-0-1",),
        ("llm.requests-0-2",),
    ]


async def test_versions_of_the_configuration_and_when_each_was_in_force(clickhouse: ClickHouse) -> None:
    first, second = [(b"v1", b"{}"), (b"active", b"v1")], [(b"v2", b'{"a": 1}'), (b"active", b"v2")]
    topic = [*first, *second, *first]
    await put(clickhouse, *(read(key, value) for key, value in topic), topic="llm.config")
    versions = await ask(
        clickhouse,
        "SELECT config_version, content, activations, is_active, toUnixTimestamp64Milli(assumeNotNull(published_at)) "
        "FROM {a}.config_versions ORDER BY 1",
    )
    assert versions == [("v1", "{}", 2, 1, events.T0), ("v2", '{"a":1}', 1, 0, events.T0 + 2)]
    spans = await ask(
        clickhouse,
        "SELECT config_version, toUnixTimestamp64Milli(active_from), toUnixTimestamp64Milli(active_until) "
        "FROM {a}.config_activations ORDER BY 2",
    )
    at = [events.T0 + n for n in (1, 3, 5)]
    assert spans == [("v1", at[0], at[1]), ("v2", at[1], at[2]), ("v1", at[2], None)]


async def test_texts_and_original_bytes_stay_as_long_as_their_class_of_data_says(
    clickhouse: ClickHouse,
) -> None:
    """Rows that came in three days ago, of which some may stay for two."""
    database = clickhouse.access.database
    for table, names in (("bodies", "request_id"), ("dead_letters", "id")):
        more = ", `key`, value, headers" if table == "dead_letters" else ", text"
        values = "'k', 'v', [('h', 'x')]" if table == "dead_letters" else "'text'"
        at = "at" if table == "dead_letters" else "completed_at"
        await clickhouse.command(
            f"INSERT INTO {database}.{table} ({names}, {at}, retention_days, inserted_at{more}) "
            "SELECT arrayJoin(['0', '2', '4', '3650']) AS n, now64(3), toUInt16(n), now64(3) - toIntervalDay(3), "
            + values
        )
        await clickhouse.command(f"OPTIMIZE TABLE {database}.{table} FINAL")
    assert await ask(clickhouse, "SELECT request_id FROM {a}.bodies ORDER BY request_id") == [
        ("0",),
        ("3650",),
        ("4",),
    ]
    letters = await ask(
        clickhouse,
        "SELECT id, `key`, value, length(headers) FROM {a}.dead_letters WHERE id NOT LIKE 'llm%' ORDER BY id",
    )
    assert letters == [("0", "k", "v", 1), ("2", None, None, 0), ("3650", "k", "v", 1), ("4", "k", "v", 1)]


# -- who sees what ---------------------------------------------------------------------------------------------


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Callable[..., Configured]]:
    made: list[Configured] = []

    def make(**more: str) -> Configured:
        made.append(Configured(tmp_path / str(len(made)), **more))
        return made[-1]

    yield make
    for server in made:
        server.kill()


def _rights(found: Readable, tenants: Sequence[str]) -> tuple[list[str], dict[tuple[str, str], str]]:
    """What the statements grant to a user of these tenants, and the conditions that hold for him, by table."""
    said = list(statements(found, tenants, Person("ann", tenants)))
    roles = {TENANTS, *(f"sluice_tenant_{t}" for t in tenants)} if tenants else {READER}
    plain = [s.replace("`", "") for s in said]
    parts = [s.rpartition(" TO ") for s in plain if s.startswith("GRANT SELECT")]
    grants = [grant for grant, _, role in parts if role in roles]
    conditions: dict[tuple[str, str], list[str]] = {}
    for statement in plain:
        policy = re.fullmatch(
            r"CREATE ROW POLICY OR REPLACE \S+ ON (\w+)\.(\w+) USING (.+) TO (.+)", statement
        )
        if policy and policy[4] in roles:
            conditions.setdefault((policy[1], policy[2]), []).append(f"({policy[3]})")
    return grants, {table: " OR ".join(found) for table, found in conditions.items()}


async def test_a_tenants_user_sees_its_rows_alone_through_tables_and_views(
    clickhouse: ClickHouse, configured: Callable[..., Configured]
) -> None:
    """The grants as they are, the row policies as the configuration of a user has them; asked through views that
    run with that user's rights, since the library itself has but one user."""
    found = await readable(clickhouse)
    names = {clickhouse.access.database: "sluice", clickhouse.access.analytics: "analytics"}
    found = Readable(names[found.database], names[found.analytics], found.tables, found.views)
    people = {"ann": ["tenant-1"], "bob": ["tenant-2", "tenant-3"], "eve": []}
    server = configured(
        users="".join(user(name, *_rights(found, tenants)) for name, tenants in people.items())
    )
    client = ClickHouse(Access(server.url))
    await Migrator(client).apply()
    kinds = (events.audit, events.result, events.usage, events.feedback, events.attempt)
    await put(client, *(make(n) for n in range(14) for make in kinds))
    await client.command("CREATE DATABASE asked")

    async def tenants_seen(person: str, source: str) -> list[str]:
        definer = f"DEFINER = {person} SQL SECURITY DEFINER"
        await client.command(
            f"CREATE OR REPLACE VIEW asked.v {definer} AS SELECT DISTINCT tenant FROM {source}"
        )
        return sorted(row[0] for row in await client.query("SELECT * FROM asked.v"))

    everyone = [f"tenant-{n}" for n in range(7)]
    filled = ["requests", "results", "usage", "audit", "attempts", "decisions", "feedback", "bodies"]
    sums = [f"analytics.{view}" for view in AGGREGATES]
    for source in [*sums, *(f"{database}.{table}" for database in ("sluice", "analytics") for table in filled)]:
        assert await tenants_seen("ann", source) == ["tenant-1"], source
        assert await tenants_seen("bob", source) == ["tenant-2", "tenant-3"], source
        assert await tenants_seen("eve", source) == everyone, source
        assert await client.query(f"SELECT uniqExact(tenant) FROM {source}") == [(7,)], (
            "nobody else loses a row"
        )
    for hidden in (
        "sluice.dead_letters",
        "analytics.dead_letters",
        "sluice.config_versions",
        "sluice.sink_ledger",
    ):
        definer = "DEFINER = ann SQL SECURITY DEFINER"
        with pytest.raises(Unavailable, match="Not enough privileges"):
            await client.command(f"CREATE OR REPLACE VIEW asked.v {definer} AS SELECT count() FROM {hidden}")
            await client.query("SELECT * FROM asked.v")
    await client.close()


async def test_the_statements_of_rights_are_what_the_engine_understands(clickhouse: ClickHouse) -> None:
    odd = "o'brien`s \\ tenant"
    found = await readable(clickhouse)
    person = Person("a`nn", [odd, "acme"], password="a word")
    for cluster in (None, "prod"):
        for statement in statements(found, person.tenants, person, cluster):
            [(read_back,)] = await clickhouse.query(
                "SELECT formatQuerySingleLine({s:String})", {"s": statement}
            )
            assert read_back and ("ON CLUSTER" in read_back) == (cluster is not None)
            assert "a word" not in statement
    assert {"results", "usage", "audit", "bodies"} <= set(found.tables)
    assert not {"dead_letters", "config_versions", "sink_ledger", "schema_migrations"} & {
        *found.tables,
        *found.views,
    }


# -- on a cluster ----------------------------------------------------------------------------------------------

NAMES = {"database": "sluice", "analytics": "analytics"}


async def test_the_statements_for_a_cluster_are_what_the_engine_understands(clickhouse: ClickHouse) -> None:
    script = list(Cluster("prod-1", NAMES).script(migrations()))
    for statement in script:
        if statement.startswith("INSERT"):  # what follows VALUES is data to the parser
            continue
        [(read_back,)] = await clickhouse.query("SELECT formatQuerySingleLine({s:String})", {"s": statement})
        assert "ON CLUSTER `prod-1`" in read_back, statement
    text = ";\n".join(script)
    for name, table in TABLES.items():
        spread = f"sluice.{name}{LOCAL} ON CLUSTER" in text
        assert spread == ("tenant" in table.columns or "claimed_tenant" in table.columns), name
    assert f"sink_ledger{LOCAL}" not in text
    assert "ReplicatedMergeTree('/clickhouse/tables/sluice/sink_ledger', '{shard}-{replica}')" in text


async def test_the_tables_for_a_cluster_take_rows_once_on_one_shard(
    configured: Callable[..., Configured],
) -> None:
    """Without replicas, as the engine has no keeper: what is left of a cluster is its Distributed tables."""
    server = configured(main=ONE_SHARD)
    client = ClickHouse(Access(server.url))
    replicated = re.compile(r"Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?")
    for statement in Cluster("one", NAMES).script(migrations()):
        if not statement.startswith("CREATE SETTINGS PROFILE"):
            alone = replicated.sub(r"\1(", statement.replace(" ON CLUSTER 'one'", ""))
            alone = re.sub(r", replicated_deduplication_window_seconds = \d+", "", alone)
            await client.command(alone.replace(" replicated_dedup", " non_replicated_dedup"))
    store = ClickHouseStore(client)
    await store.verify()
    assert await Migrator(client).apply() == [], "by hand or by the sink, each is applied once"
    rows = [
        rows_of(events.usage(n), AT._replace(topic="llm.usage", partition=0, offset=n))[0][1]
        for n in range(5)
    ]
    lease = (await store.latest()).now + 60_000
    for _ in range(2):
        await store.insert("usage", rows, "a token", lease)
    assert len(await store.present("usage", [Range("llm.usage", 0, 0, 9)])) == 5
    for source in (f"sluice.usage{LOCAL}", "sluice.usage", "analytics.usage"):
        assert await client.query(f"SELECT count(), uniqExact(event_id) FROM {source}") == [(5, 5)], source
    with pytest.raises(LeaseOver):
        await store.insert("usage", rows, "another token", lease - 120_000)
    for view in (v.name for v in (await describe(client))[0]):
        await client.query(f"SELECT count() FROM (SELECT * FROM analytics.{view})")
    await client.close()

"""What the sink relies on in its store: the same contract for the simulated one and for ClickHouse."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sinks.clickhouse import Access, ClickHouse
from sinks.clickhouse_store import ClickHouseStore, SchemaDiffers
from sinks.ledger import START, Intent, NotNew, Range, State, Version
from sinks.metrics import NoMetrics
from sinks.migrate import MigrationFailed, Migrator
from sinks.patience import Patience
from sinks.queries import Migration, migrations
from sinks.register import Register
from sinks.rows import rows_of
from sinks.store import LeaseOver, Refused, Row, Store, Unavailable
from sinks.tables import TABLES
from tests.fakes import sink_events as events
from tests.fakes.sink_store import POISON, Contents, SinkStore
from tests.unit.sinks.test_rows import AT


def usage_rows(*offsets: int) -> list[Row]:
    return [
        rows_of(events.usage(n), AT._replace(topic="llm.usage", partition=0, offset=n))[0][1] for n in offsets
    ]


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    client = ClickHouse(Access(clickhouse_url, database=f"t_{uuid.uuid4().hex[:10]}"))
    yield client
    await client.command(f"DROP DATABASE IF EXISTS {client.access.database}")
    await client.close()


@pytest.fixture(params=["simulated", "clickhouse"])
async def store(request: pytest.FixtureRequest, clickhouse: ClickHouse) -> Store:
    client = clickhouse
    if request.param == "simulated":
        return SinkStore(Contents())
    await Migrator(client).apply()
    made = ClickHouseStore(client)
    await made.verify()
    # The simulated store refuses a row by its first value; so does this one now.
    await client.command(
        f"ALTER TABLE {client.access.database}.usage ADD CONSTRAINT no_poison CHECK event_id != '{POISON} usage'"
    )
    return made


async def lease(store: Store, seconds: int = 60) -> int:
    return (await store.latest()).now + seconds * 1000


def version(sequence: int, name: str) -> Version:
    state = State().intend(Intent(id=name, ranges=(Range("llm.usage", 0, 0, sequence),), mapping=1))
    return Version(sequence=sequence, id=name, worker="w", state=state, gaps=(Range("llm.usage", 1, 2, 3),))


async def test_a_token_is_applied_once_whatever_comes_under_it(store: Store) -> None:
    until = await lease(store)
    await store.insert("usage", usage_rows(1, 2), "a", until)
    await store.insert("usage", usage_rows(1, 2), "a", until)
    await store.insert("usage", usage_rows(5), "a", until)
    assert await store.present("usage", [Range("llm.usage", 0, 0, 9)]) == {
        ("llm.usage", 0, 1),
        ("llm.usage", 0, 2),
    }
    await store.insert("usage", usage_rows(5), "b", until)
    assert ("llm.usage", 0, 5) in await store.present("usage", [Range("llm.usage", 0, 5, 6)])


async def test_present_sees_exactly_its_ranges(store: Store) -> None:
    await store.insert("usage", usage_rows(*range(10)), "a", await lease(store))
    ranges = [Range("llm.usage", 0, 2, 4), Range("llm.usage", 0, 9, 12), Range("llm.usage", 1, 0, 99)]
    assert await store.present("usage", ranges) == {("llm.usage", 0, n) for n in (2, 3, 9)}
    assert await store.present("attempts", ranges) == set()


async def test_the_first_version_of_a_number_counts(store: Store) -> None:
    assert (await store.latest()).last is None
    until = await lease(store)
    await store.append(version(1, "first"), "ledger:1", until)
    await store.append(version(1, "second"), "ledger:1", until)
    await store.append(version(2, "third"), "ledger:2", until)
    await store.append(version(2, "late"), "another token", until)  # as if the first token had been forgotten
    wanted = [version(1, "first"), version(2, "third"), None]
    assert [await store.version(n) for n in (1, 2, 3)] == wanted
    assert (await store.latest()).last == version(2, "third")


async def test_what_comes_after_its_lease_is_not_applied(store: Store) -> None:
    over = await lease(store, seconds=-1)
    with pytest.raises(LeaseOver):
        await store.insert("usage", usage_rows(1), "a", over)
    with pytest.raises(LeaseOver):
        await store.append(version(1, "x"), "ledger:1", over)
    assert await store.present("usage", [Range("llm.usage", 0, 0, 9)]) == set()
    assert (await store.latest()).last is None


async def test_a_refused_block_leaves_nothing_and_a_probe_keeps_nothing(store: Store) -> None:
    until = await lease(store)
    good: Sequence[Row] = usage_rows(1, 2)
    bad = [(f"{POISON} usage", *usage_rows(3)[0][1:])]
    with pytest.raises(Refused):
        await store.insert("usage", [*good, *bad], "a", until)
    with pytest.raises(Refused):
        await probe(store, [*good, *bad])
    await probe(store, good)
    assert await store.present("usage", [Range("llm.usage", 0, 0, 9)]) == set()
    await store.insert("usage", good, "a", until)
    assert len(await store.present("usage", [Range("llm.usage", 0, 0, 9)])) == 2


async def probe(store: Store, *parts: Sequence[Row]) -> None:
    async with store.probing("usage") as each:
        for part in parts:
            await each(part)


async def test_a_table_that_takes_what_it_has_taken_has_no_fault_though_it_refuses_rows(store: Store) -> None:
    assert await store.fault("usage") is None  # it is empty
    await store.insert("usage", usage_rows(1, 2), "a", await lease(store))
    with pytest.raises(Refused):
        await store.insert("usage", [(f"{POISON} usage", *usage_rows(3)[0][1:])], "b", await lease(store))
    assert await store.fault("usage") is None


@pytest.mark.parametrize("rows", [0, 2])
async def test_a_table_that_refuses_what_it_has_taken_or_has_other_columns_is_at_fault(
    clickhouse: ClickHouse, rows: int
) -> None:
    await Migrator(clickhouse).apply()
    store, usage = ClickHouseStore(clickhouse), f"{clickhouse.access.database}.usage"
    if rows:
        await store.insert("usage", usage_rows(*range(rows)), "a", await lease(store))
    await clickhouse.command(f"ALTER TABLE {usage} ADD CONSTRAINT nothing CHECK attempt > 9")
    fault = await store.fault("usage")
    assert fault is not None and "VIOLATED_CONSTRAINT" in fault
    await clickhouse.command(f"ALTER TABLE {usage} DROP CONSTRAINT nothing")
    assert await store.fault("usage") is None
    await clickhouse.command(f"ALTER TABLE {usage} MODIFY COLUMN kafka_partition Int64")
    fault = await store.fault("usage")
    assert fault is not None and "usage.kafka_partition is Int64" in fault


async def test_probes_use_one_table_and_make_it_anew_where_it_is_gone(
    clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Migrator(clickhouse).apply()
    store, made = ClickHouseStore(clickhouse), []
    command = clickhouse.command

    async def counted(sql: str, *rest: Any) -> None:
        made.extend(re.findall(r"^CREATE TABLE IF NOT EXISTS (\S+)", sql))
        await command(sql, *rest)

    monkeypatch.setattr(clickhouse, "command", counted)
    await probe(store, *[usage_rows(n) for n in range(5)])
    assert len(made) == 1
    async with store.probing("usage") as each:
        await each(usage_rows(1))
        await command(f"DROP TABLE {made[-1]}")
        with pytest.raises(Unavailable):
            await each(usage_rows(2))
        await each(usage_rows(2))
    left = await clickhouse.query(f"SHOW TABLES FROM {clickhouse.access.database} LIKE 'probe%'")
    assert left == []


async def test_a_block_may_be_of_any_number_of_months(clickhouse: ClickHouse) -> None:
    await Migrator(clickhouse).apply()
    store, column = ClickHouseStore(clickhouse), TABLES["usage"].columns.index("recorded_at")
    rows = [
        (*row[:column], events.T0 + n * 32 * 86_400_000, *row[column + 1 :])
        for n, row in enumerate(usage_rows(*range(150)))
    ]
    await store.insert("usage", rows, "a", await lease(store))
    assert len(await store.present("usage", [Range("llm.usage", 0, 0, 150)])) == 150


async def test_writers_advance_the_ledger_one_at_a_time_and_none_is_lost(store: Store) -> None:
    registers = [Register(store, Patience(NoMetrics()), f"w{n}", time.monotonic) for n in range(4)]

    async def advance(number: int, register: Register) -> None:
        for turn in range(10):
            made = Intent(id=f"{number}-{turn}", ranges=(Range("t", number, turn, turn + 1),), mapping=1)
            await register.advance(lambda state, made=made: state.finish("none").intend(made))  # type: ignore[misc]
            await register.advance(lambda state, made=made: state.finish(made.id))  # type: ignore[misc]

    await asyncio.gather(*(advance(n, r) for n, r in enumerate(registers)))
    versions = [await store.version(n) for n in range(1, 82)]
    assert [v and v.sequence for v in versions] == [*range(1, 81), None]
    last = (await store.latest()).last
    assert last is not None and last == versions[-2]
    assert last.state == State(tips=tuple(Range("t", n, 9, 10) for n in range(4)))
    stale = Register(store, Patience(NoMetrics()), "stale", time.monotonic)
    assert stale.version == START
    with pytest.raises(NotNew):
        await stale.advance(
            lambda state: state.intend(Intent(id="x", ranges=(Range("t", 0, 5, 11),), mapping=1))
        )


async def test_a_row_tells_when_it_came_in(clickhouse: ClickHouse) -> None:
    await Migrator(clickhouse).apply()
    store = ClickHouseStore(clickhouse)
    await store.insert("usage", usage_rows(1, 2), "a", await lease(store))
    recent = "inserted_at BETWEEN now64(3) - toIntervalMinute(1) AND now64(3)"
    found = await clickhouse.query(f"SELECT count() FROM {clickhouse.access.database}.usage WHERE {recent}")
    assert [tuple(row) for row in found] == [(2,)]


async def test_old_versions_are_dropped_and_the_last_ones_stay(clickhouse: ClickHouse) -> None:
    await Migrator(clickhouse).apply()
    store = ClickHouseStore(clickhouse)
    for sequence in range(50_001, 700_000, 100_000):
        await store.append(version(sequence, str(sequence)), f"ledger:{sequence}", await lease(store))
    await store.append(version(700_000, "round"), "ledger:700000", await lease(store))
    written = [*range(50_001, 700_000, 100_000), 700_000]
    assert [n for n in written if await store.version(n)] == [550_001, 650_001, 700_000]


async def test_several_runners_migrate_once(clickhouse: ClickHouse) -> None:
    clients = [ClickHouse(clickhouse.access) for _ in range(4)]
    applied = await asyncio.gather(*(Migrator(client).apply() for client in clients))
    assert sorted(name for names in applied for name in names) == [m.name for m in migrations()]
    assert {s.state for s in await Migrator(clickhouse).status()} == {"applied"}
    for client in clients:
        await client.close()


async def test_a_migration_that_failed_or_whose_runner_died_is_taken_again(clickhouse: ClickHouse) -> None:
    first = Migration(
        1, "0001_a.sql", "c1", ("CREATE TABLE IF NOT EXISTS {database}.a (x Int8) ENGINE = Log",)
    )
    broken = Migration(2, "0002_b.sql", "c2", ("CREATE TABLE {database}.b (x Nonsense) ENGINE = Log",))
    mended = Migration(2, "0002_b.sql", "c2", ("CREATE TABLE {database}.b (x Int8) ENGINE = Log",))
    with pytest.raises(Exception, match="Nonsense"):
        await Migrator(clickhouse, [first, broken]).apply()
    assert [s.state for s in await Migrator(clickhouse, [first, broken]).status()] == ["applied", "failed"]
    dying = Migrator(clickhouse, [first, mended])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dying, "_run", lambda *_: asyncio.Event().wait())  # between taking it and its end
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(dying.apply(), 2)
    assert [s.state for s in await Migrator(clickhouse, [first, mended]).status()] == ["applied", "running"]
    told: list[str] = []
    taken = Migrator(clickhouse, [first, mended], stuck_ms=3_000, tell=told.append)
    assert await taken.apply() == ["0002_b.sql"]
    assert "under way by another runner" in told[0] and told[1:] == ["0002_b.sql applied"]


async def test_a_newer_database_is_left_alone_unless_it_lacks_what_is_ours(clickhouse: ClickHouse) -> None:
    ours = Migration(1, "0001_a.sql", "c1", ("SELECT 1",))
    newer = Migration(2, "0002_b.sql", "c2", ("SELECT 1",))
    another = Migration(3, "0003_c.sql", "c3", ("SELECT 1",))
    await Migrator(clickhouse, [ours, newer]).apply()
    told: list[str] = []
    assert await Migrator(clickhouse, [ours], tell=told.append).apply() == []
    assert "newer than this version: 0002_b.sql" in told[0]
    assert [s.state for s in await Migrator(clickhouse, [ours]).status()] == ["applied", "newer"]
    with pytest.raises(MigrationFailed, match=r"has 0002_b.sql.*lacks 0003_c.sql"):
        await Migrator(clickhouse, [ours, another]).apply()


async def test_an_applied_migration_that_changed_is_refused(clickhouse: ClickHouse) -> None:
    await Migrator(clickhouse).apply()
    changed = [Migration(m.version, m.name, "other", m.statements) for m in migrations()]
    with pytest.raises(MigrationFailed, match=r"0001_tables.sql was changed"):
        await Migrator(clickhouse, changed).apply()
    assert {s.state for s in await Migrator(clickhouse, changed).status()} == {"changed"}


async def test_tables_that_differ_are_named(clickhouse: ClickHouse) -> None:
    await Migrator(clickhouse).apply()
    await clickhouse.command(f"ALTER TABLE {clickhouse.access.database}.usage DROP COLUMN workflow_id")
    await clickhouse.command(f"ALTER TABLE {clickhouse.access.database}.usage MODIFY COLUMN kafka_partition Int64")
    with pytest.raises(
        SchemaDiffers, match=r"usage.workflow_id is missing, not String; usage.kafka_partition is Int64, not Int32"
    ):
        await ClickHouseStore(clickhouse).verify()


async def test_every_table_and_column_is_documented_in_clickhouse(clickhouse: ClickHouse) -> None:
    await Migrator(clickhouse).apply()
    database = clickhouse.access.database
    bare = await clickhouse.query(
        "SELECT table || '.' || name FROM system.columns WHERE database = {d:String} AND comment = '' "
        "UNION ALL SELECT name FROM system.tables WHERE database = {d:String} AND comment = ''",
        {"d": database},
    )
    assert bare == []

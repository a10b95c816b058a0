"""Reconciliations on real Kafka and a real ClickHouse engine: every gap is found where it is, and mended once."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from schemas import names
from sinks.clickhouse import ClickHouse
from sinks.metrics import NoMetrics
from sinks.migrate import Migrator
from sinks.patience import Patience
from sinks.reconcile.accounts import FOR_EVER_MS, Period, Terms, check
from sinks.reconcile.stored import Database
from sinks.rows import EVENT_OF_TOPIC, rows_of
from sinks.tables import TABLES
from streams import metrics
from streams.services import reconcile
from streams.services.reconcile import Schedule
from tests.conftest import Admin
from tests.fakes import sink_events as events
from tests.fakes.sink_topics import Record
from tests.integration.reconcile_harness import places, run, settled, setup_of
from tests.integration.sink_harness import PARTITIONS, Harness, until_async

pytestmark = pytest.mark.asyncio(loop_scope="module")

Event = tuple[str, msgspec.Struct | bytes]


def requests(first: int, count: int) -> list[Event]:
    """The events of whole requests: seven of each."""
    made: list[Event] = []
    for n in range(first, first + count):
        made += [
            (names.AUDIT, events.audit(n)),
            (names.AUDIT, events.audit(n, "finalised")),
            (names.ATTEMPTS, events.attempt(n)),
            (names.ATTEMPTS, events.attempt(n, "done")),
            (names.USAGE, events.usage(n)),
            (names.RESULTS, events.result(n)),
            (names.RESULTS, events.result(n, "duplicate")),
        ]
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink(
    kafka_brokers: str, clickhouse_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Harness]:
    """Topics with transactions, aborted ones and a record that nobody can read, all landed; no worker runs."""
    harness = Harness(
        kafka_brokers, clickhouse_url, f"t{uuid.uuid4().hex[:10]}.", tmp_path_factory.mktemp("sink")
    )
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_brokers)
    await client.start()
    topics = [harness.prefix + t for t in EVENT_OF_TOPIC]
    unused = [harness.prefix + t for t in (names.FEEDBACK, names.CONFIG)]
    await Admin(client).create(*unused)
    await Admin(client).create(*[t for t in topics if t not in unused], partitions=PARTITIONS)
    try:
        worker = harness.start()
        await harness.publish([*requests(0, 40), (names.RESULTS, b"garbage")], transactions=20)
        await harness.settle(40 * 7 + 1)
        await settled(harness)
        worker.terminate()
        worker.wait()
        yield harness
    finally:
        await client.close()
        await harness.close()


async def lies(sink: Harness, table: str, number: int) -> tuple[int, int]:
    """Partition and offset of the row of `table` about a request."""
    sql = f"SELECT kafka_partition, kafka_offset FROM {sink.access.database}.{table} WHERE request_id = {{id:String}}"
    partition, offset = (await sink.clickhouse.query(sql, {"id": f"request-{number}"}))[0]
    return partition, offset


async def delete(sink: Harness, table: str, at: tuple[int, int]) -> None:
    where = f"kafka_partition = {at[0]} AND kafka_offset = {at[1]}"
    await sink.clickhouse.command(
        f"ALTER TABLE {sink.access.database}.{table} DELETE WHERE {where} SETTINGS mutations_sync = 2"
    )


async def double(sink: Harness, table: str, at: tuple[int, int]) -> None:
    target = f"{sink.access.database}.{table}"
    where = f"kafka_partition = {at[0]} AND kafka_offset = {at[1]}"
    await sink.clickhouse.command(f"INSERT INTO {target} SELECT * FROM {target} WHERE {where}")


async def content(sink: Harness) -> dict[str, list[Sequence[Any]]]:
    """All rows of all tables, without when they came in."""
    found = {}
    for table in TABLES:
        sql = f"SELECT * EXCEPT (inserted_at) FROM {sink.access.database}.{table} ORDER BY ALL"
        found[table] = await sink.clickhouse.query(sql)
    return found


async def test_nothing_is_wrong_where_all_has_landed(sink: Harness) -> None:
    report = await run(sink)
    assert (report.gaps, report.findings) == (0, [])
    assert report.records == 40 * 7 + 2  # the dead letter of the garbage, too
    assert (report.accounts.requests, report.accounts.attempts) == (40, 40)
    assert sum(each.explained.get("dead letter", 0) for each in report.checked) == 1
    assert not any(each.waiting for each in report.checked)


async def test_one_row_deleted_and_another_doubled_are_found_though_the_counts_agree(sink: Harness) -> None:
    before = await content(sink)
    lost, doubled = await lies(sink, "usage", 5), await lies(sink, "usage", 9)
    await delete(sink, "usage", lost)
    await double(sink, "usage", doubled)
    assert len((await content(sink))["usage"]) == len(before["usage"])
    report = await run(sink)
    wrong = {("missing", "usage", *lost), ("duplicated", "usage", *doubled)}
    assert places(report.findings) - {("no_usage", "", 0, -1)} == wrong
    assert report.gaps == 3  # the attempt without usage is told, too

    mended = await run(sink, repair=True)
    assert mended.gaps == 0 and all(f.mended for f in mended.findings)
    assert places(mended.findings) == wrong
    assert await content(sink) == before


async def stray(sink: Harness) -> tuple[int, int]:
    """A row of usage at an offset that holds a marker, or a record of an aborted transaction."""
    table, partition = f"{sink.access.database}.usage", 1
    taken = {o for _, p, o in await sink.in_clickhouse("usage") if p == partition}
    hole = min(set(range(max(taken))) - taken)
    await sink.clickhouse.command(
        f"INSERT INTO {table} SELECT * REPLACE ({hole} AS kafka_offset, 'x' AS event_id) FROM {table} "
        f"WHERE kafka_partition = {partition} LIMIT 1"
    )
    return partition, hole


async def test_what_any_table_lacks_is_found_and_comes_back_as_it_was(sink: Harness) -> None:
    before = await content(sink)
    lost = {
        table: await lies(sink, table, n) for n, table in enumerate(("bodies", "results", "requests"), 11)
    }
    lost["decisions"] = lost["audit"] = await lies(sink, "requests", 17)
    columns = "kafka_partition, kafka_offset, source_partition, source_offset"
    letters = await sink.clickhouse.query(f"SELECT {columns} FROM {sink.access.database}.dead_letters")
    lost["dead_letters"] = letters[0][0], letters[0][1]
    for table, at in lost.items():
        await delete(sink, table, at)
    surplus = await stray(sink)
    missing = {("missing", table, *at) for table, at in lost.items()}
    alone = {("stray", "usage", *surplus)}
    consequences = {("no_letter", "", *letters[0][2:])}
    assert places((await run(sink)).findings) == missing | alone | consequences
    mended = await run(sink, repair=True)
    assert places(mended.findings) == missing | alone
    # A row that nobody can account for isn't deleted by itself.
    assert {f.kind for f in mended.findings if not f.mended} == {"stray"} and mended.gaps == 1
    await delete(sink, "usage", surplus)
    assert await content(sink) == before


async def test_what_differs_is_recorded_and_the_next_run_looks_there_again_and_at_what_is_new(
    sink: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_SHARE", 1.0)  # nothing else is at work here
    lost = await lies(sink, "usage", 7)
    await delete(sink, "usage", lost)
    told = await run(sink)
    rows = await sink.clickhouse.query(
        f"SELECT kind, table, partition, position_from, count FROM {sink.access.analytics}.reconciliations "
        f"WHERE run = '{told.run}' AND event = 'finding' AND table != ''"
    )
    assert rows == [("missing", "usage", *lost, 1)]
    schedule = Schedule(setup_of(sink, worker="one"), 0.001, 300, Terms)
    other = Schedule(setup_of(sink, worker="other"), 0.001, 300, Terms)
    reports = await asyncio.gather(schedule.look(), other.look())
    # Both find a run due; whether one claims two or each claims one, no number is run twice.
    runs = [r for r in reports if r is not None]
    assert runs and all(r.scope == "new" and r.gaps == 1 for r in runs)
    usage = next(c for c in runs[0].checked if c.at == (f"{sink.prefix}{names.USAGE}", lost[0]))
    assert usage.records > 0 and sum(c.records for c in runs[0].checked) == usage.records
    claims = await sink.clickhouse.query(
        f"SELECT number, count() FROM {sink.access.database}.reconciliations WHERE event = 'claimed' GROUP BY number"
    )
    assert [count for _, count in claims] == [1] * len(runs)
    await schedule.tell()
    assert metrics.RECONCILE_GAPS.labels("missing")._value.get() == 1
    assert (await run(sink, repair=True)).gaps == 0
    for _ in range(2):  # where a run finds nothing new, the next one knows still how far it was
        assert (await schedule.look()).records == 0  # type: ignore[union-attr]
    assert metrics.RECONCILE_GAPS.labels("any")._value.get() == 0


async def scheduled(sink: Harness) -> list[int]:
    """The gaps of each run that a sink worker has made by itself."""
    sql = (
        f"SELECT gaps FROM {sink.access.database}.reconciliations "
        "WHERE event = 'finished' AND worker NOT IN ('test', 'one', 'other')"
    )
    return [gaps for (gaps,) in await sink.clickhouse.query(sql)]


async def test_a_sink_at_work_causes_no_alarm_and_one_that_stands_still_does(
    sink: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sink.publish(requests(100, 30), transactions=15)
    waiting = await run(sink)
    assert waiting.gaps == 0 and sum(c.waiting for c in waiting.checked) >= 30 * 7
    late = await run(sink, fresh_ms=0)
    assert {f.kind for f in late.findings} == {"late"} and late.gaps >= 30 * 7

    monkeypatch.setenv("SLUICE_RECONCILE_EVERY_S", "1")  # the worker compares by itself, too
    worker, enough = sink.start(), asyncio.Event()

    async def publish() -> int:
        published = 0
        while not enough.is_set():
            await sink.publish(requests(200 + published, 10), transactions=10)
            published += 10
        return published

    publishing = asyncio.create_task(publish())
    reports = [await run(sink) for _ in range(3)]
    for _ in range(20):  # until the sink, which may be slow here, has gone on meanwhile
        if reports[0].records < reports[-1].records:
            break
        reports.append(await run(sink))

    async def compared() -> bool:
        return bool(await scheduled(sink))

    await until_async(compared, 60, "a run on schedule")
    enough.set()
    published = await publishing
    assert all(not report.findings for report in reports) and set(await scheduled(sink)) == {0}
    assert reports[0].records < reports[-1].records
    await settled(sink)
    worker.terminate()
    worker.wait()
    assert (await run(sink)).records == (70 + published) * 7 + 2


async def test_what_kafka_has_deleted_is_compared_with_what_was_there(
    sink: Harness, kafka_brokers: str
) -> None:
    topic = f"{sink.prefix}{names.USAGE}"
    assert (await run(sink)).gaps == 0
    at = await lies(sink, "usage", 3)
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_brokers)
    await client.start()
    await client.delete_records({TopicPartition(topic, at[0]): RecordsToDelete(before_offset=at[1] + 1)})
    await client.close()
    kept = await run(sink)
    mine = next(c for c in kept.checked if c.at == (topic, at[0]))
    assert (kept.gaps, mine.deleted, mine.sealed) == (0, at[1] + 1, at[1] + 1)
    await delete(sink, "usage", at)
    report = await run(sink, repair=True)
    [changed] = [f for f in report.findings if f.kind == "changed"]
    assert (changed.table, changed.topic, changed.partition, changed.count) == ("usage", topic, at[0], 1)
    assert changed.first <= at[1] <= changed.last and not changed.mended
    assert report.gaps == 2  # with the attempt that has no usage now


async def accounts_of(clickhouse: ClickHouse, since: int = 0) -> set[tuple[str, str, str]]:
    """Kind, request and subject of what doesn't add up among the requests since a time."""
    database = Database(clickhouse, Patience(NoMetrics()))
    found = await check(database, Period(since, FOR_EVER_MS, FOR_EVER_MS, since), Terms())
    assert found.requests and found.attempts
    return {(f.kind.value, f.request_id, f.subject) for f in found.findings}


async def insert(clickhouse: ClickHouse, told: Sequence[msgspec.Struct]) -> None:
    """Insert the rows of events as if they lay on one partition of their topics."""
    rows: dict[str, list[Any]] = {}
    topics = {kind: topic for topic, kind in EVENT_OF_TOPIC.items()}
    for offset, event in enumerate(told):
        for table, row in rows_of(event, Record(topics[type(event)], 0, offset, timestamp=events.T0)):
            rows.setdefault(table, []).append(row)
    for table, some in rows.items():
        await clickhouse.insert(TABLES[table], some, uuid.uuid4().hex, FOR_EVER_MS)


def whole(n: int, *but: str) -> list[msgspec.Struct]:
    """The events of a request, `but` some: accepted, started, done, usage, result."""
    made = {
        "accepted": events.audit(n),
        "started": events.attempt(n),
        "done": events.attempt(n, "done"),
        "usage": events.usage(n),
        "result": events.result(n),
    }
    return [event for name, event in made.items() if name not in but]


async def test_what_does_not_add_up_is_told_by_request_and_attempt(sink: Harness) -> None:
    change = msgspec.structs.replace
    told = [
        *whole(0),
        *whole(1, "result"),
        *whole(2),
        change(events.result(2), event_id="result-2-again"),
        *whole(3),
        change(events.audit(3), event_id="audit-3-again"),
        *whole(4, "accepted"),
        *whole(5, "done"),
        *whole(6, "usage"),
        *whole(7, "started", "done"),
        *whole(8),
        events.usage(8),
        *whole(9, "result"),
        change(events.result(9), attempts=2),
        # An attempt that another worker took over before its call, and one that was never called.
        *whole(10, "started"),
        change(events.attempt(10), worker="call-2"),
        change(events.attempt(10, "abandoned"), worker="call-2"),
        *whole(11, "started", "done", "usage"),
        change(events.usage(11), tries=0, status="expired"),
        # Settled long before its journal says so.
        *whole(12, "done"),
        change(events.attempt(12, "done"), at=events.T0 + 3_600_000),
    ]
    clickhouse = ClickHouse(replace(sink.access, database=f"t_{uuid.uuid4().hex[:8]}"))
    try:
        await Migrator(clickhouse).apply()
        await insert(clickhouse, told)
        assert await accounts_of(clickhouse) == {
            ("no_result", "request-1", ""),
            ("two_results", "request-2", ""),
            ("accepted_twice", "request-3", ""),
            ("not_accepted", "request-4", ""),
            ("no_end", "request-5", "attempt-5"),
            ("no_usage", "request-6", "attempt-6"),
            ("no_attempt", "request-7", "attempt-7"),
            ("event_twice", "request-8", "usage-8"),
            ("no_usage", "request-9", ""),
        }
        # Of a later period only that is judged, and what belongs to it is found though it lies before.
        await insert(
            clickhouse, [*whole(1_000, "usage"), change(events.attempt(12, "done"), at=events.T0 + 1_100)]
        )
        later = await accounts_of(clickhouse, since=events.T0 + 1_000)
        assert later == {("no_usage", "request-1000", "attempt-1000")}
    finally:
        for database in (clickhouse.access.database, clickhouse.access.analytics):
            await clickhouse.command(f"DROP DATABASE IF EXISTS {database}")
        await clickhouse.close()

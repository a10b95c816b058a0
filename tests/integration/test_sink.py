"""The sink on real Kafka and a real ClickHouse engine: every committed record has one row, whatever happens."""

import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import TopicAlreadyExistsError

from schemas import names
from sinks.reconcile.findings import Kind
from streams.cli.sink_health import sink_health
from streams.local.ports import choose as choose_port
from tests.conftest import Admin
from tests.fakes import sink_events as events
from tests.integration.reconcile_harness import run
from tests.integration.sink_harness import PARTITIONS, TABLES_OF_TOPIC, Harness, until, until_async

Event = tuple[str, msgspec.Struct | bytes]


@pytest.fixture
async def sink(
    admin: Admin, kafka_brokers: str, clickhouse_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Harness]:
    harness = Harness(kafka_brokers, clickhouse_url, topic_prefix, tmp_path)
    await admin.create(*[topic_prefix + t for t in TABLES_OF_TOPIC], partitions=PARTITIONS)
    yield harness
    await harness.close()


def mixed(count: int, first: int = 0) -> list[Event]:
    """`count` requests' events: five of each, on all topics but that of dead letters."""
    made: list[Event] = []
    for n in range(first, first + count):
        made += [
            (names.AUDIT, events.audit(n)),
            (names.ATTEMPTS, events.attempt(n)),
            (names.ATTEMPTS, events.attempt(n, "done")),
            (names.USAGE, events.usage(n)),
            (names.RESULTS, events.result(n)),
        ]
    return made


async def test_every_kind_of_event_lands_with_its_values(sink: Harness) -> None:
    await sink.publish(
        [
            *mixed(40),
            (names.RESULTS, events.result(1, "duplicate")),
            (names.AUDIT, events.audit(1, "finalised")),
            (names.DEAD_LETTERS, events.dead_letter(1)),
            (names.FEEDBACK, events.feedback(1)),
            (
                names.CONFIG,
                (b"c0ffee", b'{"providers": {"a": {"api_key": "env:A", "headers": {"X": "hunter2"}}}}'),
            ),
            (names.CONFIG, (b"active", b"c0ffee")),
        ],
        transactions=25,
    )
    sink.start()
    await sink.settle(206)
    assert await sink.check() == 206
    assert await sink.scalar("SELECT count() FROM {db}.results") == 40
    assert await sink.scalar("SELECT count() FROM {db}.requests") == 40
    assert await sink.scalar("SELECT count() FROM {db}.audit") == 41
    assert await sink.scalar("SELECT uniqExact(request_id) FROM {db}.decisions WHERE model = 'small'") == 40
    assert await sink.scalar("SELECT (score, comment) FROM {db}.feedback") == (0.5, "Très bien 1")
    events_of_config = await sink.clickhouse.query(
        f"SELECT event, config_version, content FROM {sink.access.database}.config_versions ORDER BY event"
    )
    hidden = '{"providers":{"a":{"api_key":"env:A","headers":{"X":"***"}}}}'
    assert events_of_config == [("activated", "c0ffee", ""), ("published", "c0ffee", hidden)]
    assert await sink.scalar("SELECT text FROM {db}.bodies WHERE request_id = 'request-7'") == (
        "Answer 7: здравствуйте, 你好, 🙂"
    )
    row = await sink.clickhouse.query(
        "SELECT tenant, toString(accepted_at), input_uncached_tokens, cache_read_tokens, toString(cost), "
        f"metadata['order'], tokens_estimated FROM {sink.access.database}.usage WHERE request_id = 'request-8'"
    )
    assert row == [("tenant-1", "2025-10-09 08:53:20.008", 108, None, "0.000123", "8", False)]
    row = await sink.clickhouse.query(
        "SELECT candidates, source_partition, source_offset, toString(worst_case_cost), input_tokens_estimate "
        f"FROM {sink.access.database}.requests WHERE request_id = 'request-9'"
    )
    assert row == [(["small", "large"], 3, 9, "0.01", 100)]
    assert (
        await sink.scalar("SELECT hex(value) FROM {db}.dead_letters")
        == b"\x00\xff\xfe not utf-8".hex().upper()
    )


async def test_a_quiet_topic_is_fresh_within_a_second(sink: Harness) -> None:
    sink.start()
    await sink.publish(mixed(1))
    await sink.settle(5)
    for n in range(1, 4):
        await sink.publish(mixed(1, first=n))
        await sink.settle((n + 1) * 5)
    late = await sink.scalar(
        "SELECT max(toUnixTimestamp64Milli(inserted_at) - toUnixTimestamp64Milli(kafka_timestamp)) "
        "FROM {db}.usage WHERE request_id != 'request-0'"
    )
    assert late <= 1_500
    assert await sink.check() == 20


async def test_undecodable_records_and_refused_rows_become_dead_letters_alone(sink: Harness) -> None:
    sink.start()
    await sink.publish(mixed(10))
    await sink.settle(50)
    await sink.clickhouse.command(
        f"ALTER TABLE {sink.access.database}.usage ADD CONSTRAINT no_seven "
        "CHECK request_id NOT LIKE 'request-7_'"  # ten, several of them in one partition
    )
    await sink.publish([*mixed(100, first=10), (names.USAGE, b"garbage"), (names.RESULTS, b"{}")])
    await sink.settle(50 + 500 - 10 + 12)
    letters = await sink.clickhouse.query(
        f"SELECT id, kind, stage, reason, message FROM {sink.access.database}.dead_letters ORDER BY kind, id"
    )
    assert [(kind, stage, reason) for _, kind, stage, reason, _ in letters] == [
        *[("poison", "sink", "refused")] * 10,
        *[("undecodable", "sink", "undecodable")] * 2,
    ]
    assert all("no_seven" in letter[4] for letter in letters[:10])
    buried = {letter[0] for letter in letters}
    await sink.check(missing=lambda at: "{}-{}-{}".format(*at) in buried)
    probes = (
        "SELECT count() FROM system.tables WHERE database = '"
        + sink.access.database
        + "' AND name LIKE 'probe%'"
    )
    assert await sink.scalar(probes) == 0


async def test_two_workers_share_and_stop_in_order(sink: Harness) -> None:
    first, second = sink.start(), sink.start()
    await sink.publish(mixed(300), transactions=40)
    await sink.settle(1500)
    first.terminate()
    await until(lambda: first.poll() is not None, 20, "the first worker ends")
    await sink.publish(mixed(300, first=300), transactions=40)
    await sink.settle(3000)
    second.terminate()
    await until(lambda: second.poll() is not None, 20, "the second worker ends")
    assert (first.returncode, second.returncode) == (0, 0)
    assert await sink.check() == 3000


async def test_a_stopped_worker_that_wakes_up_does_no_harm(sink: Harness) -> None:
    """Stopped right after it recorded an intent, for longer than its session: another one finishes it."""
    zombie = sink.start("sink.after_intent:2:stop")
    stopped = psutil.Process(zombie.pid)
    more = 0
    deadline = time.monotonic() + 120
    while stopped.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, "the worker doesn't come to its second intent"
        await sink.publish(mixed(5, first=more))
        more += 5
    sink.start()
    await sink.publish(mixed(50, first=more))
    more += 50
    await sink.settle(more * 5)
    os.kill(zombie.pid, signal.SIGCONT)
    for _ in range(4):
        await sink.publish(mixed(20, first=more))
        more += 20
        await sink.settle(more * 5)
    assert zombie.poll() is None
    assert await sink.check() == more * 5


async def test_what_kafka_deleted_unread_is_a_gap_and_the_rest_lands(sink: Harness, admin: Admin) -> None:
    worker = sink.start()
    await sink.publish(mixed(30))
    await sink.settle(150)
    worker.terminate()
    await until(lambda: worker.poll() is not None, 20, "the worker ends")
    await sink.publish(mixed(30, first=30))
    usage = TopicPartition(sink.prefix + names.USAGE, 0)
    landed = await sink.scalar(
        f"SELECT count() FROM {{db}}.usage WHERE kafka_partition = 0 AND kafka_topic = '{usage.topic}'"
    )
    await admin.client.delete_records({usage: RecordsToDelete(landed + 4)})
    sink.start()
    await sink.settle(300 - 4)
    gaps = await sink.clickhouse.query(
        f"SELECT gaps FROM {sink.access.database}.sink_ledger WHERE gaps != '[]'"
    )
    assert [msgspec.json.decode(row[0]) for row in gaps] == [[[usage.topic, 0, landed, landed + 4]]]
    assert await sink.check(still_there=False) == 300 - 4


async def test_a_topic_made_anew_is_left_alone_and_told_and_the_others_are_written(
    sink: Harness, admin: Admin
) -> None:
    worker = sink.start()
    await sink.publish(mixed(30))
    await sink.settle(150)
    worker.terminate()
    await until(lambda: worker.poll() is not None, 20, "the worker ends")
    topic = sink.prefix + names.USAGE
    await admin.client.delete_topics([topic])
    await until_async(lambda: _made(admin, topic), 30, "the topic is made anew")
    port = choose_port()
    worker = sink.start(SLUICE_WEB_PORT=str(port))
    await sink.publish(mixed(10, first=30))
    await sink.settle(150 + 40)
    assert (await sink_health(port)).recreated == (topic,)
    assert worker.poll() is None and "the topic was made anew" in (sink.logs / "worker-1.log").read_text()
    report = await run(sink)
    recreated = {(f.topic, f.partition) for f in report.findings if f.kind is Kind.RECREATED}
    assert recreated == {(topic, n) for n in range(PARTITIONS)}


async def _made(admin: Admin, topic: str) -> bool:
    try:
        await admin.create(topic, partitions=PARTITIONS)
    except TopicAlreadyExistsError:  # its deletion takes a moment
        return False
    return True

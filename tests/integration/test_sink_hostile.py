"""What nobody should send, sent to the sink: it lands as it is or as a dead letter, and stops nobody."""

import copy
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from schemas import definitions, ids, names
from schemas.records import Header, UsageEvent
from streams.local.part import base_url
from streams.local.ports import choose as choose_port
from tests.conftest import Admin
from tests.fakes import sink_events as events
from tests.integration.sink_harness import PARTITIONS, TABLES_OF_TOPIC, Harness
from tests.integration.test_sink import mixed

TEXTS = [
    "'; DROP TABLE usage; --",
    "`); DROP DATABASE sluice; SELECT ('",
    "{database}.{table} {x:String} %s %(a)s ${HOME} $$",
    "\x00\x01\t\r\n\\N \\0 \\' \x1b[31m",
    "😀 🏳️‍🌈 \u202e\ufeff\u2028",
    "",
    " ",
    "é" * 150_000,
]
_MOST_BYTES = 6 << 20


@pytest.fixture
async def sink(
    admin: Admin, kafka_brokers: str, clickhouse_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Harness]:
    harness = Harness(kafka_brokers, clickhouse_url, topic_prefix, tmp_path)
    topics = [topic_prefix + t for t in TABLES_OF_TOPIC]
    await admin.create(*topics, partitions=PARTITIONS, max_message_bytes=_MOST_BYTES)
    yield harness
    await harness.close()


@pytest.fixture
async def out(sink: Harness) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=sink.brokers, max_request_size=_MOST_BYTES)
    await producer.start()
    yield producer
    await producer.stop()


def named(text: str, number: int) -> list[tuple[str, msgspec.Struct]]:
    """Events that carry `text` wherever a caller or a provider may have chosen it."""
    usage, result, audit = events.usage(number), events.result(number), events.audit(number)
    attempt, letter, feedback = events.attempt(number), events.dead_letter(number), events.feedback(number)
    chosen: dict[str, Any] = {"tenant": text, "user": text, "session_id": text, "metadata": {text: text}}
    for event in (usage, result, audit):
        for name, value in chosen.items():
            setattr(event, name, value)
    usage.model = usage.status = result.model = result.status = audit.action = (
        text  # words of a newer version
    )
    usage.usage.raw = result.text = result.error_message = audit.details = attempt.worker = text
    result.tags, attempt.tenant, letter.message, letter.claimed_tenant = [text, ""], text, text, text
    letter.headers = [Header(key=text, value=b"\xff\x00")]
    feedback.tenant, feedback.comment = text or "a tenant", text
    feedback.score = [math.nan, math.inf, -math.inf, 1e308][number % 4]
    topics = [names.USAGE, names.RESULTS, names.AUDIT, names.ATTEMPTS, names.DEAD_LETTERS, names.FEEDBACK]
    return list(zip(topics, (usage, result, audit, attempt, letter, feedback), strict=True))


async def test_whatever_a_caller_writes_lands_as_it_is(sink: Harness, out: AIOKafkaProducer) -> None:
    sink.start()
    count = 0
    for number, text in enumerate(TEXTS):
        for topic, event in named(text, number):
            value = sink.codec.encode(event, topic)
            stamp = 1 if number % 2 else None  # a publisher without a clock
            await out.send(sink.prefix + topic, value, partition=number % PARTITIONS, timestamp_ms=stamp)
            count += 1
    await out.flush()
    await sink.settle(count)
    assert await sink.check() == count
    rows = await sink.clickhouse.query(
        "SELECT event_id, tenant, model, status, user, metadata, usage_raw "
        f"FROM {sink.access.database}.usage ORDER BY toUInt32(substring(event_id, 7))"
    )
    assert [tuple(row) for row in rows] == [
        (f"usage-{n}", text, text, text, text, {text: text}, text) for n, text in enumerate(TEXTS)
    ]
    by_text = {
        "results": "tenant, status, tags[1], error_message",
        "bodies": "tenant, text",
        "audit": "tenant, action, details",
        "attempts": "tenant, worker",
        "dead_letters": "claimed_tenant, message, headers[1].key",
        "feedback": "comment",
    }
    for table, columns in by_text.items():
        rows = await sink.clickhouse.query(f"SELECT {columns} FROM {sink.access.database}.{table}")
        wanted = [text for text in TEXTS if text or table != "bodies"]
        assert sorted(set().union(*rows)) == sorted(wanted) and all(len(set(row)) == 1 for row in rows), table
    assert await sink.scalar("SELECT count() FROM {db}.dead_letters WHERE stage = 'sink'") == 0


def usage_bytes(sink: Harness, number: int, **changes: Any) -> bytes:
    event: UsageEvent = msgspec.structs.replace(events.usage(number), **changes)
    return sink.codec.encode(event, names.USAGE)


async def test_what_no_row_can_hold_is_a_dead_letter_with_its_bytes(
    sink: Harness, out: AIOKafkaProducer
) -> None:
    marked = usage_bytes(sink, 1, user="123456789")
    cases = {
        "seconds": (usage_bytes(sink, 1, accepted_at=events.T0 // 1000), "out_of_range", "milliseconds"),
        "year 9999": (usage_bytes(sink, 1, recorded_at=253_402_300_799_000), "out_of_range", "recorded_at"),
        "no time": (usage_bytes(sink, 1, accepted_at=-(2**63)), "out_of_range", "accepted_at"),
        "negative": (usage_bytes(sink, 1, tries=-1), "out_of_range", "tries"),
        "utf-8": (marked.replace(b"123456789", b"\xff\xfe\xed\xa0\x80\xc0\x80 "), "undecodable", "utf-8"),
        "cut": (marked[:-7], "undecodable", "UsageEvent"),
        "empty": (b"", "undecodable", "Avro"),
        "other": (sink.codec.encode(events.result(1), names.RESULTS), "unexpected_type", "ResultEvent"),
        "zeros": (bytes(1 << 20), "unknown_schema", "schema"),
    }
    port = choose_port()
    sink.start(SLUICE_WEB_PORT=str(port))
    await sink.publish(mixed(20))
    letters: dict[str, str] = {}
    for name, (value, _, _) in cases.items():
        place = await out.send_and_wait(sink.prefix + names.USAGE, value, partition=0)
        letters[ids.dead_letter_id(place.topic, place.partition, place.offset)] = name
    await sink.publish(mixed(20, first=20))
    await sink.settle(200 + len(cases))
    await sink.check(missing=lambda at: ids.dead_letter_id(*at) in letters)
    rows = await sink.clickhouse.query(
        f"SELECT id, reason, message, hex(value) FROM {sink.access.database}.dead_letters WHERE stage = 'sink'"
    )
    assert {row[0] for row in rows} == letters.keys()
    for letter_id, reason, message, value in rows:
        sent, wanted, hint = cases[letters[letter_id]]
        assert (reason, bytes.fromhex(value)) == (wanted, sent), (letters[letter_id], message)
        assert hint in message, (letters[letter_id], message)
    assert await dead_letters_told(port) == Counter(wanted for _, wanted, _ in cases.values())


async def dead_letters_told(port: int) -> dict[str, int]:
    """What the worker's metrics say of its dead letters, by reason."""
    async with httpx.AsyncClient(trust_env=False) as http:
        page = await http.get(f"{base_url(port)}/metrics")
    samples = [s for family in text_string_to_metric_families(page.text) for s in family.samples]
    return {s.labels["reason"]: int(s.value) for s in samples if s.name == "sluice_sink_dead_letters_total"}


async def test_events_of_a_newer_producer_land_and_those_that_no_older_can_read_are_kept(
    sink: Harness, out: AIOKafkaProducer, registry_url: str
) -> None:
    newer = copy.deepcopy(dict(definitions.self_contained("sluice.UsageEvent")))
    newer["fields"] = [
        {
            "name": "shard",
            "type": {"type": "enum", "name": "Shard", "symbols": ["A", "B"], "default": "A"},
            "default": "A",
        },
        *newer["fields"][::-1],
        {"name": "carbon", "type": ["null", "double", {"type": "array", "items": "string"}], "default": None},
    ]
    beyond = copy.deepcopy(newer)
    for each in beyond["fields"]:
        if each["name"] == "lane":
            each["type"] = ["null", "string", {"type": "enum", "name": "Lane", "symbols": ["orbit"]}]
    sink.start(SLUICE_REGISTRY_URL=registry_url)
    plain = fields_of(events.usage(0))
    written = [
        (newer, plain | {"event_id": "new-0", "shard": "B", "carbon": 1.5}),
        (newer, plain | {"event_id": "new-1", "shard": "A", "carbon": ["x", "y"]}),
        (beyond, plain | {"event_id": "beyond-0", "shard": "A", "carbon": None, "lane": "standard"}),
        (
            beyond,
            plain | {"event_id": "beyond-1", "shard": "A", "carbon": None, "lane": ("sluice.Lane", "orbit")},
        ),
    ]
    sent = []
    async with httpx.AsyncClient(timeout=10) as http:
        for schema, fields in written:
            body = BytesIO()
            fastavro.schemaless_writer(body, fastavro.parse_schema(schema), fields)
            answer = await http.post(
                f"{registry_url}/subjects/{sink.prefix}{schema is beyond}/versions",
                json={"schema": json.dumps(schema)},
            )
            schema_id = answer.raise_for_status().json()["id"]
            sent.append(b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue())
            await out.send_and_wait(sink.prefix + names.USAGE, sent[-1], partition=0)
    await sink.publish(mixed(5))
    await sink.settle(25 + 4)
    rows = await sink.clickhouse.query(
        f"SELECT event_id, tenant, lane, input_uncached_tokens, toString(cost), metadata "
        f"FROM {sink.access.database}.usage WHERE event_id NOT LIKE 'usage%' ORDER BY event_id"
    )
    whole = ("tenant-0", "standard", 100, "0.000123", {"order": "0"})
    assert [tuple(row) for row in rows] == [(name, *whole) for name in ("beyond-0", "new-0", "new-1")]
    [letter] = await sink.clickhouse.query(
        f"SELECT reason, message, hex(value) FROM {sink.access.database}.dead_letters"
    )
    assert letter[0] == "undecodable" and bytes.fromhex(letter[2]) == sent[3], letter[1]


def fields_of(event: msgspec.Struct) -> dict[str, Any]:
    """The event's values as fastavro writes them."""
    return {
        name: fields_of(value) if isinstance(value, msgspec.Struct) else value
        for name, value in msgspec.structs.asdict(event).items()
    }

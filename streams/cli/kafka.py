"""What commands do with Kafka: read a stretch of a topic, write a few records, look at lags."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.partition import partition_of
from streams import consumer_stop  # noqa: F401  (stops quietly)
from streams.cli.failure import Unreachable

MAX_RECORD_BYTES = 6 << 20
_POLL_MS = 250


@dataclass(frozen=True)
class Record:
    """A record to write. `partition` None lets the key decide."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


@dataclass(frozen=True)
class Span:
    """Which records: from the beginning, from a time (`since`, ms) or only new ones; to the end or beyond.

    `tenant` narrows it to the partition of that tenant, on topics that are partitioned so; `key` to a key's.
    """

    tenant: str | None = None
    key: str | None = None
    since: int | None = None
    only_new: bool = False
    follow: bool = False


FROM_START = Span()


@asynccontextmanager
async def consumer(brokers: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group that sees committed records only."""
    opened = AIOKafkaConsumer(
        bootstrap_servers=brokers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_RECORD_BYTES,
        request_timeout_ms=15_000,
        fetch_max_wait_ms=100,  # a command that reads to an end shouldn't wait for more
    )
    try:
        await opened.start()
        yield opened
    finally:
        await opened.stop()


@asynccontextmanager
async def producer(brokers: str, transactional_id: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
    """A started idempotent producer; with an id, a transactional one."""
    opened = AIOKafkaProducer(
        bootstrap_servers=brokers,
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_RECORD_BYTES,
        transactional_id=transactional_id,
        transaction_timeout_ms=10_000,  # a command that was stopped in its midst hides others' records no longer
        request_timeout_ms=15_000,
    )
    try:
        await opened.start()
        yield opened
    finally:
        await opened.stop()


async def write(brokers: str, records: Iterable[Record], transactional_id: str | None = None) -> None:
    """Write the records and return when they are durable: all or none of them where an id is given."""
    async with producer(brokers, transactional_id) as opened:
        if transactional_id is None:
            await _send_all(opened, records)
            return
        async with opened.transaction():
            await _send_all(opened, records)


async def _send_all(opened: AIOKafkaProducer, records: Iterable[Record]) -> None:
    futures = [
        await opened.send(r.topic, r.value, key=r.key, headers=list(r.headers), partition=r.partition)
        for r in records
    ]
    for future in futures:
        await future


async def partitions(reader: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic. Raises Unreachable when the topic doesn't exist."""
    # The consumer's own metadata covers only what it is assigned to; this asks for all topics.
    known = (await reader._client.fetch_all_metadata()).partitions_for_topic(topic)
    if not known:
        raise Unreachable(f"topic {topic} doesn't exist", "create the topics with `sluice topics apply`")
    return [TopicPartition(topic, p) for p in sorted(known)]


@dataclass
class Reading:
    """A reading in progress: `at_end` turns true once all was read that was there when it began."""

    ends: dict[TopicPartition, int] = field(default_factory=dict)
    at_end: bool = False


async def read(
    brokers: str, topic: str, span: Span = FROM_START, reading: Reading | None = None
) -> AsyncGenerator[Any, None]:
    """The committed records of a topic as ConsumerRecords; those of one partition in order."""
    progress = reading or Reading()
    async with consumer(brokers) as reader:
        found = await partitions(reader, topic)
        if (placed_by := span.tenant or span.key) is not None:
            found = [found[partition_of(placed_by, len(found))]]
        await _seek(reader, found, span)
        progress.ends = await reader.end_offsets(found)
        while True:
            progress.at_end = progress.at_end or await _reached(reader, progress.ends)
            if progress.at_end and not span.follow:
                return
            batches = await reader.getmany(timeout_ms=_POLL_MS)
            for record in sorted((r for b in batches.values() for r in b), key=lambda r: r.timestamp):
                if span.follow or record.offset < progress.ends[TopicPartition(topic, record.partition)]:
                    yield record


async def _seek(reader: AIOKafkaConsumer, found: list[TopicPartition], span: Span) -> None:
    reader.assign(found)
    newest = span.only_new or span.since is not None
    start = await (reader.end_offsets(found) if newest else reader.beginning_offsets(found))
    if span.since is not None:
        at = await reader.offsets_for_times({tp: span.since for tp in found})
        start |= {tp: found_at.offset for tp, found_at in at.items() if found_at is not None}
    for tp in found:  # an explicit offset: a seek to an end would race with the consumer's own first reset
        reader.seek(tp, start[tp])


async def _reached(reader: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    for tp, end in ends.items():
        if end > 0 and await reader.position(tp) < end:
            return False
    return True


async def has_topic(brokers: str, topic: str) -> bool:
    """Whether the topic exists."""
    async with consumer(brokers) as reader:
        return topic in await reader.topics()


async def require_topics(brokers: str, topics: Iterable[str]) -> None:
    """Raise Unreachable where a topic doesn't exist: a send to it would block."""
    async with consumer(brokers) as reader:
        for topic in topics:
            await partitions(reader, topic)

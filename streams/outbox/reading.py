"""Reading Kafka beside a group's own consumer: changelogs, committed offsets, and ranges that were skipped."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.outbox.contract import Inbound


@asynccontextmanager
async def _reader(brokers: str, isolation_level: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(
        bootstrap_servers=brokers,
        isolation_level=isolation_level,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **options,
    )
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


async def read_changelog(
    brokers: str, part: TopicPartition, isolation_level: str = "read_committed"
) -> AsyncIterator[tuple[bytes, bytes | None]]:
    """Key and value of each record of a partition, from its start to its present end."""
    async with _reader(brokers, isolation_level, max_partition_fetch_bytes=4 << 20) as reader:
        reader.assign([part])
        await reader.seek_to_beginning(part)
        end = (await reader.end_offsets([part]))[part]
        while await reader.position(part) < end:
            for message in (await reader.getmany(part, timeout_ms=200, max_records=5000)).get(part, ()):
                yield message.key or b"", message.value


async def committed_offset(brokers: str, group: str, part: TopicPartition) -> int:
    """The group's committed offset, or the beginning of the partition."""
    async with _reader(brokers, "read_committed", group_id=group) as reader:
        reader.assign([part])
        committed = await reader.committed(part)
        if committed is not None:
            return int(committed)
        return int((await reader.beginning_offsets([part]))[part])


async def end_offset(brokers: str, part: TopicPartition, isolation_level: str = "read_committed") -> int:
    """The partition's end; its last stable offset under read_committed."""
    async with _reader(brokers, isolation_level) as reader:
        return int((await reader.end_offsets([part]))[part])


async def read_range(
    brokers: str, part: TopicPartition, start: int, stop: int, isolation_level: str = "read_committed"
) -> list[Inbound]:
    """The records with start <= offset < stop; holes from markers and compaction are normal."""
    found: list[Inbound] = []
    async with _reader(brokers, isolation_level) as reader:
        reader.assign([part])
        reader.seek(part, start)
        while await reader.position(part) < stop:
            for message in (await reader.getmany(part, timeout_ms=500)).get(part, ()):
                if message.offset < stop:
                    found.append(inbound_of(message))
    return found


ReadRange = Callable[[int, int], Coroutine[Any, Any, list[Inbound]]]


async def contiguous(batch: list[Inbound], expected: int, read: ReadRange) -> tuple[list[Inbound], list[Inbound]]:
    """(what may be processed now, what comes after it) of records that should begin at `expected`.

    Records below `expected` were delivered twice and are left out. Where the sequence jumps, `read` looks what lies
    between: nothing but markers, and the sequence goes on, or records that the consumer skipped, which come next.
    """
    kept: list[Inbound] = []
    fresh = [record for record in batch if record.offset >= expected]
    for index, record in enumerate(fresh):
        if record.offset < expected:
            continue
        if record.offset > expected and (missing := await read(expected, record.offset)):
            return kept, missing + fresh[index:]
        kept.append(record)
        expected = record.offset + 1
    return kept, []


def inbound_of(message: Any) -> Inbound:
    """An `Inbound` from aiokafka's ConsumerRecord or Faust's Message (its timestamp is in seconds)."""
    timestamp, headers = message.timestamp, message.headers
    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    return Inbound(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=round(timestamp * 1000) if isinstance(timestamp, float) else timestamp,
        key=message.key,
        value=message.value,
        headers=tuple((k, v) for k, v in pairs),
    )

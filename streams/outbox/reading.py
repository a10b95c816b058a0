"""Reading Kafka beside a group's own consumer: changelogs, committed offsets, and ranges that were skipped."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import (
    consumer_stop,  # noqa: F401  (stops quietly)
    group_offsets,  # noqa: F401  (makes committed() tell the truth)
)
from streams.outbox.contract import Inbound

MOST_READ_BYTES: Final = 4 << 20


def make_reader(
    brokers: str, isolation_level: str = "read_committed", group: str | None = None
) -> AIOKafkaConsumer:
    """A consumer outside any group's rebalances: partitions are assigned by hand. `group` is for its offsets only."""
    return AIOKafkaConsumer(
        bootstrap_servers=brokers,
        group_id=group,
        isolation_level=isolation_level,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )


async def read_changelog(
    reader: AIOKafkaConsumer, part: TopicPartition
) -> AsyncIterator[tuple[bytes, bytes | None]]:
    """Key and value of each record of a partition, from its start to its present end."""
    reader.assign([part])
    await reader.seek_to_beginning(part)
    end = (await reader.end_offsets([part]))[part]
    while await reader.position(part) < end:
        for message in (await reader.getmany(part, timeout_ms=200, max_records=5000)).get(part, ()):
            yield message.key or b"", message.value


async def committed_offsets(
    reader: AIOKafkaConsumer, parts: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """The committed offset of the reader's group for each partition, or the partition's beginning."""
    wanted = list(parts)
    reader.assign(wanted)
    begins = await reader.beginning_offsets(wanted)
    found: dict[TopicPartition, int] = {}
    for part in wanted:
        committed = await reader.committed(part)
        found[part] = int(begins[part] if committed is None else committed)
    return found


async def read_range(
    brokers: str, part: TopicPartition, start: int, stop: int, isolation_level: str = "read_committed"
) -> list[Inbound]:
    """The records with start <= offset < stop, or the first of them when they are many (over 4 MiB) or when others
    don't come at once, as an open transaction hides them.

    Holes from markers and compaction are normal: nothing is found only where nothing lies.
    """
    found: list[Inbound] = []
    size = 0
    reader = make_reader(brokers, isolation_level)
    await reader.start()
    try:
        reader.assign([part])
        reader.seek(part, start)
        while size < MOST_READ_BYTES and await reader.position(part) < stop:
            messages = (await reader.getmany(part, timeout_ms=500, max_records=500)).get(part, ())
            if found and not messages:
                break
            for message in messages:
                if message.offset < stop:
                    found.append(inbound_of(message))
                    size += found[-1].size
    finally:
        await reader.stop()
    return found


ReadRange = Callable[[int, int], Coroutine[Any, Any, list[Inbound]]]


async def contiguous(
    batch: list[Inbound], expected: int, read: ReadRange
) -> tuple[list[Inbound], list[Inbound]]:
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

"""The outbox's broker on aiokafka: one transactional producer a partition."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiokafka.producer.sender as sender
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidTxnState,
    KafkaError,
    ProducerFenced,
    TransactionCoordinatorFenced,
)

from streams.crash import crash_point
from streams.outbox.contract import Fenced, Inbound, Outbound, Transient

# aiokafka waits this long for the previous transaction's markers; its own 20 ms would cap us at 40 a second.
sender.BACKOFF_OVERRIDE = 0.002

T = TypeVar("T")
_FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState, TransactionCoordinatorFenced)


@dataclass(frozen=True)
class OutboxTopics:
    """What a stage reads and keeps: input and state have the same partition count."""

    brokers: str
    app_id: str
    group_id: str
    source: str
    state: str
    transaction_timeout_ms: int = 10_000
    max_request_size: int = 6 << 20
    isolation_level: str = "read_committed"


async def _guard(step: Awaitable[T]) -> T:
    """Await a Kafka step and translate its errors; a record's own fault (too large) passes as it is."""
    try:
        return await step
    except _FENCED as error:
        raise Fenced(str(error)) from error
    except (TimeoutError, ConnectionError, OSError) as error:
        raise Transient(repr(error)) from error
    except KafkaError as error:
        if error.retriable or "fenced" in str(error).lower():
            raise (Fenced if "fenced" in str(error).lower() else Transient)(repr(error)) from error
        raise


class KafkaPartitionBroker:
    """See `PartitionBroker`."""

    def __init__(self, topics: OutboxTopics, partition: int) -> None:
        self._topics = topics
        self._source = TopicPartition(topics.source, partition)
        self._state = TopicPartition(topics.state, partition)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=topics.brokers,
            transactional_id=f"{topics.app_id}-{topics.source}-{partition}",
            transaction_timeout_ms=topics.transaction_timeout_ms,
            max_request_size=topics.max_request_size,
            max_batch_size=1 << 20,
            linger_ms=0,
            acks="all",
        )

    async def open(self) -> None:
        """Start the producer: InitProducerId fences the previous owner."""
        await _guard(self._producer.start())

    def _reader(self, **options: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._topics.brokers,
            isolation_level=self._topics.isolation_level,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **options,
        )

    async def changelog(self) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """Read the state topic's partition to its end."""
        reader = self._reader(max_partition_fetch_bytes=4 << 20)
        await _guard(reader.start())
        try:
            reader.assign([self._state])
            await _guard(reader.seek_to_beginning(self._state))
            end = (await _guard(reader.end_offsets([self._state])))[self._state]
            while await _guard(reader.position(self._state)) < end:
                batches = await _guard(reader.getmany(timeout_ms=200, max_records=5000))
                for message in batches.get(self._state, ()):
                    yield message.key or b"", message.value
        finally:
            await reader.stop()

    async def committed(self) -> int:
        """The group's committed offset, or the beginning of the input."""
        reader = self._reader(group_id=self._topics.group_id)
        await _guard(reader.start())
        try:
            reader.assign([self._source])
            committed = await _guard(reader.committed(self._source))
            if committed is not None:
                return int(committed)
            return int((await _guard(reader.beginning_offsets([self._source])))[self._source])
        finally:
            await reader.stop()

    async def end_offset(self) -> int:
        """The input's last stable offset."""
        reader = self._reader()
        await _guard(reader.start())
        try:
            return int((await _guard(reader.end_offsets([self._source])))[self._source])
        finally:
            await reader.stop()

    async def read(self, start: int, stop: int) -> list[Inbound]:
        """Committed records of the input with start <= offset < stop."""
        reader = self._reader()
        await _guard(reader.start())
        found: list[Inbound] = []
        try:
            reader.assign([self._source])
            reader.seek(self._source, start)
            while await _guard(reader.position(self._source)) < stop:
                batches = await _guard(reader.getmany(self._source, timeout_ms=500))
                found += [inbound_of(m) for m in batches.get(self._source, ()) if m.offset < stop]
        finally:
            await reader.stop()
        return found

    async def write(
        self, outputs: Sequence[Outbound], changes: Sequence[tuple[bytes, bytes | None]], offset: int | None
    ) -> None:
        """One Kafka transaction."""
        crash_point("route.before_transaction")
        try:
            await _guard(self._write(outputs, changes, offset))
        except BaseException:  # a cancelled writer too leaves no transaction open that would hide others' records
            await asyncio.shield(self._abort_quietly())
            raise
        crash_point("route.after_commit")

    async def _write(
        self, outputs: Sequence[Outbound], changes: Sequence[tuple[bytes, bytes | None]], offset: int | None
    ) -> None:
        producer, state = self._producer, self._state
        await producer.begin_transaction()
        crash_point("route.before_outputs")
        sent = [
            await producer.send(o.topic, o.value, key=o.key, partition=o.partition, headers=list(o.headers))
            for o in outputs
        ]
        sent += [await producer.send(state.topic, v, key=k, partition=state.partition) for k, v in changes]
        await asyncio.gather(*sent)
        crash_point("route.after_outputs")
        if offset is not None:
            await producer.send_offsets_to_transaction({self._source: offset}, self._topics.group_id)
        crash_point("route.after_offsets")
        await producer.commit_transaction()

    async def _abort_quietly(self) -> None:
        # A broken transaction ends anyway when the next owner (or this one, reopened) starts its producer.
        try:
            await asyncio.wait_for(self._producer.abort_transaction(), 2)
        except (KafkaError, TimeoutError, OSError, AssertionError):
            return

    async def close(self) -> None:
        """Stop the producer; the transaction it may have open is fenced by the next opening."""
        try:
            await asyncio.wait_for(self._producer.stop(), 5)
        except (KafkaError, TimeoutError, OSError):
            return


def inbound_of(message: Any) -> Inbound:
    """An `Inbound` from aiokafka's ConsumerRecord or Faust's Message (its timestamp is in seconds)."""
    timestamp = message.timestamp
    return Inbound(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=round(timestamp * 1000) if isinstance(timestamp, float) else timestamp,
        key=message.key,
        value=message.value,
        headers=tuple((k, v) for k, v in _header_pairs(message.headers)),
    )


def _header_pairs(headers: Any) -> list[tuple[str, bytes]]:
    if not headers:
        return []
    return list(headers.items()) if isinstance(headers, dict) else list(headers)

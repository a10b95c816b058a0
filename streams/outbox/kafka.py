"""The outbox's broker on aiokafka: one transactional producer a partition."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import aiokafka.producer.sender as sender
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidTxnState,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordTooLargeError,
    TransactionCoordinatorFenced,
)

from streams.crash import crash_point
from streams.outbox.batches import send_all
from streams.outbox.contract import Fenced, Inbound, Outbound, Transient
from streams.outbox.reading import committed_offsets, make_reader, read_changelog, read_range

# aiokafka waits this long for the previous transaction's markers; its own 20 ms would cap us at 40 a second.
sender.BACKOFF_OVERRIDE = 0.002

POSITION_KEY: Final = b"\0position"
_POSITION: Final = struct.Struct(">BQ")  # format version, offset

T = TypeVar("T")
_FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState, TransactionCoordinatorFenced)
_RECORDS_FAULT = (MessageSizeTooLargeError, RecordTooLargeError)


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
    """Await a Kafka step and translate its errors: only what names the record itself is the record's fault.

    aiokafka wraps much into plain KafkaErrors and marks timeouts as not retriable, so that everything else counts
    as the broker's trouble.
    """
    try:
        return await step
    except _RECORDS_FAULT:
        raise
    except (KafkaError, IllegalOperation, AssertionError, TimeoutError, OSError) as error:
        raise (Fenced if _is_fencing(error) else Transient)(repr(error)) from error


def _is_fencing(error: BaseException | None) -> bool:
    while error is not None:
        # In aiokafka an IllegalOperation is what a send in a transaction that was fenced meanwhile gives.
        if isinstance(error, (*_FENCED, IllegalOperation)) or "fenced" in str(error).lower():
            return True
        error = error.__cause__
    return False


class UnreadablePosition(Exception):
    """A newer version wrote where the partition goes on; this one must not guess."""


def position_of(value: bytes | None) -> int | None:
    """The input offset in a position record. Raises UnreadablePosition for another format."""
    if value is None:
        return None
    if len(value) != _POSITION.size or value[0] != 1:
        raise UnreadablePosition(f"a position of format {value[:1].hex()}: run the version that wrote it")
    return int(_POSITION.unpack(value)[1])


class KafkaPartitionBroker:
    """See `PartitionBroker`.

    Where the input goes on is a record of the changelog, written in each transaction beside the state that it
    belongs to. The group's committed offset follows (`Stage.follow`) for those who look at lag, and counts
    only where the changelog has no position yet.
    """

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
        self._reader = make_reader(topics.brokers, topics.isolation_level, topics.group_id)
        self._end_reader = make_reader(topics.brokers, "read_uncommitted")
        self._position: int | None = None

    async def open(self) -> None:
        """Start the producer: InitProducerId fences the previous owner."""
        await _guard(self._producer.start())
        await _guard(self._reader.start())
        await _guard(self._end_reader.start())

    async def changelog(self) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """Read the state topic's partition to its end; the position is kept here."""
        records = read_changelog(self._reader, self._state)
        while True:
            try:
                key, value = await _guard(anext(records))
            except StopAsyncIteration:
                return
            if key == POSITION_KEY:
                self._position = position_of(value)
            else:
                yield key, value

    async def committed(self) -> int:
        """The changelog's position, else the group's committed offset, else the beginning of the input."""
        position = self._position
        if position is None:
            position = (await _guard(committed_offsets(self._reader, [self._source])))[self._source]
        self._reader.unsubscribe()  # the opening is over: it fetches no more
        return position

    async def end_offset(self) -> int:
        """The input's end, asked of the broker now. What an open transaction still hides lies before it."""
        return int((await _guard(self._end_reader.end_offsets([self._source])))[self._source])

    async def read(self, start: int, stop: int) -> list[Inbound]:
        """Committed records of the input with start <= offset < stop."""
        brokers, isolation = self._topics.brokers, self._topics.isolation_level
        return await _guard(read_range(brokers, self._source, start, stop, isolation))

    async def write(
        self, outputs: Sequence[Outbound], changes: Sequence[tuple[bytes, bytes | None]], offset: int | None
    ) -> None:
        """One Kafka transaction."""
        crash_point("route.before_transaction")
        try:
            await _guard(self._write(outputs, changes, offset))
        except (
            BaseException
        ):  # a cancelled writer too leaves no transaction open that would hide others' records
            await asyncio.shield(self._abort_quietly())
            raise
        crash_point("route.after_commit")

    async def _write(
        self, outputs: Sequence[Outbound], changes: Sequence[tuple[bytes, bytes | None]], offset: int | None
    ) -> None:
        producer, state = self._producer, self._state
        await producer.begin_transaction()
        crash_point("route.before_outputs")
        records = [*outputs, *(Outbound(state.topic, k, v, partition=state.partition) for k, v in changes)]
        if offset is not None:
            position = _POSITION.pack(1, offset)
            records.append(Outbound(state.topic, POSITION_KEY, position, partition=state.partition))
        await asyncio.gather(*await send_all(producer, records, self._topics.max_request_size))
        crash_point("route.after_outputs")
        await producer.commit_transaction()

    async def _abort_quietly(self) -> None:
        # A broken transaction ends anyway when the next owner (or this one, reopened) starts its producer.
        with contextlib.suppress(KafkaError, TimeoutError, OSError, AssertionError):
            await asyncio.wait_for(self._producer.abort_transaction(), 2)

    async def close(self) -> None:
        """Stop the producer; the transaction it may have open is fenced by the next opening."""
        for client in (self._end_reader, self._reader, self._producer):
            with contextlib.suppress(KafkaError, TimeoutError, OSError):
                await asyncio.wait_for(client.stop(), 5)

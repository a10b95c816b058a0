"""The attempt journal: a start is durable before the provider is called, and its end before it counts.

One idempotent producer with acks=all serves a worker: journal, outcomes and dead letters. It retries for as
long as the broker is away and never doubles a record.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import Counter

from schemas.codec import Codec
from schemas.names import ATTEMPTS, DEAD_LETTERS, TENANT_EVENTS
from schemas.partition import murmur2
from schemas.records import Attempt, DeadLetter, Outcome
from schemas.signals import Invalid
from streams import metrics

MAX_MESSAGE_BYTES: Final = 6 << 20
# A record's key and frame take a little of it.
MOST_VALUE_BYTES: Final = MAX_MESSAGE_BYTES - (4 << 10)
MOST_UNSENT_BYTES: Final = 32 << 20
_log = logging.getLogger(__name__)


class RecordTooLarge(ValueError):
    """The record is longer than a topic takes."""


def make_producer(brokers: str) -> AIOKafkaProducer:
    """The producer of a call worker, not started. What it has taken waits for a broker for as long as it takes."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=1 << 20,
        max_request_size=MAX_MESSAGE_BYTES,
    )
    # aiokafka gives up batches that found no leader for 40 s: ends of calls that are paid.
    producer._message_accumulator._batch_ttl = math.inf
    return producer


def journal_partition(tp: TopicPartition, count: int) -> int:
    """The journal partition of a call partition, a fixed function of the two."""
    return (murmur2(f"{tp.topic}:{tp.partition}".encode()) & 0x7FFFFFFF) % count


class Journal:
    """Writes records durably. `end(p)`: a journal offset before which no record sent from now on can lie.

    `full`: so much waits to become durable that no further call may start.
    """

    def __init__(self, producer: AIOKafkaProducer, codec: Codec) -> None:
        self._producer, self._codec = producer, codec
        self._ends: dict[int, int] = {}
        self._counters: dict[str, Counter] = {}
        self._unsent = 0
        self.partitions = 0

    async def start(self) -> None:
        """Start the producer and learn the journal's partition count.

        Raises LookupError where a topic that is written isn't provisioned: a send to it would only block.
        """
        await self._producer.start()
        cluster = await self._producer.client.fetch_all_metadata()
        for topic in (ATTEMPTS, TENANT_EVENTS, DEAD_LETTERS):
            if not cluster.partitions_for_topic(topic):
                raise LookupError(f"topic {topic} doesn't exist: run `sluice topics apply`")
        self.partitions = len(cluster.partitions_for_topic(ATTEMPTS))

    async def stop(self) -> None:
        """Send what is queued, then stop."""
        await self._producer.stop()

    @property
    def full(self) -> bool:
        """See the class."""
        return self._unsent > MOST_UNSENT_BYTES

    def end(self, partition: int) -> int:
        """See the class."""
        return self._ends.get(partition, 0)

    def learn(self, partition: int, end: int) -> None:
        """The journal was read up to `end`."""
        self._ends[partition] = max(self._ends.get(partition, 0), end)

    async def write(self, record: Attempt, partition: int) -> None:
        """Return once the record is durable."""
        value = self._codec.encode(record, ATTEMPTS)
        key = record.request_id.encode()
        sent = await self._send(ATTEMPTS, value, key, partition)
        self.learn(partition, sent.offset + 1)
        self._count(record.phase)

    def _count(self, phase: str) -> None:
        counter = self._counters.get(phase)
        if counter is None:
            counter = self._counters[phase] = metrics.CALL_JOURNAL_RECORDS.labels(phase)
        counter.inc()

    async def outcome(self, outcome: Outcome, partition: int, kept_bytes: int = 0) -> None:
        """Return once the outcome is durable on the partition that route gave the task.

        `kept_bytes`: what the caller keeps until then; they count as unsent. Raises RecordTooLarge.
        """
        value = self._codec.encode(outcome, TENANT_EVENTS)
        if len(value) > MOST_VALUE_BYTES:
            raise RecordTooLarge(f"its record has {len(value)} bytes; a topic takes {MOST_VALUE_BYTES}")
        self._add_unsent(len(value) + kept_bytes)
        try:
            await self._send(TENANT_EVENTS, value, outcome.tenant.encode(), partition)
        finally:
            self._add_unsent(-len(value) - kept_bytes)

    async def dead_letter(self, letter: DeadLetter) -> None:
        """Return once the dead letter is durable."""
        value = self._codec.encode(letter, DEAD_LETTERS)
        await self._send(DEAD_LETTERS, value, letter.id.encode())
        metrics.CALL_DEAD_LETTERS.labels(letter.reason).inc()

    def _add_unsent(self, size: int) -> None:
        self._unsent += size
        metrics.CALL_UNSENT_BYTES.set(self._unsent)

    async def _send(self, topic: str, value: bytes, key: bytes, partition: int | None = None) -> Any:
        """Where the record lies, once it is durable."""
        while True:
            try:
                sent = await self._producer.send(topic, value, key, partition=partition)
            except KafkaTimeoutError:
                continue  # the buffer has been full for 40 s, and didn't take the record
            return await sent


class JournalReader:
    """Reads journal partitions from given offsets (None: the beginning), and on as they grow."""

    def __init__(self, brokers: str, codec: Codec) -> None:
        self._codec = codec
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=brokers,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
        )

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def ends(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The end offsets of partitions of any topic."""
        return dict(await self._consumer.end_offsets(tps)) if tps else {}

    async def begin(self, starts: dict[int, int | None]) -> dict[int, int]:
        """Begin at `starts`; returns the end offset of each partition as it is now."""
        tps = {TopicPartition(ATTEMPTS, partition): offset for partition, offset in starts.items()}
        self._consumer.assign(list(tps))
        for tp, offset in tps.items():
            if offset is None:
                await self._consumer.seek_to_beginning(tp)
            else:
                self._consumer.seek(tp, offset)
        return {tp.partition: end for tp, end in (await self.ends(list(tps))).items()}

    async def reached(self, ends: dict[int, int]) -> bool:
        """True once every partition has been read to `ends`."""
        for partition, end in ends.items():
            if await self._consumer.position(TopicPartition(ATTEMPTS, partition)) < end:
                return False
        return True

    async def read(self, timeout_ms: int = 200) -> Sequence[tuple[int, int, Attempt]]:
        """The next records: (partition, offset, record). What can't be decoded wasn't written by a worker."""
        out: list[tuple[int, int, Attempt]] = []
        for tp, batch in (await self._consumer.getmany(timeout_ms=timeout_ms, max_records=5000)).items():
            for message in batch:
                try:
                    record = await self._codec.decode_async(message.value, Attempt)
                except Invalid as problem:
                    metrics.CALL_FOREIGN_JOURNAL_RECORDS.inc()
                    _log.error("%s-%d offset %d: %s", tp.topic, tp.partition, message.offset, problem)
                    continue
                out.append((tp.partition, message.offset, record))
        return out

    async def stop(self) -> None:
        """Close the connection."""
        await self._consumer.stop()

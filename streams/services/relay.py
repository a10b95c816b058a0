"""Copies results to the reply topic that their request named, exactly once.

Each input partition has a transactional producer of its own: a copy and the offset that it came from are
committed together, so that a crash repeats neither. Opening a partition starts the producer (which fences the
previous owner) and then reads the committed offset, which nobody else can move any more. Event ids, keys,
headers and bytes are kept. Any unexpected error ends the worker; a supervisor starts it again.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from processors.clock import SystemClock
from schemas import names
from schemas.records import DeadLetter, ResultEvent
from schemas.signals import Invalid
from streams import (
    group_offsets,  # noqa: F401  (makes committed() tell the truth)
    metrics,
)
from streams.dead_letters import dead_letter
from streams.outbox.reading import inbound_of
from streams.services.relay_partition import Copy, Partition, RelaySettings
from streams.services.stability import Stability
from streams.settings import Settings

log = logging.getLogger(__name__)

RESERVED_PREFIX = "llm."


class ResultCodec(Protocol):
    """What the relay needs of the codec."""

    async def decode_async(self, data: bytes | None, expected: type[ResultEvent]) -> ResultEvent:
        """The event, or Invalid."""

    def encode(self, record: DeadLetter, subject_topic: str | None = None) -> bytes:
        """The wire bytes."""


class Observer(Protocol):
    """What the relay tells about itself."""

    def copied(self) -> None: ...

    def refused(self, reason: str) -> None: ...

    def hanging(self, partition: int, seconds: float) -> None: ...


class Relay:
    """The service. One instance runs once."""

    def __init__(
        self, settings: RelaySettings, codec: ResultCodec, observer: Observer, now_ms: Callable[[], int]
    ) -> None:
        self._settings, self._codec, self._observer, self._now_ms = settings, codec, observer, now_ms
        self._consumer: AIOKafkaConsumer | None = None
        self._open: dict[TopicPartition, Partition] = {}
        self._waiting: set[TopicPartition] = set()
        self._joined = False
        self._topics: set[str] = set()
        self._topics_at = -math.inf
        self._stability = Stability()
        self._turn = asyncio.Lock()  # a rebalance waits for the transactions that run

    def ready(self) -> bool:
        """True once it is a member of its group and every partition that it was given is open."""
        return self._joined and not self._waiting

    async def run(self, stop: asyncio.Event) -> None:
        """Copy until `stop` is set; then commit what was passed and leave the group."""
        settings = self._settings
        consumer = self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.brokers,
            group_id=settings.group_id,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=max(500, settings.session_timeout_ms // 4),
            max_partition_fetch_bytes=settings.max_bytes,
        )
        await consumer.start()
        try:
            consumer.subscribe([settings.source], listener=_Rebalance(self))
            while not stop.is_set():
                await self._open_waiting(consumer)
                await self._step(await consumer.getmany(timeout_ms=200, max_records=settings.batch_records))
                self._look_at(consumer)
            await self.revoked(list(self._open))
        finally:
            for partition in self._open.values():
                await partition.close()
            await consumer.stop()

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions given to this worker: opened before anything of them is handled."""
        self._joined = True
        self._waiting.update(partitions)

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions taken away: their transactions end, their offsets are committed, they are closed."""
        async with self._turn:
            self._stability.forget()
            for tp in partitions:
                self._observer.hanging(tp.partition, 0)
                self._waiting.discard(tp)
                if (partition := self._open.pop(tp, None)) is None:
                    continue
                try:
                    await partition.settle(at_once=True)
                finally:
                    await partition.close()

    def _look_at(self, consumer: AIOKafkaConsumer) -> None:
        """Report for how long an open transaction has hidden results."""
        for tp in consumer.assignment():
            stable, end = consumer.last_stable_offset(tp), consumer.highwater(tp)
            self._observer.hanging(tp.partition, self._stability.hanging_s(tp, stable, end, time.monotonic()))

    async def _open_waiting(self, consumer: AIOKafkaConsumer) -> None:
        async with self._turn:
            for tp in list(self._waiting):
                partition = self._open[tp] = Partition(self._settings, tp)
                await partition.open()
                committed = await consumer.committed(tp)
                start = (await consumer.beginning_offsets([tp]))[tp] if committed is None else committed
                consumer.seek(tp, start)
                self._waiting.discard(tp)

    async def _step(self, batches: dict[TopicPartition, list[Any]]) -> None:
        # Records of a partition that isn't open were fetched before its opening, or after it was taken away.
        async with self._turn:
            await asyncio.gather(*(self._handle(p, batches.get(tp, [])) for tp, p in self._open.items()))

    async def _handle(self, partition: Partition, records: list[Any]) -> None:
        if not records:
            return await partition.settle()
        copies = [c for r in records if (c := await self._copy_of(r)) is not None]
        await partition.write(copies, records[-1].offset + 1)
        for copy in copies:
            if copy.refused is None:
                self._observer.copied()
            else:
                self._observer.refused(copy.refused)

    async def _copy_of(self, record: Any) -> Copy | None:
        """What is to be written for one result: a copy, a dead letter, or nothing."""
        try:
            result = await self._codec.decode_async(record.value, ResultEvent)
        except Invalid as invalid:
            return self._dead_letter(record, invalid.reason, invalid.message, None)
        topic = result.reply_topic
        if topic is None:
            return None
        if topic.startswith(RESERVED_PREFIX):
            message = f"reply_topic {topic!r} is one of Sluice's own topics: name another in the request"
            return self._dead_letter(record, "reply_topic_reserved", message, result)
        if not await self._exists(topic):
            message = (
                f"reply_topic {topic!r} doesn't exist: create it with `sluice topics apply`, then redrive"
            )
            return self._dead_letter(record, "reply_topic_missing", message, result)
        return Copy(topic, record.key, record.value, tuple(record.headers), record.timestamp)

    async def _exists(self, topic: str) -> bool:
        """Whether the topic exists: asked again for unknown ones, because a send to them would block."""
        late = (time.monotonic() - self._topics_at) * 1000 >= self._settings.topics_every_ms
        if topic not in self._topics and late:
            assert self._consumer is not None
            self._topics, self._topics_at = await self._consumer.topics(), time.monotonic()
        return topic in self._topics

    def _dead_letter(self, record: Any, reason: str, message: str, result: ResultEvent | None) -> Copy:
        letter = dead_letter(
            inbound_of(record),
            stage="relay",
            reason=reason,
            message=message,
            at=self._now_ms(),
            claimed_tenant=result.tenant if result else None,
            request_id=result.request_id if result else None,
        )
        log.warning("%s: %s", letter.id, message)
        value = self._codec.encode(letter, names.DEAD_LETTERS)
        return Copy(self._settings.dead_letters, letter.id.encode(), value, (), None, refused=reason)


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._relay.revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._relay.assigned(assigned)


class _Metrics:
    """Counts into the worker's metrics."""

    def copied(self) -> None:
        metrics.RELAY_COPIED.inc()

    def refused(self, reason: str) -> None:
        metrics.RELAY_REFUSED.labels(reason).inc()

    def hanging(self, partition: int, seconds: float) -> None:
        metrics.RELAY_HANGING.labels(partition).set(seconds)


def make_relay(settings: Settings, codec: ResultCodec) -> Relay:
    """The relay of a worker."""
    place = RelaySettings(settings.brokers, settings.app_id, session_timeout_ms=settings.session_timeout_ms)
    return Relay(place, codec, _Metrics(), SystemClock().now_ms)

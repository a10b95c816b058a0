"""Copies results to the reply topic that their request named, exactly once.

Each input partition has a transactional producer of its own: a copy and the offset that it came from are
committed together, so that a crash repeats neither. Opening a partition starts the producer (which fences the
previous owner) and then reads the committed offset, which nobody else can move any more. Event ids, keys,
headers and bytes are kept. A copy that its topic refuses becomes a dead letter. Any unexpected error ends the
worker; a supervisor starts it again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from processors.clock import SystemClock
from streams import (
    group_offsets,  # noqa: F401  (makes committed() tell the truth)
    metrics,
)
from streams.retention import DaysOfUnread
from streams.services.relay_contract import Copy, Observer, RelaySettings, ResultCodec
from streams.services.relay_copies import Copies
from streams.services.relay_partition import Partition
from streams.services.relay_position import starting_point
from streams.services.relay_watch import Watch
from streams.settings import Settings
from streams.waiting import unless

log = logging.getLogger(__name__)
_POLL_MS: Final = 200


@dataclass(frozen=True)
class _Read:
    """What was read of a partition, and for which opening of it."""

    partition: Partition
    copies: list[Copy]


class Relay:
    """The service. One instance runs once."""

    def __init__(
        self, settings: RelaySettings, codec: ResultCodec, observer: Observer, now_ms: Callable[[], int]
    ) -> None:
        self._settings, self._observer = settings, observer
        unread = DaysOfUnread(settings.brokers)
        self._copies = Copies(settings, codec, now_ms, self._existing_topics, unread)
        self._consumer: AIOKafkaConsumer | None = None
        self._open: dict[TopicPartition, Partition] = {}
        self._waiting: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()  # of which Kafka has deleted what was to be read next
        self._joined = False
        self._watch = Watch(observer, self._passed)
        self._turn = asyncio.Lock()  # a rebalance waits for the transactions that run
        self._revoking = asyncio.Event()
        self._failed = False  # the run ends by an error: what was passed is committed no more
        self._trouble: Exception | None = None  # from a rebalance, where aiokafka would swallow it

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
            auto_offset_reset="none",  # a position that Kafka has deleted or forgotten is never skipped silently
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=max(500, settings.session_timeout_ms // 4),
            metadata_max_age_ms=30_000,  # a topic that was made a moment ago may be missing at first
            max_poll_interval_ms=2**31 - 1,  # a schema registry that is away is waited for, however long
            max_partition_fetch_bytes=settings.max_bytes,
        )
        await consumer.start()
        watching = asyncio.create_task(self._watch.run(consumer))
        try:
            consumer.subscribe([settings.source], listener=_Rebalance(self))
            while not stop.is_set():
                await self._round(consumer, stop)
                if watching.done():
                    watching.result()
            await self.revoked(list(self._open))
            self._raise_trouble()
        finally:
            watching.cancel()
            closing = [partition.close() for partition in self._open.values()]
            await asyncio.gather(*closing, return_exceptions=True)
            await consumer.stop()

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions given to this worker: opened before anything of them is handled."""
        self._joined = True
        self._waiting.update(partitions)

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions taken away: their transactions end, their offsets are committed, they are closed.

        Never raises: `run` does, when all of them were let go.
        """
        taken = list(partitions)
        # First of all: opening one later would fence its rightful owner.
        self._waiting.difference_update(taken)
        self._revoking.set()
        async with self._turn:
            self._waiting.difference_update(taken)
            self._watch.forget(taken)
            ours = [partition for tp in taken if (partition := self._open.pop(tp, None)) is not None]
            await asyncio.gather(*map(self._let_go, ours))

    async def _let_go(self, partition: Partition) -> None:
        try:
            if not self._failed:
                await self._note_trouble(partition.settle(at_once=True))
        finally:
            await self._note_trouble(partition.close())

    async def _note_trouble(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception as error:
            log.error("a partition was not let go of as it should be: %r", error)
            self._trouble = self._trouble or error

    def _raise_trouble(self) -> None:
        if self._trouble is not None:
            raise self._trouble

    async def _round(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        """Open what was assigned, read and write."""
        self._revoking.clear()
        await self._close_lost()
        await self._open_waiting(consumer)
        # Reading is no part of a turn: it may wait for the schema registry, and a rebalance must not.
        found = await unless(self._read(consumer), stop, self._revoking)
        if found is None:
            self._rewind(consumer)
        else:
            await self._write(consumer, found)
        self._raise_trouble()

    @contextlib.asynccontextmanager
    async def _exclusively(self) -> AsyncIterator[None]:
        async with self._turn:
            try:
                yield
            except BaseException:
                self._failed = True  # before the turn ends, because a rebalance may wait for it
                raise

    async def _close_lost(self) -> None:
        """Partitions whose next records Kafka has deleted are opened anew, which finds out how many."""
        if not self._lost:
            return
        async with self._exclusively():
            while self._lost:
                tp = self._lost.pop()
                if (partition := self._open.pop(tp, None)) is not None:
                    self._waiting.add(tp)
                    await partition.settle(at_once=True)
                    await partition.close()

    async def _open_waiting(self, consumer: AIOKafkaConsumer) -> None:
        async with self._exclusively():
            for tp in list(self._waiting):
                if tp not in self._waiting:
                    continue  # taken away while another one was opened
                read_committed = partial(consumer.committed, tp)
                partition = Partition(self._settings, tp, read_committed, self._copies.refusal)
                self._open[tp] = partition
                await partition.open()
                await partition.begin(await starting_point(consumer, partition, self._observer))
                consumer.seek(tp, partition.passed)
                self._waiting.discard(tp)

    async def _read(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, _Read]:
        """What is to be written for the next records of each open partition.

        Records of a partition that isn't open were fetched before its opening, or after it was taken away.
        """
        batches = await self._poll(consumer)
        found = {tp: _Read(partition, []) for tp, partition in self._open.items()}
        for tp, read in found.items():
            for record in batches.get(tp, ()):
                if (copy := await self._copies.of(record)) is not None:
                    read.copies.append(copy)
        return found

    async def _poll(self, consumer: AIOKafkaConsumer) -> Mapping[TopicPartition, list[Any]]:
        try:
            found: Mapping[TopicPartition, list[Any]] = await consumer.getmany(
                timeout_ms=_POLL_MS, max_records=self._settings.batch_records
            )
        except NoOffsetForPartitionError:
            return {}  # said of an assigned partition before its opening has set its position
        except OffsetOutOfRangeError as error:
            self._lost.update(error.args[0])
            return {}
        return found

    def _rewind(self, consumer: AIOKafkaConsumer) -> None:
        """What was read and not written is read again, by partitions that a rebalance has left here."""
        for tp, partition in self._open.items():
            consumer.seek(tp, partition.passed)

    async def _write(self, consumer: AIOKafkaConsumer, found: dict[TopicPartition, _Read]) -> None:
        async with self._exclusively():
            writing = [
                self._write_one(consumer, read)
                for tp, read in found.items()
                if self._open.get(tp) is read.partition
            ]
            # All of them end within the turn, also when one fails.
            for ended in await asyncio.gather(*writing, return_exceptions=True):
                if ended is not None:
                    raise ended

    async def _write_one(self, consumer: AIOKafkaConsumer, read: _Read) -> None:
        # All that was returned is in `read`; the position also passes transactions' markers behind it.
        position = await consumer.position(read.partition.source)
        for copy in await read.partition.write(read.copies, position):
            if copy.refused is None:
                self._observer.copied()
            else:
                self._observer.refused(copy.refused)

    def _passed(self) -> dict[TopicPartition, int]:
        return {tp: partition.passed for tp, partition in self._open.items() if partition.begun}

    async def _existing_topics(self) -> set[str]:
        assert self._consumer is not None
        topics: set[str] = await self._consumer.topics()
        return topics


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

    def lag(self, partition: int, positions: int) -> None:
        metrics.RELAY_LAG.labels(partition).set(positions)

    def gap(self, partition: int, positions: int) -> None:
        metrics.RELAY_GAP.inc(positions)

    def forgotten(self, partition: int) -> None:
        metrics.RELAY_FORGOTTEN.inc()


def make_relay(settings: Settings, codec: ResultCodec) -> Relay:
    """The relay of a worker."""
    place = RelaySettings(settings.brokers, settings.app_id, session_timeout_ms=settings.session_timeout_ms)
    return Relay(place, codec, _Metrics(), SystemClock().now_ms)

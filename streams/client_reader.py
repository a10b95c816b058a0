"""What the client reads: results of the tenants it works for, and dead letters; only what is committed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.partition import partition_of
from streams import consumer_stop  # noqa: F401  (stops quietly)

Record: TypeAlias = ConsumerRecord

_POLL_MS: Final = 200
_RETRY_S: Final = 1.0
_MAX_BYTES: Final = 6 << 20
_log = logging.getLogger(__name__)


class ResultReader:
    """Reads without a group, commits nothing. `dispatch` gets each record, in order within its partition."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        results: str,
        dead_letters: str,
        dispatch: Callable[[Record], Awaitable[None]],
    ) -> None:
        self._kafka = kafka
        self._results = results
        self._dead_letters = dead_letters
        self._dispatch = dispatch
        self._consumer = self._new_consumer()
        self._count = 0
        self._followed: set[int] = set()
        self._following = asyncio.Lock()
        self._scans: dict[int, asyncio.Task[None]] = {}
        self._wanted: dict[int, int] = {}

    async def start(self, partitions_of: Callable[[str], Awaitable[set[int]]]) -> None:
        """Go to the ends of the topics. Raises LookupError where one isn't there."""
        await self._consumer.start()
        missing = {self._results, self._dead_letters} - await self._consumer.topics()
        if missing:
            raise LookupError(f"no topic {' or '.join(sorted(missing))}: run `sluice topics apply`")
        results, letters = [
            [TopicPartition(topic, p) for p in sorted(await partitions_of(topic))]
            for topic in (self._results, self._dead_letters)
        ]
        self._count = len(results)
        self._consumer.assign(results + letters)
        # Results are read only where a tenant of ours is: its partition is resumed with its first request.
        self._consumer.pause(*results)
        await self._seek_to_end(letters)

    async def stop(self) -> None:
        """End all reading."""
        for scan in self._scans.values():
            scan.cancel()
        await asyncio.gather(*self._scans.values(), return_exceptions=True)
        await self._consumer.stop()

    async def run(self) -> None:
        """Read until cancelled; Kafka's own error where reading is impossible."""
        while True:
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS)
            for records in batches.values():
                for record in records:
                    await self._dispatch(record)

    async def follow(self, tenant: str) -> int:
        """Read the tenant's results from here on; returns their partition."""
        partition = partition_of(tenant, self._count)
        async with self._following:
            if partition not in self._followed:
                place = TopicPartition(self._results, partition)
                await self._seek_to_end([place])
                self._consumer.resume(place)
                self._followed.add(partition)
        return partition

    def search(self, tenant: str, since_ms: int) -> "asyncio.Task[None]":
        """Dispatch the tenant's results since a time again; several searches of a partition become one."""
        partition = partition_of(tenant, self._count)
        self._wanted[partition] = min(since_ms, self._wanted.get(partition, since_ms))
        if partition not in self._scans:
            task = asyncio.create_task(self._scan_until_none_is_wanted(partition))
            self._scans[partition] = task
        return self._scans[partition]

    async def _scan_until_none_is_wanted(self, partition: int) -> None:
        try:
            while (since := self._wanted.pop(partition, None)) is not None:
                try:
                    await self._scan(TopicPartition(self._results, partition), since)
                except KafkaError as error:
                    if not error.retriable:
                        raise
                    _log.warning("looking back in partition %d failed, trying again: %s", partition, error)
                    self._wanted[partition] = min(since, self._wanted.get(partition, since))
                    await asyncio.sleep(_RETRY_S)
        finally:
            del self._scans[partition]

    async def _scan(self, place: TopicPartition, since_ms: int) -> None:
        consumer = self._new_consumer()
        await consumer.start()
        try:
            consumer.assign([place])
            found = (await consumer.offsets_for_times({place: since_ms}))[place]
            end = (await consumer.end_offsets([place]))[place]
            if found is None:
                return
            consumer.seek(place, found.offset)
            while await consumer.position(place) < end:
                for record in (await consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, ()):
                    await self._dispatch(record)
        finally:
            await consumer.stop()

    async def _seek_to_end(self, places: list[TopicPartition]) -> None:
        ends = await self._consumer.end_offsets(places)
        for place in places:
            self._consumer.seek(place, ends[place])

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._kafka,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_MAX_BYTES,
        )

"""What the client reads of reply topics: the deltas of requests that it submitted with `stream_deltas`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import names
from schemas.codec import Codec
from schemas.records import DeltaEvent
from schemas.signals import Invalid

_POLL_MS: Final = 200
_RETRY_S: Final = 1.0
_MAX_BYTES: Final = 6 << 20
_log = logging.getLogger(__name__)


class DeltaReader:
    """Reads reply topics without a group, each from the moment it is first followed.

    `take` gets the events of requests of which `wanted` (tenant, request id) holds. Deltas aren't written in
    transactions, so that waiting for those of the results' copies would only delay them.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        codec: Codec,
        partitions_for: Callable[[str], Awaitable[set[int]]],
        wanted: Callable[[str, str], bool],
        take: Callable[[DeltaEvent], None],
    ) -> None:
        self._kafka, self._codec, self._wanted, self._take = kafka, codec, wanted, take
        self._partitions_for = partitions_for
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._consumers: dict[str, AIOKafkaConsumer] = {}
        self._following = asyncio.Lock()

    async def follow(self, topic: str) -> None:
        """Read the topic from here on. Raises LookupError where it isn't there."""
        async with self._following:
            if topic in self._reading:
                return
            consumer = AIOKafkaConsumer(
                **self._kafka,
                enable_auto_commit=False,
                max_partition_fetch_bytes=_MAX_BYTES,
                fetch_max_wait_ms=100,
            )
            await consumer.start()
            try:
                if topic not in await consumer.topics():
                    raise LookupError(f"no topic {topic}: run `sluice topics apply`")
                # Asked of the producer: a consumer that follows nothing yet knows no topic's partitions.
                partitions = await self._partitions_for(topic)
                places = [TopicPartition(topic, partition) for partition in sorted(partitions)]
                consumer.assign(places)
                for place, end in (await consumer.end_offsets(places)).items():
                    consumer.seek(place, end)
            except BaseException:
                await consumer.stop()
                raise
            self._consumers[topic] = consumer
            self._reading[topic] = asyncio.create_task(self._read(consumer))

    async def stop(self) -> None:
        """End all reading."""
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)
        for consumer in self._consumers.values():
            await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
            except KafkaError as error:
                # Deltas are hints: results tell the same, so that nobody's request ends for it.
                _log.warning("deltas can't be read now, trying again: %s", error)
                await asyncio.sleep(_RETRY_S)
                continue
            for records in batches.values():
                for record in records:
                    await self._dispatch(record)

    async def _dispatch(self, record: Any) -> None:
        headers = dict(record.headers)
        if headers.get(names.HEADER_KIND) != names.KIND_DELTA.encode():
            return
        tenant = headers.get(names.HEADER_TENANT, b"").decode(errors="replace")
        if not self._wanted(tenant, headers.get(names.HEADER_REQUEST_ID, b"").decode(errors="replace")):
            return
        try:
            event = await self._codec.decode_async(record.value, DeltaEvent)
        except Invalid as invalid:
            _log.warning("a delta on %s can't be decoded: %s", record.topic, invalid)
            return
        self._take(event)

"""Reads ranges again: a consumer without a group, which disturbs nobody's."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from sinks.ledger import Range
from sinks.metrics import Metrics
from sinks.rows import KafkaRecord

log = logging.getLogger(__name__)

_POLL_MS: Final = 200
_STALLED_S: Final = 120.0


class ReadStalled(RuntimeError):
    """A range's records don't come, though Kafka answers."""


class RangeReader:
    """Implements `sinks.landing.Source`. Starts a consumer for each call: ranges are read again seldom."""

    def __init__(self, brokers: str, metrics: Metrics) -> None:
        self._brokers = brokers
        self._metrics = metrics

    async def read(self, ranges: Iterable[Range]) -> Sequence[KafkaRecord]:
        """See `Source`. Raises ReadStalled when nothing comes for two minutes."""
        wanted = {TopicPartition(r.topic, r.partition): r for r in sorted(ranges)}
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._brokers,
            group_id=None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            found = await self._read(consumer, wanted)
        finally:
            await consumer.stop()
        return [record for tp in wanted for record in found[tp]]

    async def _read(
        self, consumer: AIOKafkaConsumer, wanted: dict[TopicPartition, Range]
    ) -> dict[TopicPartition, list[Any]]:
        found: dict[TopicPartition, list[Any]] = {tp: [] for tp in wanted}
        consumer.assign(list(wanted))
        starts = await self._starts(consumer, wanted)
        pending = {tp for tp, r in wanted.items() if starts[tp] < r.end}
        consumer.pause(*(set(wanted) - pending))
        for tp in pending:
            consumer.seek(tp, starts[tp])
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while pending:
            batches = await consumer.getmany(*pending, timeout_ms=_POLL_MS)
            for tp, records in batches.items():
                found[tp] += [r for r in records if r.offset < wanted[tp].end]
            for tp in list(pending):
                if await consumer.position(tp) >= wanted[tp].end:
                    pending.discard(tp)
                    consumer.pause(tp)
                    moved = loop.time()
            if batches:
                moved = loop.time()
            elif loop.time() - moved > _STALLED_S:
                raise ReadStalled(f"no records of {[wanted[tp] for tp in pending]} for {_STALLED_S:.0f} s")
        return found

    async def _starts(
        self, consumer: AIOKafkaConsumer, wanted: dict[TopicPartition, Range]
    ) -> dict[TopicPartition, int]:
        """Where to read each range from: Kafka may have deleted its beginning since."""
        first = await consumer.beginning_offsets(list(wanted))
        for tp, r in wanted.items():
            if first[tp] > r.start:
                lost = min(first[tp], r.end) - r.start
                log.error(
                    "%s: Kafka has deleted %d positions from %d on of an open intent", tp, lost, r.start
                )
                self._metrics.gap(r.topic, lost)
        return {tp: max(first[tp], r.start) for tp, r in wanted.items()}

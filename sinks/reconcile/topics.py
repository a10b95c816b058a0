"""Reads topics for a reconciliation: their edges, and ranges of committed records in pieces. Disturbs no group."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import OffsetOutOfRangeError

from sinks.connect import connect_again
from sinks.ledger import Partition
from sinks.reader import ReadStalled, TopicRecreated
from sinks.reconcile.bounds import Edges

_POLL_MS: Final = 200
_POLL_RECORDS: Final = 2_000
_STALLED_S: Final = 120.0
_FETCH_BYTES: Final = 4 << 20
_FETCH_WAIT_MS: Final = (
    10  # what is read is there; a fetch behind its end must not hold up the next partition
)
_SETTINGS_ROW: Final = 5


class TopicMissing(LookupError):
    """A topic that was to be compared doesn't exist."""


async def describe(brokers: str, topics: Iterable[str]) -> tuple[list[Partition], frozenset[str]]:
    """All partitions of `topics`, and which of the topics are compacted. Raises TopicMissing."""
    names = sorted(topics)
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        found = await admin.describe_topics(names)
        settings: Any = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        )
    finally:
        await admin.close()
    partitions: list[Partition] = []
    for each in found:
        if each["error_code"]:
            raise TopicMissing(f"topic {each['topic']} doesn't exist: create it with `sluice topics apply`")
        partitions += [(each["topic"], p["partition"]) for p in each["partitions"]]
    return sorted(partitions), frozenset(_compacted(settings))


def _connect(brokers: str) -> AIOKafkaConsumer:
    return connect_again(brokers, max_partition_fetch_bytes=_FETCH_BYTES, fetch_max_wait_ms=_FETCH_WAIT_MS)


class Topics:
    """Reads `partitions` with a consumer without a group. Its readings don't overlap.

    All are assigned at once, and all but the one that is read are paused: a new assignment would wait for fetches of
    the old one, and a stop right behind one hangs (aiokafka's fetcher swallows the cancellation then).
    """

    def __init__(
        self, brokers: str, partitions: Iterable[Partition], connect: Callable[[str], Any] = _connect
    ) -> None:
        self._tps = [TopicPartition(*at) for at in partitions]
        self._consumer = connect(brokers)

    async def __aenter__(self) -> "Topics":
        await self._consumer.start()
        self._consumer.assign(self._tps)
        for tp in self._tps:
            self._consumer.seek(tp, 0)
        self._consumer.pause(*self._tps)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def edges(self, partitions: Iterable[Partition]) -> dict[Partition, Edges]:
        """What Kafka has of each partition."""
        tps = [TopicPartition(*at) for at in partitions]
        first = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {(tp.topic, tp.partition): Edges(first[tp], ends[tp]) for tp in tps}

    async def positions_at(self, partitions: Iterable[Partition], ms: int) -> dict[Partition, int | None]:
        """Of each partition the position of the first record at or after a time; None where all are older."""
        tps = [TopicPartition(*at) for at in partitions]
        found: Mapping[TopicPartition, Any] = await self._consumer.offsets_for_times(dict.fromkeys(tps, ms))
        return {
            (tp.topic, tp.partition): f.offset if (f := found.get(tp)) is not None else None for tp in tps
        }

    async def first_from(self, at: Partition, start: int, end: int) -> Any | None:
        """The first committed record of [start, end), None where there is none."""
        async with contextlib.aclosing(self.read(at, start, end)) as pieces:
            async for records in pieces:
                return records[0]
        return None

    async def read(self, at: Partition, start: int, end: int) -> AsyncGenerator[Sequence[Any], None]:
        """The committed records of [start, end) that Kafka still has, in order, in pieces of at least one.

        Raises ReadStalled when nothing comes for two minutes, and TopicRecreated.
        """
        tp = TopicPartition(*at)
        position = await self._seek(tp, start)
        self._consumer.resume(tp)
        try:
            async for records in self._read(tp, position, end):
                yield records
        finally:
            self._consumer.pause(tp)

    async def _read(self, tp: TopicPartition, position: int, end: int) -> AsyncGenerator[Sequence[Any], None]:
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while position < end:
            try:
                found = await self._consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            except OffsetOutOfRangeError:
                last, position = position, await self._seek(tp, position)
                if position == last:  # nothing was deleted there: the topic ends before it
                    raise TopicRecreated(tp, (await self._consumer.end_offsets([tp]))[tp], position) from None
                continue  # Kafka has deleted records meanwhile
            records = found.get(tp, ())
            last, position = position, await self._consumer.position(tp)
            if position != last:
                moved = loop.time()
            elif loop.time() - moved > _STALLED_S:
                raise ReadStalled(
                    f"no records of {tp.topic}-{tp.partition} from {position} for {_STALLED_S:.0f} s"
                )
            if records and records[-1].offset >= end:
                records = [r for r in records if r.offset < end]
            if records:
                yield records

    async def _seek(self, tp: TopicPartition, position: int) -> int:
        """Go on from `position`, or from where Kafka's records begin by now."""
        first: int = (await self._consumer.beginning_offsets([tp]))[tp]
        position = max(first, position)
        self._consumer.seek(tp, position)
        return position


def _compacted(settings: Any) -> Iterable[str]:
    for answer in settings:
        for resource in answer.resources:
            _code, _message, _type, name, entries = resource[:_SETTINGS_ROW]
            policy = next((e[1] for e in entries if e[0] == "cleanup.policy"), "")
            if "compact" in (policy or ""):
                yield name

"""How many records wait for each consumer group."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams import group_offsets  # noqa: F401  (makes the listing tell the truth)
from streams.cli.kafka import consumer, partitions

# Offsets also count the markers of transactions, one after each: a short stretch is read to count its records.
_COUNTED = 200
_POLLS = 20

Lags = dict[TopicPartition, int]


async def lag_of_topics(brokers: str, group: str, topics: Sequence[str]) -> int:
    """Records of `topics` that `group` has not committed; 0 for topics that don't exist."""
    found = await lags(brokers, {group: topics})
    return sum(found[group].values())


async def lags(brokers: str, groups: Mapping[str, Sequence[str]]) -> dict[str, Lags]:
    """For each group, the committed records of its topics that it hasn't committed yet, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers, request_timeout_ms=15_000)
    await admin.start()
    try:
        async with consumer(brokers) as reader:
            there = await reader.topics()
            wanted = {t for topics in groups.values() for t in topics} & there
            found = [tp for topic in sorted(wanted) for tp in await partitions(reader, topic)]
            reader.assign(found)  # without it aiokafka asks for each topic's metadata with a pause between
            starts, ends = await reader.beginning_offsets(found), await reader.end_offsets(found)
            result: dict[str, Lags] = {}
            offsets = await asyncio.gather(*(admin.list_consumer_group_offsets(g) for g in groups))
            for (group, topics), committed in zip(groups.items(), offsets, strict=True):
                mine = {tp: _position(committed.get(tp), starts[tp]) for tp in found if tp.topic in topics}
                result[group] = await _lag(reader, mine, ends)
            return result
    finally:
        await admin.close()


def _position(committed: Any, start: int) -> int:
    return start if committed is None or committed.offset < start else int(committed.offset)


async def _lag(reader: AIOKafkaConsumer, positions: Lags, ends: Lags) -> Lags:
    lag = {tp: ends[tp] - position for tp, position in positions.items()}
    short = {tp for tp, n in lag.items() if 0 < n <= _COUNTED}
    return lag | await _count(reader, {tp: positions[tp] for tp in short}, ends)


async def _count(reader: AIOKafkaConsumer, positions: Lags, ends: Lags) -> Lags:
    """The records of each stretch, markers left out."""
    if not positions:
        return {}
    counts = dict.fromkeys(positions, 0)
    reader.assign(list(positions))
    for tp, position in positions.items():
        reader.seek(tp, position)
    for _ in range(_POLLS):
        if all([await reader.position(tp) >= ends[tp] for tp in positions]):
            break
        for tp, records in (await reader.getmany(timeout_ms=100)).items():
            counts[tp] += sum(r.offset < ends[tp] for r in records)
    return counts

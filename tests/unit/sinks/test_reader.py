"""Ranges that are read again: exactly what was asked for, and what Kafka has deleted of it."""

from collections.abc import Iterable

import pytest
from aiokafka import TopicPartition

from sinks.landing import Reread
from sinks.ledger import Range
from sinks.metrics import NoMetrics
from sinks.reader import RangeReader, TopicRecreated
from tests.fakes.sink_topics import Consumer, Topics

USAGE = TopicPartition("llm.usage", 0)
OTHER = TopicPartition("llm.usage", 1)


class Gaps(NoMetrics):
    def __init__(self) -> None:
        self.positions = 0

    def gap(self, topic: str, positions: int) -> None:
        self.positions += positions


def r(start: int, end: int, tp: TopicPartition = USAGE) -> Range:
    return Range(tp.topic, tp.partition, start, end)


async def read(topics: Topics, *ranges: Range, metrics: NoMetrics | None = None) -> Reread:
    return await RangeReader("", metrics or NoMetrics(), lambda _: Consumer(topics)).read(ranges)


def offsets(reread: Reread, tp: TopicPartition = USAGE) -> list[int]:
    return [each.offset for each in reread.records if (each.topic, each.partition) == tp]


def each(*found: Iterable[int]) -> list[int]:
    return [n for some in found for n in some]


async def test_several_ranges_of_one_partition_are_all_read() -> None:
    topics = Topics({USAGE: 100, OTHER: 100}, holes=frozenset({22}))
    found = await read(topics, r(41, 42), r(3, 4), r(20, 24), r(4, 5), r(7, 9, OTHER))
    assert offsets(found) == [3, 4, 20, 21, 23, 41] and offsets(found, OTHER) == [7, 8]
    assert found.gaps == ()


async def test_what_lies_between_far_apart_ranges_is_not_read() -> None:
    topics = Topics({USAGE: 1_000_001, OTHER: 10})
    found = await read(topics, r(3, 4), r(500_000, 500_001), r(1_000_000, 1_000_001), r(0, 10, OTHER))
    assert offsets(found) == [3, 500_000, 1_000_000] and offsets(found, OTHER) == list(range(10))
    assert topics.polled < 50


async def test_what_kafka_has_deleted_is_a_gap_and_nothing_outside_is_read() -> None:
    metrics = Gaps()
    topics = Topics({USAGE: 100}, firsts={USAGE: 30})
    found = await read(topics, r(2, 5), r(28, 33), r(40, 41), metrics=metrics)
    assert offsets(found) == [30, 31, 32, 40]
    assert found.gaps == (r(2, 5), r(28, 30)) and metrics.positions == 5


async def test_what_kafka_deletes_while_it_is_read_is_a_gap_too() -> None:
    topics = Topics({USAGE: 100, OTHER: 100})
    polls = 0

    def delete() -> None:
        nonlocal polls
        polls += 1
        if polls == 3:
            topics.firsts[USAGE] = 21

    topics.before_poll = delete
    found = await read(topics, r(0, 30), r(0, 20, OTHER))
    assert offsets(found) == each(range(10), range(21, 30)) and offsets(found, OTHER) == list(range(20))
    assert found.gaps == (r(10, 21),)


async def test_a_range_beyond_the_end_of_its_topic_is_said_to_be_of_another_topic() -> None:
    with pytest.raises(TopicRecreated, match="made anew"):
        await read(Topics({USAGE: 7}), r(3, 8))

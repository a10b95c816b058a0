"""How a reconciliation reads a topic that changes under it."""

import asyncio

import pytest
from aiokafka import TopicPartition

from sinks.reader import TopicRecreated
from sinks.reconcile.topics import Topics
from tests.fakes.sink_topics import Consumer
from tests.fakes.sink_topics import Topics as Kafka

USAGE = TopicPartition("llm.usage", 0)


async def read(kafka: Kafka) -> list[int]:
    at = (USAGE.topic, USAGE.partition)
    async with asyncio.timeout(5), Topics("", [at], lambda _: Consumer(kafka)) as topics:
        return [r.offset async for records in topics.read(at, 0, 30) for r in records]


async def test_what_kafka_deletes_meanwhile_is_left_out() -> None:
    kafka = Kafka({USAGE: 30})

    def delete() -> None:
        kafka.firsts = {USAGE: 21} if kafka.polled >= 10 else {}

    kafka.before_poll = delete
    assert await read(kafka) == [*range(10), *range(21, 30)]


async def test_a_topic_that_is_made_anew_meanwhile_is_said_and_not_waited_for() -> None:
    kafka = Kafka({USAGE: 30})

    def recreate() -> None:
        kafka.ends[USAGE] = 7 if kafka.polled >= 10 else 30

    kafka.before_poll = recreate
    with pytest.raises(TopicRecreated, match="ends at 7, but was read up to 10"):
        await read(kafka)

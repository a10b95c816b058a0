"""The outbox's broker beside a transaction that hangs: a timer may not pass what it hides."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from streams.cli import kafka as commands
from streams.outbox.contract import Inbound
from streams.outbox.kafka import KafkaPartitionBroker, OutboxTopics
from tests.conftest import Admin


@pytest.fixture
async def broker(kafka_brokers: str, admin: Admin, topic_prefix: str) -> AsyncIterator[KafkaPartitionBroker]:
    source, state = f"{topic_prefix}in", f"{topic_prefix}state"
    await admin.create(source, state)
    topics = OutboxTopics(kafka_brokers, topic_prefix, f"{topic_prefix}group", source, state)
    opened = KafkaPartitionBroker(topics, 0)
    await opened.open()
    assert [record async for record in opened.changelog()] == []
    assert await opened.committed() == 0
    yield opened
    await opened.close()


def offsets(found: list[Inbound]) -> list[int]:
    return [record.offset for record in found]


@pytest.mark.parametrize("commits", [True, False])
async def test_what_an_open_transaction_hides_counts_as_input_unread(
    kafka_brokers: str, topic_prefix: str, broker: KafkaPartitionBroker, commits: bool
) -> None:
    source = f"{topic_prefix}in"
    await commands.write(kafka_brokers, [commands.Record(source, b"readable")])
    async with commands.producer(kafka_brokers, f"{topic_prefix}stuck") as stuck:
        await stuck.begin_transaction()
        await stuck.send_and_wait(source, b"hidden", partition=0)
        assert await broker.end_offset() == 2
        assert offsets(await broker.read(0, 2)) == [0], "what is readable doesn't wait for what isn't"
        waiting = asyncio.create_task(broker.read(1, 2))
        await asyncio.sleep(1.5)
        assert not waiting.done()
        await (stuck.commit_transaction() if commits else stuck.abort_transaction())
        assert offsets(await waiting) == ([1] if commits else [])


async def test_a_commands_transaction_hides_nothing_for_long(kafka_brokers: str, topic_prefix: str) -> None:
    async with commands.producer(kafka_brokers, f"{topic_prefix}command") as producer:
        assert isinstance(producer, AIOKafkaProducer)
        assert producer._txn_manager.transaction_timeout_ms == 10_000

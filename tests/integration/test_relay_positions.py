"""Where the relay goes on: positions that Kafka deleted or forgot, and waiting for the schema registry."""

import asyncio
import logging
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka.admin import AdminClient

from streams.services.relay import Relay
from streams.services.relay_position import TopicRecreated
from tests.integration.relay_harness import (
    CODEC,
    Counts,
    HeldCodec,
    Place,
    committed,
    copied,
    event_ids,
    place,
    publish,
    relaying,
    result,
    true,
    until,
)


async def delete_before(admin: Any, here: Place, offset: int) -> None:
    """As retention does."""
    await admin.client.delete_records(
        {TopicPartition(here.settings.source, 0): RecordsToDelete(before_offset=offset)}
    )


async def test_results_deleted_while_no_relay_ran_are_told_and_passed_over(
    admin: Any, kafka_brokers: str, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(2), here.replies, partitions=1)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 2))
    assert counts.gaps == {}
    await publish(here, range(2, 6), here.replies, partitions=1)
    await delete_before(admin, here, 5)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1))
    assert counts.gaps == {0: 3}
    assert any(r.levelno == logging.ERROR and "deleted [2, 5)" in r.getMessage() for r in caplog.records)
    assert await copied(here) == event_ids(0, 1, 5)


async def test_results_deleted_before_a_slow_relay_are_told_and_passed_over(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    here.overrides |= {"batch_records": 1, "max_bytes": 1 << 20}
    await publish(here, range(10), here.replies, partitions=1, padding=400_000)
    codec = HeldCodec()
    async with relaying(here, codec) as (_, counts):
        await until(lambda: true(codec.asked.is_set()))
        await delete_before(admin, here, 9)
        codec.held.set()
        await until(lambda: true(sum(counts.gaps.values()) + counts.made == 10))
    assert counts.gaps[0] > 0, "it must have been overtaken for this test to say anything"
    expected = [*range(9 - counts.gaps[0]), 9]
    assert await copied(here) == event_ids(*expected)


async def test_a_first_start_begins_at_the_beginning_and_a_lost_position_is_told(
    admin: Any, kafka_brokers: str, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(2), here.replies, partitions=1)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 2))
    assert counts.lost_positions == [] and counts.gaps == {}
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR and r.name.startswith("streams")]
    group = here.settings.group_id
    client = AdminClient({"bootstrap.servers": kafka_brokers})
    await asyncio.to_thread(client.delete_consumer_groups([group])[group].result, 20)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 2))
    assert counts.lost_positions == [0]
    assert any(r.levelno == logging.ERROR and "copied again" in r.getMessage() for r in caplog.records)


async def test_every_opened_partition_has_a_position(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    """Else an idle partition would look as if its position had been lost."""
    here = await place(admin, kafka_brokers, topic_prefix, partitions=2)
    async with relaying(here) as (relay, _):
        await until(lambda: true(relay.ready()))
        assert [await committed(here, p) for p in (0, 1)] == [0, 0]
    async with relaying(here) as (relay, counts):
        await until(lambda: true(relay.ready()))
    assert counts.lost_positions == []


async def test_a_topic_made_anew_is_refused(admin: Any, kafka_brokers: str, topic_prefix: str) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(1), here.replies, partitions=1)
    source = TopicPartition(here.settings.source, 0)
    consumer = AIOKafkaConsumer(  # which else commits its own position as it stops, once it has one
        bootstrap_servers=kafka_brokers, group_id=here.settings.group_id, enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign([source])
    await consumer.commit({source: OffsetAndMetadata(7, "")})
    await consumer.stop()
    relay = Relay(here.settings, CODEC, Counts(), lambda: 7)
    with pytest.raises(TopicRecreated, match="ends at 1"):
        await asyncio.wait_for(relay.run(asyncio.Event()), 30)
    assert await copied(here) == []


async def test_what_was_read_to_its_end_leaves_no_gap(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    """Transactions' markers and aborted records behind the last result are passed too, and their deletion isn't
    taken for a loss."""
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_brokers, transactional_id=f"{topic_prefix}route")
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(here.settings.source, result(0, here.replies), b"acme")
    await producer.begin_transaction()
    await producer.send_and_wait(here.settings.source, result(1, here.replies), b"acme")
    await producer.abort_transaction()
    await producer.stop()
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1))

        async def passed() -> bool:
            return await committed(here) == 4

        await until(passed)
        await until(lambda: true(counts.lags == {0: 0}))
    await delete_before(admin, here, 4)
    async with relaying(here) as (relay, counts):
        await until(lambda: true(relay.ready()))
    assert counts.gaps == {}


async def test_stopping_does_not_wait_for_the_registry(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(1), here.replies, partitions=1)
    codec, stop = HeldCodec(), asyncio.Event()
    running = asyncio.create_task(Relay(here.settings, codec, Counts(), lambda: 7).run(stop))
    await asyncio.wait_for(codec.asked.wait(), 30)
    stop.set()
    await asyncio.wait_for(running, 10)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1))
    assert await copied(here) == event_ids(0)


async def test_a_rebalance_does_not_wait_for_the_registry(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=2)
    await publish(here, range(20), here.replies)
    codec = HeldCodec()
    async with relaying(here, codec) as (_, first):
        await asyncio.wait_for(codec.asked.wait(), 30)
        codec.asked.clear()
        async with relaying(here) as (_, second):
            await until(lambda: true(second.made == 10), 6)
            await asyncio.wait_for(codec.asked.wait(), 10)  # what it has kept was opened and read anew
            codec.held.set()
            await until(lambda: true(first.made == 10))
    assert sorted(await copied(here)) == sorted(event_ids(*range(20)))


async def test_lag_is_told_also_while_the_registry_is_away(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    codec = HeldCodec()
    async with relaying(here, codec) as (_, counts):
        await until(lambda: true(counts.lags == {0: 0}))
        await publish(here, range(5), here.replies, partitions=1)
        await until(lambda: true(counts.lags == {0: 5}))
        await publish(here, range(5, 9), here.replies, partitions=1)
        await until(lambda: true(counts.lags == {0: 9}))
        codec.held.set()
        await until(lambda: true(counts.lags == {0: 0}))
        assert counts.made == 9

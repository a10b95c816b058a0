"""Publishers choose their compression (Go's franz-go takes snappy by default): Sluice's consumers read each."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer

from tests.conftest import Admin


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_of_kafka_is_read(
    compression: str, kafka_brokers: str, admin: Admin, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}compressed"
    await admin.create(topic)
    producer = Producer(
        {"bootstrap.servers": kafka_brokers, "compression.type": compression, "linger.ms": 50}
    )
    values = [bytes([i]) * 2000 for i in range(50)]
    for value in values:
        producer.produce(topic, value=value)
    assert await asyncio.to_thread(producer.flush, 30) == 0
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka_brokers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            assert [(await consumer.getone()).value for _ in values] == values
    finally:
        await consumer.stop()

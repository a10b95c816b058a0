"""The relay on a real broker: exactly once through restarts, rebalances, zombies, missing topics."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import names
from schemas.records import DeadLetter
from streams.services.relay import Relay
from tests.integration.relay_harness import (
    CODEC,
    Counts,
    copied,
    count,
    place,
    publish,
    read,
    relaying,
    result,
    true,
    until,
)


async def test_copies_keep_bytes_key_headers_and_time(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix)
    await publish(here, range(1), here.replies)
    await publish(here, range(1, 3), None)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1))
    [copy] = await read(here, here.replies)
    assert (copy.value, copy.key) == (result(0, here.replies), b"acme")
    assert list(copy.headers) == [(names.HEADER_EVENT_ID, b"event-0")]


async def test_nothing_twice_over_restarts(admin: Any, kafka_brokers: str, topic_prefix: str) -> None:
    here = await place(admin, kafka_brokers, topic_prefix)
    for start in (0, 50, 100):
        await publish(here, range(start, start + 50), here.replies)
        async with relaying(here) as (_, counts):
            await until(lambda counts=counts: true(counts.made == 50))
    assert sorted(await copied(here)) == sorted(f"event-{n}" for n in range(150))


async def test_nothing_lost_or_twice_while_relays_come_and_go(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=4)
    done = asyncio.Event()

    async def feed() -> int:
        start = 0
        while not done.is_set():
            await publish(here, range(start, start + 20), here.replies, partitions=4)
            start += 20
        return start

    feeding = asyncio.create_task(feed())
    async with relaying(here):
        for _ in range(3):
            async with relaying(here) as (second, counts):
                await until(lambda second=second, counts=counts: true(second.ready() and counts.made > 0))
        done.set()
        total = await feeding
        await until(lambda: count(here, total), 60)
    assert sorted(await copied(here)) == sorted(f"event-{n}" for n in range(total))


async def test_a_zombie_is_fenced_and_ends(admin: Any, kafka_brokers: str, topic_prefix: str) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(3), here.replies, partitions=1)
    stop, counts = asyncio.Event(), Counts()
    zombie = asyncio.create_task(Relay(here.settings, CODEC, counts, lambda: 7).run(stop))
    await until(lambda: true(counts.made == 3))
    # Another producer of the partition's transactional id starts, as the next owner's would.
    usurper = AIOKafkaProducer(
        bootstrap_servers=kafka_brokers, transactional_id=f"{here.settings.group_id}-{here.settings.source}-0"
    )
    await usurper.start()
    await usurper.stop()
    await publish(here, range(3, 6), here.replies, partitions=1)
    try:
        await asyncio.wait_for(zombie, 30)
        raise AssertionError("the zombie went on")
    except KafkaError:
        pass
    assert len(await copied(here)) == 3
    async with relaying(here) as (_, after):
        await until(lambda: true(after.made == 3))
    assert sorted(await copied(here)) == sorted(f"event-{n}" for n in range(6))


async def test_a_missing_or_reserved_reply_topic_blocks_nothing(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(1), f"{here.prefix}nowhere", partitions=1)
    await publish(here, range(1, 2), names.RESULTS, partitions=1)
    await publish(here, range(2, 3), here.replies, partitions=1)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1), 20)
        assert counts.reasons == ["reply_topic_missing", "reply_topic_reserved"]
    missing, reserved = [
        CODEC.decode(r.value, DeadLetter) for r in await read(here, here.settings.dead_letters)
    ]
    assert missing.reason == "reply_topic_missing"
    assert "sluice topics apply" in missing.message
    assert (missing.source_offset, missing.value) == (0, result(0, f"{here.prefix}nowhere"))
    assert (missing.claimed_tenant, missing.request_id) == ("acme", "r0")
    assert reserved.reason == "reply_topic_reserved"
    assert await copied(here) == ["event-2"]


async def test_a_hanging_transaction_is_noticed(admin: Any, kafka_brokers: str, topic_prefix: str) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    hanging = AIOKafkaProducer(bootstrap_servers=kafka_brokers, transactional_id=f"{topic_prefix}hanging")
    await hanging.start()
    try:
        async with relaying(here) as (_, counts):
            await publish(here, range(1), here.replies, partitions=1)
            await until(lambda: true(counts.made == 1))
            await hanging.begin_transaction()
            await hanging.send_and_wait(here.settings.source, result(1, here.replies), b"acme")
            await publish(here, range(2, 3), here.replies, partitions=1)
            await until(lambda: true(counts.longest_hang > 1))
            assert counts.made == 1
            await hanging.abort_transaction()
            await until(lambda: true(counts.made == 2))
    finally:
        await hanging.stop()
    assert await copied(here) == ["event-0", "event-2"]


async def test_bytes_that_are_no_result_become_a_dead_letter(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_brokers)
    await producer.start()
    await producer.send_and_wait(here.settings.source, b"garbage")
    await producer.stop()
    await publish(here, range(1), here.replies, partitions=1)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1))
    [letter] = [CODEC.decode(r.value, DeadLetter) for r in await read(here, here.settings.dead_letters)]
    assert (letter.reason, letter.value, letter.at) == ("undecodable", b"garbage", 7)

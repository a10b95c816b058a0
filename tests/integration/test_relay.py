"""The relay on a real broker: exactly once through restarts, rebalances, zombies, missing topics."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import names
from schemas.codec import Codec
from schemas.records import DeadLetter, ResultEvent
from schemas.registry import SchemaStore
from streams.services.relay import Relay
from streams.services.relay_partition import RelaySettings

CODEC = Codec(SchemaStore())


@dataclass
class Counts:
    made: int = 0
    reasons: list[str] = field(default_factory=list)
    longest_hang: float = 0

    def copied(self) -> None:
        self.made += 1

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)

    def hanging(self, partition: int, seconds: float) -> None:
        self.longest_hang = max(self.longest_hang, seconds)


@dataclass
class Place:
    """Topics of one test's own."""

    brokers: str
    prefix: str

    @property
    def settings(self) -> RelaySettings:
        return RelaySettings(
            self.brokers,
            app_id=self.prefix,
            source=f"{self.prefix}results",
            dead_letters=f"{self.prefix}dead",
            offsets_every_ms=100,
            topics_every_ms=0,
        )

    @property
    def replies(self) -> str:
        return f"{self.prefix}replies"


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.05)


async def place(admin: Any, brokers: str, prefix: str, partitions: int = 2) -> Place:
    found = Place(brokers, prefix)
    await admin.create(found.settings.source, partitions=partitions)
    await admin.create(found.replies, found.settings.dead_letters, partitions=1)
    return found


def result(number: int, reply_topic: str | None) -> bytes:
    event = ResultEvent(
        event_id=f"event-{number}", kind="terminal", request_id=f"r{number}", tenant="acme",
        status="succeeded", config_version="v", accepted_at=1, completed_at=2, reply_topic=reply_topic,
    )  # fmt: skip
    return CODEC.encode(event, names.RESULTS)


async def publish(place: Place, numbers: range, reply_topic: str | None, partitions: int = 2) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=place.brokers, acks="all")
    await producer.start()
    try:
        for n in numbers:
            headers = [(names.HEADER_EVENT_ID, f"event-{n}".encode())]
            value = result(n, reply_topic)
            await producer.send(place.settings.source, value, b"acme", n % partitions, headers=headers)
        await producer.flush()
    finally:
        await producer.stop()


@asynccontextmanager
async def relaying(place: Place) -> AsyncIterator[tuple[Relay, Counts]]:
    counts, stop = Counts(), asyncio.Event()
    relay = Relay(place.settings, CODEC, counts, lambda: 7)
    task = asyncio.create_task(relay.run(stop))
    try:
        yield relay, counts
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def read(place: Place, topic: str) -> list[Any]:
    """The committed records of a topic with one partition, once no transaction on it is open."""
    source = TopicPartition(topic, 0)
    async with (
        reading(place, "read_uncommitted") as uncommitted,
        reading(place, "read_committed") as consumer,
    ):

        async def settled() -> bool:
            ends = [(await c.end_offsets([source]))[source] for c in (uncommitted, consumer)]
            return bool(ends[0] == ends[1])

        await until(settled)
        consumer.assign([source])
        end = (await consumer.end_offsets([source]))[source]
        await consumer.seek_to_beginning(source)
        found: list[Any] = []
        while await consumer.position(source) < end:
            found += (await consumer.getmany(source, timeout_ms=100)).get(source, [])
        return found


@asynccontextmanager
async def reading(place: Place, isolation_level: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=place.brokers, isolation_level=isolation_level, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def copied(place: Place) -> list[str]:
    return [dict(r.headers)[names.HEADER_EVENT_ID].decode() for r in await read(place, place.replies)]


async def test_copies_keep_bytes_key_headers_and_time(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix)
    await publish(here, range(1), here.replies)
    await publish(here, range(1, 3), None)
    async with relaying(here) as (_, counts):
        await until(lambda: _true(counts.made == 1))
    [copy] = await read(here, here.replies)
    assert (copy.value, copy.key) == (result(0, here.replies), b"acme")
    assert list(copy.headers) == [(names.HEADER_EVENT_ID, b"event-0")]


async def test_nothing_twice_over_restarts(admin: Any, kafka_brokers: str, topic_prefix: str) -> None:
    here = await place(admin, kafka_brokers, topic_prefix)
    for start in (0, 50, 100):
        await publish(here, range(start, start + 50), here.replies)
        async with relaying(here) as (_, counts):
            await until(lambda counts=counts: _true(counts.made == 50))
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
                await until(lambda second=second, counts=counts: _true(second.ready() and counts.made > 0))
        done.set()
        total = await feeding
        await until(lambda: _count(here, total), 60)
    assert sorted(await copied(here)) == sorted(f"event-{n}" for n in range(total))


async def test_a_zombie_is_fenced_and_ends(admin: Any, kafka_brokers: str, topic_prefix: str) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(3), here.replies, partitions=1)
    stop, counts = asyncio.Event(), Counts()
    zombie = asyncio.create_task(Relay(here.settings, CODEC, counts, lambda: 7).run(stop))
    await until(lambda: _true(counts.made == 3))
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
        await until(lambda: _true(after.made == 3))
    assert sorted(await copied(here)) == sorted(f"event-{n}" for n in range(6))


async def test_a_missing_or_reserved_reply_topic_blocks_nothing(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    await publish(here, range(1), f"{here.prefix}nowhere", partitions=1)
    await publish(here, range(1, 2), names.RESULTS, partitions=1)
    await publish(here, range(2, 3), here.replies, partitions=1)
    async with relaying(here) as (_, counts):
        await until(lambda: _true(counts.made == 1), 20)
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
            await until(lambda: _true(counts.made == 1))
            await hanging.begin_transaction()
            await hanging.send_and_wait(here.settings.source, result(1, here.replies), b"acme")
            await publish(here, range(2, 3), here.replies, partitions=1)
            await until(lambda: _true(counts.longest_hang > 1))
            assert counts.made == 1
            await hanging.abort_transaction()
            await until(lambda: _true(counts.made == 2))
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
        await until(lambda: _true(counts.made == 1))
    [letter] = [CODEC.decode(r.value, DeadLetter) for r in await read(here, here.settings.dead_letters)]
    assert (letter.reason, letter.value, letter.at) == ("undecodable", b"garbage", 7)


async def _true(value: bool) -> bool:
    return value


async def _count(place: Place, wanted: int) -> bool:
    return len(await copied(place)) >= wanted

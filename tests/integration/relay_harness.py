"""What the relay's tests share: topics of a test's own, results, and relays that run in the test's process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import names
from schemas.codec import Codec
from schemas.records import DeadLetter, ResultEvent
from schemas.registry import SchemaStore
from streams.services.relay import Relay
from streams.services.relay_contract import RelaySettings, ResultCodec

CODEC = Codec(SchemaStore())


@dataclass
class Counts:
    made: int = 0
    reasons: list[str] = field(default_factory=list)
    longest_hang: float = 0
    lags: dict[int, int] = field(default_factory=dict)
    gaps: dict[int, int] = field(default_factory=dict)
    lost_positions: list[int] = field(default_factory=list)

    def copied(self) -> None:
        self.made += 1

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)

    def hanging(self, partition: int, seconds: float) -> None:
        self.longest_hang = max(self.longest_hang, seconds)

    def lag(self, partition: int, positions: int) -> None:
        self.lags[partition] = positions

    def gap(self, partition: int, positions: int) -> None:
        self.gaps[partition] = self.gaps.get(partition, 0) + positions

    def forgotten(self, partition: int) -> None:
        self.lost_positions.append(partition)


@dataclass
class Place:
    """Topics of one test's own."""

    brokers: str
    prefix: str
    overrides: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> RelaySettings:
        settings = RelaySettings(
            self.brokers,
            app_id=self.prefix,
            source=f"{self.prefix}results",
            dead_letters=f"{self.prefix}dead",
            offsets_every_ms=100,
            topics_every_ms=0,
        )
        return replace(settings, **self.overrides)

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


async def publish(
    place: Place, numbers: range, reply_topic: str | None, partitions: int = 2, padding: int = 0, **more: Any
) -> None:
    """Results on the source topic. `padding` bytes are a header of theirs; `more` goes to the producer's send."""
    producer = AIOKafkaProducer(bootstrap_servers=place.brokers, acks="all")
    await producer.start()
    try:
        for n in numbers:
            headers = [(names.HEADER_EVENT_ID, f"event-{n}".encode()), ("padding", b"." * padding)]
            fields = {"key": b"acme", "headers": headers[: 2 if padding else 1], **more}
            value = result(n, reply_topic)
            await producer.send(place.settings.source, value, partition=n % partitions, **fields)
        await producer.flush()
    finally:
        await producer.stop()


@asynccontextmanager
async def relaying(place: Place, codec: ResultCodec = CODEC) -> AsyncIterator[tuple[Relay, Counts]]:
    counts, stop = Counts(), asyncio.Event()
    relay = Relay(place.settings, codec, counts, lambda: 7)
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


async def copied(place: Place, topic: str | None = None) -> list[str]:
    return [
        dict(r.headers)[names.HEADER_EVENT_ID].decode() for r in await read(place, topic or place.replies)
    ]


async def letters(place: Place) -> list[DeadLetter]:
    return [CODEC.decode(r.value, DeadLetter) for r in await read(place, place.settings.dead_letters)]


async def committed(place: Place, partition: int = 0) -> int | None:
    """The group's committed offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.brokers, group_id=place.settings.group_id)
    await consumer.start()
    try:
        found: int | None = await consumer.committed(TopicPartition(place.settings.source, partition))
        return found
    finally:
        await consumer.stop()


def event_ids(*numbers: int) -> list[str]:
    return [f"event-{n}" for n in numbers]


class HeldCodec:
    """A codec for which the schema registry is away: it decodes nothing before `held` is set."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.asked = asyncio.Event()

    async def decode_async(self, data: bytes | None, expected: type[ResultEvent]) -> ResultEvent:
        self.asked.set()
        await self.held.wait()
        return CODEC.decode(data, expected)

    def encode(self, record: DeadLetter, subject_topic: str | None = None) -> bytes:
        return CODEC.encode(record, subject_topic)


async def true(value: bool) -> bool:
    return value


async def count(place: Place, wanted: int) -> bool:
    return len(await copied(place)) >= wanted

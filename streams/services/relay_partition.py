"""One input partition of the relay: its transactional producer, and how far it has come."""

import asyncio
import time
from dataclasses import dataclass

import aiokafka.producer.sender as sender
from aiokafka import AIOKafkaProducer, TopicPartition

from schemas import names
from streams.crash import crash_point

# aiokafka waits this long for the previous transaction's markers; its own 20 ms would cap us at 40 a second.
sender.BACKOFF_OVERRIDE = 0.002


@dataclass(frozen=True)
class RelaySettings:
    """Where the relay reads and how it is named. Times in milliseconds."""

    brokers: str
    app_id: str
    source: str = names.RESULTS
    dead_letters: str = names.DEAD_LETTERS
    session_timeout_ms: int = 8000
    offsets_every_ms: int = 1000
    topics_every_ms: int = 1000
    transaction_timeout_ms: int = 10_000
    batch_records: int = 200
    max_bytes: int = 6 << 20

    @property
    def group_id(self) -> str:
        return f"{self.app_id}-relay"


@dataclass(frozen=True)
class Copy:
    """A record to write: a copy or, where `refused` gives a reason, a dead letter."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int | None
    refused: str | None = None


class Partition:
    """One open input partition: its producer, how far it was handled and how far that is committed."""

    def __init__(self, settings: RelaySettings, source: TopicPartition) -> None:
        self.source = source
        self._settings = settings
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.brokers,
            transactional_id=f"{settings.group_id}-{source.topic}-{source.partition}",
            transaction_timeout_ms=settings.transaction_timeout_ms,
            max_request_size=settings.max_bytes,
            acks="all",
        )
        self._passed: int | None = None
        self._committed: int | None = None
        self._committed_at = time.monotonic()

    async def open(self) -> None:
        """Fence the previous owner."""
        await self._producer.start()

    async def write(self, copies: list[Copy], offset: int) -> None:
        """The copies and the offset in one transaction; an offset without copies may wait for company."""
        self._passed = offset
        if copies:
            await self._transact(copies, offset)
        else:
            await self.settle()

    async def settle(self, at_once: bool = False) -> None:
        """Commit an offset that has waited long enough."""
        due = at_once or (time.monotonic() - self._committed_at) * 1000 >= self._settings.offsets_every_ms
        if due and self._passed is not None and self._passed != self._committed:
            await self._transact([], self._passed)

    async def _transact(self, copies: list[Copy], offset: int) -> None:
        async with self._producer.transaction():
            sent = [
                await self._producer.send(
                    c.topic, c.value, key=c.key, headers=list(c.headers), timestamp_ms=c.timestamp
                )
                for c in copies
            ]
            await asyncio.gather(*sent)
            crash_point("relay.after_copy")
            await self._producer.send_offsets_to_transaction({self.source: offset}, self._settings.group_id)
        self._committed, self._committed_at = offset, time.monotonic()

    async def close(self) -> None:
        """Let go of the partition."""
        await self._producer.stop()

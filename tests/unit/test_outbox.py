"""The outbox between its feeder and its broker: pausing, timers, and what a broker's trouble isn't."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import repeat

import pytest
from aiokafka.errors import (
    IllegalOperation,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFenced,
)

from streams.outbox.batches import send_all
from streams.outbox.contract import BrokerError, Fenced, Inbound, Outbound, Transient
from streams.outbox.kafka import _guard
from streams.outbox.outbox import Outbox
from streams.outbox.writer import WriterLimits
from tests.fakes.broker import Log, MemoryBroker
from tests.property.test_outbox_model import Counting


def record(offset: int, timestamp: int = 0, size: int = 1) -> Inbound:
    return Inbound("in", 0, offset, timestamp, b"key", b"x" * size)


class Rig:
    """An outbox over one partition in memory."""

    def __init__(self, log: Log, machine: Callable[[int], Counting], now: int = 0) -> None:
        self.calls: list[str] = []
        self.outbox = Outbox(
            source="in",
            brokers=lambda _: MemoryBroker(log),
            machines=machine,
            now=lambda: now,
            crash=lambda error: self.calls.append(repr(error)),
            still_owner=lambda _: asyncio.sleep(0),
            pause=lambda _: self.calls.append("pause"),
            resume=lambda _: self.calls.append("resume"),
            limits=WriterLimits(linger_s=0, reopen_backoff_s=0),
        )


async def turns(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def test_a_partition_that_is_full_of_repetitions_is_resumed() -> None:
    log = Log([record(i) for i in range(2500)], repeat("ok"))
    log.offset = 2500  # all of it was committed before: nothing will be committed again
    rig = Rig(log, lambda _: Counting())
    for each in log.records:
        rig.outbox.put(each)
    rig.outbox.open([0])
    await turns(lambda: "resume" in rig.calls or len(rig.calls) > 2)
    assert rig.calls == ["pause", "resume"]
    await rig.outbox.close()


class Expiring(Counting):
    """Notes the order of what it is asked."""

    def __init__(self, done: list[str]) -> None:
        super().__init__()
        self._done, self._open = done, True

    def handle(self, inbound: Inbound) -> list[Outbound]:
        if inbound.offset == 1000:
            self._done.append("outcome")
            self._open = False
        return []

    def next_due(self) -> int | None:
        return 5_000 if self._open else None

    def tick(self, now: int) -> list[Outbound]:
        if now >= 5_000:
            self._done.append("expired")
            self._open = False
        return []

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        await asyncio.sleep(0)


async def test_nothing_expires_while_its_outcome_waits_unread() -> None:
    done: list[str] = []
    log = Log([record(i, timestamp=1_000 + i) for i in range(1500)], repeat("ok"))
    rig = Rig(log, lambda _: Expiring(done), now=60_000)
    for each in log.records:
        rig.outbox.put(each)
    rig.outbox.open([0])
    await turns(lambda: log.offset == 1500)
    assert done == ["outcome"]
    await rig.outbox.close()


async def test_only_a_record_too_large_is_the_records_fault() -> None:
    async def failing(error: Exception) -> None:
        raise error

    async def translated(error: Exception) -> type[BaseException]:
        try:
            await _guard(failing(error))
        except (BrokerError, KafkaError) as raised:
            return type(raised)
        raise AssertionError("nothing was raised")

    wrapped = KafkaError("Unexpected error during batch delivery")
    wrapped.__cause__ = ProducerFenced()
    assert await translated(KafkaTimeoutError()) is Transient
    assert await translated(KafkaError("connection lost")) is Transient
    assert await translated(IllegalOperation("no transaction")) is Fenced
    assert await translated(wrapped) is Fenced
    assert await translated(MessageSizeTooLargeError()) is MessageSizeTooLargeError


async def test_a_poison_record_whose_end_is_not_written_is_given_up_after_the_reopening() -> None:
    log = Log([Inbound("in", 0, 0, 0, b"key", b"poison")], iter(["lost"]))
    rig = Rig(log, lambda _: Counting())
    rig.outbox.put(log.records[0])
    rig.outbox.open([0])
    await turns(lambda: log.offset == 1)
    assert [o.topic for o in log.outputs] == ["dead"]
    await rig.outbox.close()


async def test_a_record_over_the_limit_is_told_before_anything_is_enqueued() -> None:
    enqueued: list[str] = []

    class Producer:
        def create_batch(self) -> object:
            enqueued.append("batch")
            return object()

    records = [Outbound("out", b"k", b"small", partition=0), Outbound("out", b"k", b"x" * 2000, partition=1)]
    with pytest.raises(MessageSizeTooLargeError, match="a record for out takes 2065 bytes, more than 1000"):
        await send_all(Producer(), records, 1000)
    assert enqueued == []

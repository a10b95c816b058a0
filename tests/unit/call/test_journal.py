"""The producer of a call worker while the broker is away, and the sizes that it takes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import REGISTRY

from schemas.codec import Codec
from schemas.names import TENANT_EVENTS
from schemas.records import ContentPart, DeadLetter, Outcome, Timings
from schemas.registry import SchemaStore
from streams.services.call.journal import (
    MAX_MESSAGE_BYTES,
    MOST_UNSENT_BYTES,
    MOST_VALUE_BYTES,
    Journal,
    RecordTooLarge,
    make_producer,
)


class Producer:
    """Its buffer is full `full` times; what it took is durable once `ack` is set."""

    def __init__(self, full: int = 0) -> None:
        self.full, self.sent = full, list[tuple[str, bytes, int | None]]()
        self.ack = asyncio.Event()
        self.ack.set()

    async def send(self, topic: str, value: bytes, key: bytes, partition: int | None = None) -> Any:
        if self.full:
            self.full -= 1
            raise KafkaTimeoutError()
        self.sent.append((topic, value, partition))
        return asyncio.ensure_future(self._durable())

    async def _durable(self) -> Any:
        await self.ack.wait()
        return SimpleNamespace(offset=len(self.sent) - 1)


def journal(producer: Producer) -> Journal:
    made: Any = producer
    return Journal(made, Codec(SchemaStore()))


def outcome(size: int) -> Outcome:
    return Outcome(
        event_id="e", request_id="r", tenant="t", attempt=1, attempt_id="a", tries=1, model="m", status="succeeded",
        config_version="v", timings=Timings(accepted_at=0), output=[ContentPart(type="text", text="x" * size)],
    )  # fmt: skip


async def test_a_full_buffer_is_waited_out() -> None:
    """A broker was away for longer than a request may take: the ends of paid calls aren't lost, nor told twice."""
    producer = Producer(full=3)
    await journal(producer).outcome(outcome(1), 7)
    assert [(topic, partition) for topic, _, partition in producer.sent] == [(TENANT_EVENTS, 7)]


async def test_batches_never_expire() -> None:
    """Fails with an aiokafka that keeps the age of its batches elsewhere."""
    producer = make_producer("127.0.0.1:9")
    try:
        accumulator = producer._message_accumulator
        accumulator._append_batch(accumulator.create_builder(), TopicPartition("t", 0))
        [batch] = accumulator._batches[TopicPartition("t", 0)]
        batch._ctime -= 10**9
        assert not batch.expired()
        accumulator._batches.clear()
    finally:
        await producer.stop()


async def test_unsent_outcomes_and_their_tasks_fill_the_journal() -> None:
    producer = Producer()
    producer.ack.clear()
    kept = journal(producer)
    assert not kept.full
    sending = [asyncio.create_task(kept.outcome(outcome(1), 0, MOST_UNSENT_BYTES // 2)) for _ in range(2)]
    await asyncio.sleep(0)
    assert kept.full and (REGISTRY.get_sample_value("sluice_call_unsent_bytes") or 0) > MOST_UNSENT_BYTES
    producer.ack.set()
    await asyncio.gather(*sending)
    assert not kept.full and REGISTRY.get_sample_value("sluice_call_unsent_bytes") == 0


async def test_an_outcome_longer_than_its_topic_takes_is_refused_before_it_is_sent() -> None:
    producer = Producer()
    with pytest.raises(RecordTooLarge, match="bytes"):
        await journal(producer).outcome(outcome(MOST_VALUE_BYTES), 0)
    assert producer.sent == []
    await journal(producer).outcome(outcome(MOST_VALUE_BYTES - 1000), 0)
    [(_, value, _)] = producer.sent
    real = make_producer("127.0.0.1:9")
    real._serialize(b"t" * 1024, value, [])
    with pytest.raises(Exception, match="MessageSizeTooLarge"):
        real._serialize(b"t", b"x" * MAX_MESSAGE_BYTES, [])
    await real.stop()


async def test_dead_letters_are_counted_by_reason() -> None:
    letter = DeadLetter(
        id="l", kind="undecodable", stage="call", reason="undecodable", message="m", at=0, source_topic="c",
        source_partition=0, source_offset=0, source_timestamp=0,
    )  # fmt: skip
    labels = {"reason": "undecodable"}
    before = REGISTRY.get_sample_value("sluice_call_dead_letters_total", labels) or 0
    await journal(Producer()).dead_letter(letter)
    assert REGISTRY.get_sample_value("sluice_call_dead_letters_total", labels) == before + 1

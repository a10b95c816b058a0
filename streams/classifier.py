"""The classify stage's I/O: decode, let the processors decide, send, and mark only what is acknowledged.

It is stateless. After a crash it repeats itself from the committed mark; route tells the repetitions.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from processors.classify import classify, parse_control
from processors.clock import Clock
from processors.route.emit import Source
from schemas.codec import Codec
from schemas.names import CONTROL, DEAD_LETTERS, TENANT_EVENTS
from schemas.partition import partition_of
from schemas.records import ClassifiedRequest, Control, RequestEvent
from schemas.signals import Invalid
from streams import metrics
from streams.config_watch import ConfigWatcher
from streams.crash import crash_point
from streams.dead_letters import dead_letter
from streams.outbox.buffer import Buffer
from streams.outbox.contract import Inbound, Outbound
from streams.outbox.reading import committed_offsets, contiguous, make_reader, read_range

log = logging.getLogger(__name__)
Part = tuple[str, int]
_BATCH_RECORDS, _BATCH_BYTES = 200, 4 << 20
# A request travels on inside call tasks, outcomes and letters, all of which must fit records of 6 MiB; a command may
# carry such a task.
_MOST_REQUEST_BYTES = 5 << 20
_MOST_COMMAND_BYTES = (5 << 20) + (64 << 10)


class Classifier:
    """Turns one record of `llm.requests` or `llm.control` into one record of `llm.tenant-events` or a dead letter."""

    def __init__(self, codec: Codec, configs: ConfigWatcher, clock: Clock, partitions: int) -> None:
        self._codec, self._configs, self._clock, self._partitions = codec, configs, clock, partitions

    async def outbound(self, inbound: Inbound) -> Outbound:
        """What the record becomes. Waits while the registry can't be reached."""
        try:
            return await self._decided(inbound)
        except Invalid as error:
            return self._letter(inbound, error.reason, error.message)
        except Exception as error:  # one record must not end the worker again and again: it is given up alone
            log.exception(
                "%s-%d offset %d can't be classified", inbound.topic, inbound.partition, inbound.offset
            )
            message = f"classifying it failed ({error!r}); redrive it once the cause is mended"
            return self._letter(inbound, "poison", message)

    async def _decided(self, inbound: Inbound) -> Outbound:
        if inbound.topic == CONTROL:
            control = await self._codec.decode_async(_value(inbound), Control)
            return self._or_letter(inbound, control, control.request_id, lambda: self._control(control))
        event = await self._codec.decode_async(_value(inbound), RequestEvent)
        return self._or_letter(inbound, event, event.id, lambda: self._request(event, inbound))

    def _or_letter(
        self,
        inbound: Inbound,
        event: RequestEvent | Control,
        request_id: str | None,
        decide: Callable[[], Outbound],
    ) -> Outbound:
        """What `decide` makes of a decoded event; where it is invalid, a letter that names whom it claims to be."""
        try:
            return decide()
        except Invalid as error:
            classes = event.data_classes if isinstance(event, RequestEvent) else ()
            return self._letter(inbound, error.reason, error.message, event.tenant, request_id, classes)

    def _letter(
        self,
        inbound: Inbound,
        reason: str,
        message: str,
        tenant: str | None = None,
        request_id: str | None = None,
        classes: Sequence[str] = (),
    ) -> Outbound:
        metrics.CLASSIFY_EVENTS.labels("dead_letter").inc()
        retention = self._configs.active()[1].retention
        letter = dead_letter(
            inbound, stage="classify", reason=reason, message=message, at=self._clock.now_ms(),
            claimed_tenant=tenant or None, request_id=request_id or None,
            retention_days=retention.of_dead_letters(classes),
        )  # fmt: skip
        return Outbound(DEAD_LETTERS, letter.id.encode(), self._codec.encode(letter, DEAD_LETTERS))

    def _request(self, event: RequestEvent, inbound: Inbound) -> Outbound:
        version, config = self._configs.active()
        classified = classify(event, source_of(inbound), config, version)
        made = self._tenant_event(classified, classified.request.tenant, _MOST_REQUEST_BYTES)
        metrics.CLASSIFY_EVENTS.labels("refused" if classified.problems else "classified").inc()
        return made

    def _control(self, control: Control) -> Outbound:
        _, config = self._configs.active()
        checked = parse_control(control, config)
        ledger_key = checked.tenant or (f"model:{checked.model}" if checked.model else "operator")
        made = self._tenant_event(checked, ledger_key, _MOST_COMMAND_BYTES)
        metrics.CLASSIFY_EVENTS.labels("control").inc()
        return made

    def _tenant_event(self, record: ClassifiedRequest | Control, ledger_key: str, most: int) -> Outbound:
        partition = partition_of(ledger_key, self._partitions)
        value = self._codec.encode(record, TENANT_EVENTS)
        if len(value) > most:
            message = f"the event has {len(value)} bytes; at most {most} are allowed: shorten its parameters and ids"
            raise Invalid("too_large", message)
        return Outbound(TENANT_EVENTS, ledger_key.encode(), value, partition=partition)


class ClassifyPipeline:
    """Runs the classifier over the partitions this worker owns, all of them in one batch, and keeps their marks."""

    def __init__(
        self, classifier: Classifier, producer: AIOKafkaProducer, *, brokers: str, group: str
    ) -> None:
        self._classifier, self._producer = classifier, producer
        self._brokers, self._group = brokers, group
        self._buffers: dict[Part, Buffer] = {}
        self._marks: dict[Part, int] = {}
        self._parts: set[Part] = set()
        self._filled = asyncio.Event()
        self._current: asyncio.Task[None] | None = None

    @property
    def marks(self) -> dict[Part, int]:
        """The next offset of each partition that is open here."""
        return dict(self._marks)

    async def open(self, parts: set[Part]) -> None:
        """Take over partitions at their committed offsets."""
        self._parts = set(parts)
        reader = make_reader(self._brokers, group=self._group)
        await reader.start()
        try:
            committed = await committed_offsets(reader, [TopicPartition(*part) for part in parts])
        finally:
            await reader.stop()
        if self._parts == parts:  # else another rebalance came meanwhile
            self._marks = {(tp.topic, tp.partition): offset for tp, offset in committed.items()}
            self._filled.set()

    def is_open(self) -> bool:
        """True once the marks of every assigned partition are known."""
        return self._parts <= self._marks.keys()

    async def close(self, within_s: float = 2.0) -> dict[Part, int]:
        """Let go of every partition: the batch in hand ends, or is dropped (and repeated by the next owner).

        Returns the marks.
        """
        self._parts = set()
        self._buffers.clear()
        if self._current is not None:
            _, late = await asyncio.wait([self._current], timeout=within_s)
            for task in late:
                task.cancel()  # it may wait for a registry that is away
        marks = dict(self._marks)
        self._marks.clear()
        return marks

    def put(self, inbound: Inbound) -> Buffer:
        """Hand over a record; it may come before `open`, as Faust delivers before it tells of an assignment."""
        buffer = self._buffers.setdefault((inbound.topic, inbound.partition), Buffer())
        buffer.put(inbound)
        self._filled.set()
        return buffer

    def idle(self, part: Part) -> bool:
        """True when nothing of the partition waits here."""
        return not self._buffers.get(part)

    async def run(self, after_batch: Callable[[Part, Buffer], None] = lambda part, buffer: None) -> None:
        """Process, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            ours = [(part, buffer) for part, buffer in self._buffers.items() if self._ours(part, buffer)]
            if ours:
                await self._run_batch(ours)
            for part, buffer in list(self._buffers.items()):
                if self._ours(part, buffer):
                    self._filled.set()
                after_batch(part, buffer)

    def _ours(self, part: Part, buffer: Buffer) -> bool:
        return bool(buffer) and part in self._marks and self._buffers.get(part) is buffer

    async def _run_batch(self, ours: Sequence[tuple[Part, Buffer]]) -> None:
        self._current = asyncio.create_task(self._batch(ours))
        await asyncio.wait([self._current])
        if not self._current.cancelled():
            self._current.result()
        self._current = None

    async def _batch(self, ours: Sequence[tuple[Part, Buffer]]) -> None:
        records, size = max(1, _BATCH_RECORDS // len(ours)), max(1, _BATCH_BYTES // len(ours))
        sent: list[asyncio.Future[Any]] = []
        reached: dict[Part, int] = {}
        for part, buffer in ours:
            for inbound in await self._take(part, buffer, records, size):
                sent.append(await self._send(await self._classifier.outbound(inbound), inbound))
                reached[part] = inbound.offset + 1
        await asyncio.gather(*sent)
        crash_point("classify.after_send")
        self._marks.update(reached)

    async def _take(self, part: Part, buffer: Buffer, records: int, size: int) -> list[Inbound]:
        topic_partition = TopicPartition(*part)
        batch, later = await contiguous(
            buffer.take(records, size),
            self._marks[part],
            lambda start, stop: read_range(self._brokers, topic_partition, start, stop),
        )
        buffer.put_back(later)
        return batch

    async def _send(self, out: Outbound, inbound: Inbound) -> asyncio.Future[Any]:
        crash_point("classify.before_send")
        try:
            sent: asyncio.Future[Any] = await self._producer.send(
                out.topic, out.value, key=out.key, partition=out.partition, headers=list(out.headers)
            )
            return sent
        except MessageSizeTooLargeError as error:
            raise AssertionError(f"{inbound.topic} {inbound.offset}: made a record over the limit") from error


def source_of(inbound: Inbound) -> Source:
    """Where a record lay."""
    return Source(inbound.topic, inbound.partition, inbound.offset, inbound.timestamp)


def _value(inbound: Inbound) -> bytes:
    if inbound.value is None:
        raise Invalid("null_value", "the event has no value; publish an Avro RequestEvent, never a tombstone")
    return inbound.value

"""Deltas on the caller's reply topic, for requests that ask for them: hints beside the result, which is the truth.

They come in order and numbered under their attempt, on the partition to which the result is copied; a marker ends
each attempt. They are written outside of every transaction, so that a crash may lose or repeat some, and nothing waits
for them but the end of their own attempt, and that a second at most: so the marker lies before the result.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from processors.providers.base import Delta
from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import CallTask, DeltaEvent, Outcome
from streams import metrics

# Pieces that come together travel together: a reader sees no more than so many events a second.
_EVERY_S: Final = 0.05
# What a slow broker may leave unsent of one attempt; what comes then is left out.
_MOST_WAITING: Final = 256 << 10
_END_WAITS_S: Final = 1.0
# So old may be what we know of the topics that exist: a send to one that doesn't would block.
_TOPICS_AGE_S: Final = 10.0
_log = logging.getLogger(__name__)


class DeltaStream:
    """The deltas of one attempt. `take` never waits; `end` publishes what is left, and the marker."""

    def __init__(self, deltas: "Deltas", task: CallTask, topic: str) -> None:
        self._deltas, self._task, self._topic = deltas, task, topic
        self._waiting: list[Delta] = []
        self._size = self._sequence = 0
        self._complete = True
        self._more, self._ended = asyncio.Event(), asyncio.Event()
        self._end: DeltaEvent | None = None
        self._sending: asyncio.Task[None] | None = None

    def take(self, deltas: list[Delta]) -> None:
        """Publish these, soon."""
        deltas = [delta for delta in deltas if delta.text]
        size = sum(len(delta.text) for delta in deltas)
        if self._size + size > _MOST_WAITING:
            self._complete = False
        if not self._complete or not deltas:
            return
        self._waiting += deltas
        self._size += size
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._run())
        self._more.set()

    async def end(self, outcome: Outcome) -> None:
        """Publish the marker, and return once everything is safe, or after a second."""
        if self._sending is None:
            return
        self._end = self._event("end")
        self._end.status, self._end.finish_reason = outcome.status, outcome.finish_reason
        self._ended.set()
        self._more.set()
        _, late = await asyncio.wait([self._sending], timeout=_END_WAITS_S)
        for task in late:
            task.cancel()
            metrics.CALL_DELTAS_LOST.inc()

    async def _run(self) -> None:
        """Publish until the end; a topic that can't be written ends it early."""
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                ended = self._end
                await self._send(self._merged())
                if ended is not None:
                    ended.complete = self._complete
                    await self._send([ended])
                    return
                await self._pause()
        # A piece may hold what no record can; a registry may not know the deltas' schema yet.
        except (KafkaError, ValueError, TypeError, LookupError) as error:
            self._complete = False
            metrics.CALL_DELTAS_LOST.inc()
            _log.warning("request %s: no more deltas to %s (%r)", self._task.request_id, self._topic, error)

    async def _pause(self) -> None:
        """Let pieces gather, unless the end has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_S):
                await self._ended.wait()

    def _merged(self) -> list[DeltaEvent]:
        """What waits, pieces of one kind that follow each other as one."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        events: list[DeltaEvent] = []
        texts: list[list[str]] = []
        for delta in waiting:
            if events and events[-1].kind == delta.kind and events[-1].index == delta.index:
                texts[-1].append(delta.text)
                continue
            event = self._event(delta.kind)
            event.index = delta.index
            events.append(event)
            texts.append([delta.text])
        for event, pieces in zip(events, texts, strict=True):
            event.text = "".join(pieces)
        return events

    def _event(self, kind: str) -> DeltaEvent:
        task = self._task
        return DeltaEvent(
            request_id=task.request_id,
            tenant=task.tenant,
            attempt=task.attempt,
            attempt_id=task.attempt_id,
            sequence=-1,
            kind=kind,
            at=self._deltas.now_ms(),
            model=task.model,
        )

    async def _send(self, events: list[DeltaEvent]) -> None:
        for event in events:
            event.sequence = self._sequence
            self._sequence += 1
        await self._deltas.send(self._topic, events)


class Deltas:
    """Writes the deltas of a worker, with a producer of its own: the journal's must never wait for a reply topic."""

    def __init__(self, brokers: str, codec: Codec, now_ms: Callable[[], int]) -> None:
        self._brokers, self._codec, self.now_ms = brokers, codec, now_ms
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._topics: set[str] = set()
        self._topics_at = float("-inf")

    async def stop(self) -> None:
        """End the connection."""
        if self._producer is not None:
            await self._producer.stop()

    def stream(self, task: CallTask, config: Config) -> DeltaStream | None:
        """The stream of an attempt; None where its request asks for none, or its tenant may not write the topic."""
        request = task.request
        topic = request.reply_topic
        if not request.stream_deltas or topic is None or topic.startswith(names.TOPICS_PREFIX):
            return None
        tenant = config.tenants.get(task.tenant)
        if tenant is None or topic not in tenant.reply_topics:
            return None
        return DeltaStream(self, task, topic)

    async def send(self, topic: str, events: list[DeltaEvent]) -> None:
        """Return once the events are safe. Raises KafkaError, also where the topic doesn't exist."""
        producer = await self._started()
        await self._check(producer, topic)
        sent: list[asyncio.Future[Any]] = []
        for event in events:
            headers = [
                (names.HEADER_TENANT, event.tenant.encode()),
                (names.HEADER_REQUEST_ID, event.request_id.encode()),
                (names.HEADER_KIND, names.KIND_DELTA.encode()),
            ]
            # The key of the result's copy, which so comes to lie behind.
            key, value = event.tenant.encode(), self._codec.encode(event)
            sent.append(await producer.send(topic, value, key=key, headers=headers))
        if sent:
            await asyncio.gather(*sent)
            metrics.CALL_DELTAS.inc(len(sent))

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._brokers, acks=1, request_timeout_ms=5000, max_request_size=6 << 20
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
        return self._producer

    async def _check(self, producer: AIOKafkaProducer, topic: str) -> None:
        if topic in self._topics and time.monotonic() - self._topics_at < _TOPICS_AGE_S:
            return
        async with self._starting:
            if time.monotonic() - self._topics_at >= _TOPICS_AGE_S:
                self._topics = set((await producer.client.fetch_all_metadata()).topics())
                self._topics_at = time.monotonic()
        if topic not in self._topics:
            raise KafkaError(f"topic {topic!r} doesn't exist: `sluice topics apply` makes it")

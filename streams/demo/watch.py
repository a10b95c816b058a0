"""Follows the demo's requests through the stages, as Kafka and ClickHouse show it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from schemas import names
from schemas.codec import Codec
from schemas.records import AuditEvent, ClassifiedRequest, Control, DeadLetter, Outcome, ResultEvent
from schemas.signals import Invalid
from streams.cli.clickhouse import ClickHouse
from streams.cli.failure import Failure
from streams.cli.kafka import consumer, partitions

STAGES: Final = ("published", "classified", "routed", "called", "results", "in ClickHouse")
_POLL_S = 0.3
_TOPICS = (names.TENANT_EVENTS, names.AUDIT, names.RESULTS, names.DEAD_LETTERS)


@dataclass
class Seen:
    """The ids that passed each stage, of requests whose id begins with `run`; `results` with their status."""

    run: str
    published: int = 0
    classified: set[str] = field(default_factory=set)
    routed: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    results: dict[str, str] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    dead_letters: set[str] = field(default_factory=set)
    notices: set[str] = field(default_factory=set)
    first_result_at: float | None = None
    answers: dict[str, ResultEvent] = field(default_factory=dict)
    moved_at: float = field(default_factory=time.monotonic)

    def counts(self) -> dict[str, int]:
        """How many passed each stage."""
        sets = (self.classified, self.routed, self.called, self.results, self.stored)
        return dict(zip(STAGES, (self.published, *map(len, sets)), strict=True))

    def take(self, event: Any) -> None:
        """Note what an event says."""
        match event:
            case ClassifiedRequest() if event.request.id.startswith(self.run):
                self.classified.add(event.request.id)
            case Outcome() if event.request_id.startswith(self.run):
                self.called.add(event.request_id)
            case AuditEvent() if event.action == "accepted" and (event.request_id or "").startswith(self.run):
                self.routed.add(event.request_id or "")
            case ResultEvent() if event.request_id.startswith(self.run):
                self._result(event)
            case DeadLetter():
                self.dead_letters.add(event.id)
            case _:
                return
        self.moved_at = time.monotonic()

    def _result(self, event: ResultEvent) -> None:
        if event.kind != "terminal":
            self.notices.add(event.event_id)
            return
        if event.status == "succeeded" and self.first_result_at is None:
            self.first_result_at = time.monotonic()
        self.results[event.request_id] = event.status
        if event.status == "succeeded":
            self.answers.setdefault(event.application or "", event)


class Watcher:
    """Reads the topics from where they end at `start`, and asks ClickHouse now and then."""

    def __init__(self, brokers: str, codec: Codec, clickhouse: ClickHouse, seen: Seen) -> None:
        self._brokers, self._codec, self._clickhouse, self.seen = brokers, codec, clickhouse, seen
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return once nothing that happens from now on can be missed."""
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._ask())]
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait([ready, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        self.check()

    def also(self, task: "asyncio.Task[None]") -> None:
        """Let the failure of `task` end the watch, too."""
        self._tasks.append(task)

    def check(self) -> None:
        """Raise what ended a task."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def stop(self) -> None:
        """End both."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, done: Callable[[Seen], bool], tick: Callable[[Seen], None], quiet_s: float) -> bool:
        """Call `tick` until `done`, or until nothing has moved for `quiet_s` seconds; whether it was done."""
        self.seen.moved_at = time.monotonic()
        while not done(self.seen):
            self.check()
            tick(self.seen)
            if time.monotonic() - self.seen.moved_at > quiet_s:
                return False
            await asyncio.sleep(0.1)
        tick(self.seen)
        return True

    async def _follow(self) -> None:
        async with consumer(self._brokers) as reader:
            found = [tp for topic in _TOPICS for tp in await partitions(reader, topic)]
            reader.assign(found)
            for tp, end in (await reader.end_offsets(found)).items():
                reader.seek(tp, end)
            self._ready.set()
            while True:
                await self._read(reader)

    async def _read(self, reader: AIOKafkaConsumer) -> None:
        for records in (await reader.getmany(timeout_ms=200)).values():
            for record in records:
                try:
                    event = await self._codec.decode_async(record.value, _KINDS)
                except Invalid:
                    continue  # another service's event on our topic: not part of the demo
                self.seen.take(event)

    async def _ask(self) -> None:
        query = "SELECT request_id FROM results WHERE startsWith(request_id, {run:String})"
        while True:
            try:
                rows = await self._clickhouse.rows(query, {"run": self.seen.run})
            except Failure:
                rows = []  # it starts later than the rest; the end of the demo insists on it
            found = {str(r["request_id"]) for r in rows}
            if len(found) > len(self.seen.stored):
                self.seen.stored, self.seen.moved_at = found, time.monotonic()
            await asyncio.sleep(_POLL_S)


_KINDS: tuple[type[Any], ...] = (ClassifiedRequest, Outcome, Control, AuditEvent, ResultEvent, DeadLetter)

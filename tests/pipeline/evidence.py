"""Everything that a pipeline has committed to its topics, read as it grows, `read_committed`."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.route.changelog import read as read_state
from processors.route.changes import Progress
from schemas import names
from schemas.codec import Codec
from schemas.records import (
    Attempt,
    AuditEvent,
    ClassifiedRequest,
    Control,
    DeadLetter,
    Outcome,
    ResultEvent,
    UsageEvent,
)
from schemas.signals import Invalid
from streams.outbox.kafka import POSITION_KEY
from streams.topics import TopicSpec

Id = tuple[str, str]
"""Tenant and request id."""
Lies = tuple[str, int, int]
"""Topic, partition, offset."""
Wire = tuple[bytes | None, bytes, dict[str, bytes]]
"""Key, value and headers of a record."""

_EVENTS: Final[dict[str, tuple[type[msgspec.Struct], ...]]] = {
    names.TENANT_EVENTS: (ClassifiedRequest, Outcome, Control),
    names.ATTEMPTS: (Attempt,),
    names.RESULTS: (ResultEvent,),
    names.USAGE: (UsageEvent,),
    names.AUDIT: (AuditEvent,),
    names.DEAD_LETTERS: (DeadLetter,),
}


@dataclass
class Evidence:
    """Events by kind, in the order of their offsets within a partition. `copies` are event ids by reply topic;
    `wire` holds records with an event id as they lie on their topics."""

    codec: Codec
    reader: AIOKafkaConsumer
    parts: list[TopicPartition]
    attempts: list[Attempt] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    results: list[ResultEvent] = field(default_factory=list)
    usage: list[UsageEvent] = field(default_factory=list)
    audit: dict[int, list[AuditEvent]] = field(default_factory=lambda: defaultdict(list))
    letters: list[DeadLetter] = field(default_factory=list)
    copies: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lies: dict[str, set[Lies]] = field(default_factory=lambda: defaultdict(set))
    _next: dict[TopicPartition, int] = field(default_factory=dict)
    wire: dict[str, dict[str, Wire]] = field(default_factory=lambda: defaultdict(dict))
    unreadable: set[Lies] = field(default_factory=set)
    progress: dict[int, Progress] = field(default_factory=dict)

    @classmethod
    async def open(cls, brokers: str, codec: Codec, topics: Iterable[TopicSpec]) -> "Evidence":
        """Read those of `topics` that hold events, or copies of results (any name but Sluice's own)."""
        reader = AIOKafkaConsumer(
            bootstrap_servers=brokers, isolation_level="read_committed", auto_offset_reset="earliest",
            enable_auto_commit=False,
        )  # fmt: skip
        await reader.start()
        wanted = {*_EVENTS, names.ROUTE_STATE}
        told = [t for t in topics if t.name in wanted or not t.name.startswith("llm.")]
        parts = [TopicPartition(t.name, p) for t in told for p in range(t.partitions)]
        reader.assign(parts)
        await reader.seek_to_beginning(*parts)
        return cls(codec, reader, parts)

    async def catch_up(self) -> None:
        """Read what is committed now."""
        ends = await self.reader.end_offsets(self.parts)
        while [tp for tp in self.parts if await self.reader.position(tp) < ends[tp]]:
            for tp, batch in (await self.reader.getmany(timeout_ms=200)).items():
                for message in batch:
                    assert message.offset >= self._next.get(tp, 0), f"{tp} was read again from {message.offset}"
                    self._next[tp] = message.offset + 1
                    await self._take(tp, message)

    async def close(self) -> None:
        await self.reader.stop()

    async def _take(self, tp: TopicPartition, message: "object") -> None:
        key, value, headers = message.key, message.value, dict(message.headers)  # type: ignore[attr-defined]
        if tp.topic == names.ROUTE_STATE:
            for change in read_state(key, value) if key != POSITION_KEY else ():
                if isinstance(change, Progress):
                    self.progress[tp.partition] = change
            return
        if event_id := headers.get(names.HEADER_EVENT_ID):
            self.wire[tp.topic][event_id.decode()] = key, value, headers
        if tp.topic not in _EVENTS:
            if headers.get(names.HEADER_KIND) == names.KIND_DELTA.encode():
                return
            self.copies[tp.topic].append(headers[names.HEADER_EVENT_ID].decode())
            return
        place = (tp.topic, tp.partition, message.offset)  # type: ignore[attr-defined]
        try:
            event = await self.codec.decode_async(value, _EVENTS[tp.topic])
        except Invalid:
            self.unreadable.add(place)
            return
        match event:
            case Attempt():
                self.attempts.append(event)
                self.lies["attempts"].add(place)
            case Outcome():
                self.outcomes.append(event)
            case ResultEvent():
                self.results.append(event)
                self.lies["results" if event.kind == "terminal" else "result_notices"].add(place)
            case UsageEvent():
                self.usage.append(event)
                self.lies["usage"].add(place)
            case AuditEvent():
                self.audit[tp.partition].append(event)
                self.lies["audit"].add(place)
                if event.action == "accepted":
                    self.lies["requests"].add(place)
            case DeadLetter():
                self.letters.append(event)
                self.lies["dead_letters"].add(place)
            case _:
                pass

    # Views.

    def terminal(self) -> dict[Id, list[ResultEvent]]:
        """Terminal results by request."""
        found: dict[Id, list[ResultEvent]] = defaultdict(list)
        for result in self.results:
            if result.kind == "terminal":
                found[result.tenant, result.request_id].append(result)
        return found

    def notices(self, kind: str) -> list[ResultEvent]:
        """Results of another kind: duplicate, conflict."""
        return [r for r in self.results if r.kind == kind]

    def accepted(self) -> list[Id]:
        """Requests by their audit event, as often as it says so."""
        events = [e for partition in self.audit.values() for e in partition]
        return [(e.tenant, e.request_id or "") for e in events if e.action == "accepted"]

    def letter(self, letter_id: str) -> DeadLetter | None:
        """A dead letter by its id."""
        return next((letter for letter in self.letters if letter.id == letter_id), None)

    def audited(self, request: Id) -> list[AuditEvent]:
        """The audit events of one request, in order."""
        events = [e for partition in self.audit.values() for e in partition]
        return [e for e in events if (e.tenant, e.request_id) == request]

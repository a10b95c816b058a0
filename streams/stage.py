"""A Faust stage as a worker runs it: its app, its hooks, and its health."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.names import TENANT_EVENTS
from streams import faust_adapter
from streams.faust_adapter import StageApp
from streams.outbox.buffer import Buffer
from streams.outbox.contract import Inbound
from streams.outbox.reading import read_range

log = logging.getLogger(__name__)

Part = tuple[str, int]
_COMMIT_EVERY_S: Final = 0.5
_LAST_COMMIT_S: Final = 1.0


async def _nothing() -> None:
    return None


@dataclass
class Stage:
    """What a stage's agent file gives the worker. `marks` are the next offsets of the open partitions; `put` hands
    over a record and `idle` says that none of a partition waits; `on_revoked` returns the last marks."""

    app: StageApp
    put: Callable[[Inbound], object]
    idle: Callable[[Part], bool]
    on_assigned: Callable[[set[Part]], Awaitable[None]]
    on_revoked: Callable[[], Awaitable[dict[Part, int]]]
    marks: Callable[[], dict[Part, int]]
    on_stop: Callable[[], Awaitable[None]] = _nothing
    ready: Callable[[], bool] = lambda: True
    refresh: Callable[[], None] = lambda: None
    after_commit: Callable[[], None] = lambda: None
    committed: dict[Part, int] = field(default_factory=dict)

    def lag(self) -> dict[Part, int]:
        """Records of each open partition that are not processed yet."""
        ends, marks = faust_adapter.end_offsets(self.app), self.marks()
        return {part: max(0, ends.get(part, mark) - mark) for part, mark in marks.items()}

    async def revoke(self) -> None:
        """Let go of every partition, and commit how far they have come."""
        marks = await self.on_revoked()
        try:
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self._commit(marks)
        except (KafkaError, TimeoutError) as error:
            log.info("the last marks aren't committed (%r): their records come once more", error)
        self.committed.clear()

    async def follow(self, every_s: float = _COMMIT_EVERY_S) -> None:
        """Commit the marks, for ever. A lost commit costs repetitions, which route (or the outbox) knows."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._commit(self.marks())
            except KafkaError as error:
                if not error.retriable:
                    raise
                log.warning("marks not committed yet: %r", error)

    async def _commit(self, marks: dict[Part, int]) -> None:
        due = {part: mark for part, mark in marks.items() if self.committed.get(part) != mark}
        if due and await faust_adapter.commit(self.app, due):
            self.committed |= due
            self.after_commit()

    async def heal(self, brokers: str, every_s: float = 5.0) -> None:
        """Read again, for ever, what the consumer passed over at the end of a partition.

        A skipped record is noticed when the next one comes; the last one before a pause has no next one. It is
        skipped when the consumer's position is beyond the mark, nothing waits, and the mark stays for a while.
        """
        before: dict[Part, int] = {}
        looked_at: dict[Part, tuple[int, int]] = {}
        while True:
            await asyncio.sleep(every_s)
            marks = {part: mark for part, mark in self.marks().items() if self.idle(part)}
            for part, mark in marks.items():
                position = await faust_adapter.position(self.app, part) if before.get(part) == mark else None
                # Looking once is enough: what lies there may be nothing but a transaction's marker.
                if position is None or position <= mark or looked_at.get(part) == (mark, position):
                    continue
                if await self._read_again(brokers, part, mark, position):
                    looked_at[part] = mark, position
            before = marks

    async def _read_again(self, brokers: str, part: Part, mark: int, position: int) -> bool:
        """False where the broker doesn't answer: look again later."""
        try:
            skipped = await read_range(brokers, TopicPartition(*part), mark, position)
        except KafkaError as error:
            log.warning("%s-%d: looking for skipped records waits: %r", *part, error)
            return False
        if skipped and self.marks().get(part) == mark:
            log.warning(
                "%s-%d: %d records from offset %d were skipped, read again", *part, len(skipped), mark
            )
            for inbound in skipped:
                self.put(inbound)
        return True


class Feeder:
    """Pauses a partition whose buffer is full and resumes it when it is low again."""

    def __init__(self, app: StageApp) -> None:
        self._app = app
        self._paused: set[Part] = set()

    def pause_if_full(self, message: Any, buffer: Buffer) -> None:
        """Call it after a record was put."""
        part = (message.topic, message.partition)
        if buffer.full and part not in self._paused:
            self._paused.add(part)
            faust_adapter.pauser(self._app, part[0])[0](part[1])

    def resume_if_low(self, part: Part, buffer: Buffer) -> None:
        """Call it after records were taken."""
        if part in self._paused and buffer.low:
            self._paused.discard(part)
            faust_adapter.pauser(self._app, part[0])[1](part[1])

    def forget(self) -> None:
        """Every partition was revoked; a new assignment starts unpaused."""
        self._paused.clear()


async def partition_count(producer: AIOKafkaProducer) -> int:
    """The partitions of `llm.tenant-events`. Raises LookupError where the topic isn't provisioned."""
    partitions = await producer.client.fetch_all_metadata()
    found = partitions.partitions_for_topic(TENANT_EVENTS)
    if not found:
        raise LookupError(f"topic {TENANT_EVENTS} doesn't exist: run `sluice topics apply`")
    return len(found)

"""Taking over call partitions: read the committed marks, replay the journal, follow calls handed over."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.names import ATTEMPTS
from schemas.records import Attempt
from streams import group_offsets  # noqa: F401  (makes the listing tell the truth)
from streams.services.call.item import Item, Owned
from streams.services.call.journal import Journal, JournalReader
from streams.services.call.takeover import Decision, Evidence, Wait, decide
from streams.services.call.watermark import Watermark, decode_note

# By call partition: the committed mark, and the journal offset to replay from (None: from its beginning).
Marks = dict[TopicPartition, tuple[int, int | None]]

_RETRY_S = 1.0
_log = logging.getLogger(__name__)


async def committed_marks(brokers: str, group: str, tps: list[TopicPartition]) -> Marks:
    """What the group has committed; partitions without a commit are left out. Raises KafkaError."""
    # The consumer's own `committed()` drops the metadata.
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group, partitions=tps)
    finally:
        await admin.close()
    return {tp: (at.offset, decode_note(at.metadata)) for tp, at in found.items() if at.offset >= 0}


class Opening:
    """Opens the partitions of one generation.

    `opened(tp, mark)` is called when a partition is open: records delivered before were not looked at, so
    reading starts at the mark again. `resolved(item, decision)` is called for an item that waited for its
    earlier owner, with what came of it.
    """

    def __init__(
        self,
        journal: Journal,
        reader: Callable[[], JournalReader],
        owned: list[Owned],
        now_ms: Callable[[], int],
        opened: Callable[[TopicPartition, int], None],
        resolved: Callable[[Item, Decision], None],
    ) -> None:
        self._journal, self._make_reader, self._now_ms = journal, reader, now_ms
        self._opened, self._resolved = opened, resolved
        self._owned = owned
        self._by_tp = {(o.tp.topic, o.tp.partition): o for o in owned}
        self._marks: dict[TopicPartition, Watermark] = {}
        self._reader: JournalReader

    async def run(self, committed: Callable[[list[TopicPartition]], Awaitable[Marks]]) -> None:
        """Replay and open, for as long as it takes; then follow until no handed-over call is open."""
        while self._alive:
            self._reader = self._make_reader()
            try:
                await self._replay(await committed([owned.tp for owned in self._owned]))
                break
            except KafkaError as error:
                _log.warning("opening %s waits: %r", self._owned[0].tp.topic, error)
                await self._reader.stop()
                await asyncio.sleep(_RETRY_S)
        else:
            return
        try:
            while self._alive and self._expire():
                await self._read()
        finally:
            await self._reader.stop()

    @property
    def _alive(self) -> bool:
        return any(owned.alive for owned in self._owned)

    async def _replay(self, marks: Marks) -> None:
        await self._reader.start()
        marks = {**await self._unused(marks), **marks}
        for owned in self._owned:
            owned.evidence.clear()
            self._marks[owned.tp] = Watermark(marks.get(owned.tp, (0, None))[0])
        ends = await self._reader.begin(self._starts(marks))
        while self._alive and not await self._reader.reached(ends):
            await self._read()
        for partition, end in ends.items():
            self._journal.learn(partition, end)
        for owned in self._owned:
            if owned.alive:
                self._opened(owned.tp, self._marks[owned.tp].mark)
                owned.mark = self._marks[owned.tp]

    async def _unused(self, marks: Marks) -> Marks:
        """Call partitions without a commit that never held a record: the journal says nothing of them."""
        fresh = [owned for owned in self._owned if owned.tp not in marks]
        ends = await self._reader.ends([owned.tp for owned in fresh])
        empty = [owned for owned in fresh if ends[owned.tp] == 0]
        journal = await self._reader.ends([TopicPartition(ATTEMPTS, o.journal_partition) for o in empty])
        return {o.tp: (0, journal[TopicPartition(ATTEMPTS, o.journal_partition)]) for o in empty}

    def _starts(self, marks: Marks) -> dict[int, int | None]:
        """Where to start each journal partition: the least of what its call partitions need."""
        starts: dict[int, int | None] = {}
        for owned in self._owned:
            wanted = marks.get(owned.tp, (0, None))[1]
            partition = owned.journal_partition
            if partition in starts and (starts[partition] is None or wanted is None):
                starts[partition] = None
            else:
                known = starts.get(partition)
                starts[partition] = wanted if known is None or wanted is None else min(known, wanted)
        return starts

    async def _read(self) -> None:
        for _, offset, record in await self._reader.read():
            owned = self._by_tp.get((record.call_topic, record.call_partition))
            if owned is not None and owned.alive:
                self._apply(owned, offset, record)

    def _apply(self, owned: Owned, journal_offset: int, record: Attempt) -> None:
        mark = self._marks[owned.tp]
        offset = record.call_offset
        if offset < mark.mark:
            return
        waiting = owned.waiting.get(offset)
        if owned.mark is not None and waiting is None and offset not in owned.evidence:
            return  # written by this worker, which knows
        if waiting is not None and record.attempt_id != waiting.task.attempt_id:
            return
        evidence = owned.evidence.setdefault(offset, Evidence())
        mark.journaled(offset, journal_offset)
        evidence.apply(record)
        decision = decide(evidence, self._now_ms())
        if waiting is not None and not isinstance(decision, Wait):
            self._resolve(owned, offset, waiting, decision)

    def _expire(self) -> bool:
        """Give up on calls whose time is over. True while any handed-over call is open."""
        open_, now = False, self._now_ms()
        for owned in self._owned:
            for offset, evidence in list(owned.evidence.items()):
                decision = decide(evidence, now)
                if isinstance(decision, Wait):
                    open_ = True
                elif (waiting := owned.waiting.get(offset)) is not None:
                    self._resolve(owned, offset, waiting, decision)
        return open_

    def _resolve(self, owned: Owned, offset: int, item: Item, decision: Decision) -> None:
        owned.waiting.pop(offset, None)
        owned.evidence.pop(offset, None)
        if owned.alive:
            self._resolved(item, decision)

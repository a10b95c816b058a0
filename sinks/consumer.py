"""The sink's consumer: several workers share the topics' partitions as one consumer group.

The group only says who reads what. Where a partition goes on is the ledger's word, so a late commit or a worker that
still believes itself owner does no harm; offsets are committed for those who look at lag.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from sinks.chunks import Chunk, Gatherer
from sinks.connect import Options, connect
from sinks.lag import Lag
from sinks.landing import Parts
from sinks.ledger import Partition
from sinks.mapping import Mapper, fitting, size_of
from sinks.reader import TopicRecreated
from sinks.writer import Lost, Writer

log = logging.getLogger(__name__)

_POLL_MS: Final = 100
_POLL_RECORDS: Final = 2_000
_REVOKE_S: Final = 3.0
_LOOK_EVERY_S: Final = 1.0
_LAST_TURN_S: Final = 0.5


class SinkConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One worker. `run` once."""

    def __init__(
        self,
        options: Options,
        parts: Parts,
        writer: Writer,
        mapper: Mapper,
        wall: Callable[[], float] = time.time,
        connect: Callable[[Options], Any] = connect,
    ) -> None:
        self._options = options
        self._wall = wall
        self._parts = parts
        self._writer = writer
        self._mapper = mapper
        self._gatherer = Gatherer(options.limits, parts.clock)
        self._assigned: frozenset[Partition] = frozenset()
        self._joined = False
        self._work: asyncio.Task[None] | None = None
        self._committed: dict[Partition, int] = {}
        self._outrun: set[Partition] = set()  # of which Kafka has deleted what was to be read next
        self._recreated: set[Partition] = set()  # of which the ledger has more than Kafka: left alone
        self._looked = float("-inf")
        self._consumer = connect(options)
        self._lag = Lag(self._consumer, options.topics, parts.metrics, parts.clock)

    @property
    def ready(self) -> bool:
        """True when it is in the group and has opened what it was given, but what it leaves alone."""
        return self._joined and self._assigned <= self._gatherer.opened | self._recreated

    async def run(self, stop: asyncio.Event) -> None:
        """Read and write until `stop` is set, then write what has been read, and leave the group.

        Raises what must not be lived with: the worker ends, and its supervisor starts it again.
        """
        self._consumer.subscribe(list(self._options.topics), listener=self)
        await self._consumer.start()
        try:
            await self._turns(stop)
            await self._drain()
        finally:
            await self._cancel_work()
            await self._consumer.stop()

    # -- the group -----------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let the chunk under way finish if that is quick, else abandon it: the next owner finishes it."""
        self._joined = False
        self._assigned = frozenset()
        self._gatherer.close(self._gatherer.opened)
        self._committed.clear()
        self._outrun.clear()
        self._tell_recreated(set())
        work = self._work
        if work is not None:
            await asyncio.wait([work], timeout=_REVOKE_S)
            work.cancel()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._assigned = frozenset((tp.topic, tp.partition) for tp in assigned)
        self._joined = True

    # -- one turn ------------------------------------------------------------------------------------------

    async def _turns(self, stop: asyncio.Event) -> None:
        """Turn until `stop` is set. A turn that doesn't end then, as when it waits for the registry, is given up."""

        async def turn() -> None:
            while not stop.is_set():
                await self._turn()

        turning, stopped = asyncio.create_task(turn()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([turning, stopped], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([turning], timeout=_LAST_TURN_S)
        finally:
            stopped.cancel()
            turning.cancel()
            await asyncio.wait([turning])
        if not turning.cancelled():
            turning.result()

    async def _turn(self) -> None:
        self._reap()
        if self._work is None:
            self._begin()
        if self._gatherer.full and self._work is not None:
            await asyncio.wait([self._work], timeout=_POLL_MS / 1000)
            await self._lag.ask(self._gatherer.opened & self._assigned)
            return
        reading = [TopicPartition(*at) for at in (self._gatherer.opened & self._assigned) - self._outrun]
        if not reading:
            await self._idle()
            return
        for tp, records in self._fitting(await self._poll(reading)).items():
            await self._take((tp.topic, tp.partition), records)
        if self._parts.clock() - self._looked > _LOOK_EVERY_S:
            self._looked = self._parts.clock()
            await self._look(reading)

    async def _poll(self, reading: Sequence[TopicPartition]) -> dict[TopicPartition, Sequence[Any]]:
        due = self._gatherer.due_in()
        wait_ms = _POLL_MS if due is None or self._work is not None else min(_POLL_MS, int(due * 1000) + 1)
        try:
            found: dict[TopicPartition, Sequence[Any]] = await self._consumer.getmany(
                *reading, timeout_ms=wait_ms, max_records=_POLL_RECORDS
            )
        except NoOffsetForPartitionError:
            return {}  # said before the ledger's position was set
        except OffsetOutOfRangeError as error:
            self._outrun |= {(tp.topic, tp.partition) for tp in error.args[0]}
            return {}
        return found

    def _fitting(self, found: dict[TopicPartition, Sequence[Any]]) -> dict[TopicPartition, Sequence[Any]]:
        """What a chunk has room for: few records may be many bytes. The others are read again, from there on."""
        room = self._options.limits.size - self._gatherer.size
        kept = {}
        for tp, records in found.items():
            fit = fitting(records, room)
            if fit < len(records):
                with contextlib.suppress(IllegalStateError):  # it is another worker's by now
                    self._consumer.seek(tp, records[fit].offset)
            kept[tp] = records[:fit]
            room -= sum(map(size_of, kept[tp]))
        return {tp: records for tp, records in kept.items() if records}

    async def _idle(self) -> None:
        """Nothing is open: wait for an opening to end, or for an assignment."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=_POLL_MS / 1000)
        else:
            await asyncio.sleep(_POLL_MS / 1000)

    def _begin(self) -> None:
        """Start what is to be done next: open what was assigned, or write what is due."""
        self._gatherer.close(outrun := self._outrun & set(self._gatherer.settled()))
        self._outrun -= outrun
        missing = self._assigned - self._gatherer.opened - self._recreated
        if missing:
            self._start(self._open(missing))
        elif self._gatherer.due_in() == 0.0:
            chunk = self._gatherer.take()
            if chunk is not None:
                self._start(self._write(chunk))
        elif self._gatherer.empty:
            behind = {at: n for at, n in self._gatherer.settled().items() if self._committed.get(at) != n}
            if behind:
                self._start(self._commit(behind))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = asyncio.get_running_loop().create_task(work)

    def _reap(self) -> None:
        """Take note of work that has ended; raises what it raised."""
        if self._work is not None and self._work.done():
            work, self._work = self._work, None
            if not work.cancelled():
                work.result()

    async def _take(self, at: Partition, records: Sequence[Any]) -> None:
        """Gather `records`, but not those that have been gathered of `at` already."""
        if at not in self._gatherer.opened:
            return
        expected = self._gatherer.expected(at)
        fresh = [r for r in records if r.offset >= expected] if records[0].offset < expected else records
        mapped = await self._mapper.map(fresh)
        if fresh and at in self._gatherer.opened and self._gatherer.expected(at) == expected:
            self._gatherer.add(at, mapped, fresh[-1].offset + 1)

    async def _look(self, reading: Sequence[TopicPartition]) -> None:
        """Move on over markers and aborted records behind the last record, and tell the lag."""
        ends = {}
        for tp in reading:
            at = (tp.topic, tp.partition)
            if at in self._gatherer.opened and at in self._assigned:
                self._gatherer.reach(at, await self._consumer.position(tp))
                ends[tp] = self._consumer.last_stable_offset(tp)
        self._lag.tell(ends)

    # -- work ----------------------------------------------------------------------------------------------

    async def _open(self, partitions: frozenset[Partition]) -> None:
        """Finish what is open of `partitions`, and read each from where the ledger says."""
        tips = await self._writer.open(partitions)
        tps = [TopicPartition(*at) for at in partitions]
        first = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        for tp in tps:
            at = (tp.topic, tp.partition)
            if at not in self._assigned:
                continue
            tip = tips[at]
            position = first[tp] if tip is None else tip
            if position > ends[tp]:
                recreated = TopicRecreated(tp, ends[tp], position)
                log.error("%s. It isn't written: see SluiceSinkRecreated in docs/runbook.md", recreated)
                self._consumer.pause(tp)
                self._tell_recreated(self._recreated | {at})
                continue
            self._gatherer.open(at, position)
            if first[tp] > position:
                gap = self._gatherer.skip(at, first[tp])
                log.error("%s-%d: Kafka deleted [%d, %d) before it was read", *at, gap.start, gap.end)
                self._parts.metrics.gap(at[0], gap.end - gap.start)
            start = max(position, first[tp])
            self._lag.landed({at: start})
            self._consumer.seek(tp, start)

    def _tell_recreated(self, partitions: set[Partition]) -> None:
        self._recreated = partitions
        told = Counter(topic for topic, _ in partitions)
        for topic in self._options.topics:
            self._parts.metrics.recreated(topic, told[topic])

    async def _write(self, chunk: Chunk) -> None:
        began = self._parts.clock()
        try:
            await self._writer.write(chunk)
        except Lost as lost:
            log.warning("another worker has gone on: %s", lost)
            self._gatherer.close(r.at for r in chunk.ranges)
            return
        self._gatherer.wrote(self._parts.clock() - began)
        if chunk.mapped.oldest is not None:
            self._parts.metrics.freshness(self._wall() - chunk.mapped.oldest / 1000)
        ends = {r.at: r.end for r in chunk.ranges}
        self._lag.landed(ends)
        await self._commit(ends)
        self._parts.crash_point("sink.after_commit")

    async def _commit(self, positions: dict[Partition, int]) -> None:
        """Commit for those who look at lag. A rebalance may refuse it; the next commit covers this one."""
        mine = {TopicPartition(*at): n for at, n in positions.items() if at in self._assigned}
        if not mine:
            return
        try:
            await self._consumer.commit(mine)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("offsets not committed: %s", error)
        except KafkaError as error:
            if not error.retriable:
                raise
            log.info("offsets not committed: %s", error)
        else:
            self._committed.update(positions)

    async def _drain(self) -> None:
        """Write what has been read; what takes longer than `drain_s` is left to the next owner."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_s):
                if self._work is not None:
                    await self._work
                    self._work = None
                chunk = self._gatherer.take()
                if chunk is not None:
                    await self._write(chunk)

    async def _cancel_work(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

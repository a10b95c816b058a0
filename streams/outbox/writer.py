"""The single writer of a partition: it turns input records into transactions, whatever fails.

The loop opens the partition (fence, changelog, committed offset), then takes micro-batches: the machine decides
about each record, and one transaction writes its outputs, its changelog records and the consumed offset. State
lives in the machine, which is thrown away with every failure and rebuilt from the changelog.

A batch that fails for another reason than the broker is tried again record by record; the record that fails
alone twice is given up by `machine.poison` in a transaction of its own.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from streams.crash import crash_point
from streams.outbox.buffer import Buffer
from streams.outbox.contract import (
    BrokerFactory,
    Fenced,
    Inbound,
    Machine,
    MachineFactory,
    Outbound,
    PartitionBroker,
    Transient,
)
from streams.outbox.observer import Observer
from streams.outbox.pace import Pace
from streams.outbox.reading import contiguous

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriterLimits:
    """Bounds of a micro-batch and waits, records, bytes and seconds."""

    batch_records: int = 200
    batch_bytes: int = 4 << 20
    linger_s: float = 0.001
    reopen_backoff_s: float = 0.2
    reopen_backoff_most_s: float = 5
    poison_failures: int = 2


class State(Enum):
    """Where a writer is in its life."""

    OPENING = "opening"
    RUNNING = "running"
    CLOSED = "closed"


class PartitionWriter:
    """Runs one partition until it is cancelled. `still_owner` returns once this process is proven its owner."""

    def __init__(
        self,
        partition: int,
        *,
        brokers: BrokerFactory,
        machines: MachineFactory,
        now: Callable[[], int],
        still_owner: Callable[[int], Awaitable[None]],
        observer: Observer,
        limits: WriterLimits | None = None,
        buffer: Buffer | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.partition = partition
        self.buffer = buffer or Buffer()
        self.state = State.OPENING
        self._brokers, self._machines, self._now = brokers, machines, now
        self._still_owner, self._observer = still_owner, observer
        self._limits = limits or WriterLimits()
        self._pace = pace or Pace()
        self._machine: Machine
        self._broker: PartitionBroker
        self._next = 0
        self._timers_from = 0
        self._processed_at = 0
        self._one_by_one_until = -1
        self._failures: dict[int, int] = {}
        self._last_error: Exception = RuntimeError("no record has failed")
        self._stopping = False

    @property
    def next_offset(self) -> int:
        """The offset of the next record to process."""
        return self._next

    def stop(self) -> None:
        """Ask `run` to return after the transaction it is in."""
        self._stopping = True
        self.buffer.wake()

    async def run(self) -> None:
        """Open and process until `stop`; reopen after a broker's or a record's failure."""
        backoff = self._limits.reopen_backoff_s
        while not self._stopping:
            self._broker = self._brokers(self.partition)
            opened = False
            try:
                await self._open()
                opened = True
                await self._process()
            except Fenced as error:
                log.warning("partition %d: fenced (%s)", self.partition, error)
                self._observer.aborted(self.partition, "fenced")
                await self._let_go()
                await asyncio.sleep(backoff)
                await self._still_owner(self.partition)
            except Transient as error:
                log.warning("partition %d: the broker failed (%s); reopening", self.partition, error)
                self._observer.aborted(self.partition, "broker")
                await self._let_go()
                await asyncio.sleep(backoff)
                if opened:  # a failure inside a transaction may have been fencing that the client didn't name
                    await self._still_owner(self.partition)
            except _BatchFailed:
                self._observer.aborted(self.partition, "record")
                await self._let_go()
                opened = True
            finally:
                await self._let_go()
            backoff = (
                self._limits.reopen_backoff_s
                if opened
                else min(backoff * 2, self._limits.reopen_backoff_most_s)
            )

    async def _let_go(self) -> None:
        self.state = State.CLOSED
        await asyncio.shield(self._broker.close())

    async def _open(self) -> None:
        self.state = State.OPENING
        started = self._now()
        self._machine = self._machines(self.partition)
        await self._broker.open()
        records = 0
        async for key, value in self._broker.changelog():
            self._machine.load(key, value)
            records += 1
        self._machine.loaded()
        self._next = await self._broker.committed()
        # An outage must not expire requests whose outcomes wait unread: timers start at today's end of the input.
        self._timers_from = await self._broker.end_offset()
        self.state = State.RUNNING
        self._observer.opened(self.partition, records, self._now() - started)
        crash_point("route.opened")

    async def _process(self) -> None:
        while not self._stopping:
            await self.buffer.wait(self._until_due())
            if 0 < len(self.buffer) < self._limits.batch_records and self._limits.linger_s:
                await asyncio.sleep(max(self._limits.linger_s, self._pace.wait_s(self.partition)))
            if batch := await self._take():
                await self._transact(batch)
            self._observer.took(self.partition)
            if self._due():
                await self._tick()

    def _due(self) -> bool:
        due = self._machine.next_due()
        return due is not None and due <= self._now() and self._next >= self._timers_from

    def _until_due(self) -> float | None:
        due = self._machine.next_due()
        if due is None:
            return None
        wait = (due - self._now()) / 1000
        # While timers are held back, look again each second: markers may be all that is left of the input.
        return max(wait, 0.0) if wait > 0 or self._next >= self._timers_from else 1.0

    async def _take(self) -> list[Inbound]:
        """The next records in offset order, from the buffer or, where Faust skipped some, from Kafka itself."""
        alone = self._next <= self._one_by_one_until
        batch = self.buffer.take(1 if alone else self._limits.batch_records, self._limits.batch_bytes)
        kept, later = await contiguous(batch, self._next, self._broker.read)
        if later:
            log.warning(
                "partition %d: records before offset %d were skipped", self.partition, later[-1].offset
            )
            self.buffer.put_back(later)
        if not kept:
            await self._pass_markers()
        return kept

    async def _pass_markers(self) -> None:
        """Move past a tail that holds no records (transaction markers), so that timers may run."""
        if self._next < self._timers_from and not self.buffer:
            found = await self._broker.read(self._next, self._timers_from)
            if found:
                self.buffer.put_back(found)
            else:
                self._next = self._timers_from

    async def _transact(self, batch: list[Inbound]) -> None:
        self._pace.begin(self.partition)
        if self._failures.get(batch[0].offset, 0) >= self._limits.poison_failures:
            self.buffer.put_back(batch[1:])
            return await self._give_up(batch[0])
        started = self._now()
        try:
            await self._machine.prepare(batch)
            outputs: list[Outbound] = []
            for inbound in batch:
                outputs += self._machine.handle(inbound)
            await self._broker.write(outputs, self._machine.flush(), batch[-1].offset + 1)
        except (Fenced, Transient):
            self.buffer.put_back(batch)
            raise
        except (
            Exception
        ) as error:  # the one place that meets a record's own fault: it is isolated, then given up
            self._fail(batch, error)
        self._next = batch[-1].offset + 1
        self._processed_at = batch[-1].timestamp
        self._failures.clear()
        self._observer.committed(self.partition, len(batch), len(outputs), self._now() - started)

    def _fail(self, batch: list[Inbound], error: Exception) -> None:
        log.exception("partition %d: offsets %d-%d failed", self.partition, batch[0].offset, batch[-1].offset)
        self._one_by_one_until = batch[-1].offset
        if len(batch) == 1:
            self._failures[batch[0].offset] = self._failures.get(batch[0].offset, 0) + 1
            self._last_error = error
        self.buffer.put_back(batch)
        raise _BatchFailed from error

    async def _give_up(self, poisoned: Inbound) -> None:
        with contextlib.suppress(Exception):  # where even decoding fails, it is given up undecoded
            await self._machine.prepare([poisoned])
        outputs = self._machine.poison(poisoned, self._last_error)
        try:
            await self._broker.write(outputs, self._machine.flush(), poisoned.offset + 1)
        except (Fenced, Transient):
            self.buffer.put_back([poisoned])
            raise
        self._next = poisoned.offset + 1
        self._failures.clear()
        self._observer.poisoned(self.partition, poisoned.offset)

    async def _tick(self) -> None:
        """Fire timers, as of a time up to which the input has been read.

        A request must not expire while its outcome waits unread, be it in the buffer, be it in Kafka. Where more
        input is there, the clock is the last processed record's; the timers from then on wait for it.
        """
        now = self._now()
        end = await self._broker.end_offset()
        if end > self._next:
            self._timers_from = end
            now = min(now, self._processed_at)
        started = self._now()
        outputs = self._machine.tick(now)
        changes = self._machine.flush()
        if outputs or changes:
            await self._broker.write(outputs, changes, None)
            self._observer.committed(self.partition, 0, len(outputs), self._now() - started)


class _BatchFailed(Exception):
    """A batch failed for a reason of its own; the partition is reopened and the batch tried record by record."""

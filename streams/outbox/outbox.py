"""The writers of all partitions that this worker owns, opened on assignment and closed on revocation."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from streams.outbox.buffer import Buffer
from streams.outbox.contract import BrokerFactory, Inbound, MachineFactory
from streams.outbox.observer import Observer, Silent
from streams.outbox.pace import Pace
from streams.outbox.writer import PartitionWriter, State, WriterLimits

log = logging.getLogger(__name__)


class Outbox:
    """Gives each record to the writer of its partition.

    `pause` and `resume` are asked of the feeder when a partition's buffer is full and low again; `crash` is called
    with the error that ended a writer: nothing goes on after that.
    """

    def __init__(
        self,
        *,
        source: str,
        brokers: BrokerFactory,
        machines: MachineFactory,
        now: Callable[[], int],
        crash: Callable[[BaseException], None],
        still_owner: Callable[[int], Awaitable[None]],
        pause: Callable[[int], None],
        resume: Callable[[int], None],
        observer: Observer | None = None,
        limits: WriterLimits | None = None,
        stop_within_s: float = 2.0,
    ) -> None:
        self._source = source
        self._brokers, self._machines, self._now = brokers, machines, now
        self._crash, self._still_owner = crash, still_owner
        self._pause, self._resume = pause, resume
        self._observer, self._limits = observer or Silent(), limits
        self._stop_within_s = stop_within_s
        self._pace = Pace()
        self._writers: dict[int, tuple[PartitionWriter, asyncio.Task[None]]] = {}
        self._early: dict[int, Buffer] = {}
        self._paused: set[int] = set()

    def open(self, partitions: Iterable[int]) -> None:
        """Start a writer for each partition that has none."""
        for partition in partitions:
            if partition in self._writers:
                continue
            early = self._early.pop(partition, None)
            writer = PartitionWriter(
                partition,
                brokers=self._brokers,
                machines=self._machines,
                now=self._now,
                still_owner=self._still_owner,
                observer=_Resuming(self._observer, self._resume_if_low),
                limits=self._limits,
                buffer=early,
                pace=self._pace,
            )
            task = asyncio.create_task(writer.run(), name=f"outbox-{partition}")
            task.add_done_callback(self._ended)
            self._writers[partition] = (writer, task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._crash(error)

    def put(self, inbound: Inbound) -> None:
        """Hand over a record; it may come before `open`, as Faust delivers before it tells of an assignment."""
        entry = self._writers.get(inbound.partition)
        buffer = entry[0].buffer if entry else self._early.setdefault(inbound.partition, Buffer())
        buffer.put(inbound)
        if buffer.full and inbound.partition not in self._paused:
            self._paused.add(inbound.partition)
            self._pause(inbound.partition)

    def _resume_if_low(self, partition: int) -> None:
        entry = self._writers.get(partition)
        if partition in self._paused and entry is not None and entry[0].buffer.low:
            self._paused.discard(partition)
            self._resume(partition)

    async def close(self) -> dict[tuple[str, int], int]:
        """Stop every writer: running transactions end, or are aborted after `stop_within_s` seconds.

        Returns the next offset of each partition whose writer had opened it.
        """
        closing = list(self._writers.values())
        self._writers.clear()
        self._early.clear()
        self._paused.clear()
        marks = {}
        for writer, _ in closing:
            writer.stop()
        tasks = [task for _, task in closing]
        late = (await asyncio.wait(tasks, timeout=self._stop_within_s))[1] if tasks else set()
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        for writer, _ in closing:
            self._observer.closed(writer.partition)
            if writer.next_offset:
                marks[self._source, writer.partition] = writer.next_offset
        return marks

    def idle(self, part: tuple[str, int]) -> bool:
        """True when nothing of the partition waits here."""
        entry = self._writers.get(part[1])
        return entry is not None and len(entry[0].buffer) == 0

    def all_running(self) -> bool:
        """True when every partition that was given to this worker is open."""
        return all(writer.state is State.RUNNING for writer, _ in self._writers.values())

    def marks(self) -> dict[tuple[str, int], int]:
        """The next offset of each running partition, by (topic, partition)."""
        return {
            (self._source, partition): writer.next_offset
            for partition, (writer, _) in self._writers.items()
            if writer.state is State.RUNNING
        }


class _Resuming:
    """An observer that passes everything on and looks whether a paused partition may go on."""

    def __init__(self, inner: Observer, took: Callable[[int], None]) -> None:
        self.opened, self.aborted, self.closed = inner.opened, inner.aborted, inner.closed
        self.committed, self.poisoned, self.took = inner.committed, inner.poisoned, took

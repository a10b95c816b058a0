"""One model: its membership of the group, its queue, its calls. A standby is a member without partitions.

Loops: fetch (records into the queue), commit (the marks), sweep (what expired or was cancelled while it
waited), lag (for its gauge); the dispatcher takes calls from the queue.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from zlib import crc32

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from processors.limits.limiter import Limiter
from processors.providers.pool import Grant
from schemas.config import Model
from schemas.names import Lane, calls_topic
from schemas.records import ErrorInfo
from streams.fetch_pace import pace_fetches
from streams.services.call import outcomes
from streams.services.call.attempt import Attempts
from streams.services.call.commits import Commits
from streams.services.call.deps import CallDeps
from streams.services.call.dispatch import Dispatcher
from streams.services.call.heartbeat import HeartbeatWatch
from streams.services.call.intake import Intake
from streams.services.call.item import Item, Owned
from streams.services.call.journal import JournalReader, journal_partition
from streams.services.call.lag import Lag
from streams.services.call.meters import meters
from streams.services.call.opening import Opening, committed_marks
from streams.services.call.scheduler import LaneScheduler

LANE_ITEMS: Final = 1_000
LANE_BYTES: Final = 8 << 20
ASIDE_ITEMS: Final = 20_000
ASIDE_BYTES: Final = 64 << 20
MOST_ABOVE_MARK: Final = 100_000
_SWEEP_S: Final = 1.0
_NOTHING: Final = TopicPartition("", 0)


def client_id(model_id: str, name: str, worker: str) -> str:
    """Group leaders sort members by client id: a prefix of its own for each model spreads models over workers.

    It depends on the worker's name alone where it has one, so that a restart moves nothing for good.
    """
    return f"{crc32(f'{model_id} {name or worker}'.encode()):08x}-{worker}"


class ModelRunner(ConsumerRebalanceListener):  # type: ignore[misc]
    """Calls one model for as long as it runs; `start`, then `drain`."""

    def __init__(self, model_id: str, model: Model, deps: CallDeps) -> None:
        self.model_id, self._deps = model_id, deps
        self._lanes: tuple[Lane, ...] = tuple(model.lanes)
        self._group = f"{deps.settings.app_id}-call-{model_id}"
        self._limiter = Limiter(model_id, model.limits, deps.limits)
        self._scheduler = LaneScheduler(
            (LANE_ITEMS, LANE_BYTES), (ASIDE_ITEMS, ASIDE_BYTES), deps.control.paused_tenants.__contains__
        )
        self.attempts = Attempts(
            deps, self._limiter, lambda: self._heartbeat, self._scheduler.push, self.wake
        )
        self._dispatcher = Dispatcher(
            model_id, deps, self._scheduler, self._limiter, lambda: self._heartbeat, self._start, self._refuse
        )
        self._intake = Intake(deps, self._scheduler, self.attempts, self.spawn)
        self._owned: dict[TopicPartition, Owned] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._joined = asyncio.Event()
        self._leaving = False
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=deps.settings.brokers,
            group_id=self._group,
            client_id=client_id(model_id, deps.settings.worker_name, deps.worker),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=deps.settings.session_timeout_ms,
            heartbeat_interval_ms=max(200, deps.settings.session_timeout_ms // 8),
            rebalance_timeout_ms=30_000,
            max_poll_interval_ms=86_400_000,
            metadata_max_age_ms=30_000,
        )
        self._commits = Commits(model_id, self._consumer, deps.journal, lambda: self._owned)
        self._lag = Lag(model_id, self._consumer, lambda: self._owned)
        self._heartbeat: HeartbeatWatch

    async def start(self) -> None:
        """Join the group and begin."""
        await self._consumer.start()
        pace_fetches(self._consumer)
        timeout_s = self._deps.settings.session_timeout_ms / 1000
        self._heartbeat = HeartbeatWatch(self._consumer, timeout_s, self._deps.clock.monotonic)
        self._subscribe()
        self._deps.control.changed.append(self.wake)
        self._deps.targets.changed.append(self.wake)
        self._deps.control.cancel.append(self.attempts.cancel)
        for loop in (self._fetch(), self._commits.run(), self._sweep(), self._lag.run()):
            self._loops.append(asyncio.create_task(loop))
            self._loops[-1].add_done_callback(self._watch)

    @property
    def ready(self) -> bool:
        """True once this worker is a member and every partition it was given is open."""
        return self._joined.is_set() and all(owned.mark is not None for owned in self._owned.values())

    def update(self, model: Model) -> None:
        """Obey changed limits and lanes."""
        self._limiter.limits = model.limits
        if tuple(model.lanes) != self._lanes:
            self._lanes = tuple(model.lanes)
            self._subscribe()
        self.wake()

    def wake(self) -> None:
        """Look again whether a call may start."""
        self._dispatcher.wake()

    def _start(self, item: Item, grant: Grant) -> None:
        self.spawn(self.attempts.run(item, grant))

    def _refuse(self, item: Item, error: ErrorInfo) -> None:
        self.spawn(self.attempts.refuse(item, error))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside; a failure ends the worker."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._watch)

    def _watch(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._deps.fatal(error)

    def _subscribe(self) -> None:
        self._consumer.subscribe([calls_topic(self.model_id, lane) for lane in self._lanes], listener=self)

    # Rebalances. aiokafka swallows what these callbacks raise, so they end the worker themselves.

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        try:
            await self.let_go()
        except BaseException as error:
            self._deps.fatal(error)
            raise

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        try:
            await self._heartbeat.confirm()
            self._joined.set()
            # What is given to a member that leaves goes to the next owner, once it has left.
            if assigned and not self._leaving:
                self._owned = {tp: self._own(tp) for tp in assigned}
                self.spawn(self._open(list(self._owned.values())))
        except BaseException as error:
            self._deps.fatal(error)
            raise

    async def let_go(self) -> None:
        """Stop starting calls, hand over those that run, commit the marks.

        Nothing is awaited before the queue is empty: what a hand-over doesn't tell of must not start after it.
        """
        for owned in self._owned.values():
            owned.alive = False
        for item in self._scheduler.take_if(lambda _: True):
            # Tries of an earlier owner aren't ours to tell of: the next one finds them in the journal.
            if item in self.attempts.running:
                outcome = outcomes.returned(item, self._deps.clock.now_ms())
                self.spawn(self.attempts.finish(item, outcome))
        await self.attempts.hand_over()
        await self._commits.now()
        self._lag.forget()
        self._owned = {}

    async def leave(self) -> None:
        """Let go, and leave the group; what was handed over goes on."""
        self._leaving = True
        self._dispatcher.stop()
        for loop in self._loops:
            loop.cancel()
        await asyncio.wait(self._loops)
        await self.let_go()
        await self._consumer.stop()
        self._deps.control.changed.remove(self.wake)
        self._deps.targets.changed.remove(self.wake)
        self._deps.control.cancel.remove(self.attempts.cancel)

    def drop_all(self) -> None:
        """Drop every running stream: the time to drain is over."""
        self.attempts.drop_all()

    async def finished(self, timeout_s: float | None) -> bool:
        """Wait for everything that runs; False if some still does after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            return False
        return True

    def _own(self, tp: TopicPartition) -> Owned:
        lane = next(lane for lane in self._lanes if calls_topic(self.model_id, lane) == tp.topic)
        return Owned(tp, lane, journal_partition(tp, self._deps.journal.partitions))

    async def _open(self, owned: list[Owned]) -> None:
        deps = self._deps
        brokers = deps.settings.brokers
        opening = Opening(
            deps.journal,
            lambda: JournalReader(brokers, deps.codec),
            owned,
            deps.clock.now_ms,
            self._consumer.seek,
            self._intake.settle,
        )
        await opening.run(lambda tps: committed_marks(brokers, self._group, tps))

    # The loops.

    async def _fetch(self) -> None:
        while True:
            wanted = [tp for tp, owned in self._owned.items() if self._has_room(owned)]
            waits = 500 if len(wanted) == len(self._owned) else 20
            batches = await self._consumer.getmany(*(wanted or [_NOTHING]), timeout_ms=waits, max_records=100)
            # Bound to what is open now, before anything is awaited: a partition that opens meanwhile, in this
            # generation or the next, reads these records again from its own mark.
            open_now = {tp: owned for tp, owned in self._owned.items() if owned.mark is not None}
            for tp, records in batches.items():
                if (owned := open_now.get(tp)) is None:
                    continue
                for record in records:
                    if not owned.alive:
                        break
                    await self._intake.take(owned, record)
            if batches:
                self.wake()

    def _has_room(self, owned: Owned) -> bool:
        return (
            owned.mark is not None and self._scheduler.room(owned.lane) and owned.mark.above < MOST_ABOVE_MARK
        )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            seen = meters(self.model_id)
            seen.running.set(self._limiter.running)
            seen.queued.set(len(self._scheduler))
            self._end_early(self._deps.clock.now_ms())

    def _end_early(self, now: int) -> None:
        for item in self._scheduler.take_if(lambda item: self.attempts.early_end(item, now) is not None):
            outcome = self.attempts.early_end(item, now)
            assert outcome is not None, "nothing changed between the two looks"
            self.spawn(self.attempts.finish(item, outcome))

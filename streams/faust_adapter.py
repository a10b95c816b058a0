"""Faust, made safe: the one module that knows its internals (faust-streaming 0.15.3).

What it changes, and why:
- every consumer reads `read_committed`; Faust hard-codes read_uncommitted;
- fetches are paced by the traffic (`streams.fetch_pace`), not by the 1.5 s that Faust hard-codes;
- a record is handed over by a plain call, not by two tasks;
- on revocation Faust waits for ever for events taken with `noack()`; here a hook lets go of them instead;
- offsets are committed by the stages, never by Faust: agents use `stream.noack().events()`;
- a partition is paused at the level of aiokafka; Faust's own `pause_partitions()` loses data;
- an exception in a hook ends the process; aiokafka would swallow it and go on.
"""

import asyncio
import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NoReturn, Protocol, cast

import faust
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams import group_offsets  # noqa: F401  (makes committed() tell the truth)
from streams.fetch_pace import pace_fetches
from streams.membership import Membership
from streams.settings import Settings

MAX_POLL_RECORDS: Final = 50
MAX_PARTITIONS: Final = 64
EXIT_CRASHED: Final = 70
_MOVED_ON: Final = (
    CommitFailedError,
    ConsumerNotStarted,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class Hooks(Protocol):
    """What a stage does when partitions come and go."""

    async def on_assigned(self, parts: set[tuple[str, int]]) -> None:
        """These (topic, partition) pairs are owned now."""

    async def on_revoked(self) -> None:
        """Every partition is being taken away: finish or abort within the session timeout."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    isolation_level = "read_committed"

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = self.isolation_level
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        cast(_Consumer, self.consumer).membership.watch(self._consumer)
        pace_fetches(self._consumer)


class _Consumer(driver.Consumer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.membership = Membership()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _ConsumerThread:
        app = cast(StageApp, self.app)
        return app.consumer_thread_type(self, loop=self.loop, beacon=self.beacon)

    async def wait_empty(self) -> None:
        """The revoke hook: let go of every partition, then forget the events that nobody will acknowledge."""
        try:
            await cast(StageApp, self.app).hooks.on_revoked()
        except Exception as error:
            crash(error)
        self._unacked_messages.clear()

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand what was fetched to the agents.

        Faust wraps the hand-over of each record into two tasks, so that a full buffer can't stop a rebalance; agents
        here take whatever comes and never wait, so that a buffer is never full for long.
        """
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await self.sleep(0)
                async for tp, message in self.getmany(timeout=1.0):
                    read = self._read_offset[tp]
                    if read is None or message.offset >= read:
                        await self.callback(message)
                        self._read_offset[tp] = message.offset
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.app.should_stop:
                raise


class _Transport(driver.Transport):
    Consumer = _Consumer


class StageApp(faust.App):
    """A Faust app of one stage: raw bytes in, no tables, no Faust commits."""

    hooks: Hooks
    consumer_thread_type: type[_ConsumerThread] = _ConsumerThread


def _consumer_of(app: StageApp) -> _Consumer:
    return cast(_Consumer, app.consumer)


def _free_port() -> int:
    # Faust binds its web port even with web_enabled=False; each worker needs one of its own.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_app(stage: str, settings: Settings, *, isolation_level: str = "read_committed") -> StageApp:
    """The Faust app of a stage; its id, `<app_id>-<stage>`, is also the consumer group and never changes."""
    app = StageApp(
        f"{settings.app_id}-{stage}",
        broker=";".join(f"kafka://{b}" for b in settings.brokers.split(",")),
        store="memory://",
        web_enabled=False,
        web_host="127.0.0.1",
        web_port=_free_port(),
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        datadir=tempfile.mkdtemp(prefix=f"sluice-{stage}-"),
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.session_timeout_ms / 5000,
        broker_rebalance_timeout=max(15.0, settings.session_timeout_ms / 1000),
        broker_request_timeout=max(40.0, settings.session_timeout_ms / 1000),
        broker_max_poll_records=MAX_POLL_RECORDS,
        # A worker without partitions never polls; at Faust's 1000 s it would leave its group for good.
        broker_max_poll_interval=1e7,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=MAX_POLL_RECORDS * MAX_PARTITIONS * 5,
        stream_wait_empty=True,
    )
    app.consumer_thread_type = type("_Thread", (_ConsumerThread,), {"isolation_level": isolation_level})
    app.transport = _Transport(app.conf.broker_consumer, app)
    return app


def attach(app: StageApp, hooks: Hooks) -> None:
    """Wire a stage's hooks: partitions open on assignment and close on revocation and shutdown."""
    app.hooks = hooks

    @app.on_partitions_assigned.connect(weak=False)
    async def _assigned(sender: Any, assigned: Iterable[TP], **kwargs: Any) -> None:
        try:
            await hooks.on_assigned({(tp.topic, tp.partition) for tp in assigned})
        except Exception as error:
            crash(error)

    @app.on_before_shutdown.connect(weak=False)
    async def _shutdown(sender: Any, **kwargs: Any) -> None:
        await hooks.on_revoked()


def raw_topic(app: StageApp, *names: str) -> Any:
    """A subscription to topics whose keys and values stay bytes."""
    return app.topic(*names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def is_current(app: StageApp, message: Any) -> bool:
    """False for an event left over from before a rebalance; it is delivered again to the owner."""
    return bool(message.generation_id == app.consumer_generation_id)


def pauser(app: StageApp, source: str) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """(pause, resume) of one partition of `source`, in aiokafka itself, from the main thread."""

    def call(method: str, partition: int) -> None:
        thread = _consumer_of(app)._thread

        def run() -> None:
            tp = TopicPartition(source, partition)
            consumer = thread._ensure_consumer()
            if tp in consumer.assignment():  # else it has been revoked, and pausing means nothing
                getattr(consumer, method)(tp)

        thread.thread_loop.call_soon_threadsafe(run)

    return (lambda p: call("pause", p)), (lambda p: call("resume", p))


def membership_proof(app: StageApp, source: str) -> Callable[[int], Awaitable[None]]:
    """A wait that ends when a heartbeat sent after its start was confirmed while the partition was assigned."""

    async def still_owner(partition: int) -> None:
        asked_at = time.monotonic()
        while True:
            owned = TP(source, partition) in app.consumer.assignment()
            if owned and _consumer_of(app).membership.confirmed_at > asked_at and not app.rebalancing:
                return
            await asyncio.sleep(0.2)

    return still_owner


async def commit(app: StageApp, offsets: dict[tuple[str, int], int]) -> bool:
    """Commit offsets with the group's fencing; False when the partitions have moved on. Raises KafkaError.

    Faust's own commit ends the worker for any error, a broker that restarts among them.
    """
    thread = _consumer_of(app)._thread
    try:
        consumer = thread._ensure_consumer()
        owned = consumer.assignment()
        mine = {tp: offset for part, offset in offsets.items() if (tp := TopicPartition(*part)) in owned}
        if mine:
            await thread.call_thread(consumer.commit, mine)
    except _MOVED_ON:
        return False
    return bool(mine)


def end_offsets(app: StageApp) -> dict[tuple[str, int], int]:
    """The last known end (last stable offset) of each assigned partition; those not fetched from yet are left out."""
    try:
        consumer = _consumer_of(app)._thread._ensure_consumer()
        ends = {(tp.topic, tp.partition): consumer.last_stable_offset(tp) for tp in consumer.assignment()}
    except (ConsumerNotStarted, IllegalStateError, AssertionError):
        return {}  # it starts, or changes hands in its own thread just now
    return {part: end for part, end in ends.items() if end is not None and end >= 0}


async def position(app: StageApp, part: tuple[str, int]) -> int | None:
    """The offset that the consumer delivers next; None where the partition isn't assigned (any more)."""
    try:
        found: int | None = await _consumer_of(app)._thread.position(TopicPartition(*part))
    except IllegalStateError:
        return None
    return found


def has_joined(app: StageApp) -> bool:
    """True while the group has confirmed this worker within the session timeout, and no rebalance is under way."""
    age = time.monotonic() - _consumer_of(app).membership.confirmed_at
    return bool(age < app.conf.broker_session_timeout and not app.rebalancing)


def crash(error: BaseException) -> NoReturn:
    """End the process at once; a supervisor starts it again and everything in flight is read again."""
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_CRASHED)


def crash_if_failed(task: asyncio.Task[None]) -> None:
    """A done-callback: a background task that fails ends the process."""
    if not task.cancelled() and (error := task.exception()):
        crash(error)


def run(app: StageApp, loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Run the app until SIGTERM or SIGINT. At `warn` Faust starts a spinner that sets the root logger to DEBUG."""
    worker = faust.Worker(app, loglevel="info", redirect_stdouts=False, loop=loop)
    worker.execute_from_commandline()

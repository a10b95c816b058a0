"""The sink as a worker runs it: exactly once from the topics into ClickHouse (the work itself is in `sinks`)."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import cast

import msgspec
from aiokafka import AIOKafkaProducer

from schemas.codec import Codec
from schemas.names import DEAD_LETTERS
from schemas.records import DeadLetter
from sinks.clickhouse import Access, ClickHouse
from sinks.clickhouse_store import ClickHouseStore
from sinks.connect import Options
from sinks.consumer import SinkConsumer
from sinks.dead_letter import KafkaDeadLetters, days_told
from sinks.erasure import Kept
from sinks.landing import Parts
from sinks.mapping import Mapper, decoder
from sinks.metrics import NoMetrics
from sinks.migrate import Migrator
from sinks.patience import Patience
from sinks.reader import RangeReader
from sinks.reconcile.accounts import Terms
from sinks.rows import EVENT_OF_TOPIC
from sinks.writer import Writer
from streams import metrics
from streams.crash import CrashPoint, crash_point
from streams.retention import DaysOfUnread
from streams.services.erasure import ErasureWatch
from streams.services.reconcile import Schedule, Setup
from streams.settings import Settings
from streams.waiting import unless

log = logging.getLogger(__name__)

_PRODUCER_BYTES = 6 << 20


class SinkMetrics:
    """The sink's counts as Prometheus metrics."""

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}  # what fails, and the code that it is told under

    def landed(self, table: str, rows: int) -> None:
        metrics.SINK_ROWS.labels(table).inc(rows)

    def chunk(self, seconds: float, rows: int, size: int) -> None:
        metrics.SINK_CHUNK.observe(seconds)
        metrics.SINK_CHUNK_ROWS.observe(rows)
        metrics.SINK_BYTES.inc(size)

    def freshness(self, seconds: float) -> None:
        metrics.SINK_FRESHNESS.observe(max(0.0, seconds))

    def repeated(self) -> None:
        metrics.SINK_REPEATED.inc()

    def lost(self) -> None:
        metrics.SINK_LOST.inc()

    def dead_letter(self, reason: str) -> None:
        metrics.SINK_DEAD_LETTERS.labels(reason).inc()

    def gap(self, topic: str, positions: int) -> None:
        metrics.SINK_GAP.labels(topic).inc(positions)

    def recreated(self, topic: str, partitions: int) -> None:
        metrics.SINK_RECREATED.labels(topic).set(partitions)

    def retried(self, what: str) -> None:
        metrics.SINK_RETRIES.labels(what).inc()

    def paused(self, paused: bool) -> None:
        metrics.SINK_PAUSED.set(paused)

    def failing(self, what: str, code: int | None, failures: int) -> None:
        told = self._failing.pop(what, None)
        if told is not None:
            metrics.SINK_FAILING.remove(what, told)
        if failures:
            self._failing[what] = str(code) if code is not None else "none"
            metrics.SINK_FAILING.labels(what, self._failing[what]).set(failures)

    def lag(self, topic: str, positions: int) -> None:
        metrics.SINK_LAG.labels(topic).set(positions)


def access_of(settings: Settings) -> Access:
    """Where ClickHouse is, by the settings."""
    return Access(
        url=settings.clickhouse_url,
        user=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
        database=settings.clickhouse_database,
    )


class SinkService:
    """One sink worker. `run` once.

    `events` says what lies on which topic, `letters` where dead letters go, `terms` what the configuration promises.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        events: Mapping[str, type[msgspec.Struct]] = EVENT_OF_TOPIC,
        letters: str = DEAD_LETTERS,
        terms: Callable[[], Terms] = Terms,
    ) -> None:
        self._terms = terms
        self._worker = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
        self._settings = settings
        self._events = events
        self._letters = letters
        self._codec = codec
        self._metrics = SinkMetrics()
        self._patience = Patience(self._metrics)
        self._days_of_unread = DaysOfUnread(settings.brokers)
        self._consumer: SinkConsumer | None = None

    def ready(self) -> bool:
        """True when every partition that it was given is open, but those that it leaves alone and tells of."""
        return self._consumer is not None and self._consumer.ready

    async def _days_kept(self, letter: DeadLetter) -> int | None:
        """How long the original of a letter of the sink is kept."""
        told = days_told(letter, self._events[letter.source_topic], self._codec.decode)
        return told if told is not None else await self._days_of_unread()

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop` is set, then write what has been read and let go.

        Waits for ClickHouse as long as it takes. Raises what a restart may mend; the supervisor sees to that.
        """
        clickhouse = ClickHouse(access_of(self._settings))
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.brokers,
            enable_idempotence=True,
            acks="all",
            max_request_size=_PRODUCER_BYTES,
        )
        await producer.start()
        try:
            kept = Kept(clickhouse)
            store = await self._store(clickhouse, kept, stop)
            if store is not None:
                self._consumer = self._build(store, producer, kept)
                await self._run(self._consumer, kept, stop)
        finally:
            await producer.stop()
            await clickhouse.close()

    async def _run(self, consumer: SinkConsumer, kept: Kept, stop: asyncio.Event) -> None:
        """Write; beside it obey erasures and reconcile. Where one fails, all end."""
        # A client of its own: a long query delays no insert, and its patience doesn't tell the sink as paused.
        clickhouse = ClickHouse(access_of(self._settings), timeout_s=600)
        setup = Setup(
            brokers=self._settings.brokers,
            clickhouse=clickhouse,
            codec=self._codec,
            events=self._events,
            letters=self._letters,
            worker=self._worker,
            metrics=NoMetrics(),
            patience=Patience(NoMetrics()),
        )
        beside = [asyncio.create_task(ErasureWatch(clickhouse, kept).run(), name="erasures")]
        if (every_s := self._settings.reconcile_every_s) > 0:
            schedule = Schedule(setup, every_s, self._settings.reconcile_fresh_s, self._terms)
            beside.append(asyncio.create_task(schedule.run(), name="reconcile"))
        work = asyncio.create_task(consumer.run(stop))
        try:
            ended, _ = await asyncio.wait([work, *beside], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                ended.pop().result()  # raises: by itself it never ends
            await work
        finally:
            for task in (*beside, work):
                task.cancel()
            await asyncio.wait([*beside, work])
            await clickhouse.close()

    async def _store(self, clickhouse: ClickHouse, kept: Kept, stop: asyncio.Event) -> ClickHouseStore | None:
        """The store with its tables as they must be, `kept` with what stands.

        None when `stop` was set before ClickHouse answered.
        """
        store = ClickHouseStore(clickhouse)

        async def prepare() -> ClickHouseStore:
            await self._patience.persist(Migrator(clickhouse).apply, "migrate")
            await self._patience.persist(store.verify, "verify the tables")
            await self._patience.persist(store.trim, "trim the ledger")
            await self._patience.persist(kept.refresh, "read the erasures")
            return store

        return await unless(prepare(), stop)

    def _build(self, store: ClickHouseStore, producer: AIOKafkaProducer, kept: Kept) -> SinkConsumer:
        async def send(key: bytes, value: bytes) -> None:
            await producer.send_and_wait(self._letters, value, key=key)

        def encode(letter: DeadLetter) -> bytes:
            return self._codec.encode(letter, self._letters)

        settings = self._settings
        parts = Parts(
            store=store,
            dead_letters=KafkaDeadLetters(send, encode, self._days_kept),
            metrics=self._metrics,
            patience=self._patience,
            clock=asyncio.get_running_loop().time,
            crash_point=lambda name: crash_point(cast(CrashPoint, name)),
            worker=self._worker,
        )
        mapper = Mapper(decoder(self._codec, self._events), kept)
        options = Options(
            brokers=settings.brokers,
            group=f"{settings.app_id}-sink",
            topics=tuple(self._events),
            session_timeout_ms=settings.session_timeout_ms,
            drain_s=settings.drain_timeout_s,
        )
        writer = Writer(parts, mapper, RangeReader(settings.brokers, self._metrics))
        return SinkConsumer(options, parts, writer, mapper)

"""Reconciliations as the running system makes them: one by command, and one after another beside a sink.

Every sink worker looks whether a run is due; one claims it (`sinks.reconcile.record`). Each tells in its metrics what
the last run found, whoever made it, so that an alert ends when a later run has found nothing.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.codec import Codec
from schemas.config import Config
from schemas.records import DeadLetter
from sinks.clickhouse import ClickHouse
from sinks.clickhouse_store import REPAIRS, ClickHouseStore
from sinks.dead_letter import KafkaDeadLetters, days_told
from sinks.erasure import Erasures, Kept
from sinks.landing import Parts
from sinks.ledger import State
from sinks.mapping import Mapper, decoder
from sinks.metrics import Metrics
from sinks.patience import Patience
from sinks.reader import RangeReader, ReadStalled, TopicRecreated
from sinks.reconcile.accounts import Terms
from sinks.reconcile.excuses import Excuses
from sinks.reconcile.fullest import FULLEST
from sinks.reconcile.pace import Pace
from sinks.reconcile.partition import Tools
from sinks.reconcile.record import Book
from sinks.reconcile.repair import Repairer
from sinks.reconcile.run import Report, Run, Sources, Wanted, waiting_letters
from sinks.reconcile.stored import Database
from sinks.reconcile.topics import TopicMissing, Topics
from sinks.store import StoreError
from streams import metrics
from streams.retention import DaysOfUnread

log = logging.getLogger(__name__)

_PRODUCER_BYTES: Final = 6 << 20
_LOOK_EVERY_S: Final = 60.0
_SHARE: Final = 0.25
"""Of the time of a sink worker's process, for comparisons beside its work."""


@dataclass(frozen=True)
class Setup:
    """What reconciliations have in common. `events`: what lies on which topic; `letters`: that of dead letters."""

    brokers: str
    clickhouse: ClickHouse
    codec: Codec
    events: Mapping[str, type[msgspec.Struct]]
    letters: str
    worker: str
    metrics: Metrics
    patience: Patience


def terms_of(config: Config) -> Terms:
    """What a configuration promises about ends: a request's grace, and how long its attempts may stay unsettled."""
    grace_ms = int(config.defaults.grace_s * 1000)
    return Terms(grace_ms, (config.defaults.dedupe_hours + 1) * 3_600_000)


async def reconcile(
    setup: Setup, wanted: Wanted, *, repair: bool = False, share: float = 1.0, run_id: str = ""
) -> Report:
    """Compare, mend where that is wanted, and record what was found.

    Raises a StoreError, KafkaError, TopicMissing or ReadStalled where it can't be done now; TopicRecreated where a
    topic is made anew meanwhile, or a repair that was broken off can't read its records again for that reason.
    """
    # First of all: what has landed by now is compared, and nothing else.
    reading = await setup.patience.persist(ClickHouseStore(setup.clickhouse).latest, "read the ledger")
    state = reading.last.state if reading.last else State()
    sources = _sources(setup)
    database = sources.database
    run = Run(sources, wanted, state, run_id or uuid.uuid4().hex)
    await run.prepare()
    tables = await database.tables_of(setup.events)
    excuses = Excuses(
        database, lambda: waiting_letters(sources, state), await database.made_at(), reading.now
    )
    mapper = await _mapper(setup, sources)
    async with _repairer(setup, database, mapper, excuses, tables, repair) as repairer:

        async def tools() -> Tools:
            return Tools(
                topics=Topics(setup.brokers, run.partitions),
                database=database,
                mapper=mapper,
                excuses=excuses,
                repairer=repairer,
                pace=Pace(share, asyncio.get_running_loop().time),
                tables=tables,
                fullest={topic: FULLEST.get(event, ()) for topic, event in setup.events.items()},
                compacted=run.compacted,
            )

        report = await run.compare(tools, at_once=2 if share == 1 and not repair else 1)
    await run.record(tables)
    if repair:  # an erasure ordered meanwhile must not be undone by what was put in again
        await setup.patience.persist(Erasures(setup.clickhouse).apply, "erase")
    return report


def _sources(setup: Setup) -> Sources:
    return Sources(
        brokers=setup.brokers,
        events=setup.events,
        letters=setup.letters,
        database=Database(setup.clickhouse, setup.patience),
        book=Book(setup.clickhouse, setup.patience),
        worker=setup.worker,
        decode=decoder(setup.codec, setup.events),
    )


async def _mapper(setup: Setup, sources: Sources) -> Mapper:
    """Maps as the sink does: what stands erased stays empty."""
    kept = Kept(setup.clickhouse)
    await setup.patience.persist(kept.refresh, "read the erasures")
    return Mapper(sources.decode, kept)


@contextlib.asynccontextmanager
async def _repairer(
    setup: Setup,
    database: Database,
    mapper: Mapper,
    excuses: Excuses,
    tables: Mapping[str, tuple[str, ...]],
    wanted: bool,
) -> AsyncIterator[Repairer | None]:
    """A repairer that has finished what others left open; None where none is wanted."""
    if not wanted:
        yield None
        return
    producer = AIOKafkaProducer(
        bootstrap_servers=setup.brokers, enable_idempotence=True, acks="all", max_request_size=_PRODUCER_BYTES
    )
    await producer.start()
    parts = Parts(
        store=ClickHouseStore(setup.clickhouse, REPAIRS),
        dead_letters=_letters(setup, producer),
        metrics=setup.metrics,
        patience=setup.patience,
        clock=asyncio.get_running_loop().time,
        crash_point=lambda name: None,
        worker=setup.worker,
    )
    try:
        source = RangeReader(setup.brokers, setup.metrics)
        repairer = Repairer(parts, database, mapper, source, excuses, tables)
        await repairer.finish_open()
        yield repairer
    finally:
        await producer.stop()


def _letters(setup: Setup, producer: AIOKafkaProducer) -> KafkaDeadLetters:
    """Where a repair publishes dead letters that never were."""
    unread = DaysOfUnread(setup.brokers)

    async def send(key: bytes, value: bytes) -> None:
        await producer.send_and_wait(setup.letters, value, key=key)

    def encode(letter: DeadLetter) -> bytes:
        return setup.codec.encode(letter, setup.letters)

    async def days(letter: DeadLetter) -> int | None:
        told = days_told(letter, setup.events[letter.source_topic], setup.codec.decode)
        return told if told is not None else await unread()

    return KafkaDeadLetters(send, encode, days)


class Schedule:
    """Runs what is due, `every_s` seconds after the run before, as long as it isn't cancelled.

    `terms` gives what the configuration promises now.
    """

    def __init__(self, setup: Setup, every_s: float, fresh_s: float, terms: Callable[[], Terms]) -> None:
        self._setup = setup
        self._every_s = every_s
        self._fresh_ms = int(fresh_s * 1000)
        self._terms = terms
        self._book = Book(setup.clickhouse, setup.patience)

    async def run(self) -> None:
        """Look again and again. Raises what nobody expects."""
        metrics.RECONCILE_LAST.set_to_current_time()
        while True:
            await asyncio.sleep(min(_LOOK_EVERY_S, self._every_s / 2))
            try:
                await self.look()
            except (StoreError, KafkaError, TopicMissing, ReadStalled, TopicRecreated) as error:
                log.warning("no reconciliation now: %s: %s", type(error).__name__, error)
                metrics.RECONCILE_RUNS.labels("failed").inc()

    async def look(self) -> Report | None:
        """Make the run that is due, if there is one and no other worker has it; tell what the last one found."""
        number, at = await self._book.last_claim()
        now = await self._book.now()
        if not number:
            at = min(
                (await Database(self._setup.clickhouse, self._setup.patience).made_at()).values(), default=now
            )
        report = None
        if now - at >= self._every_s * 1000:
            report = await self._claimed(number + 1)
        await self.tell()
        return report

    async def _claimed(self, number: int) -> Report | None:
        run_id = uuid.uuid4().hex
        if not await self._book.claim(number, run_id, self._setup.worker):
            return None
        wanted = Wanted("new", fresh_ms=self._fresh_ms, terms=self._terms())
        began = time.monotonic()
        report = await reconcile(self._setup, wanted, share=_SHARE, run_id=run_id)
        metrics.RECONCILE_RUNS.labels("gaps" if report.gaps else "clean").inc()
        metrics.RECONCILE_SECONDS.observe(time.monotonic() - began)
        metrics.RECONCILE_RECORDS.inc(report.records)
        tell = log.error if report.gaps else log.info
        tell("reconciliation %s: %d records, %d gaps", report.run, report.records, report.gaps)
        return report

    async def tell(self) -> None:
        """Set the gauges to what the last run that is over has found."""
        last = await self._book.last_run()
        metrics.RECONCILE_GAPS.clear()
        if last is None:
            return
        metrics.RECONCILE_LAST.set(last.at / 1000)
        metrics.RECONCILE_GAPS.labels("any").set(last.gaps)
        for kind, count in (await self._book.findings_of(last.id)).items():
            metrics.RECONCILE_GAPS.labels(kind).set(count)

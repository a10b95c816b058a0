"""Topics, events and workers for the sink's integration tests, and the comparison of Kafka with ClickHouse."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import names
from schemas.codec import Codec
from schemas.registry import SchemaStore
from sinks.clickhouse import Access, ClickHouse
from sinks.store import StoreError
from streams.local.part import answers
from streams.local.ports import choose as choose_port
from streams.settings import child_environment

PARTITIONS = 2
TABLES_OF_TOPIC = {
    names.RESULTS: ("results", "result_notices"),
    names.USAGE: ("usage",),
    names.AUDIT: ("audit",),
    names.ATTEMPTS: ("attempts",),
    names.FEEDBACK: ("feedback",),
    names.CONFIG: ("config_versions",),
    names.DEAD_LETTERS: ("dead_letters",),
}
Coordinates = tuple[str, int, int]
Event = msgspec.Struct | bytes | tuple[bytes, bytes]
"""Bytes go as they are, as a value or as key and value."""


class Harness:
    """One test's topics, database and workers. `prefix` goes before every topic's name."""

    def __init__(self, brokers: str, clickhouse_url: str, prefix: str, logs: Path) -> None:
        self.brokers = brokers
        self.prefix = prefix
        self.logs = logs
        self.access = Access(clickhouse_url, database="t_" + prefix.strip(".").replace(".", "_"))
        self.clickhouse = ClickHouse(self.access)
        self.codec = Codec(SchemaStore(None))
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, crash_point: str = "", group: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker in the test's group or another. It logs to a file of the test's.

        With `SLUICE_WEB_PORT` it serves its metrics there.
        """
        settings = {
            "SLUICE_BROKERS": self.brokers,
            "SLUICE_CLICKHOUSE_URL": self.access.url,
            "SLUICE_CLICKHOUSE_DATABASE": self.access.database,
            "SLUICE_APP_ID": self.prefix + group,
            "SLUICE_CRASH_POINT": crash_point,
            "SLUICE_SESSION_TIMEOUT_MS": "6000",
        }
        environment = child_environment(**settings | environment)
        with (self.logs / f"worker-{len(self.workers)}.log").open("wb") as out:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.sink_worker", self.prefix],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=Path(__file__).parents[2],
            )
        self.workers.append(worker)
        return worker

    async def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                os.kill(worker.pid, signal.SIGCONT)
                worker.kill()
                worker.wait()
        with contextlib.suppress(StoreError):  # a test may have killed its engine
            for database in (self.access.database, self.access.analytics):
                await self.clickhouse.command(f"DROP DATABASE IF EXISTS {database}")
        await self.clickhouse.close()

    async def publish(self, events: Iterable[tuple[str, Event]], transactions: int = 0) -> None:
        """Send events round the partitions; `transactions` > 0: so many events in each, and after each an aborted
        one."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.brokers,
            linger_ms=2,
            transactional_id=f"{self.prefix}publisher" if transactions else None,
        )
        await producer.start()
        try:
            batch: list[tuple[str, Event]] = []
            for event in events:
                batch.append(event)
                if len(batch) >= (transactions or 500):
                    await self._send(producer, batch, bool(transactions))
                    batch = []
            await self._send(producer, batch, bool(transactions))
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, batch: list[Any], transactional: bool) -> None:
        async def send(n: int, topic: str, event: Event) -> None:
            key, event = event if isinstance(event, tuple) else (None, event)
            value = event if isinstance(event, bytes) else self.codec.encode(event, topic)
            await producer.send(self.prefix + topic, value, key, partition=n % PARTITIONS)

        if not transactional:
            for n, (topic, event) in enumerate(batch):
                await send(n, topic, event)
            await producer.flush()
            return
        async with producer.transaction():
            for n, (topic, event) in enumerate(batch):
                await send(n, topic, event)
        await producer.begin_transaction()
        for n, (topic, event) in enumerate(batch[:PARTITIONS]):
            await send(n, topic, event)
        await producer.flush()
        await producer.abort_transaction()

    async def on_kafka(self) -> dict[str, set[Coordinates]]:
        """Where the committed records of each topic lie."""
        topics = [self.prefix + topic for topic in TABLES_OF_TOPIC]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.brokers, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            tps = [TopicPartition(t, p) for t in topics for p in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            found: dict[str, set[Coordinates]] = {topic: set() for topic in TABLES_OF_TOPIC}
            while True:
                for tp, records in (await consumer.getmany(*tps, timeout_ms=200)).items():
                    topic = tp.topic.removeprefix(self.prefix)
                    found[topic] |= {(tp.topic, tp.partition, r.offset) for r in records}
                if all([await consumer.position(tp) >= ends[tp] for tp in tps]):
                    return found
        finally:
            await consumer.stop()

    async def in_clickhouse(self, *tables: str) -> Counter[Coordinates]:
        """How often each record has a row in `tables`."""
        found: Counter[Coordinates] = Counter()
        for table in tables:
            sql = (
                "SELECT kafka_topic, kafka_partition, kafka_offset, count() "
                f"FROM {self.access.database}.{table} GROUP BY 1, 2, 3"
            )
            for topic, partition, offset, n in await self.clickhouse.query(sql):
                found[topic, partition, offset] += n
        return found

    async def scalar(self, sql: str) -> Any:
        return (await self.clickhouse.query(sql.replace("{db}", self.access.database)))[0][0]

    async def landed(self) -> int:
        """Rows of the topics' own tables."""
        try:
            return sum([(await self.in_clickhouse(*t)).total() for t in TABLES_OF_TOPIC.values()])
        except StoreError:  # the first worker has not made the tables yet
            return 0

    async def settle(self, wanted: int, seconds: float = 120) -> None:
        """Return when so many rows are there and the ledger has no open intent."""
        deadline = time.monotonic() + seconds
        while (n := await self.landed()) < wanted or await self.open_intents():
            if time.monotonic() > deadline:
                raise AssertionError(f"{n} of {wanted} rows after {seconds:.0f} s")
            await asyncio.sleep(0.1)

    async def open_intents(self) -> int:
        state = await self.scalar("SELECT state FROM {db}.sink_ledger ORDER BY sequence DESC LIMIT 1")
        return len(msgspec.json.decode(state)["open"])

    async def check(
        self, missing: Callable[[Coordinates], bool] = lambda _: False, still_there: bool = True
    ) -> int:
        """Assert that each committed record has exactly one row, but those of `missing`, which have none.

        `still_there` is False where Kafka has deleted records that have landed. Returns the number of rows.
        """
        on_kafka, total = await self.on_kafka(), 0
        for topic, tables in TABLES_OF_TOPIC.items():
            expected = Counter(at for at in on_kafka[topic] if not missing(at))
            found = await self.in_clickhouse(*tables)
            lost, doubled = expected - found, found - (expected if still_there else Counter(set(found)))
            assert not lost and not doubled, (
                f"{topic}: of {len(on_kafka[topic])} events lost {_some(lost)}, doubled {_some(doubled)}; "
                f"dead letters: {await self._letters()}"
            )
            total += found.total()
        return total


    async def _letters(self) -> list[Any]:
        """How many dead letters there are of each kind, and what the first of a kind says."""
        return list(
            await self.clickhouse.query(
                "SELECT source_topic, reason, count(), any(message) "
                f"FROM {self.access.database}.dead_letters GROUP BY 1, 2"
            )
        )


def _some(at: Counter[Coordinates]) -> str:
    """What fits a failure's message."""
    return f"{at.total()} {[*at][:5]}"


class Engine:
    """A ClickHouse of the test's own, to be killed and started again on its data and port."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = choose_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def command(self) -> list[str]:
        """What starts it."""
        where = ["--path", str(self.path), "--port", str(self.port)]
        return [sys.executable, "-m", "streams.local.clickhouse_server", *where]

    def start(self) -> None:
        """Start it and return when it answers."""
        with self.path.with_suffix(".log").open("ab") as out:
            self._process = subprocess.Popen(
                self.command(), stdout=out, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[2]
            )
        deadline = time.monotonic() + 60
        while not answers(f"{self.url}/ping"):
            assert self._process.poll() is None and time.monotonic() < deadline, "ClickHouse doesn't start"
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


async def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll `condition`. Raises AssertionError when it isn't true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.02)


async def until_async(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """The same for a condition that must be awaited."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.05)

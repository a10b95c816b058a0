"""The sink under its benchmark: a stack, a backlog of encoded events, and processes that bring it into ClickHouse."""

import asyncio
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
from confluent_kafka import Producer

from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.registry import Registry, SchemaStore
from sinks.clickhouse import Access, ClickHouse
from streams import config_watch, topics
from streams.local.ports import choose
from streams.local.stack import Endpoints, Stack
from streams.settings import child_environment, get_settings
from tests.fakes import sink_events as events

TABLES = ("results", "bodies", "usage", "attempts", "audit", "requests", "decisions")
TOPICS = (names.AUDIT, names.ATTEMPTS, names.USAGE, names.RESULTS)
ANSWER = "The branch manager asked for a short summary of the note, which follows here in plain words. " * 8
Encoded = tuple[str, bytes]


def requests(codec: Codec, first: int, count: int, text: str = ANSWER) -> Iterator[Encoded]:
    """The six events of each of `count` finished requests: accepted, started, done, usage, result, finalised."""
    began = time.time_ns() // 1_000_000 - events.T0
    for n in range(first, first + count):
        result = msgspec.structs.replace(events.result(n), text=text, accepted_at=events.T0 + began)
        result.completed_at = events.T0 + began + 250
        usage = msgspec.structs.replace(events.usage(n), accepted_at=events.T0 + began)
        usage.recorded_at = result.completed_at
        made: list[tuple[str, Any]] = [
            (names.AUDIT, events.audit(n)),
            (names.ATTEMPTS, events.attempt(n)),
            (names.ATTEMPTS, events.attempt(n, "done")),
            (names.USAGE, usage),
            (names.RESULTS, result),
            (names.AUDIT, events.audit(n, "finalised")),
        ]
        for topic, event in made:
            yield topic, codec.encode(event, topic)


@dataclass
class Process:
    """A process under measurement; memory in MiB. `began` is its CPU seconds and its rows when the first were seen."""

    process: subprocess.Popen[bytes]
    web_port: int = 0
    peak_rss_mb: float = 0
    began: tuple[float, int] | None = None

    def sample(self) -> float:
        """Note the memory now, and return it."""
        rss = psutil.Process(self.process.pid).memory_info().rss / (1 << 20)
        self.peak_rss_mb = max(self.peak_rss_mb, rss)
        return rss

    def cpu_s(self) -> float:
        """User and system seconds so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def cpu_us_per_row(self, rows: int) -> float:
        """What it took for each of its first `rows` rows, its start left out."""
        assert self.began is not None
        return (self.cpu_s() - self.began[0]) * 1e6 / (rows - self.began[1])

    def end(self) -> None:
        """SIGTERM, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Rig:
    """Everything that runs. `close` ends it all, by id."""

    home: Path
    partitions: int = 4
    stack: Stack = field(init=False)
    endpoints: Endpoints = field(init=False)
    codec: Codec = field(init=False)
    processes: list[Process] = field(default_factory=list)
    published: int = 0

    async def start(self) -> None:
        """Stack, topics, schemas and a configuration."""
        self.stack = Stack(self.home, get_settings().cache_dir, die_with_parent=True)
        self.endpoints = await asyncio.to_thread(self.stack.up, ["kafka", "registry", "clickhouse"])
        config = Config.model_validate(
            {
                "providers": {"dummy": {"kind": "dummy"}},
                "models": {
                    "m": {"provider": "dummy", "vendor_model": "m", "price": {"input": 1, "output": 2}}
                },
                "topics": {"partitions": self.partitions},
                "tenants": {f"tenant-{n}": {} for n in range(7)},
                "routes": [{"models": ["m"]}],
            }
        )
        store = SchemaStore(Registry(self.endpoints.registry_url, httpx.AsyncClient(timeout=30)))
        await store.register_all()
        self.codec = Codec(store)
        await topics.apply(self.endpoints.brokers, topics.specs(config))
        await config_watch.publish(self.endpoints.brokers, config)

    def access(self, database: str) -> Access:
        """Where ClickHouse is."""
        return Access(self.endpoints.clickhouse_url, database=database)

    def clickhouse(self, database: str) -> ClickHouse:
        """A client; it stays usable while the engine stands still."""
        return ClickHouse(self.access(database), timeout_s=120)

    def producer(self) -> Producer:
        """librdkafka: it takes a fraction of what the processes under measurement take."""
        return Producer(
            {
                "bootstrap.servers": self.endpoints.brokers,
                "linger.ms": 5,
                "message.max.bytes": 6 << 20,
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 512 << 10,
            }
        )

    async def publish(self, encoded: Iterable[Encoded], per_s: float | None = None) -> int:
        """Publish, as fast as may be or so many records a second; returns the bytes of their values."""
        producer, size, began = self.producer(), 0, time.monotonic()
        together = max(1, min(50, int(per_s / 50))) if per_s else 50
        # A publisher without transactions: route's outputs come in transactions, which cost the reader nothing.
        for number, (topic, value) in enumerate(encoded):
            producer.produce(topic, value, partition=self.published % self.partitions)
            size += len(value)
            self.published += 1
            if number % together == 0:
                producer.poll(0)
                ahead = began + number / per_s - time.monotonic() if per_s else 0.0
                await asyncio.sleep(max(0.0, ahead))
        await asyncio.to_thread(producer.flush, 120)
        return size

    def sink(self, database: str, **environment: str) -> Process:
        """Start a sink worker on a database of its own, which reads the topics from their beginning."""
        port = choose()
        settings = {
            "SLUICE_BROKERS": self.endpoints.brokers,
            "SLUICE_REGISTRY_URL": self.endpoints.registry_url,
            "SLUICE_CLICKHOUSE_URL": self.endpoints.clickhouse_url,
            "SLUICE_CLICKHOUSE_DATABASE": database,
            "SLUICE_APP_ID": database,
            "SLUICE_WEB_PORT": str(port),
            "SLUICE_RECONCILE_EVERY_S": "0",
        }
        command = [sys.executable, "-m", "streams.cli.main", "worker", "sink"]
        return self._start(database, command, child_environment(**settings | environment), port)

    def bare(self, database: str, *options: str) -> Process:
        """Start a bare loop on a database, whose tables must be there."""
        command = [sys.executable, "-m", "tests.benchmarks.bare_insert", self.endpoints.brokers]
        command += [self.endpoints.registry_url, self.endpoints.clickhouse_url, database, *options]
        return self._start(database, command, child_environment())

    def _start(self, name: str, command: list[str], environment: dict[str, str], port: int = 0) -> Process:
        with open(self.home / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(Process(process, port))
        return self.processes[-1]

    def engine_pid(self) -> int:
        """The process of ClickHouse."""
        [pid] = [part.pid for part in self.stack.status() if part.name == "clickhouse"]
        assert pid is not None
        return pid

    def engine(self, number: signal.Signals) -> None:
        """Send the engine a signal."""
        psutil.Process(self.engine_pid()).send_signal(number)

    def engine_cpu_s(self) -> float:
        """The engine's user and system seconds so far, merges included."""
        times = psutil.Process(self.engine_pid()).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """End every process and the stack."""
        for process in self.processes:
            process.end()
        self.stack.down()


async def rows_in(clickhouse: ClickHouse) -> dict[str, int]:
    """The rows of each table, {} while they aren't made."""
    database = clickhouse.access.database
    sql = "SELECT table, sum(rows) FROM system.parts WHERE active AND database = {d:String} GROUP BY table"
    found = {table: int(rows) for table, rows in await clickhouse.query(sql, {"d": database})}
    return {table: found.get(table, 0) for table in TABLES}


async def landed(clickhouse: ClickHouse, rows: int, process: Process, within_s: float = 300) -> None:
    """Until so many rows are there. Raises TimeoutError, and RuntimeError where the process ends."""
    deadline = time.monotonic() + within_s
    while (there := sum((await rows_in(clickhouse)).values())) < rows:
        if process.process.poll() is not None:
            raise RuntimeError(f"the process for {clickhouse.access.database} ended; see its log")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{there} of {rows} rows in {clickhouse.access.database} after {within_s} s")
        process.sample()
        if there and process.began is None:
            process.began = process.cpu_s(), there
        await asyncio.sleep(0.25)


async def rate(clickhouse: ClickHouse) -> float:
    """Rows a second between the first and the last tenth of the rows: no start-up, no tail."""
    database = clickhouse.access.database
    each = (f"SELECT toUnixTimestamp64Milli(inserted_at) AS at FROM {database}.{table}" for table in TABLES)
    sql = f"SELECT at, count() FROM ({' UNION ALL '.join(each)}) GROUP BY at ORDER BY at"
    times, counts = zip(*await clickhouse.query(sql), strict=True)
    reached = list(itertools.accumulate(counts))
    first = next(i for i, n in enumerate(reached) if n >= reached[-1] * 0.1)
    last = next(i for i, n in enumerate(reached) if n >= reached[-1] * 0.9)
    return float((reached[last] - reached[first]) * 1000 / (times[last] - times[first]))

"""The sink before a ClickHouse that breaks off, answers too late or refuses: nothing is lost, doubled or unsaid."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from sinks.clickhouse import Access, ClickHouse
from sinks.clickhouse_store import ClickHouseStore
from sinks.landing import Landing, Parts, Reread
from sinks.ledger import Intent, Range
from sinks.metrics import NoMetrics
from sinks.migrate import Migrator
from sinks.patience import Patience
from sinks.register import Register
from sinks.rows import MAPPING
from sinks.store import Unavailable
from streams.cli.sink_health import SinkHealth, sink_health
from streams.local.ports import choose as choose_port
from tests.conftest import Admin
from tests.integration.sink_harness import PARTITIONS, TABLES_OF_TOPIC, Harness, until_async
from tests.integration.tcp_proxy import Fate, Proxy
from tests.integration.test_sink import mixed
from tests.integration.test_sink_store import usage_rows


@pytest.fixture
async def proxy(clickhouse_url: str) -> AsyncIterator[Proxy]:
    made = Proxy(int(clickhouse_url.rpartition(":")[2]))
    yield made
    await made.stop()


@pytest.fixture
async def sink(
    admin: Admin, kafka_brokers: str, clickhouse_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Harness]:
    harness = Harness(kafka_brokers, clickhouse_url, topic_prefix, tmp_path)
    await admin.create(*[topic_prefix + t for t in TABLES_OF_TOPIC], partitions=PARTITIONS)
    yield harness
    await harness.close()


async def test_connections_that_break_in_mid_insert_or_when_it_was_applied(
    sink: Harness, proxy: Proxy
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng, port = random.Random(seed), choose_port()
    breaking: list[Fate] = ["cut request", "cut reply"]
    faults = 24

    def fate(table: str) -> Fate:
        left = faults - sum(proxy.done[f] for f in breaking)
        return rng.choice([*breaking, "pass"]) if left > 0 else "pass"

    proxy.fate = fate
    worker = sink.start(SLUICE_CLICKHOUSE_URL=await proxy.start(), SLUICE_WEB_PORT=str(port))
    count = 0
    while sum(proxy.done[f] for f in breaking) < faults:
        assert worker.poll() is None, "a worker whose connections break ends"
        await sink.publish(mixed(10, first=count))
        count += 10
        await sink.settle(count * 5)
    assert await sink.check() == count * 5
    assert worker.poll() is None and all(proxy.done[f] > 2 for f in breaking)
    assert await told(port) == SinkHealth(paused=False, failing=(), waiting=0)


async def told(port: int) -> SinkHealth:
    """What the worker says of itself once its lag is told."""
    health = await sink_health(port)

    async def at_its_end() -> bool:
        nonlocal health
        health = await sink_health(port)
        return health.waiting == 0

    await until_async(at_its_end, 20, "the worker tells that nothing waits")
    return health


async def test_a_timeout_after_the_insert_was_applied(
    clickhouse_url: str, topic_prefix: str, proxy: Proxy
) -> None:
    access = Access(clickhouse_url, database="t_" + topic_prefix.strip("."))
    direct = ClickHouse(access)
    await Migrator(direct).apply()
    slow = ClickHouse(Access(await proxy.start(), database=access.database), timeout_s=1)
    told = Told()
    store, patience = ClickHouseStore(slow), Patience(told)
    clock = asyncio.get_running_loop().time
    parts = Parts(store, Nothing(), NoMetrics(), patience, clock, lambda place: None, "w")
    register = Register(store, patience, "w", clock)
    intent = Intent(id="i", ranges=(Range("llm.usage", 0, 0, 50),), mapping=MAPPING)
    lease = await register.advance(lambda state: state.intend(intent))
    fates: list[Fate] = ["hold reply", "cut reply"]
    proxy.fate = lambda table: fates.pop(0) if fates and table == "usage" else "pass"
    await Landing(parts, register, Nothing()).land(intent, {"usage": usage_rows(*range(50))}, lease)
    assert proxy.done["hold reply"] == 1
    assert told.states == [("insert into usage", 1), ("insert into usage", 0)]
    found = await direct.query(f"SELECT count(), uniqExact(kafka_offset) FROM {access.database}.usage")
    assert [tuple(row) for row in found] == [(50, 50)]
    fates = ["hold reply"]
    with pytest.raises(Unavailable):
        await store.insert("usage", usage_rows(60), "t", await register.lease())
    for database in (access.database, access.analytics):
        await direct.command(f"DROP DATABASE {database}")
    await slow.close()
    await direct.close()


class Told(NoMetrics):
    """What is tried in vain, and how often in a row by then."""

    def __init__(self) -> None:
        self.states: list[tuple[str, int]] = []

    def failing(self, what: str, code: int | None, failures: int) -> None:
        self.states.append((what, failures))


class Nothing:
    async def read(self, ranges: Iterable[Range]) -> Reread:
        return Reread([])

    async def publish(self, letters: object) -> None: ...


REFUSING = {
    "243": ("min_free_disk_bytes_to_perform_insert", 1 << 60),  # NOT_ENOUGH_SPACE
    "252": ("parts_to_throw_insert", 1),  # TOO_MANY_PARTS
}


async def test_a_clickhouse_that_refuses_inserts_is_waited_for_and_that_is_told(sink: Harness) -> None:
    """A disk that is full, and merges that don't keep up."""
    port = choose_port()
    worker = sink.start(SLUICE_WEB_PORT=str(port))
    await sink.publish(mixed(10))
    await sink.settle(50)
    count, usage = 10, f"{sink.access.database}.usage"
    for code, (setting, value) in REFUSING.items():
        await sink.clickhouse.command(f"ALTER TABLE {usage} MODIFY SETTING {setting} = {value}")
        await sink.publish(mixed(30, first=count))
        health = await refused(port, code)
        assert health.paused and f"insert into usage failed {health.failing[0][2]} times" in str(health)
        assert worker.poll() is None
        assert await sink.scalar("SELECT count() FROM {db}.usage") == count
        await sink.clickhouse.command(f"ALTER TABLE {usage} RESET SETTING {setting}")
        count += 30
        await sink.settle(count * 5)
    assert await sink.check() == count * 5
    assert (await told(port)).failing == ()
    assert await sink.scalar("SELECT count() FROM {db}.dead_letters") == 0


async def refused(port: int, code: str) -> SinkHealth:
    """What the worker says once it has tried some inserts in vain, because of `code`."""
    health = await sink_health(port)

    async def tried() -> bool:
        nonlocal health
        health = await sink_health(port)
        return any(w == "insert into usage" and c == code and n > 2 for w, c, n in health.failing)

    await until_async(tried, 60, f"the worker tells of error {code}")
    return health

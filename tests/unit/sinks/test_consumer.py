"""One worker's loop over topics in memory: how much it reads at once, and that it stops when it is told to."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from aiokafka import TopicPartition

from sinks.chunks import Limits
from sinks.connect import Options
from sinks.consumer import SinkConsumer
from sinks.landing import Parts, Reread
from sinks.ledger import Range, State, Version
from sinks.mapping import Mapped, Mapper
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.register import Clock
from sinks.store import Row
from sinks.writer import Writer
from tests.fakes.sink_store import Contents, Fault, Gate, SinkStore, open_gate
from tests.fakes.sink_topics import Member, Topics

FIRST, SECOND = TopicPartition("llm.usage", 0), TopicPartition("llm.usage", 1)
LIMIT = 10_000


class Nothing:
    async def read(self, ranges: Iterable[Range]) -> Reread:
        return Reread([])

    async def publish(self, letters: object) -> None: ...


class Usage(Mapper):
    """Each record is a row of `usage`; `held` is awaited first."""

    def __init__(self, held: Callable[[], Any] | None = None) -> None:
        super().__init__(lambda record: None)
        self._held = held

    async def map(self, records: Iterable[Any]) -> Mapped:
        if self._held is not None:
            await self._held()
        rows: list[Row] = [("row", r.topic, r.partition, r.offset, 1) for r in records]
        return Mapped({"usage": rows}, records=len(rows), size=sum(len(r.value) for r in records))


class Told(NoMetrics):
    """What the worker told: sizes of chunks, whether it paused, the longest lag, what it leaves alone."""

    def __init__(self) -> None:
        self.alone: dict[str, int] = {}
        self.chunks: list[int] = []
        self.pauses: list[bool] = []
        self.longest_lag = 0

    def paused(self, paused: bool) -> None:
        self.pauses.append(paused)

    def lag(self, topic: str, positions: int) -> None:
        self.longest_lag = max(self.longest_lag, positions)

    def recreated(self, topic: str, partitions: int) -> None:
        self.alone[topic] = partitions

    def chunk(self, seconds: float, rows: int, size: int) -> None:
        self.chunks.append(size)


def worker(
    topics: Topics,
    contents: Contents,
    mapper: Mapper,
    metrics: NoMetrics,
    gate: Gate = open_gate,
    patience: Patience | None = None,
    clock: Clock | None = None,
) -> SinkConsumer:
    parts = Parts(
        store=SinkStore(contents, gate),
        dead_letters=Nothing(),
        metrics=metrics,
        patience=patience or Patience(metrics),
        clock=clock or asyncio.get_running_loop().time,
        crash_point=lambda place: None,
        worker="w",
    )
    options = Options("", "g", ["llm.usage"], drain_s=5, limits=Limits(linger=0.05, size=LIMIT))
    return SinkConsumer(
        options, parts, Writer(parts, mapper, Nothing()), mapper, connect=lambda _: Member(topics)
    )


@pytest.mark.parametrize("size", [100, 4_000, LIMIT, 3 * LIMIT])
async def test_a_chunk_is_bounded_in_bytes_and_what_is_over_is_read_again(size: int) -> None:
    topics = Topics({FIRST: 23, SECOND: 17}, holes=frozenset({5, 6, 13}), value=bytes(size))
    contents, metrics, stop = Contents(), Told(), asyncio.Event()
    running = asyncio.create_task(worker(topics, contents, Usage(), metrics).run(stop))
    async with asyncio.timeout(20):
        while len(contents.tables.get("usage", [])) < 23 + 17 - 6 and not running.done():
            await asyncio.sleep(0.01)
    stop.set()
    await running
    landed = sorted((row[-3], row[-2]) for row in contents.tables["usage"])
    assert landed == [(p, n) for p, end in ((0, 23), (1, 17)) for n in range(end) if n not in topics.holes]
    assert max(metrics.chunks) < LIMIT + size


async def test_it_stops_while_a_schema_is_waited_for_and_writes_what_it_has() -> None:
    topics, contents, stop = Topics({FIRST: 5}), Contents(), asyncio.Event()
    maps = 0

    async def held() -> None:
        nonlocal maps
        maps += 1
        if maps == 2:
            topics.ends[FIRST] = 10
            await asyncio.Event().wait()  # the registry is away

    consumer = worker(topics, contents, Usage(held), NoMetrics())
    running = asyncio.create_task(consumer.run(stop))
    async with asyncio.timeout(5):
        while not contents.tables:
            await asyncio.sleep(0.01)
        topics.ends[FIRST] = 10
        while maps < 2:
            await asyncio.sleep(0.01)
        stop.set()
        await running
    assert sorted(row[-2] for row in contents.tables["usage"]) == [0, 1, 2, 3, 4]
    assert contents.versions()[-1].state.tip(("llm.usage", 0)) == Range("llm.usage", 0, 0, 5)


async def test_ten_minutes_without_its_store_it_holds_little_asks_seldom_tells_and_then_writes_all() -> None:
    outage_s, per_s, size = 600, 40, 100
    topics, contents, told, stop = Topics({FIRST: 50}, value=bytes(size)), Contents(), Told(), asyncio.Event()
    loop, passed, asked = asyncio.get_running_loop(), 0.0, 0

    async def gate(what: str) -> Fault:
        nonlocal asked
        await open_gate(what)
        down = contents.tables and passed < outage_s
        asked += bool(down)
        return "before" if down else "none"

    async def sleep(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        topics.ends[FIRST] += int(seconds * per_s) if passed < outage_s else 0
        await asyncio.sleep(seconds / 500)

    patience = Patience(told, sleep=sleep)
    consumer = worker(topics, contents, Usage(), told, gate, patience, lambda: loop.time() + passed)
    running = asyncio.create_task(consumer.run(stop))
    async with asyncio.timeout(30):
        while passed < outage_s and not running.done():
            await asyncio.sleep(0.001)
        held = topics.polled - len(contents.tables["usage"])
        lag, end = told.longest_lag, topics.ends[FIRST]
        while len(contents.tables["usage"]) < topics.ends[FIRST] and not running.done():
            await asyncio.sleep(0.001)
    stop.set()
    await running
    assert held * size <= 2.1 * LIMIT, "one chunk under way, one gathered"
    assert asked <= outage_s / 2.5 + 20
    assert lag > 0.5 * end, "what waits grows while nothing is read, and that is told"
    assert told.pauses[0] and not told.pauses[-1]
    assert sorted(row[-2] for row in contents.tables["usage"]) == list(range(topics.ends[FIRST]))


async def test_a_topic_made_anew_is_left_alone_and_told_and_the_others_are_written() -> None:
    topics, contents, metrics, stop = Topics({FIRST: 30, SECOND: 17}), Contents(), Told(), asyncio.Event()
    more_than_kafka_has = State(tips=(Range("llm.usage", 0, 0, 40),))
    contents.ledger.append(Version(1, "v", "w", more_than_kafka_has))
    consumer = worker(topics, contents, Usage(), metrics)
    running = asyncio.create_task(consumer.run(stop))
    async with asyncio.timeout(5):
        while len(contents.tables.get("usage", [])) < 17 and not running.done():
            await asyncio.sleep(0.01)
        assert consumer.ready and metrics.alone == {FIRST.topic: 1}
        topics.ends |= {FIRST: 60, SECOND: 20}  # that it grows beyond what was read makes it no other topic
        while len(contents.tables["usage"]) < 20 and not running.done():
            await asyncio.sleep(0.01)
    stop.set()
    await running
    assert {row[-3] for row in contents.tables["usage"]} == {SECOND.partition}
    assert contents.versions()[-1].state.tip((FIRST.topic, FIRST.partition)) == Range("llm.usage", 0, 0, 40)

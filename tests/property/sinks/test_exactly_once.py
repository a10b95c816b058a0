"""The sink's core against a store, workers and rebalances that fail wherever they can: each record lands once."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from schemas.records import DeadLetter
from sinks.chunks import Gatherer, Limits
from sinks.dead_letter import letter
from sinks.landing import Parts, Reread
from sinks.ledger import Coordinates, Partition, Range, Version
from sinks.mapping import Mapped, Mapper
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.store import Row, coordinates
from sinks.writer import Lost, Writer
from tests.fakes.sink_store import POISON, Contents, Fault, SinkStore

PARTITIONS: list[Partition] = [("llm.results", 0), ("llm.results", 1), ("llm.usage", 0)]
TABLES = ("bodies", "results", "usage")


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    content: tuple[str, ...]
    timestamp: int = 1
    key: bytes | None = None
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def at(self) -> Coordinates:
        return self.topic, self.partition, self.offset


class Killed(BaseException):
    """The process is gone."""


class FirstWords(Mapper):
    """A record's content names the tables of its rows; `poison TABLE` is a row that TABLE refuses."""

    def __init__(self) -> None:
        super().__init__(lambda record: None)

    async def map(self, records: Iterable[Any]) -> Mapped:
        mapped = Mapped()
        for r in records:
            mapped.records, mapped.size = mapped.records + 1, mapped.size + 1
            if "undecodable" in r.content:
                mapped.rejected.append(letter(r, "undecodable", "garbage"))
                continue
            for word in r.content:
                row = (word, r.topic, r.partition, r.offset, r.timestamp)
                mapped.rows.setdefault(word.split()[-1], []).append(row)
        return mapped


@dataclass
class Log:
    """The topics: records with holes between them."""

    records: dict[Partition, list[Record]] = field(default_factory=lambda: {p: [] for p in PARTITIONS})
    ends: dict[Partition, int] = field(default_factory=lambda: dict.fromkeys(PARTITIONS, 0))

    def append(self, at: Partition, content: tuple[str, ...], hole: int) -> None:
        self.records[at].append(Record(*at, self.ends[at], content))
        self.ends[at] += 1 + hole

    async def read(self, ranges: Iterable[Range]) -> Reread:
        return Reread([r for each in sorted(ranges) for r in self.records[each.at] if r.at in each])


@dataclass
class Worker:
    """A sink worker that reads what it believes it owns, until its task is cancelled or it is killed."""

    name: int
    world: "World"
    owned: set[Partition] = field(default_factory=set)
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        world = self.world
        parts = Parts(
            store=world.store_of(self),
            dead_letters=world,
            metrics=NoMetrics(),
            patience=Patience(NoMetrics(), sleep=lambda _: world.turn(self.name, "sleep")),
            clock=lambda: world.store.now / 1000,
            crash_point=lambda place: world.maybe_kill(self.name),
            worker=str(self.name),
        )
        writer = Writer(parts, FirstWords(), world.log)
        gatherer = Gatherer(Limits(linger=0), lambda: 0.0)
        while True:
            if missing := self.owned - gatherer.opened:
                for at, position in (await writer.open(missing)).items():
                    gatherer.open(at, position or 0)
            gatherer.close(gatherer.opened - self.owned)
            await world.turn(self.name, "poll")
            await self._poll(gatherer)
            chunk = gatherer.take()
            if chunk is not None:
                try:
                    await writer.write(chunk)
                except Lost:
                    gatherer.close(r.at for r in chunk.ranges)

    async def _poll(self, gatherer: Gatherer) -> None:
        for at in sorted(gatherer.opened):
            position = gatherer.expected(at)
            most = self.world.batch()
            found = [r for r in self.world.log.records[at] if r.offset >= position][:most]
            if found:
                last = found[-1] is self.world.log.records[at][-1]
                end = self.world.log.ends[at] if last else found[-1].offset + 1
                gatherer.add(at, await FirstWords().map(found), end)


class World:
    """Lets one task go on at a time, as `draw` decides."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.log = Log()
        self.store = Contents()
        self.letters: list[DeadLetter] = []
        self.healed = False
        self.kill_next: set[int] = set()
        self.requests = 0
        self.waiting: dict[int, tuple[int, str, asyncio.Future[Fault]]] = {}
        self.workers: list[Worker] = []
        self.steps = 0

    async def turn(self, name: int, what: str) -> Fault:
        """Wait until the driver says go on; a request to the store stays under way when its worker dies."""
        self.requests += 1
        number = self.requests
        future: asyncio.Future[Fault] = asyncio.get_running_loop().create_future()
        self.waiting[number] = (name, what, future)
        try:
            return await future
        finally:
            self.waiting.pop(number, None)

    def store_of(self, worker: Worker) -> SinkStore:
        return Remote(self.store, lambda what: self.turn(worker.name, what))

    def maybe_kill(self, name: int) -> None:
        if name in self.kill_next:
            self.kill_next.discard(name)
            raise Killed

    def batch(self) -> int:
        return 99 if self.healed else self.draw(st.integers(1, 4))

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    def start(self, owned: set[Partition]) -> None:
        worker = Worker(len(self.workers), self, owned)
        self.workers.append(worker)
        worker.task = asyncio.get_running_loop().create_task(worker.run())

    def alive(self) -> list[Worker]:
        return [w for w in self.workers if w.task is not None and not w.task.done()]

    async def settle(self) -> None:
        """Return when everybody waits for the driver."""
        for _ in range(10_000):
            told = {name for name, _, future in self.waiting.values() if not future.done()}
            if all(worker.name in told for worker in self.alive()):
                break
            await asyncio.sleep(0)
        for worker in self.workers:
            if worker.task is not None and worker.task.done() and not worker.task.cancelled():
                error = worker.task.exception()
                if error is not None and not isinstance(error, Killed):
                    raise error

    def release(self, number: int, fault: Fault) -> None:
        self.waiting.pop(number)[2].set_result(fault)

    def end(self, worker: Worker) -> None:
        assert worker.task is not None
        worker.task.cancel()


class Remote(SinkStore):
    """A client whose requests go on when it dies, as those of a killed process that are on the wire."""

    async def append(self, version: Version, token: str, lease: int) -> None:
        await _detached(super().append(version, token, lease))

    async def insert(self, table: str, rows: Sequence[Row], token: str, lease: int) -> None:
        await _detached(super().insert(table, rows, token, lease))


async def _detached(request: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(request)
    task.add_done_callback(lambda t: t.cancelled() or t.exception())
    await asyncio.shield(task)


CONTENTS = st.sampled_from(
    [
        ("results",),
        ("results", "bodies"),
        ("usage",),
        ("results", f"{POISON} bodies"),
        (f"{POISON} usage",),
        ("undecodable",),
    ]
)
FAULTS = st.sampled_from(["none"] * 15 + ["before", "after", "half", "forgets_token", "forgets_rows"])


ACTIONS = ["go"] * 6 + ["run"] * 6 + ["produce"] * 3 + ["kill", "abandon", "zombie", "wait", "stall"]


async def step(world: World) -> None:
    draw = world.draw
    action = draw(st.sampled_from(ACTIONS))
    ready = sorted(world.waiting)
    if action == "go" and ready:
        world.release(draw(st.sampled_from(ready)), draw(FAULTS))
    elif action == "run" and world.alive():
        await run_for(world, draw(st.sampled_from(world.alive())).name, draw(st.integers(1, 20)))
    elif action == "produce":
        for content in draw(st.lists(CONTENTS, min_size=1, max_size=5)):
            world.log.append(draw(st.sampled_from(PARTITIONS)), content, draw(st.integers(0, 2)))
    elif action == "kill" and world.alive():
        # At the next crash point, or at once: both are places where a process may end.
        worker = draw(st.sampled_from(world.alive()))
        if draw(st.booleans()):
            world.kill_next.add(worker.name)
        else:
            world.end(worker)
    elif action == "abandon" and world.alive():
        # An orderly rebalance: a worker lets go of a partition, another one gets it.
        giver, taker = draw(st.sampled_from(world.alive())), draw(st.sampled_from(world.alive()))
        if giver.owned:
            at = draw(st.sampled_from(sorted(giver.owned)))
            giver.owned.discard(at)
            taker.owned.add(at)
    elif action == "zombie" and len(world.alive()) < 3:
        # A new owner while the old one believes that it still owns all.
        world.start(set(draw(st.sets(st.sampled_from(PARTITIONS), min_size=1))))
    elif action == "wait":
        world.store.now += draw(st.sampled_from([1_000, 20_000]))
    elif action == "stall":
        # Everybody stands still for longer than a lease, requests under way included.
        world.store.now += 70_000


async def run_for(world: World, name: int, turns: int) -> None:
    """Let one worker go on by itself, without faults."""
    for _ in range(turns):
        await world.settle()
        mine = [number for number, (owner, _, _) in sorted(world.waiting.items()) if owner == name]
        if not mine:
            return
        world.release(mine[-1], "none")


async def heal(world: World) -> None:
    """Kill most, then let a fresh owner of everything run without faults until it has nothing left to do."""
    world.healed = True
    world.kill_next.clear()
    for worker in world.alive():
        if world.draw(st.booleans()):
            world.end(worker)
    world.start(set(PARTITIONS))
    idle = 0
    while idle < 60:
        await asyncio.sleep(0)
        await world.settle()
        for number, (_, what, _) in sorted(world.waiting.items()):
            idle = idle + 1 if what in ("poll", "sleep") else 0
            world.release(number, "none")
        assert world.steps < 20_000, "no end in sight"
        world.steps += 1
    for worker in world.alive():
        world.end(worker)
    await asyncio.gather(*(w.task for w in world.workers if w.task), return_exceptions=True)


def check(world: World) -> None:
    expected: dict[str, list[Coordinates]] = {t: [] for t in TABLES}
    buried: set[str] = set()
    for record in (r for records in world.log.records.values() for r in records):
        for word in record.content:
            if word in TABLES:
                expected[word].append(record.at)
            else:
                buried.add("{}-{}-{}".format(*record.at))
    for table in TABLES:
        found = Counter(coordinates(row) for row in world.store.tables.get(table, []))
        assert found == Counter(expected[table]), table
    assert {each.id for each in world.letters} == buried
    last = world.store.versions()[-1].state if world.store.ledger else None
    assert last is None or not last.open


async def run(draw: Any) -> World:
    world = World(draw)
    world.start(set(PARTITIONS))
    for _ in range(draw(st.integers(5, 120))):
        await world.settle()
        await step(world)
    await heal(world)
    target(float(len(world.store.ledger)), label="ledger versions")
    return world


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_each_record_lands_exactly_once(data: st.DataObject) -> None:
    check(asyncio.run(run(data.draw)))

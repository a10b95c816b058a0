"""The sink's workers over topics and a store in memory, one step of one of them at a time, as a test decides."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.records import DeadLetter
from sinks.chunks import Gatherer, Limits
from sinks.dead_letter import letter
from sinks.landing import Parts, Reread
from sinks.ledger import Coordinates, Partition, Range, Version
from sinks.mapping import Mapped, Mapper
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.register import LEASE_MS
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
            dead_letters=Letters(world, self.name),
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
    """Lets one task go on at a time, as a driver decides. `most` tells how many records the next poll may give."""

    def __init__(self, most: Callable[[], int] = lambda: 99) -> None:
        self._most = most
        self.log = Log()
        self.store = Contents()
        self.letters: list[DeadLetter] = []
        self.healed = False
        self.kill_next: set[int] = set()
        self._power_failed = False
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
        return 99 if self.healed else self._most()

    def start(self, owned: set[Partition]) -> Worker:
        worker = Worker(len(self.workers), self, owned)
        self.workers.append(worker)
        worker.task = asyncio.get_running_loop().create_task(worker.run())
        return worker

    def alive(self) -> list[Worker]:
        return [w for w in self.workers if w.task is not None and not w.task.done()]

    async def settle(self) -> None:
        """Return when everybody waits for the driver.

        After a power failure the engine is back when every lease is over: a machine takes its time to start.
        """
        for _ in range(10_000):
            told = {name for name, _, future in self.waiting.values() if not future.done()}
            if all(worker.name in told for worker in self.alive()):
                break
            await asyncio.sleep(0)
        if self._power_failed:
            self.store.now += LEASE_MS + 1
            self._power_failed = False
        for worker in self.workers:
            if worker.task is not None and worker.task.done() and not worker.task.cancelled():
                error = worker.task.exception()
                if error is not None and not isinstance(error, Killed):
                    raise error

    def release(self, number: int, fault: Fault) -> None:
        """Let a request go on, to end in `fault`. What ends the engine ends every other request under way, too."""
        self.waiting.pop(number)[2].set_result(fault)
        if fault.startswith("forgets"):
            for other, (_, what, future) in list(self.waiting.items()):
                if what not in ("poll", "sleep", "publish") and not future.done():
                    self.waiting.pop(other)[2].set_result("before")
        if fault == "forgets_token":
            self._power_failed = True

    def end(self, worker: Worker) -> None:
        assert worker.task is not None
        worker.task.cancel()


@dataclass
class Letters:
    """Where one worker's dead letters go: to the world's, when the driver says so."""

    world: World
    name: int

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        await self.world.turn(self.name, "publish")
        self.world.letters += letters


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


async def run_for(world: World, name: int, turns: int) -> None:
    """Let one worker go on by itself, without faults."""
    for _ in range(turns):
        await world.settle()
        mine = [number for number, (owner, _, _) in sorted(world.waiting.items()) if owner == name]
        if not mine:
            return
        world.release(mine[-1], "none")


async def heal(world: World, ends: Callable[[], bool] = lambda: False) -> None:
    """Let a fresh owner of everything run without faults until nothing is left to do.

    `ends` is asked for each worker that lives whether it is killed before.
    """
    world.healed = True
    world.kill_next.clear()
    for worker in world.alive():
        if ends():
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
    """Each record has its rows once. A row that a table refused has a letter instead.

    Where the table was mended meanwhile, one worker may have buried what another one got in: there it may have both.
    """
    expected: dict[str, Counter[Coordinates]] = {t: Counter() for t in TABLES}
    found = {t: Counter(coordinates(row) for row in world.store.tables.get(t, [])) for t in TABLES}
    buried: set[str] = set()
    maybe_buried: set[str] = set()
    for record in (r for records in world.log.records.values() for r in records):
        for word in record.content:
            table = word.split()[-1]
            mended = world.store.mended and word.startswith(POISON) and bool(found[table][record.at])
            if word in TABLES or mended:
                expected[table][record.at] += 1
            if word not in TABLES:
                (maybe_buried if mended else buried).add("{}-{}-{}".format(*record.at))
    assert found == expected
    letters = {each.id for each in world.letters}
    assert buried <= letters <= buried | maybe_buried
    last = world.store.versions()[-1].state if world.store.ledger else None
    assert last is None or not last.open

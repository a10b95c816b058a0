"""Rows of an intent on their way into the tables, in single cases that chance seldom makes."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from schemas.records import DeadLetter
from sinks.landing import Landing, Parts, Reread
from sinks.ledger import Intent, Range
from sinks.mapping import Mapped, Mapper
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.register import Register
from sinks.rows import MAPPING
from sinks.store import Row
from sinks.writer import Writer
from tests.fakes.sink_store import POISON, Contents, Fault, SinkStore
from tests.fakes.sink_topics import Record

USAGE = Range("llm.usage", 0, 0, 10)
INTENT = Intent(id="i", ranges=(USAGE,), mapping=MAPPING)


class Topics:
    """The records of ranges, but what lies below `first`, which Kafka has deleted."""

    def __init__(self, first: int = 0) -> None:
        self._first = first

    async def read(self, ranges: Iterable[Range]) -> Reread:
        records, gaps = [], []
        for r in ranges:
            records += [Record(r.topic, r.partition, n) for n in range(max(r.start, self._first), r.end)]
            if r.start < self._first:
                gaps.append(Range(*r.at, r.start, min(self._first, r.end)))
        return Reread(records, tuple(gaps))


class Bench:
    """Workers on one store; `faults` are what becomes of the next requests that begin with a word."""

    def __init__(self) -> None:
        self.contents = Contents()
        self.letters: list[DeadLetter] = []
        self.now = 0.0

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    def parts(self, gate: "Gate | None" = None) -> Parts:
        gate = gate or Gate()
        return Parts(
            store=SinkStore(self.contents, gate),
            dead_letters=self,
            metrics=NoMetrics(),
            patience=Patience(NoMetrics(), sleep=gate.sleep),
            clock=lambda: self.now,
            crash_point=lambda place: None,
            worker="w",
        )

    def landing(self, parts: Parts) -> tuple[Landing, Register]:
        register = Register(parts.store, parts.patience, parts.worker, parts.clock)
        return Landing(parts, register, Topics()), register

    def landed(self, table: str = "usage") -> list[int]:
        return sorted(row[-2] for row in self.contents.tables.get(table, []))


class Gate:
    """Lets `faults` happen to the next inserts; `on_sleep` is awaited when a worker first waits."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = list(faults)
        self.on_sleep: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, what: str) -> Fault:
        return self._faults.pop(0) if self._faults and what.startswith("insert") else "none"

    async def sleep(self, seconds: float) -> None:
        if self.on_sleep is not None:
            then, self.on_sleep = self.on_sleep, None
            await then()


def rows(*offsets: int, word: str = "usage") -> list[Row]:
    return [(word, "llm.usage", 0, n, 1) for n in offsets]


class Usage(Mapper):
    """Each record is a row of `usage`."""

    def __init__(self) -> None:
        super().__init__(lambda record: None)

    async def map(self, records: Iterable[Any]) -> Mapped:
        made = rows(*[r.offset for r in records])
        return Mapped(rows={"usage": made}, records=len(made))


async def test_rows_that_were_lost_go_in_though_another_worker_has_finished_their_intent() -> None:
    """The store notes the token of one worker's insert and loses its rows; it then acknowledges the other's."""
    bench, gate = Bench(), Gate("forgets_rows")
    first, firsts = bench.landing(bench.parts())
    second, seconds = bench.landing(bench.parts(gate))
    lease = await firsts.advance(lambda state: state.intend(INTENT))
    await seconds.refresh()

    async def finish() -> None:
        await first.land(INTENT, {"usage": rows(1, 2)}, lease)
        await firsts.advance(lambda state: state.finish(INTENT.id))
        assert bench.landed() == []

    gate.on_sleep = finish
    await second.land(INTENT, {"usage": rows(1, 2)}, None)
    assert bench.landed() == [1, 2]


async def test_what_kafka_deleted_of_an_open_intent_is_noted_in_the_ledger() -> None:
    bench = Bench()
    _, register = bench.landing(bench.parts())
    await register.advance(lambda state: state.intend(INTENT))
    writer = Writer(bench.parts(), Usage(), Topics(first=4))
    assert await writer.open([USAGE.at]) == {USAGE.at: 10}
    last = bench.contents.versions()[-1]
    assert (last.state.open, last.gaps) == ((), (Range(*USAGE.at, 0, 4),))
    assert bench.landed() == [4, 5, 6, 7, 8, 9]


async def test_a_table_that_refuses_whatever_comes_buries_nothing_and_is_waited_for() -> None:
    bench, gate = Bench(), Gate()
    landing, register = bench.landing(bench.parts(gate))
    lease = await register.advance(lambda state: state.intend(INTENT))
    bench.contents.faulty["usage"] = "usage.cost is Float64, not Decimal(18, 9)"

    async def mend() -> None:
        assert bench.letters == []
        bench.contents.faulty.clear()

    gate.on_sleep = mend
    await landing.land(INTENT, {"usage": rows(1, 2, 3)}, lease)
    assert (bench.letters, bench.landed()) == ([], [1, 2, 3])


async def test_rows_that_are_all_of_a_sound_tables_share_and_all_refused_are_buried() -> None:
    bench = Bench()
    landing, register = bench.landing(bench.parts())
    wide = Intent(id="w", ranges=(Range("llm.usage", 0, 0, 90),), mapping=MAPPING)
    lease = await register.advance(lambda state: state.intend(wide))
    await landing.land(wide, {"usage": rows(*range(50), word=f"{POISON} usage")}, lease)
    assert sorted(each.source_offset for each in bench.letters) == list(range(50))
    assert bench.landed() == []
    open_now = register.state.find("w")
    assert open_now is not None and len(open_now.excluded) == 50


async def test_dead_letters_are_never_buried() -> None:
    bench, gate = Bench(), Gate()
    landing, register = bench.landing(bench.parts(gate))
    lease = await register.advance(lambda state: state.intend(INTENT))
    bench.contents.faulty["dead_letters"] = "full of sorrow"

    async def mend() -> None:
        bench.contents.faulty.clear()

    gate.on_sleep = mend
    await landing.land(INTENT, {"dead_letters": rows(1)}, lease)
    assert (bench.letters, bench.landed("dead_letters")) == ([], [1])

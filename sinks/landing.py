"""Gets the rows of a recorded intent into their tables, whatever the store does meanwhile."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.records import DeadLetter
from sinks.dead_letter import DeadLetters, letter
from sinks.isolate import isolate
from sinks.ledger import Coordinates, Excluded, Intent, Range, token
from sinks.metrics import Metrics
from sinks.patience import Patience
from sinks.register import Clock, Register
from sinks.rows import KafkaRecord
from sinks.store import LeaseOver, Refused, Row, Store, Unavailable, coordinates

log = logging.getLogger(__name__)

_MOST_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Reread:
    """Records ordered by topic, partition and offset; `gaps` are what Kafka has deleted of the ranges."""

    records: Sequence[KafkaRecord]
    gaps: tuple[Range, ...] = ()


class Source(Protocol):
    """Reads ranges again, whoever owns their partitions."""

    async def read(self, ranges: Iterable[Range]) -> Reread:
        """The committed records of `ranges` that Kafka still has. Ranges of one partition don't overlap."""


class RowsVanished(RuntimeError):
    """The store acknowledges rows and then doesn't have them."""


class _Finished(Exception):
    """The intent isn't open any more: somebody else has put all its rows in."""


@dataclass(frozen=True)
class Parts:
    """What a writer works with. `crash_point` is called between steps, with the name of the place."""

    store: Store
    dead_letters: DeadLetters
    metrics: Metrics
    patience: Patience
    clock: Clock
    crash_point: Callable[[str], None]
    worker: str


Name = Callable[[str, Intent, int], str]
"""The deduplication token of an intent's block for a table; the number counts its repeats."""


def _token_of_ranges(table: str, intent: Intent, again: int) -> str:
    return token(table, intent.ranges, again)


class Landing:
    def __init__(
        self, parts: Parts, register: Register, source: Source, name: Name = _token_of_ranges
    ) -> None:
        """`name` gives the tokens of an intent's blocks."""
        self._name = name
        self._parts = parts
        self._store = parts.store
        self._patience = parts.patience
        self._register = register
        self._source = source

    async def land(self, intent: Intent, rows: Mapping[str, list[Row]], lease: int | None) -> None:
        """Return when all `rows` (by table) but the refused ones are in.

        `lease` is that under which this worker has recorded the intent, None for an intent found open.
        """
        try:
            for number, table in enumerate(sorted(rows)):
                if number == 1:
                    self._parts.crash_point("sink.mid_insert")
                await self._insert(intent, table, _kept(intent, table, rows[table]), lease)
                self._parts.metrics.landed(table, len(rows[table]))
        except _Finished:
            log.info("intent %s was finished by another worker", intent.id)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Publish dead letters."""
        if letters:
            await self._parts.dead_letters.publish(letters)
        for each in letters:
            self._parts.metrics.dead_letter(each.reason)

    async def _insert(self, intent: Intent, table: str, rows: list[Row], lease: int | None) -> None:
        """Insert until all are in.

        A first insert that is acknowledged is believed. In every other case the table is read, after a new lease
        began: what others wrote before that is seen, and of what they write after it the store still knows the
        token when this insert arrives. Tokens alone don't do: the store may have applied what it didn't
        acknowledge, and after a crash of its own know the token of rows it has lost, or have forgotten that of
        rows it has. A request of this worker that wasn't answered may have left such a token, for which another
        worker's first insert was then acknowledged: after one, that the intent is finished doesn't do either. The
        table is read once more, and what it lacks goes in under the next token.
        """
        try:
            await self._repeat(intent, table, rows, lease)
        finally:
            self._patience.over(_inserting(table))

    async def _repeat(self, intent: Intent, table: str, rows: list[Row], lease: int | None) -> None:
        again, doubtful = 0, False
        while rows:
            first = lease is not None
            if lease is None:
                lease, finished = await self._lease(intent)
                if finished and not doubtful:
                    raise _Finished
                rows = await self._missing(intent, table, rows)
                if not rows:
                    return
                again = max(again, 1) if finished else again
            try:
                await self._store.insert(table, rows, self._name(table, intent, again), lease)
            except LeaseOver:
                await self._register.refresh()
            except Unavailable as error:
                doubtful = True
                await self._wait(error, table)
            except Refused as error:
                refused = await self._exclude(intent, table, rows, error)
                rows = [row for row in rows if coordinates(row) not in refused]
            else:
                if first:
                    return
                doubtful = True
                again += 1
                if again > _MOST_REPEATS:
                    raise RowsVanished(f"{table} acknowledges rows of intent {intent.id} but lacks them")
            lease = None

    async def _lease(self, intent: Intent) -> tuple[int, bool]:
        """A lease, and whether the intent was seen finished when it began."""
        lease = await self._register.lease()
        return lease, self._register.state.find(intent.id) is None

    async def _wait(self, error: Refused | Unavailable, table: str) -> None:
        await self._patience.wait(error, _inserting(table))
        await self._register.refresh()

    async def _missing(self, intent: Intent, table: str, rows: list[Row]) -> list[Row]:
        there = await self._patience.persist(
            lambda: self._store.present(table, intent.ranges), f"read {table}"
        )
        return [row for row in rows if coordinates(row) not in there]

    async def _exclude(self, intent: Intent, table: str, rows: list[Row], error: Refused) -> set[Coordinates]:
        """Find which of `rows` the table refuses, note them in the ledger, bury their records; returns where they lie.

        Where it refuses none alone, or all and something is wrong with the table, the rows aren't what is wrong:
        waits instead. So it does for dead letters, which have no other place to go to.
        """
        found = None if table == "dead_letters" else await self._isolate(table, rows)
        if not found:
            await self._wait(error, table)
            return set()
        why = {coordinates(row): refusal for row, refusal in found}
        note = [Excluded(table, *at) for at in why]
        reread = await self._source.read([Range(t, p, o, o + 1) for t, p, o in sorted(why)])
        await self._register.advance(lambda state: state.exclude(intent.id, note), reread.gaps)
        await self.bury([letter(r, "refused", f"{table}: {why[_where(r)]}") for r in reread.records])
        return set(why)

    async def _isolate(self, table: str, rows: list[Row]) -> list[tuple[Row, Refused]] | None:
        async def sound() -> bool:
            fault = await self._patience.persist(lambda: self._store.fault(table), f"examine {table}")
            if fault is not None:
                log.error("%s refuses every row, and no row is held guilty of it: %s", table, fault)
            return fault is None

        async with self._store.probing(table) as probe:

            async def patient(part: Sequence[Row]) -> None:
                await self._patience.persist(lambda: probe(part), f"probe {table}")

            return await isolate(rows, patient, sound)


def _inserting(table: str) -> str:
    return f"insert into {table}"


def _kept(intent: Intent, table: str, rows: list[Row]) -> list[Row]:
    refused = {(e.topic, e.partition, e.offset) for e in intent.excluded if e.table == table}
    return [row for row in rows if coordinates(row) not in refused] if refused else rows


def _where(record: KafkaRecord) -> Coordinates:
    return record.topic, record.partition, record.offset

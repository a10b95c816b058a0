"""Puts right what can be: rows that are missing go in again exactly once, and all but one of equal copies are removed.

A repair is written as the sink writes: an intent in a ledger, rows under tokens, done. The ledger is one of its own
(`repair_ledger`), since the sink's only goes forward, and its state has no tips: what a repair touches has landed long
ago, and no sink writes there any more. Two repairs of one partition exclude each other by their intents. One that died
leaves its intent open; the next one finds it, and writes the same rows under the same tokens before it goes on.
"""

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from schemas.records import DeadLetter
from sinks.landing import Landing, Parts, Source
from sinks.ledger import Busy, Intent, Partition, Range, State
from sinks.mapping import Mapper
from sinks.reconcile.excuses import Excuses, Missing
from sinks.reconcile.stored import Database
from sinks.register import Register
from sinks.rows import MAPPING
from sinks.store import Row

log = logging.getLogger(__name__)

_MOST_RANGES: Final = 50
_MOST_COPIES: Final = 50
_MERGES: Final = 4  # so often a merge may come between the look and the removal
SPREAD: Final = "the table is spread over a cluster: delete the copy on its shard"
DIFFER: Final = "the copies differ: a person must say which is right"


def begin(state: State, intent: Intent) -> State:
    """`state` with a repair's intent. Raises Busy where an open one touches its partitions."""
    for other in state.open:
        if other.touches(r.at for r in intent.ranges):
            raise Busy(other)
    return State(open=(*state.open, intent))


def repair_token(table: str, intent: Intent, again: int) -> str:
    """The deduplication token of a repair's block: no sink's, and no other repair's."""
    return f"repair:{intent.id}:{table}:{again}"


def ranges_of(at: Partition, offsets: Iterable[int]) -> tuple[Range, ...]:
    """Ranges that hold `offsets`: one for each run of consecutive offsets; where these are many, the hull."""
    found: list[Range] = []
    for offset in sorted(set(offsets)):
        if found and found[-1].end == offset:
            found[-1] = Range(*at, found[-1].start, offset + 1)
        else:
            found.append(Range(*at, offset, offset + 1))
    if len(found) > _MOST_RANGES:
        found = [Range(*at, found[0].start, found[-1].end)]
    return tuple(found)


def in_groups(missing: Iterable[Missing]) -> Iterator[list[Missing]]:
    """`missing` in groups of so few runs of offsets that an intent names each: who finds it open reads these records
    again, and no others between them."""
    group: list[Missing] = []
    runs, last = 0, -1
    for m in sorted(missing, key=lambda m: m.offset):
        if not group or m.offset > last + 1:
            if runs == _MOST_RANGES:
                yield group
                group, runs = [], 0
            runs += 1
        group.append(m)
        last = m.offset
    if group:
        yield group


class Repairer:
    """Repairs of one run. `parts.store` is a store on the repairs' ledger; `tables`: which hold rows of a topic."""

    def __init__(
        self,
        parts: Parts,
        database: Database,
        mapper: Mapper,
        source: Source,
        excuses: Excuses,
        tables: Mapping[str, Sequence[str]],
    ) -> None:
        self._tables = tables
        self._database = database
        self._mapper = mapper
        self._source = source
        self._excuses = excuses
        self._parts = parts
        self._register = Register(parts.store, parts.patience, parts.worker, parts.clock)
        self._landing = Landing(parts, self._register, source, repair_token)

    async def finish_open(self) -> None:
        """Write what repairs that died have left open."""
        state = await self._register.refresh()
        while state.open:
            await self._finish(state.open[0])
            state = await self._register.refresh()

    async def _finish(self, intent: Intent) -> None:
        """Write a repair's rows under its tokens, whoever began it, and close it."""
        log.warning("finishing a repair of %d ranges, found open", len(intent.ranges))
        reread = await self._source.read(intent.ranges)
        mapped = await self._mapper.map(reread.records)
        rows: dict[str, list[Row]] = {}
        for at in {r.at for r in intent.ranges}:
            mine = [
                Missing(0, row[-2], table, row)
                for table, some in mapped.rows.items()
                for row in some
                if (row[-4], row[-3]) == at
            ]
            right = await self._excuses.why(at, mine, self._tables[at[0]])
            for m in mine:
                if (m.table, m.offset) not in right:
                    rows.setdefault(m.table, []).append(m.row)
        await self._landing.land(intent, rows, None)
        await self._done(intent)

    async def insert(self, at: Partition, missing: Sequence[Missing]) -> None:
        """Insert missing rows of one partition; returns when they are in, or are dead letters."""
        for some in in_groups(missing):
            await self._insert(at, some)

    async def _insert(self, at: Partition, missing: Sequence[Missing]) -> None:
        rows: dict[str, list[Row]] = {}
        for m in missing:
            rows.setdefault(m.table, []).append(m.row)
        intent = Intent(uuid.uuid4().hex, ranges_of(at, (m.offset for m in missing)), MAPPING)
        await self._begin(intent)
        self._parts.crash_point("reconcile.after_intent")
        await self._landing.land(intent, rows, None)
        await self._done(intent)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Publish dead letters that were never published."""
        await self._landing.bury(letters)

    async def remove_copies(self, table: str, at: Partition, offsets: Sequence[int]) -> dict[int, str]:
        """Remove all copies but the first of the rows at `offsets`, where they are equal.

        Returns why some were left.
        """
        if await self._database.is_spread(table):
            return dict.fromkeys(offsets, SPREAD)
        left: dict[int, str] = {}
        for n in range(0, len(offsets), _MOST_COPIES):
            left |= await self._remove(table, at, offsets[n : n + _MOST_COPIES])
        return left

    async def _remove(self, table: str, at: Partition, offsets: Sequence[int]) -> dict[int, str]:
        intent = Intent(uuid.uuid4().hex, ranges_of(at, offsets), MAPPING)
        await self._begin(intent)
        left: dict[int, str] = {}
        for _ in range(_MERGES):
            found = await self._database.copies(table, at, offsets)
            left = {o: DIFFER for o, some in found.items() if len({copy.content for copy in some}) > 1}
            surplus = {o: some[1:] for o, some in found.items() if len(some) > 1 and o not in left}
            if not surplus:
                break
            log.warning("removing copies of %d rows of %s", len(surplus), table)
            await self._database.remove(table, at, surplus)
        else:
            left |= dict.fromkeys(surplus, "parts were merged meanwhile: run it again")
        await self._done(intent)
        return left

    async def _begin(self, intent: Intent) -> None:
        """Record the intent; a repair of the partition that is open is finished first."""
        while True:
            try:
                await self._register.advance(lambda state: begin(state, intent))
            except Busy as busy:
                await self._finish(busy.intent)
            else:
                return

    async def _done(self, intent: Intent) -> None:
        await self._register.advance(lambda state: state.finish(intent.id))

"""Why a row may rightly be missing: its record is a dead letter, its time is over, its table is new.

What was erased on order isn't among them: its row stays, without its texts.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from schemas import ids
from schemas.records import DeadLetter
from schemas.signals import Invalid
from sinks import dead_letter
from sinks.ledger import Partition
from sinks.mapping import Decode
from sinks.reconcile.reasons import LetterRow
from sinks.store import Row
from sinks.tables import TABLES

LETTER: Final = "dead letter"
EXPIRED: Final = "expired"
NEW_TABLE: Final = "new table"

_DAY_MS: Final = 86_400_000
_REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that isn't there: of the `number`-th record compared of its partition, which lies at `offset`."""

    number: int
    offset: int
    table: str
    row: Row


Place = tuple[str, int]
"""A table and an offset of the partition at hand."""


class Known(Protocol):
    """What is asked of the database."""

    async def landed_at(self, table: str, at: Partition, offsets: Collection[int]) -> dict[int, int]: ...

    async def letters_of(self, at: Partition, offsets: Collection[int]) -> list[LetterRow]: ...


Tail = Callable[[], Awaitable[Iterable[LetterRow]]]
"""The sink's dead letters that lie on their topic and have not landed."""


class Excuses:
    """Asks what explains missing rows. `made_at` (ms) is when each table was made.

    `now` (ms) is the database's time when this is made; `clock` (s) tells how much later it has become: what expires
    while a comparison goes on is no gap, and must not be put in again.
    """

    def __init__(
        self,
        known: Known,
        tail: Tail,
        made_at: Mapping[str, int],
        now: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._tail = tail
        self._made_at = made_at
        self._now = now - clock() * 1000
        self._clock = clock
        self._waiting: dict[str, list[LetterRow]] | None = None

    async def letters(self, at: Partition, offsets: Collection[int]) -> dict[int, list[LetterRow]]:
        """The sink's dead letters about the records at `offsets`, landed or not."""
        named = {ids.dead_letter_id(*at, offset): offset for offset in offsets}
        found: dict[int, list[LetterRow]] = {}
        for each in await self._known.letters_of(at, offsets):
            if each.id in named:
                found.setdefault(named[each.id], []).append(each)
        if len(found) < len(named):
            waiting = await self._load()
            for name, offset in named.items():
                if offset not in found and name in waiting:
                    found[offset] = waiting[name]
        return found

    def forget(self) -> None:
        """Dead letters have been published since they were last looked for."""
        self._waiting = None

    async def why(
        self, at: Partition, missing: Sequence[Missing], tables: Collection[str]
    ) -> dict[Place, str]:
        """What explains each row that has an explanation. `tables` are those that hold rows of the topic."""
        if not missing:
            return {}
        letters = await self.letters(at, {m.offset for m in missing})
        landed = await self._landed(at, missing, tables)
        reasons: dict[Place, str] = {}
        for m in missing:
            mine = letters.get(m.offset, ())
            reason = LETTER if any(_covers(each, m.table) for each in mine) else self._why(m, landed)
            if reason is not None:
                reasons[m.table, m.offset] = reason
        return reasons

    def _why(self, m: Missing, landed: Mapping[int, int]) -> str | None:
        stamp: int = m.row[-1]
        at = landed.get(m.offset)
        days = retention_days(m.table, m.row)
        if days and (at or stamp) + days * _DAY_MS <= self._now + self._clock() * 1000:
            return EXPIRED
        return NEW_TABLE if at is not None and at < self._made_at.get(m.table, 0) else None

    async def _landed(
        self, at: Partition, missing: Sequence[Missing], tables: Collection[str]
    ) -> dict[int, int]:
        """When other rows of the same records came in."""
        offsets = sorted({m.offset for m in missing})
        landed: dict[int, int] = {}
        for table in tables:
            for offset, ms in (await self._known.landed_at(table, at, offsets)).items():
                landed[offset] = min(ms, landed.get(offset, ms))
        return landed

    async def _load(self) -> dict[str, list[LetterRow]]:
        if self._waiting is None:
            self._waiting = {}
            for each in await self._tail():
                self._waiting.setdefault(each.id, []).append(each)
        return self._waiting


def retention_days(table: str, row: Row) -> int:
    """How many days a row of `table` is kept after its insertion; 0 where for ever, or under a legal hold."""
    given = dict(zip(TABLES[table].columns, row, strict=True))
    # A dead letter keeps its row for ever: its retention is that of the original's bytes.
    if table == "dead_letters" or given.get("held"):
        return 0
    return int(given.get("retention_days", 0))


def _covers(letter: LetterRow, table: str) -> bool:
    """Whether a letter explains that `table` lacks the record's row. One about a refusal names the table, mostly."""
    if letter.reason != _REFUSED:
        return True
    named, colon, _ = letter.message.partition(":")
    return not colon or named not in TABLES or named == table


async def letter_of(record: Any, decode: Decode) -> LetterRow | None:
    """What a record on the topic of dead letters says, where it is one of the sink's."""
    try:
        event = decode(record)
        if not isinstance(event, DeadLetter):
            event = await event
    except Invalid:
        return None
    if event.stage != dead_letter.STAGE:
        return None
    return LetterRow(event.id, event.reason, event.message)

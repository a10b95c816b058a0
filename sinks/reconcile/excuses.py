"""Why a row may rightly be missing: its record is a dead letter, its time is over, it was erased, its table is new."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from schemas import ids
from schemas.records import DeadLetter
from schemas.signals import Invalid
from sinks import dead_letter
from sinks.ledger import Partition
from sinks.mapping import Decode
from sinks.reconcile.reasons import Erasure, LetterRow
from sinks.store import Row
from sinks.tables import BODIES, RESULTS, TABLES

LETTER: Final = "dead letter"
EXPIRED: Final = "expired"
ERASED: Final = "erased"
NEW_TABLE: Final = "new table"

_DAY_MS: Final = 86_400_000
_RETENTION: Final = "retention_days"
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

    async def users_of(self, at: Partition, offsets: Collection[int]) -> dict[int, str]: ...


Tail = Callable[[], Awaitable[Iterable[LetterRow]]]
"""The sink's dead letters that lie on their topic and have not landed."""


class Excuses:
    """Asks what explains missing rows. `made_at` (ms) is when each table was made, `now` (ms) the present."""

    def __init__(
        self,
        known: Known,
        tail: Tail,
        made_at: Mapping[str, int],
        now: int,
        erasures: Iterable[Erasure] = (),
    ) -> None:
        self._known = known
        self._tail = tail
        self._made_at = made_at
        self._now = now
        self._erasures: dict[str, list[Erasure]] = {}
        for each in erasures:
            self._erasures.setdefault(each.tenant, []).append(each)
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
        erased = await self._erased(at, missing)
        reasons: dict[Place, str] = {}
        for m in missing:
            mine = letters.get(m.offset, ())
            if any(_covers(each, m.table) for each in mine):
                reason: str | None = LETTER
            elif (m.table, m.offset) in erased:
                reason = ERASED
            else:
                reason = self._why(m, landed)
            if reason is not None:
                reasons[m.table, m.offset] = reason
        return reasons

    def _why(self, m: Missing, landed: Mapping[int, int]) -> str | None:
        stamp: int = m.row[-1]
        at = landed.get(m.offset)
        days = retention_days(m.table, m.row)
        if days and (at or stamp) + days * _DAY_MS <= self._now:
            return EXPIRED
        return NEW_TABLE if at is not None and at < self._made_at.get(m.table, 0) else None

    async def _erased(self, at: Partition, missing: Sequence[Missing]) -> set[Place]:
        """The texts among the missing that were erased on order. Whose they are, the row of the result says."""
        bodies = [m for m in missing if m.table == BODIES.name and _value(m, "tenant") in self._erasures]
        if not bodies:
            return set()
        users = {m.offset: _value(m, "user") for m in missing if m.table == RESULTS.name}
        users |= await self._known.users_of(at, {m.offset for m in bodies if m.offset not in users})
        return {(m.table, m.offset) for m in bodies if self._is_erased(m, users.get(m.offset))}

    def _is_erased(self, body: Missing, user: Any) -> bool:
        orders = self._erasures[_value(body, "tenant")]
        return any(e.until >= _value(body, "completed_at") and e.user in ("", user) for e in orders)

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


def _value(m: Missing, column: str) -> Any:
    return m.row[TABLES[m.table].columns.index(column)]


def retention_days(table: str, row: Row) -> int:
    """How many days a row of `table` is kept after its insertion; 0 where for ever."""
    columns = TABLES[table].columns
    # A dead letter keeps its row for ever: its retention is that of the original's bytes.
    if table == "dead_letters" or _RETENTION not in columns:
        return 0
    return int(row[columns.index(_RETENTION)])


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

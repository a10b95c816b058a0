"""What can still be said of records that Kafka has deleted: rows that agreed once must be there as they were then.

Of what no earlier reconciliation has seen, only ClickHouse's own order is left: the ledger (what had landed, and what
Kafka deleted before), the chain of the audit events, and how long the longest stretch without rows is.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from sinks.ledger import Range
from sinks.reconcile.findings import Checked, Finding, Kind
from sinks.reconcile.seals import Seal, cover, covered, joined, together
from sinks.reconcile.stored import Database

UNSEALED: Final = frozenset({"bodies"})
"""Tables whose rows go when their time is over, or are erased."""

_PIECE: Final = 100_000


class DeletedCheck:
    """Checks what lies before Kafka's first record of one partition; `lost`: what never landed, by the ledger."""

    def __init__(
        self, database: Database, checked: Checked, tables: Sequence[str], lost: Collection[Range]
    ) -> None:
        self._database = database
        self._checked = checked
        self._tables = [t for t in tables if t not in UNSEALED]
        self._lost = lost
        self.findings: list[Finding] = []

    async def run(self, start: int, end: int) -> None:
        """Check positions [start, end). Raises a StoreError."""
        checked = self._checked
        checked.deleted += end - start
        sealed = [await self._sealed(table, start, end) for table in self._tables]
        checked.sealed += min(sealed, default=0)
        for r in self._lost:
            if r.at == checked.at and max(r.start, start) < min(r.end, end):
                self._add(Kind.LOST, "", r.start, r.end - 1, r.end - r.start)
        if "audit" in self._tables:
            await self._chain(start, end)

    async def _sealed(self, table: str, start: int, end: int) -> int:
        """Compare with what earlier reconciliations saw; how many of the positions that covers."""
        at = self._checked.at
        seals = [s for s in cover(await self._database.seals(table, at, end), end) if s.end > start]
        for run in joined(seals):
            for changed in await self._changed(run):
                rows, _ = await self._database.digest(table, at, changed.start, changed.end)
                note = f"{rows} rows, {changed.rows} when they agreed"
                count = max(1, abs(rows - changed.rows))
                self._add(Kind.CHANGED, table, changed.start, changed.end - 1, count, note)
        return covered(seals, start, end)

    async def _changed(self, run: Sequence[Seal]) -> list[Seal]:
        """The seals of a run that don't hold any more: halves it as long as the whole doesn't."""
        whole = together(run)
        if await self._database.digest(whole.table, whole.at, whole.start, whole.end) == (
            whole.rows,
            whole.digest,
        ):
            return []
        if len(run) == 1:
            return [whole]
        middle = len(run) // 2
        return [*await self._changed(run[:middle]), *await self._changed(run[middle:])]

    async def _chain(self, start: int, end: int) -> None:
        """Each number of the chain must be the next one; a chain that was begun anew begins with 1."""
        last: tuple[int, int] | None = None
        for begin in range(start, end, _PIECE):
            rows = await self._database.chain(self._checked.at, begin, min(begin + _PIECE, end))
            for offset, number, missing in breaks(last, rows):
                note = f"before number {number}: {missing} missing"
                self._add(Kind.CHAIN, "audit", offset, offset, missing, note)
            last = (rows[-1][0], rows[-1][1]) if rows else last

    def _add(self, kind: Kind, table: str, first: int, last: int, count: int, note: str = "") -> None:
        self.findings.append(Finding(kind, table, *self._checked.at, first, last, count, note=note))
        self._checked.gaps += count


def breaks(last: tuple[int, int] | None, rows: Iterable[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    """Where the numbers of (offset, number) rows don't go on: offset, number, and how many are missing before it."""
    for offset, number in rows:
        if last is not None and number > last[1] + 1:
            yield offset, number, number - last[1] - 1
        if last is None or number != last[1]:
            last = (offset, number)

"""Compares one partition of a topic with the tables, window by window, and mends what it is told to mend."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.records import DeadLetter
from sinks.ledger import Partition
from sinks.mapping import Mapper
from sinks.reconcile.compare import Comparison, Stored
from sinks.reconcile.excuses import LETTER, NEW_TABLE, Excuses, Missing
from sinks.reconcile.findings import Checked, Finding, Kind, runs
from sinks.reconcile.pace import Pace
from sinks.reconcile.repair import Repairer
from sinks.reconcile.stored import Database
from sinks.reconcile.topics import Topics
from sinks.tables import TABLES

WINDOW: Final = 100_000
"""Positions that are compared at once: their offsets are held in memory, once for each table."""
_MOST_MISSING: Final = 2_000
_MOST_BYTES: Final = 16 << 20
_MOST_FINDINGS: Final = 5_000
COMPACTED: Final = "compacted"
DELETED: Final = "deleted by Kafka meanwhile"


@dataclass(frozen=True)
class Tools:
    """What a comparison works with. `repairer` is None where nothing is to be mended.

    `tables`: those that hold rows of each topic. `fullest`: see `fullest.FULLEST`, by topic.
    """

    topics: Topics
    database: Database
    mapper: Mapper
    excuses: Excuses
    repairer: Repairer | None
    pace: Pace
    tables: Mapping[str, Sequence[str]]
    fullest: Mapping[str, Collection[frozenset[str]]]
    compacted: Collection[str] = frozenset()
    window: int = WINDOW


@dataclass(slots=True)
class _Window:
    """What has been found in a window and is still to be judged."""

    at: Partition
    start: int
    end: int
    comparison: Comparison
    missing: list[Missing] = field(default_factory=list)
    letterless: list[tuple[int, DeadLetter]] = field(default_factory=list)
    size: int = 0
    gaps: int = 0


class PartitionCheck:
    """Compares spans of one partition; what it finds is in `checked` and `findings`."""

    def __init__(self, tools: Tools, checked: Checked) -> None:
        self._tools = tools
        self.checked = checked
        self.findings: list[Finding] = []
        self._more: Counter[tuple[Kind, str, bool]] = Counter()

    async def run(self, spans: Sequence[tuple[int, int]]) -> None:
        """Compare all of `spans`. Raises a StoreError, and what Kafka's client raises."""
        for start, end in spans:
            for at in range(start, end, self._tools.window):
                await self._window(at, min(at + self._tools.window, end))
        for (kind, table, mended), count in self._more.items():
            self.findings.append(
                Finding(kind, table, *self.checked.at, count=count, mended=mended, note="more of these")
            )

    async def _window(self, start: int, end: int) -> None:
        tools, checked = self._tools, self.checked
        topic = checked.at[0]
        tables = tools.tables[topic]
        offsets = await asyncio.gather(*(tools.database.offsets(t, checked.at, start, end) for t in tables))
        stored = {table: Stored.of(some) for table, some in zip(tables, offsets, strict=True)}
        window = _Window(checked.at, start, end, Comparison(stored, tools.fullest[topic]))
        async for records in tools.topics.read(checked.at, start, end):
            tools.pace.begin()
            await self._compare(window, records)
            if len(window.missing) + len(window.letterless) >= _MOST_MISSING or window.size >= _MOST_BYTES:
                await self._judge(window)
            await tools.pace.breathe()
        await self._judge(window)
        await self._doubled(window)
        await self._strays(window)
        checked.records += window.comparison.records
        for table, found in stored.items():
            checked.rows[table] = checked.rows.get(table, 0) + found.rows
        checked.gaps += window.gaps
        checked.note(start, end, window.gaps == 0)

    async def _compare(self, window: _Window, records: Sequence[Any]) -> None:
        comparison, first = window.comparison, window.comparison.records
        doubtful = {r.offset: n for n, r in enumerate(records, first) if not comparison.settled(r.offset)}
        if not doubtful:
            return
        mapped = await self._tools.mapper.map(r for r in records if r.offset in doubtful)
        expected: dict[int, dict[str, Any]] = {}
        for table, rows in mapped.rows.items():
            for row in rows:
                expected.setdefault(row[-2], {})[table] = row
        for offset, by_table in expected.items():
            for table in comparison.expect(offset, by_table.keys()):
                window.missing.append(Missing(doubtful[offset], offset, table, by_table[table]))
        if window.missing or mapped.rejected:
            window.size += mapped.size
        for letter in mapped.rejected:
            if not comparison.has_rows(letter.source_offset):
                window.letterless.append((doubtful[letter.source_offset], letter))

    # -- judging what is missing ---------------------------------------------------------------------------

    async def _judge(self, window: _Window) -> None:
        """What of the missing is explained, what can be mended, what is a gap."""
        missing, window.missing, window.size = window.missing, [], 0
        reasons = await self._tools.excuses.why(window.at, missing, self._tools.tables[window.at[0]])
        new = [m for m in missing if reasons.get((m.table, m.offset)) == NEW_TABLE]
        lost = [m for m in missing if (m.table, m.offset) not in reasons]
        for reason in reasons.values():
            if reason != NEW_TABLE:
                self.checked.explain(reason)
        mended = await self._insert(window.at, [*lost, *new])
        self._tell(window, Kind.NEW_TABLE, new, mended)
        self._tell(window, Kind.MISSING, lost, mended)
        await self._letters(window)

    async def _insert(self, at: Partition, missing: Sequence[Missing]) -> set[tuple[str, int]]:
        """Insert what is missing, where that is wanted; returns which rows are accounted for then."""
        if self._tools.repairer is None or not missing:
            return set()
        await self._tools.repairer.insert(at, missing)
        there: set[tuple[str, int]] = set()
        offsets = [m.offset for m in missing]
        for table in {m.table for m in missing}:
            found = await self._tools.database.landed_at(table, at, offsets)
            there |= {(table, offset) for offset in found}
        left = [m for m in missing if (m.table, m.offset) not in there]
        self._tools.excuses.forget()  # what a table refuses has become a dead letter just now
        refused = await self._tools.excuses.why(at, left, ())
        return there | refused.keys()

    def _tell(
        self, window: _Window, kind: Kind, missing: Sequence[Missing], mended: Collection[tuple[str, int]]
    ) -> None:
        for table in sorted({m.table for m in missing}):
            for is_mended in (False, True):
                mine = {
                    m.offset: m
                    for m in missing
                    if m.table == table and ((table, m.offset) in mended) is is_mended
                }
                places = sorted((m.number, m.offset) for m in mine.values())
                for first, last, count in runs(places):
                    tenant, request = _named(mine[first]) if count == 1 else ("", "")
                    self._add(
                        window,
                        Finding(
                            kind, table, *window.at, first, last, count, tenant, request, mended=is_mended
                        ),
                    )

    async def _letters(self, window: _Window) -> None:
        """Records that can be no row must have a dead letter."""
        letterless, window.letterless = window.letterless, []
        if not letterless:
            return
        known = await self._tools.excuses.letters(window.at, {each.source_offset for _, each in letterless})
        lost = [(n, each) for n, each in letterless if each.source_offset not in known]
        if len(letterless) > len(lost):
            self.checked.explain(LETTER, len(letterless) - len(lost))
        mended = self._tools.repairer is not None
        if lost and self._tools.repairer is not None:
            await self._tools.repairer.bury([each for _, each in lost])
        for first, last, count in runs((n, each.source_offset) for n, each in lost):
            self._add(window, Finding(Kind.NO_LETTER, "", *window.at, first, last, count, mended=mended))

    # -- what is there and shouldn't be --------------------------------------------------------------------

    async def _doubled(self, window: _Window) -> None:
        by_table: dict[str, list[int]] = {}
        for table, offset, _ in window.comparison.doubled():
            by_table.setdefault(table, []).append(offset)
        repairer = self._tools.repairer
        for table, offsets in by_table.items():
            left: dict[int, str] = {}
            if repairer is not None:
                left = await repairer.remove_copies(table, window.at, offsets)
            for note in ("", *sorted(set(left.values()))):
                mine = [offset for offset in offsets if left.get(offset, "") == note]
                mended = repairer is not None and not note
                for first, last, count in runs((offset, offset) for offset in mine):
                    finding = Finding(
                        Kind.DUPLICATED, table, *window.at, first, last, count, mended=mended, note=note
                    )
                    self._add(window, finding)

    async def _strays(self, window: _Window) -> None:
        strays = window.comparison.strays()
        if not strays:
            return
        # Compaction takes away records whose rows stay, and so does retention while this runs.
        first = (await self._tools.topics.edges([window.at]))[window.at].first
        compacted = window.at[0] in self._tools.compacted
        left: dict[str, list[tuple[int, int]]] = {}
        for table, offset in strays:
            if offset < first:
                self.checked.explain(DELETED)
            elif compacted:
                self.checked.explain(COMPACTED)
            else:
                left.setdefault(table, []).append((offset, offset))
        for table, places in left.items():
            for begin, last, count in runs(places):
                self._add(window, Finding(Kind.STRAY, table, *window.at, begin, last, count))

    def _add(self, window: _Window, finding: Finding) -> None:
        if finding.is_gap:
            window.gaps += finding.count
        if finding.mended and finding.table:
            more = -finding.count if finding.kind is Kind.DUPLICATED else finding.count
            self.checked.rows[finding.table] = self.checked.rows.get(finding.table, 0) + more
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(finding)
        else:
            self._more[finding.kind, finding.table, finding.mended] += finding.count


def _named(missing: Missing) -> tuple[str, str]:
    """Tenant and request of a row, for who reads a finding; empty where it has none."""
    columns = TABLES[missing.table].columns
    tenant, request = (
        str(missing.row[columns.index(name)]) if name in columns else "" for name in ("tenant", "request_id")
    )
    return tenant, request

"""One reconciliation: what is to be compared, the comparison itself, what of it is recorded.

The ledger is read first. All below its tips has landed and stays as it is, so a sink that goes on working beside it
causes no false alarm; what lies beyond is on its way, and is told as late only when it is older than it should be.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sinks.ledger import Partition, Range, State
from sinks.mapping import Decode
from sinks.reconcile.accounts import FOR_EVER_MS, Accounts, Period, Terms, check, since_of_results
from sinks.reconcile.bounds import Asked, Edges, Plan, forgotten, landed_to, plan
from sinks.reconcile.deleted import UNSEALED, DeletedCheck
from sinks.reconcile.excuses import letter_of
from sinks.reconcile.findings import Checked, Finding, Kind
from sinks.reconcile.partition import PartitionCheck, Tools
from sinks.reconcile.reasons import LetterRow
from sinks.reconcile.record import Book, LastRun, Outcome, Scope
from sinks.reconcile.seals import Seal
from sinks.reconcile.stored import Database
from sinks.reconcile.topics import Topics, describe

log = logging.getLogger(__name__)

_END: Final = 2**63 - 1


def _now_ms() -> int:
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Wanted:
    """What to reconcile: `scope`, and for a part the time [since, until) (ms) of its records.

    `fresh_ms`: how old a record may become before it must have landed.
    """

    scope: Scope = "all"
    since: int = 0
    until: int = FOR_EVER_MS
    fresh_ms: int = 300_000
    terms: Terms = field(default_factory=Terms)


@dataclass(slots=True)
class Report:
    """What a run has found. `horizon` (ms): requests and attempts were judged as things stood then."""

    run: str
    scope: Scope
    checked: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    accounts: Accounts = field(default_factory=Accounts)
    horizon: int = 0
    seconds: float = 0.0

    @property
    def records(self) -> int:
        return sum(each.records for each in self.checked)

    @property
    def gaps(self) -> int:
        """Rows, events and requests that are wrong and stay so."""
        return sum(f.count for f in self.findings if f.is_gap)


@dataclass(frozen=True)
class Sources:
    """Where a run reads. `events`: what lies on which topic; `letters`: that of dead letters; `wall`: the time, ms."""

    brokers: str
    events: Mapping[str, type[msgspec.Struct]]
    letters: str
    database: Database
    book: Book
    worker: str
    decode: Decode
    wall: Callable[[], int] = _now_ms


class Run:
    """A reconciliation. Use once: `prepare`, then `compare`."""

    def __init__(self, sources: Sources, wanted: Wanted, state: State, run_id: str) -> None:
        self._sources = sources
        self._wanted = wanted
        self._state = state
        self._last: LastRun | None = None
        self._dirty: Mapping[Partition, Sequence[tuple[int, int]]] = {}
        self._at = 0  # when (ms) the topics' ends were read
        self._plans: list[Plan] = []
        self._edges: dict[Partition, Edges] = {}
        self._began = time.monotonic()
        self.partitions: Sequence[Partition] = ()
        self.compacted: Collection[str] = frozenset()
        self.report = Report(run_id, wanted.scope)

    async def prepare(self) -> None:
        """Find out what is to be compared. Raises TopicMissing."""
        self.partitions, self.compacted = await describe(self._sources.brokers, self._sources.events)
        async with Topics(self._sources.brokers, self.partitions) as topics:
            await self._prepare(topics)

    async def _prepare(self, topics: Topics) -> None:
        self._at = self._sources.wall()
        self._edges = await topics.edges(self.partitions)
        if self._wanted.scope != "part":
            last = await self._sources.book.last_run()
            self._last = last if self._wanted.scope == "new" else None
            self._dirty = last.dirty if last is not None else {}
        asked = await self._asked(topics, self.partitions)
        # Dead letters first: what explains other records must be there, or be put there.
        for at in sorted(self.partitions, key=lambda at: (at[0] != self._sources.letters, at)):
            self._plans.append(plan(at, landed_to(self._state, at), self._edges[at], asked[at]))

    async def _asked(self, topics: Topics, partitions: Sequence[Partition]) -> dict[Partition, Asked]:
        if self._last is not None:
            return {at: _since(self._last, at) for at in partitions}
        wanted = self._wanted
        starts: dict[Partition, int | None] = dict.fromkeys(partitions, 0)
        ends: dict[Partition, int | None] = dict.fromkeys(partitions, None)
        if wanted.since > 0:
            starts = await topics.positions_at(partitions, wanted.since)
            for at in partitions:
                if starts[at] == self._edges[at].first:  # older ones may be in ClickHouse
                    starts[at] = await self._first_row(at)
        if wanted.until < FOR_EVER_MS:
            ends = await topics.positions_at(partitions, wanted.until)
        return {at: Asked(_or_end(starts[at]), _or_end(ends[at])) for at in partitions}

    async def _first_row(self, at: Partition) -> int:
        database, first = self._sources.database, self._edges[at].first
        tables = (await database.tables_of([at[0]]))[at[0]]
        found = [await database.first_offset(table, at, self._wanted.since) for table in tables]
        return min([first, *(offset for offset in found if offset is not None)])

    async def compare(self, tools: Callable[[], Awaitable[Tools]], at_once: int = 1) -> Report:
        """Compare everything, `at_once` partitions side by side, each with tools of its own; returns the report.

        Raises a StoreError, and what Kafka's client raises.
        """
        report, queue = self.report, list(reversed(self._plans))
        horizons: list[int] = []

        async def work() -> None:
            mine = await tools()
            async with mine.topics:
                while queue:
                    horizons.append(await self._partition(mine, queue.pop()))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        report.checked.sort(key=lambda each: each.at)
        report.horizon = min(horizons, default=self._at) - self._wanted.fresh_ms
        report.accounts = await check(self._sources.database, await self._period(), self._wanted.terms)
        report.findings += report.accounts.findings
        report.seconds = time.monotonic() - self._began
        return report

    async def _partition(self, tools: Tools, wanted: Plan) -> int:
        """Compare one partition; returns the time (ms) up to which everything in it has landed."""
        report, at = self.report, wanted.at
        parts = [*wanted.spans, *([wanted.deleted] if wanted.deleted else [])]
        start = min((start for start, _ in parts), default=wanted.landed)
        checked = Checked(at, start, max((end for _, end in parts), default=wanted.landed))
        report.checked.append(checked)
        if wanted.recreated:
            end = self._edges[at].end
            note = f"the ledger has it up to {wanted.landed}, the topic ends at {end}"
            report.findings.append(Finding(Kind.RECREATED, "", *at, end, wanted.landed - 1, note=note))
            return self._at
        self._forgotten(checked)
        if wanted.deleted is not None:
            lost = await tools.database.lost()
            deleted = DeletedCheck(tools.database, checked, tools.tables[at[0]], lost)
            await deleted.run(*wanted.deleted)
            report.findings += deleted.findings
        comparison = PartitionCheck(tools, checked)
        await comparison.run(wanted.spans)
        report.findings += comparison.findings
        return await self._waiting(tools.topics, wanted, checked)

    async def _waiting(self, topics: Topics, wanted: Plan, checked: Checked) -> int:
        """Note what had not landed when the ends were read; returns since when (ms) the oldest of it waits.

        A run may take long: what it judges by is the time at which the ledger and the ends were read.
        """
        at, edges = self._at, self._edges[wanted.at]
        start = max(wanted.landed, edges.first)
        if start >= edges.end:
            return at
        record: Any = await topics.first_from(wanted.at, start, edges.end)
        if record is None:
            return at
        end = min(edges.end, wanted.until)
        checked.waiting = max(0, end - record.offset)
        if checked.waiting and record.timestamp < at - self._wanted.fresh_ms:
            note = f"the oldest is {(at - record.timestamp) / 1000:.0f} s old"
            self.report.findings.append(
                Finding(Kind.LATE, "", *wanted.at, record.offset, end - 1, checked.waiting, note=note)
            )
        return min(at, int(record.timestamp))

    def _forgotten(self, checked: Checked) -> None:
        """A gap doesn't end when Kafka deletes what shows it: it can't be mended any more."""
        at = checked.at
        for start, end in forgotten(self._dirty.get(at, ()), self._edges[at].first):
            note = "an earlier run left gaps here, and Kafka has deleted the records since"
            self.report.findings.append(Finding(Kind.LOST, "", *at, start, end - 1, note=note))
            checked.gaps += 1

    async def _period(self) -> Period:
        wanted, last = self._wanted, self._last
        until = min(wanted.until, self.report.horizon) if wanted.scope == "part" else FOR_EVER_MS
        if last is None:
            return Period(wanted.since, until, self.report.horizon, wanted.since)
        since = min(last.horizon, last.open_since or last.horizon)
        accepted = await since_of_results(self._sources.database, last.horizon)
        settled_since = max(0, last.horizon - wanted.terms.settle_ms)
        return Period(min(since, accepted or since), until, self.report.horizon, settled_since)

    # -- recording -----------------------------------------------------------------------------------------

    async def record(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Write what was found, and seal what agreed."""
        report = self.report
        outcome = Outcome(
            run=report.run,
            scope=report.scope,
            worker=self._sources.worker,
            records=report.records,
            gaps=report.gaps,
            horizon=report.horizon,
            open_since=report.accounts.open_since,
            duration_ms=int(report.seconds * 1000),
        )
        await self._sources.book.write(outcome, report.checked, report.findings, await self._seals(tables))

    async def _seals(self, tables: Mapping[str, Sequence[str]]) -> list[Seal]:
        """A seal for each table and stretch that agreed; one question for a table's first stretches, and so on."""
        # What lacks rows of a time before its table existed may be filled in later.
        unfilled = {
            (f.topic, f.partition, f.table)
            for f in self.report.findings
            if f.kind is Kind.NEW_TABLE and not f.mended
        }
        turns: dict[tuple[str, int], list[Range]] = {}
        for checked in self.report.checked:
            for table in tables[checked.at[0]]:
                skipped = table in UNSEALED or (*checked.at, table) in unfilled
                for turn, (start, end) in enumerate(() if skipped else checked.clean):
                    turns.setdefault((table, turn), []).append(Range(*checked.at, start, end))
        seals = []
        for (table, _), ranges in turns.items():
            for r, (rows, digest) in (await self._sources.database.digests(table, ranges)).items():
                seals.append(Seal(table, r.at, r.start, r.end, rows, digest))
        return seals


async def waiting_letters(sources: Sources, state: State) -> list[LetterRow]:
    """The sink's dead letters that have not landed."""
    found = []
    partitions, _ = await describe(sources.brokers, [sources.letters])
    async with Topics(sources.brokers, partitions) as topics:
        for at, edges in (await topics.edges(partitions)).items():
            async for records in topics.read(at, landed_to(state, at), edges.end):
                for record in records:
                    letter = await letter_of(record, sources.decode)
                    if letter is not None:
                        found.append(letter)
    return found


def _since(last: LastRun, at: Partition) -> Asked:
    reached = last.reached.get(at, 0)
    return Asked(reached, _END, (*last.dirty.get(at, ()), (reached, _END)))


def _or_end(position: int | None) -> int:
    return _END if position is None else position
